"""Lines and files: what is kept, what is refused, and why."""

import gzip
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import THUMB, books, good, table, write
from unskew import _rust, events

pytestmark = pytest.mark.usefixtures("keyed")


IMPRESSION = '{"type":"impression","id":"b","shown_at":"2026-03-02T00:00:00Z","prompt":"p","response":"r"%s}'
FEEDBACK = (
    '{"type":"feedback","id":"b","response":"r1","kind":"thumbs","value":"up","at":"2026-03-02T00:00:00Z"%s}'
)
BROKEN = {
    "cut in the middle": (IMPRESSION[:40], "json"),
    "garbage": ("garbage", "json"),
    "two objects": (IMPRESSION % "" + IMPRESSION % "", "json"),
    "trailing comma": (IMPRESSION % ",", "json"),
    "a raw tab in a string": (IMPRESSION % ',"user":"a\tb"', "json"),
    "leading zero": (IMPRESSION % ',"slot":01', "json"),
    "null": ("null", "not_object"),
    "array": ("[1,2]", "not_object"),
    "string": ('"text"', "not_object"),
    "not UTF-8": (b'{"type":"impression","id":"\xff\xfe"}', "utf8"),
    "overlong UTF-8": (b'{"type":"impression","id":"\xc0\xaf"}', "utf8"),
    "lone surrogate": (IMPRESSION % r',"user":"\ud800"', "surrogate"),
    "lone surrogate that nobody reads": (IMPRESSION % r',"x":["\udfff"]', "surrogate"),
    "hole of NUL bytes": (b"\0" * 4096, "nul"),
    "repeated key": (IMPRESSION % ',"id":"c"', "dup_key"),
    "repeated key, escaped": (IMPRESSION % r',"\u0069d":"c"', "dup_key"),
    "repeated key, nested": (IMPRESSION % ',"x":{"y":{"a":1,"a":1}}', "dup_key"),
    "deep nesting": (IMPRESSION % (',"x":' + "[" * 100_000 + "]" * 100_000), "depth"),
    "many keys": (IMPRESSION % "".join(f',"k{i}":0' for i in range(10_001)), "too_long"),
    "over-long line": (b'{"x":"' + b"x" * (16 << 20) + b'"}', "too_long"),
    "NaN": (IMPRESSION % ',"policy_prob":NaN', "number"),
    "Infinity": (IMPRESSION % ',"x":-Infinity', "number"),
    "1e400": (IMPRESSION % ',"x":1e400', "number"),
    "no propensity": (IMPRESSION % ',"policy_prob":0', "number"),
    "propensity above one": (IMPRESSION % ',"policy_prob":1.5', "number"),
    "slot out of range": (IMPRESSION % ',"slot":-1', "number"),
    "six stars": (FEEDBACK.replace('"thumbs","value":"up"', '"rating","value":6') % "", "number"),
    "fractional id": (FEEDBACK.replace('"r1"', "1.5") % "", "id_range"),
    "id beyond 64 bits": (FEEDBACK.replace('"r1"', "18446744073709551616") % "", "id_range"),
    "no id": (IMPRESSION.replace('"id":"b",', "") % "", "no_id"),
    "empty id": (IMPRESSION.replace('"b"', '""') % "", "no_id"),
    "about nothing": (FEEDBACK.replace('"response":"r1",', "") % "", "no_id"),
    "no time": (FEEDBACK.replace(',"at":"2026-03-02T00:00:00Z"', "") % "", "missing"),
    "no response": (IMPRESSION.replace(',"response":"r"', "") % "", "missing"),
    "time without zone": (IMPRESSION.replace("00:00Z", "00:00") % "", "type"),
    "time as a number": (IMPRESSION.replace('"2026-03-02T00:00:00Z"', "1772409600") % "", "type"),
    "year 9999": (IMPRESSION.replace("2026", "9999") % "", "time_range"),
    "year 1970": (IMPRESSION.replace("2026", "1970") % "", "time_range"),
    "no such kind": (FEEDBACK.replace("thumbs", "smile") % "", "unknown_kind"),
    "no such kind offered": (IMPRESSION % ',"offered":["smile"]', "unknown_kind"),
    "no such type": ('{"type":"event","id":"b"}', "type"),
    "a thumb sideways": (FEEDBACK.replace('"up"', '"sideways"') % "", "type"),
    "model as a number": (IMPRESSION % ',"model":4', "type"),
}


