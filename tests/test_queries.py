"""Databases: the store that lines give, read on from where the last commit ended, however a run ended."""

import json
import re
import sqlite3
import sys
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

import faults
import logs
from logs import books, write
from servers import postgresql
from test_privacy import holds
from unskew import _rust, cli, events
from unskew.events import databases

pytest.importorskip("adbc_driver_sqlite", reason="the extra `sql` is not installed")
pytestmark = pytest.mark.usefixtures("keyed")

CANARY = "canary/7f3a@word"
ENCODED = "canary%2F7f3a%40word"
COLUMNS = ("type", "id", "shown_at", "prompt", "response", "kind", "value", "at")


def rows(count, start=0):
    """Responses, each third with a thumb."""
    shown = [json.loads(line) for line in logs.good(count, start).splitlines()]
    thumbs = [
        json.loads(logs.THUMB % (f"f{number}", f"r{number}")) for number in range(start, start + count, 3)
    ]
    return shown + thumbs


def put(path, given):
    """Rows into the table `events` of a SQLite file, each with its `seq`."""
    with sqlite3.connect(path) as base:
        base.execute(f"CREATE TABLE IF NOT EXISTS events (seq INTEGER, {', '.join(COLUMNS)})")
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        values = [(seq, *(row.get(name) for name in COLUMNS)) for seq, row in given]
        base.executemany(f"INSERT INTO events VALUES ({marks})", values)
    base.close()
    return f"sqlite://{path}"


def lines_digest(folder, given):
    """Digest of the store that the rows give as lines."""
    known = [{**{name: row[name] for name in COLUMNS if name in row}, "seq": seq} for seq, row in given]
    return events.ingest(write(folder / "lines.jsonl", logs.lines(known)), folder / "lines").digest


def cursor_of(store):
    """Where the next run reads on."""
    return json.loads(_rust.open_store(str(store)))["sources"][-1].get("cursor")


def test_a_table_gives_the_store_that_lines_give_and_a_second_run_reads_nothing(tmp_path):
    given = list(enumerate(rows(30)))
    address = put(tmp_path / "log.db", given)
    asked = ["ingest", address, "--table", "events", "--cursor", "seq", "--json"]
    seen = CliRunner().invoke(cli.app, [*asked, "--dry-run"])
    assert json.loads(seen.output)["balance"]["committed"] == len(given)
    asked += ["--store", str(tmp_path / "store")]
    first, second = (json.loads(CliRunner().invoke(cli.app, asked).output) for _ in range(2))
    assert first["digest"] == second["digest"] == lines_digest(tmp_path, given)
    assert (first["committed"], second["committed"]) == (True, False)
    assert first["files"][0]["path"] == f"arrow:sqlite://{tmp_path}/log.db#events by seq"
    assert (second["balance"]["lines"], second["files"][0]["status"]) == (0, "unchanged")


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_come_between_runs_are_read_once_ties_at_the_boundary_too(tmp_path, seed):
    random = Random(seed)
    waiting, done, low = rows(40), [], 0
    random.shuffle(waiting)
    runs = 0
    while waiting:
        take = random.randint(0, 12)
        fresh = sorted((low + random.choice([0, 0, 1, 2, 5]), place) for place in range(len(waiting[:take])))
        fresh = [(seq, waiting[place]) for seq, place in fresh]
        waiting, done = waiting[take:], done + fresh
        address = put(tmp_path / "log.db", fresh)
        low = max([low, *(seq for seq, _ in fresh)])
        ties = sum(seq == low for seq, _ in done)
        report = events.ingest(events.Query(address, table="events", cursor="seq"), tmp_path / "store")
        assert report.total["committed"] == len(done)
        assert report.balance["lines"] <= len(fresh) + ties + 12
        runs += 1
    assert runs > 3
    assert report.digest == lines_digest(tmp_path, done)
    assert len(json.loads(_rust.open_store(str(tmp_path / "store")))["sources"]) == 1


def test_a_query_reads_by_its_own_words_and_another_one_starts_anew(tmp_path):
    address, store = put(tmp_path / "log.db", enumerate(rows(9))), tmp_path / "store"
    words = "SELECT *, seq * 2 AS twice FROM events -- all of them\n;"
    first = events.ingest(events.Query(address, query=words, cursor="twice"), store)
    again = events.ingest(events.Query(address, query=words + " ", cursor="twice"), store)
    assert (books(first)[:3], books(again)[:3]) == ((12, 12, 0), (12, 0, 12))
    assert not events.ingest(events.Query(address, query=words, cursor="twice"), store).committed
    assert words.split()[2] not in first.files[0]["path"]


