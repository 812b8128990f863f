"""Delays and censoring: expected counts give the truth back, and the variance is the one that is seen."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew import propensity
from unskew.propensity import corrected, delays

SILENT = np.nan


def expected(share, propensity_of, rows):
    """(delay, age, cell, count) of every outcome by expectation; `rows[c][a]` responses of age a in c."""
    table = []
    for cell, by_age in enumerate(rows):
        for age, n in enumerate(by_age):
            e = propensity_of[cell]
            table += [(d, age, cell, n * e * share[d]) for d in range(age + 1)]
            table.append((SILENT, age, cell, n * (1 - e * sum(share[: age + 1]))))
    return np.array(table, float).T


@given(
    share=st.lists(st.floats(0.05, 1), min_size=2, max_size=5),
    rates=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=3),
    data=st.data(),
)
def test_expected_counts_give_delays_and_every_propensity_back(share, rates, data):
    f = np.array(share) / sum(share)
    ages = st.lists(st.floats(0.1, 100), min_size=len(f), max_size=len(f))
    rows = [data.draw(ages) for _ in rates]
    delay, age, cell, count = expected(f, rates, rows)
    found = delays(delay, age, count=count)
    assert found.share == pytest.approx(np.cumsum(f), abs=1e-9)
    rate = corrected(delay, age, found, cell.astype(int), count=count)
    assert rate.rate == pytest.approx(rates, abs=1e-9)
    assert rate.rows == pytest.approx([sum(ages) for ages in rows])


def test_product_in_reversed_time_by_hand():
    # Answers (delay, age): at 5 three are at risk and one is lost, at 2 the three with delay <= 2 <= age.
    delay, age = [1, 2, 5, 1, SILENT, SILENT], [9, 9, 9, 3, 9, 1]
    found = delays(delay, age)
    assert found.times.tolist() == [1, 2, 5]
    F = [Fraction(2, 3) * Fraction(2, 3), Fraction(2, 3), Fraction(1)]
    assert found.share == pytest.approx([float(x) for x in F], abs=1e-15)
    later = Fraction(1, 3 * 2)  # d / (n (n - d)) at 5, and the same again at 2
    assert found.spread == pytest.approx([float(2 * later), float(later), 0])
    assert found.at([0, 1, 4.9, 5, 100]).tolist() == pytest.approx([0, 4 / 9, 2 / 3, 1, 1])
    assert found.variance([0, 2]) == pytest.approx([0, float(F[1] ** 2 * later)])
    rate = corrected(delay, age, found)
    exposures = 4 * 1 + float(F[1]) + float(F[0])
    assert rate.exposures == pytest.approx([exposures])
    assert (rate.answers.tolist(), rate.rows.tolist()) == ([4], [6])
    e = 4 / exposures
    binomial = sum(e * x * (1 - e * x) for x in (1, 1, 1, 1, 2 / 3, 4 / 9))
    # The two young ones: ages 3 and 1, whose F share the factor at 5; that of age 1 has one more.
    a, b = float(F[1]), float(F[0])
    greenwood = (a * a + 2 * a * b) * float(later) + b * b * float(2 * later)
    # Cov(F(3), F(1)) = F(3) F(1) Var log F(3), the factors they share
    assert rate.variance == pytest.approx([(binomial + e * e * greenwood) / exposures**2])


def test_closed_rows_alone_are_a_frequency():
    delay, age = np.array([1.0, SILENT, SILENT, 2.0, SILENT]), np.full(5, 10.0)
    rate = corrected(delay, age, delays(delay, age), [0, 0, 0, 1, 1])
    assert rate.rate.tolist() == [1 / 3, 1 / 2]
    assert rate.variance == pytest.approx([(1 / 3) * (2 / 3) / 3, 1 / 8])
    assert rate.exposures.tolist() == rate.rows.tolist() == [3, 2]


def test_feedback_after_the_watermark_has_not_come_yet():
    one = delays([1, 2, 7], [9, 9, 5])
    two = delays([1, 2, SILENT], [9, 9, 5])
    assert one.share.tolist() == two.share.tolist()
    assert corrected([1, 2, 7], [9, 9, 5], one).answers.tolist() == [2]


def test_nothing_depends_on_the_order_of_rows_or_on_how_they_are_counted():
    rng = np.random.default_rng(0)
    delay, age = rng.integers(0, 6, 300).astype(float), rng.integers(0, 9, 300).astype(float)
    delay[rng.random(300) < 0.5] = SILENT
    cell, order = rng.integers(0, 3, 300), rng.permutation(300)
    rate = corrected(delay, age, delays(delay, age), cell)
    other = corrected(delay[order], age[order], delays(delay[order], age[order]), cell[order])
    keys, count = np.unique(np.stack([np.nan_to_num(delay, nan=-1), age, cell]), axis=1, return_counts=True)
    t = np.where(keys[0] < 0, SILENT, keys[0])
    short = corrected(t, keys[1], delays(t, keys[1], count=count), keys[2].astype(int), count=count)
    for name in ("rate", "variance", "answers", "exposures", "rows"):
        assert getattr(other, name) == pytest.approx(getattr(rate, name), rel=1e-12)
    for name in ("rate", "answers", "exposures", "rows"):
        assert getattr(short, name) == pytest.approx(getattr(rate, name), rel=1e-12)


def world(seed, n=1500, young=0.3):
    """A log in which the better cell is the younger one; window 10."""
    rng = np.random.default_rng(seed)
    cell = (rng.random(n) < 0.4).astype(int)
    age = np.where(rng.random(n) < young * (0.5 + cell), 10 * rng.random(n), 10.0)
    delay = np.minimum(rng.exponential(3.0, n), 10 * rng.random(n))
    return np.where(rng.random(n) < np.array([0.08, 0.3])[cell], delay, SILENT), age, cell


def test_the_variance_is_the_one_that_is_seen_and_the_bias_is_gone():
    runs = []
    for seed in range(400):
        delay, age, cell = world(seed)
        rate = corrected(delay, age, delays(delay, age), cell)
        naive = np.bincount(cell, delay <= age) / rate.rows
        runs.append((rate.rate, rate.variance, naive))
    rate, variance, naive = (np.array(part) for part in zip(*runs, strict=True))
    true = np.array([0.08, 0.3])
    error = rate.std(0) / np.sqrt(len(runs))
    assert (np.abs(rate.mean(0) - true) < 4 * error).all()
    assert (np.abs(naive.mean(0) - true) > 5 * error).all()
    assert variance.mean(0) / rate.var(0) == pytest.approx([1, 1], abs=0.3)  # 4 errors of a variance
    assert (np.abs(rate - true) < 1.96 * np.sqrt(variance)).mean() == pytest.approx(0.95, abs=0.03)


def test_one_open_response_in_ten_biases_naive_rates_five_times_as_much():
    naive, ours = [], []
    for seed in range(60):
        delay, age, cell = world(seed, n=3000, young=0.1 / 0.9)
        rows, finished = np.bincount(cell), np.bincount(cell, ~np.isnan(delay))  # what the log will show
        naive.append(np.bincount(cell, delay <= age) / finished - 1)
        ours.append(corrected(delay, age, delays(delay, age), cell).rate * rows / finished - 1)
    bias, left = np.abs(np.mean(naive, 0)), np.abs(np.mean(ours, 0))
    assert (bias > 0.005).all()
    assert (bias > 5 * left).all()


def test_too_few_old_answers_leave_the_variance_infinite():
    found = delays(
        [1, 5], [3, 9]
    )  # at 5 the only answer old enough is lost: nothing says how many come before
    assert found.share.tolist() == [0, 1]
    assert found.variance([2, 6]).tolist() == [np.inf, 0]


@pytest.mark.parametrize(
    ("delay", "age", "said"),
    [
        ([SILENT], [1], "no feedback has come yet, so how long it takes is unknown; wait for some"),
        ([1, 2], [1], "delay has shape (2,), age (1,); the same [N] is needed"),
        ([1, -2], [1, 1], "delay of row 1 is -2.0; it must be at least 0: time since the response"),
        ([1], [SILENT], "age of row 0 is nan; every response has one"),
    ],
)
def test_bad_columns_are_errors(delay, age, said):
    with pytest.raises(ValueError, match=r"delay|age|feedback") as error:
        propensity.delays(delay, age)
    assert str(error.value) == said
