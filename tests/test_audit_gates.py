"""Gates of weights and of error rates: every one flips on a minimal example."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from audited import N, columns, constant, gate, log
from unskew import audit, noise, propensity
from unskew.audit import gates, measure
from unskew.data import RANDOM, STRATIFIED

TARGETS = set(gates.TARGETS)
WEIGHTS = set(gates.WEIGHTS)


@pytest.fixture(scope="module")
def healthy():
    return log()[0]


# --- gates of weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heavy", "colour"),
    [(0.4, "green"), (0.02, "amber"), (0.002, "red")],
)
def test_effective_sample_size_flips_with_a_few_heavy_rows(healthy, heavy, colour):
    p = np.full(N, 0.4)
    p[np.flatnonzero(healthy.observed[:, 0])[:10]] = heavy
    given = {"thumbs": propensity.logged(p, healthy.observed[:, 0], floor=0.001)}
    verdict = audit.audit(healthy, propensities={"thumbs": replace(given["thumbs"], source="features")})
    found = gate(verdict, "thumbs: effective sample size")
    assert found.colour == colour
    assert set(found.binds) == WEIGHTS
    assert found.value == given["thumbs"].report.ess
    if colour == "red":
        assert found.value < 200
        assert not WEIGHTS & set(verdict.allowed)
        assert verdict.estimators["evidence"] == "green"


@pytest.mark.parametrize(
    ("p", "colour"), [(0.4 / 0.82, "green"), (0.4 / 0.78, "red"), (0.4 / 1.22, "green"), (0.4 / 1.28, "red")]
)
def test_mean_of_o_over_p_flips_outside_its_range(healthy, p, colour):
    scale = healthy.observed[:, 0].mean() / 0.4
    found = gate(audit.audit(healthy, propensities=constant(healthy, p * scale)), "thumbs: mean of o / p")
    assert found.colour == colour
    assert found.value == pytest.approx(0.4 / p)


def test_clipped_mass_of_one_class_flips_even_when_the_whole_is_fine(healthy):
    p = np.where(healthy.positive[:, 0], 0.4, 0.38)
    p[np.flatnonzero(healthy.observed[:, 0] & ~healthy.positive[:, 0])[:15]] = 0.01
    found = propensity.logged(p, healthy.observed[:, 0])
    clipped = gate(audit.audit(healthy, propensities={"thumbs": found}), "thumbs: clipped mass of a class")
    assert clipped.colour == "amber"
    assert found.report.clipped_mass["all"] < clipped.value
    assert "of the weight of liked and" in clipped.sentence
    fine = gate(audit.audit(healthy, propensities=constant(healthy)), "thumbs: clipped mass of a class")
    assert (fine.colour, fine.value) == ("green", 0.0)


def test_balance_flips_when_the_propensity_misses_a_covariate():
    examples, _ = log(gold=0)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(N)
    p = 1 / (1 + np.exp(-(x - 0.5)))
    seen = examples.observed.copy()
    seen[:, 0] = rng.random(N) < p
    examples = replace(examples, observed=seen, positive=examples.positive & seen)
    right = {"thumbs": replace(propensity.logged(p, seen[:, 0]), source="features")}
    wrong = constant(examples, float(seen[:, 0].mean()))
    rates = {"thumbs": noise.known(0.1, 0.1)}
    for given, colour in ((right, "green"), (wrong, "amber")):
        verdict = audit.audit(examples, propensities=given, rates=rates, covariates={"length": x})
        found = gate(verdict, "thumbs: balance after weighting")
        assert found.colour == colour
        assert "differ most in length" in found.sentence
    assert verdict.figures["thumbs"]["balance"]["length"]["after"] > 0.1


def test_rows_below_the_floor_do_not_make_a_right_propensity_look_wrong(healthy):
    rng = np.random.default_rng(2)
    p = np.where(rng.random(N) < 0.5, 0.004, 0.4)
    seen = rng.random(N) < p
    examples = replace(
        healthy,
        observed=np.column_stack([seen, healthy.observed[:, 1]]),
        positive=np.column_stack([seen & healthy.positive[:, 0], healthy.positive[:, 1]]),
    )
    for wrong, colour in ((1.0, "green"), (1.5, "red"), (0.7, "red")):
        given = propensity.logged(wrong * p, seen)
        if wrong == 1:
            assert given.report.mean_o_over_p < gates.MEAN_LOW  # by the floor alone
        verdict = audit.audit(examples, propensities={"thumbs": replace(given, source="features")})
        assert gate(verdict, "thumbs: mean of o / p").colour == colour
    nowhere = replace(propensity.logged(np.full(N, 0.001), seen), source="features")
    verdict = audit.audit(examples, propensities={"thumbs": nowhere})
    assert gate(verdict, "thumbs: mean of o / p").value == nowhere.report.mean_o_over_p


# --- gates of selection ------------------------------------------------------------------------------------


def selected(by_features, by_label, gold=600, seed=0, plan="random"):
    """(examples, true mean P(answered | x), P(liked | x)) of a log in which both may decide who answers.

    The plan `answered` labels half of the gold at random, the others among answered rows alone.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(N)
    q = 1 / (1 + np.exp(-1.5 * x))
    truth = rng.random(N) < q
    base = 0.05 + 0.5 * (q if by_features else 0.3)
    odds = np.where(truth, 1.6, 0.4) if by_label else np.ones(N)
    seen = rng.random(N) < base * odds
    up = seen & (rng.random(N) < np.where(truth, 0.9, 0.1))
    one = gold // 2 if plan == "answered" else gold
    label, design, prob = np.full(N, np.nan), np.zeros(N, np.int8), np.full(N, np.nan)
    at = rng.choice(N, one, replace=False)
    label[at], design[at] = truth[at], RANDOM
    free = np.flatnonzero(seen & np.isnan(label))
    at = rng.permutation(free)[: gold - one]
    label[at], design[at], prob[at] = truth[at], STRATIFIED, len(at) / len(free)
    examples = columns(N, ("thumbs",), np.ones((N, 1), bool), seen[:, None], up[:, None], label, design, prob)
    p = base * (1.6 * q + 0.4 * (1 - q)) if by_label else base + np.zeros(N)
    return examples, p, q


