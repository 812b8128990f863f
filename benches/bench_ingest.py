"""Ingestion beside its peers: the same log, the same job, the same run.

The job: parse a canonical log, drop repeats by event id, join feedback to responses within seven days,
keep the last thumb, any copy, the number of events and the first delay of each response, write all columns
with their text, and count responses and ratings by surface, model, slot, language and length. Every tool runs
in a process of its own, in turns; the answers are compared before any time is printed. The peers
(`ingest_peers`) get explicit schemas, only the columns of the job, two threads, and write Parquet with
snappy; unskew does its whole job: strict JSON, keyed hashes, quarantine, counters, digest, fsync and
commit. Before it comes reading alone (`bench_parse`). Given is the fastest run and, in brackets or beside it,
the median. `--growth` instead shows time and memory of ours as the log grows.

    python benches/bench_ingest.py [--gigabytes 1.1] [--rounds 5] [--log FILE] [--write benches/RESULTS.md]
    python benches/bench_ingest.py --growth 1 3 10 [--folder DIR]
"""

import argparse
import importlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bench_parse
import ingest_peers
import side_by_side
from event_log import generate
from ingest_peers import JOBS, THREADS, Found
from side_by_side import Run

STORE, PARQUET, BOUNDED = "unskew, store", "unskew, Parquet", "unskew, store, 256 MB"
LIBRARIES = {
    "composite": "datafusion",
    STORE: "unskew.events",
    PARQUET: "unskew.export",
    BOUNDED: "unskew.events",
}
ANSWER = {
    "observations": ["live", "o_kinds", "pos_kinds", "n_pos", "n_neg", "first_delay_ms"],
    "impressions": ["response"],
    "cells": ["n_exp"],
}
VERSIONS = ("polars", "duckdb", "datafusion", "pyarrow", "datasets")


def job_store(log: str, out: str, memory: str | None = None) -> None:
    """Our own."""
    from unskew import _rust

    _rust.ingest([log], f"{out}/store", threads=THREADS, memory=memory)


def job_parquet(log: str, out: str) -> None:
    """Our own, and its tables as folders of Parquet, two of them row by row beside each other."""
    from unskew.export import export

    job_store(log, out)
    for table in ("impressions", "observations", "cells"):
        export(f"{out}/store", f"{out}/{table}", form="parquet", table=table)


def answer_store(out: str) -> Found:
    """Read from the store."""
    from unskew.data import Store

    store = Store.open(f"{out}/store")
    return counted(*(store.table(name, columns) for name, columns in ANSWER.items()))


def answer_parquet(out: str) -> Found:
    """Read from our Parquet files."""
    import pyarrow.parquet as pq

    return counted(*(pq.read_table(f"{out}/{name}", columns=columns) for name, columns in ANSWER.items()))


