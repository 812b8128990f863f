"""Every estimator, summed over all that can be recorded: unbiased exactly, or biased by its formula."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew.estimators import (
    Columns,
    cautious,
    classwise_ips,
    combine,
    doubly_robust,
    ips,
    mixture,
    naive,
    noise_corrected,
    pairs_from_items,
    snips,
)
from unskew.testing import Problem, assert_unbiased, expected, problems

RATES_AND_IMPUTATION = ("fnr", "fpr", "imputation")


def equal(found, wanted):
    return np.array_equal(np.asarray(found, object), np.asarray(wanted, object))


# unbiased


def test_ips_of_denoised_labels_is_unbiased():
    assert_unbiased(ips)


def test_ips_stays_unbiased_in_batches_of_three():
    assert_unbiased(ips, rows=3, examples=30)


def test_classwise_ips_is_unbiased_when_feedback_depends_on_the_label():
    assert_unbiased(classwise_ips, selection="label")


def test_classwise_ips_is_unbiased_when_feedback_depends_on_features():
    assert_unbiased(classwise_ips)


def test_doubly_robust_needs_only_the_propensity():
    assert_unbiased(doubly_robust, right=("propensity", "fnr", "fpr"))


def test_doubly_robust_needs_only_the_imputation():
    assert_unbiased(doubly_robust, right=RATES_AND_IMPUTATION)


def test_doubly_robust_with_the_right_imputation_survives_no_selection_by_label():
    with pytest.raises(AssertionError, match="biased under selection by label"):
        assert_unbiased(doubly_robust, selection="label", right=("propensity", *RATES_AND_IMPUTATION))


def test_noise_correction_alone_is_unbiased_when_everything_is_observed():
    def corrected(label, observed, propensity, fnr, fpr):
        full = noise_corrected(label, observed, fnr, fpr)
        return Columns(full.a / propensity, full.b / propensity, full.m)

    assert_unbiased(corrected)


@pytest.mark.parametrize("items", [doubly_robust, ips], ids=["aipw", "ips"])
def test_pairs_made_from_single_responses_are_unbiased(items):
    def pairs(label, observed, propensity, imputation, fnr, fpr):
        nuisances = {"imputation": imputation} if items is doubly_robust else {}
        judged = items(label, observed, propensity, fnr=fnr, fpr=fpr, **nuisances)
        return pairs_from_items(judged, [0, 0, 1], [1, 2, 2])

    def tie_aware(liked):
        return (1 + liked[[0, 0, 1]] - liked[[1, 2, 2]]) / 2

    assert_unbiased(pairs, target=tie_aware, rows=3, examples=30)


def test_pairs_are_doubly_robust_too():
    def pairs(label, observed, propensity, imputation, fnr, fpr):
        return pairs_from_items(doubly_robust(label, observed, propensity, imputation, fnr, fpr), [0], [1])

    assert_unbiased(pairs, right=RATES_AND_IMPUTATION, target=lambda liked: (1 + liked[:1] - liked[1:]) / 2)


def correlated(problem, likings, shared_flip, shared_feedback):
    """Outcomes of two responses whose flips and feedback happen together with the given weights."""

    def joint(first, second, together):
        apart = {(i, j): (first, 1 - first)[1 - i] * (second, 1 - second)[1 - j] for i, j in BITS}
        both, neither = min(first, second), 1 - max(first, second)
        same = {(1, 1): both, (0, 0): neither, (1, 0): first - both, (0, 1): second - both}
        return {bits: together * same[bits] + (1 - together) * apart[bits] for bits in BITS}

    flip_rate = [problem.fnr[i] if likings[i] else problem.fpr[i] for i in range(2)]
    flips = joint(*flip_rate, shared_flip)
    feedback = joint(*problem.p1, shared_feedback)
    for flip, observed in product(BITS, BITS):
        label = [Fraction(int(liked) ^ f) for liked, f in zip(likings, flip, strict=True)]
        yield flips[flip] * feedback[observed], np.array(label, object), np.array(observed)


BITS = list(product((0, 1), repeat=2))
SHARES = st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1)])


@given(problems(), st.tuples(st.booleans(), st.booleans()), SHARES, SHARES)
def test_pairs_stay_unbiased_when_flips_and_feedback_of_the_two_go_together(problem, likings, flip, feedback):
    told = problem.given
    mean = Fraction(0)
    for probability, label, observed in correlated(problem, likings, flip, feedback):
        items = doubly_robust(
            label, observed, told["propensity"], told["imputation"], told["fnr"], told["fpr"]
        )
        mean += probability * pairs_from_items(items, [0], [1]).b[0]
    assert mean == Fraction(1 + likings[0] - likings[1], 2)


def test_strict_pairs_are_biased_when_flips_go_together():
    fifth, ones = np.array([Fraction(1, 5)] * 2), np.array([Fraction(1)] * 2)
    problem = Problem(liked=ones, p1=ones, p0=ones, fnr=fifth, fpr=fifth, given={}, scores=ones)
    mean = Fraction(0)
    for probability, label, observed in correlated(problem, (True, True), Fraction(1), Fraction(0)):
        ahead, behind = ips(label, observed, ones, fifth, fifth).b
        mean += probability * ahead * (1 - behind)
    assert mean == Fraction(-4, 9)  # P(only the first is liked) is 0


@given(problems(rows=1), problems(rows=1), st.integers(1, 9), st.sampled_from([(1, 1), (1, 0), (0, 1)]))
def test_kinds_added_with_shares_of_what_was_offered_stay_unbiased(thumbs, rating, weight, offered):
    rating = replace(rating, liked=thumbs.liked)
    a = b = Fraction(0)
    for truth in (0, 1):  # given the true label the two kinds are recorded independently
        chance = thumbs.liked[0] if truth else 1 - thumbs.liked[0]
        fixed = [replace(problem, liked=np.array([Fraction(truth)])) for problem in (thumbs, rating)]
        for (p, y, o), (p_, y_, o_) in product(fixed[0].outcomes(), fixed[1].outcomes()):
            one = ips(y, o, *(thumbs.given[name] for name in ("propensity", "fnr", "fpr")))
            names = ("propensity", "imputation", "fnr", "fpr")
            two = doubly_robust(y_, o_, *(rating.given[name] for name in names))
            both = combine([one, two], [Fraction(weight), Fraction(5)], [offered])
            a, b = a + chance * p * p_ * both.a[0], b + chance * p * p_ * both.b[0]
    assert (a, b) == (1, thumbs.liked[0])


# biased by a known amount


@given(problems(selection="label"))
def test_naive_is_biased_by_selection_and_flips(problem):
    mean = expected(naive, problem)
    liked, disliked = problem.liked * problem.p1, (1 - problem.liked) * problem.p0
    assert equal(mean.a, liked + disliked)
    assert equal(mean.b, liked * (1 - problem.fnr) + disliked * problem.fpr)


@given(problems(selection="label"), st.fractions(0, 1, max_denominator=8))
def test_cautious_target_is_what_was_recorded_where_all_answer_and_one_half_where_none_does(problem, silence):
    mean = expected(lambda label, observed: cautious(label, observed, silence), problem)
    _, zero, one = problem.chances().T
    assert equal(mean.a, zero + one + silence * (1 - zero - one))
    assert equal(mean.b, one + silence * (1 - zero - one) / 2)


TENTHS = [Fraction(k, 10) for k in range(11)]


@given(problems(rows=1, selection="label"))
def test_silence_as_one_half_has_the_least_worst_error_over_all_that_the_silent_may_think(problem):
    mean = expected(lambda label, observed: cautious(label, observed, 1), problem)
    silent, _, one = problem.chances()[0]
    middle = mean.b[0] / mean.a[0]

    def worst(q):
        return max((one + silent * share - q) ** 2 for share in (0, 1))  # the ends: it is convex in the share

    assert worst(middle) == (silent / 2) ** 2 == min(worst(q) for q in (middle, *TENTHS))


@given(problems())
def test_noise_correction_alone_has_the_clean_loss_of_what_is_observed(problem):
    mean = expected(noise_corrected, problem)
    assert equal(mean.a, problem.p1)
    assert equal(mean.b, problem.p1 * problem.liked)


@given(problems())
def test_clipping_shrinks_the_clean_loss_by_p_over_the_floor(problem):
    floor = Fraction(1, 3)

    def clipped(label, observed, propensity, fnr, fpr):
        return ips(label, observed, propensity, fnr, fpr, floor=floor)

    shrink = problem.p1 / np.maximum(problem.p1, floor)
    mean = expected(clipped, problem)
    assert equal(mean.a, shrink)
    assert equal(mean.b, shrink * problem.liked)


@given(problems(selection="label"))
def test_ips_with_an_average_propensity_is_biased_when_feedback_depends_on_the_label(problem):
    mean = expected(ips, problem)
    assert equal(mean.a, 1 + 0 * problem.liked)
    assert equal(mean.b, problem.liked * problem.p1 / problem.given["propensity"])


@given(problems(right=()))
def test_doubly_robust_with_all_nuisances_wrong_is_biased_by_the_formula(problem):
    given = problem.given
    ratio = problem.p1 / given["propensity"]
    recorded = problem.fpr + (1 - problem.fnr - problem.fpr) * problem.liked
    target = (recorded - given["fpr"]) / (1 - given["fnr"] - given["fpr"])
    bias = (1 - ratio) * (given["imputation"] - problem.liked) + ratio * (target - problem.liked)
    mean = expected(doubly_robust, problem)
    assert equal(mean.a, 1 + 0 * problem.liked)
    assert equal(mean.b - problem.liked, bias)


@given(problems(right=("fnr", "fpr")))
def test_doubly_robust_with_propensity_and_imputation_wrong_is_biased_by_their_product(problem):
    ratio = problem.p1 / problem.given["propensity"]
    bias = (1 - ratio) * (problem.given["imputation"] - problem.liked)
    assert equal(expected(doubly_robust, problem).b - problem.liked, bias)


@given(problems())
def test_error_imputation_is_biased_where_nothing_is_observed(problem):
    def error_imputation(label, observed, imputation, fnr, fpr):
        return doubly_robust(label, observed, 1, imputation, fnr, fpr)

    bias = (1 - problem.p1) * (problem.given["imputation"] - problem.liked)
    assert equal(expected(error_imputation, problem).b - problem.liked, bias)


@given(problems(right=("propensity",)))
def test_wrong_rates_distort_the_target_but_keep_its_order(problem):
    given = problem.given
    recorded = problem.fpr + (1 - problem.fnr - problem.fpr) * problem.liked
    distorted = (recorded - given["fpr"]) / (1 - given["fnr"] - given["fpr"])
    assert equal(expected(ips, problem).b, distorted)


def snips_bias(half):
    """Exact bias of the self-normalised mean label: `half` rows at p .2 liked by .9, `half` at p .8 by .1."""
    propensity = np.repeat([0.2, 0.8], half)
    liked = np.repeat([0.9, 0.1], half)
    counts = np.arange(half + 1)
    chance = [binomial(half, p) for p in (0.2, 0.8)]
    mean = 0.0
    for few, many in product(counts, counts):
        observed = np.concatenate([np.arange(half) < few, np.arange(half) < many])
        estimate = snips(liked, observed, propensity).b.mean()  # linear in the label: its mean will do
        mean += chance[0][few] * chance[1][many] * estimate
    return mean - liked.mean()


def binomial(n, p):
    chance = np.ones(1)
    for _ in range(n):
        chance = np.convolve(chance, [1 - p, p])
    return chance


def test_bias_of_snips_halves_when_the_log_doubles():
    bias = [snips_bias(half) for half in (12, 24, 48)]
    assert 0.4 < bias[1] / bias[0] < 0.6
    assert 0.4 < bias[2] / bias[1] < 0.6


# identities


@given(st.integers(0, 7), st.sampled_from([Fraction(0), Fraction(1)]))
def test_smoothing_by_the_flip_rate_undoes_the_correction(twentieths, label):
    rate = Fraction(twentieths, 20)
    target = noise_corrected(np.array([label], object), [1], rate, rate).b[0]
    assert (1 - 2 * rate) * target + rate == label


@given(problems(right=("propensity", "fnr", "fpr")))
def test_loss_at_any_pair_of_row_losses_is_unbiased(problem):
    first, second = Fraction(7, 3), Fraction(-2, 5)  # l(z, 1) and l(z, 0) of some z
    mean = expected(doubly_robust, problem)
    loss = mean.b * first + (mean.a - mean.b) * second
    assert equal(loss, problem.liked * first + (1 - problem.liked) * second)


@given(problems(rows=3, selection="label"))
def test_mixture_is_fisher_consistent(problem):
    """Least at the true probability: the expected gradient of softplus(z) - softplus(z + d) is zero there."""
    liked = np.clip(problem.liked.astype(float), 0.05, 0.95)
    problem = replace(problem, liked=np.array([Fraction(value) for value in liked], object))
    chances = problem.chances().astype(float)
    rates = (problem.fnr, problem.fpr, problem.p1, problem.p0)
    truth, everywhere = np.log(liked / (1 - liked)), np.linspace(-4, 4, 17)[:, None]
    slope, loss, least = 0.0, 0.0, 0.0
    for kind, (label, observed) in enumerate([(0, 0), (0, 1), (1, 1)]):
        possible = chances[:, kind] > 0
        safe = [np.where(possible, rate, Fraction(1, 2)) for rate in rates]  # an impossible record is refused
        columns = mixture(np.full(3, label), np.full(3, observed), *safe)
        chance, d = np.where(possible, chances[:, kind], 0), columns.d
        slope = slope + chance * columns.w * (sigmoid(truth) - sigmoid(truth + d))
        least = least + chance * columns.w * (np.logaddexp(0, truth) - np.logaddexp(0, truth + d))
        loss = loss + chance * columns.w * (np.logaddexp(0, everywhere) - np.logaddexp(0, everywhere + d))
    assert np.abs(slope).max() < 1e-12
    assert (loss >= least - 1e-12).all()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_mixture_hears_nothing_in_silence_when_feedback_does_not_depend_on_the_label():
    silent = mixture([np.nan, np.nan], [0, 0], 0.1, 0.2)
    assert (silent.d == 0).all()
    assert np.allclose(mixture([0, 1], [0, 0], 0.1, 0.2, 0.3, 0.3).d, 0, atol=1e-15)
