"""How much one row of IPS or DR varies, and when the imputation pays.

With e = P(liked), r = fpr + D e the probability that 1 is recorded, and right propensity and rates,

    Var(t) = r (1 - r) / D^2
    Var(DR target)     = Var(t) / p + (1 / p - 1) (e - q)^2
    Var(slope of DR)   = the same: the slope of the logistic loss is s - b, and s is not random
    Var(slope of IPS)  = Var(t) / p + (1 / p - 1) (e - s)^2        slope a s - b = o / p (s - t)

so IPS is DR whose imputation is the model's own prediction s, and DR varies less exactly where
|q - e| < |s - e|: where the imputation is nearer the truth than the model that is being trained. At s = 0,
the variance of the weighted target b of IPS, the region is 0 < q < 2 e. Neither p nor the noise moves it.
"""

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators.checks import Array, corrected, floored, probabilities


def target_variance(
    liked: ArrayLike, propensity: ArrayLike, reference: ArrayLike, fnr: ArrayLike = 0, fpr: ArrayLike = 0
) -> Array:
    """Variance of one row's target given its features: r (1 - r) / (D^2 p) + (1 / p - 1) (e - reference)^2.

    Of the DR target when the reference is the imputation q; of the slope a s - b of IPS when it is the
    predicted probability s, and of its b when it is 0. Holds when propensity, fnr and fpr are right and
    feedback does not depend on the true label given the features.

    Args:
        liked: e = P(true label = 1). Shape [N], in [0, 1].
        propensity: P(observed = 1), one number or one a row. In (0, 1]; no floor.
        reference: imputation q, or prediction s, one number or one a row. In [0, 1].
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.

    Returns:
        Variance of each row. Shape [N]; exact when an argument is of Fractions.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Dudík et al., "Doubly Robust Policy Evaluation and Optimization" (2014), the variance of DR, for
    one row and a denoised label (Natarajan et al. 2013).
    """
    e, p, ref, miss, false = probabilities(
        liked=liked, propensity=propensity, reference=reference, fnr=fnr, fpr=fpr
    )
    p, _ = floored("propensity", p, 0)
    zero, one = (corrected(e * 0 + label, miss, false, unsafe=False)[0] for label in (0, 1))
    recorded = false + (1 - miss - false) * e
    noise = recorded * (1 - recorded) * (one - zero) * (one - zero)  # t takes two values, 1 / D apart
    return np.asarray(noise / p + (1 / p - 1) * (e - ref) * (e - ref))


def robust_wins(liked: ArrayLike, imputation: ArrayLike, predicted: ArrayLike) -> Array:
    """Where the slope of DR varies less than that of IPS: |q - e| < |s - e|.

    The comparison of Theorem 3 of CausalRM, made per row, with the condition that it needs. Where it fails on
    most rows, IPS is the better choice while the model is young or the imputation poor. Rows that are always
    observed vary alike, whatever this says.

    Args:
        liked: e = P(true label = 1), or its best estimate, such as gold. Shape [N], in [0, 1].
        imputation: q. One number or one a row, in [0, 1].
        predicted: s = sigmoid(z) of the model in training. One number or one a row, in [0, 1].

    Returns:
        True where DR wins. Shape [N].

    Raises:
        ValueError: a shape or a value is not as described.
    """
    e, q, s = probabilities(liked=liked, imputation=imputation, predicted=predicted)
    return np.asarray(abs(q - e) < abs(s - e), bool)
