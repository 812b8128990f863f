"""The store as columns: against a slow reading of its tables, gold by row, and what is kept beside it."""

import json
import re
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

import logs
from logs import THUMB, good, lines, table, write
from unskew import _rust, data, events, simulate
from unskew.data import NO_GOLD, RANDOM, STRATIFIED, Store, examples, read_gold
from unskew.events import KINDS

pytestmark = pytest.mark.usefixtures("keyed")


def made(folder, text, name="log.jsonl", **options):
    """A store with the events of `text`."""
    events.ingest(write(folder / name, text), folder / "store", **options)
    return Store.open(folder / "store")


@pytest.fixture(scope="module")
def product(tmp_path_factory, keyed):
    """(store, gold file) of a simulated product."""
    home = tmp_path_factory.mktemp("product")
    made = simulate.simulate(home / "log", 1500, simulate.WORLDS["label"], seed=4, gold=(120, 60))
    events.ingest(home / "log" / "events", home / "store")
    return Store.open(home / "store"), made.gold


@pytest.fixture
def small(tmp_path):
    """A store of six silent responses, r0 to r5, that a test may write to."""
    return made(tmp_path, good(6))


def slow(store):
    """Columns of `Examples` from Python rows, one at a time."""
    shown, seen = table(store.path, "impressions").to_pylist(), table(store.path, "observations").to_pylist()
    live = [
        (number, row, said)
        for number, (row, said) in enumerate(zip(shown, seen, strict=True))
        if said["live"]
    ]
    kinds = [k for k in KINDS if any((said["offered"] | said["o_kinds"]) & k.mask for _, _, said in live)]

    def flags(mask):
        return [[bool(said[mask] & kind.mask) for kind in kinds] for _, _, said in live]

    return kinds, {
        "row": [number for number, _, _ in live],
        "response_id": [row["response_id"] for _, row, _ in live],
        "prompt_hash": [int.from_bytes(row["prompt_hash"][:8], "little") for _, row, _ in live],
        "offered": flags("offered"),
        "closed": flags("closed_kinds"),
        "observed": flags("o_kinds"),
        "positive": flags("pos_kinds"),
        "cell": [said["cell"] for _, _, said in live],
        "policy_prob": [np.nan if row["policy_prob"] is None else row["policy_prob"] for _, row, _ in live],
        "request": [row["request_id"] for _, row, _ in live],
        "key": [row["user_key"] for _, row, _ in live],
    }


def check(store):
    """`examples` is the slow reading; returns both."""
    found, (kinds, expected) = examples(store), slow(store)
    assert found.kinds == tuple(kinds)
    assert len(found) == len(expected["row"])
    for name, column in expected.items():
        if name not in ("request", "key"):
            have = getattr(found, name)
            assert_array_equal(have, np.reshape(column, np.shape(have)), err_msg=name)
            assert np.size(have) == np.size(column)
    for group, request in zip(found.group, expected["request"], strict=True):
        together = [r for g, r in zip(found.group, expected["request"], strict=True) if g == group]
        assert len(together) == (1 if request is None else expected["request"].count(request))
        assert set(together) == {request}
    codes = set(zip(found.user.tolist(), expected["key"], strict=True))
    assert len(codes) == len({user for user, _ in codes}) == len({key for _, key in codes})
    assert all((user == 0) == (key is None) for user, key in codes)
    return found, expected


def test_columns_are_the_live_rows_of_the_tables(tmp_path):
    total, dead, alone = 0, 0, 0
    for seed in range(25):
        log = logs.random_log(Random(seed))
        for event in log:
            if event["type"] == "impression" and "slot" in event:
                event["policy_prob"] = 0.25 + event["slot"] / 2
        (tmp_path / str(seed)).mkdir()
        store = made(tmp_path / str(seed), lines(log))
        found, expected = check(store)
        said = logs.meaning(log)["observations"]
        assert sorted(found.response_id) == sorted(said)
        for name, offered, observed in zip(found.response_id, found.offered, found.observed, strict=True):
            assert (
                sum(k.mask for k, has in zip(found.kinds, offered, strict=True) if has)
                == said[name]["offered"]
            )
            assert (
                sum(k.mask for k, has in zip(found.kinds, observed, strict=True) if has)
                == said[name]["o_kinds"]
            )
        assert_array_equal(found.gold, np.full(len(found), np.nan))
        assert_array_equal(found.gold_design, np.full(len(found), NO_GOLD))
        total, dead = total + len(found), dead + store.table("impressions").num_rows - len(found)
        alone += expected["request"].count(None)
    assert total > 60
    assert dead > 3
    assert alone > 10


