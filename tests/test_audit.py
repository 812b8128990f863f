"""The audit: every gate flips on a minimal example, and the sentences say what a person must know."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from unskew import audit, noise, propensity, simulate
from unskew.audit import gates, measure
from unskew.audit.verdict import best, worst
from unskew.data import RANDOM, STRATIFIED, Choices, Examples
from unskew.events import KIND
from unskew.propensity import Classwise
from unskew.rates import Share

N = 4000
TARGETS = set(gates.TARGETS)
WEIGHTS = set(gates.WEIGHTS)


def columns(n, kinds, offered, observed, positive, gold=None, design=None, prob=None):
    nan = np.full(n, np.nan)
    return Examples(
        row=np.arange(n),
        response_id=[f"r{row}" for row in range(n)],
        prompt_hash=(np.arange(n) // 2).astype(np.uint64),
        group=np.arange(n) // 2,
        user=np.zeros(n, np.uint64),
        kinds=tuple(KIND[name] for name in kinds),
        offered=offered,
        closed=np.ones_like(offered),
        observed=observed,
        positive=positive,
        cell=np.zeros(n, np.uint32),
        policy_prob=nan,
        gold=nan if gold is None else gold,
        gold_design=np.zeros(n, np.int8) if design is None else design,
        gold_prob=nan if prob is None else prob,
    )


def log(n=N, *, p1=0.4, p0=0.4, fnr=0.1, fpr=0.1, gold=400, seed=0):
    """(examples, truth) of a healthy log: thumbs and copies, random gold. Selection by label when p1 != "
    "p0."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    thumbs = rng.random(n) < np.where(truth, p1, p0)
    up = thumbs & (rng.random(n) < np.where(truth, 1 - fnr, fpr))
    copied = rng.random(n) < np.where(truth, 0.2, 0.05)
    label = np.where(rng.permutation(n) < gold, truth, np.nan)
    offered = np.ones((n, 2), bool)
    design = np.where(np.isnan(label), 0, RANDOM).astype(np.int8)
    observed, positive = np.column_stack([thumbs, copied]), np.column_stack([up, copied])
    return columns(n, ("thumbs", "copy"), offered, observed, positive, label, design), truth


def constant(examples, p=0.4, source="features"):
    """Propensities of thumbs that are one number."""
    found = propensity.logged(np.full(len(examples), p), examples.observed[:, 0])
    return {"thumbs": replace(found, source=source)}


def gate(verdict, name):
    """The one gate of that name."""
    [found] = [gate for gate in verdict.gates if gate.name == name]
    return found


@pytest.fixture(scope="module")
def healthy():
    return log()[0]


# --- verdicts ----------------------------------------------------------------------------------------------


def test_healthy_log_is_green_for_every_estimator(healthy):
    verdict = audit.audit(healthy, propensities=constant(healthy))
    assert verdict.colour == "green"
    assert dict.fromkeys(audit.FAMILIES, "green") == verdict.estimators
    assert verdict.allowed == audit.FAMILIES
    assert verdict.kinds["evidence"] == ("thumbs", "copy")
    assert verdict.kinds["ips"] == ("thumbs",)
    assert verdict.sentences[0] == (
        "This log can carry a reward model that speaks for all users and all responses."
    )
    said = "400 gold labels, 400 of them drawn at random, tie the estimates to the truth."
    assert said in verdict.sentences
    assert {gate.colour for gate in verdict.gates} == {"green"}
    assert verdict.reasons("ips") == ()


