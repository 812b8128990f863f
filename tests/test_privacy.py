"""People are in a store only as keyed hashes, and one of them can be taken out of it without a trace."""

import json
import re
from random import Random

import pytest
from typer.testing import CliRunner

import faults
import logs
from logs import table, write
from unskew import _rust, cli, events, export

CANARY = "canary-7f3a@example.org"
KEY = "a key for these tests only"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("UNSKEW_KEY", KEY)


def holds(folder, text):
    """Files below a folder in which the text occurs, in UTF-8 or UTF-16, or as hexadecimal digits."""
    forms = {text.encode(), text.encode("utf-16-le"), text.encode().hex().encode()}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    found = [path for path in files if any(form in path.read_bytes() for form in forms)]
    return found + [path for path in folder.rglob("*") if text in path.name]


def canary_log():
    """Rows that hold the id wherever a person may stand, and refused ones that hold it anywhere at all."""
    shown = {"type": "impression", "shown_at": "2026-03-02T00:00:00Z", "prompt": "p", "response": "r"}
    given = {"type": "feedback", "response": "r1", "kind": "copy", "at": "2026-03-02T00:00:00Z"}
    rows = [
        shown | {"id": "r1", "user": CANARY, "session": CANARY},
        given | {"id": "f1", "user": CANARY},
        {"type": "feedback", "id": "f2", "session": CANARY, "kind": "copy", "at": "2026-03-02T00:00:00Z"},
        {"type": "choice", "id": "c", "request": "q", "winner": "tie", "user": CANARY, "at": given["at"]},
        shown | {"id": "r2", "user": CANARY, "slot": CANARY},
        given | {"id": "f3", "user": CANARY, "kind": CANARY},
        given | {"id": "f4", "at": CANARY},
        given | {"id": "f5", "actor": CANARY},
        given | {"id": "f6", "op": CANARY},
        given | {"id": "f7", "kind": "rating", "value": CANARY},
        shown | {"id": "r3", "offered": [CANARY]},
        shown | {"id": "r4", "messages": [{CANARY: CANARY}]},
        shown | {"id": "r5", "policy_prob": CANARY},
        {"type": CANARY, "id": "x"},
        [CANARY],
    ]
    broken = [
        f'{{"id":"{CANARY}',
        f'"{CANARY}"',
        CANARY,
        f'{{"{CANARY}":1,"{CANARY}":2}}',
        f'{{"a":{CANARY}}}',
    ]
    return logs.lines(rows) + "".join(line + "\n" for line in broken)


def test_an_id_of_a_person_is_nowhere_in_what_is_written_or_said(tmp_path):
    path = write(tmp_path / "log.jsonl", canary_log())
    said = CliRunner().invoke(
        cli.app,
        [
            "ingest",
            str(path),
            "--store",
            str(tmp_path / "store"),
            "--report",
            str(tmp_path / "store" / "r.json"),
        ],
    )
    assert said.exit_code == 0, said.output
    report = json.loads((tmp_path / "store" / "r.json").read_text())
    assert report["balance"] == {"lines": 20, "committed": 4, "duplicate": 0, "quarantined": 16, "blank": 0}
    assert CANARY not in said.output
    for secret in (CANARY, KEY):
        assert holds(tmp_path / "store", secret) == []
    events.ingest(path, tmp_path / "raw", keep_raw=True)
    assert len(holds(tmp_path / "raw", CANARY)) == 1  # the quarantine, when asked to keep the bytes


MAIL, MAILS, IP, V6 = "ada.l@mail.example.org", "ada.l%40mail.example.org", "203.0.113.77", "2001:db8::77"


