"""Variance of one row of DR and of IPS, by enumeration, and which is the smaller."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.estimators import (
    doubly_robust,
    ips,
    robust_wins,
    target_variance,
)
from unskew.testing import problems

FEW = settings(max_examples=40)


def variance(values, problem):
    """Exact variance of a function of (label, observed)."""
    first = second = Fraction(0)
    for chance, label, observed in problem.outcomes():
        value = values(label, observed)
        first, second = first + chance * value, second + chance * value * value
    return second - first * first


@FEW
@given(problems(rows=1), st.integers(0, 20).map(lambda value: Fraction(value, 20)))
def test_variance_formula_is_exact(problem, s):
    p, q, fnr, fpr = (problem.given[name] for name in ("propensity", "imputation", "fnr", "fpr"))

    def robust(label, observed):
        return doubly_robust(label, observed, p, q, fnr, fpr).b[0]

    def slope(label, observed):
        columns = ips(label, observed, p, fnr, fpr)
        return columns.a[0] * s - columns.b[0]

    told = (problem.liked, p)
    assert target_variance(*told, q, fnr, fpr)[0] == variance(robust, problem)
    assert target_variance(*told, s, fnr, fpr)[0] == variance(slope, problem)


@FEW
@given(problems(rows=1), st.integers(0, 20).map(lambda value: Fraction(value, 20)))
def test_dr_beats_ips_where_the_imputation_is_nearer_the_truth_than_the_model(problem, s):
    p, q, fnr, fpr = (problem.given[name] for name in ("propensity", "imputation", "fnr", "fpr"))
    told = (problem.liked, p)
    robust, plain = (target_variance(*told, near, fnr, fpr)[0] for near in (q, s))
    wins = robust_wins(problem.liked, q, s)[0]
    assert wins == (abs(q[0] - problem.liked[0]) < abs(s - problem.liked[0]))
    if p[0] == 1:
        assert robust == plain
    else:
        assert wins == (robust < plain)


def test_one_label_at_low_propensity_and_half_the_information_is_worth_an_eightieth():
    clean = target_variance([0.5], 1, 0.5)[0]
    assert target_variance([0.5], 0.05, 0.5, 0.25, 0.25)[0] / clean == pytest.approx(80)


def test_variance_at_known_numbers():
    """liked .6, p .2, fnr .1, fpr .2: r = .62, D = .7."""
    noise = 0.62 * 0.38 / 0.49
    assert target_variance([0.6], 0.2, 0.6, 0.1, 0.2) == pytest.approx([noise / 0.2])
    assert target_variance([0.6], 0.2, 0.1, 0.1, 0.2) == pytest.approx([noise / 0.2 + 4 * 0.25])


NEVER = "drop the row: nothing stands for it when it can never be observed"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: target_variance([0.5, 0.5], 0.5, [0.1, 0.2, 0.3]),
            "reference has shape (3,), liked (2,); the same is needed",
        ),
        (
            lambda: robust_wins([0.5], 0.5, 2.0),
            "predicted of row 0 is 2.0; it must be in [0, 1]. it is a probability, not a logit",
        ),
        (
            lambda: target_variance([0.5], 0, 0.5),
            f"propensity of row 0 is 0.0; it must be in (0, 1]. {NEVER}",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        wrong()
    assert str(caught.value) == message
