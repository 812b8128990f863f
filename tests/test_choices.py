"""Logs that hold only choices: learned from, judged and measured, from the store to the exit code."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from chosen import FNR, FPR, WORDS, gold_lines, ingest, product, write
from unskew import audit, estimators, noise, pipeline
from unskew.data import RANDOM, Store
from unskew.pipeline.arms import train_arm
from unskew.pipeline.auto import choose
from unskew.pipeline.material import choice_rates
from unskew.pipeline.recipes import RECIPES, columns_inside
from unskew.pipeline.store import keep_gold, open_material
from unskew.report import page
from unskew.reward import RewardModel

NAN = np.nan
KNOWN = pipeline.TrainConfig(noise={"choice": (FNR, FPR)})


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A store with choices alone, and beside it gold.jsonl with 300 pairs."""
    home = tmp_path_factory.mktemp("product")
    lines, _, better = product(0)
    ingest(home, lines)
    write(home / "gold.jsonl", gold_lines(better, range(0, 1500, 5)))
    return home


@pytest.fixture(scope="module")
def material(home):
    return open_material(Store.open(home / "store"), KNOWN)[0]


@pytest.fixture(scope="module")
def gilded(home, tmp_path_factory) -> Path:
    """A copy of the store that keeps the gold pairs."""
    copy = tmp_path_factory.mktemp("gilded") / "store"
    shutil.copytree(home / "store", copy)
    keep_gold(Store.open(copy), home / "gold.jsonl")
    return copy


def prefers(arm, material, p) -> np.ndarray:
    """(out-of-fold P(a is better), true P) of every request, whichever slot a was in."""
    rows, pairs = material.examples, material.choices
    number = np.array([int(rows.response_id[at][1:]) for at in pairs.a])
    first = np.array([rows.response_id[at][0] == "a" for at in pairs.a])
    said = arm.preference(pairs)
    return np.where(first, said, 1 - said), p[number]


# --- what is learned ---------------------------------------------------------------------------------------


def test_corrected_choices_come_closer_to_the_true_preferences_than_choices_as_they_are(tmp_path):
    errors = {"choices": [], "naive_choices": []}
    for seed in range(3):
        lines, p, _ = product(seed)
        store = ingest(tmp_path / str(seed), lines)
        material = open_material(store, KNOWN)[0]
        for name, found in errors.items():
            said, truth = prefers(train_arm(material, name, KNOWN), material, p)
            found.append(np.mean((said - truth) ** 2))  # Brier score less the noise of the label
    ours, naive = (np.array(errors[name]) for name in ("choices", "naive_choices"))
    assert ours.mean() < 0.7 * naive.mean()
    assert (ours < naive).all()


def test_columns_of_swapped_slots_are_the_swapped_columns(home, material, tmp_path):
    swapped = ingest(tmp_path, product(0, swapped=True)[0])
    other = open_material(swapped, pipeline.TrainConfig(noise={"choice": (FPR, FNR)}))[0]
    one, two = RECIPES["choices"](material), RECIPES["choices"](other)
    ids = [
        [(m.examples.response_id[a], m.examples.response_id[b]) for a, b in zip(*t.pairs, strict=True)]
        for m, t in ((material, one), (other, two))
    ]
    at = {pair: number for number, pair in enumerate(ids[1])}
    order = np.array([at[(b, a)] for a, b in ids[0]])
    expected = estimators.swap(one.columns)
    assert_allclose(two.columns.a[order], expected.a)
    assert_allclose(two.columns.b[order], expected.b, atol=1e-12)


def test_target_of_a_choice_is_its_label_with_the_flips_of_its_slot_undone(material):
    target = RECIPES["choices"](material)
    assert_allclose(target.columns.b, (material.choices.label - FPR) / (1 - FNR - FPR))
    assert_array_equal(target.columns.a, np.ones(1500))
    naive = RECIPES["naive_choices"](material)
    assert_array_equal(naive.columns.b, material.choices.label)
    assert target.loss == naive.loss == "brier"


def test_pairs_without_slots_get_the_mean_of_both_rates(material):
    bare = replace(material.choices, ordered=np.zeros(1500, bool))
    target = RECIPES["choices"](replace(material, choices=bare))
    assert_allclose(target.columns.b, (bare.label - 0.2) / 0.6)


def test_ties_weigh_nothing(material):
    label = material.choices.label.copy()
    label[:7] = NAN
    tied = replace(material, choices=replace(material.choices, label=label))
    for name in ("choices", "naive_choices"):
        columns = RECIPES[name](tied).columns
        assert not columns.a[:7].any()
        assert not columns.b[:7].any()
        assert (columns.a[7:] == 1).all()


