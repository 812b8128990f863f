"""Compressed files that are cut off: refused, or with `--salvage` kept up to the cut and read on."""

import gzip
import json
import subprocess
import sys
import zlib
from random import Random

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from logs import books, good, table, write
from unskew import _rust, cli, events

pytestmark = pytest.mark.usefixtures("keyed")

LINES = [line.encode() for line in good(240).splitlines(keepends=True)]
MEMBERS = {"one": [240], "many": [1, 0, 100, 39, 100]}
"""Lines of each member of a file."""


def pack(text: bytes, ending: str) -> bytes:
    """One gzip member (plain: as it is) or zstd frame."""
    if ending == "zst":
        return pa.Codec("zstd").compress(text, asbytes=True)
    return gzip.compress(text, 0 if ending == "plain.gz" else 9)


def file(ending: str, members: str) -> tuple[bytes, list[tuple[int, int]]]:
    """A file, and for each of its members where it ends and how many lines there are up to there."""
    content, ends, line = b"", [], 0
    for count in MEMBERS[members]:
        content += pack(b"".join(LINES[line : line + count]), ending)
        line += count
        ends.append((len(content), line))
    return content, ends


def inflated(content: bytes) -> bytes:
    """What zlib makes of the beginning of a gzip file."""
    text = b""
    while content:
        member = zlib.decompressobj(wbits=31)
        text += member.decompress(content)
        content = member.unused_data
    return text


def changed(total: dict[str, int], **changes: int) -> dict[str, int]:
    return {name: count + changes.get(name, 0) for name, count in total.items()}


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("ending", ["gz", "plain.gz", "zst"])
def test_a_file_cut_anywhere_keeps_its_rows_and_ends_like_an_uncut_one_once_it_is_whole(
    tmp_path, ending, members
):
    content, ends = file(ending, members)
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(b"".join(LINES))
    whole = events.ingest(plain, tmp_path / "whole")
    random, path = Random(7), tmp_path / f"log.jsonl.{ending}"
    cuts = {0, 1, 5, *random.sample(range(6, len(content)), 8), len(content) - 1}
    cuts |= {end + near for end, _ in ends[:-1] for near in (-1, 1)}
    if ending == "plain.gz":
        cuts |= {content.index(LINES[70]) + near for near in (-2, -1, 0)}  # about the end of a line
    for number, cut in enumerate(sorted(cuts - {end for end, _ in ends})):  # there it is whole
        store, begin = tmp_path / f"store{number}", content[:cut]
        path.write_bytes(begin)
        with pytest.raises(OSError, match=r"corrupt after .* nothing of this run was committed"):
            events.ingest(path, store)
        assert not list(store.rglob("*.arrow"))
        first = events.ingest(path, store, salvage=True)
        kept = first.balance["committed"]
        assert kept >= max([0, *(line for end, line in ends if end <= cut)])
        assert first.quarantine["corrupt"] == 1
        if ending != "zst":  # like the same text without compression, and one more line that is the cut
            text = tmp_path / f"text{number}.jsonl"
            text.write_bytes(inflated(begin))
            same = events.ingest(text, tmp_path / f"same{number}")
            assert first.digest == same.digest
            assert dict(first.total) == changed(same.total, lines=1, quarantined=1)
        for salvage in (False, True):  # what was kept costs nothing and stays
            again = events.ingest(path, store, salvage=salvage)
            assert not again.committed
            assert again.raw["ledger"] == first.raw["ledger"]
            assert books(again) == (0, 0, 0, 0, 0)
        further = random.randint(cut, len(content))
        path.write_bytes(content[:further])
        assert events.ingest(path, store, salvage=True).total["committed"] >= kept
        path.write_bytes(content)
        last = events.ingest(path, store)
        assert last.digest == whole.digest, cut
        assert dict(last.total) == dict(whole.total), cut
        assert table(store, "quarantine").num_rows == 0
        assert not events.ingest(path, store).committed
        path.write_bytes(content + pack(good(2, 900).encode(), ending))
        assert books(events.ingest(path, store)) == (2, 2, 0, 0, 0)


@pytest.mark.parametrize("after", [0, 30])
def test_a_cut_is_reported_with_its_place_and_the_rows_that_are_kept(tmp_path, after):
    text = b"".join(LINES[:3]) + LINES[3][:after]
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(text)[:-5])
    size = path.stat().st_size
    refused = CliRunner().invoke(cli.app, ["ingest", str(path), "--store", str(tmp_path / "store")])
    assert isinstance(refused.exception, OSError)
    assert cli.explain(refused.exception) == cli.ExitCode.IO
    assert "--salvage" in str(refused.exception)
    said = f"the compressed file is cut off after {size} bytes; 3 rows before are kept"
    looked = events.dry_run(path, salvage=True)
    command = ["ingest", str(path), "--store", str(tmp_path / "store"), "--salvage"]
    done = CliRunner().invoke(cli.app, command, terminal_width=300)
    assert done.exit_code == 0
    line = 4 + (after > 0)
    assert f"{path} line {line}: corrupt: {said}" in done.output
    rows = table(tmp_path / "store", "quarantine").to_pylist()
    assert [(row["reason"], row["line"], row["off"], row["len"]) for row in rows] == (
        [("torn", 4, len(text) - after, after)] if after else []
    ) + [("corrupt", line, len(text), 0)]
    assert {**looked.balance, **stored(tmp_path / "store")} == dict(looked.balance)
    (cut,) = (sample for sample in looked.samples if sample["reason"] == "corrupt")
    assert (cut["line"], cut["offset"], cut["length"], cut["message"]) == (line, len(text), 0, said)
    with pytest.raises(_rust.BudgetExceeded, match=r"Most frequent: .*corrupt 1"):
        events.ingest(path, tmp_path / "strict", salvage=True, max_bad=0)


