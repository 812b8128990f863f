"""Positive-unlabelled columns: something happened, or nothing did and that says little.

For a kind that never happens to disliked responses (fpr = 0: an honest copy, a share),

    P(happened | x) = P(liked | x) P(happened | liked, x)

    positive_unlabelled    a = 1    b = o / P(happened | liked)          known rate: unbiased
    nnpu                   a = 1    b = o prior / mean(o)                known share of liked: consistent
    implicit_posterior     a = 1    b = P(liked | what happened)         both factors given: right in the mean

The first two targets exceed 1 wherever something happened; train them with the non-negative risk,

    sum b l(z, 1) + max(0, sum (a - b) l(z, 0))  =  losses.non_negative(*losses.class_risks(z, a, b))

Where disliked responses can have the kind happen to them too, or both rates are known, use `mixture` with
fpr = 1: it is bounded, and equal to `implicit_posterior` in its slope.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators.checks import aligned, floored, probabilities, require
from unskew.estimators.columns import Columns, make


def positive_unlabelled(observed: ArrayLike, p1: ArrayLike) -> Columns:
    """One-sided feedback of known rate: a = 1, b = o / p1.

    Silence counts as dislike, and a row on which it happened as 1 / p1 likes, which make up for the silent
    ones. Unbiased when p1 is right and the kind never happens to a disliked response. When it happens to
    those with probability p0, E[b] = P(liked) + (1 - P(liked)) p0 / p1. No floor: p1 is a rate of the liked,
    not of all, and may be small.

    Args:
        observed: 1 where it happened. Shape [N], 0 or 1.
        p1: P(happened | true label 1), one number or one a row. In (0, 1].

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Bekker et al., "Beyond the Selected Completely At Random Assumption for Learning from Positive and
    Unlabeled Data" (2019); Saito et al., "Unbiased Recommender Learning from Missing-Not-At-Random
    Implicit Feedback" (2020).
    """
    y, o, rate = aligned(1, observed, p1=p1)
    rate, _ = floored("p1", rate, 0)
    return make(y * 0 + 1, o / rate)


def nnpu(observed: ArrayLike, prior: ArrayLike) -> Columns:
    """One-sided feedback with a known share of liked responses: a = 1, b = o prior / mean(o).

    The columns of the PU risk prior E_P[l(z, 1)] + E_U[l(z, 0)] - prior E_P[l(z, 0)], P the rows where it
    happened and U *all* rows: the mean of b is the prior exactly. Consistent, with a bias of order 1 / N,
    when the prior is right and the kind happens to liked responses completely at random and never to disliked
    ones; otherwise the shape of P(liked | x) is that of P(happened | x). Non-negative only as a risk: see
    `losses.non_negative`.

    Args:
        observed: 1 where it happened. Shape [N], 0 or 1; at least one 1.
        prior: P(true label = 1) over all rows. One number in (0, 1], at least the share of rows where it
            happened.

    Raises:
        ValueError: a shape or a value is not as described, or the prior contradicts the rows.

    Source: Kiryo et al., "Positive-Unlabeled Learning with Non-Negative Risk Estimator" (2017);
    du Plessis et al. (2015). One-sample design: Elkan and Noto (2008).
    """
    if np.ndim(prior):
        raise ValueError(f"prior has shape {np.shape(prior)}; it is one number, the share of all rows")
    y, o, share = aligned(1, observed, prior=prior)
    if not np.any(o == 1):
        raise ValueError("it happened on none of the rows; nnpu has no liked response to learn from")
    require((share > 0) & (share <= 1), "prior", share, "in (0, 1]", "it is the share of liked responses")
    mean = o.sum() / len(o)
    if share[0] < mean:
        raise ValueError(
            f"prior is {share[0]}, and it happened on {mean} of the rows; the prior must be at least that, "
            "for only liked responses are taken to have it happen to them. Use `mixture` if others do too"
        )
    return make(y * 0 + 1, o * share / mean)


class Posterior(NamedTuple):
    """E-step of the product model, as columns of logistic losses.

    Args:
        liked: a = 1, b = P(true label = 1 | what happened): the target of P(liked | x).
        active: a = 1, b = P(would act | what happened): the target of P(happened | liked, x).
    """

    liked: Columns
    active: Columns


def implicit_posterior(observed: ArrayLike, liked: ArrayLike, p1: ArrayLike) -> Posterior:
    """Posteriors of liking r and of activity a, given that r a was seen to happen or not.

        happened    liked 1                            active 1
        silence     liked r (1 - a) / (1 - r a)        active a (1 - r) / (1 - r a)

    With both factors right, E[b] is r and a: unbiased. But *every* pair with the right product is a fixed
    point: with r' a' = r a, E[b] is r' and a'. The log identifies the product only, see `implicit_em`.

    Args:
        observed: 1 where it happened. Shape [N], 0 or 1.
        liked: r = P(true label = 1), the current prediction. One number or one a row, in [0, 1].
        p1: a = P(happened | true label 1), the current prediction. One number or one a row, in [0, 1].

    Raises:
        ValueError: a shape or a value is not as described, or a record is impossible.

    Source: ImplicitRM (arXiv 2603.23184), strata PA, NA, PP, NP, in the order of its objective.
    """
    _, o = aligned(1, observed)
    o, r, active = probabilities(observed=o, liked=liked, p1=p1)
    happens = r * active
    chance = np.where(o == 1, happens, 1 - happens)
    require(chance > 0, "likelihood of the record", chance, "positive", "liked and p1 rule it out")
    silent = np.where(o == 1, o, 1 - happens)
    return Posterior(
        make(o * 0 + 1, o + (1 - o) * r * (1 - active) / silent),
        make(o * 0 + 1, o + (1 - o) * active * (1 - r) / silent),
    )
