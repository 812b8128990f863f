"""Bounded weights: biased by exactly the share of the loss that they give up."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.estimators import (
    Counts,
    clipped_doubly_robust,
    clipped_ips,
    doubly_robust,
    ips,
    shrunk_doubly_robust,
    shrunk_ips,
)
from unskew.testing import assert_unbiased, expected, problems

NAN = np.nan
FEW = settings(max_examples=40)
CAPS = st.integers(1, 25).map(lambda quarters: Fraction(quarters + 3, 4))
SHRINKAGES = st.integers(1, 60).map(lambda number: Fraction(number, 4))


def equal(found, wanted):
    return np.array_equal(np.asarray(found, object), np.asarray(wanted, object))


def kept_by_cap(p, cap):
    return np.minimum(p * cap, 1)


def kept_by_shrinkage(p, L):
    return 1 / (1 + 1 / (L * p * p))


FORMS = [
    (clipped_ips, clipped_doubly_robust, "cap", CAPS, kept_by_cap),
    (shrunk_ips, shrunk_doubly_robust, "shrinkage", SHRINKAGES, kept_by_shrinkage),
]


@pytest.mark.parametrize("form", FORMS, ids=["clipped", "shrunk"])
@FEW
@given(data=st.data())
def test_bounded_ips_keeps_its_share_of_the_clean_loss(form, data):
    estimator, _, name, values, kept = form
    problem, bound = data.draw(problems(rows=1)), data.draw(values)
    mean, k = expected(partial(estimator, **{name: bound}), problem), kept(problem.p1, bound)
    assert equal(mean.a, k)
    assert equal(mean.b, k * problem.liked)


@pytest.mark.parametrize("form", FORMS, ids=["clipped", "shrunk"])
@FEW
@given(data=st.data())
def test_bounded_dr_is_biased_by_what_it_leaves_to_the_imputation(form, data):
    _, estimator, name, values, kept = form
    problem, bound = data.draw(problems(rows=1)), data.draw(values)
    mean, k = expected(partial(estimator, **{name: bound}), problem), kept(problem.p1, bound)
    assert equal(mean.a, 1 + 0 * k)
    assert equal(mean.b - problem.liked, (1 - k) * (problem.given["imputation"] - problem.liked))


@pytest.mark.parametrize("form", FORMS, ids=["clipped", "shrunk"])
def test_bounded_dr_with_the_right_imputation_is_unbiased_at_any_propensity(form):
    _, estimator, name, *_ = form
    bound = partial(estimator, **{name: Fraction(5, 2)})
    assert_unbiased(bound, right=("fnr", "fpr", "imputation"), rows=1)


def test_a_cap_above_every_weight_is_unbiased():
    assert_unbiased(partial(clipped_ips, cap=20), rows=1)  # propensities of problems are at least 1 / 20
    assert_unbiased(partial(clipped_doubly_robust, cap=20), rows=1)
    with pytest.raises(AssertionError, match="is biased under selection by features"):
        assert_unbiased(partial(clipped_ips, cap=19), rows=1)


@pytest.mark.parametrize("estimator", [shrunk_ips, shrunk_doubly_robust])
def test_shrinkage_is_never_quite_unbiased(estimator):
    with pytest.raises(AssertionError, match="is biased under selection by features"):
        assert_unbiased(partial(estimator, shrinkage=10**6), rows=1)


@FEW
@given(problems(rows=1), CAPS)
def test_a_cap_is_a_floor_under_the_propensity(problem, cap):
    for _, label, observed in problem.outcomes():
        told = [problem.given[name] for name in ("propensity", "fnr", "fpr")]
        capped = clipped_ips(label, observed, *told, cap=cap)
        floored = ips(label, observed, *told, floor=1 / cap)
        assert equal(capped.a, floored.a)
        assert equal(capped.b, floored.b)
        assert capped.counts == floored.counts


def test_weights_of_known_numbers():
    capped = clipped_ips([1, 0, NAN], [1, 1, 0], [0.1, 0.5, 0.1], cap=4)
    assert capped.a.tolist() == [4, 2, 0]
    assert capped.b.tolist() == [4, 0, 0]
    assert capped.counts == Counts(clipped=1)
    shrunk = shrunk_ips([1, 0, NAN], [1, 1, 0], [0.1, 0.5, 0.1], shrinkage=25)
    assert shrunk.a == pytest.approx([25 * 10 / 125, 25 * 2 / 29, 0])
    assert shrunk.b == pytest.approx([2, 0, 0])
    assert shrunk.counts == Counts(shrunk=1)
    robust = clipped_doubly_robust([1, 0, NAN], [1, 1, 0], [0.1, 0.5, 0.1], 0.25, cap=4)
    assert robust.b == pytest.approx([0.25 + 4 * 0.75, 0.25 - 2 * 0.25, 0.25])
    assert robust.counts == Counts(clipped=1, outside=2)
    tame = shrunk_doubly_robust([1, 0, NAN], [1, 1, 0], [0.1, 0.5, 0.1], 0.25, shrinkage=25)
    assert tame.b == pytest.approx([0.25 + 2 * 0.75, 0.25 - 50 / 29 * 0.25, 0.25])
    assert tame.counts == Counts(shrunk=1, outside=2)


def test_counts_begin_beyond_the_bound():
    assert clipped_ips([1.0], [1], 0.25, cap=4).counts.clipped == 0
    assert clipped_ips([1.0], [1], 0.24, cap=4).counts.clipped == 1
    assert shrunk_ips([1.0], [1], 0.25, shrinkage=16).counts.shrunk == 0
    assert shrunk_ips([1.0], [1], 0.24, shrinkage=16).counts.shrunk == 1


@given(st.integers(1, 400), SHRINKAGES)
def test_no_shrunk_weight_exceeds_half_the_root(inverse, L):
    (weight,) = shrunk_ips([1.0], [1], 1 / inverse, shrinkage=L).a
    assert weight <= np.sqrt(float(L)) / 2 + 1e-12
    assert weight <= inverse


def test_cap_one_is_error_imputation():
    label, observed, q = [1, 0, NAN], [1, 1, 0], [0.3, 0.6, 0.9]
    capped = clipped_doubly_robust(label, observed, [0.1, 0.5, 0.9], q, 0.1, 0.2, cap=1)
    assert capped.b == pytest.approx(doubly_robust(label, observed, 1, q, 0.1, 0.2).b)


def test_unsafe_rates_are_counted_in_bounded_estimators():
    assert clipped_ips([1.0], [1], 0.5, 0.5, 0.5, cap=2, unsafe=True).counts.raised == 1


NEVER = "drop the row: nothing stands for it when it can never be observed"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: clipped_ips([1], [1], 0.5, cap=0.5),
            "cap is 0.5; it must be at least 1, the weight of a row that is always observed",
        ),
        (
            lambda: shrunk_ips([1], [1], 0.5, shrinkage=0),
            "shrinkage is 0; it must be positive and finite. `ips` shrinks nothing",
        ),
        (
            lambda: shrunk_doubly_robust([1], [1], 0.5, 0.5, shrinkage=float("inf")),
            "shrinkage is inf; it must be positive and finite. `ips` shrinks nothing",
        ),
        (
            lambda: clipped_ips([1, 1], [1, 1], [0.5, 0], cap=3),
            f"propensity of row 1 is 0.0; it must be in (0, 1]. {NEVER}",
        ),
        (
            lambda: clipped_doubly_robust([1], [1], 0.5, 1.5, cap=3),
            "imputation of row 0 is 1.5; it must be in [0, 1]. it is a probability, not a logit",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        wrong()
    assert str(caught.value) == message
