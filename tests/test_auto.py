"""What `auto` settles and why: the first estimator that the audit allows, where each nuisance comes from."""

from dataclasses import replace

import numpy as np
import pytest

from unskew import events, noise, pipeline, propensity, simulate
from unskew.audit import Verdict
from unskew.audit.verdict import Gate
from unskew.data import Store, cells
from unskew.estimators import FLOOR
from unskew.pipeline.auto import FOR, LOSS, choose, decisions, estimator
from unskew.pipeline.config import Refused
from unskew.pipeline.material import from_gold, judge
from unskew.pipeline.recipes import RECIPES
from unskew.pipeline.store import keep_gold, open_material

AUTO = pipeline.TrainConfig()


def verdict(**colours):
    """An audit that colours estimators so, each red one by a gate of its own."""
    gates = tuple(
        Gate(f"gate of {name}", None, "", colour, f"{name} is not to be had.", (name,))
        for name, colour in colours.items()
        if colour == "red"
    )
    return Verdict("amber", ("said",), gates, colours, {}, {})


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    home = tmp_path_factory.mktemp("auto")
    (home / "key").write_text("the key of a test that keeps nothing")
    simulate.simulate(home / "log", 1000, simulate.WORLDS["label"], 0)
    events.ingest([home / "log" / "events"], home / "store", key_file=home / "key")
    store = Store.open(home / "store")
    keep_gold(store, home / "log" / "gold.jsonl")
    return open_material(store, AUTO)[0]


def settled(m, name, settings=AUTO, judged=None):
    found = decisions(m, judged or judge(m), settings, name, RECIPES[name](m).loss)
    return {(one.part, one.of): one for one in found}


def test_auto_takes_the_first_that_is_not_refused_and_names_what_it_passed():
    judged = verdict(evidence="red", classwise_ips="red", snips="amber", ips="green")
    assert choose(AUTO, judged) == "snips"
    found = decisions_of(judged, "snips")
    assert found.passed == (
        ("evidence", "evidence is not to be had."),
        ("classwise_ips", "classwise_ips is not to be had."),
    )
    assert found.chosen == "snips"
    assert found.why == f"{FOR['snips']} The audit finds it amber."


def decisions_of(judged, name, settings=AUTO):
    """The decision about the estimator alone."""
    return estimator(judged, settings, name)


def test_nothing_is_replaced_in_silence():
    judged = verdict(evidence="red", ips="red")
    with pytest.raises(Refused, match="evidence is not to be had"):
        choose(AUTO, judged)
    with pytest.raises(Refused, match="ips is not to be had"):
        choose(replace(AUTO, estimator="ips"), verdict(evidence="green", ips="red"))


ANYWAY = replace(AUTO, accept_red="the log is a copy of one that was audited")


def test_where_nothing_can_be_identified_nothing_is_corrected():
    judged = verdict(evidence="red", ips="red", noise_corrected="red")
    assert choose(ANYWAY, judged) == "cautious"
    found = decisions_of(judged, "cautious", ANYWAY)
    assert found.why.startswith(
        "The audit refuses every estimator, so nothing is corrected: feedback is taken at its word, and "
        "silence as one half."
    )
    assert ANYWAY.accept_red in found.why
    assert found.passed == tuple((name, f"{name} is not to be had.") for name in judged.estimators)
    assert choose(ANYWAY, replace(judged, estimators={**judged.estimators, "choices": "red"})) == "cautious"


def test_choices_are_taken_as_they_come_where_there_is_nothing_else():
    for colours in ({"choices": "red"}, {"evidence": "red", "choices": "red"}):
        assert choose(ANYWAY, verdict(**colours)) == "naive_choices"


def test_what_is_asked_for_by_name_is_trained_on_a_red_audit():
    judged = verdict(evidence="red", ips="red")
    for name in ("evidence", "ips"):
        asked = replace(ANYWAY, estimator=name)
        assert choose(asked, judged) == name
        assert decisions_of(judged, name, asked).why == "It was asked for by name. The audit finds it red."


def test_clicks_are_never_taken_at_their_word():
    with pytest.raises(
        Refused, match=r"evidence is not to be had.* name the estimator: --estimator evidence"
    ):
        choose(ANYWAY, verdict(evidence="red"))


def test_reason_to_go_on_changes_nothing_where_something_is_allowed():
    judged = verdict(evidence="red", classwise_ips="amber", ips="green")
    assert choose(ANYWAY, judged) == "classwise_ips"
    assert decisions_of(judged, "classwise_ips", ANYWAY) == decisions_of(judged, "classwise_ips")


def test_asked_for_by_name_is_said_so():
    found = decisions_of(verdict(evidence="green", ips="amber"), "ips", replace(AUTO, estimator="ips"))
    assert found.passed == ()
    assert found.why == "It was asked for by name. The audit finds it amber."


