"""Ingestion with and without a budget of memory: the same log, each run in a process of its own, in turns.

The digests are compared before anything is printed. Peak is VmHWM of the process, interpreter included; the
base is that of a process that ingests a log of one line. CPU is user and system time of the ingestion.

    python benches/bench_memory.py [--gigabytes 1] [--budget 256MB] [--rounds 3] [--folder DIR] [--write FILE]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from event_log import generate

CODE = """
import json, os, sys, time
from unskew import _rust
began, before = time.perf_counter(), os.times()
report = json.loads(_rust.ingest([sys.argv[1]], sys.argv[2], memory=sys.argv[3] or None))
after = os.times()
print(json.dumps({
    "digest": report["digest"],
    "events": report["live"]["impressions"] + report["live"]["feedback"],
    "wall": time.perf_counter() - began,
    "cpu": after.user + after.system - before.user - before.system,
    "peak": int(next(line for line in open("/proc/self/status") if "VmHWM" in line).split()[1]) / 1000,
}))
"""


def run(log: Path, budget: str | None, folder: Path) -> dict[str, float]:
    """One ingestion into a new store, deleted at once."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-c", CODE, str(log), f"{out}/store", budget or ""]
        environment = os.environ | {"UNSKEW_KEY": "0" * 32}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def measure(gigabytes: float, budgets: list[str], rounds: int, folder: Path) -> str:
    """The table of all budgets, after all digests were found equal."""
    log, one = folder / "log.jsonl", folder / "one.jsonl"
    generate(log, gigabytes)
    with log.open() as lines:
        one.write_text(next(lines))
    base = run(one, None, folder)["peak"]
    runs: dict[str | None, list[dict[str, float]]] = {budget: [] for budget in (None, *budgets)}
    for _ in range(rounds):
        for budget, done in runs.items():
            done.append(run(log, budget, folder))
    digests = {done["digest"] for results in runs.values() for done in results}
    assert len(digests) == 1, digests
    size, events = log.stat().st_size / 1e9, runs[None][0]["events"]
    rows = [
        f"{size:.2f} GB, {events:,.0f} live events, base {base:.0f} MB, median of {rounds}, equal digests.\n",
        "| budget | peak, MB | above base, MB | wall, s | CPU, s | CPU of no budget |",
        "|---|---|---|---|---|---|",
    ]
    whole = median(done["cpu"] for done in runs[None])
    for budget, results in runs.items():
        peak, wall, cpu = (median(done[name] for done in results) for name in ("peak", "wall", "cpu"))
        numbers = f"{peak:.0f} | {peak - base:.0f} | {wall:.2f} | {cpu:.2f} | {cpu / whole:.2f}"
        rows.append(f"| {budget or 'none'} | {numbers} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Runs it and prints, or appends, the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--budget", nargs="+", default=["256MB"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the log and the stores go, and are deleted")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table = measure(options.gigabytes, options.budget, options.rounds, Path(folder))
    title = f"## Memory: {options.gigabytes:g} GB with and without a budget ({time.strftime('%Y-%m-%d')})\n\n"
    where = f"`python benches/bench_memory.py`, {platform.machine()}, {os.cpu_count()} processors. "
    print(table)
    if options.write:
        with options.write.open("a") as out:
            out.write("\n" + title + where + table)


if __name__ == "__main__":
    main()
