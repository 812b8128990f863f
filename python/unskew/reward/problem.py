"""What a head is trained on: columns, the features they speak of, and the margin z that joins them.

z = temperature (r_A - r_B) - m      or      z = temperature r - m for single responses
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unskew import losses
from unskew.estimators import Columns, Mixture

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Tensor = torch.Tensor
Loss = Literal["brier", "logistic", "mixture"]


@dataclass(frozen=True)
class Problem:
    """The entries of a set of columns that weigh something, with their features.

    Args:
        X: features of the responses used. Shape [R, D].
        ahead, behind: rows of X of each entry; `behind` is None for single responses. Shape [E].
        held: entry is held out. Shape [E].
        weight, second, margin: a, b, m or w, d, m. Shape [E], float64.
        temperature: factor on the scores.
        loss, metric: names of `unskew.losses`.
        counts: what was kept, left out, negative and outside [0, 1].
    """

    X: Tensor
    ahead: Tensor
    behind: Tensor | None
    held: Tensor
    weight: Tensor
    second: Tensor
    margin: Tensor
    temperature: float
    loss: Loss
    metric: Loss
    counts: dict[str, int]

    def z(self, score: Callable[[Tensor], Tensor], entries: Tensor | None = None) -> Tensor:
        """Margin of the entries, all when absent, with rows of X scored by `score`. Float64."""
        ahead = self.ahead if entries is None else self.ahead[entries]
        behind = self.behind if self.behind is None or entries is None else self.behind[entries]
        margin = self.margin if entries is None else self.margin[entries]
        if entries is not None:  # a batch: score its own rows only
            difference = score(self.X[ahead]) - (0 if behind is None else score(self.X[behind]))
        elif behind is None:  # all single responses: row i is entry i
            difference = score(self.X)
        else:
            scores = score(self.X)
            difference = scores[ahead] - scores[behind]
        return self.temperature * difference.double() - margin

    def mean(self, loss: Loss, z: Tensor, where: Tensor) -> float:
        """Sum of a loss / sum of weight over the entries where a mask holds; z of all entries."""
        weight, second = self.weight[where], self.second[where]
        _, stats = losses.folded(z[where], None, weight, second, loss=loss)
        return stats.loss / float(weight.sum())


def pose(
    X: NDArray[Any],
    columns: Columns | Mixture,
    groups: NDArray[Any],
    pairs: tuple[Ints, Ints] | None,
    loss: Loss,
    metric: Loss | None,
    temperature: float,
    validation: float,
    seed: int,
) -> Problem:
    """Columns and features, checked, without the entries that weigh nothing; see `fit_head`."""
    names = ("w", "d", "m") if loss == "mixture" else ("a", "b", "m")
    ends = (np.arange(len(X)), None) if pairs is None else (np.asarray(pairs[0]), np.asarray(pairs[1]))
    if ends[1] is not None:
        if ends[0].ndim != 1 or ends[0].shape != ends[1].shape:
            raise ValueError(
                f"pairs has shapes {ends[0].shape} and {ends[1].shape}; [pairs], twice, is needed"
            )
        strange = int(((np.minimum(ends[0], ends[1]) < 0) | (np.maximum(ends[0], ends[1]) >= len(X))).sum())
        if strange:
            raise ValueError(f"pairs has {strange} entries that are not rows of X, which has {len(X)}")
    entries = len(ends[0])
    if len(groups) != len(X):
        raise ValueError(f"groups has {len(groups)} entries, X has {len(X)} rows; one of each is needed")
    weight, second, margin = (_column(columns, name, entries) for name in names)
    keep = np.flatnonzero((weight != 0) if loss == "mixture" else ((weight != 0) | (second != 0)))
    ahead, behind = ends[0][keep], None if ends[1] is None else ends[1][keep]
    held = _held_out(np.asarray(groups)[ahead], validation, seed)
    for side, chosen in (("training", ~held), ("held-out", held)):
        total = float(weight[keep][chosen].sum())
        if not total > 0:
            raise ValueError(
                f"{names[0]} sums to {total:g} over the {int(chosen.sum())} {side} entries; it must be "
                "positive. too few entries have a weight, or too many weights are negative"
            )
    used = ahead
    if behind is not None:
        used, back = np.unique(np.concatenate([ahead, behind]), return_inverse=True)
        ahead, behind = np.split(back, 2)
    rows = torch.from_numpy(np.array(X if len(used) == len(X) else X[used], np.float32))
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("X holds a value that is not finite; repair the features or drop the row")
    target = second[keep] / np.where(weight[keep] == 0, np.nan, weight[keep])
    return Problem(
        X=rows,
        ahead=torch.arange(len(used)) if behind is None else torch.from_numpy(ahead),
        behind=None if behind is None else torch.from_numpy(behind),
        held=torch.from_numpy(held),
        weight=torch.from_numpy(weight[keep]),
        second=torch.from_numpy(second[keep]),
        margin=torch.from_numpy(margin[keep]),
        temperature=temperature,
        loss=loss,
        metric=metric or ("mixture" if loss == "mixture" else "brier"),
        counts={
            "entries": entries,
            "silent": entries - len(keep),
            "training": int((~held).sum()),
            "validation": int(held.sum()),
            "negative": int((weight < 0).sum()),
            "outside": 0 if loss == "mixture" else int(((target < 0) | (target > 1)).sum()),
        },
    )


def _column(columns: Columns | Mixture, name: str, entries: int) -> NDArray[np.float64]:
    """One column in float64, a single number repeated."""
    values = np.asarray(getattr(columns, name), np.float64)
    if values.ndim and values.shape != (entries,):
        raise ValueError(
            f"column {name} has shape {values.shape}; [{entries}] is needed, one entry a row or pair"
        )
    values = np.broadcast_to(values, (entries,))
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(
            f"column {name} has {bad} entries that are not finite; the estimator must leave none"
        )
    return values


def _held_out(groups: NDArray[Any], share: float, seed: int) -> Bools:
    """Entries of a random `share` of the groups; at least one group on either side."""
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"groups has {len(names)} distinct values where there is a weight; at least 2 are needed"
        )
    chosen = np.zeros(len(names), bool)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen[np.random.default_rng(seed).permutation(len(names))[:count]] = True
    return np.asarray(chosen[member])
