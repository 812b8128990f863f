"""From scores of completions to those that are optimised: scaling, clipping, the price of being cut off."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unskew.ppo.advantage import Total


@dataclass
class Moments:
    """Running mean and variance of everything seen (Chan's update: two-pass inside a batch, then merged).

    Args:
        count: numbers seen.
        mean: their mean.
        m2: sum of their squared distances to it.
    """

    count: float = 0.0
    mean: float = 0.0
    m2: float = 0.0

    def update(self, x: Tensor, total: Total = lambda x: x) -> None:
        """Learn numbers, those of all ranks at once. Shape [N]."""
        x = x.double()
        count = float(total(torch.tensor(float(len(x)), dtype=torch.float64, device=x.device)))
        if not count:
            return
        mean = float(total(x.sum())) / count
        m2 = float(total((x - mean).square().sum()))
        whole, apart = self.count + count, mean - self.mean
        self.mean += apart * count / whole
        self.m2 += m2 + apart * apart * self.count * count / whole
        self.count = whole

    @property
    def deviation(self) -> float:
        """Standard deviation with Bessel's correction; 1 while it is unknown or zero."""
        variance = self.m2 / (self.count - 1) if self.count > 1 else 0.0
        return float(variance**0.5) if variance > 0 else 1.0


@dataclass(frozen=True)
class Treatment:
    """score -> clip((score [- mean]) / deviation, +- bound) [- penalty where cut off].

    Args:
        scale: divide by the running deviation (2307.04964, section 5.3: scaling, then clipping).
        centre: also subtract the running mean.
        bound: where the result is clipped; None for nowhere.
        penalty: taken off completions that were cut off, in units of the result.
    """

    scale: bool = False
    centre: bool = False
    bound: float | None = None
    penalty: float | None = None

    def __call__(self, score: Tensor, ended: Tensor, moments: Moments) -> tuple[Tensor, int]:
        """(treated scores, how many were clipped). Shapes [N], [N]; the moments have seen the scores."""
        if self.centre:
            score = score - moments.mean
        if self.scale or self.centre:
            score = score / moments.deviation
        clipped = 0
        if self.bound is not None:
            clipped = int((score.abs() > self.bound).sum())
            score = score.clamp(-self.bound, self.bound)
        if self.penalty is not None:
            score = score - self.penalty * (~ended)
        return score, clipped
