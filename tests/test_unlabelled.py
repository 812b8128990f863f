"""Positive-unlabelled targets: unbiased, or biased by a formula; posteriors of the product model."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.estimators import (
    Counts,
    implicit_posterior,
    mixture,
    nnpu,
    positive_unlabelled,
)
from unskew.testing import assert_unbiased, expected, problems

ONE_SIDED = {"selection": "label", "zero": ("p0",)}
FEW = settings(max_examples=40)
HALF = Fraction(1, 2)


def equal(found, wanted):
    return np.array_equal(np.asarray(found, object), np.asarray(wanted, object))


# a known rate


def test_positive_unlabelled_is_unbiased_when_it_never_happens_to_disliked_responses():
    assert_unbiased(positive_unlabelled, **ONE_SIDED)


def test_positive_unlabelled_is_biased_when_it_happens_to_disliked_responses_too():
    with pytest.raises(AssertionError, match="biased under selection by label"):
        assert_unbiased(positive_unlabelled, selection="label")


@FEW
@given(problems(selection="label"))
def test_positive_unlabelled_is_biased_by_the_odds_of_happening(problem):
    mean = expected(positive_unlabelled, problem)
    assert equal(mean.a, 1 + 0 * problem.liked)
    assert equal(mean.b - problem.liked, (1 - problem.liked) * problem.p0 / problem.p1)


def test_positive_unlabelled_at_known_numbers():
    columns = positive_unlabelled([1, 0, 1], [0.5, 0.5, 0.01])
    assert columns.a.tolist() == [1, 1, 1]
    assert columns.b.tolist() == [2, 0, 100]
    assert columns.counts == Counts(outside=2)


# a known share of liked


def test_nnpu_averages_the_prior():
    assert nnpu([1, 0, 0, 1, 0], HALF).b.mean() == HALF
    assert nnpu([1, 0, 0, 1, 0], 0.5).b.tolist() == [1.25, 0, 0, 1.25, 0]


@given(st.lists(st.booleans(), min_size=1, max_size=9).filter(any), st.integers(0, 9))
def test_nnpu_is_positive_unlabelled_at_the_rate_that_the_prior_implies(happened, extra):
    mean = Fraction(sum(happened), len(happened))
    prior = mean + (1 - mean) * extra / 10
    implied = positive_unlabelled(happened, mean / prior)
    assert equal(nnpu(happened, prior).b, implied.b)


def test_bias_of_nnpu_shrinks_like_one_over_n():
    """Rows liked by .9 and by .3 in turn, happening to half of the liked: the bias of the first b."""

    def bias(pairs):
        sure, unsure = (binomial(pairs, liked / 2) for liked in (0.9, 0.3))
        total, weight = 0.0, 0.0
        for first, p in enumerate(sure):
            for second, q in enumerate(unsure):
                if first + second and (first + second) / (2 * pairs) <= 0.6:
                    happened = np.repeat([1, 0, 1, 0], [first, pairs - first, second, pairs - second])
                    weight += p * q
                    total += p * q * nnpu(happened, 0.6).b[:pairs].mean()
        assert weight > 0.99
        return total / weight - 0.9

    errors = [bias(pairs) for pairs in (10, 20, 40)]
    assert 0.4 < errors[1] / errors[0] < 0.6
    assert 0.4 < errors[2] / errors[1] < 0.6


def binomial(n, p):
    chance = np.ones(1)
    for _ in range(n):
        chance = np.convolve(chance, [1 - p, p])
    return chance


# posteriors


def liked_posterior(observed, imputation, p1):
    return implicit_posterior(observed, imputation, p1).liked


def test_posterior_of_liking_is_unbiased_when_both_factors_are_right():
    assert_unbiased(liked_posterior, right=("p1", "imputation"), **ONE_SIDED)


def test_posterior_of_liking_is_biased_when_a_factor_is_wrong():
    for right in (("p1",), ("imputation",)):
        with pytest.raises(AssertionError, match=r"^liked_posterior is biased"):
            assert_unbiased(liked_posterior, right=right, rows=1, **ONE_SIDED)


@FEW
@given(problems(rows=1, **ONE_SIDED), st.integers(1, 20))
def test_every_pair_with_the_right_product_is_a_fixed_point(problem, twentieths):
    """(c r, a / c) explains the log as well as (r, a), and expects its own factors back: c stays free."""
    product = problem.liked * problem.p1
    wrong_liked = product + (1 - product) * Fraction(twentieths, 20)
    wrong_p1 = product / wrong_liked

    def both(name):
        def estimator(observed):
            return getattr(implicit_posterior(observed, wrong_liked, wrong_p1), name)

        return expected(estimator, problem).b

    assert equal(both("liked"), wrong_liked)
    assert equal(both("active"), wrong_p1)


@FEW
@given(st.floats(-5, 5), st.floats(0.05, 0.95), st.booleans())
def test_slope_of_the_posterior_is_that_of_the_mixture(z, p1, happened):
    s = 1 / (1 + np.exp(-z))
    posterior = implicit_posterior([happened], [s], p1).liked
    d = mixture([1], [happened], fpr=1, p1=p1, p0=0, cap=40).d
    assert s - posterior.b == pytest.approx(s - 1 / (1 + np.exp(-z - d)), abs=1e-12)


def test_posterior_at_known_numbers():
    found = implicit_posterior([1, 0], [HALF, HALF], Fraction(1, 3))
    assert equal(found.liked.b, [1, Fraction(2, 5)])
    assert equal(found.active.b, [1, Fraction(1, 5)])
    assert equal(found.liked.a, [1, 1])
    assert equal(found.active.a, [1, 1])


# refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: implicit_posterior([1], [0], 0.5),
            "likelihood of the record of row 0 is 0.0; it must be positive. liked and p1 rule it out",
        ),
        (
            lambda: implicit_posterior([0], [1], 1),
            "likelihood of the record of row 0 is 0.0; it must be positive. liked and p1 rule it out",
        ),
        (
            lambda: nnpu([0, 0], 0.5),
            "it happened on none of the rows; nnpu has no liked response to learn from",
        ),
        (
            lambda: nnpu([1, 1, 0, 0], 0.25),
            "prior is 0.25, and it happened on 0.5 of the rows; the prior must be at least that, for only "
            "liked responses are taken to have it happen to them. Use `mixture` if others do too",
        ),
        (lambda: nnpu([1, 0], [0.5, 0.5]), "prior has shape (2,); it is one number, the share of all rows"),
        (
            lambda: nnpu([1, 0], 1.5),
            "prior of row 0 (and of 1 more) is 1.5; it must be in (0, 1]. it is the share of liked responses",
        ),
        (
            lambda: positive_unlabelled([1, 0], [0.5, 0]),
            "p1 of row 1 is 0.0; it must be in (0, 1]. "
            "drop the row: nothing stands for it when it can never be observed",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        wrong()
    assert str(caught.value) == message
