"""The completions of a round, and the order in which its epochs go through them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Buffer:
    """Rows that are taken in micro-batches, each once an epoch.

    Args:
        rows: tensors whose first axis is the completion. [R, ...] each.
        order: a permutation of the rows an epoch. Shape [E, R].
        size: rows of a micro-batch; divides R.
        position: micro-batches taken so far.
    """

    rows: dict[str, Tensor]
    order: Tensor
    size: int
    position: int = 0

    @property
    def used_up(self) -> bool:
        """Whether every epoch is over."""
        return self.position * self.size >= self.order.numel()

    def take(self) -> dict[str, Tensor]:
        """The next micro-batch."""
        chosen = self._chosen(self.position, 1)
        self.position += 1
        return {name: value[chosen] for name, value in self.rows.items()}

    def ahead(self, name: str, batches: int) -> Tensor:
        """A column of the next micro-batches, taken together; they stay to be taken."""
        return self.rows[name][self._chosen(self.position, batches)]

    def _chosen(self, position: int, batches: int) -> Tensor:
        return self.order.flatten()[position * self.size : (position + batches) * self.size]


def deal(rows: dict[str, Tensor], *, epochs: int, size: int, chance: torch.Generator) -> Buffer:
    """A fresh buffer, its epochs in random order."""
    first = next(iter(rows.values()))
    order = torch.stack([torch.randperm(len(first), generator=chance) for _ in range(epochs)])
    return Buffer(rows, order.to(first.device), size)
