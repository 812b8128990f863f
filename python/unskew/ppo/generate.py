"""Writing completions: a protocol small enough for any engine, and Hugging Face's `generate` behind it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor


class Generator(Protocol):
    """Something that continues prompts with a policy.

    Called as `generator(policy, ids, real, seed)`; `policy` is the causal language model (with its adapters),
    `ids` are prompts padded on the left and `real` marks their tokens, [N, P]. It returns completions [N, T]:
    the tokens, an end-of-sequence token where there is one, then anything. The same policy, prompts and seed
    give the same completions.
    """

    def __call__(self, policy: Any, ids: Tensor, real: Tensor, seed: int) -> Tensor: ...


class HuggingFace:
    """`policy.generate`, sampling.

    Args:
        pad: padding token.
        ends: tokens that end a completion.
        longest: new tokens at most.
        batch: prompts at a time.
        sampling: temperature, top_k, top_p, min_p, repetition_penalty, as in `GenerationConfig`.
    """

    def __init__(self, *, pad: int, ends: list[int], longest: int, batch: int, **sampling: Any) -> None:
        from transformers import GenerationConfig

        self.pad, self.longest, self.batch = pad, longest, batch
        given = {name: value for name, value in sampling.items() if value is not None}
        self.config = GenerationConfig(
            max_new_tokens=longest,
            do_sample=True,
            use_cache=True,
            pad_token_id=pad,
            eos_token_id=ends or None,
            **given,
        )

    @torch.no_grad()
    def __call__(self, policy: Any, ids: Tensor, real: Tensor, seed: int) -> Tensor:
        written = ids.new_full((len(ids), self.longest), self.pad)
        with self._alone(policy), torch.random.fork_rng(devices=[ids.device] if ids.is_cuda else []):
            torch.manual_seed(seed)
            for start in range(0, len(ids), self.batch):
                here = slice(start, start + self.batch)
                whole = policy.generate(
                    input_ids=ids[here], attention_mask=real[here], generation_config=self.config
                )
                new = whole[:, ids.shape[1] :]
                written[here, : new.shape[1]] = new
        return written

    @contextmanager
    def _alone(self, policy: Any) -> Iterator[None]:
        """Without the policy's own settings: `generate` would take from them what ours leave open."""
        before = policy.generation_config
        policy.generation_config = copy.deepcopy(self.config)
        try:
            yield
        finally:
            policy.generation_config = before


def finish(completions: Tensor, ends: list[int], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """(completions with padding after their end, mask of their tokens, whether they ended).

    The token that ends a completion belongs to it; a completion has at least one token. Shapes [N, T], [N,
    T], [N].
    """
    over = torch.isin(completions, torch.tensor(ends, dtype=torch.long, device=completions.device))
    before = over.cumsum(1) - over.long()
    mask = before == 0
    return completions.masked_fill(~mask, pad), mask, over.any(1)
