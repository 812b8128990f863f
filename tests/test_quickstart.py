"""The main job on a small log, and the road under it: what is trained, kept, reused and refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from unskew import cli, data, events, pipeline, report, simulate
from unskew.data import Store
from unskew.estimators import Columns, Mixture
from unskew.pipeline.arms import train_arm
from unskew.pipeline.auto import choose
from unskew.pipeline.recipes import PAIRWISE, RECIPES, UNSAFE, columns_inside, shown_together
from unskew.pipeline.run import plain, recovered
from unskew.pipeline.store import open_material
from unskew.quickstart import quickstart
from unskew.reward import RewardModel

SIZE = 4000


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("quickstart") / "run"


@pytest.fixture(scope="module")
def run(home) -> dict:
    return quickstart(home, responses=SIZE)


@pytest.fixture(scope="module")
def store(run, home) -> Store:
    return Store.open(home / "store")


@pytest.fixture(scope="module")
def material(store):
    return open_material(store, pipeline.TrainConfig())[0]


def brier(run: dict, name: str) -> float:
    return next(arm["metrics"]["brier"]["value"] for arm in run["arms"] if arm["name"] == name)


# --- the main job ------------------------------------------------------------------------------------------


def test_naive_is_wrong_ours_is_less_wrong_and_ideal_is_the_bound(run):
    assert brier(run, "ideal") < brier(run, "evidence") < brier(run, "naive")
    assert run["recovered"] > 0.5
    assert run["estimator"] == "evidence"
    roles = {arm["name"]: arm["role"] for arm in run["arms"]}
    assert roles == {
        "naive": "naive",
        "evidence": "ours",
        "classwise_ips": "baseline",
        "ips": "baseline",
        "gold": "baseline",
        "causalrm-ips": "unsafe",
        "ideal": "ideal",
    }


def test_run_is_on_disk_with_model_card_and_page(run, home):
    assert json.loads((home / "run.json").read_text()) == run
    assert (home / "report.html").stat().st_size > 20_000
    model = RewardModel.load(home / "model")
    assert model.card["estimator"] == "evidence"
    assert model.card["verdict"]["colour"] == run["verdict"]["colour"]
    assert model.card["limits"]
    probability = model.probability(["How?"] * 2, ["Like this.", "No idea."])
    assert ((probability > 0) & (probability < 1)).all()


def test_books_balance_and_broken_lines_are_counted(run):
    books = run["counts"]["balance"]
    assert books["lines"] == sum(books[part] for part in ("committed", "duplicate", "quarantined", "blank"))
    assert books["quarantined"] > 0
    assert run["counts"]["gold"] == 600


def test_second_run_reuses_the_nuisances_and_ends_in_the_same_numbers(run, home, store, monkeypatch):
    before = store.ledger["ledger"]
    monkeypatch.setattr("unskew.pipeline.store.estimate", lambda *_, **__: pytest.fail("estimated again"))
    again = quickstart(home, responses=SIZE)
    assert again["provenance"]["nuisances"] == run["provenance"]["nuisances"]
    assert again["arms"] == run["arms"]
    assert Store.open(home / "store").ledger["ledger"] == before


def test_other_seed_in_the_same_directory_is_refused(run, home):
    with pytest.raises(ValueError, match="drawn with another seed, world or size"):
        quickstart(home, responses=SIZE, seed=1)


def test_store_is_whole_after_everything_was_kept_in_it(run, home):
    found = events.verify(home / "store", key_file=home / "key")
    assert found["impressions"] == SIZE


# --- what is kept ------------------------------------------------------------------------------------------


def test_targets_say_where_they_come_from_and_are_aligned_with_the_rows(run, store):
    name, facts, table = store.load("targets", "evidence")
    assert name == run["provenance"]["target"]
    assert facts["nuisances"] == run["provenance"]["nuisances"]
    assert facts["loss"] == "mixture"
    assert table.column_names == ["w", "d", "m"]
    assert table.num_rows == SIZE
    assert store.load("audit")[1]["colour"] == run["verdict"]["colour"]


def test_nuisances_read_back_are_those_that_were_estimated(run, store, material):
    kept = store.load("nuisances")[2]
    for name, found in material.propensities.items():
        assert np.array_equal(found.raw, kept[f"p_{name}"].to_numpy())
    again = open_material(store, pipeline.TrainConfig())[0]
    assert np.array_equal(again.evidence.d, material.evidence.d)
    assert np.array_equal(again.evidence.q, material.evidence.q)
    assert again.evidence.checks == material.evidence.checks


# --- recipes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {*UNSAFE, *PAIRWISE, "mrdr"}))  # mrdr: test_recipes
def test_hidden_fold_leaves_no_trace_of_its_gold_in_any_recipe(material, name):
    rows = material.examples
    inside = material.evidence.fold == 1
    changed = np.where(inside & ~np.isnan(rows.gold), 1 - rows.gold, rows.gold)
    other = replace(
        material,
        examples=replace(rows, gold=changed),
        evidence=replace(material.evidence, gold=changed),
    )
    one, two = (
        columns_inside(part, RECIPES[name](part)).columns for part in (material.without(1), other.without(1))
    )
    for field in ("w", "d") if isinstance(one, Mixture) else ("a", "b"):
        left, right = getattr(one, field), getattr(two, field)
        keep = np.ones(len(left), bool) if len(left) != len(rows) else ~inside
        assert np.array_equal(left[keep], right[keep])
        if len(left) == len(rows):
            assert not left[inside].any()


def test_every_recipe_gives_columns_that_a_head_can_be_trained_on(material):
    settings = pipeline.TrainConfig(recipes={"causalrm-dr": {"held_out": True}})  # else: no lower bound
    for name in ("doubly_robust", "snips", "noise_corrected", "pairs", "causalrm-dr"):
        arm = train_arm(material, name, settings)
        assert np.isfinite(arm.probability).all()
        assert ((arm.probability > 0) & (arm.probability < 1)).all()
        assert arm.role == ("unsafe" if name == "causalrm-dr" else "ours")


def test_model_is_measured_out_of_fold_where_there_is_no_evidence(material):
    arm = train_arm(replace(material, evidence=None), "gold", pipeline.TrainConfig())
    assert ((arm.probability > 0) & (arm.probability < 1)).all()
    assert len(np.unique(arm.probability)) > SIZE / 2


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_pairs_shown_together_are_all_pairs_of_a_group(items):
    group = np.array([g for g, _ in items], np.int64)
    keep = np.array([k for _, k in items], bool)
    ahead, behind = shown_together(group, keep)
    found = {tuple(sorted(pair)) for pair in zip(ahead.tolist(), behind.tolist(), strict=True)}
    n = len(items)
    slow = {(i, j) for i in range(n) for j in range(i + 1, n) if keep[i] and keep[j] and group[i] == group[j]}
    assert found == slow
    assert len(ahead) == len(slow)


def test_pair_targets_are_tied_to_the_rows_of_the_store(run, store):
    with pytest.raises(pipeline.Refused, match="the audit refuses pairs: Gold labels show"):
        pipeline.pair_targets(store)
    pairs = pipeline.pair_targets(store, pipeline.TrainConfig(accept_red="a test of alignment"))
    group = data.examples(store).group
    assert (group[pairs.side_a] == group[pairs.side_b]).all()
    assert (pairs.a == 1).all()
    assert np.isfinite(pairs.target).all()


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hopeless(tmp_path_factory) -> Path:
    """A store of a log that nobody can use: selection by label at alpha .2, no gold."""
    home = tmp_path_factory.mktemp("hopeless")
    simulate.simulate(home / "log", 3000, simulate.WORLDS["hopeless"], seed=0)
    (home / "key").write_text("a key that only this test knows")
    events.ingest([home / "log" / "events"], home / "store", key_file=home / "key")
    return home / "store"


def test_hopeless_log_without_gold_is_red_refused_and_the_reason_for_going_on_is_kept(hopeless, tmp_path):
    found = pipeline.audit_store(hopeless)
    assert (found["colour"], found["notes"]) == ("red", [])
    with pytest.raises(pipeline.Refused, match="--accept-red") as refused:
        pipeline.train(hopeless, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    assert cli.explain(refused.value) == cli.ExitCode.RED
    settings = pipeline.TrainConfig(accept_red="a test of what is kept")
    run = pipeline.train(hopeless, tmp_path / "run", settings, bootstrap=2)
    assert run["provenance"]["accept_red"] == "a test of what is kept"
    card = RewardModel.load(tmp_path / "run" / "model").card
    assert card["provenance"]["accept_red"]
    assert run["truth"] is None
    assert (run["estimator"], [arm["role"] for arm in run["arms"]]) == ("cautious", ["naive", "naive"])
    for words in ("Nothing is corrected", "Silence counts as half a like"):
        assert any(said.startswith(words) for said in card["limits"])
    page = report.write(tmp_path / "run", tmp_path / "report.html").read_text("utf-8")
    assert "The audit refuses every estimator, so nothing is corrected" in page
    assert "corrected by unskew" not in page
    with pytest.raises(pipeline.Refused, match="error rates of thumbs are unknown"):
        pipeline.train(hopeless, tmp_path / "other", replace(settings, estimator="ips"))


def test_unknown_estimator_is_a_sentence_before_any_work(hopeless, tmp_path):
    with pytest.raises(ValueError, match="estimator is 'magic'; it must be auto or one of evidence, "):
        pipeline.train(hopeless, tmp_path, pipeline.TrainConfig(estimator="magic"))


def test_red_estimator_is_refused_while_another_is_allowed(run, material):
    from unskew.pipeline.material import judge

    verdict = judge(material)
    assert "ips" not in verdict.allowed
    with pytest.raises(pipeline.Refused, match="the audit refuses ips: Gold labels show that people answer"):
        choose(pipeline.TrainConfig(estimator="ips"), verdict)
    assert choose(pipeline.TrainConfig(estimator="naive"), verdict) == "naive"


def test_what_the_user_knows_replaces_what_we_estimate(run, home, tmp_path, monkeypatch):
    import shutil

    import pyarrow as pa
    import pyarrow.parquet

    shutil.copytree(home / "store", tmp_path / "store")
    opened = Store.open(tmp_path / "store")
    ids = data.examples(opened).response_id[::-1]
    p = np.linspace(0.1, 0.9, len(ids))
    pyarrow.parquet.write_table(pa.table({"response": ids, "p_thumbs": p}), tmp_path / "p.parquet")
    settings = pipeline.TrainConfig(noise={"thumbs": (0.1, 0.2)}, propensity=str(tmp_path / "p.parquet"))
    monkeypatch.setattr("unskew.pipeline.material.evidence.fit", lambda *_, **__: None)  # not asked here
    material, _ = open_material(opened, settings)
    assert material.propensities["thumbs"].source == "logged"
    k = material.examples.kind("thumbs")
    usable = material.usable[:, k]
    assert np.array_equal(material.propensities["thumbs"].p[usable], p[::-1][usable])
    assert (material.rates["thumbs"].fnr, material.rates["thumbs"].fpr) == (0.1, 0.2)
    assert material.without(0).rates["thumbs"].source == "known"
    pyarrow.parquet.write_table(pa.table({"response": ids[1:], "p_thumbs": p[1:]}), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="has no row for 1 responses of the store"):
        open_material(opened, replace(settings, seed=1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("estimatr: ips\n", "'estimatr' is not a setting"),
        ("- ips\n", "holds a list; names and values are needed"),
        ("head: forest\n", "head is 'forest'; it must be 'linear' or 'mlp'"),
        ("noise: {thumbs: 0.1}\n", r"noise of thumbs is 0.1; \[fnr, fpr\] is needed"),
        ("a: [\n", "is not YAML"),
    ],
)
def test_settings_that_cannot_be_are_named(tmp_path, text, says):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=says):
        pipeline.TrainConfig.load(tmp_path / "run.yaml")


def test_flags_stand_in_front_of_the_file(tmp_path):
    (tmp_path / "run.yaml").write_text("head: mlp\nseed: 3\ncompare: [ips]\n")
    settings = pipeline.TrainConfig.load(tmp_path / "run.yaml", seed=4)
    assert (settings.head, settings.seed, settings.compare) == ("mlp", 4, ("ips",))


def test_score_names_the_line_that_is_not_a_row(run, home, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n\n{"prompt": "a"}\n')
    with pytest.raises(ValueError, match=r"rows.jsonl line 3: response is None; text is needed"):
        list(pipeline.score_file(home / "model", tmp_path / "rows.jsonl"))


def test_gold_that_is_given_measures_and_is_not_kept(run, home, hopeless):
    gold = hopeless.parent / "log" / "gold.jsonl"
    found = pipeline.evaluate_model(home / "model", hopeless, gold=gold)["evaluation"]
    assert found["labels"] == 200
    valid = {way["way"]: way["valid"] for way in found["ways"]}
    assert valid["powered"] is valid["gold"] is True
    assert not valid.get("snips")
    assert Store.open(hopeless).load("gold") is None


def test_evaluation_without_gold_says_what_to_do(run, home, hopeless):
    found = pipeline.evaluate_model(home / "model", hopeless)["evaluation"]
    assert not any(way["valid"] for way in found["ways"])
    assert [way["way"] for way in found["ways"]] == ["naive"]
    assert "the error rates of thumbs are unknown" in found["missing"]["snips"]
    assert any("`unskew audit STORE --gold-plan 600`" in said for said in found["sentences"])
    known = pipeline.TrainConfig(noise={"thumbs": (0.1, 0.2), "rating": (0.15, 0.1)})
    found = pipeline.evaluate_model(home / "model", hopeless, settings=known)["evaluation"]
    assert {"snips", "doubly_robust"} <= {way["way"] for way in found["ways"]}
    assert not any(way["valid"] for way in found["ways"])


def test_main_model_is_measured_in_every_way_out_of_fold_with_the_truth_beside_it(run, home):
    found = run["evaluation"]
    assert found["in_sample"] is False
    assert "out of fold" in found["sentences"][0]
    assert found["truth"]["brier"] == pytest.approx(brier(run, "evidence"))
    valid = {way["way"]: way["valid"] for way in found["ways"]}
    assert (valid["naive"], valid["snips"], valid["powered"], valid["gold"]) == (False, False, True, True)
    page = (home / "report.html").read_text()
    assert 'id="evaluation"' in page
    assert "How good is the model, measured in every way?" in page


def test_evaluation_of_a_model_on_its_own_training_rows_says_so(run, home):
    found = pipeline.evaluate_model(home / "model", home / "store")["evaluation"]
    assert found["in_sample"] is True
    assert not any(way["valid"] for way in found["ways"])


# --- small things ------------------------------------------------------------------------------------------


def test_recovered_is_the_share_of_the_gap_and_none_without_an_end():
    def arm(role, value):
        return {"role": role, "metrics": {"brier": {"value": value}}}

    arms = [arm("naive", 0.3), arm("ours", 0.2), arm("ours", 0.9), arm("ideal", 0.1)]
    assert recovered(arms) == pytest.approx(0.5)
    assert recovered(arms[:-1]) is None
    assert recovered([arm("naive", 0.1), arm("ours", 0.2), arm("ideal", 0.1)]) is None


def test_plain_data_has_neither_numpy_nor_nan():
    found = plain({"a": np.float64("nan"), "b": np.arange(2), "c": (np.int64(1), float("inf")), 3: True})
    assert json.dumps(found, allow_nan=False) == '{"a": null, "b": [0, 1], "c": [1, null], "3": true}'


def test_gold_alone_reads_nothing_but_gold(material):
    columns = RECIPES["gold"](material).columns
    assert isinstance(columns, Columns)
    known = ~np.isnan(material.examples.gold)
    assert np.array_equal(columns.a > 0, known)


# --- refutations -------------------------------------------------------------------------------------------


def test_refutations_go_into_the_audit_and_from_there_into_the_next_run(run, home):
    found = pipeline.audit_store(home / "store", refutations=True)
    names = [tried["name"] for tried in found["refutations"]]
    assert names == ["permuted labels", "dummy label", "random feature", "added noise", "added selection"]
    again = pipeline.train(home / "store", home / "again", pipeline.TrainConfig(estimator="gold"))
    assert again["refutations"] == found["refutations"]
    assert "refutations" not in run