def test_every_broken_line_is_reported_and_every_good_row_is_kept(tmp_path):
    content, expected = b"", []
    for number, (name, (line, reason)) in enumerate(BROKEN.items()):
        content += good(1, number).encode()
        line = line if isinstance(line, bytes) else line.encode()
        expected.append((2 * number + 2, len(content), len(line), reason, name))
        content += line + b"\n"
    content += good(1, len(BROKEN)).encode()
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    report = events.ingest(path, tmp_path / "store")
    found = {row["line"]: row for row in table(tmp_path / "store", "quarantine").to_pylist()}
    for line, offset, length, reason, name in expected:
        row = found.pop(line)
        assert (row["off"], row["len"], row["reason"], row["file"]) == (offset, length, reason, str(path)), (
            name
        )
        assert row["raw"] is None
    assert not found
    assert table(tmp_path / "store", "impressions")["response_id"].to_pylist() == [
        f"r{i}" for i in range(len(BROKEN) + 1)
    ]
    assert books(report) == (2 * len(BROKEN) + 1, len(BROKEN) + 1, 0, len(BROKEN), 0)
    assert sum(report.quarantine.values()) == len(BROKEN)


def test_ids_are_kept_exactly(tmp_path):
    ids = [
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775808",
        '"007"',
        '"1e3"',
        '"2026-01-01"',
        '"é\\n"',
        "0",
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(IMPRESSION.replace('"b"', name) % "" + "\n" for name in ids))
    assert books(events.ingest(path, tmp_path / "store")) == (8, 8, 0, 0, 0)
    kept = table(tmp_path / "store", "impressions")["response_id"].to_pylist()
    assert kept == [json.loads(name) if name.startswith('"') else name for name in ids]


