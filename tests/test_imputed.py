"""Imputation alone, and the fit of the imputation that makes the DR target vary least."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from unskew.estimators import (
    Counts,
    doubly_robust,
    imputation,
    mrdr_fit,
    noise_corrected,
)
from unskew.testing import assert_unbiased, expected, problems

NAN = np.nan
FEW = settings(max_examples=40)


def equal(found, wanted):
    return np.array_equal(np.asarray(found, object), np.asarray(wanted, object))


# imputation alone


def test_imputation_alone_is_unbiased_when_right_whatever_decides_who_answers():
    for selection in ("features", "label"):
        assert_unbiased(imputation, selection=selection, right=("imputation",))


def test_imputation_alone_is_biased_when_wrong():
    with pytest.raises(AssertionError, match=r"^imputation is biased"):
        assert_unbiased(imputation)


@FEW
@given(problems(selection="label"))
def test_imputation_alone_is_biased_by_its_error(problem):
    mean = expected(imputation, problem)
    assert equal(mean.a, 1 + 0 * problem.liked)
    assert equal(mean.b - problem.liked, problem.given["imputation"] - problem.liked)


# the more robust DR


@FEW
@given(problems(rows=1))
def test_the_loss_of_the_mrdr_fit_is_the_variance_of_dr_and_a_constant(problem):
    """Var(b of DR) = E[a (t - q)^2] + Var(t), for every q."""
    told = [problem.given[name] for name in ("propensity", "imputation", "fnr", "fpr")]
    p, q, fnr, fpr = told
    squared, first, fit = Fraction(0), Fraction(0), Fraction(0)
    for chance, label, observed in problem.outcomes():
        b = doubly_robust(label, observed, *told).b[0]
        target = noise_corrected(label, [1], fnr, fpr).b[0]
        squared, first = squared + chance * b * b, first + chance * b
        fit += chance * mrdr_fit(label, observed, p, fnr, fpr).a[0] * (target - q[0]) ** 2
    certain = replace(problem, p1=problem.p1 * 0 + 1, p0=problem.p0 * 0 + 1)
    noise = sum(
        (chance * (noise_corrected(label, [1], fnr, fpr).b[0] - problem.liked[0]) ** 2)
        for chance, label, _ in certain.outcomes()
    )
    assert squared - first * first == fit + noise


@FEW
@given(problems(rows=1))
def test_the_mrdr_fit_aims_at_the_clean_probability(problem):
    mean = expected(mrdr_fit, problem)
    p = problem.p1
    assert equal(mean.a, (1 - p) / p)
    assert equal(mean.b, (1 - p) / p * problem.liked)


def test_mrdr_weights_of_known_numbers():
    fit = mrdr_fit([1, 0, NAN, 1], [1, 1, 0, 1], [0.5, 0.2, 0.5, 1])
    assert fit.a == pytest.approx([2, 20, 0, 0])
    assert fit.b == pytest.approx([2, 0, 0, 0])
    assert mrdr_fit([1.0], [1], 0.01).counts == Counts(clipped=1)
    assert mrdr_fit([1.0], [1], 0.01).a == pytest.approx([0.98 / 0.02**2])


# refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: imputation([0.5, -1.5]),
            "imputation of row 1 is -1.5; it must be in [0, 1]. it is a probability, not a logit",
        ),
        (
            lambda: imputation(0.5),
            "imputation has shape (); one dimension is needed, a number for each row",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        wrong()
    assert str(caught.value) == message
