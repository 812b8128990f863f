"""Metrics equal to slow definitions, intervals that cover, comparisons that are paired."""

import numpy as np
import pytest

from unskew import estimators, evaluate
from unskew.evaluate import (
    against_gold,
    against_log,
    compare,
    metrics,
    policy_value,
    preferences,
    reliability,
)
from unskew.evaluate.metrics import PAIR_METRICS
from unskew.rates import RANDOM, STRATIFIED, design_weight


def values(found):
    return {name: part["value"] for name, part in found.items()}


def slow(s, t, w):
    """Every metric by its definition, with loops over pairs."""
    pairs = w[:, None] * t[:, None] * w[None] * (1 - t[None])
    ahead = (s[:, None] > s[None]) + 0.5 * (s[:, None] == s[None])
    total, mean = w.sum(), (w * t).sum() / w.sum()
    brier = (w * (t * (s - 1) ** 2 + (1 - t) * s**2)).sum() / total
    return {
        "auc": (pairs * ahead).sum() / pairs.sum(),
        "accuracy": (w * np.where(s >= 0.5, t, 1 - t)).sum() / total,
        "brier": brier,
        "r2": 1 - brier / (mean * (1 - mean)),
        "mean_prediction": (w * s).sum() / total,
        "mean_truth": mean,
        "mean_error": (w * s).sum() / total - mean,
    }


@pytest.fixture(scope="module")
def sample():
    """(predictions with ties, labels, probabilities, weights)."""
    rng = np.random.default_rng(0)
    p = rng.random(150)
    s = np.round(np.clip(p + 0.2 * rng.standard_normal(150), 0, 1), 1)
    return s, (rng.random(150) < p).astype(float), p, rng.random(150) + 0.1


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_metrics_are_what_their_definitions_say(sample, weighted, soft):
    s, label, p, w = sample
    truth, weight = p if soft else label, w if weighted else np.ones(150)
    found = values(metrics(s, truth, weight=weight, bootstrap=2))
    assert {name: found[name] for name in slow(s, truth, weight)} == pytest.approx(slow(s, truth, weight))


def test_auc_and_brier_agree_with_scikit_learn(sample):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    s, label, _, w = sample
    found = values(metrics(s, label, weight=w, bootstrap=2))
    assert found["auc"] == pytest.approx(sklearn.roc_auc_score(label, s, sample_weight=w))
    assert found["brier"] == pytest.approx(sklearn.brier_score_loss(label, s, sample_weight=w))


def test_four_rows_by_hand():
    found = values(metrics([0.9, 0.6, 0.6, 0.2], [1, 0, 1, 0], group=[0, 0, 1, 1], n=2, bootstrap=2))
    assert found["auc"] == pytest.approx(3.5 / 4)
    assert found["accuracy"] == 0.75
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.16 + 0.04) / 4)
    assert found["best_of_group"] == 1.0
    # Best of two draws: the top row 7/16, one of the tied rows (liked half the time) 8/16, the last 1/16.
    assert found["best_of_n"] == pytest.approx((7 + 0.5 * 8) / 16)


def test_best_of_n_is_the_mean_over_all_draws(sample):
    s, label, _, w = sample
    rng = np.random.default_rng(1)
    drawn = rng.choice(150, (40_000, 5), p=w / w.sum())
    top = s[drawn].max(1, keepdims=True)
    tied = s[drawn] == top
    expected = ((label[drawn] * tied).sum(1) / tied.sum(1)).mean()
    assert values(metrics(s, label, weight=w, n=5, bootstrap=2))["best_of_n"] == pytest.approx(
        expected, abs=0.01
    )
    one = values(metrics(s, label, weight=w, n=1, bootstrap=2))
    assert one["best_of_n"] == pytest.approx(one["mean_truth"])


