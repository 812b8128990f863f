"""Choices as columns: joined with their pairs, ties counted, gold in either order."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from chosen import choice, couple, ingest, shown, write
from unskew import data
from unskew.data import NO_GOLD, RANDOM, STRATIFIED, Store

NAN = np.nan


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
