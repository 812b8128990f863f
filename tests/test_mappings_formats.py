"""Mapped records in every format: cells of CSV and TSV as texts, arrays and tables as the lines they are."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from typer.testing import CliRunner

from forms import compact, refused, shown
from test_mappings import mapping, write
from test_mappings_golden import CASES, rows
from unskew import cli, events

SLOTS = """\
,timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3,x
0,2019-11-24 00:00:00.046355+00:00,5,3,0,0.0294118,h0,h1,h2,h3,0.0
1,2019-11-24 00:00:01.046355+00:00,6,1,1,0.0294118,"h,0","h
1","h""2",h3,
2,2019-11-24 00:00:02.046355+00:00,,2,1,0.5,h0,h1,h2,h3,0.0
3,yesterday,8,2,1,0.5,"h
0",h1,h2,h3,0.0
4,2019-11-24 00:00:04.046355+00:00,9,1,0,never,h0,h1,h2,h3,0.0
,,,,,,,,,,
5,2019-11-24 00:00:05.046355+00:00,10,1,1,0.25,h0,h1,h2,h3,0.0
"""
VOTES = """
title = "votes"
source = "votes"
schemas = ["1"]
[[record]]
name = "turn"
type = "impression"
[record.columns]
id = "id"
shown_at = "ended"
prompt = "prompt"
response = "response"
policy_prob = "slot"
slot = "offered"
[[record]]
name = "vote"
type = "feedback"
each = "votes/*"
[record.columns]
id = { join = "{../id}-{#}" }
response = "../id"
at = "../ended"
kind = { is = "thumbs" }
value = "is"
"""


pytestmark = pytest.mark.usefixtures("keyed")


def run(*arguments: object) -> dict:
    done = CliRunner().invoke(cli.app, ["ingest", *map(str, arguments), "--json"])
    assert done.exit_code == 0, done.exception
    found: dict = json.loads(done.stdout)
    return found


def test_a_csv_file_is_read_as_lines_of_its_cells(tmp_path):
    records = list(csv.DictReader(io.StringIO(SLOTS, newline="")))
    log = write(tmp_path / "men.jsonl", *(compact(row) if any(row.values()) else "" for row in records))
    lines = run(log, "--source", "open_bandit", "--store", tmp_path / "lines")
    assert lines["live"] == {"impressions": 3, "silent": 1, "feedback": 3}
    assert (lines["balance"]["expanded"], lines["balance"]["blank"]) == (3, 1)
    assert [row["prompt"] for row in rows(tmp_path / "lines", "impressions")][1] == 'h,0/h\n1/h"2/h3'
    for name, comma in (("men.csv", ","), ("men.tsv", "\t")):
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=comma, lineterminator="\n").writerows(
            csv.reader(io.StringIO(SLOTS, newline=""))
        )
        log = tmp_path / name
        log.write_bytes(out.getvalue().encode())
        told = run(log, "--source", "open_bandit", "--dry-run")
        done = run(log, "--source", "open_bandit", "--store", tmp_path / name[-3:])
        assert done["digest"] == lines["digest"]
        assert done["balance"] == lines["balance"]
        assert told["balance"] | {"lines": 0} == {**lines["balance"], "lines": 0}
        assert told["unknown"] == ["x"]
        # Two records of one broken line; the lines of text before it count.
        assert [row[0] for row in refused(tmp_path / name[-3:])] == [6, 6, 8]
        assert [sample["line"] for sample in told["samples"]] == [6, 6, 8]


def test_a_mapped_csv_file_that_grows_is_read_on(tmp_path):
    log, whole = tmp_path / "men.csv", SLOTS.encode()
    options = {"source": "open_bandit", "max_bad": 99}
    for end in (40, 300, 430, len(whole)):
        log.write_bytes(whole[:end])
        grown = events.ingest(log, tmp_path / "grown", **options)
    done = events.ingest(log, tmp_path / "whole", **options)
    assert grown.digest == done.digest
    assert refused(tmp_path / "grown") == refused(tmp_path / "whole")


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_array_of_the_records_of_a_product_is_the_same_store(folder, tmp_path):
    product, logs, arrays = folder.parent.name, [], []
    for log in sorted(folder.glob("*.jsonl")):
        logs.append(log)
        records = [line for line in log.read_text("utf-8").splitlines() if line.strip()]
        arrays.append(write(tmp_path / f"{log.stem}.json", "[\n" + ",\n".join(records) + "\n]"))
    lines = events.ingest(logs, tmp_path / "lines", source=product)
    array = events.ingest(arrays, tmp_path / "array", source=product)
    assert array.digest == lines.digest
    assert {**array.balance, "lines": 0, "blank": 0} == {**lines.balance, "lines": 0, "blank": 0}
    told = events.dry_run(arrays, source=product)
    assert (told.rules, told.unknown) == (events.dry_run(logs, source=product).rules, ())


def test_rows_of_a_table_are_read_as_lines_of_its_columns(tmp_path):
    times = ["2026-05-04T10:11:12Z", "2026-05-04T10:11:13.5Z", "2026-05-04T10:11:14Z"]
    records = [
        {"id": 1, "prompt": "a;b", "response": "1", "offered": 3, "slot": 0.25, "votes": [{"is": "up"}]},
        {"id": 2, "prompt": "[1]", "response": "", "offered": 1, "votes": [{"is": "up"}, {"is": "down"}]},
        {"id": 3, "prompt": "{}", "response": "true", "votes": [], "note": "x"},
    ]
    timed = [row | {"ended": at} for row, at in zip(records, times, strict=True)]
    log = write(tmp_path / "log.jsonl", *timed)
    rules = mapping(tmp_path, VOTES)
    lines = events.ingest(log, tmp_path / "lines", mapping=rules)
    assert (lines.live, lines.balance["expanded"]) == ({"impressions": 3, "silent": 1, "feedback": 3}, 3)
    held = pa.Table.from_pylist([{**row, "note": row.get("note")} for row in records])
    ended = pa.array([at.removesuffix("Z") for at in times]).cast(pa.timestamp("us"))
    held = held.append_column("ended", ended.cast(pa.timestamp("us", "UTC")))
    path = tmp_path / "log.parquet"
    pq.write_table(held, path)
    inputs: list[pa.Table | Path] = [held, path]
    for number, given in enumerate(inputs):
        done = events.ingest(given, tmp_path / f"{number}", mapping=rules)
        assert done.digest == lines.digest
        assert dict(done.balance) == dict(lines.balance)
        told = events.dry_run(given, mapping=rules)
        assert (told.live, told.rules, told.unknown) == (lines.live, {"turn": 3, "vote": 3}, ("note",))


def test_canonical_tables_are_surveyed_by_the_rules_of_events(tmp_path):
    told = events.dry_run(pa.Table.from_pylist([shown(1, offered=["thumbs"], slot=1)]))
    assert told.live == {"impressions": 1, "silent": 1, "feedback": 0}
    with pytest.raises(ValueError, match="arrow:table: no column is named 'type'; found id"):
        events.dry_run(pa.table({"id": ["1"]}))
    headless = write(tmp_path / "log.csv", "id,at", "1,2")
    with pytest.raises(ValueError, match="as the fields of a JSON line: no column is named `type`"):
        events.dry_run(headless)
    doubled = write(tmp_path / "two.csv", "id,id", "1,2")
    with pytest.raises(ValueError, match='must name the columns: two columns are named "id"'):
        events.dry_run(doubled, source="open_bandit")