def test_best_of_group_is_the_truth_of_the_top_response_of_each_group(sample):
    s, _, p, _ = sample
    group = np.arange(150) % 40
    expected = []
    for number in range(40):
        rows = np.flatnonzero(group == number)
        expected.append(p[rows[s[rows] == s[rows].max()]].mean())
    found = values(metrics(s, p, group=group, bootstrap=2))["best_of_group"]
    assert found == pytest.approx(np.mean(expected))
    assert "best_of_group" not in metrics(s, p, bootstrap=2)


def test_reliability_has_even_bins_and_gives_the_calibration_error():
    rng = np.random.default_rng(2)
    s = rng.random(1000)
    label = (rng.random(1000) < s**2).astype(float)
    bins = reliability(s, label)
    assert [part["n"] for part in bins] == [100] * 10
    assert [part["predicted"] for part in bins] == sorted(part["predicted"] for part in bins)
    error = np.mean([abs(part["predicted"] - part["observed"]) for part in bins])
    assert values(metrics(s, label, bootstrap=2))["ece"] == pytest.approx(error)
    assert sum(evaluate.histogram(s)["counts"]) == 1000
    assert len(evaluate.histogram(s)["edges"]) == 21


def test_constant_model_has_no_ranking_and_one_class_has_no_auc():
    found = values(metrics(np.full(10, 0.3), np.arange(10) % 2, bootstrap=2))
    assert found["auc"] == 0.5
    assert found["best_of_n"] == pytest.approx(0.5)
    assert np.isnan(values(metrics([0.1, 0.2], [1, 1], bootstrap=2))["auc"])


def test_probabilities_as_truth_give_the_expected_metrics_of_labels():
    rng = np.random.default_rng(3)
    p, s = rng.random(60), rng.random(60)
    exact = values(metrics(s, p, bootstrap=2))
    drawn = [values(metrics(s, rng.random(60) < p, bootstrap=2)) for _ in range(1500)]
    for name in ("brier", "accuracy", "mean_truth", "mean_error"):
        assert np.mean([found[name] for found in drawn]) == pytest.approx(exact[name], abs=0.006)


# --- intervals ---------------------------------------------------------------------------------------------