def test_choices_are_judged_beside_the_other_kinds_and_come_last(healthy):
    pairs = np.arange(0, N, 2)
    label, nan = (pairs // 2 % 2).astype(float), np.full(N // 2, np.nan)
    none = np.zeros(N // 2, np.int8)
    choices = Choices(pairs, pairs + 1, label, none == 0, nan, none, nan)
    rates = {"thumbs": noise.known(0.1, 0.1), "choice": noise.known(0.3, 0.1)}
    verdict = audit.audit(healthy, propensities=constant(healthy), rates=rates, choices=choices)
    assert verdict.allowed == (*audit.FAMILIES, "choices")
    assert (verdict.estimators["evidence"], verdict.estimators["choices"]) == ("green", "amber")
    assert verdict.colour == "green"
    binds = {gate.binds for gate in verdict.gates if gate.kind == "choice"}
    assert binds == {("choices",), ("choices", "strength")}
    assert verdict.figures["choice"]["pairs"] == N // 2


def test_verdict_is_json_with_every_gate_and_what_is_allowed(healthy):
    document = json.loads(json.dumps(audit.audit(healthy, propensities=constant(healthy)).to_dict()))
    assert document["allowed"] == list(audit.FAMILIES)
    assert {"name", "value", "limit", "colour", "sentence", "binds", "kind"} == set(document["gates"][0])
    assert document["figures"]["thumbs"]["usable"] == N
    assert document["figures"]["gold"] == {"labels": 400, "random": 400}


def test_estimator_without_what_it_reads_is_not_listed(healthy):
    verdict = audit.audit(healthy)
    assert set(verdict.estimators) == {"evidence", "classwise_ips", "noise_corrected"}


def test_log_without_usable_feedback_is_red_and_says_so(healthy):
    nothing = replace(healthy, closed=np.zeros_like(healthy.closed))
    verdict = audit.audit(nothing)
    assert verdict.colour == "red"
    assert verdict.estimators == {}
    assert verdict.sentences[1] == (
        "No kind of feedback was offered on a response whose time for feedback is over, so there is nothing "
        "to learn from yet."
    )


def test_colours_are_ordered():
    assert worst(["green", "red", "amber"]) == "red"
    assert best(["red", "amber"]) == "amber"
    assert worst([]) == "green"
    assert best([]) == "red"


def test_column_of_another_length_is_an_error(healthy):
    with pytest.raises(ValueError, match="posterior has shape") as error:
        audit.audit(healthy, posterior=np.ones(3))
    assert str(error.value) == "posterior has shape (3,); (4000,) is needed, one a row"


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


# --- gates of selection by label ---------------------------------------------------------------------------


def test_gold_that_rejects_p1_equal_p0_leaves_classwise_and_evidence():
    examples, _ = log(p1=0.5, p0=0.15)
    verdict = audit.audit(examples, propensities=constant(examples, float(examples.observed[:, 0].mean())))
    found = gate(verdict, "thumbs: p1 = p0 given the propensity")
    assert found.colour == "red"
    assert found.value < 0.01
    assert set(found.binds) == WEIGHTS | {"noise_corrected"}
    assert verdict.allowed == ("evidence", "classwise_ips")
    assert "class-wise weights and evidence allow for it" in found.sentence


def test_gold_test_holds_its_level_when_feedback_depends_on_features():
    rejected = confused = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(3000)
        truth = rng.random(3000) < 1 / (1 + np.exp(-1.5 * x))
        p = 1 / (1 + np.exp(1.5 - x))
        seen = rng.random(3000) < p
        gold = np.where(rng.permutation(3000) < 300, truth, np.nan)
        offered = np.ones((3000, 1), bool)
        design = np.where(np.isnan(gold), 0, RANDOM).astype(np.int8)
        examples = columns(3000, ("thumbs",), offered, seen[:, None], (seen & truth)[:, None], gold, design)
        column = measure.two_sided(examples)[0]
        rejected += measure.label_test(examples, column, p, None)[1] < 0.05
        confused += measure.label_test(examples, column, None, None)[1] < 0.05
    assert 2 <= rejected <= 19
    assert confused > 150  # a test that ignores x takes the features for the label


@pytest.mark.parametrize(("p0", "colour"), [(0.4, "green"), (0.04, "red")])
def test_few_observed_examples_of_a_class_are_red(p0, colour):
    examples, truth = log(2000, p1=0.4, p0=p0)
    seen = int((examples.observed[:, 0] & ~truth).sum())
    verdict = audit.audit(examples)
    found = gate(verdict, "thumbs: observed examples of a class")
    assert found.colour == colour
    assert found.value == pytest.approx(seen, abs=35)
    assert (seen < 100) == (colour == "red")


@pytest.mark.parametrize(("p0", "colour"), [(0.1, "green"), (0.005, "red")])
def test_small_class_propensity_is_red_for_weights_and_amber_for_evidence_with_gold(p0, colour):
    examples, _ = log(60_000, p1=0.4, p0=p0, gold=1200)
    verdict = audit.audit(examples)
    found = gate(verdict, "thumbs: smaller class propensity")
    assert found.colour == colour
    assert (found.value < 0.02) == (colour == "red")
    assert gate(verdict, "thumbs: observed examples of a class").colour == "green"
    assert gate(verdict, "smaller class propensity").colour == {"green": "green", "red": "amber"}[colour]


def test_classwise_needs_class_propensities(healthy):
    without = replace(healthy, gold=np.full(N, np.nan), gold_design=np.zeros(N, np.int8))
    rates, posterior = {"thumbs": noise.known(0.1, 0.1)}, np.full(N, 0.5)
    verdict = audit.audit(without, rates=rates, posterior=posterior)
    assert gate(verdict, "thumbs: class propensities").colour == "red"
    base = propensity.classwise_from_base_rate(
        without.observed[:, 0], without.positive[:, 0], 0.5, fnr=0.1, fpr=0.1
    )
    verdict = audit.audit(without, rates=rates, posterior=posterior, classwise={"thumbs": base})
    assert verdict.estimators["classwise_ips"] == "amber"


def test_classwise_weights_have_an_effective_sample_size_of_their_own(healthy):
    skewed = Classwise(0.6, 0.03, np.zeros((2, 2)), Share(0.5, 0.0), {"1": 800.0, "0": 800.0}, N, "gold")
    verdict = audit.audit(healthy, classwise={"thumbs": skewed})
    found = gate(verdict, "thumbs: class-wise effective sample size")
    target = (healthy.positive[:, 0][healthy.observed[:, 0]] - verdict_rate(healthy, "fpr")) / verdict_rate(
        healthy, "D"
    )
    a = target / 0.6 + (1 - target) / 0.03
    assert found.value == pytest.approx(a.sum() ** 2 / (a**2).sum())
    assert found.colour == "amber"


def verdict_rate(examples, name):
    rates = noise.by_kind(
        examples.kinds, examples.offered, examples.observed, examples.positive, examples.gold
    )
    return getattr(rates["thumbs"], name)


# --- no gold -----------------------------------------------------------------------------------------------


def truthful(truth, kept=0.9):
    """What a good evidence fit would say: the truth with probability `kept`."""
    return np.where(truth, kept, 1 - kept)


@pytest.mark.parametrize(
    ("n", "p0", "colour"),
    [(4000, 0.1, "amber"), (1500, 0.1, "red"), (128_000, 0.01, "red"), (16_000, 0.01, "red")],
)
def test_no_gold_is_amber_at_best_and_red_when_one_class_hardly_speaks_at_any_size(n, p0, colour):
    examples, truth = log(n, p1=0.4, p0=p0, gold=0)
    verdict = audit.audit(examples, rates={"thumbs": noise.known(0.1, 0.1)}, posterior=truthful(truth, 0.999))
    assert verdict.colour == colour
    assert verdict.estimators["evidence"] == colour
    assert gate(verdict, "no gold").colour == colour
    assert gate(verdict, "thumbs: no gold").colour == colour
    assert any(sentence.startswith("There are no gold labels.") for sentence in verdict.sentences)
    if n > 100_000:
        assert gate(verdict, "no gold").value < 0.01
        # Its size alone would pass.
        assert gate(verdict, "thumbs: observed examples of a class").colour == "green"


def test_known_rates_count_the_classes_before_evidence_does():
    examples, truth = log(p1=0.4, p0=0.1, gold=0)
    rates = noise.known(0.1, 0.1)
    column = measure.two_sided(examples)[0]
    found = measure.classes(column, known=None, rates=rates, posterior=np.full(N, 0.5))
    up, seen = examples.positive[:, 0].sum(), examples.observed[:, 0].sum()
    assert found.liked == pytest.approx((up - 0.1 * seen) / 0.8)
    assert found.source == "known rates"
    assert found.disliked == pytest.approx((examples.observed[:, 0] & ~truth).sum(), abs=60)
    assert measure.classes(column, known=None, rates=rates, posterior=None).p1 is None
    assert measure.classes(column, known=None, rates=None, posterior=None) is None


@pytest.mark.parametrize("gold", [0, 400])
def test_one_kind_without_gold_is_no_evidence(gold):
    rows, truth = log(gold=gold)
    alone = columns(
        len(rows), ("thumbs",), rows.offered[:, :1], rows.observed[:, :1], rows.positive[:, :1],
        rows.gold, rows.gold_design,
    )  # fmt: skip
    posterior = np.where(truth, 0.9, 0.1)
    both, one = (audit.audit(found, posterior=posterior).estimators["evidence"] for found in (rows, alone))
    assert both != "red"
    assert (one == "red") == (gold == 0)


def test_without_gold_rates_or_evidence_the_verdict_is_red():
    examples, _ = log(gold=0)
    verdict = audit.audit(examples, propensities=constant(examples))
    assert verdict.colour == "red"
    assert verdict.allowed == ()
    assert verdict.sentences[0] == (
        "This log cannot carry a reward model that speaks for all users and all responses: do not train on "
        "it yet."
    )
    assert gate(verdict, "no gold").value is None


def test_requests_for_feedback_at_random_need_no_gold():
    examples, _ = log(gold=0)
    given = constant(examples, source="logged")
    verdict = audit.audit(examples, propensities=given, rates={"thumbs": noise.known(0.1, 0.1)})
    assert verdict.estimators["ips"] == "green"
    assert verdict.estimators["evidence"] == "amber"
    assert verdict.colour == "green"


@pytest.mark.parametrize(("labels", "colour"), [(49, "amber"), (60, "green")])
def test_a_handful_of_gold_labels_counts_as_none(labels, colour):
    examples, truth = log(gold=labels)
    verdict = audit.audit(examples, posterior=truthful(truth))
    assert gate(verdict, "gold labels").colour == colour


def test_gold_that_was_not_drawn_at_random_is_named(healthy):
    chosen = replace(
        healthy,
        gold_design=np.where(healthy.gold_design > 0, STRATIFIED, 0).astype(np.int8),
        gold_prob=np.where(healthy.gold_design > 0, 0.1, np.nan),
    )
    assert any("none was drawn at random" in sentence for sentence in audit.audit(chosen).sentences)


# --- voted rows only, warnings -----------------------------------------------------------------------------


def test_log_of_voted_rows_alone_is_red_and_says_why():
    examples, _ = log()
    voted = examples.observed[:, 0]
    keep = {
        name: getattr(examples, name)[voted]
        for name in [
            "row",
            "prompt_hash",
            "group",
            "offered",
            "closed",
            "observed",
            "positive",
            "cell",
            "policy_prob",
            "gold",
            "gold_design",
            "gold_prob",
        ]
    }
    only = replace(examples, **keep, response_id=[f"r{row}" for row in range(int(voted.sum()))])
    given = {"thumbs": replace(propensity.logged(np.ones(len(only)), only.observed[:, 0]), source="cells")}
    verdict = audit.audit(only, propensities=given)
    assert gate(verdict, "thumbs: silent responses").colour == "red"
    assert gate(verdict, "silent responses").colour == "red"
    assert verdict.allowed == ("noise_corrected",)
    assert verdict.estimators["noise_corrected"] == "amber"
    assert any(
        sentence.startswith("Only rows with feedback are in this log. It shows what voters liked")
        for sentence in verdict.sentences
    )
    logged = {"thumbs": propensity.logged(np.ones(len(only)), only.observed[:, 0])}
    assert gate(audit.audit(only, propensities=logged), "thumbs: silent responses").colour == "green"


def test_warning_of_the_fit_makes_evidence_amber(healthy):
    verdict = audit.audit(healthy, warnings=("the classes of copy may have swapped",))
    assert verdict.estimators["evidence"] == "amber"
    assert verdict.reasons("evidence") == ("the classes of copy may have swapped",)


def test_kind_that_fails_is_left_out_and_the_others_stay():
    examples, truth = log()
    rng = np.random.default_rng(9)
    rare = (rng.random(N) < 0.01)[:, None]
    both = replace(
        examples,
        kinds=(*examples.kinds, KIND["rating"]),
        offered=np.column_stack([examples.offered, np.ones(N, bool)]),
        closed=np.column_stack([examples.closed, np.ones(N, bool)]),
        observed=np.column_stack([examples.observed, rare]),
        positive=np.column_stack([examples.positive, rare & truth[:, None]]),
    )
    verdict = audit.audit(both)
    assert verdict.kinds["noise_corrected"] == ("thumbs",)
    assert verdict.kinds["evidence"] == ("thumbs", "copy", "rating")
    assert verdict.estimators["noise_corrected"] == "green"


# --- simulated worlds --------------------------------------------------------------------------------------


def simulated(name, n, gold, seed=0):
    drawn = simulate.draw(simulate.WORLDS[name], n, seed)
    label, design, prob = np.full(n, np.nan), np.zeros(n, np.int8), np.full(n, np.nan)
    if gold:
        chosen = simulate.choose(drawn, 400, 200, seed)
        label[chosen.row], prob[chosen.row] = drawn.label[chosen.row], chosen.prob
        design[chosen.row] = np.where(chosen.stratified, STRATIFIED, RANDOM)
    return drawn, columns(n, drawn.kinds, drawn.offered, drawn.observed, drawn.positive, label, design, prob)


@pytest.mark.parametrize("name", ["features", "label", "u", "label-nuisance"])
def test_default_worlds_with_gold_allow_evidence(name):
    for seed in range(3):
        _, examples = simulated(name, 16_000, gold=True, seed=seed)
        verdict = audit.audit(examples)
        assert verdict.estimators["evidence"] == "green"
        assert "classwise_ips" in verdict.allowed


def test_world_selected_by_label_refuses_weights_from_features():
    drawn, examples = simulated("label", 16_000, gold=True)
    p = np.where(drawn.offered[:, 0], 0.18 * np.exp(0.3 * drawn.quality).clip(0.2, 3), 1.0)
    given = {
        "thumbs": replace(
            propensity.logged(p, examples.observed[:, 0], usable=examples.offered[:, 0]), source="features"
        )
    }
    verdict = audit.audit(examples, propensities=given, quality=drawn.probability)
    assert gate(verdict, "thumbs: p1 = p0 given the propensity").colour == "red"
    assert not WEIGHTS & set(verdict.allowed)


def test_hopeless_world_is_red_without_gold_even_when_classes_are_counted_rightly():
    drawn, examples = simulated("hopeless", 16_000, gold=False)
    rates = {"thumbs": noise.known(0.1, 0.2), "rating": noise.known(0.15, 0.1)}
    verdict = audit.audit(examples, rates=rates, posterior=drawn.label.astype(float))
    assert verdict.colour == "red"
    assert verdict.allowed == ()
    assert gate(verdict, "no gold").value < 0.01


# --- the gold plan -----------------------------------------------------------------------------------------


def test_gold_plan_has_two_parts_with_probabilities_that_add_up_to_the_log():
    drawn, examples = simulated("label", 16_000, gold=False)
    plan = audit.gold_plan(examples, 600, seed=1)
    random = plan.design == RANDOM
    assert (len(plan), int(random.sum())) == (600, 200)
    assert len(set(plan.index.tolist())) == 600
    assert np.allclose(plan.prob[random], 200 / 16_000)
    counts = {name: plan.stratum.count(name) for name in set(plan.stratum)}
    assert set(counts) == {
        "random", "thumbs up", "thumbs down", "rating up", "rating down", "copy happened", "regenerate "
        "happened",
        "silent",
    }  # fmt: skip
    for name in set(counts) - {"random"}:
        rows = np.array([stratum == name for stratum in plan.stratum])
        at = plan.index[rows]
        if name == "thumbs down":
            assert (examples.observed[at, 0] & ~examples.positive[at, 0]).all()
            size = (examples.observed[:, 0] & ~examples.positive[:, 0]).sum()
            assert 1 / plan.prob[rows][0] == pytest.approx(size / rows.sum(), rel=0.02)
    # Both parts, each weighted by 1 / prob, stand for the log.
    truth = drawn.label.mean()
    for part in (random, ~random):
        weight = 1 / plan.prob[part]
        assert weight.sum() == pytest.approx(16_000, rel=0.01)
        assert (weight * drawn.label[plan.index[part]]).sum() / weight.sum() == pytest.approx(truth, abs=0.15)


def test_planned_widths_are_those_of_the_labelled_log():
    drawn, examples = simulated("u", 16_000, gold=False)
    plan = audit.gold_plan(examples, 600, seed=1)
    label, design, prob = np.full(16_000, np.nan), np.zeros(16_000, np.int8), np.full(16_000, np.nan)
    label[plan.index], design[plan.index], prob[plan.index] = drawn.label[plan.index], plan.design, plan.prob
    found = noise.by_kind(
        examples.kinds, examples.offered, examples.observed, examples.positive, label, design, prob
    )
    for name in ("thumbs", "rating"):
        for rate in ("fnr", "fpr"):
            low, high = found[name].interval[rate]
            assert 0.4 < plan.widths[name][rate] / (high - low) < 2.5
    assert plan.widths["all"]["base_rate"] == pytest.approx(2 * 0.98 / np.sqrt(200), rel=0.05)
    more = audit.gold_plan(examples, 1200, seed=1)
    assert more.widths["thumbs"]["fpr"] < 0.85 * plan.widths["thumbs"]["fpr"]


def test_gold_plan_leaves_out_rows_with_gold_and_is_decided_by_its_seed(healthy):
    plan = audit.gold_plan(healthy, 100, seed=2)
    assert np.isnan(healthy.gold[plan.index]).all()
    assert plan.index.tolist() == audit.gold_plan(healthy, 100, seed=2).index.tolist()
    assert plan.index.tolist() != audit.gold_plan(healthy, 100, seed=3).index.tolist()


def test_gold_plan_lines_are_a_template_that_hides_the_record(healthy):
    plan = audit.gold_plan(healthy, 30)
    lines = [json.loads(line) for line in plan.lines(["Why?"] * 30, ["Because."] * 30)]
    assert lines[0] == {
        "type": "gold",
        "response": plan.response_id[0],
        "label": None,
        "design": "random",
        "prob": plan.prob[0],
        "annotator": None,
        "prompt": "Why?",
        "text": "Because.",
    }
    assert {line["design"] for line in lines} == {"random", "stratified"}
    with pytest.raises(ValueError, match="one of each is needed") as error:
        plan.lines(["Why?"], ["Because."] * 30)
    assert str(error.value) == "1 prompts and 30 responses for 30 planned rows; one of each is needed"


def test_gold_plan_larger_than_the_log_is_an_error(healthy):
    with pytest.raises(ValueError, match="gold labels are asked for") as error:
        audit.gold_plan(healthy, 5000)
    assert str(error.value) == (
        "5000 gold labels are asked for; it must be between 10 and 3600, the responses without gold whose "
        "window for feedback is closed"
    )


def test_covariates_are_length_and_leading_components():
    rng = np.random.default_rng(3)
    main = rng.standard_normal(500)
    X = np.column_stack([3 * main, 3 * main + 0.1 * rng.standard_normal(500), rng.standard_normal((500, 3))])
    X = np.column_stack([X, np.arange(500.0)])
    found = audit.covariates(X, count=2)
    assert list(found) == ["length", "component 1", "component 2"]
    assert found["length"].tolist() == np.arange(500.0).tolist()
    assert abs(np.corrcoef(found["component 1"], main)[0, 1]) > 0.999
