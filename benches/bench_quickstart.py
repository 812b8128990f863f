"""The quickstart world over seeds: what each estimator gains when people answer by label, and by features.

    python benches/bench_quickstart.py [--seeds 10] [--worlds label features] [--hopeless]

Every seed runs the quickstart itself (simulate, ingest, audit, train, measure out of fold against the truth),
with two more arms that are given the true nuisances as columns of the user: class-wise weights in the world
selected by label, inverse propensities in the world selected by features. `--hopeless` audits the world with
alpha .2 and no gold at 16,000 and 128,000 responses instead. Results go to benches/RESULTS.md by hand.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from unskew import events, noise, pipeline, propensity, simulate
from unskew.data import Store
from unskew.pipeline.arms import measured, train_arm
from unskew.pipeline.material import Material
from unskew.pipeline.store import open_material
from unskew.propensity import Classwise
from unskew.quickstart import quickstart, truth_of
from unskew.rates import Share

WORLDS = ("label", "features")
ARMS = ("naive", "evidence", "gold", "classwise_ips", "ips", "oracle classwise_ips", "oracle ips", "ideal")
COMPARE = ("classwise_ips", "ips", "gold")


def with_truth(material: Material, truth: pipeline.Truth) -> Material:
    """The nuisances replaced by true ones: propensities a row, rates and class propensities a kind."""
    kinds = [name for name in ("thumbs", "rating") if name in material.classwise]
    known = {
        name: noise.known(truth.rates[name, "fnr"], truth.rates[name, "fpr"], kind=name) for name in kinds
    }
    classes, given = {}, {}
    for name in kinds:
        k = material.examples.kind(name)
        usable, seen = material.usable[:, k], material.examples.observed[:, k] & material.usable[:, k]
        p1, p0 = (truth.rates[name, f"P(answered|{word})"] for word in ("liked", "not"))
        nothing = np.zeros((2, 2))
        classes[name] = Classwise(p1, p0, nothing, Share(0.5, 0.0), {}, int(usable.sum()), "base rate")
        p = np.where(usable, truth.propensity[name], 1.0)
        given[name] = propensity.logged(p, seen, usable=usable)
    return replace(
        material, propensities=given, rates={**material.rates, **known}, classwise=classes, known=known
    )


class Fixed(Material):
    """Nuisances that no fold changes: the truth is not estimated from anything."""

    def without(self, fold: int) -> Material:
        return replace(self, hidden=fold)


def run(world: str, seed: int) -> dict[str, dict[str, float]]:
    """Metrics of every arm."""
    with tempfile.TemporaryDirectory() as home:
        directory = Path(home) / "run"
        found = quickstart(directory, world=world, seed=seed, compare=COMPARE)
        arms = {arm["name"]: arm["metrics"] for arm in found["arms"]}
        store = Store.open(directory / "store")
        truth = truth_of(directory / "log", store)
        settings = pipeline.TrainConfig(seed=seed)
        material, _ = open_material(store, settings)
        given = with_truth(material, truth)
        fixed = Fixed(**{name: getattr(given, name) for name in Material.__dataclass_fields__})
        for name in ("classwise_ips", "ips"):
            arm = train_arm(fixed, name, settings)
            arms[f"oracle {name}"] = measured(arm, material.examples, truth.label, 2)["metrics"]
    return {name: {key: value["value"] for key, value in metrics.items()} for name, metrics in arms.items()}


def hopeless(responses: int) -> None:
    """The audit and the refusal of a log that cannot be used."""
    with tempfile.TemporaryDirectory() as home:
        log, store, key = Path(home) / "log", Path(home) / "store", Path(home) / "key"
        key.write_text("the key of a bench that keeps nothing")
        simulate.simulate(log, responses, simulate.WORLDS["hopeless"], seed=0)
        events.ingest([log / "events"], store, key_file=key)
        start = time.perf_counter()
        verdict = pipeline.audit_store(store)
        seconds = time.perf_counter() - start
        print(
            f"{responses:,} responses: {verdict['colour']} in {seconds:.0f} s; allowed {verdict['allowed']}"
        )
        for gate in verdict["gates"]:
            if gate["colour"] == "red":
                print("  red:", gate["name"], gate["value"], "-", gate["sentence"])
        try:
            pipeline.train(store, Path(home) / "run")
        except pipeline.Refused as refusal:
            print("  refused:", str(refusal)[:300])
        else:
            raise AssertionError("the hopeless log was trained on")


def main() -> None:
    """Print a line a run, then the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--worlds", nargs="*", default=WORLDS, choices=WORLDS)
    parser.add_argument("--hopeless", action="store_true", help="audit the world that nothing can save")
    options = parser.parse_args()
    if options.hopeless:
        hopeless(16_000)
        hopeless(128_000)
        return
    for world in options.worlds:
        runs = []
        for seed in range(options.seeds):
            start = time.perf_counter()
            runs.append(run(world, seed))
            shown = {name: round(metrics["brier"], 4) for name, metrics in runs[-1].items()}
            print(world, seed, f"{time.perf_counter() - start:.0f} s", json.dumps(shown), flush=True)
        table(world, runs)


def table(world: str, runs: list[dict[str, dict[str, float]]]) -> None:
    """Means over seeds, the share of the gap that is closed, and on how many seeds naive is beaten."""
    brier = {name: np.array([found[name]["brier"] for found in runs]) for name in ARMS}
    level = {name: np.array([abs(found[name]["mean_error"]) for found in runs]) for name in ARMS}
    auc = {name: np.mean([found[name]["auc"] for found in runs]) for name in ARMS}
    gap = brier["naive"] - brier["ideal"]
    print(
        f"\n| selected by {world}, {len(runs)} seeds | Brier (s.d.) | AUC | mean error | gap closed | ",
        end="",
    )
    print("Brier below naive | mean error below naive |\n|---|---|---|---|---|---|---|")
    for name in ARMS:
        closed = ((brier["naive"] - brier[name]) / gap).mean()
        print(
            f"| {name.replace('_', ' ')} | {brier[name].mean():.4f} ({brier[name].std(ddof=1):.4f}) "
            f"| {auc[name]:.3f} | {level[name].mean():.3f} | {closed:.0%} "
            f"| {(brier[name] < brier['naive']).sum()}/{len(runs)} "
            f"| {(level[name] < level['naive']).sum()}/{len(runs)} |"
        )
    print(flush=True)


if __name__ == "__main__":
    main()