def test_columns_of_a_simulated_product_are_its_tables(product):
    store, _ = product
    found, expected = check(store)
    assert len(found) == 1500
    assert {kind.name for kind in found.kinds} == set(simulate.KINDS)
    assert max(Counter(expected["request"]).values()) > 1
    assert found.observed[:, found.kind("thumbs")].sum() > found.positive[:, found.kind("thumbs")].sum() > 0


def test_delays_of_a_kind_and_levels_of_cells_are_those_of_the_tables(product):
    store, _ = product
    found = examples(store)
    shown = {row["response_key"]: row for row in table(store.path, "impressions").to_pylist()}
    first = {}
    for event in table(store.path, "feedback").to_pylist():
        if event["kind"] == "copy" and event["response_key"] in shown and event["op"] == "upsert":
            after = event["event_at"] - shown[event["response_key"]]["shown_at"]
            name = shown[event["response_key"]]["response_id"]
            first[name] = min(first.get(name, after), after)
    delay, age = data.delays(store, found, "copy")
    came = found.observed[:, found.kind("copy")]
    assert_array_equal(~np.isnan(delay), came)
    for name, milliseconds in zip(np.array(found.response_id)[came], delay[came], strict=True):
        assert milliseconds == max(first[name], timedelta()) // timedelta(milliseconds=1)
    assert_array_equal(age, np.array(table(store.path, "observations")["age_ms"])[found.row])
    cells = table(store.path, "cells").to_pylist()
    names = ("surface", "slot", "model", "len_bucket")
    for depth, level in enumerate(data.levels(store, found), start=1):
        true = [tuple(cells[cell][name] for name in names[:depth]) for cell in found.cell]
        assert len(set(zip(level.tolist(), true, strict=True))) == len(set(true)) == len(set(level.tolist()))


def test_kind_that_the_store_has_not_is_named_with_those_it_has(product):
    with pytest.raises(
        KeyError, match="no 'share' feedback in this store; it has thumbs, rating, copy, regenerate"
    ):
        examples(product[0]).kind("share")


def test_texts_are_those_of_the_rows(product):
    store, _ = product
    shown = table(store.path, "impressions").to_pylist()
    rows = np.array([7, 3, 3, 1400])
    prompts, responses = data.texts(store, rows)
    assert prompts == [shown[row]["prompt"] for row in rows]
    assert responses == [shown[row]["response"] for row in rows]


@pytest.mark.parametrize("text", ["", "garbage\n", THUMB % ("f", "r") + "\n"], ids=["empty", "bad", "orphan"])
def test_store_without_responses_gives_empty_columns(tmp_path, text):
    store = made(tmp_path, text)
    found, _ = check(store)
    assert (len(found), found.kinds, found.offered.shape) == (0, (), (0, 0))
    assert data.texts(store, found.row) == ([], [])


def test_store_in_which_no_kind_was_offered_has_no_kind_columns(small):
    found, _ = check(small)
    assert (len(found), found.kinds) == (6, ())
    for mask in (found.offered, found.closed, found.observed, found.positive):
        assert mask.shape == (6, 0)
        assert mask.dtype == bool
    assert not np.isfinite(found.policy_prob).any()


def test_store_opens_at_its_newest_commit_and_reads_parts_in_order(tmp_path):
    with pytest.raises(FileNotFoundError, match="no store here"):
        Store.open(tmp_path / "store")
    first = made(tmp_path, good(3))
    report = events.ingest(write(tmp_path / "more.jsonl", good(2, 3)), tmp_path / "store")
    second = Store.open(str(tmp_path / "store"))
    assert (first.generation, second.generation) == (1, 2)
    assert second.digest == report.digest != first.digest
    assert second.table("impressions")["response_id"].to_pylist() == [f"r{i}" for i in range(5)]
    assert first.table("impressions").num_rows == 3
    assert second.table("impressions", ["response", "response_id"]).column_names == [
        "response",
        "response_id",
    ]
    assert second.table("nothing").num_rows == 0
    assert examples(second).response_id == [f"r{i}" for i in range(5)]


