"""Metrics by window of time, and the test that nothing changed."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbs import opened, sample, uncertain, width
from unskew import estimators, noise
from unskew.evaluate import Log, drift
from unskew.evaluate.drift import chi2_tail
from unskew.evaluate.influence import estimates


@given(st.integers(1, 12), st.floats(0, 60))
def test_tail_of_chi_square_is_that_of_scipy(df, value):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    assert chi2_tail(value, df) == pytest.approx(stats.chi2.sf(value, df), rel=1e-9, abs=1e-300)


def test_drift_of_independent_windows_is_the_distance_to_the_weighted_mean():
    rows = sample(600)
    log = Log.of(opened("ips", rows), noise.known(0.15, 0.25))
    window = np.repeat(["monday", "sunday", "tuesday"], 200)
    found = drift(rows[0], log, window)["brier"]
    assert [part["window"] for part in found["windows"]] == ["monday", "sunday", "tuesday"]
    values, variances = [], []
    for part, name in zip(found["windows"], np.unique(window), strict=True):
        here = window == name
        alone = estimates(rows[0][here], log.a[here], log.b[here])["brier"]
        assert part["value"] == pytest.approx(alone.value)
        assert part["n"] == np.count_nonzero(log.a[here])
        values.append(alone.value)
        variances.append(np.sum(alone.influence**2) * 600 / 599)
        assert width(part) == pytest.approx(2 * 1.959964 * np.sqrt(variances[-1]), rel=1e-5)
    weight = 1 / np.array(variances)
    mean = weight @ values / weight.sum()
    assert found["value"] == pytest.approx(mean)
    assert width(found) == pytest.approx(2 * 1.959964 / np.sqrt(weight.sum()), rel=1e-5)
    assert found["chi2"] == pytest.approx(weight @ (np.array(values) - mean) ** 2)
    assert (found["df"], found["p"]) == (2, pytest.approx(np.exp(-found["chi2"] / 2)))


def test_error_of_the_rates_is_no_change():
    """All windows move together: the mean gets wider, the test does not get weaker."""
    rows = sample(600)
    window = np.arange(600) % 3
    found, known = (
        drift(rows[0], Log.of(opened("doubly_robust", rows), rate), window)["mean_truth"]
        for rate in (uncertain(sd=(0.05, 0.05)), noise.known(0.15, 0.25))
    )
    assert width(found) > 1.3 * width(known)
    assert found["chi2"] > 0.8 * known["chi2"]


def test_a_cluster_in_every_window_is_no_change_either():
    s, _, recorded, observed, p, _ = sample(300)
    twice = [np.tile(column, 2) for column in (s, recorded, observed, p)]
    log = Log.of(partial(estimators.ips, *twice[1:]), noise.known(0.15, 0.25))
    moved = np.clip(s + 0.03 * np.random.default_rng(0).random(300), 0, 1)
    model = np.concatenate([s, moved])  # the second window is a little higher, row by row
    window = np.repeat([0, 1], 300)
    paired = drift(model, log, window, cluster=np.tile(np.arange(300), 2))["mean_prediction"]
    apart = drift(model, log, window)["mean_prediction"]
    assert paired["chi2"] > 50 * apart["chi2"]


def test_drift_has_even_p_values_when_nothing_changes_and_sees_a_change():
    p, changed = [], []
    for seed in range(200):
        rows = sample(2000, seed=(4, seed))
        log, window = Log.of(opened("ips", rows), uncertain(sd=(0.02, 0.02))), np.arange(2000) // 500
        p.append(drift(rows[0], log, window)["brier"]["p"])
        worse = np.where(window == 3, 1 - rows[0], rows[0])
        changed.append(drift(worse, log, window)["brier"]["p"])
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.10
    assert 0.40 <= np.mean(np.array(p) < 0.5) <= 0.62
    assert np.max(changed) < 1e-3


def test_drift_without_spread_has_no_test():
    log = Log.of(partial(estimators.ips, [1, 1, 1, 1], [1, 1, 1, 1], 1.0), noise.known(0.0, 0.0))
    found = drift([0.9, 0.9, 0.9, 0.9], log, [0, 0, 1, 1])["accuracy"]
    assert np.isnan(found["p"])
    assert np.isnan(found["chi2"])
    assert [part["value"] for part in found["windows"]] == [1.0, 1.0]


def test_influence_through_the_rates_is_shared_by_the_windows():
    rows = sample(3000)
    _, liked, recorded, observed, *_ = rows
    rate = noise.from_gold(recorded == 1, liked, observed=observed == 1)
    log = Log.of(opened("ips", rows), rate, record=(recorded, observed))
    window = np.arange(3000) % 2
    found = drift(rows[0], log, window)["brier"]
    halves = []
    for number in (0, 1):
        a, b = (np.where(window == number, column, 0) for column in (log.a, log.b))
        half = estimates(rows[0], a, b)["brier"]
        by_a, by_b = (np.where(window == number, by, 0) for by in (half.by_a, half.by_b))
        slope = log.by_kind(by_a, by_b)
        halves.append((half.value, half.influence + log.by_row @ slope[0], slope[0]))
    (x, u, g), (y, v, h) = halves
    difference = (u - v) @ (u - v) * 3000 / 2999 + (g - h) @ log.covariance[0] @ (g - h)
    assert found["chi2"] == pytest.approx((x - y) ** 2 / difference)


LOG = Log.of(partial(estimators.ips, [1, 0, 1], [1, 1, 0], 0.5), noise.known(0.1, 0.2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: drift([0.5, 0.5, 0.5], LOG, [0, 0]),
            "window has shape (2,), the log (3,); one value a row is needed",
        ),
        (
            lambda: drift([0.5, 0.5, 0.5], LOG, [0, 0, 0]),
            "window has 1 value; at least 2 windows are needed to see a change",
        ),
        (
            lambda: drift([0.5, 0.5, 0.5], LOG, [0, 0, 1]),
            "the weights of window 1 sum to 0 over 1 rows; a positive sum is needed: wider windows",
        ),
    ],
)
def test_errors_say_what_was_found_and_what_was_expected(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        call()
    assert str(error.value) == message
