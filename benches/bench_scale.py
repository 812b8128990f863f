"""What each stage of scale-out costs for an event: CPU seconds, and bytes of the letters between stages.

A generated log of `bench_ingest` in eight files is read by one process, and by the stages of eight shards one
after the other in one process, so that CPU is that of all workers together. Then its lines are dealt to the
files at random, so that nothing that belongs together is together. The stores must be equal each time.

    python benches/bench_scale.py [--gigabytes 0.25] [--shards 8] [--write benches/RESULTS.md]
"""

import argparse
import contextlib
import json
import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench_ingest import generate
from unskew import _rust, events, scale

NAMES = (
    "0 map: text to parts, fingerprints of keys",
    "1 partition: which keys several shards have",
    "2 rows that may be repeated elsewhere",
    "3 what stands, to where it meets",
    "4 reduce: feedback on rows, pairs",
    "5 pairs written, users' moments",
    "6 reduce: what came before each row",
    "7 observations written",
)


@dataclass
class Measured(scale.Local):
    """CPU seconds of each stage, and bytes that it wrote beside the parts."""

    beside: Path = Path()
    cpu: list[float] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def step(self, letters, work):
        """A stage, timed."""
        begin = time.process_time()
        done = super().step(letters, work)
        self.cpu.append(time.process_time() - begin)
        size = sum(path.stat().st_size for path in self.beside.iterdir())
        self.kept.append(size - sum(self.kept))
        return done


def cut(log: Path, folder: Path, count: int) -> list[Path]:
    """The lines of a log in so many files, in order."""
    paths, step = [], log.stat().st_size // count + 1
    with log.open("rb") as source:
        for number in range(count):
            paths.append(folder / f"{number:03}.jsonl")
            paths[-1].write_bytes(source.read(step) + source.readline())
    return paths


def deal(log: Path, folder: Path, count: int) -> list[Path]:
    """The lines of a log in so many files, at random."""
    drawn, paths = random.Random(0), [folder / f"dealt-{number:03}.jsonl" for number in range(count)]
    with log.open("rb") as source, contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for line in source:
            drawn.choice(files).write(line)
    return paths


def spread(paths: list[Path], folder: Path) -> tuple[Measured, float, float]:
    """What the stages cost, and CPU seconds of all workers and of one process."""
    begin = time.process_time()
    one = events.ingest(paths, folder / "one", threads=1)
    alone = time.process_time() - begin
    engine, begin = Measured(beside=folder / "spread" / "spill"), time.process_time()
    report = scale.ingest(paths, folder / "spread", engine=engine)
    total = time.process_time() - begin
    assert (one.digest, one.balance, one.live) == (report.digest, report.balance, report.live), "they differ"
    return engine, total, alone


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.25)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        generate(log, given.gigabytes)
        size = log.stat().st_size
        paths = cut(log, folder, given.shards)
        engine, total, alone = spread(paths, folder)
        ledger = json.loads(_rust.open_store(str(folder / "spread")))
        text = sum(part["bytes"] for table in ("impressions", "feedback") for part in ledger["parts"][table])
        shutil.rmtree(folder / "one")
        shutil.rmtree(folder / "spread")
        dealt, _, _ = spread(deal(log, folder, given.shards), folder)
    rows, live = ledger["balance"]["lines"], ledger["live"]
    out = [
        f"{size / 1e9:.2f} GB, {rows:,} lines, {live['impressions']:,} responses and {live['feedback']:,} "
        f"feedback events; {len(paths)} shards; digests, books and counts of live rows equal.",
        "",
        "| stage | CPU µs an event | bytes an event in letters | dealt at random | kept beside the parts |",
        "|---|---:|---:|---:|---:|",
    ]
    letters = (engine.shuffled, dealt.shuffled, engine.kept)
    for stage, cpu, *sizes in zip(NAMES, engine.cpu, *letters, strict=True):
        sent = " | ".join(f"{size / rows:.1f}" for size in sizes)
        out.append(f"| {stage} | {cpu / rows * 1e6:.2f} | {sent} |")
    driver = total - sum(engine.cpu)
    sums = " | ".join(f"{sum(sizes) / rows:.1f}" for sizes in letters)
    out += [
        f"| driver, commit, memory of letters | {driver / rows * 1e6:.2f} | | | |",
        f"| together | {total / rows * 1e6:.2f} | {sums} |",
        "",
        f"One process alone takes {alone / rows * 1e6:.2f} µs an event, so all workers together take "
        f"{total / alone:.2f} times its CPU ({total / size * 1e9:.1f} s/GB, of it the driver "
        f"{driver / size * 1e9:.2f}). Text in parts: {text / rows:.0f} bytes an event.",
    ]
    print("\n".join(out))
    if given.write:
        with given.write.open("a", encoding="utf-8") as target:
            target.write(
                "\n## Scale-out of ingestion\n\n`python benches/bench_scale.py`: " + "\n".join(out) + "\n"
            )


if __name__ == "__main__":
    main()