def test_an_open_connection_is_read_on_under_its_name_and_stays_open(tmp_path):
    from adbc_driver_sqlite import dbapi

    address = put(tmp_path / "log.db", enumerate(rows(9)))
    with dbapi.connect(address.removeprefix("sqlite://")) as connection:
        words = "SELECT seq, type, id, shown_at, prompt, response FROM events WHERE type = 'impression'"
        asked = events.Query(connection, query=words, cursor="seq", name="prod")
        reports = [events.ingest(asked, tmp_path / "store") for _ in range(2)]
        assert [report.committed for report in reports] == [True, False]
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert reports[0].files[0]["path"].startswith("arrow:prod#query-")
    with pytest.raises(ValueError, match="an open connection needs a name"):
        events.Query(connection, table="events")


def test_a_run_that_fails_leaves_the_cursor_where_it_was(tmp_path):
    store = tmp_path / "store"
    asked = events.Query(put(tmp_path / "log.db", enumerate(rows(9))), table="events", cursor="seq")
    events.ingest(asked, store)
    put(tmp_path / "log.db", enumerate([{"type": "nonsense"} for _ in range(5)], 20))

    def stop(*_):
        raise RuntimeError("stopped")

    for faulty in ({"max_bad": 0}, {"progress": stop}):
        with pytest.raises((_rust.BudgetExceeded, RuntimeError)):
            events.ingest(asked, store, **faulty)
        assert cursor_of(store) == "11"
    assert books(events.ingest(asked, store)) == (6, 0, 1, 5, 0)
    assert cursor_of(store) == "24"


def test_a_run_that_is_killed_anywhere_leaves_rows_and_cursor_of_one_commit(tmp_path):
    (tmp_path / "work").mkdir()
    given = list(enumerate(rows(9)))
    address = put(tmp_path / "log.db", given)
    before = events.ingest(faults.meant([address]), tmp_path / "store").digest
    given += enumerate(rows(9, 9), len(given) - 1)
    put(tmp_path / "log.db", given[12:])
    asked = [("fsync", "kill"), ("link", "kill"), ("unlink", "kill"), ("fsync", "EIO")]
    done = faults.run(
        faults.build(tmp_path), do="sweeps", work=str(tmp_path / "work"), begin=str(tmp_path / "store"),
        inputs=[address], faults=asked,
    )  # fmt: skip
    after = lines_digest(tmp_path, given)
    for name, results in done.items():
        assert results, name
        for result in results:
            assert result["left"] in (before, after), (name, result)
            assert (result["then"], result["rest"], result["books"]["committed"]) == (after, [], 24), result
    assert {result["left"] for results in done.values() for result in results} == {before, after}


WRONG = [
    ({"table": "nope"}, ValueError, r"no such table: nope\. Nothing was read"),
    ({"query": "SELEC 1"}, ValueError, "syntax error. Nothing was read"),
    ({"table": "events", "cursor": "nope"}, ValueError, "no column is named 'nope'; found seq, type, id"),
    (
        {"table": "events", "cursor": "value"},
        ValueError,
        r"'value' is null in 9 rows, which no run would read",
    ),
    (
        {"query": "SELECT *, x'00' AS b FROM events", "cursor": "b"},
        ValueError,
        "'b' is binary, which has no order",
    ),
    (
        {"query": "SELECT 'a\\b' AS c, * FROM events", "cursor": "c"},
        ValueError,
        "nothing can be read on from there",
    ),
    ({}, ValueError, "either a table or a query"),
    ({"table": "a", "query": "b"}, ValueError, "either a table or a query"),
]