def addressed_log():
    """Rows that hold addresses in fields that nobody learns from, and each once in a text."""
    shown = {"type": "impression", "shown_at": "2026-03-02T00:00:00Z", "prompt": "p", "response": "r"}
    given = {"type": "feedback", "response": "r0", "kind": "copy", "at": "2026-03-02T00:00:00Z"}
    fields = [
        {"user_email": MAIL, "plan": "pro"},
        {"meta": {"client_ip": IP, "at": {"peer": [V6, "kept"]}}},
        {"meta": f'{{"contact": "Ada <{MAIL}>", "n": 1}}', "link": f"https://x.org/?to={MAILS}"},
        {"x-forwarded-for": f"{IP}, 10.0.0.1", "ip": 3405803853},
        {"email": {"at": "somewhere", "verified": True}, "verified": True},
    ]
    rows = [shown | {"id": f"r{number}"} | more for number, more in enumerate(fields)]
    rows += [given | {"id": f"f{number}"} | more for number, more in enumerate(fields)]
    message = {"role": "user", "content": "hello", "name": MAIL, "metadata": {"ip": IP}}
    return [*rows, shown | {"id": "m", "messages": [message, {"role": "assistant", "content": "hi"}]}]


def test_addresses_in_fields_that_nobody_learns_from_are_left_out_and_counted(tmp_path):
    path, store = write(tmp_path / "log.jsonl", logs.lines(addressed_log())), tmp_path / "store"
    asked = ["ingest", str(path), "--store", str(store)]
    assert events.dry_run(path).addresses == 18
    said = CliRunner().invoke(cli.app, [*asked, "--report", str(store / "r.json")])
    assert said.exit_code == 0, said.output
    assert json.loads((store / "r.json").read_text())["addresses"] == 18
    assert re.search("addresses left out +│? *18", said.output)
    for address in (MAIL, MAILS, IP, V6, "3405803853"):
        assert holds(store, address) == []
    kept = table(store, "impressions")
    assert kept["extra"].to_pylist() == [
        '{"plan":"pro"}', '{"meta":{"at":{"peer":["kept"]}}}', '{"meta":"{\\"n\\":1}"}', None,
        '{"verified":true}', None,
    ]  # fmt: skip
    assert json.loads(kept["messages"][5].as_py())[0] == {"role": "user", "content": "hello", "metadata": {}}
    assert not events.ingest(path, store).committed
    assert events.ingest(path, store).addresses == 0


@pytest.mark.parametrize(("strings", "lists"), [(1, 62), (10, 60), (17, 6)])
def test_an_address_is_found_below_any_depth_of_json_in_strings(tmp_path, strings, lists):
    """Every string in a string doubles its backslashes, so that a line of 16 MB ends what may be nested."""
    hidden = CANARY
    for _ in range(strings):
        hidden = json.dumps(json.loads("[" * lists + json.dumps(hidden) + "]" * lists))
    path = write(
        tmp_path / "log.jsonl", json.dumps(json.loads(logs.good(1)) | {"meta": {"a": hidden}}) + "\n"
    )
    report = events.ingest(path, tmp_path / "store")
    assert (report.balance["committed"], report.addresses) == (1, 1)
    assert holds(tmp_path / "store", CANARY) == []


def test_addresses_stay_in_texts_and_everywhere_when_that_is_asked(tmp_path):
    text = f"write to {MAIL} from {IP}"
    row = {"type": "impression", "id": "r", "shown_at": "2026-03-02T00:00:00Z", "response": text}
    row |= {"messages": [{"role": "user", "content": text, "id": 1}]}
    report = events.ingest(write(tmp_path / "log.jsonl", logs.lines([row])), tmp_path / "store")
    assert report.addresses == 0
    kept = table(tmp_path / "store", "impressions")
    assert (kept["response"][0].as_py(), kept["prompt"][0].as_py()) == (text, f"user: {text}")
    path = write(tmp_path / "more.jsonl", logs.lines(addressed_log()))
    asked = ["ingest", str(path), "--store", str(tmp_path / "whole"), "--keep-addresses", "--json"]
    assert json.loads(CliRunner().invoke(cli.app, asked).output)["addresses"] == 0
    assert holds(tmp_path / "whole", MAIL)
    given = [json.loads(row) for row in table(tmp_path / "whole", "feedback")["extra"].to_pylist()]
    names = ("type", "id", "response", "kind", "at")
    assert given == [{k: v for k, v in row.items() if k not in names} for row in addressed_log()[5:10]]


