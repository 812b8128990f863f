"""The same log as JSON array, CSV and TSV: the same rows, and the same care for broken ones."""

import csv
import gzip
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forms import ROWS, as_csv, as_lines, as_table, compact, exact, kept, refused, save, shown, thumb
from logs import books, lines, random_log, table
from unskew import events

pytestmark = pytest.mark.usefixtures("keyed")


FORMS = {
    "compact.json": lambda rows: compact(rows),
    "pretty.json": lambda rows: json.dumps(rows, ensure_ascii=False, indent=2, separators=(",", ":")),
    "lined.json": lambda rows: "\ufeff[\r\n" + ",\r\n".join(map(compact, rows)) + "\r\n]\r\n",
    "two.json": lambda rows: f"{compact(rows[:3])}\n{compact(rows[3:])}",
    "packed.json.gz": lambda rows: compact(rows),
    "packed.json.zst": lambda rows: compact(rows),
    "log.csv": as_csv,
    "LOG.CSV": lambda rows: "\ufeff" + as_csv(rows, ending="\n", quoting=csv.QUOTE_ALL),
    "log.tsv": lambda rows: as_csv(rows, comma="\t"),
    "packed.csv.gz": as_csv,
    "packed.tsv.zst": lambda rows: as_csv(rows, comma="\t", ending="\n"),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_same_rows_in_another_text_are_the_same_store(tmp_path, name):
    rows = ROWS
    if name == "pretty.json":  # lists and objects are kept as they are written
        rows = [{k: v for k, v in row.items() if k not in ("messages", "meta")} for row in rows]
    whole = events.ingest(save(tmp_path / "log.jsonl", as_lines(rows)), tmp_path / "lines")
    path = save(tmp_path / name, FORMS[name](rows))
    report = events.ingest(path, tmp_path / "store")
    assert books(report) == (len(rows), len(rows), 0, 0, 0)
    assert report.digest == whole.digest
    assert not events.ingest(path, tmp_path / "store").committed


def test_random_logs_are_the_same_in_all_formats(tmp_path):
    for seed in range(8):
        rows = random_log(random.Random(seed))
        for row in rows:  # an empty cell is an absent field
            if row["type"] == "impression":
                row["response"] = row["response"] or "-"
        home = tmp_path / str(seed)
        home.mkdir()
        pq.write_table(as_table(rows), home / "log.parquet")
        save(home / "log.csv", as_csv(rows))
        save(home / "log.json", json.dumps(rows))
        save(home / "log.jsonl", lines(rows))
        reports = [
            events.ingest(home / f"log.{form}", home / form) for form in ("jsonl", "json", "csv", "parquet")
        ]
        assert len({report.digest for report in reports}) == 1, seed
        assert len({books(report) for report in reports}) == 1, seed
        together = events.ingest(home, home / "together")
        assert together.digest == reports[0].digest
        assert len(together.files) == 4


@pytest.mark.parametrize("name", ["log.json", "log.csv"])
def test_a_file_cut_anywhere_and_completed_later_ends_like_an_uncut_one(tmp_path, name):
    rows = [shown(1, prompt='a"]\nb'), thumb(1, comment="x,\ny")]
    text = as_csv(rows) if name == "log.csv" else json.dumps(rows, indent=0) + "\n"
    text = text.encode()
    whole = events.ingest(save(tmp_path / name, text), tmp_path / "whole")
    assert books(whole) == (2, 2, 0, 0, 0)
    path = tmp_path / "cut" / name
    path.parent.mkdir()
    first = 0 if name == "log.json" else text.index(b"\n") - 2
    for cut in range(first, len(text) + 1, 2):
        path.write_bytes(text[:cut])
        store = tmp_path / f"store{cut}"
        before = events.ingest(path, store)
        exact(before)
        assert set(before.quarantine) <= {"torn"}
        assert (
            cut == 0
            or len(text) - cut < 3
            or before.quarantine
            or (name == "log.csv" and text[cut - 1] == 10)
        )
        assert not events.ingest(path, store).committed
        with path.open("ab") as more:
            more.write(text[cut:])
        after = events.ingest(path, store)
        assert after.digest == whole.digest, cut
        assert dict(after.total) == dict(whole.total), cut
        assert table(store, "quarantine").num_rows == 0
        path.unlink()


@pytest.mark.parametrize("name", ["log.json", "log.csv"])
def test_one_changed_byte_costs_its_record_and_at_most_a_neighbour(tmp_path, name):
    rows = [shown(number) for number in range(7)]
    lined = "[\n" + ",\n".join(map(compact, rows)) + "\n]\n"
    text = as_csv(rows, ending="\n") if name == "log.csv" else lined
    (record,) = [line.rstrip(",") for line in text.splitlines() if "r3" in line]
    start = text.index(record)
    draw = random.Random(0)
    for at in range(start, start + len(record)):
        for byte in draw.sample('"\\{}[],: \nx', 3):
            path = save(tmp_path / name, text[:at] + byte + text[at + 1 :])
            report = events.ingest(path, tmp_path / f"store{at}{ord(byte)}")
            exact(report)
            ids = set(kept(tmp_path / f"store{at}{ord(byte)}"))
            assert ids >= {"r0", "r1", "r5", "r6"}, (at, byte)
            assert ids & {"r2", "r4"}, (at, byte)
            path.unlink()


def test_a_broken_element_costs_no_other(tmp_path):
    good = [compact(shown(number)) for number in range(8)]
    broken = [
        '{"type":"impression","id":"b"',
        '{"type":"impression,"id":"b"}',
        '{"a":[1,2}',
        '{"a":"x\ny"}',
        "garbage",
        '{"a":tru}',
        '"text"',
    ]
    reasons = ["json", "json", "json", "json", "json", "json", "not_object"]
    text, places = "[\n", []
    for one, other in zip(good, broken, strict=False):
        text += f"{one},\n"
        places.append((len(text), len(other)))
        text += f"{other},\n"
    text += good[-1] + "\n]"
    path = save(tmp_path / "log.json", text)
    report = events.ingest(path, tmp_path / "store", keep_raw=True)
    assert kept(tmp_path / "store") == [f"r{number}" for number in range(8)]
    found = refused(tmp_path / "store")
    assert [(line, off, reason) for line, off, _, reason in found] == [
        (2 * i + 2, off, reason) for i, ((off, _), reason) in enumerate(zip(places, reasons, strict=True))
    ]
    assert all(length <= found[2] <= length + 1 for (_, length), found in zip(places, found, strict=True))
    raw = kept(tmp_path / "store", "quarantine", "raw")
    assert [text.decode().rstrip(",") for text in raw] == broken
    exact(report)


def test_missing_elements_commas_and_ends_are_reported_where_they_are(tmp_path):
    one, two, three = (compact(shown(number)) for number in range(3))
    path = save(tmp_path / "log.json", text := f"[{one},,{two}{three},")
    report = events.ingest(path, tmp_path / "store")
    assert kept(tmp_path / "store") == ["r0", "r1", "r2"]
    assert refused(tmp_path / "store") == [
        (2, len(one) + 2, 0, "json"),
        (4, len(one) + len(two) + 3, 0, "json"),
        (6, len(text), 0, "torn"),
    ]
    assert [sample["message"] for sample in report.samples] == [
        "an element is missing",
        "a comma is missing",
        "the array ends without its closing bracket",
    ]


def test_deep_and_long_elements_are_refused_and_not_held(tmp_path):
    rows = [compact(shown(number)) for number in range(4)]
    deep = '{"x":' + "[" * 200_000 + "]" * 200_000 + "}"
    long = '{"x":"' + ("],}" * (6 << 20)) + '"}'
    endless = "[" * (17 << 20)
    text = f"[{rows[0]},{deep},{rows[1]},{long},{rows[2]}]\n[{endless}"
    report = events.ingest(save(tmp_path / "log.json", text), tmp_path / "store")
    assert kept(tmp_path / "store") == ["r0", "r1", "r2"]
    assert report.quarantine == {"depth": 1, "too_long": 2}
    header = "type,id,shown_at,prompt,response\n"
    cells = ["impression,{},2026-03-02T00:00:00Z,p,{}\n".format(f"r{i}", "r") for i in range(2)]
    wide = "impression,b,2026-03-02T00:00:00Z,p," + "x" * (17 << 20) + "\n"
    path = save(tmp_path / "log.csv", header + cells[0] + wide + cells[1])
    report = events.ingest(path, tmp_path / "csv")
    assert kept(tmp_path / "csv") == ["r0", "r1"]
    assert report.quarantine == {"too_long": 1}
    rows = as_table([shown(0), shown(1, response="x" * (17 << 20)), shown(2)])
    report = events.ingest(rows, tmp_path / "arrow")
    assert kept(tmp_path / "arrow") == ["r0", "r2"]
    assert report.quarantine == {"too_long": 1}


def test_a_bad_record_of_a_csv_file_is_refused_with_its_place(tmp_path):
    good = [f"impression,r{number},2026-03-02T00:00:00Z,p,r,{number}\n" for number in range(9)]
    broken = {
        "impression,b,2026-03-02T00:00:00Z,p,r": ("json", "5 fields, the header has 6"),
        "impression,b,2026-03-02T00:00:00Z,p,r,1,": ("json", "7 fields, the header has 6"),
        'impression,b,2026-03-02T00:00:00Z,"p,r,1': ("json", "a quote is not closed"),
        'impression,b,2026-03-02T00:00:00Z,"p"x,r,1': (
            "json",
            "a field goes on behind its closing quote",
        ),
        "impression,b,2026-03-02T00:00:00Z,p,r,1.5": ("type", "expected an integer"),
        "impression,b,yesterday,p,r,1": (
            "type",
            "not an RFC 3339 time with a zone, such as 2026-05-04T10:11:12Z",
        ),
        "impression,,2026-03-02T00:00:00Z,p,r,1": ("no_id", "id is required"),
        "impression,b,2026-03-02T00:00:00Z,p,\0,1": ("nul", "a NUL byte"),
    }
    text, expected = 'type,id,shown_at,"prompt",response,slot\n', []
    for one, (record, (reason, _)) in zip(good, broken.items(), strict=False):
        text += one
        expected.append((text.count("\n") + 1, len(text), len(record), reason))
        text += record + "\n"
    text += '\n,,,,,\nimpression,"x\ny",2026-03-02T00:00:00Z,p,r,\n' + good[-1]
    report = events.ingest(save(tmp_path / "log.csv", text), tmp_path / "store")
    assert refused(tmp_path / "store") == expected
    assert kept(tmp_path / "store") == [*(f"r{number}" for number in range(8)), "x\ny", "r8"]
    assert books(report) == (20, 10, 0, 8, 2)
    assert kept(tmp_path / "store", column="line")[-2:] == [20, 22]
    messages = {sample["message"] for sample in report.samples}
    assert messages == {message for _, message in broken.values()}


def test_grown_csv_files_are_read_on(tmp_path):
    rows = [shown(number) for number in range(6)]
    whole = as_csv(rows)
    head, *records = whole.splitlines(keepends=True)
    for name in ("log.csv", "log.csv.gz"):
        path = save(tmp_path / name, head + "".join(records[:2]))
        store = tmp_path / f"store-{name}"
        events.ingest(path, store)
        more = "".join(records[2:]).encode()
        with path.open("ab") as out:
            out.write(gzip.compress(more) if name.endswith("gz") else more)
        report = events.ingest(path, store)
        assert [file["status"] for file in report.files] == ["resumed"]
        assert books(report) == (4, 4, 0, 0, 0)
        assert kept(store, column="line") == [2, 3, 4, 5, 6, 7]
        assert kept(store, column="off")[-1] == whole.encode().rindex(b"impression")
        save(path, as_csv(rows[::-1]))
        with pytest.raises(OSError, match=r"rewritten|truncated"):
            events.ingest(path, store)


def test_a_header_that_is_none_is_refused_by_name(tmp_path):
    path = save(tmp_path / "log.csv", "id,at\nf,g\n")
    where = f"{path}: its first line must name the columns, as the fields of a JSON line: "
    for header, what in {
        "id,at": "no column is named `type`; found id, at",
        ",type,id": "column 1 has no name",
        "type,id,id": 'two columns are named "id"',
        'type,"id"s': "a field goes on behind its closing quote",
    }.items():
        save(path, header + "\n")
        with pytest.raises(ValueError, match=re.escape(where + what)):
            events.ingest(path, tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*.arrow"))


def test_text_that_is_not_utf8_costs_its_record(tmp_path):
    rows = as_csv([shown(0), shown(1, model="X"), shown(2)]).encode()
    path = save(tmp_path / "log.csv", rows.replace(b"X", b"\xff"))
    assert events.ingest(path, tmp_path / "store").quarantine == {"utf8": 1}
    assert kept(tmp_path / "store") == ["r0", "r2"]


def test_inputs_without_rows_are_stores_without_rows(tmp_path):
    empty = {
        "a.json": "",
        "b.json": " \n",
        "c.json": "[]",
        "d.json": "[\n]\n",
        "e.csv": "",
        "f.csv": "type,id\n",
    }
    empty |= {"g.tsv.gz": "", "h.csv.gz": "type", "i.json.zst": "[]", "j.csv": "\ufeff"}
    for name, content in empty.items():
        report = events.ingest(save(tmp_path / name, content), tmp_path / f"store-{name}")
        assert books(report)[1:4] == (0, 0, 0), name
    assert books(events.ingest(as_table(ROWS)[:0], tmp_path / "arrow")) == (0, 0, 0, 0, 0)
    pq.write_table(as_table(ROWS)[:0], tmp_path / "k.parquet")
    assert books(events.ingest(tmp_path / "k.parquet", tmp_path / "parquet")) == (0, 0, 0, 0, 0)
    torn = events.ingest(save(tmp_path / "l.csv", "type,i"), tmp_path / "torn")
    assert torn.quarantine == {"torn": 1}
    assert torn.samples[0]["message"].startswith("the last record has no line end")


def test_the_command_reads_every_format_and_arrays_from_standard_input(tmp_path):
    command = [sys.executable, "-m", "unskew.cli", "ingest", "--store", str(tmp_path / "store"), "--json"]
    done = subprocess.run([*command, "-"], input=compact(ROWS), capture_output=True, text=True)
    assert json.loads(done.stdout)["balance"]["committed"] == len(ROWS), done.stderr
    save(tmp_path / "logs.csv", as_csv(ROWS))
    pq.write_table(as_table(ROWS), tmp_path / "logs.parquet")
    done = subprocess.run([*command, str(tmp_path / "logs.*")], capture_output=True, text=True)
    assert json.loads(done.stdout)["balance"]["duplicate"] == 2 * len(ROWS), done.stderr
    naive = as_table(ROWS).set_column(2, "shown_at", pa.array([0] * len(ROWS), pa.timestamp("us")))
    pq.write_table(naive, tmp_path / "naive.parquet")
    done = subprocess.run([*command, str(tmp_path / "naive.parquet")], capture_output=True, text=True)
    assert done.returncode == 2
    assert "timestamps without a zone" in done.stderr
    (tmp_path / "half.parquet").write_bytes((tmp_path / "logs.parquet").read_bytes()[:300])
    done = subprocess.run([*command, str(tmp_path / "half.parquet")], capture_output=True, text=True)
    assert done.returncode == 4
    assert "no whole Parquet file" in done.stderr


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
numbers = st.floats(0, 1, exclude_min=True, width=32) | st.integers(1, 1)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"prompt": texts, "response": texts},
            optional={
                "model": texts,
                "policy_prob": numbers.filter(bool),
                "note": texts,
                "slot": st.integers(0, 2**15 - 1),
                "messages": st.lists(st.tuples(texts, texts), max_size=2),
            },
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=30, deadline=None)
def test_what_is_written_as_cells_and_columns_is_read_back(rows):
    rows = [shown(number, **row) for number, row in enumerate(rows)]
    for row in rows:
        if "messages" in row:
            row["messages"] = [{"role": role, "content": content} for role, content in row["messages"]]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        whole = events.ingest(save(home / "log.jsonl", as_lines(rows)), home / "lines")
        assert whole.quarantine == {}
        assert events.ingest(as_table(rows), home / "arrow").digest == whole.digest
        assert events.ingest(save(home / "log.json", compact(rows)), home / "array").digest == whole.digest
        if "\0" not in as_csv(rows):  # a NUL byte is no text
            assert events.ingest(save(home / "log.csv", as_csv(rows)), home / "csv").digest == whole.digest