def judged(examples, p, q):
    given = {"thumbs": replace(propensity.logged(p, examples.observed[:, 0]), source="features")}
    return audit.audit(examples, propensities=given, quality=q)


@pytest.mark.parametrize(
    ("by_features", "by_label", "weights", "classes"),
    [(True, False, "green", "red"), (False, True, "red", "green"), (True, True, "red", "amber")],
)
def test_gold_tells_selection_by_features_from_selection_by_the_label(
    by_features, by_label, weights, classes
):
    verdict = judged(*selected(by_features, by_label, gold=1500))
    label, features = (gate(verdict, f"thumbs: {name}") for name in (gates.LABEL_TEST, gates.FEATURE_TEST))
    assert (label.colour, features.colour) == (weights, classes)
    assert set(label.binds) == {"noise_corrected", *WEIGHTS}
    assert features.binds == ("classwise_ips",)
    assert "evidence" in verdict.allowed
    assert ("weights from features are the right ones" in features.sentence) == (classes == "red")


@pytest.mark.parametrize(("gold", "colour"), [(60, "amber"), (150, "amber"), (900, "green")])
def test_gold_too_few_to_show_a_dependence_is_amber(gold, colour):
    examples, p, q = selected(True, False, gold)
    found = gate(judged(examples, p, q), f"thumbs: {gates.LABEL_TEST}")
    test = measure.label_test(examples, measure.two_sided(examples)[0], p, q)
    assert found.value == test.p >= gates.SIGNIFICANCE
    assert found.colour == colour == ("amber" if test.reach < gates.REACH else "green")
    assert ("too few to show it" in found.sentence) == (colour == "amber")
    examples, p, q = selected(False, False, gold)  # nothing decides, and few labels cannot say so
    assert measure.feature_test(examples, measure.two_sided(examples)[0], p) is None
    other = gate(judged(examples, p + 0.1 * (q - 0.5), q), f"thumbs: {gates.FEATURE_TEST}")
    assert other.value >= gates.SIGNIFICANCE
    assert other.colour == colour


def test_gold_on_silent_rows_alone_says_nothing_of_selection():
    examples, p, q = selected(False, True)
    examples = replace(examples, gold=np.where(examples.observed[:, 0], np.nan, examples.gold))
    column = measure.two_sided(examples)[0]
    assert measure.label_test(examples, column, p, q) is None
    assert measure.feature_test(examples, column, p) is None
    found = gate(judged(examples, p, q), f"thumbs: {gates.LABEL_TEST}")
    assert (found.value, found.colour) == (None, "amber")


def test_reach_is_the_power_to_see_one_class_answer_twice_as_often():
    """Twice as often, with labels enough for 3.4 standard errors: found in four logs of five."""
    rejected = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = rng.random(N) < 0.5
        seen = rng.random(N) < np.where(truth, 0.4, 0.2)
        label = np.where(rng.permutation(N) < 300, truth, np.nan)
        design = np.where(np.isnan(label), 0, RANDOM).astype(np.int8)
        rows = columns(N, ("thumbs",), np.ones((N, 1), bool), seen[:, None], seen[:, None], label, design)
        test = measure.label_test(rows, measure.two_sided(rows)[0], None, None)
        assert test.reach == pytest.approx(3.8, abs=0.4)
        rejected.append(test.p < gates.SIGNIFICANCE)
    assert 0.75 <= np.mean(rejected) <= 0.99