def test_intervals_cover_the_truth_when_prompts_are_resampled_whole():
    names = ("auc", "accuracy", "brier", "mean_error", "r2")

    def draw(n, rng):
        effect = np.repeat(rng.standard_normal(n), 2)  # siblings share the difficulty of their prompt
        z = effect + 0.5 * rng.standard_normal(2 * n)
        liked = rng.random(2 * n) < 1 / (1 + np.exp(-2 * z))
        return 1 / (1 + np.exp(-(z + effect))), liked.astype(float)

    truth = values(metrics(*draw(200_000, np.random.default_rng(0)), bootstrap=2))
    hits = dict.fromkeys(names, 0)
    for seed in range(200):
        s, t = draw(150, np.random.default_rng(seed + 1))
        found = metrics(s, t, cluster=np.arange(300) // 2, bootstrap=100, seed=seed)
        for name in names:
            hits[name] += found[name]["low"] <= truth[name] <= found[name]["high"]
    assert {name: count for name, count in hits.items() if not 0.91 <= count / 200 <= 0.985} == {}


def test_whole_clusters_give_wider_intervals_than_rows():
    rng = np.random.default_rng(4)
    s = np.repeat(rng.random(60), 10)
    t = np.repeat((rng.random(60) < 0.5).astype(float), 10)
    alone, together = metrics(s, t), metrics(s, t, cluster=np.arange(600) // 10)
    width = [found["brier"]["high"] - found["brier"]["low"] for found in (alone, together)]
    assert width[1] > 2 * width[0]


def test_same_seed_gives_the_same_interval(sample):
    s, label, *_ = sample
    assert metrics(s, label, seed=5) == metrics(s, label, seed=5)
    assert metrics(s, label, seed=5)["auc"]["low"] != metrics(s, label, seed=6)["auc"]["low"]


def test_paired_difference_is_the_difference_and_narrower_than_two_intervals(sample):
    s, label, p, _ = sample
    other = np.clip(s + 0.02, 0, 1)
    found = compare(other, s, label)
    assert found["brier"]["value"] == pytest.approx(
        values(metrics(other, label))["brier"] - values(metrics(s, label))["brier"]
    )
    width = found["brier"]["high"] - found["brier"]["low"]
    single = metrics(s, label)["brier"]
    assert width < 0.3 * (single["high"] - single["low"])
    better = compare(p, 1 - p, label)["auc"]
    assert better["low"] > 0


# --- gold, logs, policies ----------------------------------------------------------------------------------


def test_gold_metrics_undo_the_design_and_take_the_base_rate_from_the_random_part():
    rng = np.random.default_rng(6)
    p = rng.random(20_000)
    truth = (rng.random(20_000) < p).astype(float)
    chance = np.where(p > 0.8, 0.2, 0.005)  # liked responses are labelled far more often
    found, full = [], values(metrics(p, truth, bootstrap=2))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        random = rng.permutation(20_000)[:100]
        picked = np.flatnonzero(rng.random(20_000) < chance)
        rows = np.concatenate([random, picked])
        design = np.where(np.arange(len(rows)) < 100, RANDOM, STRATIFIED)
        found.append(values(against_gold(p[rows], truth[rows], design, chance[rows], bootstrap=2)))
        assert found[-1]["mean_truth"] == pytest.approx(truth[random].mean())
    for name in ("brier", "accuracy", "auc"):
        assert np.mean([part[name] for part in found]) == pytest.approx(full[name], abs=0.02)


def test_log_metrics_are_those_of_complete_clean_labels():
    rng = np.random.default_rng(7)
    x = rng.standard_normal(60_000)
    p = 1 / (1 + np.exp(-1.5 * x))
    truth = rng.random(60_000) < p
    chance = 0.1 + 0.5 / (1 + np.exp(-x))
    observed = rng.random(60_000) < chance
    recorded = np.where(rng.random(60_000) < np.where(truth, 0.1, 0.2), ~truth, truth)
    model = 1 / (1 + np.exp(-1.2 * x - 0.2))
    full = values(metrics(model, truth.astype(float), bootstrap=2))
    columns = estimators.ips(recorded, observed, chance, 0.1, 0.2)
    ours = against_log(model, columns, bootstrap=50)
    naive = against_log(model, estimators.naive(recorded, observed), bootstrap=50)
    for name in ("brier", "accuracy", "auc", "mean_error", "best_of_n"):
        assert ours[name]["value"] == pytest.approx(full[name], abs=0.03)
    for name in ("accuracy", "auc"):
        assert ours[name]["low"] < full[name] < ours[name]["high"]
        assert naive[name]["high"] < full[name]


def test_policy_values_are_their_formulas():
    rng = np.random.default_rng(8)
    r, p, t = rng.random(50), rng.uniform(0.1, 1, 50), rng.random(50)
    w = t / p
    snips, ips = policy_value(r, p, t), policy_value(r, p, t, estimator="ips")
    assert snips.value == pytest.approx((w * r).sum() / w.sum())
    assert snips.se == pytest.approx(np.sqrt((w**2 * (r - snips.value) ** 2).sum()) / w.sum())
    assert snips.ess == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert snips.high - snips.low == pytest.approx(2 * 1.959964 * snips.se)
    assert ips.value == pytest.approx((w * r).mean())
    assert ips.se == pytest.approx((w * r).std(ddof=1) / np.sqrt(50))
    assert (ips.n, ips.max_weight, ips.mean_weight) == (50, pytest.approx(w.max()), pytest.approx(w.mean()))
    assert snips.to_dict()["value"] == snips.value


@pytest.mark.parametrize("estimator", ["snips", "ips"])
def test_intervals_of_policy_values_cover_the_truth(estimator):
    logging, target, reward = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.5, 0.7])
    truth, hits = float(target @ reward), 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        action = rng.choice(3, 500, p=logging)
        earned = rng.random(500) < reward[action]
        found = policy_value(earned, logging[action], target[action], estimator=estimator)
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / 300 <= 0.985


