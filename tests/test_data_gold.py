"""Gold labels by row: joined, refused by name, averaged, kept beside the store."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import stored
from logs import good, lines, write
from stored import made
from unskew import data
from unskew.data import NO_GOLD, RANDOM, STRATIFIED, Store, examples, read_gold

pytestmark = pytest.mark.usefixtures("keyed")


@pytest.fixture(scope="module")
def product(tmp_path_factory, keyed):
    return stored.product(tmp_path_factory.mktemp("product"))


@pytest.fixture
def small(tmp_path):
    return stored.small(tmp_path)


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


def test_kept_gold_is_used_when_none_is_given_and_the_newest_wins(small):
    assert_array_equal(examples(small).gold, np.full(6, np.nan))
    for labels in ((0, 1), (1, 0.5)):
        rows, _ = gold(small, *[{"response": f"r{i}", "label": label} for i, label in enumerate(labels)])
        small.attach("gold", "mine", {"file": "gold.jsonl"}, rows)
        assert_array_equal(examples(small).gold[:2], labels)
        assert_array_equal(examples(Store.open(small.path)).gold[:2], labels)
    assert_array_equal(examples(small, gold=rows.slice(0, 1)).gold, [1, *[np.nan] * 5])
