"""What a loss reads, and what can be done with it: columns of targets, columns of evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators.checks import Array, count, require


@dataclass(frozen=True)
class Counts:
    """Rows an estimator did not take as they came.

    Args:
        clipped: observed rows whose propensity was raised to the floor, or whose weight was cut at the cap
            (pairs from items: items).
        outside: rows whose target b / a is outside [0, 1] (b outside [0, a]).
        capped: rows whose |d| was cut at the cap.
        raised: rows whose D was raised to 1e-6, only with `unsafe`.
        unoffered: rows on which no kind was offered; they weigh nothing.
        shrunk: observed rows whose weight was shrunk to less than half.
        dropped: rows that `drop` left without weight.
        flipped: rows whose preference `flip` turned round.
        smoothed: rows whose target `smooth` moved.
        held: rows whose margin `adaptive_margin` raised to the least one.
    """

    clipped: int = 0
    outside: int = 0
    capped: int = 0
    raised: int = 0
    unoffered: int = 0
    shrunk: int = 0
    dropped: int = 0
    flipped: int = 0
    smoothed: int = 0
    held: int = 0


@dataclass(frozen=True, eq=False)
class Columns:
    """Weight a, weighted target b, margin m: logistic loss a softplus(z) - b z, Brier loss a s^2 - 2 b s + b.

    Args:
        a: weight, may be negative (class-wise). Shape [N].
        b: weight times target, may leave [0, a]. Shape [N].
        m: what is subtracted from the score (difference). Shape [N], in logits.
        counts: what the estimator clipped; nothing counted in columns made by hand.
    """

    a: Array
    b: Array
    m: Array
    counts: Counts = Counts()


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weight w, evidence d, margin m: loss w (softplus(z) - softplus(z + d)), bounded.

    Args:
        w: weight. Shape [N], >= 0.
        d: log-likelihood ratio of the record. Shape [N], in [-30, 30].
        m: what is subtracted from the score (difference). Shape [N], in logits.
        counts: what the estimator clipped; nothing counted in columns made by hand.
    """

    w: Array
    d: Array
    m: Array
    counts: Counts = Counts()


def make(a: Array, b: Array, **counts: int) -> Columns:
    """Columns without a margin, targets outside [0, 1] counted."""
    return Columns(a, b, a * 0, Counts(outside=count((b < 0) | (b > a)), **counts))


def combine(kinds: Sequence[Columns], weight: ArrayLike, offered: ArrayLike) -> Columns:
    """Several two-sided kinds on the same rows, in shares that sum to 1 over the kinds offered.

        share_k = weight_k offered_k / sum_j weight_j offered_j

    Unbiased when every kind is: the shares do not depend on what was recorded. Rows on which no kind was
    offered get a = b = 0 and are counted. Where a kind was not offered its columns do not matter: give its
    estimator propensity 1 there.

    Args:
        kinds: columns of each kind, with one margin. K of them, each [N].
        weight: trust in each kind, for instance 1 / variance measured on gold. Shape [K], > 0.
        offered: 1 where the kind was offered. Shape [N, K], 0 or 1.

    Raises:
        ValueError: a shape or a value is not as described.
    """
    mask, trust = np.asarray(offered), np.asarray(weight)
    rows = len(kinds[0].a) if kinds else 0
    if trust.shape != (len(kinds),) or mask.shape != (rows, len(kinds)):
        raise ValueError(
            f"{len(kinds)} kinds of {rows} rows: weight has shape {trust.shape}, offered {mask.shape}; "
            f"({len(kinds)},) and ({rows}, {len(kinds)}) are needed"
        )
    if any(columns.a.shape != (rows,) for columns in kinds):
        raise ValueError(f"the kinds have {[len(columns.a) for columns in kinds]} rows; one number is needed")
    offers = ((mask == 0) | (mask == 1)).all(1)
    require(offers, "offered", mask, "0 or 1", "1 where the kind could have been used")
    require(trust > 0, "weight", trust, "positive", "leave out a kind that counts for nothing", unit="kind")
    if any(not np.array_equal(columns.m, kinds[0].m) for columns in kinds):
        raise ValueError("the kinds have different margins; one margin per row is needed")
    share = mask * trust
    total = share.sum(1)
    share = share / np.where(total == 0, 1, total)[:, None]
    parts = [(share[:, k] * columns.a, share[:, k] * columns.b) for k, columns in enumerate(kinds)]
    both = make(
        sum(a for a, _ in parts),
        sum(b for _, b in parts),
        unoffered=count(total == 0),
        **_changed(kinds),
    )
    return replace(both, m=kinds[0].m)


def pairs_from_items(items: Columns, row_a: ArrayLike, row_b: ArrayLike) -> Columns:
    """Pairs of responses that were judged one by one: a = 1, b = (1 + Y_A - Y_B) / 2 with Y = b of each item.

    The clean target is 1 when only A is liked, 0 when only B is, and 1/2 for a tie. Linear in Y, so unbiased
    whenever `items` are, even if the flips of A and B are correlated. Y from `doubly_robust` has the least
    variance (item-wise AIPW); Y from `ips` works too. Shown-but-silent responses take part.

    Args:
        items: columns of single responses, all margins 0. Shape [N].
        row_a: rows of the responses in slot A. Shape [P], in [0, N).
        row_b: rows of the responses in slot B. Shape [P], in [0, N).

    Raises:
        ValueError: a shape or a row number is not as described.
    """
    ahead, behind = np.asarray(row_a), np.asarray(row_b)
    if ahead.ndim != 1 or ahead.shape != behind.shape:
        raise ValueError(f"row_a has shape {ahead.shape}, row_b {behind.shape}; one of each a pair is needed")
    for name, rows in (("row_a", ahead), ("row_b", behind)):
        inside = (rows >= 0) & (rows < len(items.b))
        require(inside, name, rows, f"in [0, {len(items.b)})", "it numbers the items", unit="pair")
    require(items.m == 0, "margin of the items", items.m, "0", "a pair has a margin, its items do not")
    b = (1 + items.b[ahead] - items.b[behind]) / 2
    return make(b * 0 + 1, b, **_changed([items]))


def _changed(kinds: Sequence[Columns]) -> dict[str, int]:
    """What was counted while the columns were made, summed."""
    names = ("clipped", "raised", "shrunk", "dropped", "flipped", "smoothed", "held")
    return {name: sum(getattr(columns.counts, name) for columns in kinds) for name in names}


def swap(columns: Columns) -> Columns:
    """The same pairs with slots A and B exchanged: a, a - b, -m; every loss keeps its value at -z."""
    return replace(columns, b=columns.a - columns.b, m=-columns.m)


def ess(weight: ArrayLike) -> float:
    """Effective sample size of Kish, (sum w)^2 / sum w^2; 0 when nothing weighs anything.

    Args:
        weight: weight of each row, for instance `Columns.a`. Shape [N].
    """
    w = np.asarray(weight, np.float64)
    square = float((w * w).sum())
    return float(w.sum()) ** 2 / square if square else 0.0