def test_labels_on_answered_rows_do_not_make_answering_look_common():
    """Features decide, half of the gold lies on answered rows: neither test may reject more than it says."""
    by_label, by_features = [], []
    for seed in range(60):
        examples, p, q = selected(True, False, 400, seed, "answered")
        column = measure.two_sided(examples)[0]
        by_label.append(measure.label_test(examples, column, p, np.full(N, 0.4)).p < 0.05)
        examples, p, q = selected(False, True, 400, seed, "answered")
        by_features.append(measure.feature_test(examples, measure.two_sided(examples)[0], q) < 0.05)
    assert max(np.mean(by_label), np.mean(by_features)) <= 0.15


def test_features_that_differ_between_answered_and_others_make_unweighted_labels_amber():
    examples, p, q = selected(True, False)
    given = {"thumbs": replace(propensity.logged(p, examples.observed[:, 0]), source="features")}
    for values, colour in ((q, "amber"), (np.random.default_rng(3).standard_normal(N), "green")):
        verdict = audit.audit(examples, propensities=given, quality=q, covariates={"x": values})
        found = gate(verdict, "thumbs: balance without weights")
        assert found.colour == colour
        assert found.binds == ("noise_corrected",)
        assert gate(verdict, "thumbs: balance after weighting").colour == "green"


def test_standardised_difference_by_hand():
    column = measure.Column("thumbs", np.array([1, 1, 1, 1, 0], bool), np.array([1, 1, 0, 0, 0], bool), None)
    x = np.array([0.0, 2.0, 0.0, 2.0, 99.0])
    before, after = measure.balance(column, np.array([0.5, 0.25, 1, 1, 1]), {"x": x, "flat": np.ones(5)})["x"]
    assert before == 0.0
    assert after == pytest.approx((2 * 0 + 4 * 2) / 6 - 1)


# --- gates of rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "colour"),
    [
        (noise.known(0.3, 0.29), "green"),
        (noise.known(0.35, 0.3), "amber"),
        (noise.known(0.5, 0.3), "red"),
        (noise.known(0.35, 0.35, sd=(0.2, 0.2)), "red"),
    ],
)
def test_rates_flip_with_d_and_with_its_lower_bound(healthy, rates, colour):
    verdict = audit.audit(healthy, propensities=constant(healthy), rates={"thumbs": rates})
    found = gate(verdict, "thumbs: error rates")
    assert found.colour == colour
    assert set(found.binds) == TARGETS
    assert bool(TARGETS & set(verdict.allowed)) == (colour != "red")
    assert "evidence" in verdict.allowed
    assert (verdict.estimators["evidence"] == "amber") == (colour == "red")


def test_unknown_rates_refuse_every_corrected_target(healthy):
    verdict = audit.audit(healthy, propensities=constant(healthy), rates={})
    found = gate(verdict, "thumbs: error rates")
    assert (found.colour, found.value) == ("red", None)
    assert verdict.allowed == ("evidence",)


def test_rates_from_anchors_are_amber_at_best(healthy):
    anchors = noise.quantile_anchors(np.linspace(0.1, 0.9, 50))
    verdict = audit.audit(healthy, rates={"thumbs": anchors})
    assert gate(verdict, "thumbs: rates from anchors").colour == "amber"
    assert verdict.estimators["noise_corrected"] == "amber"


@pytest.mark.parametrize("source", [s for s in get_args(noise.records.Source) if s not in ("known", "gold")])
def test_rates_that_rest_on_an_assumption_are_amber_at_best(healthy, source):
    told = replace(noise.known(0.1, 0.2, sd=(0.01, 0.01), kind="thumbs"), source=source)
    verdict = audit.audit(healthy, rates={"thumbs": told})
    found = gate(verdict, f"thumbs: rates from {source}")
    assert found.colour == "amber"
    assert found.sentence.startswith("The error rates of thumbs ")
    assert verdict.estimators["noise_corrected"] == "amber"


def test_one_sided_kinds_of_small_d_are_never_refused(healthy):
    only = replace(
        healthy,
        kinds=healthy.kinds[1:],
        **{name: getattr(healthy, name)[:, 1:] for name in ("offered", "closed", "observed", "positive")},
    )
    verdict = audit.audit(only)
    assert verdict.estimators == {"evidence": "green"}


def test_covariates_are_length_and_leading_components():
    rng = np.random.default_rng(3)
    main = rng.standard_normal(500)
    X = np.column_stack([3 * main, 3 * main + 0.1 * rng.standard_normal(500), rng.standard_normal((500, 3))])
    X = np.column_stack([X, np.arange(500.0)])
    found = audit.covariates(X, count=2)
    assert list(found) == ["length", "component 1", "component 2"]
    assert found["length"].tolist() == np.arange(500.0).tolist()
    assert abs(np.corrcoef(found["component 1"], main)[0, 1]) > 0.999
