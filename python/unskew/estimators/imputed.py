"""The imputation: alone, as columns, and the columns that it is itself fitted on."""

from fractions import Fraction

from numpy.typing import ArrayLike

from unskew.estimators.checks import FLOOR, aligned, corrected, count, floored, probabilities
from unskew.estimators.columns import Columns, make


def imputation(imputation: ArrayLike) -> Columns:
    """Imputation only: a = 1, b = q. What was recorded on the row is not looked at.

    Biased by q - P(liked) in b; unbiased when q is P(true label = 1), whatever decides who gives feedback.
    Its variance is that of the fit of q alone. A model trained on it learns what q knows, and no more: it
    distils q, or the mean of several q (also called the direct method).

    Args:
        imputation: P(true label = 1), from a model that has not seen the row's own record. Shape [N], in
            [0, 1].

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Dudík et al., "Doubly Robust Policy Evaluation and Optimization" (2014), direct method.
    """
    (q,) = probabilities(imputation=imputation)
    return make(q * 0 + 1, q)


def mrdr_fit(
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    floor: float | Fraction = FLOOR,
    unsafe: bool = False,
) -> Columns:
    """What the imputation of the more robust DR is fitted on, by Brier: a = o (1 - p) / p^2, b = a t.

    There is no MRDR estimator of its own: its columns are those of `doubly_robust`, with a q that was fitted
    with these weights. They make the fit of q minimise the variance of the DR target,

        Var(q + o / p (t - q)) = E[a (t - q)^2] + Var(t)

    for any q that does not see the row's own record, when propensity, fnr and fpr are right. (With the
    logistic loss the best q is the same where the model can reach P(liked), another where it cannot.) Use
    `Columns.a` alone as the sample weight of a fit to t elsewhere. Rows that are always observed weigh
    nothing.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        propensity: P(observed = 1), one number or one a row. In (0, 1].
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.
        floor: smaller propensities are raised to it and counted; 0 for none.
        unsafe: accept any rates, D raised to 1e-6; for recipes that repeat a paper.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Guo et al., "Enhanced Doubly Robust Learning for Debiasing Post-Click Conversion Rate Estimation"
    (2021), MRDR; Farajtabar et al., "More Robust Doubly Robust Off-policy Evaluation" (2018).
    """
    y, o, p, miss, false = aligned(label, observed, propensity=propensity, fnr=fnr, fpr=fpr)
    p, low = floored("propensity", p, floor)
    target, raised = corrected(y, miss, false, unsafe)
    weight = o * (1 - p) / (p * p)
    return make(weight, weight * target, clipped=count(low & (o == 1)), raised=raised)