def own(row, user, theirs):
    """Whether a row is of the user, as `events.erase` says; `theirs` are keys of their impressions alone."""
    if row["type"] == "impression" or "user" in row:
        return row.get("user") == user
    about = next(((name, row[name]) for name in ("response", "request", "session") if name in row), None)
    if row["type"] == "choice":
        about = ("request", row["request"])
    return about in theirs


def without(log, user):
    """The log as if the user had never been."""
    keys = {True: set(), False: set()}
    for row in log:
        if row["type"] == "impression":
            names = (("response", "id"), ("request", "request"), ("session", "session"))
            keys[row.get("user") == user] |= {(role, row[name]) for role, name in names if name in row}
    theirs = keys[True] - keys[False]
    return [row for row in log if not own(row, user, theirs)]


def live(store):
    """Standing observations by response id, cells, and pairs by response ids."""
    names = table(store, "impressions")["response_id"].to_pylist()
    rows = dict(zip(names, table(store, "observations").to_pylist(), strict=True))
    pairs = table(store, "pairs").to_pylist()
    return (
        {name: row for name, row in rows.items() if row["live"]},
        table(store, "cells").to_pylist(),
        sorted(
            (names[pair["row_a"]], names[pair["row_b"]], str(pair["winner"]), pair["source"])
            for pair in pairs
        ),
    )


def check_erasure(folder, random):
    """A random log without a user equals the store after that user was erased."""
    log = logs.random_log(random)
    for row in log:
        row.setdefault("received_at", "2026-03-01T00:00:00Z")  # so that nobody wins an id by its content
        if "user" not in row and random.random() < 0.3:
            row["user"] = random.choice(["u1", "u3"])
        if row.get("user") == "u1":
            for field in ("response", "prompt") if row["type"] == "impression" else ("comment",):
                row[field] = f"words of mary {random.random()}"
    ids = {}
    log = [row for row in log if ids.setdefault((row["type"], row["id"]), row.get("user")) == row.get("user")]
    half = len(log) // 2
    for number, part in enumerate((log[:half], log[half:])):
        before = events.ingest(write(folder / f"{number}.jsonl", logs.lines(part)), folder / "store")
    clean = events.ingest(write(folder / "clean.jsonl", logs.lines(without(log, "u1"))), folder / "clean")
    erased = events.erase("u1", folder / "store", memory=random.choice([None, "1B", "300B", "4KB"]))
    assert erased["digest"] == clean.digest
    assert erased["committed"] == (clean.digest != before.digest) or erased["feedback"] > 0
    assert live(folder / "store") == live(folder / "clean")
    ledger = json.loads(_rust.open_store(str(folder / "store")))
    assert (ledger["states"], ledger["live"], ledger["kinds"]) == (clean.states, clean.live, clean.kinds)
    assert ledger["balance"]["lines"] == sum(v for name, v in ledger["balance"].items() if name != "lines")
    assert ledger["balance"]["committed"] == clean.total["committed"]
    assert holds(folder / "store", "words of mary") == []
    assert events.verify(folder / "store")["digest"] == clean.digest
    assert not events.erase("u1", folder / "store")["committed"]
    again = events.ingest([folder / "0.jsonl", folder / "1.jsonl"], folder / "store")
    assert not again.committed


@pytest.mark.parametrize("count", [25, pytest.param(1_000, marks=pytest.mark.exhaustive)])
def test_a_store_after_an_erasure_is_that_of_a_log_without_the_person(tmp_path, count):
    for seed in range(count):
        folder = tmp_path / str(seed)
        folder.mkdir()
        check_erasure(folder, Random(seed))


