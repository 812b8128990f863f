"""Reading a log to columns: our reader alone beside the peers and beside what no reader can beat.

Rows and bytes of text are compared before any time is printed. Ours is the program `reader.rs`, twice: to
columns, which is strict JSON into Arrow batches of every field as it is and what the peers do; and to the
rows of the store, with types, keyed hashes of ids, HMAC of people, hashes of content, and the look for
addresses. Seconds are those of the work in the process, without its start and imports; the peak is that of
the process, for the peers with interpreter and library. Compressed input stands beside the decompressor
alone.

    python benches/bench_parse.py [--gigabytes 1.1] [--rounds 3] [--log FILE] [--reader PROGRAM]
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

ONE, TWO = "unskew, columns, one thread", "unskew, columns, two threads"
ROWS = {"unskew, rows, one thread": 1, "unskew, rows, two threads": 2}
PACKED = 0.25
"""Gigabytes of text of the compressed logs."""


def plain(log: Path, rounds: int, reader: Path) -> str:
    """The table of a log as it is."""
    tools: dict[str, Callable[[], Run]] = {
        ONE: partial(side_by_side.child, [reader, "columns", log, 1]),
        TWO: partial(side_by_side.child, [reader, "columns", log, 2]),
    }
    for name, threads in ROWS.items():
        tools[name] = partial(side_by_side.child, [reader, "batches", log, threads])
    for name in PARSERS:
        tools[name] = partial(side_by_side.script, __file__, "--tool", name, "--log", log)
    floor = partial(side_by_side.child, [reader, "newlines", log])
    runs, floors, left_out = side_by_side.rounds(tools, floor, rounds)
    if not floors:
        raise SystemExit("no round stands: the machine was busy in all of them")
    side_by_side.agreed({name: [runs[name][0][key] for key in ("rows", "text")] for name in tools})
    least = side_by_side.middle(floors)
    size, mid = log.stat().st_size, {name: side_by_side.middle(its) for name, its in runs.items()}
    lines = [
        f"{size / 1e9:.2f} GB, {least['rows']:,.0f} lines;",
        f"median of {len(runs[ONE])} rounds, {left_out} left out.",
        "",
        "| reader | wall s | CPU s | peak MB | GB/s | wall / newlines |",
        "|---|---|---|---|---|---|",
    ]
    for name, its in {"newlines, one thread": least, **mid}.items():
        numbers = [
            its["wall"],
            its["cpu"],
            its["peak"],
            size / 1e9 / its["wall"],
            its["wall"] / least["wall"],
        ]
        wall, cpu, peak, rate, ratio = numbers
        lines.append(f"| {name} | {wall:.2f} | {cpu:.2f} | {peak:.0f} | {rate:.2f} | {ratio:.1f} |")
    fastest = min(PARSERS, key=lambda name: mid[name]["wall"])
    one, two = (mid[ours]["wall"] / least["wall"] for ours in (ONE, TWO))
    ahead = mid[fastest]["wall"] / mid[TWO]["wall"]
    lines += [
        "",
        f"Bars, to columns: one thread {one:.1f} times the floor (4.0), two {two:.1f} (2.4);",
        f"{ahead:.2f} times as fast as {fastest}, the fastest peer (2.8); {mid[TWO]['peak']:.0f} MB (64).",
    ]
    return "\n".join(lines) + "\n"


def packed(folder: Path, rounds: int, reader: Path) -> str:
    """The table of compressed logs, read by two threads."""
    import pyarrow as pa

    text = folder / "packed.jsonl"
    generate(text, PACKED)
    lines = [
        f"{text.stat().st_size / 1e9:.2f} GB of text.",
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
            "alone": partial(side_by_side.child, [reader, "unpack", file]),
            "columns": partial(side_by_side.child, [reader, "columns", file, 2]),
            "rows": partial(side_by_side.child, [reader, "batches", file, 2]),
        }
        floor = partial(side_by_side.child, [reader, "newlines", text])
        runs, floors, _ = side_by_side.rounds(tools, floor, rounds)
        if not floors:
            raise SystemExit("no round stands: the machine was busy in all of them")
        side_by_side.agreed({"text": text.stat().st_size, "unpacked": runs["alone"][0]["text"]})
        side_by_side.agreed(
            {"lines": floors[0]["rows"], **{way: runs[way][0]["rows"] for way in ("columns", "rows")}}
        )
        alone, columns, rows = (side_by_side.middle(runs[name])["wall"] for name in tools)
        ours = f"{columns:.2f} | {columns / alone:.2f} | {rows:.2f} | {rows / alone:.2f}"
        lines.append(f"| {ending} | {alone:.2f} | {ours} |")
        file.unlink()
    text.unlink()
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs and prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.1)
    parser.add_argument("--rounds", type=int, default=3)
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