def test_hidden_fold_leaves_no_trace_of_its_gold(gilded):
    material = open_material(Store.open(gilded), pipeline.TrainConfig())[0]
    pairs = material.choices
    inside = material.fold[pairs.a] == 1
    assert_array_equal(material.fold[pairs.a], material.fold[pairs.b])
    changed = replace(pairs, gold=np.where(inside, 1 - pairs.gold, pairs.gold))
    found = [
        columns_inside(part, RECIPES["choices"](part)).columns
        for part in (material.without(1), replace(material, choices=changed).without(1))
    ]
    assert_array_equal(found[0].b, found[1].b)
    assert not found[0].a[inside].any()
    assert material.without(1).rates["choice"].fnr != material.rates["choice"].fnr


# --- error rates from gold pairs ---------------------------------------------------------------------------


def test_rates_come_from_gold_pairs_by_slot(gilded):
    rate = open_material(Store.open(gilded), pipeline.TrainConfig())[0].rates["choice"]
    assert rate.source == "gold"
    assert rate.interval["fnr"][0] < FNR < rate.interval["fnr"][1]
    assert rate.interval["fpr"][0] < FPR < rate.interval["fpr"][1]
    assert rate.fnr > rate.fpr + 0.1


def test_known_rates_stand_in_front_of_gold(gilded):
    rate = open_material(Store.open(gilded), KNOWN)[0].rates["choice"]
    assert (rate.source, rate.fnr, rate.fpr) == ("known", FNR, FPR)


def test_rates_come_from_pairs_with_slots_where_there_are_any(material):
    pairs = material.choices
    gold = np.where(np.arange(1500) % 5 == 0, pairs.label, NAN)
    gold[:750] = 1 - gold[:750]
    half = replace(pairs, gold=gold, ordered=np.arange(1500) >= 750)
    assert choice_rates(half).D > 0.9
    assert choice_rates(replace(half, ordered=np.zeros(1500, bool))).D < 0.2


def test_gold_about_one_class_alone_gives_no_rates(material):
    gold = np.full(1500, NAN)
    gold[np.flatnonzero(material.choices.label == 1)[:50]] = 1.0
    assert choice_rates(replace(material.choices, gold=gold)) is None
    assert choice_rates(None) is None


# --- the verdict -------------------------------------------------------------------------------------------


def verdict(material, choices=None, rates=None):
    return audit.audit(
        material.examples,
        choices=choices or material.choices,
        rates={"choice": rates or noise.known(FNR, FPR, kind="choice")},
    )


def gate(found, name):
    [one] = [gate for gate in found.gates if gate.name == f"choice: {name}"]
    return one


def test_choices_are_amber_at_best_and_the_verdict_says_what_is_not_corrected(material):
    found = verdict(material)
    assert (found.colour, found.estimators, found.allowed) == ("amber", {"choices": "amber"}, ("choices",))
    assert found.sentences[1] == "What can be used: choices between two responses, with their errors undone."
    assert any("Who chooses, and between which responses, is not corrected" in s for s in found.sentences)
    assert not any("gold labels" in sentence for sentence in found.sentences)
    assert {gate.kind for gate in found.gates} == {"choice"}
    assert found.figures["choice"]["chosen"] == 1500
    json.dumps(found.to_dict())


def test_unknown_rates_are_red_and_say_what_to_do(material):
    found = audit.audit(material.examples, choices=material.choices)
    assert found.colour == gate(found, "error rates").colour == "red"
    assert found.allowed == ()
    assert "noise: {choice: [fnr, fpr]}" in " ".join(found.sentences)
    assert '{"a": ID, "b": ID, "winner": ID}' in " ".join(found.sentences)


@pytest.mark.parametrize(
    ("fnr", "fpr", "colour"), [(0.3, 0.2, "green"), (0.4, 0.3, "amber"), (0.5, 0.3, "red"), (0.5, 0.5, "red")]
)
def test_rule_of_D_holds_for_choices(material, fnr, fpr, colour):
    assert gate(verdict(material, rates=noise.known(fnr, fpr, kind="choice")), "error rates").colour == colour


def test_rates_from_few_gold_pairs_are_red(material):
    sd = (0.05, 0.05)
    assert gate(verdict(material, rates=noise.known(FNR, FPR, sd=sd)), "error rates").colour == "green"
    sd = (0.3, 0.3)
    assert gate(verdict(material, rates=noise.known(FNR, FPR, sd=sd)), "error rates").colour == "red"


