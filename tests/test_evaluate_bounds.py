"""Bounds over wrong propensities and error rates, equal to brute force, and where comparisons flip."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unskew import estimators, noise
from unskew.estimators import Columns
from unskew.evaluate import Log, bounds, rate_range, tipping_gamma, tipping_rates
from unskew.evaluate.influence import estimates
from unskew.evaluate.region import RADIUS
from unskew.evaluate.rows import linear
from unskew.evaluate.sensitivity import BOUNDED, TIPPING

FNR, FPR = 0.15, 0.25


def sample(rows=200, seed=0):
    """Predictions, recorded labels, observed, propensities, imputations."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows)
    liked = rng.random(rows) < 1 / (1 + np.exp(-1.5 * x))
    p = 0.15 + 0.5 / (1 + np.exp(-x))
    observed = (rng.random(rows) < p).astype(float)
    recorded = np.where(rng.random(rows) < np.where(liked, FNR, FPR), ~liked, liked).astype(float)
    s = np.round(1 / (1 + np.exp(-x)), 2)
    return s, recorded, observed, p, 0.2 + 0.6 * s


def value(name, s, weight, t, normalised, q=None):
    """The metric by its definition: weight 0 where nothing was observed."""
    h, k = linear(np.asarray(s, float))[name]
    total = weight.sum() if normalised else len(weight)
    if q is None:
        return (weight * (h + k * t)).sum() / total
    return (h + k * q).mean() + (weight * k * (t - q)).sum() / total


unit = st.integers(1, 19).map(lambda v: v / 20)
rows = st.lists(st.tuples(unit, st.booleans(), st.integers(0, 1), unit, unit), min_size=1, max_size=5)


def columns_of(drawn):
    """s, ips columns, corrected labels, propensity, imputation of drawn rows; the first is observed."""
    s, seen, y, p, q = (np.array(column, float) for column in zip(*drawn, strict=True))
    seen[0] = 1
    return s, estimators.ips(y, seen, p, 0.1, 0.2, floor=0), (y - 0.2) / 0.7, p, q


# --- propensities ------------------------------------------------------------------------------------------


@given(rows, st.sampled_from([1.0, 1.3, 2.0, 10.0]), st.booleans(), st.booleans())
def test_bounds_are_the_extremes_over_the_corners_of_the_weights(drawn, gamma, normalised, robust):
    s, columns, t, p, q = columns_of(drawn)
    found = bounds(s, columns, gamma, normalised=normalised, imputation=q if robust else None)
    seen, odds = columns.a > 0, 1 / p - 1
    assert tuple(found) == BOUNDED
    for name in BOUNDED:
        values = [
            value(name, s, seen * (1 + odds * np.array(tilt)), t, normalised, q if robust else None)
            for tilt in product((1 / gamma, gamma), repeat=len(s))
        ]
        assert found[name]["low"] == pytest.approx(min(values), abs=1e-12)
        assert found[name]["high"] == pytest.approx(max(values), abs=1e-12)
        at_one = value(name, s, columns.a, t, normalised, q if robust else None)
        assert found[name]["value"] == pytest.approx(at_one, abs=1e-12)


@given(rows, st.floats(1, 8), st.lists(st.floats(-1, 1), min_size=5, max_size=5), st.booleans())
def test_bounds_hold_for_every_propensity_within_the_odds_ratio(drawn, gamma, power, normalised):
    s, columns, t, p, _ = columns_of(drawn)
    odds = p / (1 - p) * gamma ** np.array(power[: len(s)])
    weight = (columns.a > 0) * (1 + 1 / odds)
    found = bounds(s, columns, gamma, normalised=normalised)
    for name in BOUNDED:
        truth = value(name, s, weight, t, normalised)
        assert found[name]["low"] - 1e-9 <= truth <= found[name]["high"] + 1e-9


def test_bounds_widen_with_gamma_from_the_value_itself():
    s, recorded, observed, p, _ = sample()
    columns = estimators.ips(recorded, observed, p, FNR, FPR)
    found = [bounds(s, columns, gamma)["brier"] for gamma in (1.0, 1.5, 3.0)]
    assert found[0]["low"] == pytest.approx(found[0]["high"])
    assert found[2]["low"] < found[1]["low"] < found[0]["value"] < found[1]["high"] < found[2]["high"]
    log = Log.of(partial(estimators.ips, recorded, observed, p), noise.known(FNR, FPR))
    assert found[0]["value"] == pytest.approx(estimates(s, log.a, log.b)["brier"].value)