def test_damaged_store_is_a_checksum_error(small):
    small.attach("gold", "mine", {}, pa.table({"row": [1]}))
    for file in [max((small.path / "ledger").iterdir()), *small.path.glob("gold/*")]:
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(_rust.ChecksumError, match=re.escape(file.name)):
            (Store.open if file.parent.name == "ledger" else events.verify)(small.path)
        file.write_bytes(content)
    events.verify(small.path)


# Gold


def gold(store, *rows, name="gold.jsonl"):
    """`read_gold` of the rows, dictionaries or text."""
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    return read_gold(write(store.path.parent / name, text), store)


def test_gold_of_a_simulated_product_is_joined_by_row(product):
    store, path = product
    rows, rejected = read_gold(path, store)
    assert rejected == []
    said = {row["response"]: row for row in map(json.loads, Path(path).read_bytes().splitlines())}
    found = examples(store, rows)
    codes = {"random": RANDOM, "stratified": STRATIFIED}
    for name, label, design, prob in zip(
        found.response_id, found.gold, found.gold_design, found.gold_prob, strict=True
    ):
        if name in said:
            assert (label, design, prob) == (
                said[name]["label"],
                codes[said[name]["design"]],
                said[name]["prob"],
            )
        else:
            assert np.isnan(label)
            assert np.isnan(prob)
            assert design == NO_GOLD
    assert np.bincount(found.gold_design).tolist() == [1320, 60, 120]


REFUSED = [
    ("{", "not JSON (Expecting property name enclosed in double quotes); expected one object a line"),
    ("[" * 100_000, "not JSON (maximum recursion depth exceeded"),
    ("[1]", "found a JSON list; expected an object"),
    ('"text"', "found a JSON str; expected an object"),
    (
        {"response": "r1", "label": 1, "design": "best"},
        "design is 'best'; it must be 'random' or 'stratified'",
    ),
    (
        {"response": "r1", "label": 1, "design": ["random"]},
        "design is ['random']; it must be 'random' or 'stratified'",
    ),
    *(
        (
            {"response": "r1", "label": 1, "design": "stratified", "prob": prob},
            f"prob is {prob!r}; a stratified row needs its labelling probability in (0, 1]",
        )
        for prob in (0, 0.0, -0.1, 1.01, 2, "0.5", True, None, float("nan"), float("inf"), [0.5])
    ),
    (
        {"response": "r1", "label": 1, "design": "stratified"},
        "prob is None; a stratified row needs its labelling probability in (0, 1]",
    ),
    *(
        (
            {"response": "r1", "label": 1, "prob": prob},
            f"prob is {prob!r}; it must be in (0, 1], or left out of a random row",
        )
        for prob in (0, -1, 1.5, "0.5", False, True, [0.5])
    ),
    *(
        ({"response": "r1", "label": label}, f"label is {label!r}; it must be a number in [0, 1]")
        for label in (-0.01, 1.01, 2, "1", "up", None, float("nan"), float("inf"), 10**400, [], [1], {})
    ),
    ({"response": "r1"}, "label is None; it must be a number in [0, 1]"),
    ({"response": "r9", "label": 1}, "response is 'r9', which is not a response of this store"),
    ({"response": 1, "label": 1}, "response is '1', which is not a response of this store"),
    ({"response": True, "label": 1}, "response is True, which is not a response of this store"),
    ({"response": ["r1"], "label": 1}, "response is ['r1'], which is not a response of this store"),
    ({"label": 1}, "response is None, which is not a response of this store"),
    ({"a": "r1", "b": "r9", "winner": "r1"}, "b is 'r9', which is not a response of this store"),
    ({"a": "r9", "b": "r1", "winner": "r1"}, "a is 'r9', which is not a response of this store"),
    ({"a": "r1", "winner": None}, "b is None, which is not a response of this store"),
    ({"b": "r1"}, "a is None, which is not a response of this store"),
    ({"a": "r1", "b": "r1", "winner": "r1"}, "a and b are both 'r1'; a pair needs two responses"),
    *(
        (
            {"a": "r1", "b": "r2", "winner": winner},
            f"winner is {winner!r}; it must be a, b, 'tie' or 'both_bad'",
        )
        for winner in ("r3", "a", None, True, ["r1"])
    ),
    ({"a": "r1", "b": "r2"}, "winner is None; it must be a, b, 'tie' or 'both_bad'"),
]