@pytest.mark.parametrize(("kept", "colour"), [(190, "red"), (500, "green")])
def test_fewer_than_a_hundred_examples_of_a_class_are_red(material, kept, colour):
    label = np.where(np.arange(1500) < kept, material.choices.label, NAN)
    found = gate(verdict(material, replace(material.choices, label=label)), "observed examples of a class")
    assert found.colour == colour


def test_odd_pairs_and_missing_gold_are_said(material):
    counts = {"no_slots": 3, "of_more": 4, "gold_ties": 1, "gold_unknown": 2}
    found = verdict(material, replace(material.choices, counts=counts))
    assert [gate(found, name).colour for name in ("pairs without slots", "more than two responses")] == [
        "amber",
        "amber",
    ]
    assert "(1 say tie, 2 are not among the logged pairs)" in gate(found, "gold pairs").sentence


def test_auto_takes_choices_only_where_no_other_kind_speaks(material):
    alone = verdict(material)
    assert choose(pipeline.TrainConfig(), alone) == "choices"
    both = replace(alone, estimators={"evidence": "amber", "choices": "amber"})
    assert choose(pipeline.TrainConfig(), both) == "evidence"
    with pytest.raises(pipeline.Refused, match="there are no choices"):
        RECIPES["choices"](replace(material, choices=None))


# --- the road ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(gilded, tmp_path_factory) -> dict:
    directory = tmp_path_factory.mktemp("run")
    return pipeline.train(gilded, directory, bootstrap=20) | {"home": directory}


def test_run_is_measured_out_of_fold_on_gold_pairs_naive_beside_corrected(run):
    assert (run["estimator"], run["unit"], run["truth"]) == ("choices", "pair", "gold")
    arms = {arm["name"]: arm for arm in run["arms"]}
    assert {name: arm["role"] for name, arm in arms.items()} == {"naive_choices": "naive", "choices": "ours"}
    for arm in arms.values():
        assert set(arm["metrics"]) == {"accuracy", "brier", "ece"}
        for metric in arm["metrics"].values():
            assert metric["low"] < metric["value"] < metric["high"]
    assert arms["choices"]["metrics"]["accuracy"]["value"] > 0.6
    assert run["counts"]["choices"] == {"pairs": 1500, "chosen": 1500, "gold": 300}
    assert {row["kind"] for row in run["noise"]} == {"choice"}


def test_page_and_card_speak_of_pairs(run):
    html = page.render(run)
    assert "pair by pair" in html
    assert "Measured on gold pairs" in html
    assert "predicted chance that A is better" in html
    assert "being liked" not in html
    card = RewardModel.load(run["home"] / "model").card
    assert card["unit"] == "pair"
    assert "the level of one reward means nothing" in card["scale"]


def test_scores_of_a_model_of_choices_carry_no_probability(run, tmp_path):
    rows = write(tmp_path / "rows.jsonl", [{"prompt": "p", "response": "clear exact"}])
    [line] = pipeline.score_file(run["home"] / "model", rows)
    assert set(json.loads(line)) == {"prompt", "response", "reward"}


def test_model_of_choices_is_evaluated_on_gold_pairs(run, home, gilded):
    found = pipeline.evaluate_model(run["home"] / "model", home / "store", gold=home / "gold.jsonl")
    assert found == pipeline.evaluate_model(run["home"] / "model", gilded) | {"title": found["title"]}
    assert [arm["name"] for arm in found["arms"]] == ["model", "choice"]
    assert found["arms"][0]["metrics"]["accuracy"]["value"] > 0.6
    ways = {way["way"]: way for way in found["evaluation"]["ways"]}
    assert set(ways) == {"naive", "corrected", "powered", "gold"}
    assert ways["gold"]["n"] == 300
    assert found["evaluation"]["in_sample"] is True
    assert ways["naive"]["metrics"]["accuracy"]["value"] < ways["gold"]["metrics"]["accuracy"]["value"]


def test_without_gold_pairs_a_model_of_choices_is_read_as_it_is_and_that_is_said(run, home):
    found = pipeline.evaluate_model(run["home"] / "model", home / "store")
    assert [way["way"] for way in found["evaluation"]["ways"]] == ["naive"]
    assert "the error rates of choices are unknown" in found["evaluation"]["missing"]["corrected"]
    assert any("There are no gold pairs here" in said for said in found["evaluation"]["sentences"])