def test_bounds_contain_the_truth_under_selection_by_the_hidden_label():
    """The odds of an answer are 3 times as high for a liked response, and the propensity does not know."""
    rng = np.random.default_rng(1)
    s = rng.random(60_000)
    liked = rng.random(60_000) < s**2
    odds = np.where(liked, 0.6, 0.2)
    observed = rng.random(60_000) < odds / (1 + odds)
    p = s**2 * 0.375 + (1 - s**2) / 6  # right given s, within a factor 3 of both
    columns = estimators.ips(liked, observed, p)
    truth = value("brier", s, np.ones(60_000), liked.astype(float), True)
    found = {gamma: bounds(s, columns, gamma)["brier"] for gamma in (1.0, 3.0)}
    assert abs(found[1.0]["value"] - truth) > 0.02
    assert found[3.0]["low"] < truth < found[3.0]["high"]


@given(rows, st.lists(unit, min_size=5, max_size=5), st.booleans(), st.booleans())
def test_models_are_equal_at_the_tipping_odds_ratio_and_not_before(drawn, other, normalised, robust):
    s, columns, t, p, q = columns_of(drawn)
    second, seen, odds = np.array(other[: len(s)]), columns.a > 0, 1 / p - 1
    more = {"normalised": normalised, "imputation": q if robust else None}
    found = tipping_gamma(s, second, columns, **more)
    assert tuple(found) == TIPPING

    def gap(name, tilt):
        one, two = (
            value(name, model, seen * (1 + odds * tilt), t, normalised, more["imputation"])
            for model in (s, second)
        )
        return one - two

    for name in TIPPING:
        now, gamma = found[name]["value"], found[name]["gamma"]
        assert now == pytest.approx(gap(name, np.ones(len(s))), abs=1e-12)
        assume(abs(now) > 1e-6)
        assert gamma >= 1
        corners = list(product((-1, 1), repeat=len(s)))

        def least(gamma, name=name, now=now, corners=corners):
            return min(np.sign(now) * gap(name, gamma ** np.array(corner, float)) for corner in corners)

        if gamma < 1e6:
            assert least(gamma) == pytest.approx(0, abs=1e-7)
            assert least(1 + 0.9 * (gamma - 1)) > 0
            assert least(1 + 1.1 * (gamma - 1)) < 1e-12 or gamma - 1 < 1e-9
        else:
            assert least(1e5) > 0


def test_equal_models_tip_at_once():
    s, recorded, observed, p, _ = sample()
    columns = estimators.ips(recorded, observed, p, FNR, FPR)
    assert tipping_gamma(s, s, columns)["brier"] == {"value": 0.0, "gamma": 1.0}
    swapped = tipping_gamma(s, 1 - s, columns), tipping_gamma(1 - s, s, columns)
    for name in TIPPING:
        assert swapped[0][name]["gamma"] == pytest.approx(swapped[1][name]["gamma"])
        assert swapped[0][name]["value"] == pytest.approx(-swapped[1][name]["value"])


# --- error rates -------------------------------------------------------------------------------------------


def opened(name):
    """Predictions, and an estimator with all but the rates filled in."""
    s, recorded, observed, p, q = sample()
    more = {"classwise_ips": (p, 0.7 * p), "doubly_robust": (p, q)}.get(name, (p,))
    return s, partial(getattr(estimators, name), recorded, observed, *more)


def at(call, s, fnr, fpr):
    columns = call(fnr, fpr)
    return {name: part.value for name, part in estimates(s, columns.a, columns.b).items()}


COVARIANCE = np.array([[0.0009, 0.0004], [0.0004, 0.0016]])


@pytest.mark.parametrize("name", ["ips", "classwise_ips", "doubly_robust"])
def test_range_over_a_box_is_that_of_a_fine_grid(name):
    s, call = opened(name)
    found = rate_range(s, Log.of(call, noise.known(FNR, FPR)), fnr=(0.05, 0.25), fpr=(0.2, 0.3))
    grid = [at(call, s, x, y) for x in np.linspace(0.05, 0.25, 9) for y in np.linspace(0.2, 0.3, 9)]
    assert tuple(found) == BOUNDED
    for metric in BOUNDED:
        values = [point[metric] for point in grid]
        assert found[metric]["value"] == pytest.approx(at(call, s, FNR, FPR)[metric])
        assert found[metric]["low"] == pytest.approx(min(values), abs=1e-12)
        assert found[metric]["high"] == pytest.approx(max(values), abs=1e-12)


