"""What each stage of scale-out costs for an event: CPU seconds, and bytes of the letters between stages.

A generated log of `bench_ingest` in eight files is read by one process, and by the stages of eight shards one
after the other in one process, so that CPU is that of all workers together. The two stores must be equal.

    python benches/bench_scale.py [--gigabytes 0.25] [--shards 8] [--write benches/RESULTS.md]
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench_ingest import generate
from unskew import _rust, events, scale

NAMES = (
    "0 map: text to parts, rows by their own key",
    "1 reduce: which rows stand",
    "2 shard: rows by response, request, session",
    "3 reduce: feedback on rows, pairs",
    "4 shard: pairs written, users' moments",
    "5 reduce: what came before each row",
    "6 shard: observations written",
)


@dataclass
class Measured(scale.Local):
    """CPU seconds of each stage."""

    cpu: list[float] = field(default_factory=list)

    def step(self, letters, work):
        """A stage, timed."""
        begin = time.process_time()
        done = super().step(letters, work)
        self.cpu.append(time.process_time() - begin)
        return done


def cut(log: Path, folder: Path, count: int) -> list[Path]:
    """The lines of a log in so many files."""
    paths, step = [], log.stat().st_size // count + 1
    with log.open("rb") as source:
        for number in range(count):
            paths.append(folder / f"{number:03}.jsonl")
            paths[-1].write_bytes(source.read(step) + source.readline())
    return paths


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
        paths = cut(log, folder, given.shards)
        size = log.stat().st_size
        log.unlink()
        begin = time.process_time()
        one = events.ingest(paths, folder / "one", threads=1)
        alone = time.process_time() - begin
        engine, begin = Measured(), time.process_time()
        spread = scale.ingest(paths, folder / "spread", engine=engine)
        total = time.process_time() - begin
        assert one.digest == spread.digest, "the stores differ"
        parts = json.loads(_rust.open_store(str(folder / "spread")))["parts"]
        text = sum(part["bytes"] for table in ("impressions", "feedback") for part in parts[table])
    rows = one.balance["lines"]
    out = [
        f"{size / 1e9:.2f} GB, {rows:,} lines, {one.live['impressions']:,} responses and "
        f"{one.live['feedback']:,} feedback events; {len(paths)} shards and partitions; digests equal.",
        "",
        "| stage | CPU µs an event | bytes an event in letters |",
        "|---|---:|---:|",
    ]
    for stage, cpu, sent in zip(NAMES, engine.cpu, engine.shuffled, strict=True):
        out.append(f"| {stage} | {cpu / rows * 1e6:.2f} | {sent / rows:.1f} |")
    driver = total - sum(engine.cpu)
    out += [
        f"| driver, commit, memory of letters | {driver / rows * 1e6:.2f} | |",
        f"| together | {total / rows * 1e6:.2f} | {sum(engine.shuffled) / rows:.1f} |",
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