def test_evidence_needs_no_rate_from_outside(material):
    found = settled(material, "evidence")
    labels = int((~np.isnan(material.examples.gold)).sum())
    for part in ("error rates", "propensity"):
        assert found[part, "every kind"].chosen == "inside the likelihood"
    assert f"{labels:,} gold labels" in found["error rates", "every kind"].why
    assert found["loss", "evidence"].chosen == "mixture"


def test_rates_and_propensities_are_named_with_their_source(material):
    found = settled(material, "classwise_ips")
    rate, classes = material.rates["thumbs"], material.classwise["thumbs"]
    assert found["error rates", "thumbs"].chosen == "from gold"
    assert f"fnr {rate.fnr:.2f}, fpr {rate.fpr:.2f}" in found["error rates", "thumbs"].why
    assert found["propensity", "thumbs"].chosen == "of each class"
    assert f"{classes.p1:.1%} of liked, {classes.p0:.1%} of disliked" in found["propensity", "thumbs"].why
    assert settled(material, "ips")["propensity", "thumbs"].chosen == "fitted on the features"
    assert settled(material, "noise_corrected")["propensity", "thumbs"].chosen == "none"
    assert settled(material, "naive")["error rates", "thumbs"].why == "Feedback is taken at its word."
    known = replace(
        material, rates={"thumbs": noise.known(0.1, 0.2, kind="thumbs")}, kinds={"ips": ("thumbs",)}
    )
    assert settled(known, "ips")["error rates", "thumbs"].chosen == "given"


def test_share_of_liked_responses_stands_in_for_gold_of_the_classes(material):
    rows, rates = material.examples, {"thumbs": noise.known(0.1, 0.2, kind="thumbs")}
    bare = replace(rows, gold=np.full(len(rows), np.nan), gold_design=np.zeros(len(rows), np.int8))
    assert from_gold(bare, rates)["classwise"] == {}
    assert from_gold(bare, {}, base_rate=0.6)["classwise"] == {}
    assert from_gold(rows, rates, base_rate=0.6)["classwise"]["thumbs"].source == "gold"
    told = from_gold(bare, rates, base_rate=0.6)
    found, k = told["classwise"]["thumbs"], rows.kind("thumbs")
    usable = rows.offered[:, k] & rows.closed[:, k]
    up = rows.positive[rows.observed[:, k] & usable, k].mean()
    liked, often = (up - 0.2) / 0.7, rows.observed[usable, k].mean()
    assert (found.p1, found.p0) == pytest.approx((often * liked / 0.6, often * (1 - liked) / 0.4))
    allowed = {"classwise_ips": ("thumbs",)}
    made = replace(material, examples=bare, known=rates, base_rate=0.6, kinds=allowed, **told)
    assert made.without(0).classwise["thumbs"].p1 == found.p1
    assert "From base rate: " in settled(made, "classwise_ips")["propensity", "thumbs"].why
    with pytest.raises(ValueError, match="base_rate is 60; the share of liked responses"):
        pipeline.TrainConfig(base_rate=60)


def test_variants_are_told_of_as_what_they_vary(material):
    plain, varied = settled(material, "doubly_robust"), settled(material, "shrunk_dr")
    assert varied["error rates", "thumbs"] == plain["error rates", "thumbs"]
    assert varied["propensity", "thumbs"] == plain["propensity", "thumbs"]


def test_every_loss_of_a_recipe_has_its_reason(material):
    assert set(LOSS) == {"mixture", "brier", "logistic"}
    assert settled(material, "gold")["loss", "gold"].why == LOSS["brier"]


def test_who_answers_is_counted_in_cells_where_the_settings_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr("unskew.pipeline.material.evidence.fit", lambda *_, **__: None)  # not asked here
    (tmp_path / "key").write_text("the key of a test that keeps nothing")
    simulate.simulate(tmp_path / "log", 800, simulate.WORLDS["label"], 0)
    events.ingest([tmp_path / "log" / "events"], tmp_path / "store", key_file=tmp_path / "key")
    store = Store.open(tmp_path / "store")
    settings = replace(
        AUTO, propensity="cells", user_cap=None, noise={"thumbs": (0.1, 0.1), "rating": (0.1, 0.1)}
    )
    made, identity = open_material(store, settings)
    found, rows = made.propensities["thumbs"], made.examples
    k = rows.kind("thumbs")
    usable = made.usable[:, k]
    expected = propensity.cells(
        propensity.nested(cells(store, rows)),
        rows.observed[:, k],
        rows.prompt_hash,
        usable=usable,
        floor=float(FLOOR),
    )
    assert found.source == "cells"
    assert np.array_equal(found.p, expected.p)
    assert len(np.unique(found.p[usable])) > 4
    again, same = open_material(store, settings)
    assert same == identity
    assert np.array_equal(again.propensities["thumbs"].p, found.p)
    assert settled(made, "ips", settings)["propensity", "thumbs"].chosen == "counted in cells"
