"""Prompts: which ones a round takes, and their tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

Prompt = str | list[dict[str, Any]]
"""A text, or a conversation of `{"role": ..., "content": ...}`."""


class Rounds(Sampler[list[int]]):
    """The prompts of each micro-batch: those of its round, the same for all micro-batches of a round.

    Each epoch goes through a new permutation of the prompts, which depends on seed and epoch alone; the last
    round is filled up from its start. Batches are dealt to the ranks in turn (as `accelerate` does), so rank
    r finds the r-th share of each round.

    Args:
        size: prompts in the data set.
        prompts: prompts of a round on one rank.
        ticks: micro-batches of a round on one rank.
        ranks: processes of the run.
        seed: decides the permutations.
        epoch: tells the epoch when an iteration starts, so that a resumed run finds its place.

    Raises:
        ValueError: there are no prompts.
    """

    def __init__(
        self, size: int, *, prompts: int, ticks: int, ranks: int, seed: int, epoch: Callable[[], int]
    ) -> None:
        if not size:
            raise ValueError("train_dataset is empty; at least one row with a `prompt` is needed")
        self.size, self.prompts, self.ticks, self.ranks = size, prompts, ticks, ranks
        self.seed, self.epoch = seed, epoch
        self.batch_size, self.drop_last = prompts, False

    @property
    def rounds(self) -> int:
        """Rounds of an epoch."""
        return -(-self.size // (self.prompts * self.ranks))

    def __len__(self) -> int:
        return self.rounds * self.ticks * self.ranks

    def __iter__(self) -> Iterator[list[int]]:
        chance = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch())
        order = torch.randperm(self.size, generator=chance)
        whole = order.repeat(-(-self.rounds * self.prompts * self.ranks // self.size))
        for share in whole[: self.rounds * self.prompts * self.ranks].view(self.rounds, self.ranks, -1):
            for _ in range(self.ticks):
                yield from share.tolist()


def texts(tokenizer: Any, prompts: Sequence[Prompt]) -> list[str]:
    """Prompts as the policy reads them: conversations in the template, with the start of an answer.

    Raises:
        ValueError: a prompt is empty, or neither text nor conversation.
    """
    found = []
    for number, prompt in enumerate(prompts):
        if not prompt or not isinstance(prompt, (str, list)):
            raise ValueError(
                f"row {number}: prompt is {prompt!r}; a text or a list of messages with role and content "
                "is needed"
            )
        if isinstance(prompt, str):
            found.append(prompt)
        else:
            found.append(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))
    return found


def encode(
    tokenizer: Any, prompts: Sequence[Prompt], longest: int | None, pad: int, device: torch.device
) -> tuple[Tensor, Tensor, int]:
    """(tokens, which are real, prompts that lost their beginning); padded on the left, shapes [N, P].

    A conversation is tokenised in one go from its template, which brings its own special tokens.
    """
    rows, cut = [], 0
    for prompt, text in zip(prompts, texts(tokenizer, prompts), strict=True):
        ids = tokenizer(text, add_special_tokens=isinstance(prompt, str))["input_ids"]
        if not ids:
            raise ValueError(
                f"prompt {prompt!r} has no tokens; give the tokenizer a BOS token or drop the row"
            )
        cut += longest is not None and len(ids) > longest
        rows.append(ids if longest is None else ids[-longest:])
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    real = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, real, cut
