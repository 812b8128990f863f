"""Logs that hold only choices: read, judged, learned from and measured, from JSON lines to the exit code."""

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

from unskew import audit, data, estimators, events, noise, pipeline
from unskew.data import NO_GOLD, RANDOM, STRATIFIED, Store
from unskew.pipeline.arms import train_arm
from unskew.pipeline.auto import choose
from unskew.pipeline.material import choice_rates
from unskew.pipeline.recipes import RECIPES, columns_inside
from unskew.pipeline.store import keep_gold, open_material
from unskew.report import page
from unskew.reward import RewardModel

NAN = np.nan


def write(path: Path, lines) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def shown(request: int, name: str, slot: int | None, prompt: str, response: str, **more) -> dict:
    line = {
        "type": "impression",
        "id": name,
        "shown_at": f"2026-03-01T{request // 3600:02}:{request // 60 % 60:02}:{request % 60:02}Z",
        "prompt": prompt,
        "response": response,
        "request": f"q{request}",
        "offered": ["choice"],
    }
    return line | ({} if slot is None else {"slot": slot}) | more


def choice(request: int, winner: str, at: str = "2026-03-02T00:00:00Z") -> dict:
    return {"type": "choice", "id": f"c{request}", "request": f"q{request}", "winner": winner, "at": at}


LATE = shown(0, "late", 0, "last of all", "closes every window before") | {
    "shown_at": "2026-04-01T00:00:00Z",
    "request": "late",
}


def ingest(home: Path, lines) -> Store:
    home.mkdir(exist_ok=True)
    log = write(home / "log.jsonl", [*lines, LATE])
    (home / "key").write_text("a key that only this test knows")
    events.ingest([log], home / "store", key_file=home / "key")
    return Store.open(home / "store")


def couple(request: int, **more) -> list[dict]:
    """Responses a<request> in slot 1 and b<request> in slot 2."""
    return [
        shown(request, f"{side}{request}", slot, f"prompt {request}", f"text {side}", **more)
        for slot, side in ((1, "a"), (2, "b"))
    ]


# --- choices as columns ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Store:
    """A won, B won, a tie, both bad, nothing chosen, three responses, no slots."""
    lines = [line for request in range(5) for line in couple(request)]
    lines += [choice(0, "a0"), choice(1, "b1"), choice(2, "tie"), choice(3, "both_bad")]
    lines += [*couple(5), shown(5, "c5", 3, "prompt 5", "text c"), choice(5, "c5")]
    lines += [shown(6, name, None, "prompt 6", name) for name in ("x6", "y6")] + [choice(6, "x6")]
    return ingest(tmp_path_factory.mktemp("small"), lines)


def named(store: Store, rows: data.Examples, found: data.Choices) -> dict[tuple[str, str], int]:
    """Number of each pair by the ids of its responses."""
    ids = rows.response_id
    return {(ids[a], ids[b]): at for at, (a, b) in enumerate(zip(found.a, found.b, strict=True))}


def test_label_is_one_where_the_response_in_the_first_slot_was_chosen(small):
    rows = data.examples(small)
    found = data.choices(small, rows)
    at = named(small, rows, found)
    wanted = {("a0", "b0"): 1, ("a1", "b1"): 0, ("a5", "c5"): 0, ("b5", "c5"): 0}
    for pair, label in wanted.items():
        assert found.label[at[pair]] == label
        assert found.ordered[at[pair]]
    first = "x6" if ("x6", "y6") in at else "y6"
    without_slots = at[(first, "y6" if first == "x6" else "x6")]
    assert found.label[without_slots] == (first == "x6")
    assert not found.ordered[without_slots]
    assert found.seen.sum() == 5


def test_ties_and_missing_choices_have_no_label_and_are_counted(small):
    rows = data.examples(small)
    found = data.choices(small, rows)
    at = named(small, rows, found)
    assert np.isnan(found.label[[at[(f"a{n}", f"b{n}")] for n in (2, 3, 4)]]).all()
    assert found.counts == {"tie": 1, "both_bad": 1, "no_choice": 1, "no_slots": 1, "of_more": 2}
    assert len(found) == 8


def test_pair_whose_response_no_longer_stands_is_left_out_and_counted(small):
    rows = data.examples(small)
    gone = np.array([name not in ("a0", "c5") for name in rows.response_id])
    fewer = replace(
        rows,
        row=rows.row[gone],
        response_id=[name for name, stays in zip(rows.response_id, gone, strict=True) if stays],
        prompt_hash=rows.prompt_hash[gone],
        group=rows.group[gone],
    )
    found = data.choices(small, fewer)
    at = named(small, fewer, found)
    assert found.counts["dead"] == 3
    assert len(found) == 5
    assert found.label[at[("a1", "b1")]] == 0