@pytest.mark.parametrize(("asked", "kind", "said"), WRONG)
def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path, asked, kind, said):
    address = put(tmp_path / "log.db", enumerate(rows(9)))
    with pytest.raises(kind, match=said):
        events.ingest(events.Query(address, **asked), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_table_that_lost_what_was_read_is_refused_and_an_empty_one_is_nothing_new(tmp_path):
    address, store = put(tmp_path / "log.db", enumerate(rows(9))), tmp_path / "store"
    asked = events.Query(address, table="events", cursor="seq")
    events.ingest(asked, store)
    with sqlite3.connect(tmp_path / "log.db") as base:
        base.execute("DELETE FROM events WHERE seq > 4")
    with pytest.raises(OSError, match="no row has seq at or above 11, which was read before"):
        events.ingest(asked, store)
    with sqlite3.connect(tmp_path / "log.db") as base:
        base.execute("DELETE FROM events")
    assert not events.ingest(asked, store).committed
    assert cursor_of(store) == "11"


def test_a_table_without_rows_is_read_from_its_first_one_later(tmp_path):
    address, store = put(tmp_path / "log.db", []), tmp_path / "store"
    asked = events.Query(address, table="events", cursor="seq")
    assert [events.ingest(asked, store).committed for _ in range(2)] == [True, False]
    put(tmp_path / "log.db", enumerate(rows(9)))
    assert events.ingest(asked, store).balance["committed"] == 12


UNSOUND = [
    f"postgresql://me:{CANARY}@host/base",
    f"postgresql://me:{CANARY}#@host/base",
    f"postgresql://me:{CANARY}",
    f"postgresql://{CANARY}",
    "postgresql://me:canary/base",
    f"{CANARY}",
    f"postgresql://host/base?password={CANARY}",
]


@pytest.mark.parametrize("address", UNSOUND)
def test_an_address_that_may_be_misread_is_not_repeated(address):
    with pytest.raises(ValueError, match="the address of a database must be") as caught:
        events.Query(address, table="events")
    assert "canary" not in str(caught.value)


def test_a_missing_driver_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch, capsys):
    address = put(tmp_path / "log.db", enumerate(rows(3)))
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite", None)
    monkeypatch.delitem(sys.modules, "adbc_driver_sqlite.dbapi", raising=False)
    with pytest.raises(ModuleNotFoundError) as caught:
        events.ingest(events.Query(address, table="events"), tmp_path / "store")
    assert cli.explain(caught.value) == cli.ExitCode.WRONG_USE
    assert "pip install 'unskew[sql]'" in capsys.readouterr().err
    monkeypatch.undo()
    with pytest.raises(ValueError, match="no driver adbc_driver_nosuchbase is installed; postgresql"):
        events.ingest(events.Query("nosuchbase://host/x", table="events"), tmp_path / "store")
    with pytest.raises(FileNotFoundError, match="no such file"):
        events.ingest(events.Query(f"sqlite://{tmp_path}/none.db", table="events"), tmp_path / "store")


# ------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def postgres():
    pytest.importorskip("adbc_driver_postgresql", reason="the extra `sql` is not installed")
    with postgresql() as address:
        yield address


TABLE = """
CREATE TABLE "{name}" (
    id uuid, type text NOT NULL, shown_at timestamptz, prompt text, response text, offered jsonb,
    policy_prob numeric, about uuid, kind text, value numeric, at timestamptz,
    changed timestamptz, seq bigint, rank numeric, word text
)
"""
SHOWN = """
INSERT INTO "{name}" (id, type, shown_at, prompt, response, offered, policy_prob, changed, seq, rank, word)
SELECT md5('r' || n)::uuid, 'impression', timestamptz '2026-05-04 00:00Z' + n * interval '1.000001 s', 'p',
    'r' || n, '["thumbs"]', 0.25, timestamptz '2026-05-04 00:00Z' + n / 3 * interval '1.000001 s', n / 3,
    n / 3 * 0.1, 'it''s ' || lpad((n / 3)::text, 4, '0')
FROM generate_series({first}, {last}) AS n
"""
MAPPING = """
title = "a table"
source = "base"
schemas = ["1"]
[[record]]
name = "shown"
type = "impression"
when = {type = "impression"}
[record.columns]
id = "id"
shown_at = "shown_at"
prompt = "prompt"
response = "response"
offered = {is = ["thumbs"]}
policy_prob = {from = "policy_prob", as = "number"}
"""


def execute(address, *statements):
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(address) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        connection.commit()


@pytest.mark.parametrize("cursor", ["changed", "seq", "rank", "word"])
def test_postgresql_is_read_on_by_times_numbers_and_text(postgres, tmp_path, cursor):
    name, store = f"Log of {cursor}", tmp_path / "store"
    mapping = write(tmp_path / "base.toml", MAPPING)
    asked = events.Query(postgres, table=name, cursor=cursor)
    execute(postgres, TABLE.format(name=name), SHOWN.format(name=name, first=1, last=100))
    first = events.ingest(asked, store, mapping=mapping)
    assert books(first) == (100, 100, 0, 0, 0)
    assert not events.ingest(asked, store, mapping=mapping).committed
    execute(postgres, SHOWN.format(name=name, first=101, last=150))  # 101 shares its cursor with 99 and 100
    second = events.ingest(asked, store, mapping=mapping)
    assert books(second) == (52, 50, 2, 0, 0)
    whole = events.ingest(events.Query(postgres, table=name), tmp_path / "whole", mapping=mapping)
    assert (second.digest, second.live["impressions"]) == (whole.digest, 150)


