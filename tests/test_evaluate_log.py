"""Intervals from a log that know how its error rates were found: slopes, influences, coverage, drift."""

from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew import estimators, noise
from unskew.evaluate import LOG_METRICS, Log, against_log, drift, log_compare, log_metrics
from unskew.evaluate.drift import chi2_tail
from unskew.evaluate.influence import estimates
from unskew.evaluate.rows import linear
from unskew.noise import NoiseRefused
from unskew.testing import problems

FAMILY = ("noise_corrected", "ips", "snips", "classwise_ips", "doubly_robust")


def sample(rows=400, seed=0, fnr=0.15, fpr=0.25):
    """A log selected by features: predictions, true labels, record, observed, propensity, imputation."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows)
    liked = rng.random(rows) < 1 / (1 + np.exp(-1.5 * x))
    p = 0.15 + 0.5 / (1 + np.exp(-x))
    observed = rng.random(rows) < p
    recorded = np.where(rng.random(rows) < np.where(liked, fnr, fpr), ~liked, liked)
    s = np.round(1 / (1 + np.exp(-x + 0.4 * rng.standard_normal(rows))), 2)
    return s, liked.astype(float), recorded.astype(float), observed.astype(float), p, 0.2 + 0.6 * s


def opened(name, rows):
    """An estimator of the family with all but the rates filled in."""
    _, _, recorded, observed, p, q = rows
    more = {"noise_corrected": (), "classwise_ips": (p, 0.7 * p), "doubly_robust": (p, q)}.get(name, (p,))
    return partial(getattr(estimators, name), recorded, observed, *more)


def uncertain(fnr=0.15, fpr=0.25, sd=(0.02, 0.03), rho=0.3):
    covariance = np.diag(np.square(sd))
    covariance[0, 1] = covariance[1, 0] = rho * sd[0] * sd[1]
    return noise.Noise(fnr, fpr, covariance, "gold")


def width(part):
    return part["high"] - part["low"]


# --- slopes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY)
def test_columns_move_with_the_rates_as_the_derivatives_say(name):
    call, h = opened(name, sample(60)), 1e-6
    log = Log.of(call, uncertain())
    for column in "ab":
        slope = getattr(log, f"slope_{column}")
        for rate, shift in enumerate(((h, 0.0), (0.0, h))):
            up, down = (
                getattr(call(0.15 + sign * shift[0], 0.25 + sign * shift[1]), column) for sign in (1, -1)
            )
            np.testing.assert_allclose(slope[:, rate], (up - down) / (2 * h), rtol=1e-7, atol=1e-7)


def test_slopes_of_ips_are_the_formula():
    _, _, recorded, observed, p, _ = rows = sample(60)
    log, D = Log.of(opened("ips", rows), uncertain()), 0.6
    t = (recorded - 0.25) / D
    assert log.slope_b[:, 0] == pytest.approx(observed / p * t / D)
    assert log.slope_b[:, 1] == pytest.approx(observed / p * (t - 1) / D)
    assert log.slope_a == pytest.approx(np.zeros((60, 2)))


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("metric", LOG_METRICS)
def test_slope_of_every_metric_by_the_rates_is_its_derivative(name, metric):
    rows, h = sample(80), 1e-5
    call = opened(name, rows)
    log = Log.of(call, uncertain())

    def value(fnr, fpr):
        columns = call(fnr, fpr)
        return estimates(rows[0], columns.a, columns.b)[metric].value

    found = estimates(rows[0], log.a, log.b)[metric]
    slope = log.by_kind(found.by_a, found.by_b)[0]
    for rate, (x, y) in enumerate(((h, 0.0), (0.0, h))):
        numeric = (value(0.15 + x, 0.25 + y) - value(0.15 - x, 0.25 - y)) / (2 * h)
        assert slope[rate] == pytest.approx(numeric, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("metric", LOG_METRICS)
def test_influence_is_what_one_more_row_adds(metric):
    rows, h = sample(80), 1e-6
    log = Log.of(opened("classwise_ips", rows), uncertain())
    found = estimates(rows[0], log.a, log.b)[metric]
    assert found.influence.sum() == pytest.approx(0, abs=1e-9)
    for row in np.flatnonzero(log.a)[:12]:
        count = np.ones(80)
        values = []
        for sign in (1, -1):
            count[row] = 1 + sign * h
            values.append(estimates(rows[0], log.a * count, log.b * count)[metric].value)
        assert found.influence[row] == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4, abs=1e-8)


def test_values_are_those_of_the_bootstrapped_metrics():
    rows = sample(300)
    for name in FAMILY:
        log = Log.of(opened(name, rows), uncertain())
        ours, theirs = (
            log_metrics(rows[0], log),
            against_log(rows[0], opened(name, rows)(0.15, 0.25), bootstrap=2),
        )
        assert tuple(ours) == LOG_METRICS
        for metric in LOG_METRICS:
            assert ours[metric]["value"] == pytest.approx(theirs[metric]["value"])


# --- exact expectations ------------------------------------------------------------------------------------


@given(problems(rows=2))
def test_sums_of_a_linear_metric_are_those_of_the_truth_over_every_record(problem):
    """E sum (h a + k b) = sum (h + k liked) and E sum a = N, in fractions, for weights that are unbiased."""
    s = np.array([Fraction(3, 10), Fraction(7, 10)])
    for name, (h, k) in linear(s.astype(float)).items():
        h, k = (np.array([Fraction(v).limit_denominator(1000) for v in part]) for part in (h, k))
        top, bottom = Fraction(0), Fraction(0)
        for chance, label, observed in problem.outcomes():
            columns = estimators.ips(
                label, observed, problem.given["propensity"], problem.fnr, problem.fpr, floor=0, unsafe=True
            )
            top += chance * (h * columns.a + k * columns.b).sum()
            bottom += chance * columns.a.sum()
        assert top == (h + k * problem.liked).sum(), name
        assert bottom == 2


def test_delta_term_is_exact_over_rates_of_two_values():
    """A metric linear in t moves by slope x error to first order: the variance over +-e is slope^2 e^2."""
    rows, e = sample(200), 1e-4
    log = Log.of(opened("ips", rows), uncertain(sd=(e, e), rho=0.0))
    found = estimates(rows[0], log.a, log.b)
    for metric in ("accuracy", "brier", "auc"):
        values = []
        for x, y in product((-e, e), repeat=2):
            columns = opened("ips", rows)(0.15 + x, 0.25 + y)
            values.append(estimates(rows[0], columns.a, columns.b)[metric].value)
        part = found[metric]
        assert log.variance(log.by_kind(part.by_a, part.by_b)) == pytest.approx(np.var(values), rel=1e-3)


# --- intervals ---------------------------------------------------------------------------------------------


def test_interval_adds_the_rates_to_the_rows():
    rows = sample(500)
    known, found = (
        log_metrics(rows[0], Log.of(opened("ips", rows), rate))
        for rate in (noise.known(0.15, 0.25), uncertain())
    )
    log = Log.of(opened("ips", rows), uncertain())
    for metric in LOG_METRICS:
        part = estimates(rows[0], log.a, log.b)[metric]
        slope = log.by_kind(part.by_a, part.by_b)[0]
        alone = np.sum(part.influence**2) * 500 / 499
        assert (width(known[metric]) / 2 / 1.959964) ** 2 == pytest.approx(alone, rel=1e-5)
        both = alone + slope @ uncertain().covariance @ slope
        assert (width(found[metric]) / 2 / 1.959964) ** 2 == pytest.approx(both, rel=1e-5)
    assert width(found["mean_prediction"]) == pytest.approx(width(known["mean_prediction"]))
    assert width(found["accuracy"]) > 1.04 * width(known["accuracy"])


def test_rows_repeated_in_one_cluster_are_no_news():
    s, _, recorded, observed, p, _ = sample(300)
    once = log_metrics(s, Log.of(partial(estimators.ips, recorded, observed, p), uncertain()))
    many = (np.repeat(column, 5) for column in (s, recorded, observed, p))
    s5, *rest = many
    log = Log.of(partial(estimators.ips, *rest), uncertain())
    together = log_metrics(s5, log, cluster=np.repeat(np.arange(300), 5))
    apart = log_metrics(s5, log)
    for metric in LOG_METRICS:
        assert together[metric] == pytest.approx(once[metric])
        assert width(apart[metric]) <= width(once[metric])
    assert width(apart["auc"]) < 0.95 * width(once["auc"])


def test_kinds_have_their_own_rates_and_their_own_errors():
    s, _, recorded, observed, p, _ = sample(400)
    kind = np.arange(400) % 2
    rates = [uncertain(0.1, 0.2, (0.0, 0.0)), uncertain(0.2, 0.3, (0.04, 0.05))]
    log = Log.of(partial(estimators.ips, recorded, observed, p), rates, kind=kind)
    fnr, fpr = np.where(kind, 0.2, 0.1), np.where(kind, 0.3, 0.2)
    assert log.b == pytest.approx(estimators.ips(recorded, observed, p, fnr, fpr).b)
    part = estimates(s, log.a, log.b)["accuracy"]
    slope = log.by_kind(part.by_a, part.by_b)
    assert log.variance(slope) == pytest.approx(slope[1] @ rates[1].covariance @ slope[1])
    one = kind == 1
    alone = Log.of(partial(estimators.ips, recorded[one], observed[one], p[one]), rates[1])
    assert slope[1] == pytest.approx(alone.by_kind(part.by_a[one], part.by_b[one])[0])


def test_a_model_compared_with_itself_differs_by_nothing_and_a_pair_cancels_the_rates():
    rows = sample(400)
    s, log = rows[0], Log.of(opened("doubly_robust", sample(400)), uncertain(sd=(0.1, 0.1)))
    assert all(part == {"value": 0, "low": 0, "high": 0} for part in log_compare(s, s, log).values())
    other = np.clip(s + 0.02, 0, 1)
    found, one, two = log_compare(other, s, log), log_metrics(other, log), log_metrics(s, log)
    for metric in LOG_METRICS:
        assert found[metric]["value"] == pytest.approx(one[metric]["value"] - two[metric]["value"])
    assert width(found["brier"]) < 0.3 * width(one["brier"])
    # mean_error differs by the predictions alone: neither labels nor rates play a part
    assert width(found["mean_error"]) < 0.02 * width(one["mean_error"])


def test_paired_variance_is_that_of_the_difference():
    rows = sample(300)
    s, log = rows[0], Log.of(opened("ips", rows), uncertain())
    other = np.round(np.sqrt(s), 2)
    x, y = (estimates(model, log.a, log.b)["brier"] for model in (other, s))
    slope = log.by_kind(x.by_a - y.by_a, x.by_b - y.by_b)[0]
    cluster = np.arange(300) // 3
    total = np.bincount(cluster, x.influence - y.influence)
    variance = total @ total * 100 / 99 + slope @ uncertain().covariance @ slope
    found = log_compare(other, s, log, cluster=cluster)["brier"]
    assert width(found) / 2 / 1.959964 == pytest.approx(np.sqrt(variance), rel=1e-5)


def gold_rates(rows, rng, labels=200):
    """Rates from gold labels on observed rows chosen at random."""
    observed, gold = rows[3] == 1, np.full(len(rows[0]), np.nan)
    picked = rng.permutation(np.flatnonzero(observed))[:labels]
    gold[picked] = rows[1][picked]
    return noise.from_gold(rows[2] == 1, gold, observed=observed)


def test_intervals_cover_when_the_rates_are_estimates_and_not_without_them():
    """Rates known; from gold elsewhere; the same taken as known; from gold on rows of the log itself."""
    names, hits = ("accuracy", "brier", "auc", "mean_error"), np.zeros((4, 4))
    s, liked, *_ = sample(400_000, seed=1)
    truth = estimates(s, np.ones(len(s)), liked)
    for seed in range(300):
        rng = np.random.default_rng((2, seed))
        rows = sample(3000, seed=(3, seed))
        rate = gold_rates(sample(3000, seed=(5, seed)), rng)
        rates = (noise.known(0.15, 0.25), rate, noise.known(rate.fnr, rate.fpr), gold_rates(rows, rng))
        for arm, used in enumerate(rates):
            found = log_metrics(rows[0], Log.of(opened("ips", rows), used))
            hits[arm] += [found[n]["low"] <= truth[n].value <= found[n]["high"] for n in names]
    share = hits / 300
    assert ((share[:2] >= 0.91) & (share[:2] <= 0.98)).all(), share
    assert (share[2] < 0.90).all(), share
    assert (share[3] >= 0.94).all(), share  # the log and its rates share their records: a little too wide


# --- drift -------------------------------------------------------------------------------------------------


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


# --- errors ------------------------------------------------------------------------------------------------

SMALL = ([1, 0, 1], [1, 1, 0], 0.5)
LOG = Log.of(partial(estimators.ips, *SMALL), noise.known(0.1, 0.2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Log.of(partial(estimators.ips, *SMALL), [noise.known(0.1, 0.2)] * 2),
            "noise has the rates of 2 kinds; `kind` must say which each row has",
        ),
        (
            lambda: Log.of(partial(estimators.ips, *SMALL), [noise.known(0.1, 0.2)] * 2, kind=[0, 1, 2]),
            "kind has shape (3,) and values from 0 to 2; one number a row in [0, 2) is needed",
        ),
        (
            lambda: Log.of(
                lambda fnr, fpr: estimators.naive([1, 0], [1, 1]), noise.known(0.1, 0.2), kind=[0]
            ),
            "the columns have 2 rows, kind 1; the same is needed",
        ),
        (
            lambda: Log.of(lambda a, b: estimators.ips(*SMALL, a * a, b), noise.known(0.1, 0.2)),
            "the columns of the estimator are not linear in the corrected label, so their slopes by the "
            "rates are unknown; give one of `estimators` with everything but fnr and fpr filled in",
        ),
        (
            lambda: log_metrics([0.5, 0.5, 0.5], LOG, cluster=[1, 1, 1]),
            "3 rows are 1 cluster or none; an interval needs at least 2 clusters",
        ),
        (
            lambda: log_metrics([0.5, 0.5, 0.5], LOG, cluster=[1, 2]),
            "cluster has shape (2,), the log 3 rows; one value a row is needed",
        ),
        (
            lambda: log_metrics([0.5], LOG),
            "probability has shape (1,), the truth (3,); the same [N] is needed",
        ),
        (
            lambda: log_metrics([0.5], Log.of(partial(estimators.ips, [1], [0], 0.5), noise.known(0.1, 0.2))),
            "1 rows are 1 cluster or none; an interval needs at least 2 clusters",
        ),
        (
            lambda: estimates([0.5], np.zeros(1), np.zeros(1)),
            "the weights of the columns sum to 0; a positive sum is needed",
        ),
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


def test_rates_that_leave_too_little_are_refused():
    with pytest.raises(NoiseRefused, match="may be as low as"):
        Log.of(partial(estimators.ips, *SMALL), noise.known(0.3, 0.3, sd=(0.1, 0.1)))
