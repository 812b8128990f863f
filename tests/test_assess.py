"""A fixed model on a log whose truth is known: every way of measuring, what is said of each, two models."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from unskew import data, events, noise, pipeline, simulate
from unskew.audit import Gate, Verdict
from unskew.data import Store
from unskew.evaluate import WAYS, metrics
from unskew.features import Hashing
from unskew.pipeline import doubt
from unskew.pipeline.assess import assess
from unskew.pipeline.doubt import tipping, tipping_words
from unskew.pipeline.evaluation import best_of_ways, compared, decision, ways
from unskew.pipeline.ground import _covariance, of_pairs, of_responses, selection_of
from unskew.pipeline.material import choice_rates, judge
from unskew.pipeline.store import open_material
from unskew.quickstart import truth_of
from unskew.reward import RewardModel
from unskew.reward.heads import Head

SIZE = 2000


def made(home: Path, world: str, **changes) -> Path:
    """A store of a simulated log, its gold beside it."""
    simulate.simulate(home / "log", SIZE, simulate.named(world, **changes), seed=5)
    (home / "key").write_text("a key that only this test knows\n")
    events.ingest([home / "log" / "events"], home / "store", key_file=home / "key")
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Feedback selected by the label, with gold, and two models that have not seen it."""
    home = made(tmp_path_factory.mktemp("label"), "label")
    pipeline.audit_store(home / "store", gold=home / "log" / "gold.jsonl")
    store = Store.open(home / "store")
    texts = data.texts(store, data.examples(store).row)
    X, quality = Hashing()(*texts), np.array([simulate.quality(*both) for both in zip(*texts, strict=True)])
    ridge = np.linalg.solve(X.T @ X + 3 * np.eye(X.shape[1]), X.T @ (quality - 0.5))
    for name, weight in (("good", ridge), ("bad", 0.3 * ridge * (np.arange(len(ridge)) % 3 > 0))):
        head = Head(((weight[:, None].astype(np.float32), np.array([0.3], np.float32)),))
        RewardModel(Hashing(), head, card={"estimator": name}).save(home / name)
        other = {"store": {"digest": "another"}, "nuisances": "nuisances-elsewhere"}
        RewardModel(Hashing(), head, card={"estimator": name, "provenance": other}).save(
            home / f"{name}-elsewhere"
        )
    return home


@pytest.fixture(scope="module")
def found(home) -> dict:
    return pipeline.evaluate_model(
        home / "good-elsewhere", home / "store", against=home / "bad-elsewhere", directory=home / "out"
    )


@pytest.fixture(scope="module")
def truth(home) -> dict:
    """The metrics of the good model against every true label."""
    store = Store.open(home / "store")
    rows = data.examples(store)
    p = RewardModel.load(home / "good").probability(*data.texts(store, rows.row))
    return metrics(p, truth_of(home / "log", store).label, bootstrap=2)


def of(found: dict, way: str) -> dict:
    return next(one for one in found["ways"] if one["way"] == way)


def holds(part: dict, value: float, times: float = 1.0) -> bool:
    middle, half = part["value"], times * (part["high"] - part["value"])
    return middle - half <= value <= middle + half


# --- one model ---------------------------------------------------------------------------------------------


