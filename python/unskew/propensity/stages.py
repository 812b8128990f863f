"""Two stages: a response is chosen to be shown, then somebody reacts to it.

    p = P(shown) P(reacted | shown)

    shown = propensity.logged(policy_prob, was_shown)              designed: what the product drew
    reacted = propensity.fit(X, observed, prompts, model=..., among=was_shown)
    found = propensity.two_stage(shown, reacted, was_shown, observed)

Rows are candidates, shown or not; each stage is logged, counted in cells or fitted. Each needs its own
assumption: neither being shown nor reacting depends on the hidden label given what its p knows; and P(reacted
| shown) is learned on what was shown and used for what was not, so that P(shown) > 0 everywhere.

What can be known depends on what is logged:

    candidates and who was shown   both stages
    candidates and reactions       the product alone: (c P(shown), P(reacted | shown) / c) fits as well for
                                   every c. Weights need no more: fit `observed` on all candidates in one
                                   stage. What is lost is the meaning of silence: not shown, or not reacted to
    shown rows alone               P(reacted | shown) alone. P(shown) cannot be fitted, since no row that was
                                   not shown is there; where the product drew at random, `logged` takes its
                                   probabilities. Without them the estimand is the responses that were shown
"""

import numpy as np
from numpy.typing import ArrayLike

from unskew.propensity.measure import FLOOR, Propensity, judge, masks


def two_stage(
    shown: Propensity,
    reacted: Propensity,
    was_shown: ArrayLike,
    observed: ArrayLike,
    *,
    usable: ArrayLike | None = None,
    positive: ArrayLike | None = None,
    floor: float = FLOOR,
) -> Propensity:
    """P(observed) = P(shown) P(reacted | shown) of each candidate, measured on all of them.

    The product of the two before their floors; one floor holds for the product. Weights 1 / p are unbiased
    for all candidates when both stages are right; with one of them alone the expectation is the other stage
    times the clean loss.

    Args:
        shown: P(shown) of each candidate: `logged`, `cells` or `fit` with `observed=was_shown`.
        reacted: P(reacted | shown) of each candidate: `cells` or `fit` with `among=was_shown`, or `logged`.
        was_shown: was the candidate shown. Shape [N].
        observed: was feedback given. Shape [N].
        usable: could have been shown, and its window is closed; all rows when absent. Shape [N].
        positive: recorded label, for the clipped mass by label. Shape [N].
        floor: smaller products are raised to it and counted.

    Raises:
        ValueError: the shapes differ, feedback was given on a row that was not shown, or a product is not in
            (0, 1].
    """
    o, use = masks(observed, usable)
    seen = np.asarray(was_shown).astype(bool)
    for name, column in (("was_shown", seen), ("shown", shown.raw), ("reacted", reacted.raw)):
        if column.shape != o.shape:
            raise ValueError(f"{name} has shape {column.shape}, observed {o.shape}; the same is needed")
    strange = int((o & use & ~seen).sum())
    if strange:
        raise ValueError(
            f"feedback was given on {strange} rows that were not shown; correct the record of what was shown"
        )
    settings = {"shown": shown.source, "reacted": reacted.source}
    return judge(shown.raw * reacted.raw, o, use, positive, floor, "two stages", settings)
