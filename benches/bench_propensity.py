"""Rates with young responses, and position bias, against a known truth.

    python benches/bench_propensity.py [--logs 300]

Delays: 20,000 responses in 8 cells, propensities .02 to .3, a window of 7 days, delays lognormal (median a
day), `open` of the responses younger than the window, more of them in the cells that answer more. `naive`
counts every response as one exposure, `closed` leaves open ones out, `corrected` counts F(age) of each. The
truth is what the same log shows once every window has closed; coverage is of the propensities themselves.
Positions: a million impressions of 200 groups in 5 slots (1, .7, .5, .4, .3), better groups higher. Results
go to benches/RESULTS.md by hand.
"""

import argparse
import os
import platform
import time

import numpy as np

from unskew.propensity import all_pairs, corrected, delays, pbm, ratio

RATES = np.array([0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3])
WINDOW, N = 7 * 24.0, 20_000
THETA = np.array([1.0, 0.7, 0.5, 0.4, 0.3])


def log(rng, share):
    """(delay, age, cell) in hours; ages beyond the window are the window."""
    cell = rng.integers(0, len(RATES), N)
    young = rng.random(N) < share * (0.5 + cell / (len(RATES) - 1))
    age = np.where(young, WINDOW * rng.random(N), WINDOW)
    delay = np.full(N, np.inf)
    while (late := delay > WINDOW).any():  # what comes, comes within the window
        delay[late] = np.exp(np.log(24) + 1.2 * rng.standard_normal(int(late.sum())))
    return np.where(rng.random(N) < RATES[cell], delay, np.nan), age, cell


def censoring(logs, share):
    """Bias of each way of counting beside the finished log, relative and as a mean of cells; CPU seconds."""
    runs = {"naive": [], "closed": [], "corrected": []}
    covered, start = [], time.process_time()
    for seed in range(logs):
        delay, age, cell = log(np.random.default_rng(seed), share)
        came, closed, rows = delay <= age, age >= WINDOW, np.bincount(cell)
        found = corrected(delay, age, delays(delay, age), cell)
        finished = np.bincount(cell, ~np.isnan(delay)) / rows
        runs["naive"].append(np.bincount(cell, came) / rows / finished - 1)
        runs["closed"].append(np.bincount(cell, came & closed) / np.bincount(cell, closed) / finished - 1)
        runs["corrected"].append(found.rate / finished - 1)
        covered.append(np.abs(found.rate - RATES) < 1.96 * np.sqrt(found.variance))
    spent = time.process_time() - start
    for name, values in runs.items():
        away = np.array(values)
        error = 1.96 * away.mean(1).std() / np.sqrt(logs)
        inside = f"{np.mean(covered):.1%}" if name == "corrected" else "–"
        print(
            f"| {share:.0%} open, {name} | {away.mean():+.2%} ± {error:.2%} "
            f"| {np.abs(away.mean(0)).max():.2%} | {np.sqrt((away**2).mean()):.1%} | {inside} |"
        )
    return spent


WAYS = {
    "ratio of click rates": lambda group, *table: ratio(*table),
    "pbm": pbm,
    "all_pairs": all_pairs,
}


def positions(logs, attractive):
    """Largest relative error of a slot, by estimator."""
    errors, spent = {name: [] for name in WAYS}, dict.fromkeys(WAYS, 0.0)
    for seed in range(logs):
        rng = np.random.default_rng(seed)
        gamma = rng.beta(*attractive, 200)
        place = np.argsort(np.argsort(-gamma)) / 200 * len(THETA)
        share = np.exp(-0.5 * np.abs(place[:, None] - np.arange(len(THETA)))) * (rng.random((200, 5)) < 0.75)
        table = np.round(share / share.sum() * 1e6).astype(int)
        group, slot = np.nonzero(table)
        n = table[group, slot]
        clicks = rng.binomial(n, THETA[slot] * gamma[group])
        for name, estimate in WAYS.items():
            start = time.process_time()
            errors[name].append(np.abs(estimate(group, slot, n, clicks).theta / THETA - 1).max())
            spent[name] += time.process_time() - start
    rate = attractive[0] / sum(attractive)
    for name, values in errors.items():
        found = np.array(values)
        print(
            f"| {name}, attractive {rate:.0%} | {np.median(found):.2%} | {np.quantile(found, 0.95):.2%} "
            f"| {(found < 0.02).mean():.1%} | {1000 * spent[name] / logs:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logs", type=int, default=300)
    given = parser.parse_args()
    print("| rates of 8 cells | bias, mean of cells | bias, worst cell | error in a log | 95 % covers |")
    print("|---|---|---|---|---|")
    spent = sum(censoring(given.logs, share) for share in (0.1, 0.3))
    print(f"\n{given.logs} logs of {N:,} responses, {spent:.0f} CPU s.\n")
    print("| slots, a million impressions | worst slot, median | 95 % | within 2 % | CPU ms |")
    print("|---|---|---|---|---|")
    for attractive in ((2, 3), (2, 5)):
        positions(given.logs, attractive)
    print(f"\n{given.logs} products; {os.cpu_count()} cores, Python {platform.python_version()}.")


if __name__ == "__main__":
    main()