@pytest.mark.parametrize("name", ["ips", "classwise_ips", "doubly_robust"])
def test_range_over_the_ellipse_is_that_of_its_edge(name):
    s, call = opened(name)
    found = rate_range(s, Log.of(call, noise.Noise(FNR, FPR, COVARIANCE)))
    turn = np.linspace(0, 2 * np.pi, 721)
    edge = RADIUS * np.linalg.cholesky(COVARIANCE) @ np.stack([np.cos(turn), np.sin(turn)])
    grid = [at(call, s, FNR + x, FPR + y) for x, y in edge.T]
    for metric in BOUNDED:
        values = [point[metric] for point in grid]
        assert found[metric]["low"] == pytest.approx(min(values), abs=2e-5)
        assert found[metric]["high"] == pytest.approx(max(values), abs=2e-5)
        assert found[metric]["low"] <= min(values) + 1e-12
        assert found[metric]["high"] >= max(values) - 1e-12


def test_the_ellipse_holds_both_rates_with_95_percent():
    rng = np.random.default_rng(0)
    assert np.mean((rng.standard_normal((100_000, 2)) ** 2).sum(1) < RADIUS**2) == pytest.approx(
        0.95, abs=3e-3
    )


def test_a_small_ellipse_is_the_delta_interval():
    s, call = opened("ips")
    log = Log.of(call, noise.Noise(FNR, FPR, COVARIANCE * 1e-4))
    found, parts = rate_range(s, log, radius=1.96), estimates(s, log.a, log.b)
    for metric in BOUNDED:
        sd = math.sqrt(log.variance(log.by_kind(parts[metric].by_a, parts[metric].by_b)))
        assert found[metric]["high"] - found[metric]["low"] == pytest.approx(2 * 1.96 * sd, rel=1e-3)


def test_known_rates_have_no_range():
    s, call = opened("ips")
    for part in rate_range(s, Log.of(call, noise.known(FNR, FPR))).values():
        assert part["low"] == pytest.approx(part["value"])
        assert part["high"] == pytest.approx(part["value"])


@pytest.mark.parametrize("name", ["ips", "classwise_ips", "doubly_robust"])
def test_models_are_equal_at_the_tipping_rates(name):
    s, call = opened(name)
    log = Log.of(call, noise.Noise(FNR, FPR, COVARIANCE))
    flips = 0
    for other in (np.round(np.sqrt(s), 2), np.round(s**1.3, 2), np.round(s**2, 2), 0.5 + 0 * s):
        found, one, two = tipping_rates(s, other, log), at(call, s, FNR, FPR), at(call, other, FNR, FPR)
        assert tuple(found) == TIPPING
        for metric in TIPPING:
            part = found[metric]
            assert part["value"] == pytest.approx(one[metric] - two[metric], abs=1e-12)
            for fnr, fpr in ((part["fnr"], FPR), (FNR, part["fpr"])):
                if not math.isnan(fnr + fpr) and 1 - fnr - fpr > 0.2:
                    gap = at(call, s, fnr, fpr)[metric] - at(call, other, fnr, fpr)[metric]
                    assert gap == pytest.approx(0, abs=1e-9)
                    flips += 1
            # The nearest pair of rates with no difference lies on an ellipse of radius `distance`.
            turn = np.linspace(0, 2 * np.pi, 3601)
            edge = part["distance"] * np.linalg.cholesky(COVARIANCE) @ np.stack([np.cos(turn), np.sin(turn)])
            inside, outside = ([(FNR + f * x, FPR + f * y) for x, y in edge.T[::40]] for f in (0.98, 1.02))
            signs = [
                {np.sign(gap_of(call, s, other, metric, *rates)) for rates in where if fine(*rates)}
                for where in (inside, outside)
            ]
            if all(fine(*rates) for rates in outside):
                assert len(signs[0]) == 1
                assert len(signs[1]) == 2
    assert flips >= 3


def fine(fnr, fpr):
    return fnr >= 0 and fpr >= 0 and 1 - fnr - fpr > 0.2


def gap_of(call, s, other, metric, fnr, fpr):
    return at(call, s, fnr, fpr)[metric] - at(call, other, fnr, fpr)[metric]


