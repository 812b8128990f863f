"""Ingestion of the same log in every format: what the way through JSON lines costs.

The log of `event_log` as JSON lines, JSON array, CSV, Parquet and Arrow table in memory. The digests of
the stores are compared before any time is printed; megabytes are those of the JSON lines, so rates compare.

    python benches/bench_formats.py [--gigabytes 0.2] [--rounds 3]
"""

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from event_log import generate
from unskew import events


def rows_of(log: Path) -> list[dict[str, Any]]:
    """The events of a log."""
    with log.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_array(rows: list[dict[str, Any]], path: Path) -> Path:
    """All events in one array on one line."""
    path.write_text(compact(rows), encoding="utf-8")
    return path


def write_csv(rows: list[dict[str, Any]], path: Path) -> Path:
    """A record an event, nested values as JSON."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows:
            cells = (row.get(name) for name in names)
            writer.writerow([compact(c) if isinstance(c, (list, dict)) else c for c in cells])
    return path


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """A row an event."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Parse, write the formats, ingest them in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        log, key = home / "log.jsonl", home / "key"
        key.write_text("a key for this bench only")
        generate(log, wanted.gigabytes)
        rows = rows_of(log)
        log.write_text("".join(compact(row) + "\n" for row in rows), encoding="utf-8")
        table = as_table(rows)
        pq.write_table(table, home / "log.parquet")
        inputs: dict[str, Any] = {
            "JSON lines": log,
            "JSON array": write_array(rows, home / "log.json"),
            "CSV": write_csv(rows, home / "log.csv"),
            "Parquet": home / "log.parquet",
            "Arrow table": table,
        }
        megabytes = log.stat().st_size / 1e6
        took: dict[str, list[tuple[float, float]]] = {name: [] for name in inputs}
        digests = set()
        for turn in range(wanted.rounds):
            for name, given in inputs.items():
                begun, spent = time.perf_counter(), time.process_time()
                report = events.ingest(given, home / f"{turn}-{name}", key_file=key)
                took[name].append((time.perf_counter() - begun, time.process_time() - spent))
                digests.add(report.digest)
        if len(digests) != 1:
            raise SystemExit(f"the stores differ: {digests}")
    print(f"{megabytes:.0f} MB of JSON lines, {len(rows)} events, {os.cpu_count()} cores")
    for name, runs in took.items():
        wall, cpu = (median(run) for run in zip(*runs, strict=True))
        print(f"{name:12} {wall:6.2f} s, {cpu:6.2f} CPU s, {megabytes / wall:5.0f} MB/s")


if __name__ == "__main__":
    main()