def test_an_erasure_keeps_rows_and_gold_where_they_are_and_drops_the_rest(tmp_path):
    store = tmp_path / "store"
    rows = [json.loads(line) for line in logs.good(6).splitlines()]
    rows[3] |= {"user": "tom", "response": "words of tom"}
    given = [json.loads(logs.THUMB % ("f1", "r3")), json.loads(logs.THUMB % ("f2", "r4"))]
    path = write(tmp_path / "log.jsonl", logs.lines(rows + given) + "refused words of tom\n")
    events.ingest(path, store, keep_raw=True)
    for folder in ("gold", "audit"):
        _rust.attach(str(store), folder, "x", [str(write(tmp_path / "x.json", "{}"))], 1)
    (store / "features").mkdir()
    write(store / "features" / "cache", "words of tom")
    said = CliRunner().invoke(cli.app, ["erase", "tom", "--store", str(store), "--json"])
    assert said.exit_code == 0, said.output
    done = json.loads(said.output)
    assert (done["committed"], done["impressions"], done["feedback"], done["generation"]) == (True, 1, 1, 2)
    assert table(store, "impressions")["response_id"].to_pylist() == ["r0", "r1", "r2", "", "r4", "r5"]
    assert export.export(store, tmp_path / "rows.jsonl")["rows"] == 5
    assert export.export(store, tmp_path / "given.jsonl", table="feedback")["rows"] == 1
    kept = json.loads(_rust.open_store(str(store)))["attachments"]
    assert [attachment["folder"] for attachment in kept] == ["gold"]
    assert table(store, "quarantine")["raw"].to_pylist() == [None]
    assert holds(store, "words of tom") == []
    assert faults.unnamed(str(store)) == []
    none = CliRunner().invoke(cli.app, ["erase", "nobody", "--store", str(tmp_path / "none")])
    assert none.exit_code == 1 or isinstance(none.exception, FileNotFoundError)


COMMIT = [("fsync", "kill"), ("link", "kill"), ("unlink", "kill")]
ALL = [("any", "kill"), ("fsync", "EIO"), ("write", "ENOSPC"), ("link", "EIO")]


@pytest.mark.parametrize(
    ("asked", "memory"),
    [
        pytest.param(COMMIT, None, id="commit"),
        pytest.param([("write", "ENOSPC"), ("any", "kill")], "1B", id="spilled"),
        pytest.param(ALL, None, id="all", marks=pytest.mark.exhaustive),
    ],
)
def test_an_erasure_that_dies_anywhere_leaves_the_person_in_or_out_whole(tmp_path, asked, memory):
    store = tmp_path / "store"
    rows = [json.loads(line) for line in logs.good(6).splitlines()]
    rows[3] |= {"user": "tom", "response": "words of tom"}
    before = events.ingest(write(tmp_path / "log.jsonl", logs.lines(rows)), store).digest
    clean = write(tmp_path / "clean.jsonl", logs.lines(rows[:3] + rows[4:]))
    after = events.ingest(clean, tmp_path / "clean").digest
    (tmp_path / "work").mkdir()
    done = faults.run(
        faults.build(tmp_path), do="sweeps", work=str(tmp_path / "work"), begin=str(store),
        inputs=[str(tmp_path / "log.jsonl")], faults=asked, erase="tom", memory=memory,
    )  # fmt: skip
    for name, results in done.items():
        assert results, name
        for result in results:
            assert result["left"] in (before, after), result
            assert (result["then"], result["rest"], result["words"]) == (after, [], False), result
        assert {result["code"] for result in results} <= {-9, 4}
    said = "".join(result["said"] for result in done.get("write ENOSPC", []))
    assert ("/store/spill/" in said) == (memory is not None)
    assert re.fullmatch("[0-9a-f]{32}", after)
