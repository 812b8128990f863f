"""One loss, three engines: Rust on CPUs, Triton on CUDA, chunks of torch operations anywhere else.

An engine takes scores and columns that `entry` has checked (one dtype, one device, contiguous, each column
with N entries or one) and returns the sums over the rows, named by `SUMS`, and the slope of each row,

    slope = scale temperature dL/dz

which is the gradient of the loss in scores_a, and minus that in scores_b. Sums are accumulated in float64;
the sum of the losses is not scaled. A row that breaks a rule of `reference.rules` is counted as invalid, and
its loss and slope are nan.
"""

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from unskew import _rust
from unskew.losses.reference import LOSSES, Target, rules, target

SUMS = ("loss", "weight", "weight_squared", "clipped", "outside", "invalid", "z_min", "z_max")
"""Entries of the vector of sums; the last two are extremes, inf and -inf without rows."""

CHUNK = 65_536
"""Rows the torch engine works on at a time: its temporaries stay in the cache."""


class Form(NamedTuple):
    """What is computed, apart from the data.

    Args:
        entry: `folded` (columns a, b, m; for the mixture w, d, m) or `raw` (label, observed, propensity, fnr,
            fpr, perhaps imputation, m).
        loss: a name in `reference.LOSSES`.
        temperature: factor on the score (difference).
        floor: smallest propensity used as it is; read by `raw`.
        scale: factor on the slope, the inverse of the normalizer.
    """

    entry: str
    loss: str
    temperature: float
    floor: float
    scale: float


def compiled(
    scores_a: Tensor, scores_b: Tensor | None, columns: list[Tensor], *form: str | float
) -> tuple[Tensor, Tensor]:
    """The same formulas in Rust, on CPUs, in float32 and float64; other numbers go to `chunked`."""
    if scores_a.dtype not in (torch.float32, torch.float64):
        return chunked(scores_a, scores_b, columns, *form)
    how = Form(*form)  # type: ignore[arg-type]
    sums, slope = _rust.loss(scores_a, scores_b, columns, *how, torch.get_num_threads())
    return torch.tensor(sums, dtype=torch.float64), slope


def chunked(
    scores_a: Tensor, scores_b: Tensor | None, columns: list[Tensor], *form: str | float
) -> tuple[Tensor, Tensor]:
    """The reference formulas over chunks of rows, on any device."""
    how = Form(*form)  # type: ignore[arg-type]
    parts, slope = [], torch.empty_like(scores_a)
    for start in range(0, len(scores_a), CHUNK):
        rows = slice(start, start + CHUNK)
        behind = None if scores_b is None else scores_b[rows]
        part = [column if len(column) == 1 else column[rows] for column in columns]
        sums, slope[rows] = _chunk(scores_a[rows], behind, part, how)
        parts.append(sums)
    if not parts:
        empty = [0.0] * (len(SUMS) - 2) + [float("inf"), float("-inf")]
        return torch.tensor(empty, dtype=torch.float64, device=scores_a.device), slope
    sums = torch.stack(parts)
    return torch.cat([sums[:, :-2].sum(0), sums[:, -2:-1].amin(0), sums[:, -1:].amax(0)]), slope


def margin(scores_a: Tensor, scores_b: Tensor | None, m: Tensor, temperature: float) -> Tensor:
    """z = temperature (r_A - r_B) - m, or temperature r - m for single responses."""
    return temperature * (scores_a if scores_b is None else scores_a - scores_b) - m


def enter(columns: list[Tensor], how: Form) -> tuple[Target, Tensor]:
    """The two columns that the loss reads (nan where a rule is broken), and where the rules hold."""
    given = columns[:-1]
    if how.entry == "folded":
        yes = torch.ones((), dtype=torch.bool, device=given[0].device)
        return Target(given[0], given[1], given[0], ~yes), yes
    valid = reduce(torch.logical_and, (rule.fine for rule in rules(*given)))
    found = target(*given, floor=how.floor)
    return found._replace(b=torch.where(valid, found.b, torch.nan)), valid


def _chunk(
    scores_a: Tensor, scores_b: Tensor | None, columns: list[Tensor], how: Form
) -> tuple[Tensor, Tensor]:
    """Sums and slopes of a chunk."""
    value, derivative = LOSSES[how.loss]
    z = margin(scores_a, scores_b, columns[-1], how.temperature)
    (a, b, weight, clipped), valid = enter(columns, how)
    outside = (b < 0) | (b > a) if how.loss != "mixture" else torch.zeros_like(clipped)
    rowwise = (value(z, a, b), weight, weight.double().square(), clipped, outside, ~valid)
    sums = [each.expand(z.shape).sum(dtype=torch.float64) for each in rowwise]
    return torch.stack(
        [*sums, z.amin().double(), z.amax().double()]
    ), how.scale * how.temperature * derivative(z, a, b)
