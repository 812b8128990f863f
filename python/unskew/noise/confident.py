"""Error rates from out-of-fold probabilities and recorded labels: the confident joint.

    t_1 = mean of p over rows recorded 1,   t_0 = mean of 1 - p over rows recorded 0
    a row counts as truly 1 when p >= t_1, as truly 0 when 1 - p >= t_0, as the likelier when both, else not
    C[i, j] = rows recorded i that count as j,   Q[i, j] = n_i C[i, j] / sum_j C[i, j]
    fnr = Q[0, 1] / (Q[0, 1] + Q[1, 1]),   fpr = Q[1, 0] / (Q[1, 0] + Q[0, 0])

It rests on probabilities that part the classes: P(recorded 1 | x) above t_1 for every true 1, 1 - P above t_0
for every true 0. A response that half of all users like is not noise, but counts as such, and selection moves
both thresholds: with truth (.20, .10) it gives (.29, .19) without selection and fpr .5 to .8 with it.
"""

import numpy as np
from numpy.typing import ArrayLike

from unskew.noise.checks import binary, same_length
from unskew.noise.records import Noise
from unskew.rates import Liked

UP, DOWN = np.eye(2, dtype=bool)


def confident_joint(
    probability: ArrayLike,
    recorded: ArrayLike,
    *,
    complete: bool = False,
    kind: str = "feedback",
) -> Noise:
    """Flip rates from a model of the record, by confident learning; unsafe where selection is possible.

    Formulas and assumption in the module docstring. The covariance takes probabilities and thresholds as
    given: it counts rows only, not the error of the model.

    Args:
        probability: P(recorded 1 | x) of a model that has not seen the row (out of fold), in [0, 1]; read
            where there is a record. Shape [N].
        recorded: 1, 0, or NaN where nothing was recorded. Shape [N].
        complete: declares that every row has a record, or that rows with one were drawn at random. Otherwise
            the rates are marked `unsafe`: feedback that some give more readily than others shifts them.
        kind: name of the kind, for messages.

    Returns:
        Rates with source `confident joint`.

    Raises:
        ValueError: shapes or values are wrong, a record never occurs, or no row of a record or class is
            confident.

    Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels"
        (2021), equations 1 to 3.
    """
    label = binary(recorded, "recorded")
    chance = np.asarray(probability, np.float64)
    same_length(label.size, recorded=label, probability=chance)
    seen = ~np.isnan(label)
    p, up = chance[seen], label[seen] == 1
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"probability of {kind} leaves [0, 1] or is NaN; one is needed for every recorded row"
        )
    if not up.any() or up.all():
        raise ValueError(f"{kind}: {int(up.sum())} of {len(up)} rows are recorded 1; both records are needed")
    # Equal probabilities must not fall short of their own mean by rounding.
    one = p >= p[up].mean() - 1e-12
    zero = 1 - p >= (1 - p[~up]).mean() - 1e-12
    truly = np.where(one & zero, p >= 0.5, one)
    counts = np.array(
        [[(record & (one | zero) & (truly == truth)).sum() for truth in (1, 0)] for record in (up, ~up)],
        np.float64,
    )
    sure = counts.sum(1)
    if not (sure.all() and counts.sum(0).all()):
        raise ValueError(
            f"{kind}: confident rows, by record (1, 0) and class (1, 0), are {counts.astype(int).tolist()}; "
            "every record and every class needs some. The probabilities part the classes too little: use "
            "gold labels"
        )
    # A share of 0 or 1 counts as half a row away from it, so that it is not taken for certain.
    share = np.clip(counts[:, 0] / sure, 0.5 / (sure + 1), 1 - 0.5 / (sure + 1))
    middle = (counts[:, 0] + 0.5) / (sure + 1)
    found = Liked(
        np.array([up.sum(), (~up).sum()], np.float64), share, middle * (1 - middle) / (sure + 2), sure
    )
    ratios = ((DOWN, UP | DOWN, True), (UP, UP | DOWN, False))
    fnr, fpr = (found.ratio(*ratio).value for ratio in ratios)
    return Noise(fnr, fpr, found.covariance(*ratios), "confident joint", kind, unsafe=not complete)
