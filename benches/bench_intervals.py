"""Do 95 % intervals of a fixed reward model, measured on a biased noisy log, hold the truth?

    python benches/bench_intervals.py [--runs 300] [--rows 5000] [--gold 200] [--worlds features label]

Every run draws a log in which a quarter of the responses has a thumb, flipped with fnr .20 and fpr .10, given
by features or by the hidden label (p1 .40, p0 .10); a random gold sample; and as many gold labels stratified
by the thumb, which the error rates come from. Propensities and imputations are logistic, cross-fitted in five
folds. Each way of measuring is asked for accuracy and AUC; the truth is that of 4,000,000 responses. Numbers
go to benches/RESULTS.md by hand.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unskew import estimators, noise
from unskew.evaluate import Log, gold_test, log_metrics, logs, powered
from unskew.evaluate.influence import estimates
from unskew.propensity import classwise_from_gold
from unskew.rates import RANDOM, STRATIFIED, Liked, Z

Array = NDArray[np.float64]

WORLDS = ("features", "label")
METRICS = ("accuracy", "auc")
FNR, FPR = 0.20, 0.10
P1, P0 = 0.40, 0.10
WORDS = ("off", "on", "on, `record`")
FEATURES, FOLDS, FLOOR = 8, 5, 0.02


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def draw(rng: np.random.Generator, rows: int, world: str) -> tuple[Array, ...]:
    """Features, predictions of the fixed model, true labels, P(observed | features), observed, recorded."""
    x = rng.standard_normal((rows, FEATURES))
    quality = x[:, 0] + 0.7 * x[:, 1] - 0.5 * x[:, 2] + 0.5 * (x[:, 3] ** 2 - 1)
    chance = sigmoid(1.4 * quality)
    liked = (rng.random(rows) < chance).astype(np.float64)
    model = sigmoid(0.6 + 1.2 * (x[:, 0] + 0.5 * x[:, 1] + 0.4 * x[:, 4]))  # likes too much
    by_features = 0.05 + 0.4 * sigmoid(1.5 * (x[:, 0] - 0.5 * x[:, 5]))
    by_label = np.where(liked == 1, P1, P0)
    observed = (rng.random(rows) < (by_features if world == "features" else by_label)).astype(np.float64)
    p = by_features if world == "features" else chance * P1 + (1 - chance) * P0
    flip = rng.random(rows) < np.where(liked == 1, FNR, FPR)
    return x, model, liked, p, observed, np.where(flip, 1 - liked, liked)


def logistic(x: Array, y: Array) -> Array:
    """Coefficients of a ridge logistic fit, by Newton's method."""
    found = np.zeros(x.shape[1])
    for _ in range(8):
        q = sigmoid(x @ found)
        hessian = (x * (q * (1 - q))[:, None]).T @ x + np.eye(len(found))
        found = found + np.linalg.solve(hessian, x.T @ (y - q) - found)
    return found


def crossfit(x: Array, y: Array, use: Array, fold: Array) -> Array:
    """P(y = 1 | x) of every row, fitted on the rows `use` of the other folds."""
    design = np.concatenate([np.ones((len(x), 1)), x, x**2 - 1], axis=1)
    out = np.empty(len(x))
    for number in range(FOLDS):
        train = (fold != number) & (use == 1)
        out[fold == number] = sigmoid(design[fold == number] @ logistic(design[train], y[train]))
    return out


