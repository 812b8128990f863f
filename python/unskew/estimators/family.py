"""The estimators: recorded labels and nuisances in, columns out. The table is in `unskew.estimators`."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators.checks import CAP, FLOOR, aligned, corrected, count, floored, require
from unskew.estimators.columns import Columns, Counts, Mixture, make


def naive(label: ArrayLike, observed: ArrayLike) -> Columns:
    """The recorded label where there is one: a = o, b = o label.

    Unbiased only when feedback is complete and never flipped; otherwise E[a] = p and
    E[b] = p (fpr + D P(true label = 1)), with selection by label p1 and p0 in the place of p.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.

    Raises:
        ValueError: a shape or a value is not as described.
    """
    y, o = aligned(label, observed)
    return make(o, o * y)


def cautious(label: ArrayLike, observed: ArrayLike, silence: ArrayLike) -> Columns:
    """The recorded label where there is one, one half where there is none, with a smaller weight.

        a = o + s (1 - o)      b = o label + s (1 - o) / 2

    With p = P(observed) and r = P(recorded 1 | observed) the target is (p r + s (1 - p) / 2) /
    (p + s (1 - p)): r where everybody answers, one half where nobody does. Nothing is unbiased here. With
    s = 1 it is the midpoint of all that P(recorded 1, had everybody answered) can be, [p r, p r + 1 - p],
    which of all predictions has the least worst squared error when nothing is known of the silent. Responses
    then rank by likes minus dislikes, not by their ratio.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        silence: s, what a silent row weighs beside an answer, one number or one a row. In [0, 1]; 0 is
            `naive`.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: the bounds are Manski's, "Nonparametric Bounds on Treatment Effects" (1990).
    """
    y, o, s = aligned(label, observed, silence=silence)
    require(
        (s >= 0) & (s <= 1), "silence", s, "in [0, 1]", "it is the weight of a silent row beside an answer"
    )
    weight = s * (1 - o)
    return make(o + weight, o * y + weight / 2)


def silence_weight(observed: ArrayLike) -> float:
    """The weight s of `cautious` with which all silence weighs as much as all answers, at most 1.

        s = min(1, sum o / sum (1 - o))

    It depends on how often people answer and on nothing they say. A convention: nothing in a log tells it.

    Args:
        observed: 1 where feedback was given, of the rows on which it could be. Shape [N], 0 or 1.

    Returns:
        In [0, 1]; 1 where nobody is silent.

    Raises:
        ValueError: a shape or a value is not as described.
    """
    _, o = aligned(0, observed)
    silent = len(o) - float(o.sum())
    return min(1.0, float(o.sum()) / silent) if silent else 1.0


def noise_corrected(
    label: ArrayLike, observed: ArrayLike, fnr: ArrayLike, fpr: ArrayLike, *, unsafe: bool = False
) -> Columns:
    """Flips undone, selection left alone: a = o, b = o t.

    Unbiased for the clean loss of the *observed* rows when fnr and fpr are right.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.
        unsafe: accept any rates, D raised to 1e-6; for recipes that repeat a paper.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: Natarajan et al., "Learning with Noisy Labels" (2013), Lemma 1.
    """
    y, o, miss, false = aligned(label, observed, fnr=fnr, fpr=fpr)
    target, raised = corrected(y, miss, false, unsafe)
    return make(o, o * target, raised=raised)


def ips(
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    floor: float | Fraction = FLOOR,
    unsafe: bool = False,
) -> Columns:
    """Inverse propensity score on denoised labels: a = o / p, b = o t / p.

    Unbiased when propensity, fnr and fpr are right, feedback does not depend on the true label given what the
    propensity knows, and flips do not depend on who gave feedback. With propensities below the floor the
    expectation becomes p / max(p, floor) times the clean loss.

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

    Source: CausalRM (arXiv 2603.18736), IPS objective.
    """
    y, o, p, miss, false = aligned(label, observed, propensity=propensity, fnr=fnr, fpr=fpr)
    p, low = floored("propensity", p, floor)
    target, raised = corrected(y, miss, false, unsafe)
    weight = o / p
    return make(weight, weight * target, clipped=count(low & (o == 1)), raised=raised)


def snips(
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    floor: float | Fraction = FLOOR,
    unsafe: bool = False,
) -> Columns:
    """Self-normalised `ips`: both columns divided by mean(o / p), so that a averages 1.

    Consistent, with a bias of order 1 / N, under the assumptions of `ips`. All 0 when nothing was observed.

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

    Source: Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (2015).
    """
    plain = ips(label, observed, propensity, fnr, fpr, floor=floor, unsafe=unsafe)
    total = plain.a.sum()
    scale = len(plain.a) / total if total else total
    return replace(plain, a=plain.a * scale, b=plain.b * scale)


def classwise_ips(
    label: ArrayLike,
    observed: ArrayLike,
    p1: ArrayLike,
    p0: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    floor: float | Fraction = FLOOR,
    unsafe: bool = False,
) -> Columns:
    """Each class weighted by its own propensity: a = o (t / p1 + (1 - t) / p0), b = o t / p1.

    Unbiased when feedback depends on the true label through p1 and p0 only, and these, fnr and fpr are
    right. Equal to `ips` when p1 = p0. The weight may turn negative where p0 is much smaller than p1: prefer
    the Brier loss there.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        p1: P(observed = 1 | true label 1), one number or one a row. In (0, 1].
        p0: P(observed = 1 | true label 0), one number or one a row. In (0, 1].
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.
        floor: smaller propensities are raised to it and counted; 0 for none.
        unsafe: accept any rates, D raised to 1e-6; for recipes that repeat a paper.

    Raises:
        ValueError: a shape or a value is not as described.
    """
    y, o, one, zero, miss, false = aligned(label, observed, p1=p1, p0=p0, fnr=fnr, fpr=fpr)
    one, low1 = floored("p1", one, floor)
    zero, low0 = floored("p0", zero, floor)
    target, raised = corrected(y, miss, false, unsafe)
    liked, disliked = o * target / one, o * (1 - target) / zero
    return make(liked + disliked, liked, clipped=count((low1 | low0) & (o == 1)), raised=raised)


def doubly_robust(
    label: ArrayLike,
    observed: ArrayLike,
    propensity: ArrayLike,
    imputation: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    *,
    floor: float | Fraction = FLOOR,
    unsafe: bool = False,
) -> Columns:
    """The imputation on every row, corrected where feedback was given: a = 1, b = q + o / p (t - q).

    Unbiased when fnr and fpr are right and either the propensity or the imputation is, under the selection of
    `ips`. The imputation is the probability of the *true* label, from a model that has not seen the row's own
    record; a model of recorded labels is (model - fpr) / D first. Propensity 1 gives error imputation.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        propensity: P(observed = 1), one number or one a row. In (0, 1].
        imputation: P(true label = 1), one number or one a row. In [0, 1].
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1], with 1 - fnr - fpr > .2.
        floor: smaller propensities are raised to it and counted; 0 for none.
        unsafe: accept any rates, D raised to 1e-6; for recipes that repeat a paper.

    Raises:
        ValueError: a shape or a value is not as described.

    Source: CausalRM (arXiv 2603.18736), DR objective, with a clean imputation.
    """
    y, o, p, q, miss, false = aligned(
        label, observed, propensity=propensity, imputation=imputation, fnr=fnr, fpr=fpr
    )
    require((q >= 0) & (q <= 1), "imputation", q, "in [0, 1]", "it is a probability, not a logit")
    p, low = floored("propensity", p, floor)
    target, raised = corrected(y, miss, false, unsafe)
    b = q + o / p * (target - q)
    return make(o * 0 + 1, b, clipped=count(low & (o == 1)), raised=raised)


def mixture(
    label: ArrayLike,
    observed: ArrayLike,
    fnr: ArrayLike = 0,
    fpr: ArrayLike = 0,
    p1: ArrayLike | None = None,
    p0: ArrayLike | None = None,
    *,
    cap: float = CAP,
) -> Mixture:
    """Evidence of each record about the true label: w = 1, d = log P(record | liked) / P(record | not liked).

        recorded 1     p1 (1 - fnr) / (p0 fpr)
        recorded 0     p1 fnr / (p0 (1 - fpr))
        nothing        (1 - p1) / (1 - p0)

    Fisher-consistent, not unbiased: when the rates are right the expected loss is least at the true
    probability. Without p1 and p0 feedback is taken not to depend on the label, and silence says nothing.
    A kind that happens or not (a click) has label 1 wherever observed, hence fpr = 1, p1 = P(happened |
    liked) and p0 = P(happened | not liked); no bound on D applies, since the loss is bounded. Always float64.

    Args:
        label: recorded label, read where observed. Shape [N], 0 or 1.
        observed: 1 where feedback was given. Shape [N], 0 or 1.
        fnr: P(recorded 0 | true 1), one number or one a row. In [0, 1].
        fpr: P(recorded 1 | true 0), one number or one a row. In [0, 1].
        p1: P(observed = 1 | true label 1), one number or one a row. In [0, 1].
        p0: P(observed = 1 | true label 0), one number or one a row. In [0, 1].
        cap: larger |d| are cut to it and counted.

    Raises:
        ValueError: a shape or a value is not as described, or a record is impossible under both labels.
    """
    if (p1 is None) != (p0 is None):
        raise ValueError("mixture got one of p1 and p0; give both, or neither when silence says nothing")
    rates = {"fnr": fnr, "fpr": fpr, "p1": 1 if p1 is None else p1, "p0": 1 if p0 is None else p0}
    floats = (column.astype(np.float64) for column in aligned(label, observed, **rates))
    y, o, miss, false, one, zero = floats
    for name, rate in zip(rates, (miss, false, one, zero), strict=True):
        require((rate >= 0) & (rate <= 1), name, rate, "in [0, 1]", "it is a probability")
    require((y == 0) | (y == 1), "label", y, "0 or 1", "a graded label needs its own table of rates")
    seen, positive = o == 1, y == 1
    liked = np.where(seen, one * np.where(positive, 1 - miss, miss), 1 - one)
    disliked = np.where(seen, zero * np.where(positive, false, 1 - false), 1 - zero)
    if p1 is None:
        liked, disliked = np.where(seen, liked, 1.0), np.where(seen, disliked, 1.0)
    likelihood = np.maximum(liked, disliked)
    require(likelihood > 0, "likelihood of the record", likelihood, "positive", "its rates rule it out")
    with np.errstate(divide="ignore"):
        d = np.log(liked) - np.log(disliked)
    capped = count(np.abs(d) > cap)
    return Mixture(np.ones(len(d)), np.clip(d, -cap, cap), np.zeros(len(d)), Counts(capped=capped))
