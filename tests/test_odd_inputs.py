"""Inputs at the edges of format and file system: what is kept is exact, what is refused is named."""

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import THUMB, books, good, table, write
from unskew import _rust, events

pytestmark = pytest.mark.usefixtures("keyed")


def shown(**fields):
    """A good impression with fields changed."""
    row = {
        "type": "impression",
        "id": "a",
        "shown_at": "2026-03-02T00:00:00Z",
        "prompt": "p",
        "response": "r",
    }
    return row | fields


def ingest(folder, *lines, name="log", **options):
    """Ingests lines (rows or text) into a store of its own."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    store = Path(folder) / f"{name}-store"
    return events.ingest(write(Path(folder) / f"{name}.jsonl", text), store, **options), store


def reasons(store):
    """Reasons in the quarantine by line."""
    return {row["line"]: row["reason"] for row in table(store, "quarantine").to_pylist()}


def test_a_gzip_file_with_any_byte_changed_is_rejected_or_read_right(tmp_path):
    text = good(300).encode()
    packed, path = gzip.compress(text, mtime=0), tmp_path / "log.jsonl.gz"
    path.write_bytes(packed)
    right, rejected = events.ingest(path, tmp_path / "right").digest, 0
    read = 0
    changed = [*range(10), *range(10, len(packed), 50), *range(len(packed) - 8, len(packed))]
    for at in changed:
        path.write_bytes(packed[:at] + bytes([packed[at] ^ 0x10]) + packed[at + 1 :])
        store = tmp_path / str(at)
        try:
            report = events.ingest(path, store)
        except OSError as error:
            rejected += "corrupt after" in str(error) and not list(store.rglob("*.arrow"))
        else:  # time and system in the header mean nothing
            read += 1
            assert (at < 10, report.digest) == (True, right)
    assert (rejected > 20, read > 3, rejected + read) == (True, True, len(changed))


def test_a_file_that_only_returns_carriages_is_one_refused_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(good(3).replace("\n", "\r").encode())
    report = events.ingest(path, tmp_path / "store")
    assert books(report) == (1, 0, 0, 1, 0)
    assert report.samples[0]["reason"] in ("json", "torn")


keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@given(st.lists(keys, min_size=1, max_size=6, unique=True), st.data())
@settings(max_examples=30)
def test_a_repeated_key_is_refused_however_it_is_spelled_and_wherever_it_is(names, data):
    again = data.draw(st.sampled_from(names))
    spelled = "".join(f"\\u{unit:04x}" for unit in memoryview(again.encode("utf-16-le")).cast("H"))
    members = [f"{json.dumps(name)}:0" for name in names] + [f'"{spelled}":1']
    inner = "{" + ",".join(data.draw(st.permutations(members))) + "}"
    line = json.dumps(shown(x=["@"])).replace('"@"', inner)
    with tempfile.TemporaryDirectory() as folder:
        report, store = ingest(folder, line, line.replace(f'"{spelled}":1', '"another key":1'))
        assert report.quarantine == {"dup_key": 1}
        assert table(store, "impressions").num_rows == 1


SHAPES = {
    "lists": ("[", "]"),
    "objects": ('{"a":', "}"),
    "mixed": ('[{"a":', "}]"),
    "second members": ('{"b":0,"a":', "}"),
    "before others": ('{"a":', ',"b":0}'),
    "second items": ("[0,", "]"),
    "first items": ("[", ",0]"),
    "spaced": ("[ ", " ]"),
    "unclosed lists": ("[", ""),
    "unclosed objects": ('{"a":', ""),
}


def test_nesting_is_limited_in_every_shape_and_never_recursed_into(tmp_path):
    lines, expected = [], {}
    for name, (begin, end) in SHAPES.items():
        width = 2 if name == "mixed" else 1
        for levels in (31, 63, 64, 128, 1_000, 100_000):
            deep = begin * (levels // width) + "0" + end * (levels // width)
            lines.append(json.dumps(shown(id=f"r{len(lines)}", x="@")).replace('"@"', deep))
            ours = 1 + levels // width * width
            broken = not end
            expected[len(lines)] = "json" if broken and ours <= 64 else None if ours <= 64 else "depth"
    began = time.process_time()
    report, store = ingest(tmp_path, *lines)
    assert time.process_time() - began < 5
    found = reasons(store)
    for line, reason in expected.items():
        allowed = {reason, "json"} if reason == "depth" else {reason}  # unclosed, it is both
        assert found.get(line) in allowed, line
    assert report.balance["committed"] == sum(reason is None for reason in expected.values())


def test_keys_that_nobody_knows_cost_time_in_proportion(tmp_path):
    new = [shown(id=f"r{i}", **{f"key {i}": i}) for i in range(3_000)]
    report, store = ingest(tmp_path, *new, name="new")
    assert report.balance["committed"] == 3_000
    assert table(store, "impressions")["extra"].to_pylist()[7] == '{"key 7":7}'
    wide = json.dumps(shown(x={f"k{i}": i for i in range(9_000)}))
    wider = json.dumps(shown(id="b", x={f"k{i}": i for i in range(50_000)}))
    began = time.process_time()
    report, _ = ingest(tmp_path, wide, wider, name="wide")
    assert time.process_time() - began < 0.5
    assert report.quarantine == {"too_long": 1}


ids = (
    st.integers(-(2**70), 2**70) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.floats()
)


@given(st.lists(ids, min_size=1, max_size=20, unique_by=str))
@settings(max_examples=30)
def test_ids_are_text_or_exact_integers_or_refused(names):
    lines = [json.dumps(shown(id=name)) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        _, store = ingest(folder, *lines)
        kept = table(store, "impressions")["response_id"].to_pylist()
        found = reasons(store)
    exact = [
        (type(name) is int and -(2**63) <= name < 2**64) or (isinstance(name, str) and name != "")
        for name in names
    ]
    assert kept == [str(name) for name, ok in zip(names, exact, strict=True) if ok]
    for line, (name, ok) in enumerate(zip(names, exact, strict=True), 1):
        expected = {"no_id"} if name == "" else {"id_range", "number", "conflict"}
        assert line not in found if ok else found[line] in expected, name


TIMES = {
    "2026-03-02T00:00:00Z": None,
    "2026-03-02t00:00:00z": None,
    "2026-03-02 00:00:00Z": None,
    "2026-03-02T00:00:00.5Z": None,
    "2026-03-02T00:00:00.123456789Z": None,
    "2026-03-02T00:00:00+00:00": None,
    "2026-03-02T00:00:00-00:00": None,
    "2026-03-02T23:59:59+14:00": None,
    "2026-03-02T00:00:00-12:00": None,
    "2024-02-29T12:00:00Z": None,
    "2000-01-01T00:00:00Z": None,
    "2000-01-01T01:00:00+01:00": None,
    "2099-12-31T23:59:59.999999Z": None,
    "1999-12-31T23:59:59Z": "time_range",
    "2000-01-01T00:00:00+00:01": "time_range",
    "2100-01-01T00:00:00Z": "time_range",
    "1970-01-01T00:00:00Z": "time_range",
    "1969-12-31T23:59:59Z": "time_range",
    "0001-01-01T00:00:00Z": "time_range",
    "9999-12-31T23:59:59Z": "time_range",
    "2026-03-02T00:00:00": "type",
    "2026-03-02": "type",
    "2026-03-02T00:00Z": "type",
    "2026-03-02T24:00:00Z": "type",
    "2026-03-02T00:60:00Z": "type",
    "2026-02-29T00:00:00Z": "type",
    "2026-13-01T00:00:00Z": "type",
    "2026-00-10T00:00:00Z": "type",
    "2026-03-02T00:00:00.Z": "type",
    "2026-03-02T00:00:00+0100": "type",
    "2026-03-02T00:00:00+24:00": "type",
    "2026-03-02T00:00:00 Z": "type",
    "+2026-03-02T00:00:00Z": "type",
    "02.03.2026 00:00": "type",
    "1772409600": "type",
    "": "type",
    1772409600: "type",
    1772409600000: "type",
    1772409600.5: "type",
    -1: "type",
}


def test_forty_times_are_read_exactly_or_refused_and_their_unit_is_never_guessed(tmp_path):
    assert len(TIMES) == 40
    _, store = ingest(tmp_path, *(shown(id=f"r{at}", shown_at=time) for at, time in enumerate(TIMES)))
    found = reasons(store)
    assert [found.get(line) for line in range(1, 41)] == list(TIMES.values())
    kept = table(store, "impressions")["shown_at"].to_pylist()
    right = [text for text, reason in TIMES.items() if reason is None]
    for text, instant in zip(right, kept, strict=True):
        plain = re.sub(r"(\.\d{6})\d+", r"\1", text.upper().replace("Z", "+00:00").replace(".5+", ".500000+"))
        assert instant == datetime.fromisoformat(plain).astimezone(timezone.utc), text


def test_files_whose_schemas_differ_give_the_same_store_in_either_order(tmp_path):
    one = "".join(json.dumps(shown(id=f"a{i}", model="m", x=i)) + "\n" for i in range(40))
    other = "".join(json.dumps(shown(id=f"b{i}", user=i, y={"z": i})) + "\n" for i in range(40))
    wrong = json.dumps(shown(id="c", model=4)) + "\n" + json.dumps(shown(id="d", response=None)) + "\n"
    paths = [write(tmp_path / "1.jsonl", one), write(tmp_path / "2.jsonl", other + wrong)]
    forward = events.ingest(paths, tmp_path / "forward")
    backward = events.ingest(paths[::-1], tmp_path / "backward")
    assert forward.digest == backward.digest
    assert forward.quarantine == backward.quarantine == {"type": 1, "missing": 1}


def test_pipes_folders_and_files_that_vanish_are_named(tmp_path):
    pipe, store = tmp_path / "pipe", str(tmp_path / "store")
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=r"pipe: not a regular file; pass files, or - to read standard input"):
        _rust.ingest([str(pipe)], store)
    with pytest.raises(OSError, match="a directory; pass files"):
        _rust.ingest([str(tmp_path)], store)
    first = write(tmp_path / "first.jsonl", good(1))
    with pytest.raises(FileNotFoundError, match=r"second\.jsonl: No such file"):
        _rust.ingest([str(first), str(tmp_path / "second.jsonl")], store)
    assert not list((tmp_path / "store").rglob("*.arrow"))


def test_a_file_that_grows_while_it_is_read_is_read_to_where_it_was_and_on_the_next_time(tmp_path):
    path = write(tmp_path / "log.jsonl", good(40_000))
    size, grown = path.stat().st_size, []

    def grow(done, lines):
        if not grown:
            with path.open("a") as more:
                more.write(good(10, 90_000))
            grown.append(done)

    first = events.ingest(path, tmp_path / "store", progress=grow)
    assert grown
    assert first.files[0]["bytes"] == size
    assert books(first) == (40_000, 40_000, 0, 0, 0)
    assert books(events.ingest(path, tmp_path / "store")) == (10, 10, 0, 0, 0)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not read")
def test_a_file_that_may_not_be_read_and_a_store_that_may_not_be_written_end_before_any_work(tmp_path):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o755)
        secret, open_one = write(folder / "secret.jsonl", good(1)), write(folder / "open.jsonl", good(1))
        secret.chmod(0o600)
        open_one.chmod(0o644)
        (folder / "closed").mkdir(mode=0o755)
        (folder / "home").mkdir()
        (folder / "home").chmod(0o777)
        code = (
            "import os, sys; os.setgid(65534); os.setuid(65534)\n"
            "from unskew import _rust\n"
            "try: _rust.ingest([sys.argv[1]], sys.argv[2])\n"
            "except OSError as error: sys.exit(str(error))\n"
        )

        def run(path, store):
            return subprocess.run(
                [sys.executable, "-c", "import unskew._rust\n" + code, path, store],
                capture_output=True,
                text=True,
            )

        for path, store, message in [
            (secret, folder / "home" / "store", "secret.jsonl: Permission denied"),
            (open_one, folder / "closed" / "store", "closed/store: Permission denied"),
        ]:
            done = run(path, store)
            assert message in done.stderr, done.stderr
            assert not list(store.rglob("*.arrow"))
        assert list((folder / "closed").iterdir()) == []
        assert run(open_one, folder / "home" / "store").returncode == 0
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_a_thumb_that_is_toggled_counts_as_last_set_within_the_window(tmp_path):
    def thumb(name, value, day, hour=0):
        line = json.loads(THUMB % (name, "a"))
        return line | {"value": value, "at": f"2026-03-{day:02}T{hour:02}:00:00Z"}

    report, store = ingest(
        tmp_path,
        shown(),
        thumb("f3", "up", 2, 9),
        thumb("f1", "up", 2, 7),
        thumb("f2", "down", 2, 8),
        thumb("f4", "down", 20),
    )
    (row,) = table(store, "observations").to_pylist()
    assert (row["r"], row["n_pos"], row["n_neg"], row["conflict"]) == (1.0, 2, 1, True)
    assert report.states == {"attributed": 3, "out_of_window": 1}