def rates_from_gold(
    rng: np.random.Generator, liked: Array, recorded: Array, free: Array, observed: Array, labels: int
) -> noise.Noise:
    """Rates from gold labels, half of them on each recorded label."""
    gold, prob = np.full(len(liked), np.nan), np.full(len(liked), np.nan)
    for record in (0, 1):
        rows = np.flatnonzero((observed == 1) & (recorded == record) & (free == 1))
        picked = rng.permutation(rows)[: labels // 2]
        gold[picked], prob[picked] = liked[picked], len(picked) / len(rows)
    return noise.from_gold(
        recorded == 1,
        gold,
        observed=observed == 1,
        design=np.full(len(liked), STRATIFIED),
        prob=prob,
    )


def by_class(
    recorded: Array, observed: Array, liked: Array, random: Array, labels: int, rng: np.random.Generator
) -> tuple[Log, Log]:
    """Class-wise columns, everything from one gold sample: all of it uncertain, and taken as known."""
    gold, prob, design = random.copy(), np.full(len(liked), np.nan), np.full(len(liked), RANDOM)
    for record in (0, 1):
        rows = np.flatnonzero((observed == 1) & (recorded == record) & np.isnan(random))
        picked = rng.permutation(rows)[: labels // 2]
        gold[picked], design[picked], prob[picked] = liked[picked], STRATIFIED, len(picked) / len(rows)
    seen, up = observed == 1, recorded == 1
    options = {"design": design, "prob": prob}
    rate = noise.from_gold(up, gold, observed=seen, **options)
    known = classwise_from_gold(seen, up, gold, **options)
    one, two, three = np.eye(3, dtype=bool)
    ratios = ((two, one | two, True), (one, one | two, False))
    ratios += ((one | two, one | two | three, True), (one | two, one | two | three, False))
    found = Liked.of(np.where(seen, np.where(up, 0, 1), 2), 3, gold, design, prob)
    fixed = noise.known(rate.fnr, rate.fpr)
    return (
        logs.by_class(recorded, observed, known.p1, known.p0, rate, found.covariance(*ratios)),
        logs.by_class(recorded, observed, known.p1, known.p0, fixed, np.zeros((4, 4))),
    )


def measure(seed: int, world: str, rows: int, labels: int) -> dict[str, dict[str, dict[str, float]]]:
    """Every way of measuring, on one log."""
    rng = np.random.default_rng((WORLDS.index(world), seed))
    x, model, liked, p, observed, recorded = draw(rng, rows, world)
    gold, picked = np.full(rows, np.nan), rng.permutation(rows)[:labels]
    gold[picked] = liked[picked]
    found = rates_from_gold(rng, liked, recorded, np.isnan(gold).astype(float), observed, labels)
    right, fixed = noise.known(FNR, FPR), noise.known(found.fnr, found.fpr)
    fold = rng.integers(0, FOLDS, rows)
    fitted = np.maximum(crossfit(x, observed, np.ones(rows), fold), FLOOR)
    posterior = crossfit(x, recorded, observed, fold)

    def doubly(rate: noise.Noise) -> Callable[..., estimators.Columns]:
        q = np.clip((posterior - rate.fpr) / rate.D, 0, 1)
        return partial(estimators.doubly_robust, recorded, observed, fitted, q)

    snips, ideal = (partial(estimators.snips, recorded, observed, chance) for chance in (fitted, p))
    seen = Log.of(lambda fnr, fpr: estimators.naive(recorded, observed), right)
    robust = doubly(found)
    imputation = np.clip((posterior - found.fpr) / found.D, 0, 1)
    ones, zeros = np.ones(rows), np.zeros(rows)
    made = robust(found.fnr, found.fpr)
    thumbs = recorded, observed
    read = {
        "naive: recorded labels of the observed": seen,
        "SNIPS, true p(x), true rates": Log.of(ideal, right),
        "SNIPS, fitted p, rates from gold, delta off": Log.of(snips, fixed),
        "SNIPS, fitted p, rates from gold, delta on": Log.of(snips, found),
        "SNIPS, fitted p, rates from gold, delta on, `record`": Log.of(snips, found, record=thumbs),
        "DR, fitted p, true rates": Log.of(doubly(right), right),
        "DR, fitted p, rates from gold, delta off": Log.of(robust, fixed),
        "DR, fitted p, rates from gold, delta on": Log.of(robust, found),
        "DR, fitted p, rates from gold, delta on, `record`": Log.of(robust, found, record=thumbs),
    }
    result = {name: log_metrics(model, log) for name, log in read.items()}
    both = by_class(recorded, observed, liked, gold, labels, rng)
    for name, log in zip(("delta on", "delta off"), both, strict=True):
        result[f"class-wise, all from gold, {name}"] = log_metrics(model, log)
    result |= {
        "random gold alone": powered(model, made, gold, power=0.0),
        "PPI, imputation, power tuned": powered(model, estimators.Columns(ones, imputation, zeros), gold),
        "PPI, DR, power tuned": powered(model, made, gold),
        "PPI, DR, power 1": powered(model, made, gold, power=1.0),
    }
    tests = {
        f"DR against gold, delta {word}": gold_test(
            model, read[f"DR, fitted p, rates from gold, delta {word}"], gold
        )
        for word in WORDS
    }
    return result | tests


def truth(world: str) -> dict[str, float]:
    """The metrics of 4,000,000 responses, all of them labelled."""
    sums = dict.fromkeys(METRICS, 0.0)
    for part in range(20):
        _, model, liked, *_ = draw(np.random.default_rng((9, part)), 200_000, world)
        found = estimates(model, np.ones(len(model)), liked)
        sums = {name: sums[name] + found[name].value / 20 for name in METRICS}
    return sums


def table(world: str, runs: int, rows: int, labels: int) -> None:
    true = truth(world)
    drawn = [measure(seed, world, rows, labels) for seed in range(runs)]
    print(f"\n| selected by {world}, truth {true['accuracy']:.3f}, {true['auc']:.3f} |", end="")
    print("".join(f" {name} bias | s.d. | mean s.e. | coverage |" for name in METRICS))
    print("|---|" + "---|" * 4 * len(METRICS))
    for way in drawn[0]:
        if way.startswith("DR against"):
            continue
        cells = []
        for name in METRICS:
            value, low, high = (
                np.array([run[way][name][key] for run in drawn]) for key in ("value", "low", "high")
            )
            hit = np.mean((low <= true[name]) & (true[name] <= high))
            se = np.mean(high - low) / 2 / Z
            cells += [
                f"{value.mean() - true[name]:+.3f}",
                f"{value.std(ddof=1):.3f}",
                f"{se:.3f}",
                f"{hit:.2f}",
            ]
        print(f"| {way} | " + " | ".join(cells) + " |")
    for word in WORDS:
        p = np.array([run[f"DR against gold, delta {word}"]["accuracy"]["p"] for run in drawn])
        print(
            f"\nDR against gold, accuracy, delta {word}: p < .05 in {np.mean(p < 0.05):.0%} of the runs.",
            end="",
        )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--gold", type=int, default=200)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    chosen = parser.parse_args()
    start = time.process_time()
    for world in chosen.worlds:
        table(world, chosen.runs, chosen.rows, chosen.gold)
    print(f"\n{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
