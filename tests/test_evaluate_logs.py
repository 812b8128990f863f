"""Logs made of logs, paired measures by gold, and differences bounded: each against what it must equal."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbs import opened, sample, uncertain, width
from unskew import estimators, noise
from unskew.estimators import Columns
from unskew.evaluate import (
    LOG_METRICS,
    POWERED_METRICS,
    Log,
    bins_of,
    bounds,
    compare_bounds,
    drift,
    drift_of_rates,
    gold_test,
    label_odds,
    log_calibration,
    log_compare,
    log_metrics,
    logs,
    mean_drift,
    metrics,
    powered,
    powered_calibration,
    powered_compare,
    tipping_gamma,
)
from unskew.evaluate.influence import estimates
from unskew.evaluate.rows import EDGE, linear

# --- kinds joined ------------------------------------------------------------------------------------------


def two_kinds():
    """Two kinds on the same 400 rows, the second offered on three quarters of them."""
    first, second = sample(400, seed=1), sample(400, seed=2, fnr=0.1, fpr=0.3)
    rates = uncertain(), uncertain(0.1, 0.3, (0.01, 0.04))
    offered = np.stack([np.ones(400, bool), np.arange(400) % 4 > 0], axis=1)
    return first[0], (opened("ips", first), opened("ips", second)), rates, offered


def test_joined_kinds_are_the_combined_columns_and_their_rates():
    s, calls, rates, offered = two_kinds()
    trust = np.array([2.0, 1.0])
    both = estimators.combine(
        [call(r.fnr, r.fpr) for call, r in zip(calls, rates, strict=True)], trust, offered
    )
    share = offered * trust / (offered @ trust)[:, None]
    joined = logs.join([Log.of(*pair) for pair in zip(calls, rates, strict=True)], list(share.T))
    rows = np.tile(np.arange(400), 2)
    np.testing.assert_allclose(np.bincount(rows, joined.b), both.b)
    found = log_metrics(s[rows], joined, cluster=rows)
    whole = estimates(s, both.a, both.b)
    for name in LOG_METRICS:
        part = whole[name]
        assert found[name]["value"] == pytest.approx(part.value)
        moved = part.influence @ part.influence * 400 / 399
        for number, (call, rate) in enumerate(zip(calls, rates, strict=True)):
            alone = Log.of(call, rate)
            slope = logs.weighted(alone, share[:, number]).by_kind(part.by_a, part.by_b)[0]
            moved += slope @ rate.covariance @ slope
        assert (width(found[name]) / 2 / 1.959964) ** 2 == pytest.approx(moved, rel=1e-5)


def test_join_and_weighted_say_what_does_not_fit():
    log = Log.of(*(two_kinds()[k][0] for k in (1, 2)))
    with pytest.raises(ValueError, match=r"2 logs with \[2\] rates a kind; one number of rates is needed"):
        logs.join([log, log], [np.ones(400)])
    with pytest.raises(ValueError, match=r"weight has shape \(3,\), the log \(400,\)"):
        logs.weighted(log, np.ones(3))
    with pytest.raises(ValueError, match=r"covariance has shape \(2, 2\); \(4, 4\)"):
        logs.by_class([1], [1], 0.5, 0.5, noise.known(0, 0), np.eye(2))


# --- classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", LOG_METRICS)
def test_slopes_of_a_log_by_class_are_derivatives(metric):
    s, _, recorded, observed, *_ = sample(120)
    at, h = np.array([0.15, 0.25, 0.5, 0.3]), 1e-6
    log = logs.by_class(recorded, observed, 0.5, 0.3, uncertain(), np.eye(4))

    def value(x):
        columns = estimators.classwise_ips(recorded, observed, x[2], x[3], x[0], x[1])
        return estimates(s, columns.a, columns.b)[metric].value

    found = estimates(s, log.a, log.b)[metric]
    assert found.value == pytest.approx(value(at))
    slope = log.by_kind(found.by_a, found.by_b)[0]
    for number, step in enumerate(np.eye(4) * h):
        numeric = (value(at + step) - value(at - step)) / (2 * h)
        assert slope[number] == pytest.approx(numeric, rel=1e-4, abs=1e-7)


# --- pairs and best of n -----------------------------------------------------------------------------------


def test_pairs_of_a_log_are_those_of_the_items():
    s, _, recorded, observed, p, q = sample(300)
    call = partial(estimators.doubly_robust, recorded, observed, p, q)
    ahead, behind = np.arange(0, 300, 3), np.arange(1, 300, 3)
    log, pair = logs.of_pairs(Log.of(call, uncertain()), np.arange(300), ahead, behind)
    prefer = 1 / (1 + np.exp(-4 * (s[ahead] - s[behind])))
    found = log_metrics(prefer[pair], log, cluster=pair)["accuracy"]

    def value(fnr, fpr):
        columns = estimators.pairs_from_items(call(fnr, fpr), ahead, behind)
        return estimates(prefer, columns.a, columns.b)["accuracy"]

    now, h = value(0.15, 0.25), 1e-5
    assert found["value"] == pytest.approx(now.value)
    slope = np.array(
        [
            (value(0.15 + x, 0.25 + y).value - value(0.15 - x, 0.25 - y).value) / (2 * h)
            for x, y in ((h, 0), (0, h))
        ]
    )
    variance = now.influence @ now.influence * 100 / 99 + slope @ uncertain().covariance @ slope
    assert width(found) / 2 / 1.959964 == pytest.approx(np.sqrt(variance), rel=1e-4)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=3, max_size=30), st.integers(1, 6))
def test_best_of_n_is_a_mean_of_the_truth(drawn, n):
    s, truth = (np.array(column, float) for column in zip(*drawn, strict=True))
    s = s / 5
    wanted = metrics(s, truth, n=n, bootstrap=2)["best_of_n"]["value"]
    c = logs.best_of(s, n)
    assert c.sum() == pytest.approx(len(s))
    assert estimates(s, c, c * truth)["mean_truth"].value == pytest.approx(wanted)


def test_best_of_none_is_no_draw():
    with pytest.raises(ValueError, match="n is 0; best of n needs at least one draw"):
        logs.best_of([0.5], 0)


# --- log loss ----------------------------------------------------------------------------------------------


def test_log_loss_is_that_of_the_label_and_bounded():
    s, truth = np.array([0.0, 0.2, 0.7, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])
    h, k = linear(s)["log_loss"]
    each = h + k * truth
    assert each[1:3] == pytest.approx([-np.log(0.8), -np.log(0.7)])
    assert each[[0, 3]] == pytest.approx(-np.log(EDGE))
    assert metrics(s, truth, bootstrap=2)["log_loss"]["value"] == pytest.approx(each.mean())


# --- gold --------------------------------------------------------------------------------------------------


def gold_world(seed=0, rows=1500, gold=150):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows)
    liked = (rng.random(rows) < 1 / (1 + np.exp(-1.5 * x))).astype(float)
    one, two = (1 / (1 + np.exp(-x + scale * rng.standard_normal(rows))) for scale in (0.3, 1.0))
    known = np.where(rng.permutation(rows) < gold, liked, np.nan)
    return one, two, liked, known, Columns(np.ones(rows), 1 / (1 + np.exp(-x)), np.zeros(rows))


def test_comparison_by_gold_is_paired():
    one, two, _, gold, columns = gold_world(gold=400)
    found, same = powered_compare(one, two, columns, gold), powered_compare(one, one, columns, gold)
    fixed = powered_compare(one, two, columns, gold, power=0.5)
    x, y = (powered(s, columns, gold, power=0.5) for s in (one, two))
    for name in POWERED_METRICS:
        assert same[name] == {"value": 0, "low": 0, "high": 0, "power": 0}
        assert fixed[name]["value"] == pytest.approx(x[name]["value"] - y[name]["value"])
        assert width(found[name]) <= width(fixed[name]) * (1 + 1e-9)
    alone = powered_compare(one, two, columns, gold, power=0.0)["brier"]
    at = ~np.isnan(gold)
    gap = (one[at] - gold[at]) ** 2 - (two[at] - gold[at]) ** 2
    assert alone["value"] == pytest.approx(gap.mean())
    assert found["brier"]["high"] < 0  # the better model is found out


def test_weights_of_a_powered_measure_count_rows_once():
    one, _, liked, _, columns = gold_world()
    c = logs.best_of(one, 4)
    every = powered(one, columns, liked, weight=c, power=0.0)["mean_truth"]
    assert every["value"] == pytest.approx(metrics(one, liked, n=4, bootstrap=2)["best_of_n"]["value"])
    perfect = Columns(np.ones(len(liked)), liked, np.zeros(len(liked)))
    gold = np.where(np.arange(len(liked)) < 100, liked, np.nan)
    assert powered(one, perfect, gold, weight=c, power=1.0)["mean_truth"]["value"] == pytest.approx(
        every["value"]
    )
    with pytest.raises(ValueError, match="one number >= 0 a row is needed"):
        powered(one, columns, liked, weight=c[:3])


def test_prediction_powered_intervals_cover_under_selection_by_label_and_paired_ones_too():
    rng = np.random.default_rng(7)
    hits = np.zeros(3)
    names, runs = ("brier", "auc"), 250
    big = gold_world(10_000, 200_000)
    truth = [estimates(s, np.ones(len(s)), big[2]) for s in big[:2]]
    for _ in range(runs):
        one, two, liked, gold, _ = gold_world(rng.integers(1 << 30), 1200, 150)
        seen = rng.random(1200) < np.where(liked == 1, 0.5, 0.1)  # feedback by label, taken as it is
        q = np.where(seen, 0.9 * liked + 0.05, 0.6 * one + 0.1)
        columns = Columns(np.ones(1200), q, np.zeros(1200))
        found, gap = powered(one, columns, gold), powered_compare(one, two, columns, gold)["brier"]
        hits[:2] += [found[n]["low"] <= truth[0][n].value <= found[n]["high"] for n in names]
        hits[2] += gap["low"] <= truth[0]["brier"].value - truth[1]["brier"].value <= gap["high"]
    assert ((hits / runs >= 0.91) & (hits / runs <= 0.985)).all(), hits / runs


def test_gold_test_reads_gold_on_rows_beside_the_log():
    s, liked, recorded, observed, p, _ = sample(600)
    log = Log.of(partial(estimators.ips, recorded, observed, p), uncertain())
    gold = np.where(np.arange(600) % 6 == 0, liked, np.nan)
    here = gold_test(s, log, gold)
    nan = np.full(600, np.nan)
    beside = gold_test(
        np.tile(s, 2), logs.padded(log, 600), np.concatenate([nan, gold]), cluster=np.tile(np.arange(600), 2)
    )
    for name, part in here.items():
        assert beside[name] == pytest.approx(part)


# --- calibration -------------------------------------------------------------------------------------------


def test_one_bin_is_the_mean_truth_of_a_log_and_of_gold():
    rows = sample(500)
    s, log, cluster = rows[0], Log.of(opened("doubly_robust", rows), uncertain()), np.arange(500) // 2
    one = np.zeros(500, np.int64)
    [found] = log_calibration(s, log, one, cluster=cluster)
    wanted = log_metrics(s, log, cluster=cluster)["mean_truth"]
    assert (found["observed"], found["low"], found["high"]) == pytest.approx(tuple(wanted.values()))
    assert found["predicted"] == pytest.approx(s.mean())
    p, _, _, gold, columns = gold_world()
    [found] = powered_calibration(p, columns, gold, np.zeros(len(p), np.int64))
    wanted = powered(p, columns, gold)["mean_truth"]
    assert [found[name] for name in ("observed", "low", "high")] == pytest.approx(
        [wanted[name] for name in ("value", "low", "high")]
    )


def test_bins_hold_the_truth_and_what_cannot_be_read_is_left_out():
    p, _, liked, gold, columns = gold_world(gold=600)
    code = bins_of(p, 5)
    assert np.bincount(code).tolist() == [300] * 5
    found = powered_calibration(p, columns, gold, code)
    for number, bin_ in enumerate(found):
        half = bin_["high"] - bin_["observed"]
        assert abs(bin_["observed"] - liked[code == number].mean()) < 1.6 * half
    assert sum(bin_["n"] for bin_ in found) == 600
    gold[code == 0] = np.nan
    assert len(powered_calibration(p, columns, gold, code)) == 4
    log = Log.of(lambda fnr, fpr: estimators.naive(liked, code > 0), noise.known(0, 0))
    exact = log_calibration(p, log, code)
    assert [b["observed"] for b in exact] == pytest.approx([liked[code == k].mean() for k in range(1, 5)])
    assert bins_of([0.5] * 9, 4).tolist() == [1] * 9


# --- what gold sees of the selection -----------------------------------------------------------------------


def test_gold_measures_how_far_the_label_moves_the_odds():
    rng = np.random.default_rng(0)
    p, liked = rng.uniform(0.05, 0.6, 40_000), rng.random(40_000) < 0.6
    odds = p / (1 - p) * np.where(liked, 2.0, 0.8)
    seen = rng.random(40_000) < odds / (1 + odds)
    assert label_odds(seen, p, liked) == pytest.approx(2.0, rel=0.08)
    assert label_odds(rng.random(40_000) < p, p, liked) < 1.1
    assert np.isnan(label_odds(seen, p, np.ones(40_000)))
    half = rng.random(40_000) < np.where(liked, 0.2, 1.0)  # gold that prefers a class, weights that undo it
    weighted = label_odds(seen[half], p[half], liked[half], weight=np.where(liked, 5, 1)[half])
    assert weighted == pytest.approx(2.0, rel=0.1)
    with pytest.raises(ValueError, match="the same \\[G\\] is needed"):
        label_odds([1, 0], [0.5], [1, 0])


# --- sensitivity of a comparison ---------------------------------------------------------------------------


def test_bounds_of_a_difference_hold_zero_from_the_tipping_point_on():
    s, _, recorded, observed, p, _ = sample(400)
    columns = estimators.ips(recorded, observed, p, 0.15, 0.25)
    other = np.clip(s * 0.7 + 0.1, 0, 1)
    tips = tipping_gamma(s, other, columns)
    for name, part in tips.items():
        below, above = (compare_bounds(s, other, columns, part["gamma"] * k)[name] for k in (0.999, 1.001))
        assert below["low"] * below["high"] > 0 > above["low"] * above["high"]
        at_one = compare_bounds(s, other, columns, 1.0)[name]
        assert at_one["low"] == pytest.approx(part["value"]) == at_one["high"]
    one, two = (bounds(model, columns, 2.0)["brier"] for model in (s, other))
    both = compare_bounds(s, other, columns, 2.0)["brier"]
    assert both["low"] >= one["low"] - two["high"] - 1e-12
    assert both["high"] <= one["high"] - two["low"] + 1e-12
    with pytest.raises(ValueError, match=r"gamma is 0\.5; an odds ratio >= 1 is needed"):
        compare_bounds(s, other, columns, 0.5)


def test_comparison_by_a_log_is_the_difference_of_the_estimates():
    rows = sample(200)
    log = Log.of(opened("ips", rows), uncertain())
    other = rows[0] ** 2
    one, two = (estimates(model, log.a, log.b)["log_loss"] for model in (rows[0], other))
    assert (one - two).by_b == pytest.approx(one.by_b - two.by_b)
    assert log_compare(rows[0], other, log)["log_loss"]["value"] == pytest.approx(one.value - two.value)


# --- drift of other figures --------------------------------------------------------------------------------


def test_mean_by_window_is_the_drift_of_a_mean_truth():
    s, liked, *_ = sample(600)
    window, cluster = np.arange(600) % 3, np.arange(600) // 2
    log = Log.of(lambda fnr, fpr: estimators.naive(liked, np.ones(600)), noise.known(0, 0))
    wanted = drift(s, log, window, cluster=cluster)["mean_truth"]
    found = mean_drift(liked, window, cluster=cluster)
    assert found["p"] == pytest.approx(wanted["p"])
    for one, two in zip(found["windows"], wanted["windows"], strict=True):
        assert one == pytest.approx(two)


def test_rates_of_windows_change_by_cochrans_q():
    found = drift_of_rates([0.1, 0.3], [0.01, 0.03], ["a", "b"])
    assert found["chi2"] == pytest.approx(0.2**2 / 0.04)
    assert [w["window"] for w in found["windows"]] == ["a", "b"]
    with pytest.raises(ValueError, match="W at least 2, is needed"):
        drift_of_rates([0.1], [0.01], ["a"])
    with pytest.raises(ValueError, match="window has 1 value; at least 2 windows are needed"):
        mean_drift([1.0, 2.0], [0, 0])
    with pytest.raises(ValueError, match="one window a row is needed"):
        mean_drift([1.0, 2.0], [0, 0, 1])
