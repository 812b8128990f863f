"""Small parts made few: the same rows, digest and exports, whatever interrupts it; nothing is read again."""

import json
from random import Random

import pytest
from typer.testing import CliRunner

import faults
import logs
from logs import good, table, write
from test_privacy import holds, live
from unskew import _rust, cli, events, export

pytestmark = pytest.mark.usefixtures("keyed")

TABLES = ("impressions", "feedback", "observations", "pairs", "cells", "quarantine")


def parts(store):
    """Rows of the parts of each table."""
    known = json.loads(_rust.open_store(str(store)))["parts"]
    return {name: [part["rows"] for part in known[name]] for name in TABLES}


def many(folder, random, runs=6):
    """A store of many small runs over random logs with refused lines, and the files."""
    files = []
    for number in range(runs):
        text = logs.lines(logs.random_log(random)) + "garbage\n" * random.randint(0, 2)
        files.append(write(folder / f"{number}.jsonl", text + random.choice(["", '{"torn'])))
        report = events.ingest(files[-1], folder / "store")
    return folder / "store", files, report


@pytest.mark.parametrize("count", [10, pytest.param(500, marks=pytest.mark.exhaustive)])
def test_rows_digest_and_books_stay_and_parts_are_few(tmp_path, count):
    for seed in range(count):
        folder = tmp_path / str(seed)
        folder.mkdir()
        store, files, before = many(folder, Random(seed))
        rows = {name: table(store, name) for name in TABLES}
        ledger = json.loads(_rust.open_store(str(store)))
        many_parts = parts(store)
        done = events.compact(store)
        assert done["committed"]
        assert (done["digest"], done["generation"]) == (before.digest, before.generation)
        assert {name: table(store, name) for name in TABLES} == rows
        few = parts(store)
        assert max(map(len, few.values())) <= 2  # refusals that may change are a part of their own
        assert len(many_parts["impressions"]) > 1
        assert [n for n in few["observations"] if n] == [n for n in few["impressions"] if n]
        assert events.verify(store)["digest"] == before.digest
        after = json.loads(_rust.open_store(str(store)))
        for changed in ("ledger", "parts", "erasure"):
            ledger.pop(changed, None), after.pop(changed, None)
        assert after == ledger
        assert not events.compact(store)["committed"]
        assert not events.ingest(files, store).committed
        assert faults.unnamed(str(store)) == []


def test_a_store_goes_on_after_it_as_one_that_was_never_joined(tmp_path):
    store, files, _ = many(tmp_path, Random(7), runs=4)
    events.compact(store)
    with files[1].open("a") as log:
        log.write("\n" + good(5, 100))
    extra = write(tmp_path / "more.jsonl", logs.lines(logs.random_log(Random(99))))
    joined = events.ingest([*files, extra], store)
    plain = events.ingest([*files, extra], tmp_path / "plain")
    assert (joined.digest, joined.total, joined.states) == (plain.digest, plain.total, plain.states)
    assert live(store) == live(tmp_path / "plain")
    assert events.compact(store)["committed"]
    assert events.verify(store)["digest"] == plain.digest
    assert faults.unnamed(str(store)) == []


def test_exports_gold_and_what_was_made_from_rows_stay(tmp_path):
    store, _, report = many(tmp_path, Random(3))
    _rust.attach(str(store), "gold", "x", [str(write(tmp_path / "x.json", "{}"))], report.generation)
    _rust.attach(str(store), "nuisances", "y", [str(write(tmp_path / "y.json", "{}"))], report.generation)
    kept = json.loads(_rust.open_store(str(store)))["attachments"]
    for name in ("impressions", "feedback"):
        export.export(store, tmp_path / f"{name}.before.jsonl", table=name)
    said = CliRunner().invoke(cli.app, ["compact", str(store)])
    assert said.exit_code == 0, said.output
    for name in ("impressions", "feedback"):
        export.export(store, tmp_path / f"{name}.after.jsonl", table=name)
        assert (tmp_path / f"{name}.after.jsonl").read_bytes() == (
            tmp_path / f"{name}.before.jsonl"
        ).read_bytes()
    assert json.loads(_rust.open_store(str(store)))["attachments"] == kept
    said = CliRunner().invoke(cli.app, ["compact", str(store)])
    assert "has nothing to join" in " ".join(said.output.split())


def test_somebody_who_was_erased_stays_erased_and_can_be_erased_after(tmp_path):
    for number, user in enumerate(["tom", "ada", "eve"]):
        rows = [json.loads(line) for line in good(3, number * 3).splitlines()]
        rows = [row | {"user": user, "response": f"words of {user}"} for row in rows]
        events.ingest(write(tmp_path / f"{user}.jsonl", logs.lines(rows)), tmp_path / "store")
    store = tmp_path / "store"
    events.erase("tom", store)
    events.compact(store)
    assert holds(store, "words of tom") == []
    events.erase("ada", store)
    assert holds(store, "words of ada") == []
    events.ingest([tmp_path / "tom.jsonl", tmp_path / "ada.jsonl"], store)
    assert table(store, "impressions")["response"].to_pylist() == [""] * 6 + ["words of eve"] * 3
    assert parts(store)["impressions"] == [9]


def test_a_damaged_part_is_not_carried_on(tmp_path):
    store, _, _ = many(tmp_path, Random(5))
    name = json.loads(_rust.open_store(str(store)))["parts"]["feedback"][1]["path"]
    bytes_ = bytearray((store / name).read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    (store / name).write_bytes(bytes_)
    before = (store / "ledger").iterdir()
    with pytest.raises(_rust.ChecksumError, match=name):
        events.compact(store)
    assert sorted(before) == sorted((store / "ledger").iterdir())
    assert faults.unnamed(str(store)) == []
    with pytest.raises(FileNotFoundError, match="no store here"):
        events.compact(tmp_path / "none")


FEW = [("link", "kill"), ("unlink", "kill"), ("fsync", "EIO"), ("write", "ENOSPC")]
ALL = [*FEW, ("any", "kill"), ("write", "tear"), ("link", "EIO"), ("open", "EIO"), ("write", "short")]


@pytest.mark.parametrize("asked", [FEW, pytest.param(ALL, marks=pytest.mark.exhaustive)], ids=["few", "all"])
def test_a_fault_at_every_call_leaves_a_whole_store_of_many_parts_or_of_few(tmp_path, asked):
    store, files, before = many(tmp_path, Random(1), runs=3)
    (tmp_path / "work").mkdir()
    done = faults.run(
        faults.build(tmp_path), do="sweeps", work=str(tmp_path / "work"), begin=str(store),
        inputs=[str(path) for path in files], faults=asked, compact=True,
    )  # fmt: skip
    events.compact(store)
    few = sum(map(len, parts(store).values()))
    for name, results in done.items():
        assert results, name
        for result in results:
            assert (result["left"], result["then"]) == (before.digest, before.digest), (name, result)
            assert (result["again"], result["parts"], result["rest"]) == (False, few, []), (name, result)
            assert result["books"] == dict(before.total), (name, result)
            if result["code"] == 4:
                assert result["unnamed"] == [] or "open" in name, (name, result)
        assert {result["code"] for result in results} <= (
            {-9} if "kill" in name or "tear" in name else {0, 4}
        )