def test_canonical_rows_of_postgresql_have_its_types(postgres, tmp_path):
    execute(postgres, TABLE.format(name="events"), SHOWN.format(name="events", first=1, last=9))
    execute(
        postgres,
        "INSERT INTO events (id, type, about, kind, value, at, seq) SELECT md5('f' || n)::uuid, 'feedback', "
        "md5('r' || n)::uuid, 'rating', 4.5, timestamptz '2026-05-04 01:00Z', 100 + n "
        "FROM generate_series(1, 4) AS n",
    )
    words = "SELECT id, type, shown_at, prompt, offered, policy_prob::float8, kind, value, at, seq, " \
        "coalesce(about::text, response) AS response FROM public.events"  # fmt: skip
    asked = [
        "ingest",
        postgres,
        "--query",
        words,
        "--cursor",
        "seq",
        "--store",
        str(tmp_path / "store"),
        "--json",
    ]
    report = json.loads(CliRunner().invoke(cli.app, asked).output)
    assert (report["balance"]["committed"], report["states"]) == (13, {"attributed": 4})
    assert report["live"] == {"feedback": 4, "impressions": 9, "silent": 5}


def test_a_password_is_nowhere_in_what_is_written_or_said(postgres, tmp_path, capsys):
    execute(postgres, "CREATE TABLE people (id int, type text)", "INSERT INTO people VALUES (1, 'x')")
    secret = postgres.replace("tester@", f"tester:{ENCODED}@") + f"&passfile={ENCODED}"
    away = secret.replace("host=", "host=/nowhere")
    store = tmp_path / "store"
    asked = ["ingest", secret, "--table", "people", "--cursor", "id", "--store", str(store)]
    done = CliRunner().invoke(cli.app, [*asked, "--report", str(tmp_path / "report.json")])
    assert done.exit_code == 0, done.output
    said = done.output + CliRunner().invoke(cli.app, [*asked, "--json", "--dry-run"]).output
    codes = []
    for address, table, cursor in [
        (away, "people", "id"),
        (secret, "nope", "id"),
        (secret, "people", "nope"),
        (secret, ENCODED, "id"),
        (secret + "&wrong=1", "people", "id"),
        (secret + f"&sslmode={ENCODED}", "people", "id"),
        (secret.replace("/postgres", f"/{ENCODED.replace('%', '%25')}"), "people", "id"),
    ]:
        with pytest.raises((OSError, ValueError)) as caught:
            events.ingest(events.Query(address, table=table, cursor=cursor), store)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        codes.append(int(cli.explain(caught.value)))
    said += capsys.readouterr().err + repr(events.Query(secret, table="people"))
    assert codes[:4] == [4, 2, 2, 2]
    assert codes[4:] == [4, 4, 4]
    assert "Nothing was read" in said
    for form in ("canary/", "canary%2F7f3a%40word", "7f3a"):
        assert holds(tmp_path, form) == []
    assert re.search(r"postgresql:///postgres\?host=/", said)


def test_a_server_that_is_not_there_is_an_error_of_input(tmp_path):
    pytest.importorskip("adbc_driver_postgresql", reason="the extra `sql` is not installed")
    with pytest.raises(
        OSError, match=rf"postgresql:///x\?host={tmp_path}: .*No such file or directory"
    ) as caught:
        events.ingest(events.Query(f"postgresql://me@/x?host={tmp_path}", table="t"), tmp_path / "store")
    assert cli.explain(caught.value) == cli.ExitCode.IO


def test_the_page_names_flags_that_exist_and_the_number_of_rows_that_is_set():
    text = (Path(__file__).resolve().parents[1] / "docs" / "databases.md").read_text("utf-8")
    known = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["ingest", "--help"]).output
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= set(re.findall(r"--[a-z][a-z-]+", known))
    assert f"{databases.UNTYPED['adbc.sqlite.query.batch_rows']:,} rows" in text


@pytest.mark.parametrize("address", ["sqlite:///var/log/chat.db", "sqlite:////var/log/chat.db"])
def test_an_absolute_path_is_known_with_three_slashes_or_four(address):
    assert databases.taken_apart(address) == ("sqlite:///var/log/chat.db", [])
