"""Gates of weights and of error rates: every one flips on a minimal example."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from audited import N, constant, gate, log
from unskew import audit, noise, propensity
from unskew.audit import gates, measure

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
