"""Shown, then reacted to: the product of two propensities, exactly, and what of it a log can tell."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from unskew import propensity
from unskew.estimators import ips
from unskew.testing import Problem, expected

TENTHS = st.integers(1, 10).map(lambda n: Fraction(n, 10))
ROWS = st.lists(st.tuples(TENTHS, TENTHS, TENTHS, TENTHS), min_size=2, max_size=2)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Cells:
    """P(y = 1) in the cell that the first feature is, counted."""

    def fit(self, X, y):
        self.rate = {cell: y[X[:, 0] == cell].mean() for cell in np.unique(X[:, 0])}

    def predict_proba(self, X):
        p = np.array([self.rate[cell] for cell in X[:, 0]])
        return np.column_stack([1 - p, p])


# --- exactly -----------------------------------------------------------------------------------------------


@given(ROWS)
def test_weights_of_the_product_are_unbiased_and_those_of_one_stage_miss_the_other(rows):
    shown, reacted, liked, _ = (np.array(column, object) for column in zip(*rows, strict=True))
    none, rate = 0 * shown, np.array([Fraction(1, 5)] * 2, object)
    p = shown * reacted

    def mean(told):
        given_ = {"propensity": told, "fnr": rate, "fpr": rate}
        return expected(
            lambda label, observed, propensity, fnr, fpr: ips(label, observed, propensity, fnr, fpr, floor=0),
            Problem(liked, p, p, rate, rate, given_, none),
        )

    assert_array_equal(mean(p).a, [1, 1])
    assert_array_equal(mean(p).b, liked)
    assert_array_equal(mean(shown).a, reacted)
    assert_array_equal(mean(reacted).b, shown * liked)


def law(shown: Fraction, reacted: Fraction) -> dict[tuple[int, int], Fraction]:
    """P(shown, observed) of one candidate."""
    found = dict.fromkeys(product((0, 1), (0, 1)), Fraction(0))
    found[0, 0], found[1, 0], found[1, 1] = 1 - shown, shown * (1 - reacted), shown * reacted
    return found


def test_reactions_alone_tell_the_product_and_who_was_shown_tells_both():
    one, other = law(Fraction(4, 5), Fraction(1, 4)), law(Fraction(2, 5), Fraction(1, 2))
    seen = [
        {o: sum(p for (_, obs), p in found.items() if obs == o) for o in (0, 1)} for found in (one, other)
    ]
    assert seen[0] == seen[1]
    assert one != other
    assert one[1, 1] / (one[1, 0] + one[1, 1]) == Fraction(1, 4)


# --- two stages as one propensity --------------------------------------------------------------------------


def test_report_is_that_of_the_product_on_all_candidates():
    was_shown, observed = np.array([1, 1, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 0, 1])
    shown = propensity.logged([0.5, 0.5, 0.8, 0.2, 0.1, 0.1], was_shown)
    reacted = propensity.logged([0.5, 0.4, 0.5, 0.5, 0.5, 0.1], observed)
    found = propensity.two_stage(shown, reacted, was_shown, observed)
    assert_allclose(found.raw, [0.25, 0.2, 0.4, 0.1, 0.05, 0.01])
    assert_allclose(found.p, [0.25, 0.2, 0.4, 0.1, 0.05, 0.02])
    assert found.report.mean_o_over_p == pytest.approx((1 / 0.25 + 1 / 0.4 + 1 / 0.02) / 6)
    assert found.report.clipped == 1
    assert (found.report.n, found.report.seen) == (6, 3)
    assert found.source == "two stages"
    assert found.settings == {"floor": 0.02, "shown": "logged", "reacted": "logged"}
    means = [found_bin.mean_o_over_p for found_bin in found.report.bins]
    assert means == pytest.approx([50, 0, 0, 0, 4, 2.5])
    part = propensity.two_stage(shown, reacted, was_shown, observed, usable=np.arange(6) < 4)
    assert_array_equal(part.p[4:], 1)
    assert part.report.mean_o_over_p == pytest.approx((1 / 0.25 + 1 / 0.4) / 4)


def test_second_stage_is_learned_and_measured_on_what_was_shown_and_known_for_all():
    rng = np.random.default_rng(0)
    cell, key = rng.integers(0, 2, 4000), np.arange(4000) // 2
    was_shown = rng.random(4000) < np.where(cell == 1, 0.3, 0.8)
    observed = was_shown & (rng.random(4000) < np.where(cell == 1, 0.6, 0.1))
    for found in (
        propensity.cells(cell, observed, key, among=was_shown),
        propensity.fit(cell[:, None], observed, key, model=Cells, among=was_shown),
    ):
        rates = [observed[was_shown & (cell == c)].mean() for c in (0, 1)]
        assert_allclose(found.raw, np.array(rates)[cell], atol=0.05)  # 4.5 s.d. of a fold
        assert (found.report.n, found.report.seen) == (was_shown.sum(), observed.sum())
        assert found.report.mean_o_over_p == pytest.approx(1, abs=0.02)
        everywhere = propensity.cells(cell, observed, key).raw
        assert_allclose(everywhere, (np.array(rates) * [0.8, 0.3])[cell], atol=0.05)


def test_stages_that_are_fitted_give_weights_that_average_one_overall_and_by_bin():
    rng = np.random.default_rng(1)
    X, key = rng.integers(0, 5, (20_000, 1)).astype(float), np.arange(20_000)
    s, r = sigmoid(1.5 - X[:, 0]), sigmoid(X[:, 0] - 2)
    was_shown = rng.random(20_000) < s
    observed = was_shown & (rng.random(20_000) < r)
    shown = propensity.fit(X, was_shown, key, model=Cells)
    reacted = propensity.fit(X, observed, key, model=Cells, among=was_shown)
    found = propensity.two_stage(shown, reacted, was_shown, observed)
    assert_allclose(found.p, s * r, rtol=0.25)
    spread = np.sqrt((1 / (s * r) - 1).mean() / 20_000)
    assert abs(found.report.mean_o_over_p - 1) < 4 * spread
    for part in found.report.bins:
        # of a bin: Var(o / p) = (1 / p - 1) / n; its rows hold the fit as well, hence the wider margin
        assert abs(part.mean_o_over_p - 1) < 6 * np.sqrt((1 / part.predicted - 1) / part.n)


def test_record_that_contradicts_itself_is_an_error():
    shown, reacted = (propensity.logged([0.5, 0.5], [1, 0]) for _ in range(2))
    with pytest.raises(ValueError, match="feedback was given on 1 rows that were not shown"):
        propensity.two_stage(shown, reacted, [0, 0], [1, 0])
    with pytest.raises(ValueError, match="1 usable rows have feedback and are not among those"):
        propensity.cells([0, 1], [1, 0], [0, 1], among=[0, 1], folds=2)
    with pytest.raises(ValueError, match=r"was_shown has shape \(3,\), observed \(2,\); the same is needed"):
        propensity.two_stage(shown, reacted, [1, 1, 1], [1, 0])
    with pytest.raises(ValueError, match=r"among has shape \(1,\), observed \(2,\); the same is needed"):
        propensity.cells([0, 1], [1, 0], [0, 1], among=[1], folds=2)
