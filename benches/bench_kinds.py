"""Kinds of different error rates on two surfaces: each corrected with its own, beside one rate for all.

    python benches/bench_kinds.py [--seeds 5] [--responses 16000]

Thumbs are offered everywhere, ratings in the workspace alone. Error rates (fnr, fpr):

    thumbs elsewhere       .45, .05
    thumbs in workspace    .05, .25
    ratings                .15, .10

The log is that of two worlds on the same texts and truth, each surface from one of them; who votes depends
on nothing. 600 gold labels, a third random, tell the rates. Every arm but the last two is the same linear
head on hashed features and the surface, Brier loss, corrected labels; tested on 8,000 responses of another
draw against true labels.

    naive        votes as they come
    pooled       one rate for every vote
    by kind      a rate a kind
    by surface   a rate a kind and surface (`noise.by_cell`)
    oracle       the true rates
    evidence     votes alone, as shipped: a rate a kind
    evidence s   the same, thumbs of each surface a kind of its own

The bar: by surface closes at least 85 % of the gap between pooled and oracle, in AUC and in Brier score.
Numbers go to benches/RESULTS.md by hand.
"""

import argparse
import time
import warnings
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from unskew import estimators, evidence, noise, simulate
from unskew.data import NO_GOLD, RANDOM, STRATIFIED
from unskew.estimators import Columns, Mixture
from unskew.events import KIND
from unskew.features import Hashing
from unskew.reward import fit_head
from unskew.simulate import KINDS, Draw, TwoSided, World, words

Array = NDArray[np.float64]

ELSEWHERE, WORKSPACE, RATING = (0.45, 0.05), (0.05, 0.25), (0.15, 0.10)
VOTES = ("thumbs", "rating")
ARMS = ("naive", "pooled", "by kind", "by surface", "oracle", "evidence", "evidence s")
TEST = 8_000


class Votes(NamedTuple):
    """Votes of both kinds, their truth, and gold.

    Args:
        usable, observed, positive: a column a kind of `VOTES`. Shape [N, 2].
        surface: 1 in the workspace. Shape [N].
        rates: true (fnr, fpr) of each. Shape [N, 2, 2].
        gold, design, prob: label, NaN where there is none, and how it was chosen. Shape [N].
    """

    usable: NDArray[np.bool_]
    observed: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    surface: NDArray[np.int64]
    rates: Array
    gold: Array
    design: NDArray[np.int8]
    prob: Array


def drawn(n: int, seed: int) -> Draw:
    """A log whose surfaces come from worlds with other rates of thumbs."""
    worlds = [
        World(
            selection="random",
            thumbs=TwoSided(0.25, *rates),
            rating=TwoSided(0.25, *RATING),
        )
        for rates in (ELSEWHERE, WORKSPACE)
    ]
    one, two = (simulate.draw(world, n, seed) for world in worlds)
    there = in_workspace(one)[:, None] == 1
    mixed = {
        name: np.where(there, getattr(two, name), getattr(one, name))
        for name in ("observed", "positive", "fnr", "fpr", "p1", "p0")
    }
    return replace(one, **mixed)


def in_workspace(log: Draw) -> NDArray[np.int64]:
    """1 on the surface that asks for ratings."""
    return np.asarray(log.surface == list(words.SURFACES).index("workspace"), np.int64)


def votes(log: Draw, seed: int) -> Votes:
    """Thumbs and ratings with 600 gold labels, chosen as the product would."""
    chosen = simulate.choose(log, 400, 200, seed)
    gold, prob = np.full(len(log), np.nan), np.full(len(log), np.nan)
    design = np.full(len(log), NO_GOLD, np.int8)
    gold[chosen.row], prob[chosen.row] = log.label[chosen.row], chosen.prob
    design[chosen.row] = np.where(chosen.stratified, STRATIFIED, RANDOM)
    at = [KINDS.index(name) for name in VOTES]
    rates = np.stack([log.fnr[:, at], log.fpr[:, at]], axis=2)
    record = (log.offered[:, at], log.observed[:, at], log.positive[:, at])
    return Votes(*record, in_workspace(log), rates, gold, design, prob)


def rates_of(v: Votes, arm: str) -> Array:
    """(fnr, fpr) of every vote as an arm has them. Shape [N, 2, 2]."""
    n = len(v.gold)
    if arm == "oracle":
        return v.rates
    if arm == "pooled":
        up, seen = v.positive.ravel(), v.observed.ravel()
        gold, design, prob = (np.repeat(column, 2) for column in (v.gold, v.design, v.prob))
        both = noise.from_gold(up, gold, observed=seen, usable=v.usable.ravel(), design=design, prob=prob)
        return np.broadcast_to([both.fnr, both.fpr], (n, 2, 2))
    found = np.zeros((n, 2, 2))
    for k, name in enumerate(VOTES):
        options = {
            "observed": v.observed[:, k],
            "usable": v.usable[:, k],
            "design": v.design,
            "prob": v.prob,
            "kind": name,
        }
        if arm == "by kind":
            own = noise.from_gold(v.positive[:, k], v.gold, **options)
            found[:, k] = own.fnr, own.fpr
        else:
            cells = noise.by_cell(v.positive[:, k], v.gold, v.surface, **options)
            found[:, k] = np.stack([cells.fnr, cells.fpr], axis=1)
    return found