def stored(store):
    """Books of a store."""
    return json.loads(_rust.open_store(str(store)))["balance"]


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_records_that_are_no_lines_are_kept_up_to_the_cut_and_read_on(tmp_path, ending):
    rows = [json.loads(line) for line in LINES[:60]]
    text = json.dumps(rows, indent=1)
    if ending == "csv":
        names = list(rows[0])
        text = "".join(",".join(line) + "\n" for line in [names, *(map(str, row.values()) for row in rows)])
    plain = write(tmp_path / f"plain.{ending}", text)
    whole = events.ingest(plain, tmp_path / "whole")
    content = gzip.compress(text.encode(), compresslevel=1)
    path, partly = tmp_path / f"log.{ending}.gz", 0
    for number, cut in enumerate(sorted(Random(3).sample(range(12, len(content)), 16))):
        store = tmp_path / f"store{number}"
        path.write_bytes(content[:cut])
        begin = write(tmp_path / f"begin{number}.{ending}", inflated(content[:cut]).decode())
        first, same = (
            events.ingest(path, store, salvage=True),
            events.ingest(begin, tmp_path / f"same{number}"),
        )
        assert first.digest == same.digest, cut
        assert dict(first.total) == changed(same.total, lines=1, quarantined=1)
        partly += 0 < first.balance["committed"] < 60
        path.write_bytes(content)
        last = events.ingest(path, store)
        assert last.digest == whole.digest, cut
        assert dict(last.total) == dict(whole.total), cut
    assert partly > 6


def test_a_file_that_is_whole_is_read_alike_with_and_without_the_flag(tmp_path):
    text = ",".join(json.loads(LINES[0])) + "\n" + ",".join(map(str, json.loads(LINES[0]).values()))
    for name, content in (
        ("a.csv.gz", gzip.compress(text.encode())),
        ("b.jsonl.zst", pack(b"".join(LINES[:5]), "zst")),
        ("c.jsonl.gz", pack(LINES[0].rstrip(), "gz")),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        one, two = (events.ingest(path, tmp_path / f"{name}{flag}", salvage=flag) for flag in (False, True))
        assert one.balance["committed"] > 0
        assert {**one.raw, "store": "", "seconds": 0} == {**two.raw, "store": "", "seconds": 0}


def test_damage_that_is_no_cut_is_refused_with_the_flag_too(tmp_path):
    content, _ = file("gz", "one")
    path = tmp_path / "log.jsonl.gz"
    for damaged in (content + b"garbage", content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match="corrupt after"):
            events.ingest(path, tmp_path / "store", salvage=True)


def test_a_mended_file_of_other_bytes_needs_another_name_and_repeats_nothing(tmp_path):
    content, _ = file("gz", "one")
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(content[: len(content) // 2])
    kept = events.ingest(path, tmp_path / "store", salvage=True).balance["committed"]
    assert 0 < kept < 240
    path.write_bytes(gzip.compress(b"".join(LINES), compresslevel=1))
    with pytest.raises(OSError, match="rewritten: its first bytes have another checksum"):
        events.ingest(path, tmp_path / "store", salvage=True)
    mended = path.rename(tmp_path / "mended.jsonl.gz")
    assert books(events.ingest(mended, tmp_path / "store")) == (240, 240 - kept, kept, 0, 0)
    other = write(tmp_path / "plain.jsonl", b"".join(LINES).decode())
    whole = events.ingest(other, tmp_path / "whole")
    assert events.verify(tmp_path / "store")["digest"] == whole.digest


def test_standard_input_that_is_cut_off_is_kept_for_good(tmp_path):
    content = gzip.compress(b"".join(LINES[:4]) + LINES[4][:20])[:-3]
    command = [sys.executable, "-m", "unskew.cli", "ingest", "-", "--store", tmp_path / "store", "--salvage"]
    subprocess.run(command, input=content, check=True, capture_output=True)
    events.ingest(write(tmp_path / "more.jsonl", good(1, 700)), tmp_path / "store")
    rows = table(tmp_path / "store", "quarantine").to_pylist()
    assert [(row["reason"], row["line"]) for row in rows] == [("torn", 5), ("corrupt", 6)]
    assert stored(tmp_path / "store")["committed"] == 5
