"""Intervals from a log that know how its error rates were found: slopes, influences, coverage."""

from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given

from thumbs import FAMILY, opened, sample, uncertain, width
from unskew import estimators, noise
from unskew.evaluate import LOG_METRICS, Log, against_log, log_compare, log_metrics
from unskew.evaluate.influence import estimates
from unskew.evaluate.rows import linear
from unskew.noise import NoiseRefused
from unskew.testing import problems

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
    """Rates known; from gold elsewhere; on these rows, and so declared; on these rows; taken as known."""
    names, hits = ("accuracy", "brier", "auc", "mean_error"), np.zeros((5, 4))
    s, liked, *_ = sample(400_000, seed=1)
    truth = estimates(s, np.ones(len(s)), liked)
    for seed in range(300):
        rng = np.random.default_rng((2, seed))
        rows = sample(3000, seed=(3, seed))
        rate = gold_rates(sample(3000, seed=(5, seed)), rng)
        own, taken = gold_rates(rows, rng), noise.known(rate.fnr, rate.fpr)
        logs = [Log.of(opened("ips", rows), used) for used in (noise.known(0.15, 0.25), rate)]
        logs.append(Log.of(opened("ips", rows), own, record=(rows[2], rows[3])))
        logs += [Log.of(opened("ips", rows), used) for used in (own, taken)]
        for arm, log in enumerate(logs):
            found = log_metrics(rows[0], log)
            hits[arm] += [found[n]["low"] <= truth[n].value <= found[n]["high"] for n in names]
    share = hits / 300
    assert ((share[:3] >= 0.91) & (share[:3] <= 0.98)).all(), share
    assert (share[3] >= 0.94).all(), share  # too wide
    assert share[3].mean() > share[2].mean() + 0.01, share
    assert (share[4] < 0.90).all(), share


def test_rates_from_gold_on_the_log_move_with_its_records_as_declared():
    rows = sample(6000)
    _, liked, recorded, observed, *_ = rows
    gold = np.where(np.arange(6000) < 1200, liked, np.nan)
    rate = noise.from_gold(recorded == 1, gold, observed=observed == 1)
    log = Log.of(opened("ips", rows), rate, record=(recorded, observed))
    assert log.by_row.sum(0) == pytest.approx([0, 0], abs=1e-12)
    assert not log.by_row[observed == 0].any()
    for word in (0, 1):
        more = np.concatenate([np.arange(6000), np.flatnonzero((observed == 1) & (recorded == word))[-1:]])
        again = np.where(np.arange(6001) < 6000, gold[more], np.nan)
        moved = noise.from_gold(recorded[more] == 1, again, observed=observed[more] == 1)
        assert log.by_row[more[-1]] == pytest.approx([moved.fnr - rate.fnr, moved.fpr - rate.fpr], rel=0.01)
    # What is left is the part of the gold rows: with twice the log, each record as frequent, it is the same.
    twice = (
        np.tile(recorded == 1, 2),
        np.concatenate([gold, np.full(6000, np.nan)]),
        np.tile(observed == 1, 2),
    )
    double = noise.from_gold(twice[0], twice[1], observed=twice[2])
    assert 2 * double.covariance - rate.covariance == pytest.approx(log.covariance[0])


def test_influence_through_the_rates_joins_that_of_the_rows():
    rows = sample(3000)
    _, liked, recorded, observed, *_ = rows
    rate = noise.from_gold(recorded == 1, liked, observed=observed == 1)
    log = Log.of(opened("ips", rows), rate, record=(recorded, observed))
    part = estimates(rows[0], log.a, log.b)["brier"]
    slope = log.by_kind(part.by_a, part.by_b)
    psi = part.influence + log.by_row @ slope[0]
    variance = psi @ psi * 3000 / 2999 + slope[0] @ log.covariance[0] @ slope[0]
    assert width(log_metrics(rows[0], log)["brier"]) / 2 / 1.959964 == pytest.approx(variance**0.5, rel=1e-5)


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
            lambda: Log.of(partial(estimators.ips, *SMALL), noise.known(0.1, 0.2), record=([1, 0], [1, 1])),
            "record has shapes (2,) and (2,), the log (3,); label and observed of each row are needed",
        ),
        (
            lambda: Log.of(partial(estimators.ips, *SMALL), noise.known(0.1, 0.2), record=SMALL[:2]),
            "the rates of feedback are shrunk, or better known than their own records allow, so they are not "
            "those of gold on these rows alone; leave `record` out",
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
    ],
)
def test_errors_say_what_was_found_and_what_was_expected(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        call()
    assert str(error.value) == message


def test_rates_that_leave_too_little_are_refused():
    with pytest.raises(NoiseRefused, match="may be as low as"):
        Log.of(partial(estimators.ips, *SMALL), noise.known(0.3, 0.3, sd=(0.1, 0.1)))