def test_rates_that_play_no_part_never_flip_a_comparison():
    s, call = opened("ips")
    found = tipping_rates(s, 1 - s, Log.of(call, noise.known(FNR, FPR)))["brier"]
    assert found["distance"] == math.inf
    same = tipping_rates(s, s, Log.of(call, noise.known(FNR, FPR)))["brier"]
    assert (same["value"], same["distance"]) == (0.0, 0.0)
    assert math.isnan(same["fnr"])


def test_other_kinds_stay_as_they_are():
    s, recorded, observed, p, _ = sample()
    kind, rates = np.arange(200) % 2, [noise.known(0.1, 0.2), noise.known(FNR, FPR)]
    log = Log.of(partial(estimators.ips, recorded, observed, p), rates, kind=kind)
    found = rate_range(s, log, fnr=(0.0, 0.3), fpr=(0.1, 0.3), kind=1)
    for metric in BOUNDED:
        values = []
        for x, y in product((0.0, 0.3), (0.1, 0.3)):
            fnr, fpr = np.where(kind, x, 0.1), np.where(kind, y, 0.2)
            columns = estimators.ips(recorded, observed, p, fnr, fpr)
            values.append(estimates(s, columns.a, columns.b)[metric].value)
        assert found[metric]["low"] == pytest.approx(min(values))
        assert found[metric]["high"] == pytest.approx(max(values))


# --- errors ------------------------------------------------------------------------------------------------

SMALL = estimators.ips([1, 0, 1], [1, 1, 0], 0.5)
LOG = Log.of(partial(estimators.ips, [1, 0, 1], [1, 1, 0], 0.5), noise.known(0.1, 0.2, sd=(0.02, 0.02)))
S = [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: bounds(S, SMALL, 0.5),
            "gamma is 0.5; an odds ratio >= 1 is needed, 1 when the propensities are right",
        ),
        (
            lambda: bounds([0.5], SMALL, 2),
            "probability has shape (1,), the columns (3,); the same [N] is needed",
        ),
        (
            lambda: bounds(S, SMALL, 2, imputation=[0.5]),
            "imputation has shape (1,), the columns (3,); the same [N] is needed",
        ),
        (
            lambda: tipping_gamma(S, S, Columns(np.array([0, 0.5, 1]), np.zeros(3), np.zeros(3))),
            "the weight of row 1 is 0.5; it must be 0 or 1 / propensity, as in the columns of "
            "`estimators.ips`",
        ),
        (
            lambda: bounds(S, Columns(np.zeros(3), np.zeros(3), np.zeros(3)), 2),
            "none of 3 rows was observed; bounds need at least one",
        ),
        (
            lambda: rate_range(S, LOG, fnr=(0, 0.1)),
            "rate_range got one of fnr and fpr; give both for a box, or neither for the ellipse",
        ),
        (
            lambda: rate_range(S, LOG, fnr=(0, 0.1), fpr=(0.2, 0.1)),
            "fpr is from 0.2 to 0.1; 0 <= low <= high <= 1 is needed",
        ),
        (
            lambda: rate_range(S, LOG, fnr=(0, 0.6), fpr=(0.2, 0.5)),
            "D = 1 - fnr - fpr of feedback falls to -0.100 in the region; it must stay above 0. Take a "
            "smaller region, or label more gold rows",
        ),
        (
            lambda: rate_range(S, LOG, radius=40),
            "D = 1 - fnr - fpr of feedback falls to -0.431 in the region; it must stay above 0. Take a "
            "smaller region, or label more gold rows",
        ),
        (
            lambda: rate_range(S, LOG, radius=-1),
            "radius is -1; a number of standard deviations >= 0 is needed",
        ),
        (lambda: tipping_rates(S, S, LOG, kind=1), "kind is 1; the log has the kinds 0 to 0"),
        (
            lambda: rate_range(
                S,
                Log.of(
                    partial(estimators.classwise_ips, [0, 1, 1], [1, 1, 1], 0.1, 1.0), noise.known(0.1, 0.0)
                ),
                fnr=(0, 0.1),
                fpr=(0.0, 0.8),
            ),
            "the weights of the columns times D sum to -3.3 somewhere in the region; they must stay above 0. "
            "Take a smaller region, or columns whose weights do not move with the rates",
        ),
    ],
)
def test_errors_say_what_was_found_and_what_was_expected(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        call()
    assert str(error.value) == message
