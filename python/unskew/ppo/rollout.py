"""Rolling out: completions of prompts, and what models say about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unskew.ppo.actor import Evaluated
from unskew.ppo.generate import Generator, finish
from unskew.ppo.prompts import encode
from unskew.ppo.rewards import Written

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Vocabulary:
    """The policy's tokenizer and its special tokens.

    Args:
        tokenizer: of Hugging Face.
        pad: id that fills up; any id where there is none, since padding is masked.
        ends: ids that end a completion.
    """

    tokenizer: Any
    pad: int
    ends: list[int]

    @classmethod
    def of(cls, tokenizer: Any, policy: Any) -> "Vocabulary":
        """The tokens that end a completion: those of the tokenizer and of the policy's own settings."""
        generation = getattr(policy, "generation_config", None)
        ends: set[int] = set()
        for found in (tokenizer.eos_token_id, getattr(generation, "eos_token_id", None)):
            ends |= set(found) if isinstance(found, (list, tuple)) else set() if found is None else {found}
        pad = tokenizer.pad_token_id
        return cls(tokenizer, min(ends, default=0) if pad is None else pad, sorted(ends))


@dataclass(frozen=True)
class Completions:
    """Completions as tokens and as texts.

    Args:
        ids: prompts padded on the left, completions on the right. Shape [N, P + T].
        real: which are no padding. Shape [N, P + T].
        mask: tokens of the completions. Shape [N, T].
        ended: whether a completion has an end. Shape [N].
        written: the same for rewards.
        cut: prompts that lost their beginning.
    """

    ids: Tensor
    real: Tensor
    mask: Tensor
    ended: Tensor
    written: Written
    cut: int


def write(
    policy: Any,
    generator: Generator,
    vocabulary: Vocabulary,
    rows: Rows,
    *,
    group: int,
    longest_prompt: int | None,
    seed: int,
    device: torch.device,
    **extra: Any,
) -> Completions:
    """`group` completions of each row's prompt, beside each other.

    Raises:
        ValueError: a row has no prompt.
    """
    for row in rows:
        if "prompt" not in row:
            raise ValueError(f"a row has the columns {', '.join(row) or 'none'}; a column `prompt` is needed")
    rows = [row for row in rows for _ in range(group)]
    prompts = [row["prompt"] for row in rows]
    tokenizer = vocabulary.tokenizer
    ids, real, cut = encode(tokenizer, prompts, longest_prompt, vocabulary.pad, device)
    raw = generator(policy, ids, real, seed)
    tokens, mask, ended = finish(raw, vocabulary.ends, vocabulary.pad)
    ids, real = torch.cat([ids, tokens], 1), torch.cat([real, mask.long()], 1)
    token_lists = [row[kept].tolist() for row, kept in zip(tokens.cpu(), mask.cpu(), strict=True)]
    answers: list[Any] = tokenizer.batch_decode(token_lists, skip_special_tokens=True)
    if not isinstance(prompts[0], str):
        answers = [[{"role": "assistant", "content": answer}] for answer in answers]
    whole = [row[kept.bool()].tolist() for row, kept in zip(ids.cpu(), real.cpu(), strict=True)]
    names = [name for name in rows[0] if name != "prompt"]
    written = Written(
        prompts,
        answers,
        token_lists,
        tokenizer.batch_decode(whole, skip_special_tokens=False),
        ended.tolist(),
        {name: [row.get(name) for row in rows] for name in names},
        extra,
    )
    return Completions(ids, real, mask, ended, written, cut)


def look(model: Callable[..., Evaluated], seen: Completions, batch: int, **how: Any) -> Evaluated:
    """What a model says about completions, some at a time, without gradient."""
    found = []
    with torch.no_grad():
        for start in range(0, len(seen.ids), batch):
            here = slice(start, start + batch)
            found.append(model(seen.ids[here], seen.real[here], seen.mask[here], **how))
    values = (
        None
        if found[0].values is None
        else torch.cat([one.values for one in found if one.values is not None])
    )
    return Evaluated(
        torch.cat([one.logprobs for one in found]), torch.cat([one.entropy for one in found]), values
    )
