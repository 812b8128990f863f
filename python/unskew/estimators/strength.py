"""Preference strength: how far several reward models agree with a recorded pair, and what to do about it.

    mean_i = mean_k (r_k(A) - r_k(B))        sd_i = sqrt(mean_k (r_k(A) - r_k(B) - mean_i)^2)

in slot order: positive when the heads prefer A. Against the record, `agreement` is the mean in the order of
the recorded preference; the lowest are probably wrong, the lowest but one fifth doubtful. Remedies are
functions on columns:

    drop              a = b = 0                            where
    flip              b -> a - b                           where; the margin and the slots stay
    smooth            b -> (1 - 2 alpha) b + alpha a       where
    adaptive_margin   m -> m + mean                        everywhere, signed with the slots

The heads must not have seen the pairs that they judge: out of fold, or they vote for what they learned. The
order is fixed: flip or drop, then smooth, then weight; smoothing and noise correction undo each other.

**They are biased by design.** Where the heads decide, the record does not: with a fixed threshold c, flipping
all pairs with agreement < -c makes the target of every pair with |mean| > c the verdict of the heads,
whatever was recorded (error imputation with a hard q); dropping them leaves the pairs on which the record
agreed.

Source: Wang et al., "Secrets of RLHF in Large Language Models Part II: Reward Modeling" (arXiv 2401.06080).
Out-of-fold votes, slots, and the margin inside the sigmoid are ours.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators.checks import Array, count, require
from unskew.estimators.columns import Columns

Number = float | Fraction


@dataclass(frozen=True, eq=False)
class Strength:
    """What several reward models say about pairs.

    Args:
        mean: mean margin r(A) - r(B); exchanging the slots turns its sign. Shape [N], in logits.
        sd: standard deviation of the margins over the heads, population form. Shape [N], >= 0, float64.
    """

    mean: Array
    sd: Array


def preference_strength(scores_a: ArrayLike, scores_b: ArrayLike, *, standardise: bool = False) -> Strength:
    """Mean and standard deviation of the margins of M reward models on N pairs.

    Args:
        scores_a: rewards of the responses in slot A, by heads that did not see the pair. Shape [M, N],
            finite.
        scores_b: rewards of the responses in slot B. Shape [M, N], finite.
        standardise: divide the margins of each head by their root mean square over the pairs, for heads of
            different scale; the mean is then no margin in logits.

    Raises:
        ValueError: a shape or a value is not as described, or a head gives every pair the margin 0.

    Source: arXiv 2401.06080, preference strength.
    """
    a, b = np.asarray(scores_a), np.asarray(scores_b)
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(
            f"scores_a has shape {a.shape}, scores_b {b.shape}; a row a head, a column a pair are needed"
        )
    margins = a - b if a.dtype == object or b.dtype == object else a.astype(np.float64) - b
    floats = margins.astype(np.float64)
    finite = np.isfinite(floats).all(0)
    require(finite, "margin", floats.T, "finite", "every head must score every pair", unit="pair")
    if standardise:
        scale = np.sqrt((floats * floats).mean(1))
        require(scale > 0, "margins", scale, "not all 0", "it tells no pair from another", unit="head")
        margins = floats = floats / scale[:, None]
    return Strength(np.asarray(margins.sum(0) / len(margins)), floats.std(0))


def agreement(columns: Columns, mean: ArrayLike) -> Array:
    """Mean margin in the order of the recorded preference: mean x sign(2 b - a); exchanging slots keeps it.

    0 where nothing was recorded, and where the record is a tie. The recorded side is the one to which the
    loss pulls at z = 0, the sign of 2 b - a: of `naive`, corrected or weighted labels it is that of the
    label; doubly robust columns mix it with the imputation, so take the agreement before.

    Args:
        columns: pairs. Shape [N].
        mean: of `preference_strength`, in the same slots. Shape [N].

    Raises:
        ValueError: the shapes differ.
    """
    return np.asarray(_of_pairs("mean", mean, columns) * _side(columns))


def weakest(agreement: ArrayLike, among: ArrayLike, share: Number) -> Array:
    """The pairs with the least agreement: at most a share of those among which it is taken.

    Pairs that tie with the first one too many are left out. The published runs flip the lowest .1; the lowest
    .2 are mostly wrong, up to .4 doubtful.

    Args:
        agreement: of each pair. Shape [N].
        among: true where there is a record, such as `columns.a > 0`. Shape [N].
        share: in [0, 1].

    Returns:
        True where the agreement is among the least. Shape [N].

    Raises:
        ValueError: a shape or a value is not as described.
    """
    values, mask = np.asarray(agreement, np.float64), np.asarray(among, bool)
    if values.ndim != 1 or values.shape != mask.shape:
        raise ValueError(f"agreement has shape {values.shape}, among {mask.shape}; the same is needed")
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must be in [0, 1]")
    ranked = np.sort(values[mask])
    most = int(share * len(ranked))
    if most == len(ranked):
        return np.asarray(mask)
    return np.asarray(mask & (values < ranked[most]))


def drop(columns: Columns, where: ArrayLike) -> Columns:
    """No weight where the record is not believed: a = b = 0; rows that had a weight are counted.

    Unbiased for the clean loss of the pairs that stay when `where` does not depend on their own record;
    otherwise the pairs that stay are those on which record and heads agree.

    Args:
        columns: pairs. Shape [N].
        where: true where to drop. Shape [N].

    Raises:
        ValueError: the shapes differ.
    """
    mask = _mask(where, columns)
    gone = count(mask & (columns.a != 0))
    a, b = columns.a * np.where(mask, 0, 1), columns.b * np.where(mask, 0, 1)
    counts = replace(columns.counts, dropped=columns.counts.dropped + gone, outside=_outside(a, b))
    return replace(columns, a=a, b=b, counts=counts)


def flip(columns: Columns, where: ArrayLike) -> Columns:
    """The recorded preference turned round: b -> a - b, the margin as it was; rows with weight are counted.

    On a fixed `where` the target becomes 1 - P(A preferred). For corrected targets it is the same as flipping
    the label and exchanging fnr and fpr.

    Args:
        columns: pairs. Shape [N].
        where: true where to flip. Shape [N].

    Raises:
        ValueError: the shapes differ.
    """
    mask = _mask(where, columns)
    counts = replace(columns.counts, flipped=columns.counts.flipped + count(mask & (columns.a != 0)))
    return replace(columns, b=np.where(mask, columns.a - columns.b, columns.b), counts=counts)


def smooth(columns: Columns, alpha: Number, where: ArrayLike = True) -> Columns:
    """Soft labels: b -> (1 - 2 alpha) b + alpha a, for targets in [0, 1]. Smoothed rows are counted.

    The expected target t becomes alpha + (1 - 2 alpha) t: the target of labels that were flipped at rate
    alpha. That is the inverse of noise correction with fnr = fpr = alpha, so corrected targets are refused:
    after the same rate the two cancel to the raw label. Doubly robust and class-wise targets, which leave [0,
    1] too, are refused for the order's sake: smooth the label first. (Corrected rows whose target stayed in
    [0, 1] cannot be told from raw ones.)

    Args:
        columns: pairs or responses with 0 <= b <= a. Shape [N].
        alpha: in [0, 1/2].
        where: true where to smooth, for instance where the agreement is negative. Shape [N], or one for all.

    Raises:
        ValueError: a shape or a value is not as described, or a target is outside [0, 1].
    """
    if not 0 <= alpha <= 0.5:
        raise ValueError(f"alpha is {alpha}; it must be in [0, 1/2], the share of labels taken as flipped")
    wild = _outside(columns.a, columns.b)
    if wild:
        raise ValueError(
            f"targets of {wild} rows are outside [0, 1]: corrected for noise, or doubly robust. "
            "Smoothing is the inverse of noise correction and would undo it; use one of the two, and smooth "
            "before any correction for missing feedback"
        )
    mask = _mask(where, columns)
    share = columns.a.dtype.type(alpha)
    soft = (1 - 2 * share) * columns.b + share * columns.a
    moved = columns.counts.smoothed + count(mask & (soft != columns.b))
    return replace(columns, b=np.where(mask, soft, columns.b), counts=replace(columns.counts, smoothed=moved))


def adaptive_margin(columns: Columns, mean: ArrayLike, *, least: Number | None = None) -> Columns:
    """Margin by strength: m -> m + mean, so that a win of A is asked to be as clear as the heads find it.

    The best score (difference) moves by m exactly, whatever the target. The sign is that of the slots, not of
    the record: a pair recorded for B has z = r(A) - r(B) - mean as well, which asks B to lead by -mean. Where
    the heads are against the record the margin relaxes it; `least` stops that, and makes the margin depend on
    the record there.

    Args:
        columns: pairs. Shape [N].
        mean: of `preference_strength`, in the same slots. Shape [N], in logits of the loss's z.
        least: smallest margin in the order of the recorded preference, such as 0; margins raised to it are
            counted as held. None keeps all as they are.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: arXiv 2401.06080, adaptive margin, with the margin inside the sigmoid, where it has a slope.
    """
    move = _of_pairs("mean", mean, columns)
    held = columns.counts.held
    if least is not None:
        side = _side(columns)
        low = (side != 0) & (side * move < least)
        move, held = np.where(low, side * move.dtype.type(least), move), held + count(low)
    return replace(columns, m=columns.m + move, counts=replace(columns.counts, held=held))


def _side(columns: Columns) -> Array:
    """1 where A was recorded as preferred, -1 where B, 0 for ties and where nothing was."""
    lead = 2 * columns.b - columns.a
    return (lead > 0).astype(np.int64) - (lead < 0).astype(np.int64)


def _outside(a: Array, b: Array) -> int:
    return count((b < 0) | (b > a))


def _of_pairs(name: str, values: ArrayLike, columns: Columns) -> Array:
    """The values, of the shape of the columns; exact ones stay exact."""
    found = np.asarray(values)
    if found.shape != columns.a.shape:
        raise ValueError(f"{name} has shape {found.shape}, the columns {columns.a.shape}; the same is needed")
    return found if found.dtype == object else found.astype(np.float64)


def _mask(where: ArrayLike, columns: Columns) -> Array:
    mask = np.asarray(where, bool)
    if mask.ndim and mask.shape != columns.a.shape:
        raise ValueError(f"where has shape {mask.shape}, the columns {columns.a.shape}; the same is needed")
    return np.broadcast_to(mask, columns.a.shape)
