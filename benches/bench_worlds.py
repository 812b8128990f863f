"""Nine worlds: evidence beside naive and gold alone, with 0, 200 and 600 gold labels inside.

    label               votes selected by whether the answer is liked
    features            by quality, which the text shows
    u                   both extremes speak
    nuisance            at random, but the tone of a text scales all feedback
    label-nuisance      by label and tone
    u-nuisance-activity extremes, tone, and a hidden habit of each user
    no negatives        by label until dislikes hardly speak: P(vote | liked) .35, P(vote | not) .01
    label-activity      by label and a hidden habit of each user
    features-activity   by quality and a hidden habit of each user

    python benches/bench_worlds.py [--responses 16000] [--seeds 5] [--folds 3] [--jobs 2] [--worlds NAME ...]

`smooth_worlds` draws the logs: twenty features, thumbs, copies, regenerations. Every arm is a linear head
measured out of fold against the true labels; all gold is random. Beside them

    oracle    the same head, told the true log-likelihood ratio of everything recorded, and the same gold

which is what knowing every rate and propensity exactly would give, and `cautious`, the thumbs and silence
as one half, which is what `auto` trains where nothing is allowed. The bars, with gold inside, in the mean
over seeds: evidence is above neither naive nor gold alone by more than .002 in Brier; it closes the share
of the gap between naive and ideal that the design asks for (`SHARES`), where the oracle does; the true
error rates of thumbs lie inside the fitted 95 % intervals in at least 90 % of the runs; counts contradict
constant tables where a tone scales feedback; and copies and regenerations beside thumbs lower the Brier
score in the world `label`.
"""

import argparse
import json
import os
import platform
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.smooth_worlds import draw, labelled

from unskew import estimators, evidence, simulate
from unskew.data import RANDOM, Choices, Examples
from unskew.estimators import CAP, Columns, Mixture
from unskew.evidence import Evidence, descent
from unskew.evidence.checks import failures
from unskew.folds import assign
from unskew.reward import fit_head

Floats = NDArray[np.float64]

WORLDS: dict[str, simulate.World] = {
    **{name: simulate.WORLDS[name] for name in ("label", "features", "u", "nuisance", "label-nuisance")},
    "u-nuisance-activity": simulate.WORLDS["u-nuisance-activity"],
    "no negatives": simulate.World(alpha=0.3),
    "label-activity": simulate.World(activity=0.8),
    "features-activity": simulate.World(selection="features", activity=0.8),
}

GOLD = (200, 600)
FOLDS = 3

SHARES = {
    "label": ((0.217 - 0.178) / (0.217 - 0.172), (0.217 - 0.175) / (0.217 - 0.172)),
    "features": ((0.188 - 0.176) / (0.188 - 0.172), (0.188 - 0.176) / (0.188 - 0.172)),
    "u": ((0.189 - 0.175) / (0.189 - 0.172), (0.189 - 0.174) / (0.189 - 0.172)),
    "nuisance": ((0.186 - 0.177) / (0.186 - 0.172), (0.186 - 0.177) / (0.186 - 0.172)),
    "label-nuisance": ((0.221 - 0.177) / (0.221 - 0.172), (0.221 - 0.176) / (0.221 - 0.172)),
    "u-nuisance-activity": ((0.195 - 0.180) / (0.195 - 0.172), (0.195 - 0.176) / (0.195 - 0.172)),
    "no negatives": ((0.319 - 0.193) / (0.319 - 0.172), (0.319 - 0.179) / (0.319 - 0.172)),
}
"""Shares of the gap between naive and ideal to be closed with 200 and 600 gold labels inside."""

ALONE, BESIDE = ("thumbs",), ("thumbs", "copy", "regenerate")
"""Kinds of two more fits with 200 gold labels, in the world `label`."""

BESIDES = "thumbs and one-sided"


def run(given: tuple[str, int, int, int]) -> dict[str, Any]:
    """Brier and AUC of every arm of one world and seed, and which error rates lie inside their intervals."""
    world, responses, seed, folds = given
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    drawn = draw(WORLDS[world], responses, seed)
    truth, every = drawn.truth, np.ones(responses)
    fold = assign(drawn.rows.prompt_hash, folds, every > 0)
    brier: dict[str, float] = {}
    auc: dict[str, float] = {}
    inside: dict[str, list[bool]] = {}
    failed: dict[str, int] = {}

    def keep(name: str, q: Floats) -> None:
        brier[name], auc[name] = float(np.mean((q - truth) ** 2)), float(roc_auc_score(truth, q))

    def head(name: str, weight: Floats, value: Floats, loss: str) -> None:
        """An arm trained on all folds but one, in turn."""
        q = np.zeros(responses)
        for number in range(folds):
            w = weight * (fold != number)
            columns = (Mixture if loss == "mixture" else Columns)(w, w * value, 0 * w)
            fit = fit_head(drawn.X, columns, groups=drawn.rows.prompt_hash, loss=loss, head="linear")
            held = fold == number
            q[held] = 1 / (1 + np.exp(-fit.head(drawn.X[held])))
        keep(name, q)

    thumbs, up = drawn.rows.observed[:, 0], drawn.rows.positive[:, 0]
    head("naive", thumbs.astype(float), up.astype(float), "brier")
    cautious = estimators.cautious(up.astype(float), thumbs, estimators.silence_weight(thumbs))
    head("cautious", cautious.a, cautious.b / cautious.a, "brier")
    head("ideal", every, truth, "brier")
    for size in (0, *GOLD):
        rows = labelled(drawn, size, seed)
        known = ~np.isnan(rows.gold)
        certain = np.where(rows.gold == 1, CAP, -CAP)
        head(f"oracle {size}", every, np.where(known, certain, drawn.d), "mixture")
        if size:
            head(f"gold {size}", known.astype(float), np.nan_to_num(rows.gold), "brier")
        found = weigh(rows, drawn.X, folds=folds)
        keep(f"evidence {size}", found.q)
        inside[str(size)] = [
            row["low"] <= drawn.rates[row["parameter"]] <= row["high"]
            for row in found.tables
            if row["parameter"] in drawn.rates
        ]
        failed[str(size)] = len(failures(found.checks))
        if size == GOLD[0] and WORLDS[world].nuisance:
            failed["constant"] = len(failures(constant(rows, drawn.X, folds).checks))
        if size == GOLD[0] and world == "label":
            for name, kinds in (("thumbs", ALONE), (BESIDES, BESIDE)):
                keep(name, weigh(rows, drawn.X, kinds, folds=folds).q)
    print(world, seed, json.dumps({name: round(value, 4) for name, value in brier.items()}), file=sys.stderr)
    return {"world": world, "seed": seed, "brier": brier, "auc": auc, "inside": inside, "failed": failed}