def test_value_of_a_policy_warns_of_what_its_interval_cannot_show():
    rng = np.random.default_rng(0)
    logging, target = np.array([0.6, 0.4]), np.array([0.4, 0.6])
    action = rng.choice(2, 2000, p=logging)
    p, t, r = logging[action], target[action], rng.random(2000) < 0.5
    assert policy_value(r, p, t).warnings == ()
    other = np.where(np.arange(2000) % 50 == 0, 1.0, 0.001)  # takes what was shown in one of fifty rows
    few, *rest = policy_value(r, p, other).warnings
    assert few.startswith("The weights leave an effective ")
    assert any(said.startswith("The mean weight is 0.0") for said in rest)
    (rare,) = policy_value(np.arange(2000) < 10, p, t).warnings
    assert rare.startswith("The value rests on an effective ")
    heavy = np.where(np.arange(2000) == 3, 0.001, p)
    assert any(said.startswith("One row carries ") for said in policy_value(r, heavy, t).warnings)
    assert policy_value([1.0], [0.5], [0.5]).warnings[0].endswith("as 1 rows of its own would.")


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics([0.5, 1.5], [0, 1]),
            "probability of row 1 (and of 0 more) is 1.5; it must be in [0, 1]",
        ),
        (
            lambda: metrics([0.5, 0.5], [0, np.nan]),
            "truth of row 1 (and of 0 more) is nan; it must be in [0, 1]",
        ),
        (
            lambda: metrics([0.5], [0, 1]),
            "probability has shape (1,), the truth (2,); the same [N] is needed",
        ),
        (
            lambda: metrics([0.5, 0.5], [0, 1], weight=[0, 0]),
            "weight has shape (2,) and sum 0; (2,) weights >= 0 are needed, not all 0",
        ),
        (
            lambda: metrics([0.5, 0.5], [0, 1], cluster=[1]),
            "cluster has shape (1,), probability (2,); the same is needed",
        ),
        (lambda: metrics([0.5], [1], n=0), "n is 0; best of n needs at least one draw"),
        (
            lambda: metrics([0.5], [1], bootstrap=1),
            "bootstrap is 1; at least 2 replications are needed for an interval",
        ),
        (
            lambda: against_log([0.5], estimators.naive([1], [0])),
            "the weights of the columns sum to 0; a positive sum is needed",
        ),
        (
            lambda: policy_value([1], [0.0], [1.0]),
            "logged_prob of row 0 is 0.0; it must be in (0, 1]: the row was logged, so its action had a "
            "chance",
        ),
        (
            lambda: policy_value([1], [0.5], [0.0]),
            "no row of the log has an action that the target policy takes; nothing can be said",
        ),
        (
            lambda: policy_value([1], [0.5], [0.5], estimator="dr"),
            "estimator is 'dr'; it must be 'snips' or 'ips'",
        ),
        (
            lambda: policy_value([1, 0], [0.5], [0.5]),
            "reward has shape (2,), logged_prob (1,), target_prob (1,); the same is needed",
        ),
    ],
)
def test_errors_say_what_was_found_and_what_was_expected(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        call()
    assert str(error.value) == message


# --- gold pairs --------------------------------------------------------------------------------------------


def test_preferences_are_the_same_whichever_response_comes_first():
    rng = np.random.default_rng(0)
    p, cluster = rng.random(60), np.arange(60) // 3
    label = (rng.random(60) < p).astype(float)
    design = np.where(np.arange(60) < 30, RANDOM, STRATIFIED)
    prob = np.where(design == RANDOM, np.nan, rng.uniform(0.2, 1, 60))
    one, two = (
        preferences(*pair, design, prob, cluster=cluster, bootstrap=20)
        for pair in ((p, label), (1 - p, 1 - label))
    )
    assert tuple(one) == PAIR_METRICS
    for name in ("accuracy", "brier"):
        assert one[name] == pytest.approx(two[name])
    weight = design_weight(design, prob)
    assert one["brier"]["value"] == pytest.approx(weight @ (p - label) ** 2 / weight.sum())
