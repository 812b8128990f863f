"""Choices between two responses as evidence on each of them.

    python benches/bench_choices.py [--responses 16000] [--seeds 5] [--jobs 2]

Half of the prompts of a log of `smooth_worlds` have a choice between their two responses, which errs at two
rates by slot. Beside the same log without choices: thumbs alone, or every kind; no gold, or 200 labels.
The likelihood takes whoever chooses to like what the other kinds speak of, and another look to decide where
both are liked, or neither; people who throw a coin then, or who decide by a fresh look whatever the labels
were, break that. Brier / AUC out of fold against the true labels; the true rates beside the fitted ones.
"""

import argparse
import json
import platform
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.bench_worlds import WORLDS, weigh
from benches.smooth_worlds import DECIDES, chosen, draw, labelled

FNR, FPR = 0.25, 0.10
NAMES = ("label", "features", "u")
KINDS = {"thumbs": ("thumbs",), "every kind": ()}
GOLD = (0, 200)


def run(given: tuple[str, int, int]) -> dict[str, Any]:
    """Every arm of one world and seed."""
    name, seed, responses = given
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    drawn = draw(WORLDS[name], responses, seed)
    found: dict[str, Any] = {"world": name, "seed": seed}
    for size in GOLD:
        rows = labelled(drawn, size, seed) if size else drawn.rows
        for kinds, names in KINDS.items():
            for decides in ("", *(DECIDES if kinds == "thumbs" else DECIDES[:1])):
                pairs = chosen(drawn, decides, seed, (FNR, FPR)) if decides else None
                fit = weigh(rows, drawn.X, names, pairs)
                rates = {row["parameter"]: row for row in fit.tables if row["kind"] == "choice"}
                found[f"{kinds}|{size}|{decides}"] = {
                    "brier": float(np.mean((fit.q - drawn.truth) ** 2)),
                    "auc": float(roc_auc_score(drawn.truth, fit.q)),
                    "rates": [rates[part]["estimate"] for part in ("fnr", "fpr")] if rates else None,
                    "inside": [
                        rates[part]["low"] <= true <= rates[part]["high"]
                        for part, true in (("fnr", FNR), ("fpr", FPR))
                    ]
                    if rates
                    else None,
                }
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """Means over seeds."""
    lines = [
        "| world | kinds | gold | without choices | with choices | lower on | fitted errors | inside | "
        "ties by a coin | always a fresh look |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in NAMES:
        mine = [run for run in runs if run["world"] == name]
        for kinds in KINDS:
            for size in GOLD:

                def arm(decides: str, kinds: str = kinds, size: int = size, mine: Any = mine) -> Any:
                    return [run[f"{kinds}|{size}|{decides}"] for run in mine]

                def mean(arms: Any) -> str:
                    both = [np.mean([one[part] for one in arms]) for part in ("brier", "auc")]
                    return "{:.4f}/{:.3f}".format(*both)

                without, told = arm(""), arm(DECIDES[0])
                lower = sum(t["brier"] < w["brier"] for t, w in zip(told, without, strict=True))
                fnr, fpr = np.mean([one["rates"] for one in told], 0)
                inside = np.mean([one["inside"] for one in told])
                others = [mean(arm(way)) if kinds == "thumbs" else "–" for way in DECIDES[1:]]
                lines.append(
                    f"| {name} | {kinds} | {size} | {mean(without)} | {mean(told)} | "
                    f"{lower} of {len(mine)} | {fnr:.2f}, {fpr:.2f} | {inside:.0%} | {' | '.join(others)} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--responses", type=int, default=16_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    work = [(name, seed, told.responses) for seed in range(told.seeds) for name in NAMES]
    runs = []
    with ProcessPoolExecutor(told.jobs, mp_context=get_context("spawn")) as pool:
        for one in pool.map(run, work):
            print(one["world"], one["seed"], file=sys.stderr, flush=True)
            runs.append(one)
    if told.json:
        told.json.write_text(json.dumps(runs))
    print(f"torch {torch.__version__}, Python {platform.python_version()}\n\n{table(runs)}")


if __name__ == "__main__":
    main()
