"""Gold and log together: prediction-powered metrics and the test of one against the other."""

import math
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew import estimators, noise
from unskew.estimators import Columns
from unskew.evaluate import POWERED_METRICS, Log, against_gold, gold_test, powered
from unskew.evaluate.influence import estimates
from unskew.evaluate.rows import linear
from unskew.rates import RANDOM, STRATIFIED

LINEAR = ("accuracy", "brier", "mean_truth", "mean_error")


def pseudo(q):
    """Pseudo-labels of weight 1."""
    q = np.asarray(q, float)
    return Columns(np.ones(len(q)), q, np.zeros(len(q)))


def world(rows=2000, seed=0, gold=200, by_label=False):
    """Predictions, true labels, pseudo-labels, gold with NaN, and ips of thumbs, perhaps given by label."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows)
    liked = rng.random(rows) < 1 / (1 + np.exp(-1.5 * x))
    s = np.round(1 / (1 + np.exp(-x + 0.5 * rng.standard_normal(rows))), 2)
    p = 0.15 + 0.5 / (1 + np.exp(-x))
    chance = np.where(liked, 0.6, 0.2) if by_label else p
    observed = (rng.random(rows) < chance).astype(float)
    recorded = np.where(rng.random(rows) < np.where(liked, 0.15, 0.25), ~liked, liked).astype(float)
    labels = np.full(rows, np.nan)
    picked = rng.permutation(rows)[:gold]
    labels[picked] = liked[picked]
    q = 1 / (1 + np.exp(-1.2 * x - 0.5))  # informative, and off
    return s, liked.astype(float), pseudo(q), labels, partial(estimators.ips, recorded, observed, p)


def width(part):
    return part["high"] - part["low"]


# --- prediction-powered ------------------------------------------------------------------------------------


def test_power_0_is_gold_alone():
    s, _, columns, gold, _ = world()
    found, at = powered(s, columns, gold, power=0.0), ~np.isnan(gold)
    alone = against_gold(s[at], gold[at], np.full(at.sum(), RANDOM), np.full(at.sum(), np.nan))
    assert tuple(found) == POWERED_METRICS
    for name in POWERED_METRICS:
        assert found[name]["value"] == pytest.approx(alone[name]["value"])
        assert width(found[name]) == pytest.approx(width(alone[name]), rel=0.15)
    error = s[at] - gold[at]
    assert width(found["brier"]) / 2 / 1.959964 == pytest.approx(
        np.sqrt(np.sum((error**2 - np.mean(error**2)) ** 2) * 2000 / 1999) / 200, rel=1e-5
    )


def test_power_1_is_the_mean_of_all_pseudo_labels_and_their_error_on_gold():
    s, _, columns, gold, _ = world()
    found, at = powered(s, columns, gold, power=1.0), ~np.isnan(gold)
    for name in LINEAR:
        h, k = linear(s)[name]
        all_rows, error = (h + k * columns.b).mean(), (k * (gold - columns.b))[at].mean()
        assert found[name]["value"] == pytest.approx(all_rows + error)


@given(st.integers(0, 10_000), st.floats(-1, 2), st.booleans())
def test_tuned_power_has_the_least_variance(seed, other, clustered):
    s, _, columns, gold, _ = world(60, seed, 20)
    cluster = np.arange(60) // 3 if clustered else None
    tuned = powered(s, columns, gold, cluster=cluster)
    for power in (0.0, 1.0, other):
        fixed = powered(s, columns, gold, cluster=cluster, power=power)
        for name in POWERED_METRICS:
            assert width(tuned[name]) <= width(fixed[name]) * (1 + 1e-9)
            assert fixed[name]["power"] == power


def test_tuned_power_is_that_of_the_paper_for_a_mean():
    """Cov(Y, f) / Var(f) / (1 + n / N') with n gold rows and N' rows without."""
    s, _, columns, gold, _ = world(200_000, gold=20_000)
    at = ~np.isnan(gold)
    h, k = linear(s)["brier"]
    y, f = (h + k * gold)[at], (h + k * columns.b)[at]
    slope = np.cov(y, f)
    found = powered(s, columns, gold)["brier"]
    # On all rows, gold included, the bracket is (1 - n / N) times that on the others.
    ours = found["power"] * (1 - 20_000 / 200_000)
    assert ours == pytest.approx(slope[0, 1] / slope[1, 1] / (1 + 20_000 / 180_000), rel=0.02)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8), st.integers(0, 8)), min_size=4, max_size=6))
def test_every_fixed_power_is_unbiased_over_all_samples_of_gold(drawn):
    truth, q, s = (
        np.array(column, float) / scale
        for column, scale in zip(zip(*drawn, strict=True), (1, 8, 8), strict=True)
    )
    n = len(truth)
    for power in (0.0, 0.7, 1.0):
        values = {name: [] for name in LINEAR}
        for picked in combinations(range(n), 2):
            gold = np.full(n, np.nan)
            gold[list(picked)] = truth[list(picked)]
            found = powered(s, pseudo(q), gold, power=power)
            for name in LINEAR:
                values[name].append(found[name]["value"])
        for name in LINEAR:
            h, k = linear(s)[name]
            assert np.mean(values[name]) == pytest.approx((h + k * truth).mean(), abs=1e-12)


def test_perfect_pseudo_labels_give_the_value_on_all_rows():
    s, liked, _, gold, _ = world()
    found, full = powered(s, pseudo(liked), gold), estimates(s, np.ones(2000), liked)
    for name in LINEAR:
        assert found[name]["value"] == pytest.approx(full[name].value, abs=2e-3)
        assert 0.9 < found[name]["power"] < 1.2
        assert width(found[name]) < 0.45 * width(powered(s, pseudo(liked), gold, power=0.0)[name])


def test_worthless_pseudo_labels_are_not_used():
    s, _, _, gold, _ = world()
    noise_labels = pseudo(np.random.default_rng(9).random(2000))
    found, gold_alone = powered(s, noise_labels, gold), powered(s, noise_labels, gold, power=0.0)
    assert abs(found["brier"]["power"]) < 0.3
    assert found["brier"]["value"] == pytest.approx(gold_alone["brier"]["value"], abs=0.01)
    constant = powered(s, pseudo(np.full(2000, 0.5)), gold)
    assert constant["mean_truth"]["power"] == 0.0


def test_pseudo_labels_without_a_value_on_gold_get_no_power():
    s, _, _, gold, _ = world()
    none = Columns(np.where(np.isnan(gold), 1.0, 0.0), np.zeros(2000), np.zeros(2000))
    found, alone = powered(s, none, gold), powered(s, none, gold, power=0.0)
    for name in POWERED_METRICS:
        assert found[name] == alone[name]
    assert (
        powered(s, pseudo(np.zeros(2000)), gold)["auc"]["power"] == 0.0
    )  # one class: no auc of pseudo-labels


def test_design_of_the_gold_is_undone():
    s, liked, columns, *_ = world(100_000)
    chance = np.where(s > 0.8, 0.2, 0.02)
    picked = np.random.default_rng(5).random(100_000) < chance
    gold, design = np.where(picked, liked, np.nan), np.full(100_000, STRATIFIED)
    found = powered(s, columns, gold, design=design, prob=chance)
    for name in POWERED_METRICS:
        full = estimates(s, np.ones(100_000), liked)[name].value
        assert found[name]["value"] == pytest.approx(full, abs=0.02)
    wrong = powered(s, columns, gold, power=0.0)
    assert abs(wrong["mean_truth"]["value"] - liked.mean()) > 0.05


def test_powered_intervals_cover_under_selection_by_label_and_are_narrower_than_gold():
    names, hits, narrower = ("accuracy", "brier", "auc"), np.zeros(3), []
    s, liked, *_ = world(400_000, seed=1)
    truth = estimates(s, np.ones(len(s)), liked)
    for seed in range(300):
        s, _, columns, gold, _ = world(2000, seed=(2, seed), by_label=True)
        found, alone = powered(s, columns, gold), powered(s, columns, gold, power=0.0)
        hits += [found[n]["low"] <= truth[n].value <= found[n]["high"] for n in names]
        narrower.append([width(found[n]) / width(alone[n]) for n in names])
    assert ((hits / 300 >= 0.91) & (hits / 300 <= 0.98)).all(), hits / 300
    assert (np.mean(narrower, axis=0) < 0.97).all()


# --- the log against gold ----------------------------------------------------------------------------------


def test_variance_of_the_test_is_that_of_the_difference():
    s, _, _, gold, call = world()
    rate = noise.known(0.15, 0.25, sd=(0.03, 0.04))
    log, at = Log.of(call, rate), ~np.isnan(gold)
    ours, true = estimates(s, log.a, log.b), estimates(s, at.astype(float), np.where(at, gold, 0.0))
    found = gold_test(s, log, gold, cluster=np.arange(2000) // 2)
    assert tuple(found) == POWERED_METRICS
    for name in POWERED_METRICS:
        x, y = ours[name], true[name]
        total = np.bincount(np.arange(2000) // 2, x.influence - y.influence)
        slope = log.by_kind(x.by_a, x.by_b)[0]
        sd = math.sqrt(total @ total * 1000 / 999 + slope @ rate.covariance @ slope)
        part = found[name]
        assert part["value"] == pytest.approx(x.value - y.value)
        assert part["z"] == pytest.approx(part["value"] / sd)
        assert part["p"] == pytest.approx(math.erfc(abs(part["value"] / sd) / math.sqrt(2)))
        assert width(part) / 2 / 1.959964 == pytest.approx(sd, rel=1e-5)


def test_complete_clean_feedback_that_is_the_gold_differs_by_nothing():
    s, liked, *_ = world()
    log = Log.of(partial(estimators.ips, liked, np.ones(2000), 1.0), noise.known(0.0, 0.0))
    found = gold_test(s, log, liked)["brier"]
    assert found["value"] == pytest.approx(0, abs=1e-12)
    assert found["high"] == pytest.approx(0, abs=1e-12)


def test_test_has_its_size_with_estimated_rates_and_sees_selection_by_label():
    p, known, biased = [], [], []
    for seed in range(300):
        s, liked, _, gold, call = world(2000, seed=(3, seed), gold=600)
        recorded, observed, _ = call.args
        rng, labels = np.random.default_rng((4, seed)), np.full(2000, np.nan)
        picked = rng.permutation(np.flatnonzero(np.isnan(gold) & (observed == 1)))[:150]
        labels[picked] = liked[picked]
        rate = noise.from_gold(recorded == 1, labels, observed=observed == 1)
        p.append(gold_test(s, Log.of(call, rate), gold)["accuracy"]["p"])
        known.append(gold_test(s, Log.of(call, noise.known(rate.fnr, rate.fpr)), gold)["accuracy"]["p"])
        s, _, _, gold, call = world(2000, seed=(3, seed), gold=600, by_label=True)
        biased.append(gold_test(s, Log.of(call, noise.known(0.15, 0.25)), gold)["mean_truth"]["p"])
    size, without, power = (np.mean(np.array(found) < 0.05) for found in (p, known, biased))
    assert 0.02 <= size <= 0.09
    assert without > size + 0.02
    assert power > 0.9


# --- errors ------------------------------------------------------------------------------------------------

S, Q = [0.2, 0.4, 0.6], pseudo([0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: powered(S, Q, [1, np.nan, np.nan]),
            "1 of 3 rows have a gold label; at least 2 are needed, better 200",
        ),
        (lambda: powered(S, Q, [1, 0]), "gold has shape (2,), the log 3 rows; one value a row is needed"),
        (
            lambda: powered(S, Q, [1, 0, 1], design=[RANDOM]),
            "design has shape (1,), the log 3 rows; one value a row is needed",
        ),
        (
            lambda: powered(S, Q, [1, 0, 1], prob=[1]),
            "prob has shape (1,), the log 3 rows; one value a row is needed",
        ),
        (
            lambda: powered(S, Q, [1, 0, 2]),
            "gold of row 2 (and of 0 more) is 2.0; it must be in [0, 1]",
        ),
        (
            lambda: powered(S, Q, [1, 0, 1], power=math.nan),
            "power is nan; a number is needed, 0 for gold alone, or None to tune it",
        ),
        (
            lambda: powered(S, Q, [1, 0, 1], design=[STRATIFIED] * 3),
            "prob of stratified gold row 0 is nan; it must be in (0, 1]: the probability with which the row "
            "was chosen for labelling",
        ),
        (
            lambda: powered(S, pseudo([0.5]), [1]),
            "1 of 1 rows have a gold label; at least 2 are needed, better 200",
        ),
    ],
)
def test_errors_say_what_was_found_and_what_was_expected(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        call()
    assert str(error.value) == message