def counted(told: Any, texts: Any, cells: Any) -> Found:
    """The answer of observations, their texts and the counters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    live = told["live"]

    def has(mask: str, bit: int) -> int:
        found = pc.not_equal(pc.bit_wise_and(told[mask], pa.scalar(bit, pa.uint32())), 0)
        return int(pc.sum(pc.and_(live, found)).as_py())

    return {
        "responses": pc.sum(live).as_py(),
        "rated": has("o_kinds", 1),
        "liked": has("pos_kinds", 1),
        "copied": has("pos_kinds", 8),
        "events": sum(pc.sum(told[name]).as_py() for name in ("n_pos", "n_neg")),
        "first_delay": pc.sum(told["first_delay_ms"]).as_py() // 1000,
        "text": pc.sum(pc.filter(pc.binary_length(texts["response"]), live)).as_py(),
        **ingest_peers.cells_of(cells["n_exp"]),
    }


TOOLS: dict[str, tuple[Callable[[str, str], None], Callable[[str], Found]]] = {
    STORE: (job_store, answer_store),
    PARQUET: (job_parquet, answer_parquet),
    **{name: (job, ingest_peers.answer) for name, job in JOBS.items()},
}


GROWING = {STORE: job_store, BOUNDED: partial(job_store, memory="256MB")}


def work(tool: str, log: str, out: str) -> None:
    """One tool in this process; of ours also the run that finds nothing new."""
    for name in ("pyarrow.parquet", "pyarrow.compute", LIBRARIES.get(tool, tool)):
        importlib.import_module(name)

    def again() -> Run:
        began = time.perf_counter()
        job_store(log, out)
        return {"again": time.perf_counter() - began}

    job = GROWING[tool] if tool in GROWING else TOOLS[tool][0]
    side_by_side.measured(lambda: job(log, out))
    if tool == STORE:
        print(json.dumps(again()))


def jobs(log: Path, rounds: int, scratch: Path) -> str:
    """The table of the full job."""
    answers: dict[str, Found] = {}

    def run(tool: str) -> Run:
        out = scratch / "out"
        out.mkdir()
        done = side_by_side.script(__file__, "--tool", tool, "--log", log, "--out", out)
        if tool not in answers:
            answers[tool] = TOOLS[tool][1](str(out))
        shutil.rmtree(out)
        return done

    runs = side_by_side.rounds({tool: partial(run, tool) for tool in TOOLS}, rounds)
    side_by_side.agreed(answers)
    answer, size = answers[STORE], log.stat().st_size / 1e9
    lines = [
        f"{size:.2f} GB, {answer['responses']:,} responses, {answer['rated']:,} rated,",
        f"{answer['copied']:,} copied; equal answers; the fastest of {rounds} rounds, and by medians.",
        "",
        "| tool | wall s | median | CPU s | peak MB | GB/s | its wall / store's | its wall / our Parquet's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for tool, its in runs.items():
        best, middle = side_by_side.fastest(its), side_by_side.typical(its)
        ratios = " | ".join(side_by_side.times(its, runs[ours]) for ours in (STORE, PARQUET))
        numbers = f"{best['wall']:.2f} | {middle:.2f} | {best['cpu']:.2f} | {best['peak']:.0f}"
        lines.append(f"| {tool} | {numbers} | {size / best['wall']:.2f} | {ratios} |")
    single = {tool: side_by_side.fastest(runs[tool]) for tool in JOBS if tool != "composite"}
    peer = min(single, key=lambda tool: single[tool]["wall"])
    lean = min(single, key=lambda tool: single[tool]["peak"])
    store, parquet = (side_by_side.fastest(runs[ours]) for ours in (STORE, PARQUET))
    ahead, written = (side_by_side.times(runs[peer], runs[ours]) for ours in (STORE, PARQUET))
    lines += [
        "",
        f"Bars: to the store {ahead} times as fast as {peer}, the fastest single tool (3), and",
        f"{store['peak']:.0f} MB (350); to Parquet {written} times as fast (2), with",
        f"{parquet['peak'] / single[lean]['peak']:.2f} of the peak of {lean}, the leanest (.20); a run that",
        f"finds nothing new takes {store['again'] / store['wall']:.2%} of the first (1 %).",
    ]
    return "\n".join(lines) + "\n"


def growth(sizes: list[float], folder: Path) -> str:
    """Time and memory of ours as the log grows, with and without a budget of memory."""
    lines = ["| GB | tool | wall s/GB | CPU s/GB | peak MB |", "|---|---|---|---|---|"]
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            log, out = Path(scratch, "log.jsonl"), Path(scratch, "out")
            generate(log, size)
            found = log.stat().st_size / 1e9
            for tool in GROWING:
                out.mkdir()
                run = side_by_side.script(__file__, "--tool", tool, "--log", log, "--out", out)
                shutil.rmtree(out)
                wall, cpu = run["wall"] / found, run["cpu"] / found
                lines.append(f"| {found:.2f} | {tool} | {wall:.2f} | {cpu:.2f} | {run['peak']:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Generate, compare the answers, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--reader", type=Path, help="reader.rs, if it is built already")
    parser.add_argument("--growth", type=float, nargs="+", help="gigabytes of the logs")
    parser.add_argument("--folder", type=Path, help="where logs and stores go, and are deleted")
    parser.add_argument("--tool", choices=[*TOOLS, BOUNDED])
    parser.add_argument("--out")
    parser.add_argument("--write", type=Path, help="replace the section '## Ingestion' of this file")
    options = parser.parse_args()
    if options.tool:
        work(options.tool, str(options.log), options.out)
        return
    if options.growth:
        title, versions = "Ingestion as the log grows", ("pyarrow",)
        parts = [growth(options.growth, options.folder)]
    else:
        title, versions, parts = "Ingestion", VERSIONS, []
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            folder = Path(scratch)
            log = options.log or folder / "log.jsonl"
            if not log.exists():
                generate(log, options.gigabytes)
            reader = options.reader or side_by_side.reader()
            parts += ["### Reading alone\n", bench_parse.plain(log, options.rounds, reader)]
            print(parts[-1], flush=True)
            parts += ["### Compressed\n", bench_parse.packed(folder, options.rounds, reader)]
            print(parts[-1], flush=True)
            parts += ["### The full job\n", jobs(log, options.rounds, folder)]
    told = f"`python benches/bench_ingest.py`, two threads each; {side_by_side.machine(versions)}.\n"
    text = "\n".join([told, *parts])
    print(text)
    if options.write:
        side_by_side.write(options.write, title, text)


if __name__ == "__main__":
    main()
