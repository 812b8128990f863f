"""Weights that cannot be large: a cap or a shrinkage trades variance for a bias whose formula is known.

With w = 1 / p and w' <= w the weight that is used, the share of the clean loss that survives is

    k = p w'        clipped  w' = min(w, cap),           k = min(1, cap p)
                    shrunk   w' = w / (1 + w^2 / L),     k = 1 / (1 + 1 / (L p^2))       L: shrinkage

    IPS    E[a] = k,  E[b] = k P(liked)                          bias of the loss  (k - 1) x clean loss
    DR     E[a] = 1,  E[b] = P(liked) + (1 - k) (q - P(liked))   bias of the loss  (1 - k) x error of q

when propensity, fnr and fpr are right. A cap c is a floor of 1 / c under the propensity; written with the
cap it is the pessimistic shrinkage of Su et al., "Doubly Robust Off-Policy Evaluation with Shrinkage" (2020),
whose optimistic one is `shrunk`, L w / (w^2 + L). No weight of `shrunk` exceeds sqrt(L) / 2.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators.checks import Array, aligned, corrected, count, floored, require
from unskew.estimators.columns import Columns, make

Number = float | Fraction


def clipped_ips(
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    cap: Number,
    unsafe: bool = False,
) -> Columns:
    """`ips` with no weight above a cap: a = o min(1 / p, cap), b = a t. Cut rows are counted as clipped.

    Biased by design: the expectation is k = min(1, cap p) times the clean loss when propensity, fnr and fpr
    are right. Unbiased where cap >= 1 / p.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        propensity: P(observed = 1), one number or one a row. In (0, 1]; no floor.
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.
        cap: largest weight, >= 1.
        unsafe: accept any rates, D raised to 1e-6; for recipes that repeat a paper.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Su et al. (2020), pessimistic shrinkage.
    """
    return _bounded(_clip(cap), label, observed, propensity, None, fnr, fpr, unsafe)


def shrunk_ips(
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    shrinkage: Number,
    unsafe: bool = False,
) -> Columns:
    """`ips` with shrunk weights: a = o w / (1 + w^2 / L), w = 1 / p, b = a t. Losses over half counted.

    Biased by design: the expectation is k = 1 / (1 + 1 / (L p^2)) times the clean loss when propensity, fnr
    and fpr are right. Every weight shrinks, large ones most: weights above sqrt(L) *fall* as 1 / p grows.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        propensity: P(observed = 1), one number or one a row. In (0, 1]; no floor.
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.
        shrinkage: L, positive and finite; the larger, the closer to `ips`.
        unsafe: accept any rates, D raised to 1e-6; for recipes that repeat a paper.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Su et al. (2020), optimistic shrinkage (lambda there).
    """
    return _bounded(_shrink(shrinkage), label, observed, propensity, None, fnr, fpr, unsafe)


def clipped_doubly_robust(
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    imputation: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    cap: Number,
    unsafe: bool = False,
) -> Columns:
    """`doubly_robust` with no weight above a cap: a = 1, b = q + o min(1 / p, cap) (t - q).

    Biased by (1 - k) (q - P(liked)) in b, k = min(1, cap p), when propensity, fnr and fpr are right: not at
    all where the imputation is right, or cap >= 1 / p. Cap 1 is error imputation.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        propensity: P(observed = 1), one number or one a row. In (0, 1]; no floor.
        imputation: P(true label = 1), one number or one a row. In [0, 1].
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.
        cap: largest weight, >= 1.
        unsafe: accept any rates, D raised to 1e-6; for recipes that repeat a paper.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Su et al. (2020), DR with pessimistic shrinkage.
    """
    return _bounded(_clip(cap), label, observed, propensity, imputation, fnr, fpr, unsafe)


def shrunk_doubly_robust(
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    imputation: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    shrinkage: Number,
    unsafe: bool = False,
) -> Columns:
    """`doubly_robust` with shrunk weights: a = 1, b = q + o w / (1 + w^2 / L) (t - q), w = 1 / p.

    Between imputation only (L -> 0) and `doubly_robust` (L -> infinity). Biased by (1 - k) (q - P(liked)) in
    b, k = 1 / (1 + 1 / (L p^2)), when propensity, fnr and fpr are right: not at all where the imputation is.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        propensity: P(observed = 1), one number or one a row. In (0, 1]; no floor.
        imputation: P(true label = 1), one number or one a row. In [0, 1].
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.
        shrinkage: L, positive and finite; the larger, the closer to `doubly_robust`.
        unsafe: accept any rates, D raised to 1e-6; for recipes that repeat a paper.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Su et al. (2020), DR with optimistic shrinkage.
    """
    return _bounded(_shrink(shrinkage), label, observed, propensity, imputation, fnr, fpr, unsafe)


Bound = Callable[[Array], tuple[Array, dict[str, Array]]]
"""Weights to smaller weights, and where each count applies."""


def _clip(cap: Number) -> Bound:
    if not cap >= 1:
        raise ValueError(f"cap is {cap}; it must be at least 1, the weight of a row that is always observed")

    def bound(w: Array) -> tuple[Array, dict[str, Array]]:
        most = w.dtype.type(cap)
        # a weight that is not above the cap is kept as it is, so that cap = 1 / p changes nothing
        return np.where(w > most, most, w), {"clipped": w > most}

    return bound


def _shrink(shrinkage: Number) -> Bound:
    if not 0 < shrinkage < float("inf"):
        raise ValueError(f"shrinkage is {shrinkage}; it must be positive and finite. `ips` shrinks nothing")

    def bound(w: Array) -> tuple[Array, dict[str, Array]]:
        L = w.dtype.type(shrinkage)
        return w / (1 + w * w / L), {"shrunk": w * w > L}

    return bound


def _bounded(
    bound: Bound,
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    imputation: ArrayLike | None,
    fnr: ArrayLike,
    fpr: ArrayLike,
    unsafe: bool,
) -> Columns:
    """IPS columns, or DR columns where there is an imputation, with bounded weights."""
    q_given = 0 if imputation is None else imputation
    told = {"propensity": propensity, "imputation": q_given, "fnr": fnr, "fpr": fpr}
    y, o, p, q, miss, false = aligned(label, observed, **told)
    require((q >= 0) & (q <= 1), "imputation", q, "in [0, 1]", "it is a probability, not a logit")
    p, _ = floored("propensity", p, 0)
    target, raised = corrected(y, miss, false, unsafe)
    weight, where = bound(1 / p)
    counts = {name: count(rows & (o == 1)) for name, rows in where.items()}
    if imputation is None:
        return make(o * weight, o * weight * target, raised=raised, **counts)
    return make(o * 0 + 1, q + o * weight * (target - q), raised=raised, **counts)
