"""A bot flood: 3 users beside 500 make 30 % of all feedback, all of it wrong; how far that moves each model.

    python benches/bench_poison.py [--seeds 5] [--world label] [--bots 3] [--share 0.3] [--no-gold]

For each seed one log of honest users, and the same log with the bots behind it; both take the whole road
(ingest, audit, train, out-of-fold predictions). The ranking loss, 1 - AUC against the truth, is measured on
the responses of the honest users alone, the same in both. `auto` is what `unskew train` does, `auto, no
defence` the same with `user_cap: null`. Results go to benches/RESULTS.md by hand.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from unskew import events, pipeline, simulate
from unskew.data import Store
from unskew.pipeline.arms import train_arm
from unskew.pipeline.auto import choose
from unskew.pipeline.material import judge
from unskew.pipeline.store import keep_gold, open_material
from unskew.quickstart import truth_of

HONEST = 16_400
"""Responses of the honest users: about 500 of them leave feedback."""


def measured(
    home: Path, world: str, seed: int, bots: "tuple[int, float] | None", gold: bool
) -> dict[str, Any]:
    """Ranking loss of each arm on the responses of honest users, and what the audit says about users."""
    simulate.simulate(home / "log", HONEST, simulate.named(world), seed, bots=bots)
    (home / "key").write_text("the key of a bench that keeps nothing")
    events.ingest([home / "log" / "events"], home / "store", key_file=home / "key")
    store = Store.open(home / "store")
    if gold:
        keep_gold(store, home / "log" / "gold.jsonl")
    truth = truth_of(home / "log", store).label
    found: dict[str, Any] = {}
    for arm, cap in (("auto", pipeline.TrainConfig().user_cap), ("auto, no defence", None)):
        if cap is None and not found["users"]["share"]:  # nothing was set aside, so nothing can differ
            found[arm] = found["auto"]
            continue
        settings = pipeline.TrainConfig(seed=seed, user_cap=cap)
        start = time.process_time()
        material, _ = open_material(store, settings)
        honest = np.array([int(name[1:]) < HONEST for name in material.examples.response_id])
        verdict = judge(material)
        names = {arm: choose(settings, verdict)} | ({"naive": "naive"} if cap else {})
        for label, name in names.items():
            reward = train_arm(material, name, settings).reward
            found[label] = 1 - float(roc_auc_score(truth[honest], reward[honest]))
        if cap:
            users = verdict.figures["users"]
            found["estimator"], found["colour"] = names[arm], verdict.colour
            found["users"] = {name: users[name] for name in ("users", "capped", "left_out", "share")}
            found["seconds"] = time.process_time() - start
    return found


def main() -> None:
    """Run all seeds and print the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--world", default="label", choices=list(simulate.WORLDS))
    parser.add_argument("--bots", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--no-gold", action="store_true", help="no gold labels at all")
    given = parser.parse_args()
    runs = []
    for seed in range(given.seeds):
        pair = []
        for bots in (None, (given.bots, given.share)):
            with tempfile.TemporaryDirectory() as folder:
                pair.append(measured(Path(folder), given.world, seed, bots, not given.no_gold))
        runs.append(pair)
        print(seed, json.dumps(pair), file=sys.stderr)
    arms = ("naive", "auto", "auto, no defence")
    print("| ranking loss of | without bots | with bots | moved by (seeds) | as a share of naive |")
    print("|---|---|---|---|---|")
    naive = np.mean([with_["naive"] - without["naive"] for without, with_ in runs])
    for arm in arms:
        moved = [with_[arm] - without[arm] for without, with_ in runs]
        before, after = (np.mean([pair[at][arm] for pair in runs]) for at in (0, 1))
        seeds = " ".join(f"{value:+.4f}" for value in moved)
        print(
            f"| {arm} | {before:.4f} | {after:.4f} | {np.mean(moved):+.4f} ({seeds}) "
            f"| {np.mean(moved) / naive:+.1%} |"
        )
    print(
        f"\n{given.seeds} seeds, world {given.world}, {given.bots} bots with {given.share:.0%} of the events"
        f", {'no' if given.no_gold else '600'} gold labels; "
        f"{os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}."
    )


if __name__ == "__main__":
    main()
