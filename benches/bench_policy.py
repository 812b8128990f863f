"""Policies trained on rewards that were learned in different ways, judged by the truth.

One simulated product with text and biased, noisy logs, whose true reward is a known function of any text. On
each seed: simulate, ingest, audit; reward models of the recipes below on the same log; one small policy that
learned to write as the log does; from it one policy a reward, by the same PPO on the same prompts.

    naive             thumbs and ratings as they come
    propensity only   inverse propensity weights, flips left in
    noise only        flips undone, selection left alone
    evidence          ours
    ideal             the same head trained on every true label, which no log has
    true              paid by the true quality itself, which no head on these features can equal

    python benches/bench_policy.py [--seeds 5] [--jobs 2] [--write benches/RESULTS.md]
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import transformers

from unskew import data, events, noise, pipeline, simulate
from unskew.data import Store
from unskew.estimators import Columns
from unskew.pipeline import policy
from unskew.pipeline.arms import fit_arm
from unskew.pipeline.config import featurizer
from unskew.pipeline.material import Material, judge
from unskew.pipeline.recipes import RECIPES, Target
from unskew.pipeline.store import open_material
from unskew.quickstart import probability, true_quality, truth_of
from unskew.reward import RewardModel

ARMS = ("naive", "propensity only", "noise only", "evidence", "ideal", "true")

KL_SHOWN = 12
"""Nats up to which a table shows the rounds."""


def material_of(home: Path, world: str, responses: int, seed: int) -> Material:
    """The main job up to the audit."""
    (home / "key").write_text("the key of a bench that keeps nothing")
    simulate.simulate(home / "log", responses, simulate.WORLDS[world], seed)
    events.ingest([home / "log" / "events"], home / "store", key_file=home / "key")
    settings = pipeline.TrainConfig(seed=seed)
    pipeline.audit_store(home / "store", gold=home / "log" / "gold.jsonl", settings=settings)
    material, _ = open_material(Store.open(home / "store"), settings)
    return replace(material, kinds=judge(material).kinds)


def rewards_of(material: Material, home: Path, seed: int) -> list[policy.Reward]:
    """One reward an arm."""
    label = truth_of(home / "log", Store.open(home / "store")).label
    clean = {name: noise.known(0.0, 0.0, kind=name) for name in material.propensities}
    targets = {
        "naive": RECIPES["naive"](material),
        "propensity only": RECIPES["ips"](replace(material, rates=clean, known=clean)),
        "noise only": RECIPES["noise_corrected"](material),
        "evidence": RECIPES["evidence"](material),
        "ideal": Target(Columns(np.ones(len(label)), label, np.zeros(len(label))), "brier"),
    }
    settings = pipeline.TrainConfig(seed=seed)
    roles = {"naive": "naive", "evidence": "ours", "ideal": "ideal"}
    models = {
        name: RewardModel(featurizer(settings.features), fit_arm(material, target, settings).head)
        for name, target in targets.items()
    }
    found = [policy.Reward(name, name, roles.get(name, "baseline"), model) for name, model in models.items()]
    return [*found, policy.Reward("true", "true", "ideal", true_quality)]


def run(given: tuple[int, str, int, policy.PolicyConfig]) -> dict[str, Any]:
    """All arms of one seed."""
    seed, world, responses, config = given
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    config = replace(config, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        home, begun = Path(folder), time.process_time()
        material = material_of(home, world, responses, seed)
        rewards = rewards_of(material, home, seed)
        texts = data.texts(Store.open(home / "store"), material.examples.row)
        start = policy.imitation(*texts, config)
        found = policy.train_policies(
            start, rewards, home / "policies", gold=true_quality, liked=probability, config=config
        )
        quality = true_quality(*texts)
    final = {arm["name"]: arm["final"]["true"]["value"] for arm in found["arms"]}
    print(f"seed {seed}: {json.dumps(final)}", file=sys.stderr, flush=True)
    return {**found, "seed": seed, "cpu": time.process_time() - begun, "log": mean(quality)}


def tables(runs: list[dict[str, Any]]) -> str:
    """Means over seeds, the true reward first, and log-odds against the reward that was paid over KL."""
    arms = {name: [next(a for a in run["arms"] if a["name"] == name) for run in runs] for name in ARMS}
    finals = {name: [arm["final"] for arm in found] for name, found in arms.items()}
    finals = {"nothing: the start": [run["start"]["final"] for run in runs], **finals}

    def values(name: str, key: str) -> list[float]:
        return [final[key]["value"] for final in finals[name]]

    def share(name: str, key: str, bound: str) -> str:
        """Share of the gap between naive and `bound` that an arm recovers, of the means over seeds."""
        low, high = mean(values("naive", key)), mean(values(bound, key))
        return f"{(mean(values(name, key)) - low) / (high - low):.0%}"

    lines = [
        "| policy paid by | true reward: P(liked) (s.d. over seeds) | above naive | gap naive to true | gap "
        "naive to ideal | the same in log-odds (s.d.) | above naive | gap naive to true | gap naive to ideal "
        "| KL | better than start | tokens |",
        "|---|" + "---|" * 11,
    ]
    for name, found in finals.items():
        cells = [name]
        for key, digits in (("liked", 3), ("true", 2)):
            own = values(name, key)
            above = sum(mine > theirs for mine, theirs in zip(own, values("naive", key), strict=True))
            gaps = [share(name, key, bound) for bound in ("true", "ideal")] if name in ARMS else ["–", "–"]
            cells += [f"{mean(own):.{digits}f} ({stdev(own):.{digits}f})", f"{above}/{len(runs)}", *gaps]
        wins = f"{mean(final['win_rate'] for final in found):.0%}" if name in ARMS else "–"
        kl, tokens = (mean(final[key] for final in found) for key in ("kl", "mean_length"))
        lines.append("| " + " | ".join([*cells, f"{kl:.1f}", wins, f"{tokens:.0f}"]) + " |")
    marks = np.arange(0, KL_SHOWN + 1, 2)
    lines += [
        "",
        "Over KL, rounds interpolated, means over seeds: true log-odds, and the reward paid in its own "
        "units:",
        "",
        "| KL, nats | " + " | ".join(f"{mark}" for mark in marks) + " |",
        "|---|" + "---|" * len(marks),
    ]
    for name in ("naive", "evidence", "true"):
        for words, key in (("true", "gold"), ("paid", "reward")):
            rows = np.mean([at(arm["history"], key, marks) for arm in arms[name]], axis=0)
            if (name, words) != ("true", "paid"):
                lines.append(f"| {name}: {words} | " + " | ".join(f"{value:.2f}" for value in rows) + " |")
    return "\n".join(lines)


def at(history: list[dict[str, float]], key: str, kl: Any) -> Any:
    """A figure of the rounds where the policy was that far from the start."""
    rounds = sorted(history, key=lambda line: line["kl"])
    return np.interp(kl, [line["kl"] for line in rounds], [line[key] for line in rounds])


def main() -> None:
    """Run all seeds, print the section, and write it where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, a thread each")
    parser.add_argument("--world", default="label", choices=simulate.WORLDS)
    parser.add_argument("--responses", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=policy.PolicyConfig.rounds)
    parser.add_argument("--json", type=Path, help="keep all figures here")
    parser.add_argument("--write", type=Path, help="append the section to this file")
    given = parser.parse_args()
    load, begun = os.getloadavg()[0], time.perf_counter()
    config = policy.PolicyConfig(rounds=given.rounds)
    jobs = [(seed, given.world, given.responses, config) for seed in range(given.seeds)]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(run, jobs))
    if given.json:
        given.json.write_text(json.dumps(pipeline.run.plain(runs)), "utf-8")
    wall = (time.perf_counter() - begun) / 60
    section = (
        "## Policies trained on the rewards\n\n"
        f"`python benches/bench_policy.py --seeds {given.seeds} --world {given.world}`: {given.responses:,} "
        f"responses, rounds of {config.completions} completions,\nthe same PPO for every arm until about "
        f"{config.kl:.0f} nats of KL are spent. "
        f"The true reward is the share of users who like the answer, on {config.held_out} prompts held out;\n"
        f"beside it its log-odds, in which rewards are paid (answers in the log: "
        f"{mean(run['log'] for run in runs):.2f}). {wall:.0f} minutes on a "
        f"{os.cpu_count()}-core machine, load {load:.1f} at the start, "
        f"{mean(run['cpu'] for run in runs):.0f} CPU s a seed;\ntorch {torch.__version__}, transformers "
        f"{transformers.__version__}, Python {platform.python_version()}.\n\n{tables(runs)}\n"
    )
    print(section)
    if given.write:
        given.write.write_text(given.write.read_text("utf-8").rstrip() + "\n\n" + section, "utf-8")


if __name__ == "__main__":
    main()