def test_unknown_fields_are_kept_as_text(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(IMPRESSION % ',"z":[1.50,{"b":null}],"meta":{"a":"\\u00e9"},"kind":"k"' + "\n")
    events.ingest(path, tmp_path / "store")
    (extra,) = table(tmp_path / "store", "impressions")["extra"].to_pylist()
    assert extra == '{"kind":"k","meta":{"a":"\\u00e9"},"z":[1.50,{"b":null}]}'


def test_bom_crlf_and_blank_lines_are_no_faults(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + good(2).replace("\n", "\r\n").encode() + b"\n \t\r\n" + good(1, 2).encode().rstrip()
    )
    assert books(events.ingest(path, tmp_path / "store")) == (5, 3, 0, 0, 2)
    assert table(tmp_path / "store", "impressions")["off"].to_pylist()[0] == 3


def zstd(data, tmp_path, name):
    import pyarrow as pa

    path = tmp_path / name
    with pa.output_stream(str(path), compression="zstd") as out:
        out.write(data)
    return path.read_bytes()


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_members_and_frames_one_after_another_are_one_file(tmp_path, ending):
    def pack(data, name):
        return gzip.compress(data) if ending == "gz" else zstd(data, tmp_path, name)

    text = good(300).encode()
    packed = pack(text[:1000], "a") + pack(b"", "b") + pack(text[1000:], "c")
    path = tmp_path / f"log.jsonl.{ending}"
    path.write_bytes(packed + (b"\0" * 700 if ending == "gz" else b""))
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(text)
    report = events.ingest(path, tmp_path / "store")
    assert books(report) == (300, 300, 0, 0, 0)
    assert report.digest == events.ingest(plain, tmp_path / "other").digest
    assert not events.ingest(path, tmp_path / "store").committed
    with path.open("ab") as more:
        more.write(pack(good(5, 300).encode(), "d"))
    grown = events.ingest(path, tmp_path / "store")
    assert books(grown) == (5, 5, 0, 0, 0)


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_damaged_compressed_input_is_rejected_whole(tmp_path, ending):
    text = good(3000).encode()
    packed = gzip.compress(text) if ending == "gz" else zstd(text, tmp_path, "whole")
    path = tmp_path / f"log.jsonl.{ending}"
    before = events.ingest(write(tmp_path / "first.jsonl", good(1, 9000)), tmp_path / "store")
    damaged = [packed[: len(packed) * i // 12] for i in range(1, 12)] + [
        packed + b"garbage",
        packed + packed[:50],
    ]
    damaged += [packed[:-3]]
    if ending == "gz":  # zstd frames without a checksum cannot notice a flipped literal
        damaged += [
            packed[:i] + bytes([packed[i] ^ 1]) + packed[i + 1 :]
            for i in range(len(packed) // 2, len(packed), len(packed) // 12)
        ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"corrupt after .* nothing of this run was committed"):
            events.ingest(path, tmp_path / "store")
    assert events.verify(tmp_path / "store")["digest"] == before.digest


def test_a_file_that_expands_beyond_reason_is_rejected(tmp_path):
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        for _ in range(300):
            out.write(b" " * (1 << 20))
    if 300 * (1 << 20) / path.stat().st_size < 1000:
        path.write_bytes(gzip.compress(b" " * (300 << 20)))
    with pytest.raises(OSError, match=r"bomb\.jsonl\.gz: ratio after"):
        events.ingest(path, tmp_path / "store")


def test_a_file_cut_anywhere_and_completed_later_ends_like_an_uncut_one(tmp_path):
    text = (good(3) + FEEDBACK % ',"comment":"é\\ud83d\\ude00"' + "\n" + good(1, 3)).encode()
    clean = tmp_path / "clean.jsonl"
    clean.write_bytes(text)
    whole = events.ingest(clean, tmp_path / "whole")
    start = text.index(b'{"type":"feedback"')
    for number, cut in enumerate(range(start, len(text) + 1, 5)):
        path = tmp_path / "log.jsonl"
        path.write_bytes(text[:cut])
        store = tmp_path / f"store{number}"
        first = events.ingest(path, store)
        assert first.balance["lines"] == sum(v for k, v in first.balance.items() if k != "lines")
        assert set(first.quarantine) <= {"torn"}
        assert not events.ingest(path, store).committed
        with path.open("ab") as more:
            more.write(text[cut:])
        last = events.ingest(path, store)
        assert last.digest == whole.digest, cut
        assert dict(last.total) == dict(whole.total), cut
        assert table(store, "quarantine").num_rows == 0
        path.unlink()


def test_a_torn_last_line_is_reported_with_its_place(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(good(2) + '{"type":"impr')
    report = events.ingest(path, tmp_path / "store")
    assert books(report) == (3, 2, 0, 1, 0)
    assert [(s["reason"], s["line"], s["offset"], s["length"]) for s in report.samples] == [
        ("torn", 3, len(good(2)), 13)
    ]
    (row,) = table(tmp_path / "store", "quarantine").to_pylist()
    assert (row["reason"], row["line"], row["off"], row["len"]) == ("torn", 3, len(good(2)), 13)


def test_truncated_and_rewritten_files_are_refused_by_name(tmp_path):
    path = write(tmp_path / "log.jsonl", good(3))
    before = events.ingest(path, tmp_path / "store")
    write(path, good(2))
    with pytest.raises(
        OSError,
        match=re.escape(f"{path}: truncated to {len(good(2))} bytes; {len(good(3))} bytes were ingested"),
    ):
        events.ingest(path, tmp_path / "store")
    write(path, good(4, 7))
    with pytest.raises(OSError, match=re.escape(f"{path}: rewritten: its first bytes have another checksum")):
        events.ingest(path, tmp_path / "store")
    write(path, good(3))  # the same bytes again, at another time
    assert not events.ingest(path, tmp_path / "store").committed
    assert events.verify(tmp_path / "store")["digest"] == before.digest


def test_too_many_bad_lines_commit_nothing(tmp_path):
    path = write(tmp_path / "log.jsonl", good(1500) + "garbage\n" * 1001)
    with pytest.raises(_rust.BudgetExceeded) as caught:
        events.ingest(path, tmp_path / "store")
    assert str(caught.value) == (
        "1001 of 2501 lines are bad, the budget is 1000; nothing was committed. Most frequent: json 1001; "
        f"first {path} line 1501: expected value at byte 1; a line is an object, which begins with {{. "
        "Mend the input or raise `--max-bad`"
    )
    assert not list((tmp_path / "store").rglob("*.arrow"))
    with pytest.raises(FileNotFoundError, match="no store here"):
        _rust.open_store(str(tmp_path / "store"))
    assert events.ingest(path, tmp_path / "store", max_bad=1001).quarantine == {"json": 1001}
    with pytest.raises(ValueError, match='max_bad is "many"; expected a number of lines or a percentage'):
        events.ingest(path, tmp_path / "store", max_bad="many")
    with pytest.raises(_rust.BudgetExceeded, match="the budget is 25;"):
        events.ingest(path, tmp_path / "another", max_bad="1%")


def test_bytes_of_bad_lines_are_kept_only_when_asked(tmp_path):
    path = write(tmp_path / "log.jsonl", "secret garbage\n" + good(1))
    events.ingest(path, tmp_path / "without")
    assert not any(b"secret garbage" in file.read_bytes() for file in (tmp_path / "without").rglob("*.arrow"))
    events.ingest(path, tmp_path / "with", keep_raw=True)
    assert table(tmp_path / "with", "quarantine")["raw"].to_pylist() == [b"secret garbage"]


def test_wrong_inputs_and_stores_are_named(tmp_path):
    with pytest.raises(OSError, match="a directory; pass files"):
        _rust.ingest([str(tmp_path)], str(tmp_path / "store"))
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
        _rust.ingest([str(tmp_path / "none.jsonl")], str(tmp_path / "store"))
    write(tmp_path / "taken.txt", "x")
    with pytest.raises(
        ValueError, match="a directory with other files in it; give the store a new or empty directory"
    ):
        events.ingest(write(tmp_path / "log.jsonl", good(1)), tmp_path)


def test_an_empty_log_is_a_store_without_rows(tmp_path):
    report = events.ingest(write(tmp_path / "log.jsonl", ""), tmp_path / "store")
    assert books(report) == (0, 0, 0, 0, 0)
    assert report.silent_share is None
    for name in ("impressions", "feedback", "observations", "pairs", "cells", "quarantine"):
        assert table(tmp_path / "store", name).num_rows == 0


finite = {"allow_nan": False, "allow_infinity": False}


@given(st.lists(st.floats(**finite) | st.decimals(**finite), min_size=1, max_size=40))
@settings(max_examples=60)
def test_numbers_are_read_exactly_as_python_reads_them(numbers):
    written = [text for text in map(str, numbers) if abs(float(text)) < float("inf")]
    line = THUMB.replace('"thumbs"', '"custom"').replace('"up"', "%s") + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = write(
            Path(folder) / "log.jsonl", "".join(line % (f"f{i}", "r", text) for i, text in enumerate(written))
        )
        report = events.ingest(path, Path(folder) / "store")
        read = table(Path(folder) / "store", "feedback")["value"].to_pylist()
    assert report.quarantine == {}
    assert [value.hex() for value in read] == [float(text).hex() for text in written]


def test_many_small_files_need_few_descriptors(tmp_path):
    for number in range(1500):
        write(tmp_path / f"{number:04}.jsonl", good(1, number))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64));"
        "from unskew import events; events.ingest(sys.argv[1], sys.argv[1] + '/../store')"
    )
    (tmp_path / "logs").mkdir()
    for path in tmp_path.glob("*.jsonl"):
        path.rename(tmp_path / "logs" / path.name)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "logs")], check=True)
    assert table(tmp_path / "store", "impressions").num_rows == 1500
    assert json.loads(_rust.open_store(str(tmp_path / "store")))["ledger"] == 1


def test_hostile_names_stay_data(tmp_path):
    names = [
        "../../x",
        "/etc/passwd",
        "a\0b",
        "$(touch x)",
        "'; drop table",
        "<script>",
        "CON",
        "\u202e",
        "\ufeff",
    ]
    fields = ("id", "prompt", "response", "model", "surface", "request", "user")
    common = {"type": "impression", "shown_at": "2026-03-02T00:00:00Z"}
    rows = [common | dict.fromkeys(fields, name) for name in names]
    path = write(tmp_path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    events.ingest(path, tmp_path / "store", source="../../elsewhere")
    assert table(tmp_path / "store", "impressions")["response"].to_pylist() == names
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "store"}
