"""Preference strength: what several heads say, and remedies that keep the slots straight."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.estimators import (
    Columns,
    Counts,
    adaptive_margin,
    agreement,
    doubly_robust,
    drop,
    flip,
    ips,
    naive,
    noise_corrected,
    preference_strength,
    smooth,
    swap,
    weakest,
)
from unskew.testing import assert_unbiased, expected, problems

NAN = np.nan
FEW = settings(max_examples=40)
QUARTERS = st.lists(st.integers(-8, 8), min_size=2, max_size=2).map(
    lambda values: np.array([Fraction(value, 4) for value in values], object)
)
TARGETS = st.lists(st.integers(0, 4), min_size=2, max_size=2).map(
    lambda values: np.array([Fraction(value, 4) for value in values], object)
)
ONE = np.array([Fraction(1)] * 2, object)


def equal(found, wanted):
    return np.array_equal(np.asarray(found, object), np.asarray(wanted, object))


def same(one, two):
    return all(equal(getattr(one, name), getattr(two, name)) for name in ("a", "b", "m"))


# votes


def test_mean_and_population_deviation_of_the_margins():
    found = preference_strength([[1.0, 0.0], [3.0, 0.0], [5.0, 3.0]], [[0, 0], [0, 0], [0, 0]])
    assert found.mean == pytest.approx([3, 1])
    assert found.sd == pytest.approx([np.sqrt(8 / 3), np.sqrt(2)])


def test_exchanging_the_slots_turns_the_mean_and_keeps_the_deviation():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 7))
    one, two = preference_strength(a, b), preference_strength(b, a)
    assert two.mean == pytest.approx(-one.mean)
    assert two.sd == pytest.approx(one.sd)


def test_a_constant_added_to_a_head_changes_nothing():
    a, b = np.random.default_rng(1).normal(size=(2, 5, 7))
    shift = np.arange(5.0)[:, None]
    assert preference_strength(a + shift, b + shift).mean == pytest.approx(preference_strength(a, b).mean)


def test_standardised_heads_have_no_scale():
    a, b = np.random.default_rng(2).normal(size=(2, 3, 50))
    scale = np.array([[1], [100], [0.01]])
    one = preference_strength(a, b, standardise=True)
    two = preference_strength(a * scale, b * scale, standardise=True)
    assert two.mean == pytest.approx(one.mean)
    assert two.sd == pytest.approx(one.sd)
    margins = a - b
    assert one.mean == pytest.approx((margins / np.sqrt((margins**2).mean(1, keepdims=True))).mean(0))


def test_exact_scores_have_an_exact_mean():
    third = np.array([[Fraction(1, 3)], [Fraction(2, 3)]], object)
    assert preference_strength(third, third * 0).mean[0] == Fraction(1, 2)


@given(TARGETS, QUARTERS)
def test_agreement_does_not_know_the_slots(target, mean):
    pairs = Columns(ONE, target, 0 * ONE)
    assert equal(agreement(swap(pairs), -mean), agreement(pairs, mean))


def test_agreement_is_the_margin_of_the_recorded_winner():
    pairs = naive([1, 0, NAN, 0.5], [1, 1, 0, 1])
    assert agreement(pairs, [2.0, 2.0, 2.0, 2.0]).tolist() == [2, -2, 0, 0]
    corrected = noise_corrected([1, 0, NAN], [1, 1, 0], 0.1, 0.3)
    assert agreement(corrected, [2.0, 2.0, 2.0]).tolist() == [2, -2, 0]


def test_planted_flips_rank_lowest():
    """Ten heads that see the truth through noise, a tenth of the records flipped: the lowest tenth."""
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 2, 400)
    scores = truth + rng.normal(0, 0.3, (10, 400))
    label = (truth > 0).astype(float)
    flipped = np.zeros(400, bool)
    flipped[np.argsort(-abs(truth))[:40]] = True
    pairs = naive(np.where(flipped, 1 - label, label), np.ones(400))
    low = weakest(agreement(pairs, preference_strength(scores, 0 * scores).mean), pairs.a > 0, 0.1)
    assert np.array_equal(low, flipped)
    assert same(flip(pairs, low), replace(naive(label, np.ones(400)), counts=Counts(flipped=40)))


def test_weakest_takes_at_most_its_share_and_leaves_ties():
    values = [-3, -1, -1, 0, 2, -9]
    among = [1, 1, 1, 1, 1, 0]
    assert weakest(values, among, 0.2).tolist() == [True, False, False, False, False, False]
    assert weakest(values, among, 0.4).tolist() == [True, False, False, False, False, False]
    assert weakest(values, among, 0.6).tolist() == [True, True, True, False, False, False]
    assert weakest(values, among, 0).tolist() == [False] * 6
    assert weakest(values, among, 1).tolist() == [True] * 5 + [False]


@given(st.permutations(range(6)))
def test_order_of_pairs_does_not_matter_to_the_weakest(order):
    values, order = np.array([-3, -1, -1, 0, 2, -9]), list(order)
    among = np.ones(6, bool)
    assert np.array_equal(weakest(values[order], among, 0.5), weakest(values, among, 0.5)[order])


# remedies


@FEW
@given(TARGETS, QUARTERS, st.lists(st.booleans(), min_size=2, max_size=2), st.integers(0, 5))
def test_remedies_commute_with_exchanging_the_slots(target, mean, where, tenths):
    pairs = Columns(2 * ONE, 2 * target, 0 * ONE + Fraction(1, 8))
    where, alpha = np.array(where), Fraction(tenths, 10)
    for remedy in (drop, flip):
        assert same(remedy(swap(pairs), where), swap(remedy(pairs, where)))
    assert same(smooth(swap(pairs), alpha, where), swap(smooth(pairs, alpha, where)))
    for least in (None, 0, Fraction(1, 4)):
        ahead, behind = (adaptive_margin(p, m, least=least) for p, m in ((pairs, mean), (swap(pairs), -mean)))
        assert same(behind, swap(ahead))
        assert ahead.counts == behind.counts


def test_remedies_at_known_numbers():
    pairs = naive([1, 0, NAN], [1, 1, 0])
    gone = drop(pairs, [True, False, True])
    assert (gone.a.tolist(), gone.b.tolist(), gone.counts) == ([0, 1, 0], [0, 0, 0], Counts(dropped=1))
    turned = flip(pairs, [True, False, True])
    assert (turned.a.tolist(), turned.b.tolist()) == ([1, 1, 0], [0, 0, 0])
    assert turned.counts == Counts(flipped=1)
    soft = smooth(pairs, 0.1, [True, True, True])
    assert soft.b == pytest.approx([0.9, 0.1, 0])
    assert soft.counts == Counts(smoothed=2)
    assert smooth(pairs, 0.1).b == pytest.approx([0.9, 0.1, 0])
    assert smooth(naive([0.5], [1]), 0.1).counts == Counts()
    moved = adaptive_margin(pairs, [1.5, 1.5, -1.5])
    assert (moved.m.tolist(), moved.counts) == ([1.5, 1.5, -1.5], Counts())
    kept = adaptive_margin(pairs, [1.5, 1.5, -1.5], least=0)
    assert (kept.m.tolist(), kept.counts) == ([1.5, 0, -1.5], Counts(held=1))
    strict = adaptive_margin(pairs, [1.5, 1.5, -1.5], least=0.5)  # nothing to hold where nothing was recorded
    assert (strict.m.tolist(), strict.counts) == ([1.5, -0.5, -1.5], Counts(held=1))
    assert adaptive_margin(moved, [1.0, 1.0, 1.0]).m.tolist() == [2.5, 2.5, -0.5]


def test_dropping_forgets_targets_outside_too():
    corrected = noise_corrected([1.0, 0.0], [1, 1], 0.1, 0.1)
    assert drop(corrected, [True, False]).counts == Counts(outside=1, dropped=1)


def test_the_margin_of_a_win_of_b_asks_b_to_lead():
    """-log sigmoid(r_chosen - r_rejected - mu), in both slot orders."""
    r_a, r_b, mu = 0.7, -0.4, 1.3
    chosen_a = adaptive_margin(naive([1.0], [1]), [mu])
    chosen_b = adaptive_margin(naive([0.0], [1]), [-mu])

    def loss(columns, z):
        return columns.a * np.logaddexp(0, z) - columns.b * z

    wanted = np.logaddexp(0, -(r_a - r_b - mu))
    assert loss(chosen_a, r_a - r_b - chosen_a.m) == pytest.approx(wanted)
    assert loss(chosen_b, r_b - r_a - chosen_b.m) == pytest.approx(wanted)


@FEW
@given(problems(rows=1), st.integers(-8, 8))
def test_a_margin_moves_the_best_score_by_itself(problem, quarters):
    """a sigmoid(z) = b at z = logit(b / a), so the score is logit(b / a) + m, for any corrected target."""
    mean = np.array([Fraction(quarters, 4)], object)

    def moved(label, observed, propensity, fnr, fpr):
        return adaptive_margin(ips(label, observed, propensity, fnr, fpr), mean)

    found = expected(moved, problem)
    assert equal(found.b, problem.liked)
    assert equal(found.m, mean)


def test_a_signed_margin_leaves_the_columns_unbiased():
    def moved(label, observed, propensity, fnr, fpr):
        return adaptive_margin(ips(label, observed, propensity, fnr, fpr), [0.5, -2.0])

    assert_unbiased(moved)


def test_a_margin_with_a_least_value_depends_on_the_record():
    def held(label, observed, propensity):
        return adaptive_margin(ips(label, observed, propensity), [0.5, -2.0], least=0)

    with pytest.raises(AssertionError, match="the margin m of held depends on what was recorded"):
        assert_unbiased(held)


@FEW
@given(problems(rows=1))
def test_flipping_a_fixed_set_makes_the_complement_the_target(problem):
    def flipped(label, observed, propensity, fnr, fpr):
        return flip(ips(label, observed, propensity, fnr, fpr), [True])

    assert equal(expected(flipped, problem).b, 1 - problem.liked)


@FEW
@given(problems(rows=1), st.sampled_from([-2, 2]))
def test_flipping_where_the_heads_disagree_makes_their_verdict_the_target(problem, mean):
    """Whatever is recorded: error imputation with a hard q. Dropping keeps the records that agree."""

    def remedied(remedy):
        def estimator(label, observed):
            pairs = naive(label, observed)
            return remedy(pairs, agreement(pairs, [mean]) < -1)

        return expected(estimator, problem)

    nothing, zero, one = problem.chances()[0]
    flipped, dropped = remedied(flip), remedied(drop)
    assert flipped.a[0] == 1 - nothing
    assert flipped.b[0] == (1 - nothing) * (mean > 0)
    assert dropped.a[0] == (one if mean > 0 else zero)
    assert dropped.b[0] == (one if mean > 0 else 0)


@FEW
@given(problems(rows=1), st.integers(0, 10))
def test_smoothing_expects_the_target_of_flipped_labels(problem, twentieths):
    alpha = Fraction(twentieths, 20)

    def soft(label, observed):
        return smooth(naive(label, observed), alpha)

    def raw(label, observed):
        return naive(label, observed)

    mean, plain = expected(soft, problem), expected(raw, problem)
    assert equal(mean.a, plain.a)
    assert equal(mean.b, alpha * plain.a + (1 - 2 * alpha) * plain.b)


def test_smoothed_labels_corrected_at_the_same_rate_are_the_labels():
    soft = smooth(naive([1.0, 0.0], [1, 1]), 0.2)
    assert noise_corrected(soft.b, [1, 1], 0.2, 0.2).b == pytest.approx([1, 0])


REFUSED_SMOOTHING = (
    "targets of {} rows are outside [0, 1]: corrected for noise, or doubly robust. Smoothing is the inverse "
    "of noise correction and would undo it; use one of the two, and smooth before any correction for missing "
    "feedback"
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: smooth(noise_corrected([1, 0, NAN], [1, 1, 0], 0.1, 0.1), 0.1),
            REFUSED_SMOOTHING.format(2),
        ),
        (lambda: smooth(noise_corrected([1.0], [1], 0.1, 0), 0.05, [False]), REFUSED_SMOOTHING.format(1)),
        (lambda: smooth(doubly_robust([1.0], [1], 0.5, 0.5), 0.1), REFUSED_SMOOTHING.format(1)),
        (
            lambda: smooth(naive([1.0], [1]), 0.6),
            "alpha is 0.6; it must be in [0, 1/2], the share of labels taken as flipped",
        ),
        (
            lambda: preference_strength([1.0, 2.0], [0.0, 0.0]),
            "scores_a has shape (2,), scores_b (2,); a row a head, a column a pair are needed",
        ),
        (
            lambda: preference_strength([[1.0, 2.0]], [[0.0]]),
            "scores_a has shape (1, 2), scores_b (1, 1); a row a head, a column a pair are needed",
        ),
        (
            lambda: preference_strength([[1.0, NAN], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]),
            "margin of pair 1 is [nan  1.]; it must be finite. every head must score every pair",
        ),
        (
            lambda: preference_strength([[1.0], [2.0]], [[0.0], [2.0]], standardise=True),
            "margins of head 1 is 0.0; it must be not all 0. it tells no pair from another",
        ),
        (
            lambda: agreement(naive([1.0], [1]), [1.0, 2.0]),
            "mean has shape (2,), the columns (1,); the same is needed",
        ),
        (
            lambda: drop(naive([1.0], [1]), [True, False]),
            "where has shape (2,), the columns (1,); the same is needed",
        ),
        (lambda: weakest([1.0], [1, 1], 0.1), "agreement has shape (1,), among (2,); the same is needed"),
        (lambda: weakest([1.0], [1], 1.5), "share is 1.5; it must be in [0, 1]"),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        wrong()
    assert str(caught.value) == message
