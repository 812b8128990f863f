"""Reading a log to columns: our reader alone beside the peers and beside what no reader can beat.

Rows and bytes of text are compared before any time is printed. Ours is the program `reader.rs`, twice: to
columns, which is strict JSON into Arrow batches of every field as it is and what the peers do; and to the
rows of the store, with types, keyed hashes of ids, HMAC of people, hashes of content, and the look for
addresses. Given is the fastest run of each and, in brackets or beside it, the median. Seconds are those of
the work in the process, without its start and imports; the peak is that of the process, for the peers with
interpreter and library. Compressed input stands beside the decompressor alone.

    python benches/bench_parse.py [--gigabytes 1.1] [--rounds 5] [--log FILE] [--reader PROGRAM]
"""

import argparse
import importlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import side_by_side
from event_log import generate
from ingest_peers import PARSERS
from side_by_side import Run

FLOOR = "newlines, one thread"
ONE, TWO = "unskew, columns, one thread", "unskew, columns, two threads"
ROWS = {"unskew, rows, one thread": 1, "unskew, rows, two threads": 2}
PACKED = 0.25
"""Gigabytes of text of the compressed logs."""


def plain(log: Path, rounds: int, reader: Path) -> str:
    """The table of a log as it is."""
    tools: dict[str, Callable[[], Run]] = {
        FLOOR: partial(side_by_side.child, [reader, "newlines", log]),
        ONE: partial(side_by_side.child, [reader, "columns", log, 1]),
        TWO: partial(side_by_side.child, [reader, "columns", log, 2]),
    }
    for name, threads in ROWS.items():
        tools[name] = partial(side_by_side.child, [reader, "batches", log, threads])
    for name in PARSERS:
        tools[name] = partial(side_by_side.script, __file__, "--tool", name, "--log", log)
    runs = side_by_side.rounds(tools, rounds)
    side_by_side.agreed({name: its[0]["rows"] for name, its in runs.items()})
    side_by_side.agreed({name: its[0]["text"] for name, its in runs.items() if name != FLOOR})
    size, lines_read = log.stat().st_size / 1e9, runs[FLOOR][0]["rows"]
    lines = [
        f"{size:.2f} GB, {lines_read:,.0f} lines; the fastest of {rounds} rounds, and by medians.",
        "",
        "| reader | wall s | median | CPU s | peak MB | GB/s | wall / newlines |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, its in runs.items():
        best, ratio = side_by_side.fastest(its), side_by_side.times(its, runs[FLOOR])
        numbers = (
            f"{best['wall']:.2f} | {side_by_side.typical(its):.2f} | {best['cpu']:.2f} | {best['peak']:.0f}"
        )
        lines.append(f"| {name} | {numbers} | {size / best['wall']:.2f} | {ratio} |")
    peer = min(PARSERS, key=lambda name: side_by_side.fastest(runs[name])["wall"])
    one, two = (side_by_side.times(runs[ours], runs[FLOOR]) for ours in (ONE, TWO))
    ahead, peak = side_by_side.times(runs[peer], runs[TWO]), side_by_side.fastest(runs[TWO])["peak"]
    lines += [
        "",
        f"Bars, to columns: one thread {one} times the floor (4.0), two {two} (2.4);",
        f"{ahead} times as fast as {peer}, the fastest peer (2.8); {peak:.0f} MB (64).",
    ]
    return "\n".join(lines) + "\n"


def packed(folder: Path, rounds: int, reader: Path) -> str:
    """The table of compressed logs, read by two threads."""
    import pyarrow as pa

    text = folder / "packed.jsonl"
    generate(text, PACKED)
    lines = [
        f"{text.stat().st_size / 1e9:.2f} GB of text; the fastest of {rounds} rounds, and by medians.",
        "",
        "| input | decompressor alone, s | to columns, s | ratio (bar 1.2) | to rows, s | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for ending, codec in (("gz", "gzip"), ("zst", "zstd")):
        file = folder / f"packed.jsonl.{ending}"
        with text.open("rb") as source, pa.CompressedOutputStream(str(file), codec) as out:
            while piece := source.read(1 << 20):
                out.write(piece)
        tools = {
            FLOOR: partial(side_by_side.child, [reader, "newlines", text]),
            "alone": partial(side_by_side.child, [reader, "unpack", file]),
            "columns": partial(side_by_side.child, [reader, "columns", file, 2]),
            "rows": partial(side_by_side.child, [reader, "batches", file, 2]),
        }
        runs = side_by_side.rounds(tools, rounds)
        side_by_side.agreed({"text": text.stat().st_size, "unpacked": runs["alone"][0]["text"]})
        side_by_side.agreed({way: runs[way][0]["rows"] for way in (FLOOR, "columns", "rows")})
        found = [f"{side_by_side.fastest(runs['alone'])['wall']:.2f}"]
        for way in ("columns", "rows"):
            wall = side_by_side.fastest(runs[way])["wall"]
            found += [f"{wall:.2f}", side_by_side.times(runs[way], runs["alone"])]
        lines.append(f"| {ending} | {' | '.join(found)} |")
        file.unlink()
    text.unlink()
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs and prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--reader", type=Path, help="reader.rs, if it is built already")
    parser.add_argument("--tool", choices=PARSERS)
    options = parser.parse_args()
    if options.tool:
        for name in ("pyarrow.json", "pyarrow.compute", options.tool):
            importlib.import_module(name)
        side_by_side.measured(lambda: PARSERS[options.tool](str(options.log)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        log = options.log or Path(scratch) / "log.jsonl"
        if not log.exists():
            generate(log, options.gigabytes)
        reader = options.reader or side_by_side.reader()
        print(plain(log, options.rounds, reader))
        print(packed(Path(scratch), options.rounds, reader))


if __name__ == "__main__":
    main()
