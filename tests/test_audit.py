"""The audit: what a verdict says, with gold and without, and what a person must know."""

import json
from dataclasses import replace

import numpy as np
import pytest

from audited import N, columns, constant, gate, log, simulated
from unskew import audit, noise, propensity
from unskew.audit import gates, measure
from unskew.audit.verdict import best, worst
from unskew.data import RANDOM, STRATIFIED, Choices
from unskew.events import KIND
from unskew.propensity import Classwise
from unskew.rates import Share

TARGETS = set(gates.TARGETS)
WEIGHTS = set(gates.WEIGHTS)


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
