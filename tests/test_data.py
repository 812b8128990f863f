"""The store as columns: against a slow reading of its tables, and what is kept beside it."""

import re
import shutil
from collections import Counter
from datetime import timedelta
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

import logs
import stored
from logs import THUMB, good, lines, table, write
from stored import made
from unskew import _rust, data, events, simulate
from unskew.data import NO_GOLD, Store, examples
from unskew.events import KINDS

pytestmark = pytest.mark.usefixtures("keyed")


@pytest.fixture(scope="module")
def product(tmp_path_factory, keyed):
    return stored.product(tmp_path_factory.mktemp("product"))


@pytest.fixture
def small(tmp_path):
    return stored.small(tmp_path)


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


def test_delays_of_a_kind_and_cells_are_those_of_the_tables(product):
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
    for name, code in zip(("surface", "slot", "model", "len_bucket"), data.cells(store, found), strict=True):
        true = [cells[cell][name] for cell in found.cell]
        assert len(set(zip(code.tolist(), true, strict=True))) == len(set(true)) == len(set(code.tolist()))


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


# What is kept beside the rows


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
