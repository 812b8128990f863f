"""Error rates that differ between rows: by cell (surface, language, segment), small cells shrunk.

    fnr_c = (n_c own_c + s parent_c) / (n_c + s),   n_c effective gold rows of the class in cell c

The parent of a coarsest cell is the rate of the kind, the parent of a finer one the cell around it. The
strength s of each level and class is the one under which the gold is most likely (beta-binomial): cells that
truly differ keep their own rate, noisy ones lean on their parents.

Rates by cell remove what averages hide (two surfaces with rates (.45, .05) and (.05, .25)), but every
correction divides by D of the row: where cells differ little, one rate for the kind has the smaller variance.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.noise.gold import columns
from unskew.noise.pooling import PRIOR
from unskew.noise.records import Noise, NoiseRefused
from unskew.rates import Bools, Floats, Ints, Share, beta_strength, design_weight


@dataclass(frozen=True)
class Cells:
    """Flip rates of every row of a two-sided kind.

    Args:
        fnr: P(recorded 0 | true 1) of each row. Shape [N].
        fpr: P(recorded 1 | true 0) of each row. Shape [N].
        rates: rates of each cell of the finest level; `shrunk` is the weight of the parent.
        pooled: rates of the kind.
        strength: effective gold rows that the parent counts for, (fnr, fpr) of each level. Length L.
    """

    fnr: Floats
    fpr: Floats
    rates: dict[Hashable, Noise]
    pooled: Noise
    strength: tuple[tuple[float, float], ...]

    def checked(self) -> "Cells":
        """These rates, when every row may be divided by its D.

        Raises:
            NoiseRefused: some cell is refused by the rule for kinds; names the first and counts the rest.
        """
        refused = [reason for rate in self.rates.values() if (reason := rate.refusal)]
        if refused:
            raise NoiseRefused(
                f"{len(refused)} of {len(self.rates)} cells are refused; the first: {refused[0]}. Or use "
                "fewer cells"
            )
        return self


def by_cell(
    positive: ArrayLike,
    gold: ArrayLike,
    cell: ArrayLike | Sequence[ArrayLike],
    *,
    observed: ArrayLike | None = None,
    usable: ArrayLike | None = None,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    prior: float | None = None,
    kind: str = "feedback",
) -> Cells:
    """Flip rates of a two-sided kind row by row: gold within cells, each shrunk towards the cell around it.

        own_c = sum w [flipped] / sum w over gold rows of the class in the cell, w their inverse design weight
        var_c = fnr_c (1 - fnr_c) / (n_c + min(s, 10) + 1) + (s / (n_c + s))^2 var(parent)

    Assumption: rates depend on nothing but the cell and the true label, and cells of one level are alike
    before their gold is seen. Gold was chosen at random, or with probability `prob`. In the variance the
    parent counts for 10 rows at most, because s, too, is estimated.

    Args:
        positive: recorded label 1, read where observed. Shape [N].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        cell: cell of each row, or several columns from coarse to fine, each nested in the one before it.
            Shape [N] each.
        observed: was anything recorded; everywhere when absent. Shape [N].
        usable: rows on which the kind was offered and its window is closed; all when absent. Shape [N].
        design: `rates.RANDOM` or `rates.STRATIFIED` of gold rows; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].
        prior: effective gold rows that a parent counts for; the most likely number when absent.
        kind: name of the kind, for messages.

    Raises:
        ValueError: the shapes differ, a level is not nested in the one before, or a class has no gold with a
            record.

    Source: Kleinman, "Proportions with Extraneous Variance" (1973), level by level.
    """
    up, label, seen, use, ways, chance = columns(positive, gold, observed, usable, design, prob)
    voted = use & seen & ~np.isnan(label)
    levels = _levels(cell, up.shape)
    weight = np.zeros(len(up))
    weight[voted] = design_weight(ways[voted], chance[voted])
    true, flipped = {"fnr": np.nan_to_num(label), "fpr": 1 - np.nan_to_num(label)}, {"fnr": ~up, "fpr": up}
    classes = {name: (weight * share * voted, flipped[name]) for name, share in true.items()}
    for name, (mass, _) in classes.items():
        if not mass.sum() > 0:
            raise ValueError(
                f"{kind}: {int(voted.sum())} gold rows carry a record, none of them counts for {name}; "
                "rates need both classes. Label more rows of each record (`unskew audit --gold-plan`)"
            )
    found = {name: _shrunk(*parts, levels, prior) for name, parts in classes.items()}
    names = _finest(cell)
    miss, false = found["fnr"], found["fpr"]
    first = np.unique(levels[-1], return_index=True)[1]
    rates = {
        names[row]: Noise(
            float(miss.rate[row]),
            float(false.rate[row]),
            np.diag([miss.variance[row], false.variance[row]]),
            "gold",
            f"{kind} in {names[row]}",
            (float(miss.lean[row]), float(false.lean[row])),
        )
        for row in first
    }
    pooled = Noise(
        miss.pooled.value,
        false.pooled.value,
        np.diag([miss.pooled.variance, false.pooled.variance]),
        "gold",
        kind,
    )
    strength = tuple(zip(miss.strength, false.strength, strict=True))
    return Cells(miss.rate, false.rate, rates, pooled, strength)


@dataclass(frozen=True)
class _Shrunk:
    """One rate, row by row: value, variance and weight of the parent, shape [N] each."""

    rate: Floats
    variance: Floats
    lean: Floats
    pooled: Share
    strength: tuple[float, ...]


def _shrunk(mass: Floats, flipped: Bools, levels: Sequence[Ints], prior: float | None) -> _Shrunk:
    """From the mass of each gold row in the class and whether its record is flipped. Shape [N] each."""
    whole = float(mass.sum()) ** 2 / float(mass @ mass)
    # Half a row of each outcome keeps the rate of the kind inside (0, 1).
    value = (whole * float(mass @ flipped) / float(mass.sum()) + 0.5) / (whole + 1)
    pooled = Share(value, value * (1 - value) / (whole + 2))
    rate, variance = np.full(len(mass), pooled.value), np.full(len(mass), pooled.variance)
    lean, strengths = np.ones(len(mass)), []
    for level in levels:
        size = int(level.max()) + 1
        total, hits, squares = (
            np.bincount(level, values, size) for values in (mass, mass * flipped, mass * mass)
        )
        filled = total > 0
        n = np.divide(total**2, squares, out=np.zeros(size), where=filled)
        own = np.divide(hits, total, out=np.zeros(size), where=filled)
        parent, spread = np.zeros(size), np.zeros(size)
        parent[level], spread[level] = rate, variance
        s = (
            beta_strength(n[filled] * own[filled], n[filled], parent[filled])
            if prior is None
            else float(prior)
        )
        share = np.divide(s, n + s, out=np.ones(size), where=n + s > 0)
        moved = (1 - share) * own + share * parent
        rate = moved[level]
        variance = (moved * (1 - moved) / (n + min(s, PRIOR) + 1) + share**2 * spread)[level]
        lean = share[level]
        strengths.append(s)
    return _Shrunk(rate, variance, lean, pooled, tuple(strengths))


def _levels(cell: ArrayLike | Sequence[ArrayLike], shape: tuple[int, ...]) -> list[Ints]:
    """Number of the cell of each row, level by level, from coarse to fine."""
    levels: list[Ints] = []
    for column in _stack(cell):
        if column.shape != shape:
            raise ValueError(f"cell has shape {column.shape}, the record {shape}; the same is needed")
        level = np.unique(column, return_inverse=True)[1].reshape(-1)
        if levels:
            pairs = np.unique(np.stack([level, levels[-1]]), axis=1)[0]
            if len(pairs) > len(np.unique(level)):
                raise ValueError(
                    f"level {len(levels)} of cell is not nested in the one before: one of its cells lies in "
                    "two. Give columns from coarse to fine, or cells of their combination"
                )
        levels.append(level)
    return levels


def _stack(cell: ArrayLike | Sequence[ArrayLike]) -> list[NDArray[np.generic]]:
    """The columns of cells, from coarse to fine."""
    if isinstance(cell, (list, tuple)) and len(cell) and np.ndim(cell[0]) == 1:
        return [np.asarray(column) for column in cell]
    given = np.asarray(cell)
    return [given] if given.ndim == 1 else list(given)


def _finest(cell: ArrayLike | Sequence[ArrayLike]) -> list[Hashable]:
    """Name of the finest cell of each row."""
    names: list[Hashable] = _stack(cell)[-1].tolist()
    return names