def test_choice_is_about_the_response_that_stands_when_it_was_logged_twice(tmp_path):
    again = couple(0)[0] | {"response": "another text", "received_at": "2026-03-05T00:00:00Z"}
    first = couple(0)[0] | {"received_at": "2026-03-04T00:00:00Z"}
    store = ingest(tmp_path, [again, first, couple(0)[1], choice(0, "a0")])
    rows = data.examples(store)
    found = data.choices(store, rows)
    assert data.texts(store, rows.row[found.a])[1] == ["text a"]
    assert_array_equal(found.label, [1])


def test_open_windows_and_pairs_over_two_prompts_are_left_out_and_counted(tmp_path):
    lines = [*couple(0), choice(0, "a0"), *couple(1, shown_at="2026-03-31T00:00:00Z")]
    lines += [choice(1, "a1", "2026-03-31T01:00:00Z")]
    lines += [shown(2, "a2", 1, "one", "x"), shown(2, "b2", 2, "other", "y"), choice(2, "b2")]
    store = ingest(tmp_path, lines)
    found = data.choices(store, data.examples(store))
    assert_array_equal(found.label, [1])
    assert found.counts == {"open": 1, "two_prompts": 1}


def test_gold_pairs_are_joined_in_either_order_and_votes_become_their_mean(small, tmp_path):
    pairs = [
        {"a": "b0", "b": "a0", "winner": "a0"},
        {"a": "a1", "b": "b1", "winner": "a1", "design": "stratified", "prob": 0.5},
        {"a": "b1", "b": "a1", "winner": "b1"},
        {"a": "a2", "b": "b2", "winner": "tie"},
        {"a": "a3", "b": "b3", "winner": "both_bad"},
        {"a": "a0", "b": "b1", "winner": "a0"},
        {"response": "a4", "label": 1},
    ]
    gold, rejected = data.read_gold(write(tmp_path / "gold.jsonl", pairs), small)
    assert rejected == []
    rows = data.examples(small, gold)
    found = data.choices(small, rows, gold)
    at = named(small, rows, found)
    assert (found.gold[at[("a0", "b0")]], found.gold_design[at[("a0", "b0")]]) == (1, RANDOM)
    assert (found.gold[at[("a1", "b1")]], found.gold_design[at[("a1", "b1")]]) == (0.5, STRATIFIED)
    assert found.gold_prob[at[("a1", "b1")]] == 0.5
    assert found.labelled.sum() == 2
    assert (found.gold_design[~found.labelled] == NO_GOLD).all()
    counts = {name: n for name, n in found.counts.items() if name.startswith("gold")}
    assert counts == {"gold_ties": 2, "gold_unknown": 1, "gold_designs": 1}


def test_store_without_choices_has_no_pairs(tmp_path):
    store = ingest(tmp_path, [shown(0, "a", 1, "prompt", "text", offered=["thumbs"])])
    found = data.choices(store, data.examples(store))
    assert (len(found), found.counts) == (0, {})


# --- a small product in which only choices are logged ------------------------------------------------------

FNR, FPR = 0.3, 0.1
"""People prefer the second slot: where A is better B is chosen more often than the other way round."""

WORDS = {
    word: value
    for value, words in {
        1.0: "clear exact kind short tested sourced",
        0.0: "answer text reply because however also about often part some",
        -1.0: "vague wrong rude long broken invented",
    }.items()
    for word in words.split()
}


def product(seed: int, requests: int = 1500, *, swapped: bool = False):
    """(lines, P(A is better), whether A is better) of a log of choices between two answers.

    Quality is in the words; A is better with probability sigmoid(q_A - q_B); the choice errs by slot.
    """
    rng = np.random.default_rng(seed)
    words, value = np.array(list(WORDS)), np.array(list(WORDS.values()))
    drawn = rng.integers(len(words), size=(requests, 2, 8))
    quality = value[drawn].sum(2)
    p = 1 / (1 + np.exp(quality[:, 1] - quality[:, 0]))
    better = rng.random(requests) < p
    chosen = np.where(better, rng.random(requests) >= FNR, rng.random(requests) < FPR)
    lines = []
    for n in range(requests):
        texts = [" ".join(words[part]) for part in drawn[n]]
        for slot, side, text in zip((2, 1) if swapped else (1, 2), "ab", texts, strict=True):
            lines.append(shown(n, f"{side}{n}", slot, f"question {n}", text))
        lines.append(choice(n, f"{'a' if chosen[n] else 'b'}{n}"))
    return lines, p, better


def gold_lines(better, numbers) -> list[dict]:
    """Gold pairs, every other one written with B in front."""
    ends = [("a", "b") if n % 2 else ("b", "a") for n in numbers]
    return [
        {"a": f"{one}{n}", "b": f"{two}{n}", "winner": f"{'a' if better[n] else 'b'}{n}"}
        for n, (one, two) in zip(numbers, ends, strict=True)
    ]


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