def weigh(
    rows: Examples,
    X: Any,
    names: tuple[str, ...] = (),
    choices: Choices | None = None,
    folds: int = FOLDS,
) -> Evidence:
    """The evidence of some kinds of a log, of all of them when none is named, and of choices."""
    at = [k for k, kind in enumerate(rows.kinds) if kind.name in names or not names]
    return evidence.fit(
        X,
        [rows.kinds[k] for k in at],
        (rows.offered & rows.closed)[:, at],
        rows.observed[:, at],
        rows.positive[:, at],
        rows.prompt_hash,
        gold=rows.gold,
        random=rows.gold_design == RANDOM,
        user=rows.user,
        choices=choices,
        folds=folds,
    )


def constant(rows: Examples, X: Any, folds: int) -> Evidence:
    """Evidence with constant tables: heads of the rates that have no slopes."""
    fitting = import_module("unskew.evidence.fit")  # the name is taken by the function
    with patch.object(descent, "SHARED_DECAY", 1e6), patch.object(fitting, "OWN_DECAYS", (1e6,)):
        return weigh(rows, X, folds=folds)


def table(runs: list[dict[str, Any]]) -> str:
    """Means over seeds: Brier / AUC, the share of the gap that is closed, what the bars ask for."""
    columns = [
        "naive",
        "cautious",
        "evidence 0",
        "gold 200",
        "evidence 200",
        "gold 600",
        "evidence 600",
        "ideal",
    ]
    lines = [
        f"| world | {' | '.join(columns)} | gap closed 0 / 200 / 600 | by the oracle | asked 200 / 600 | "
        "above the better, 200 / 600 | rates inside 0 / 200 / 600 | "
        "runs contradicted 0 / 200 / constant tables / 600 |",
        "|---|" + "---|" * (len(columns) + 6),
    ]
    for world in dict.fromkeys(found["world"] for found in runs):
        own = [found for found in runs if found["world"] == world]
        mean = {name: float(np.mean([f["brier"][name] for f in own])) for name in own[0]["brier"]}
        rank = {name: float(np.mean([f["auc"][name] for f in own])) for name in columns}
        gap = mean["naive"] - mean["ideal"]
        closed, reach = (
            " / ".join(f"{(mean['naive'] - mean[f'{arm} {size}']) / gap:.0%}" for size in (0, *GOLD))
            for arm in ("evidence", "oracle")
        )
        asked = [f"{share:.0%}" for share in SHARES.get(world, ())] or ["–"]
        above = [mean[f"evidence {size}"] - min(mean["naive"], mean[f"gold {size}"]) for size in GOLD]
        within = [np.mean([hit for f in own for hit in f["inside"][str(size)]]) for size in (0, *GOLD)]
        doubted = [sum(f["failed"][key] > 0 for f in own) for key in own[0]["failed"]]
        cells = [f"{mean[name]:.3f}/{rank[name]:.3f}" for name in columns]
        cells += [closed, reach, " / ".join(asked), " / ".join(f"{value:+.3f}" for value in above)]
        cells.append(" / ".join(f"{share:.0%}" for share in within))
        cells.append(" / ".join(f"{number}" for number in doubted))
        lines.append(f"| {world} | {' | '.join(cells)} |")
    both = [found["brier"] for found in runs if "thumbs" in found["brier"]]
    if both:
        means = " -> ".join(f"{np.mean([f[name] for f in both]):.3f}" for name in ("thumbs", BESIDES))
        better = sum(f[BESIDES] < f["thumbs"] for f in both)
        lines += [
            "",
            f"Thumbs and 200 gold labels -> copies and regenerations too: {means}, lower on {better}",
        ]
        lines[-1] += f" of {len(both)} seeds."
    return "\n".join(lines)


def main() -> None:
    """Run all worlds and seeds, print the section, say which bars are missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--responses", type=int, default=16_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=FOLDS, help="each head learns from all but one")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a thread each")
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--json", type=Path, help="keep all figures here")
    given = parser.parse_args()
    jobs = [
        (world, given.responses, seed, given.folds) for world in given.worlds for seed in range(given.seeds)
    ]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(run, jobs))
    if given.json:
        given.json.write_text(json.dumps(runs, default=bool), "utf-8")
    print(
        f"{given.responses:,} responses, {given.seeds} seeds; {os.cpu_count()} cores, torch "
        f"{torch.__version__}, Python {platform.python_version()}.\n\n{table(runs)}"
    )


if __name__ == "__main__":
    main()
