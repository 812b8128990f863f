"""A mapping beside the built-in reader: the same canonical log, read as such and through a mapping.

The mapping says of every canonical field that it stands where it stands, so both stores must have one digest;
that is asserted before any time is printed. One parsing thread, processor time of the whole job, both in
turns in one process, best of the rounds.

    python benches/bench_mappings.py [--gigabytes 0.1] [--rounds 5]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from event_log import generate
from unskew import events
from unskew.mappings.table import COLUMNS

RULE = (
    '[[record]]\nname = "{kind}"\ntype = "{kind}"\nwhen = {{ type = "{kind}" }}\n[record.columns]\n{columns}'
)


def identity() -> str:
    """The mapping of canonical lines onto themselves."""
    text = 'title = "canonical"\nsource = "canonical"\nschemas = ["1"]\n'
    for kind, names in COLUMNS.items():
        columns = "".join(f'{name} = "{name}"\n' for name in names)
        extra = '[record.extra]\nmeta = "meta"\n' if kind == "impression" else ""
        text += RULE.format(kind=kind, columns=columns) + extra
    return text


def main() -> None:
    """Print seconds and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ["UNSKEW_KEY"] = "a key that only this bench knows"
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        log, mapping = home / "log.jsonl", home / "identity.toml"
        generate(log, options.gigabytes)
        mapping.write_text(identity(), "utf-8")
        best: dict[str, float] = {}
        digests = set()
        for number in range(options.rounds):
            for name, chosen in (("built in", None), ("mapping", mapping)):
                started = time.process_time()
                report = events.ingest(log, home / f"{name}{number}", mapping=chosen, threads=1)
                took = time.process_time() - started
                best[name] = min(took, best.get(name, took))
                digests.add(report.digest)
        assert len(digests) == 1, digests
        size = log.stat().st_size / 1e9
        for name, seconds in best.items():
            print(f"{name:<10}{seconds:8.3f} s{size / seconds:8.2f} GB/s")
        print(
            f"a mapping reads at {best['built in'] / best['mapping']:.2f} of the speed of the built-in reader"
        )


if __name__ == "__main__":
    main()
