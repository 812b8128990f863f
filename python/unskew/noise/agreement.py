"""One symmetric flip rate from how often independent labels of the same item agree.

    A = P(two labels agree) = (1 - e)^2 + e^2      =>      e = (1 - sqrt(2 A - 1)) / 2

and, asking of each label whether it goes against all m - 1 others of its item when those are unanimous,

    d = P(against | the others are unanimous)
      = ((1 - e)^(m-1) e + e^(m-1) (1 - e)) / ((1 - e)^(m-1) + e^(m-1))

which is 1 - A for two labels and close to e from three on, since two rarely err together.

Both rest on labels that err independently of each other, with one rate for either class. Where people truly
differ in taste they disagree without erring, and e is too high; where they share errors, e is too low.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unskew.noise.checks import matrix
from unskew.noise.records import Noise, NoiseRefused
from unskew.rates import Bools, Floats, Share


def from_agreement(labels: ArrayLike, *, kind: str = "feedback") -> Noise:
    """Symmetric flip rate from the agreement of every label with the other labels of its item.

        A = mean over labels of (share of the other labels of the item that are equal)
        fnr = fpr = e = (1 - sqrt(2 A - 1)) / 2,   sd(e) = sd(A) / (2 sqrt(2 A - 1))

    sd(A) from the spread between items (delta method), half an item of each outcome added; agreement without
    exception counts as half an item with one. Assumption: labels of an item err independently, at one rate
    for both classes and all sources; with different rates e is between them.

    Args:
        labels: 1, 0, or NaN where there is none; items with fewer than two labels play no part. Shape [N, K].
        kind: name of the kind, for messages.

    Returns:
        fnr = fpr, fully correlated; source `agreement`.

    Raises:
        ValueError: shape or labels are wrong, or no item has two labels.
        NoiseRefused: labels agree half of the time or less, which no symmetric rate below 1/2 gives.

    Source: inversion of the agreement of two readings of one symmetric channel; agreement of .73 to .77, as
        between human preference labels, gives e of .16 to .13.

    Example:
        >>> noise = from_agreement([[1, 1]] * 41 + [[0, 0]] * 41 + [[1, 0]] * 18)
        >>> round(noise.fnr, 3), round(noise.fpr, 3)
        (0.1, 0.1)
    """
    table = matrix(labels, 2)
    m = (~np.isnan(table)).sum(1)
    table, m = table[m > 1], m[m > 1].astype(np.float64)
    if not len(m):
        raise ValueError(f"{kind}: no item has two labels; agreement needs several labels of the same item")
    ones = np.nansum(table, axis=1)
    agreed = (ones * (ones - 1) + (m - ones) * (m - ones - 1)) / (m - 1)  # labels x share of others
    A = min(float(agreed.sum() / m.sum()), 1 - 0.5 / (len(m) + 1))
    if A <= 0.5:
        raise NoiseRefused(
            f"{kind}: labels of one item agree in {A:.1%} of cases; it must be more than half, since two "
            "coins do as well. Look whether one source is coded the other way round, or label gold"
        )
    size = np.append(m, [m.mean(), m.mean()])
    times = np.append(np.ones(len(m)), [0.5, 0.5])
    share = np.append(agreed / m, [1.0, 0.0])
    middle = float((times * size) @ share / (times @ size))
    variance = float(times @ (size * (share - middle)) ** 2) / float(times @ size) ** 2
    root = float(np.sqrt(2 * A - 1))
    e = (1 - root) / 2
    return Noise(e, e, np.full((2, 2), variance / (4 * root * root)), "agreement", kind)


@dataclass(frozen=True)
class LeaveOneOut:
    """How often a label goes against all others of its item, when those are unanimous.

    Args:
        down: P(label is 0 | the others are all 1).
        up: P(label is 1 | the others are all 0).
        error: the symmetric flip rate under which a label goes against the others as often as seen.
        labels: labels whose others are unanimous, by what the others say: `1`, `0`.
    """

    down: Share
    up: Share
    error: float
    labels: dict[str, int]


def leave_one_out(labels: ArrayLike, *, kind: str = "feedback") -> LeaveOneOut:
    """Flip rates of one label against the unanimous others, by class, and the symmetric rate behind them.

    `down` and `up` are close to fnr and fpr as long as the others rarely err together; `error` corrects for
    that under one symmetric rate, exactly (module docstring), mixed over the numbers of labels that occur.

    Args:
        labels: 1, 0, or NaN where there is none; items with fewer than two labels play no part. Shape [N, K].
        kind: name of the kind, for messages.

    Raises:
        ValueError: shape or labels are wrong, or nowhere are the others unanimous for 1 and for 0.
        NoiseRefused: labels go against the others half of the time or more.
    """
    table = matrix(labels, 2)
    given = ~np.isnan(table)
    others = given.sum(1, keepdims=True) - given
    ones = np.nansum(table, axis=1, keepdims=True) - np.where(given, table, 0)
    told = given & (others > 0)
    yes, no = told & (ones == others), told & (ones == 0)
    if not yes.any() or not no.any():
        raise ValueError(
            f"{kind}: the others of a label say 1 together {int(yes.sum())} times and 0 together "
            f"{int(no.sum())} times; both are needed. Give several labels of the same items"
        )

    def against(rows: Bools, label: float) -> Share:
        flips = rows & (table == label)
        return _clustered(flips.sum(1).astype(np.float64), rows.sum(1).astype(np.float64))

    either = yes | no
    flipped = float(((yes & (table == 0)) | (no & (table == 1))).sum())
    sizes, counts = np.unique(others[:, 0][:, None].repeat(table.shape[1], 1)[either], return_counts=True)
    if flipped >= either.sum() / 2:
        raise NoiseRefused(
            f"{kind}: {flipped:.0f} of {int(either.sum())} labels go against the unanimous others; fewer "
            "than half must. Look whether one source is coded the other way round, or label gold"
        )
    return LeaveOneOut(
        against(yes, 0),
        against(no, 1),
        _invert(flipped, sizes.astype(np.float64), counts.astype(np.float64)),
        {"1": int(yes.sum()), "0": int(no.sum())},
    )


def disagreement(e: float, others: Floats) -> Floats:
    """P(a label goes against `others` unanimous labels), all of flip rate e. Shape of `others`."""
    right, wrong = (1 - e) ** others, e**others
    return np.asarray((right * e + wrong * (1 - e)) / (right + wrong))


def _invert(flipped: float, others: Floats, counts: Floats) -> float:
    """The e in [0, 1/2] with sum counts disagreement(e, others) = flipped, by halving; it grows with e."""
    low, high = 0.0, 0.5
    for _ in range(60):
        e = (low + high) / 2
        if float(counts @ disagreement(e, others)) < flipped:
            low = e
        else:
            high = e
    return (low + high) / 2


def _clustered(hits: Floats, trials: Floats) -> Share:
    """Share of hits, at least half a hit, with its variance from the spread between items."""
    total = float(trials.sum())
    p = max(float(hits.sum()), 0.5 * total / (total + 1)) / total
    smooth = (hits.sum() + 0.5) / (total + 1)
    residual = float(((hits - smooth * trials) ** 2).sum())
    return Share(p, max(residual, total * smooth * (1 - smooth)) / total**2)