def test_every_line_that_cannot_be_used_is_named_and_the_good_ones_are_kept(small):
    broken = [row for row, _ in REFUSED]
    rows, rejected = gold(small, {"response": "r0", "label": 0}, "", *broken, {"response": "r5", "label": 1})
    assert rows.to_pylist() == [
        {
            "row": row,
            "label": label,
            "row_a": None,
            "row_b": None,
            "winner": None,
            "design": "random",
            "prob": None,
        }
        for row, label in ((0, 0.0), (5, 1.0))
    ]
    path = small.path.parent / "gold.jsonl"
    assert len(rejected) == len(REFUSED)
    for number, (sentence, (_, expected)) in enumerate(zip(rejected, REFUSED, strict=True), start=3):
        assert sentence.startswith(f"{path} line {number}: {expected}")


def test_line_that_is_not_text_is_refused_and_the_next_is_read(small, tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_bytes(b'{"response": "r1", "label": 1, "note": "\xff"}\r\n{"response": "r2", "label": 1}\r\n')
    rows, (refused,) = read_gold(path, small)
    assert rows["row"].to_pylist() == [2]
    assert f"{path} line 1: not JSON ('utf-8' codec can't decode byte 0xff" in refused


def test_text_beside_a_label_may_hold_any_separator(small):
    row = {"response": "r1", "label": 1, "text": "one\u2028two\x85three\x1cfour"}
    text = json.dumps(row, ensure_ascii=False)
    assert len(text.splitlines()) > 1
    rows, rejected = gold(small, text)
    assert (rows["row"].to_pylist(), rejected) == ([1], [])


def test_file_without_a_usable_label_is_an_error_that_says_why(small):
    with pytest.raises(
        ValueError, match=r"gold.jsonl: no usable gold label. .*line 1: label is None; .*line 3: label"
    ):
        gold(small, *[{"response": f"r{i}", "label": None} for i in range(5)])
    with pytest.raises(ValueError, match="no usable gold label"):
        gold(small)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_gold(small.path / "absent", small)


def test_labels_are_numbers_or_true_or_false(small):
    labels = [0, 1, 0.25, True, False, 1.0]
    rows, rejected = gold(small, *[{"response": f"r{i}", "label": label} for i, label in enumerate(labels)])
    assert rejected == []
    assert rows["label"].to_pylist() == [0.0, 1.0, 0.25, 1.0, 0.0, 1.0]
    assert_array_equal(examples(small, rows).gold, [0, 1, 0.25, 1, 0, 1])


def test_several_annotators_become_their_mean(small):
    votes = [("r2", 1), ("r3", 0), ("r2", 0), ("r2", 1), ("r2", 1)]
    for extra in ({}, {"prob": None}, {"prob": float("nan")}, {"prob": 0.5, "design": "stratified"}):
        rows, rejected = gold(small, *[{"response": name, "label": label, **extra} for name, label in votes])
        assert rejected == []
        found = examples(small, rows)
        assert_array_equal(found.gold, [np.nan, np.nan, 0.75, 0, np.nan, np.nan])
        prob = extra.get("prob") or np.nan
        assert_array_equal(found.gold_prob, [np.nan, np.nan, prob, prob, np.nan, np.nan])
        design = STRATIFIED if "design" in extra else RANDOM
        assert_array_equal(found.gold_design, [NO_GOLD, NO_GOLD, design, design, NO_GOLD, NO_GOLD])


@pytest.mark.parametrize(
    "second",
    [{"design": "stratified", "prob": 0.5}, {"design": "random", "prob": 0.25}, {"design": "random"}],
)
def test_response_labelled_under_two_designs_is_reported_and_the_first_counts(small, second):
    rows, (sentence,) = gold(
        small,
        {"response": "r4", "label": 1, "design": "random", "prob": 0.5},
        {"response": "r4", "label": 0, **second},
    )
    assert sentence.endswith("gold.jsonl: response row 4 is labelled under two designs; the first is used")
    assert rows.select(["row", "label", "design", "prob"]).to_pylist() == [
        {"row": 4, "label": 0.5, "design": "random", "prob": 0.5}
    ]


def test_pairs_keep_both_rows_and_the_winner_and_label_no_response(small):
    rows, rejected = gold(
        small,
        {"a": "r1", "b": "r0", "winner": "r0", "design": "stratified", "prob": 0.5},
        {"a": "r1", "b": "r0", "winner": "r1"},
        {"a": "r2", "b": "r3", "winner": "tie"},
        {"a": "r3", "b": "r2", "winner": "both_bad"},
    )
    assert rejected == []
    assert [
        tuple(row[name] for name in ("row_a", "row_b", "winner", "design", "prob"))
        for row in rows.to_pylist()
    ] == [
        (1, 0, "b", "stratified", 0.5),
        (1, 0, "a", "random", None),
        (2, 3, "tie", "random", None),
        (3, 2, "both_bad", "random", None),
    ]
    assert rows["row"].null_count == rows["label"].null_count == 4
    found = examples(small, rows)
    assert not np.isfinite(found.gold).any()
    assert (found.gold_design == NO_GOLD).all()
    both, _ = gold(small, {"a": "r1", "b": "r0", "winner": "r0"}, {"response": "r1", "label": 1})
    assert_array_equal(examples(small, both).gold, [np.nan, 1, np.nan, np.nan, np.nan, np.nan])


def test_ids_may_be_integers_as_in_logs(tmp_path):
    store = made(tmp_path, re.sub(r'"id":"r(\d)"', r'"id":\1', good(3)))
    assert examples(store).response_id == ["0", "1", "2"]
    rows, rejected = gold(
        store, {"response": 1, "label": 1}, {"response": "2", "label": 0}, {"a": 0, "b": "1", "winner": 1}
    )
    assert rejected == []
    assert_array_equal(examples(store, rows).gold, [np.nan, 1, 0])
    assert rows.to_pylist()[0]["winner"] == "b"


def test_label_goes_to_the_standing_row_of_a_response_that_was_logged_twice(tmp_path):
    shown = json.loads(good(1))
    twice = [
        {**shown, "response": text, "received_at": f"2026-03-0{day}T00:00:00Z"}
        for text, day in (("late", 5), ("early", 4))
    ]
    for name, log in (("a", twice), ("b", twice[::-1])):
        (tmp_path / name).mkdir()
        store = made(tmp_path / name, lines(log))
        rows, _ = gold(store, {"response": "r0", "label": 1})
        found = examples(store, rows)
        assert_array_equal(found.gold, [1.0])
        assert data.texts(store, rows["row"].to_numpy())[1] == ["early"]


def test_id_that_two_sources_use_cannot_be_labelled(tmp_path):
    made(tmp_path, good(2))
    store = made(tmp_path, good(2, 1), name="other.jsonl", source="other")
    assert examples(store).response_id == ["r0", "r1", "r1", "r2"]
    rows, (refused,) = gold(store, {"response": "r1", "label": 1}, {"response": "r2", "label": 1})
    assert rows["row"].to_pylist() == [3]
    assert refused.endswith("line 1: response is 'r1', which is a response of several sources of this store")


def test_label_of_a_row_that_no_longer_stands_is_not_used(tmp_path):
    shown = {**json.loads(good(1)), "received_at": "2026-03-05T00:00:00Z"}
    store = made(tmp_path, lines([shown]))
    store.attach("gold", "mine", {}, gold(store, {"response": "r0", "label": 1})[0])
    assert_array_equal(examples(store).gold, [1.0])
    store = made(
        tmp_path, lines([{**shown, "response": "other", "received_at": "2026-03-04T00:00:00Z"}]), "2.jsonl"
    )
    assert_array_equal(examples(store).gold, [np.nan])


# What is kept beside the rows


def test_kept_gold_is_used_when_none_is_given_and_the_newest_wins(small):
    assert_array_equal(examples(small).gold, np.full(6, np.nan))
    for labels in ((0, 1), (1, 0.5)):
        rows, _ = gold(small, *[{"response": f"r{i}", "label": label} for i, label in enumerate(labels)])
        small.attach("gold", "mine", {"file": "gold.jsonl"}, rows)
        assert_array_equal(examples(small).gold[:2], labels)
        assert_array_equal(examples(Store.open(small.path)).gold[:2], labels)
    assert_array_equal(examples(small, gold=rows.slice(0, 1)).gold, [1, *[np.nan] * 5])


def test_what_is_attached_is_loaded_again(small):
    columns = pa.table({"row": np.arange(6), "p": np.linspace(0, 1, 6), "note": list("abcdef")})
    provenance = {"seed": np.int64(3), "rates": np.array([0.1, 0.2]), "on": np.bool_(True), "source": "fit"}
    name = small.attach("nuisances", "exposure", provenance, columns)
    assert re.fullmatch(r"exposure-[0-9a-f]{12}", name)
    said = {"seed": 3, "rates": [0.1, 0.2], "on": True, "source": "fit", "generation": 1}
    for store in (small, Store.open(small.path)):
        identity, document, back = store.load("nuisances")
        assert (identity, document) == (name, said)
        assert back.equals(columns)
    verdict = small.attach("audit", "audit", {"colour": "green"})
    assert small.load("audit") == (verdict, {"colour": "green", "generation": 1}, None)
    assert small.load("nuisances")[0] == name
    assert small.load("targets") is None
    assert not list(small.path.glob("attach-*"))
    assert events.verify(small.path)["generation"] == 1


def test_value_that_is_no_json_is_refused_and_nothing_is_kept(small):
    with pytest.raises(TypeError, match="set cannot be written as JSON"):
        small.attach("audit", "audit", {"colours": {"green"}})
    with pytest.raises(
        ValueError, match='folder is "golden"; it must be one of gold, nuisances, targets, audit'
    ):
        small.attach("golden", "mine", {}, pa.table({"row": [1]}))
    assert Store.open(small.path).ledger["attachments"] == []
    assert not list(small.path.glob("attach-*"))


def test_newest_attachment_wins_also_when_it_was_kept_before(small):
    first = small.attach("targets", "ips", {"number": 1})
    second = small.attach("targets", "ips", {"number": 2})
    other = small.attach("targets", "robust", {"number": 1})
    assert len({first, second, other}) == 3
    assert small.load("targets")[0] == other
    assert small.load("targets", "ips")[0] == second
    assert small.load("targets", first)[1]["number"] == 1
    assert small.load("targets", "absent") is None
    assert small.attach("targets", "ips", {"number": 1}) == first
    assert small.load("targets")[0] == small.load("targets", "ips")[0] == first
    assert len(small.ledger["attachments"]) == 3


def test_current_means_made_from_the_present_generation(small):
    old = small.attach("nuisances", "exposure", {})
    assert small.load("nuisances", current=True)[0] == old
    events.ingest(write(small.path.parent / "more.jsonl", good(2, 6)), small.path)
    store = Store.open(small.path)
    assert store.load("nuisances", current=True) is None
    assert store.load("nuisances")[0] == old
    new = store.attach("nuisances", "exposure", {})
    assert new != old
    assert store.load("nuisances", current=True)[:2] == (new, {"generation": 2})
    store.attach("nuisances", "exposure", {"made": "again"})
    shutil.rmtree(store.path / "nuisances")
    with pytest.raises(FileNotFoundError):
        store.load("nuisances")


def test_arrow_files_are_streams_that_come_back_as_they_were(tmp_path):
    columns = pa.table({"row": np.arange(40_000), "word": ["a", None] * 20_000})
    data.write_arrow(columns, tmp_path / "x.arrow")
    assert data.read_arrow(tmp_path / "x.arrow").equals(columns)
    with pa.memory_map(str(tmp_path / "x.arrow")) as source:
        assert [batch.num_rows for batch in pa.ipc.open_stream(source)] == [16_384, 16_384, 7_232]
    with pytest.raises(FileNotFoundError):
        data.read_arrow(tmp_path / "absent.arrow")