def test_document_is_as_it_is_promised(found):
    assert set(found) == {"title", "unit", "truth", "arms", "evaluation", "against"}
    e = found["evaluation"]
    assert set(e) == {
        "n", "unit", "labels", "clusters", "in_sample", "ways", "missing", "best", "metric", "sensitivity",
        "drift", "sentences",
    }  # fmt: skip
    assert [way["way"] for way in e["ways"]] == [
        "naive",
        "snips",
        "doubly_robust",
        "classwise_ips",
        "powered",
        "gold",
    ]
    for way in e["ways"]:
        assert set(way) == {
            "way",
            "label",
            "valid",
            "why",
            "n",
            "ess",
            "clipped",
            "differs",
            "metrics",
            "calibration",
        }
        assert way["way"] in WAYS
        assert {"brier", "auc", "accuracy", "log_loss", "mean_error", "best_of_n"} <= set(way["metrics"])
        for part in way["metrics"].values():
            assert part["low"] <= part["value"] <= part["high"]
        assert all(set(bin_) == {"predicted", "observed", "low", "high", "n"} for bin_ in way["calibration"])
        assert way["calibration"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [arm["name"] for arm in found["arms"]][:3] == ["model", "thumbs", "rating"]


def test_under_selection_by_label_only_class_weights_and_gold_are_valid_and_it_is_said(found, home):
    e = found["evaluation"]
    valid = {way["way"]: way["valid"] for way in e["ways"]}
    by_class = valid.pop("classwise_ips")
    assert valid == {"naive": False, "snips": False, "doubly_robust": False, "powered": True, "gold": True}
    # The audit may refuse class weights on so small a log; then its sentence is the reason.
    gates = json.loads((home / "out" / "run.json").read_text())["verdict"]["gates"]
    assert by_class or of(e, "classwise_ips")["why"] in {gate["sentence"] for gate in gates}
    assert "Gold shows that feedback depends on the label itself" in of(e, "snips")["why"]
    assert any(
        said.startswith("Not valid: feedback as it comes, propensity weights (SNIPS), doubly robust")
        for said in e["sentences"]
    )
    assert e["best"] in ("powered", "gold")
    assert any(said.startswith("Brier score") and "the valid way" in said for said in e["sentences"])


def test_intervals_from_gold_hold_the_truth_and_those_from_weights_do_not(found, truth):
    e = found["evaluation"]
    for name in ("brier", "auc", "accuracy", "log_loss"):
        for way in ("powered", "gold"):
            assert holds(of(e, way)["metrics"][name], truth[name]["value"], 1.5), (way, name)
    assert not holds(of(e, "snips")["metrics"]["mean_truth"], truth["mean_truth"]["value"])
    assert not holds(of(e, "naive")["metrics"]["auc"], truth["auc"]["value"])
    assert of(e, "powered")["ess"] >= of(e, "gold")["ess"] * 0.99


def test_pair_accuracy_is_read_where_responses_were_shown_together(found):
    part = of(found["evaluation"], "doubly_robust")["metrics"]["pair_accuracy"]
    assert 0.3 < part["low"] < part["high"] < 1


def test_time_and_users_of_the_rows_are_those_of_the_store(home):
    store = Store.open(home / "store")
    rows = data.examples(store)
    time, table = data.shown_at(store, rows.row), store.table("impressions", ["shown_at", "user_key"])
    some = rows.row[::97].tolist()
    assert time[::97].astype("datetime64[ms]").tolist() == [
        table["shown_at"][at]
        .as_py()
        .replace(tzinfo=None, microsecond=table["shown_at"][at].as_py().microsecond // 1000 * 1000)
        for at in some
    ]
    keys = np.array([str(key) for key in table["user_key"].take(rows.row).to_pylist()])
    users = data.users(rows)
    assert len(set(users.tolist())) == len(set(zip(users.tolist(), keys, strict=True)))
    assert len(set(users[keys != "None"].tolist())) == len(set(keys[keys != "None"].tolist()))


def test_sensitivity_widens_with_gamma_and_drift_finds_nothing_where_nothing_changes(found):
    e = found["evaluation"]
    curve = e["sensitivity"]["curve"]["brier"]
    assert [point["low"] for point in curve] == sorted([point["low"] for point in curve], reverse=True)
    assert curve[0]["low"] == pytest.approx(curve[0]["value"])
    assert e["sensitivity"]["odds"] > 1.5  # gold sees the label
    assert e["drift"] is None or e["drift"]["changed"] == []


# --- two models --------------------------------------------------------------------------------------------


def test_the_better_model_wins_with_an_interval_and_the_tipping_point_is_told(found):
    against = found["against"]
    assert against["names"] == [str(path) for path in map(Path, against["names"])]
    assert against["decision"].startswith(against["names"][0] + " beats ")
    gap = next(way for way in against["ways"] if way["way"] == against["best"])
    assert gap["valid"]
    assert gap["metrics"]["brier"]["high"] < 0
    tips = against["tipping"]["tips"]["brier"]
    assert {"value", "gamma", "fnr", "fpr", "distance"} == set(tips)
    assert tips["gamma"] is None or tips["gamma"] >= 1
    assert any("the order flips" in said or "makes the two equal" in said for said in against["sentences"])


def test_a_model_against_itself_is_no_better(home):
    same = pipeline.evaluate_model(
        home / "good-elsewhere", home / "store", against=home / "good-elsewhere", by="user"
    )
    assert same["evaluation"]["clusters"] == "user"
    assert "Neither is better beyond chance" in same["against"]["decision"]
    assert "so there is nothing that could flip" in same["against"]["sentences"][1]
    with pytest.raises(ValueError, match="by is 'session'; it must be one of prompt, user"):
        pipeline.evaluate_model(home / "good", home / "store", by="session")


def test_words_of_a_tipping_point():
    tips = {"value": -0.1, "gamma": 1.5, "fnr": float("nan"), "fpr": 0.4, "distance": 3.0}
    found = {"kind": "thumbs", "odds": 2.5, "used": {"fnr": 0.1, "fpr": 0.2}, "tips": {"brier": tips}}
    assert tipping_words(found, "brier") == (
        "By the weights of thumbs the order flips when the odds of its propensity are off by 1.50 (gold puts "
        "the true factor at about 2.5); or at fpr of 0.40 (used 0.20), 3.0 standard deviations away."
    )
    never = {**found, "tips": {"brier": {**tips, "gamma": float("inf"), "fpr": float("nan")}}}
    assert tipping_words(never, "brier") == "No error of the propensities of thumbs makes the two equal."


def test_decision_says_no_more_than_the_best_valid_way():
    def way(name, valid, low, high):
        part = {"value": (low + high) / 2, "low": low, "high": high}
        return {"way": name, "label": name, "valid": valid, "metrics": {"brier": part, "accuracy": part}}

    assert decision([way("snips", False, 0.1, 0.2)], "brier", "A", "B").startswith(
        "Nothing here can say whether A or B"
    )
    both = [way("snips", False, 0.1, 0.11), way("gold", True, 0.1, 0.3)]
    assert (
        decision(both, "brier", "A", "B")
        == "B beats A: Brier score differs by +0.200 [+0.100, +0.300], gold."
    )
    assert decision(both, "accuracy", "A", "B").startswith("A beats B: accuracy differs by")
    assert decision([way("gold", True, -0.1, 0.3)], "brier", "A", "B").startswith(
        "Neither is better beyond chance"
    )
    assert best_of_ways(both) == "gold"
    assert best_of_ways(both[:1]) is None


# --- what the model has seen -------------------------------------------------------------------------------


def test_a_model_that_says_nothing_of_its_training_is_doubted(home):
    e = pipeline.evaluate_model(home / "good", home / "store")["evaluation"]
    assert e["in_sample"] is None
    assert {way["valid"] for way in e["ways"]} == {False, None}
    assert "does not say what it was trained on" in e["sentences"][0]
    assert "Nothing tells whether the model was trained on these rows" in of(e, "gold")["why"]


@pytest.mark.parametrize("held", [None, 1])
def test_a_model_of_this_store_is_measured_on_prompts_that_it_left_out_or_not_at_all(home, held):
    store = Store.open(home / "store")
    loaded = RewardModel.load(home / "good")
    nuisances = store.load("nuisances")[0]
    card = {"provenance": {"nuisances": nuisances, "store": {"digest": store.digest}}, "held_out": held}
    replace(loaded, card=card).save(home / f"own-{held}")
    e = pipeline.evaluate_model(home / f"own-{held}", home / "store")["evaluation"]
    rows = len(data.examples(store))
    if held is None:
        assert e["in_sample"] is True
        assert not any(way["valid"] for way in e["ways"])
        assert e["best"] is None
        assert "The model was trained on these rows" in e["sentences"][0]
        assert "unskew train" in e["sentences"][0]
    else:
        assert e["in_sample"] is False
        assert rows / 4 < e["n"] < rows / 2
        assert "whose prompts the model was not trained on (of a fold kept from it" in e["sentences"][0]
        assert of(e, "naive")["valid"] is False


def test_two_models_that_left_out_different_prompts_have_no_common_ground(home):
    store = Store.open(home / "store")
    provenance = {"nuisances": store.load("nuisances")[0], "store": {"digest": store.digest}}
    for fold in (0, 1):
        card = {"provenance": provenance, "held_out": fold}
        replace(RewardModel.load(home / "good"), card=card).save(home / f"fold-{fold}")
    e = pipeline.evaluate_model(home / "fold-0", home / "store", against=home / "fold-1")["evaluation"]
    assert e["in_sample"] is True
    assert e["sentences"][0] == "There are not enough prompts that neither model was trained on."


# --- other findings of an audit ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def material(home):
    return open_material(Store.open(home / "store"), pipeline.TrainConfig())[0]


def ground(material, verdict):
    number = np.arange(len(material.examples))
    allowed = replace(material, kinds=verdict.kinds)
    time = number.astype("datetime64[us]")
    return of_responses(allowed, verdict, number >= 0, number // 2, "prompt", time)


def test_pseudo_labels_have_seen_the_record_and_not_the_gold(material):
    fit, gold = material.evidence, ~np.isnan(material.examples.gold)
    np.testing.assert_allclose(fit.imputed[~gold], fit.posterior[~gold], rtol=1e-9, atol=1e-9)
    other = replace(fit, gold=1 - fit.gold)
    np.testing.assert_array_equal(other.imputed, fit.imputed)
    assert not np.allclose(fit.imputed[gold], fit.posterior[gold])


def test_what_changes_half_way_is_found_by_its_name(material, monkeypatch):
    monkeypatch.setattr(doubt, "ANSWERS", 60)
    verdict = judge(material)
    quiet = doubt.drift(material.evidence.q[(g := ground(material, verdict)).at], g, material)
    assert len(quiet["windows"]) == 6
    assert quiet["changed"] == []
    assert set(quiet["kinds"]) == {"thumbs", "rating"}
    assert set(quiet["kinds"]["thumbs"]) == {"answered", "fit", "positive", "rates"}
    rows, k = material.examples, material.examples.kind("thumbs")
    observed, positive = rows.observed.copy(), rows.positive.copy()
    late = np.arange(len(rows)) > len(rows) / 2
    observed[late & (np.arange(len(rows)) % 3 > 0), k] = False
    positive[late, k] ^= observed[late, k]  # and what is left of the thumbs says the contrary
    changed = replace(material, examples=replace(rows, observed=observed, positive=positive & observed))
    g = ground(changed, verdict)
    said = " ".join(doubt.drift(changed.evidence.q[g.at], g, changed)["changed"])
    assert "How often thumbs is answered changed over time" in said
    assert "How well the propensity describes who answers thumbs changed over time" in said
    assert "The share of positive thumbs changed over time" in said
    assert "of thumbs changed between the halves of the log" in said
    assert "rating" not in said


def test_all_that_class_weights_take_from_gold_is_uncertain_together(material):
    rate, known = material.rates["thumbs"], material.classwise["thumbs"]
    found = _covariance(material, "thumbs", rate)
    np.testing.assert_allclose(found[:2, :2], rate.covariance)
    np.testing.assert_allclose(found[2:, 2:], known.covariance)
    assert np.abs(found[:2, 2:]).max() > 0.1 * np.sqrt(found[0, 0] * found[2, 2])
    elsewhere = _covariance(material, "thumbs", noise.known(0.1, 0.2, sd=(0.01, 0.02)))
    np.testing.assert_allclose(elsewhere[:2, :2], np.diag([1e-4, 4e-4]))
    assert not elsewhere[:2, 2:].any()
    np.testing.assert_allclose(elsewhere[2:, 2:], known.covariance)


def test_findings_of_the_audit_decide_by_kind(material):
    verdict = judge(material)

    def told(**colours: str) -> Verdict:
        gates = tuple(
            Gate(f"{kind}: p1 = p0 given the propensity", 0.5, "", colour, "", ("snips",), kind)
            for kind, colour in colours.items()
        )
        return replace(verdict, gates=gates)

    both = ("thumbs", "rating")
    assert selection_of(material, told(thumbs="red", rating="green"), both) == "label"
    assert selection_of(material, told(thumbs="red", rating="green"), ("rating",)) == "features"
    assert selection_of(material, told(thumbs="green"), both) == "unknown"
    logged = {name: replace(p, source="logged") for name, p in material.propensities.items()}
    assert selection_of(replace(material, propensities=logged), told(), both) == "designed"


def test_when_features_explain_who_answers_all_but_naive_are_valid_or_unchecked(material):
    verdict = judge(material)
    green = tuple(replace(gate, colour="green") for gate in verdict.gates)
    g = ground(material, replace(verdict, gates=green))
    p = material.evidence.q[g.at]
    found = {way["way"]: way for way in ways(p, g, in_sample=False)}
    assert found["classwise_ips"]["valid"] is None
    for way in ("snips", "doubly_robust"):  # valid unless gold contradicts the figures themselves
        assert found[way]["valid"] is (found[way]["differs"] >= 0.01)
    assert found["gold"]["valid"] is True


def test_without_gold_it_is_said_that_nothing_can_be_checked(material):
    blind = replace(
        material, examples=replace(material.examples, gold=np.full(len(material.examples), np.nan))
    )
    blind = replace(blind, classwise={})  # the rates stay, as if known
    g = ground(blind, judge(blind))
    e = assess(blind.evidence.q[g.at], g, blind, False, "Said.")
    assert {way["way"] for way in e["ways"]} == {"naive", "snips", "doubly_robust"}
    assert "class propensities of thumbs need gold labels" in e["missing"]["classwise_ips"]
    assert not any(way["valid"] for way in e["ways"])
    assert e["best"] is None
    assert any("There are no gold labels here" in said for said in e["sentences"])


def test_pairs_are_compared_in_their_own_metrics(material):
    rows = material.examples
    group = np.flatnonzero(np.diff(np.sort(rows.group)) == 0)
    order = np.argsort(rows.group, kind="stable")
    a, b = order[group], order[group + 1]
    same = rows.prompt_hash[a] == rows.prompt_hash[b]
    a, b = a[same], b[same]
    rng = np.random.default_rng(0)
    better = (rng.random(len(a)) < 0.5).astype(float)
    label = np.where(rng.random(len(a)) < 0.5, np.abs(better - (rng.random(len(a)) < 0.2)), np.nan)
    gold = np.where(rng.random(len(a)) < 0.4, better, np.nan)
    design = np.where(np.isnan(gold), 0, 1).astype(np.int8)
    pairs = data.Choices(a, b, label, np.ones(len(a), bool), gold, design, np.full(len(a), np.nan))
    with_pairs = replace(material, choices=pairs, rates={"choice": choice_rates(pairs)}, known={})
    time = np.arange(len(rows)).astype("datetime64[us]")
    g = of_pairs(with_pairs, np.ones(len(rows), bool), rows.prompt_hash.view(np.int64), "prompt", time)
    knows, guesses = np.clip(better * 0.8 + 0.1, 0, 1), np.full(len(a), 0.6)
    found = ways(knows, g, in_sample=False)
    assert [(way["way"], way["valid"]) for way in found] == [
        ("naive", False), ("corrected", None), ("powered", True), ("gold", True),
    ]  # fmt: skip
    assert all(set(way["metrics"]) == {"accuracy", "brier", "log_loss"} for way in found)
    by_way = {way["way"]: way["metrics"]["accuracy"] for way in found}
    assert by_way["gold"]["value"] == by_way["powered"]["value"] == 1
    assert by_way["naive"]["value"] < 0.9 < by_way["corrected"]["high"]
    gaps = compared(knows, guesses, g, False, found)
    assert decision(gaps, "brier", "A", "B").startswith("A beats B")
    assert tipping(knows, guesses, g) is None
    with pytest.raises(ValueError, match="no pair of responses is left to measure on"):
        of_pairs(with_pairs, np.zeros(len(rows), bool), rows.prompt_hash.view(np.int64), "prompt", time)


# --- the command line --------------------------------------------------------------------------------------


def unskew(*arguments: object, cwd: Path, columns: int = 100) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "unskew.cli", *map(str, arguments)]
    env = {**os.environ, "COLUMNS": str(columns)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env=env)


def test_command_line_prints_a_table_that_fits_and_writes_a_report(home):
    command = ("evaluate", "good-elsewhere", "--store", "store", "--against", "bad-elsewhere")
    done = unskew(*command, "--out", "page", cwd=home, columns=80)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    said = " ".join(done.stdout.split())
    for words in (
        "good-elsewhere beats bad-elsewhere",
        "✕ not valid",
        "★ gold",
        "Not valid: feedback as it comes",
    ):
        assert words in said
    page = (home / "page" / "report.html").read_text()
    run = json.loads((home / "page" / "run.json").read_text())
    assert run["evaluation"]["best"] in ("powered", "gold")
    assert {"verdict", "propensity", "noise", "limits", "provenance"} <= set(run)
    assert "good-elsewhere beats bad-elsewhere" in page
    assert unskew("evaluate", "good", "--store", "store", "--by", "day", cwd=home).returncode == 2