def test_gold_that_is_enough_for_the_audit_is_enough_to_train_and_measure(material):
    gold = np.where(np.arange(1500) % 37 == 0, material.choices.label, NAN)
    gold[::185] = 1 - gold[::185]
    few = replace(
        material, known={}, choices=replace(material.choices, gold=gold, gold_design=RANDOM + 0 * gold)
    )
    few = replace(few, rates={"choice": choice_rates(few.choices)})
    assert few.rates["choice"].refusal is None
    parts = [few.without(fold) for fold in range(3)]
    assert any(part.rates["choice"].refusal for part in parts)
    for part in parts:
        assert np.isfinite(RECIPES["choices"](part).columns.b).all()


def test_target_kept_in_the_store_names_the_rows_of_its_pairs(run, gilded):
    _, facts, table = Store.open(gilded).load("targets", "choices")
    assert (facts["estimator"], facts["loss"]) == ("choices", "brier")
    assert table.column_names == ["a", "b", "m", "row_a", "row_b"]
    assert table.num_rows == 1500


def test_choices_are_not_compared_with_what_is_measured_response_by_response(home):
    settings = pipeline.TrainConfig(estimator="gold", compare=("choices",), accept_red="a test")
    with pytest.raises(ValueError, match="compare has choices: such a model knows differences only"):
        pipeline.train(home / "store", home / "never", settings)


# --- the command line --------------------------------------------------------------------------------------


def unskew(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "unskew.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_without_rates_the_audit_and_training_exit_with_8_and_say_what_to_do(home):
    for command in (("audit", "store"), ("train", "store", "--out", "refused")):
        done = unskew(*command, cwd=home)
        assert done.returncode == 8, done.stderr
        said = " ".join((done.stdout + done.stderr).split())
        assert "there are no gold pairs of both classes and no rates were given" in said
        assert "noise: {choice: [fnr, fpr]}" in said
    assert not (home / "refused" / "model").exists()


def test_with_rates_in_the_settings_it_trains_and_says_that_nothing_is_measured(home):
    (home / "run.yaml").write_text("noise: {choice: [0.3, 0.1]}\n")
    done = unskew("audit", "store", "-c", "run.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    done = unskew("train", "store", "-c", "run.yaml", "--out", "known", cwd=home)
    assert done.returncode == 0, done.stderr
    run = json.loads((home / "known" / "run.json").read_text())
    assert (run["estimator"], run["truth"]) == ("choices", None)
    assert not any("metrics" in arm for arm in run["arms"])
    html = (home / "known" / "report.html").read_text()
    assert "No gold pairs: nothing here says how right the models are" in html
    assert (home / "known" / "model" / "model.safetensors").is_file()


def test_with_gold_pairs_it_trains_and_measures(home, gilded):
    done = unskew("train", gilded, "--gold", home / "gold.jsonl", "--out", "gold", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert (run["estimator"], run["truth"], run["verdict"]["colour"]) == ("choices", "gold", "amber")
    done = unskew("evaluate", "gold/model", "--store", gilded, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "gold alone" in done.stdout
    assert "300" in done.stdout


def test_choices_beside_thumbs_are_evidence_on_single_responses(tmp_path):
    lines, _, _ = product(0, 600)
    rng = np.random.default_rng(4)
    thumbs = []
    for line in lines:
        if line["type"] == "impression":
            line["offered"] = ["choice", "thumbs"]
            if rng.random() < 0.3:
                good = sum(WORDS[word] for word in line["response"].split()) + rng.logistic() > 0
                thumbs.append({
                    "type": "feedback", "id": f"t{line['id']}", "response": line["id"], "kind": "thumbs",
                    "value": bool(good), "at": "2026-03-02T00:00:00Z",
                })  # fmt: skip
    material, number = open_material(ingest(tmp_path, [*lines, *thumbs]), KNOWN)
    rates = {row["parameter"]: row for row in material.evidence.tables if row["kind"] == "choice"}
    assert abs(rates["fnr"]["estimate"] - FNR) < 0.12
    assert abs(rates["fpr"]["estimate"] - FPR) < 0.12
    again, same = open_material(Store.open(tmp_path / "store"), KNOWN)
    assert same == number
    assert_array_equal(again.evidence.d, material.evidence.d)
    verdict = pipeline.material.judge(material)
    assert next(iter(verdict.estimators)) == "evidence"
    assert RECIPES["evidence"](material).columns.w.sum() == 1200