def corrected(v: Votes, rates: Array) -> Columns:
    """Both kinds, flips undone, counted by D^2 x their share of answers, as in the pipeline.

    Args:
        v: the votes.
        rates: (fnr, fpr) of every vote; zeros for votes as they come. Shape [N, 2, 2].
    """
    columns, trust = [], []
    for k in range(len(VOTES)):
        y, o, D = v.positive[:, k].astype(float), v.observed[:, k], 1 - rates[:, k].sum(1)
        columns.append(estimators.noise_corrected(y, o, *rates[:, k].T))
        trust.append(float((D[o] ** 2).mean() * o.sum() / v.usable[:, k].sum()))
    return estimators.combine(columns, trust, v.usable)


def as_evidence(v: Votes, X: NDArray[np.float32], prompt: NDArray[np.int64], apart: bool) -> Mixture:
    """Votes and their silence as evidence; thumbs of each surface apart, or one kind."""
    kinds, parts = (KIND["thumbs"], KIND["rating"]), [(0, v.usable[:, 0]), (1, v.usable[:, 1])]
    if apart:
        kinds = (KIND["thumbs"], KIND["thumbs"], KIND["rating"])
        parts = [(0, v.surface == 0), (0, v.surface == 1), (1, v.usable[:, 1])]
    usable = np.stack([use for _, use in parts], axis=1)
    seen, up = (np.stack([c[:, k] for k, _ in parts], axis=1) & usable for c in (v.observed, v.positive))
    random = v.design == RANDOM
    return evidence.fit(X, kinds, usable, seen, up, prompt, gold=v.gold, random=random).columns()


def features(log: Draw) -> NDArray[np.float32]:
    """Hashed texts and the surface."""
    X = Hashing()(log.prompt, log.response)
    return np.concatenate([X, in_workspace(log)[:, None].astype(np.float32)], axis=1)


def measure(n: int, seed: int) -> dict[str, tuple[float, float]]:
    """(AUC, Brier) of every arm on another draw."""
    log, other = drawn(n, 2 * seed), drawn(TEST, 2 * seed + 1)
    v, X, unseen = votes(log, seed), features(log), features(other)
    found = {}
    for arm in ARMS:
        if arm.startswith("evidence"):
            columns: Columns | Mixture = as_evidence(v, X, log.request, arm.endswith("s"))
        else:
            rates = np.zeros((n, 2, 2)) if arm == "naive" else rates_of(v, arm)
            columns = corrected(v, rates)
        loss = "mixture" if isinstance(columns, Mixture) else "brier"
        head = fit_head(X, columns, groups=log.request, loss=loss, seed=seed).head  # type: ignore[arg-type]
        p = 0.5 * (1 + np.tanh(0.5 * head(unseen)))
        found[arm] = float(roc_auc_score(other.label, p)), float(((p - other.label) ** 2).mean())
    return found


def closed(found: dict[str, tuple[float, float]], arm: str) -> tuple[float, float]:
    """Share of the gap between pooled and oracle that an arm closes, in AUC and in Brier."""

    def share(m: int) -> float:
        return (found[arm][m] - found["pooled"][m]) / (found["oracle"][m] - found["pooled"][m])

    return share(0), share(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--responses", type=int, default=16_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    start = time.process_time()
    runs = [measure(given.responses, seed) for seed in range(given.seeds)]
    spent = (time.process_time() - start) / given.seeds
    mean = {arm: tuple(np.mean([run[arm] for run in runs], axis=0)) for arm in ARMS}
    print("| arm | AUC | Brier | gap closed, AUC | gap closed, Brier |")
    print("|---|---|---|---|---|")
    for arm in ARMS:
        auc, brier = closed(mean, arm)  # type: ignore[arg-type]
        print(f"| {arm} | {mean[arm][0]:.4f} | {mean[arm][1]:.4f} | {auc:.0%} | {brier:.0%} |")
    each = [closed(run, "by surface") for run in runs]
    print("\nBy seed, by surface: " + ", ".join(f"{auc:.0%} / {brier:.0%}" for auc, brier in each))
    print(f"{spent:.0f} CPU s a seed")


if __name__ == "__main__":
    main()
