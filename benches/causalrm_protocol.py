"""The protocol of CausalRM (arXiv 2603.18736) on any rated data set, beside what it leaves out.

    python benches/causalrm_protocol.py DATA --layout NAME [--encoder hashing|MODEL ...] [--alphas A ...]

DATA is what `datasets.load_dataset` reads: a file, a folder, a name. A layout says which columns hold prompt,
responses and levels; more of a level is better. From a level r' rescaled to 1..5 and the label y = 1 when the
level is above the median of the list of levels:

    p         = min(1, k alpha^(5 - r')),  k such that a fifth is expected to be observed
    recorded  = y, flipped with fnr where y = 1 and fpr where y = 0, on observed rows only

Arms learn from the record of four prompts in five, `gold` and `600 gold` besides from as many true labels (a
third at random, the rest by record), and are measured against the true labels of all responses to the others.

What differs from the published code (its revision ecadee4), on purpose:

- it lets p exceed 1 when alpha is small and the top level rare, so that fewer than a fifth are observed;
- it splits rows, so that responses to one prompt stand on both sides (`--split rows` does so too);
- it rates PKU-SafeRLHF by severity as it is, higher for more harm; here severity is negated;
- it keeps the run with the best R2 on the test set; here nothing is chosen on test rows.

p depends on the label, so that no propensity of features can be right: methods that need p(x) are shown at a
task that they cannot solve, as published.
"""

import argparse
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score

from rated import LAYOUTS, Rated, read
from unskew import audit, estimators
from unskew.data import Examples
from unskew.estimators import Columns
from unskew.events import KIND
from unskew.features import Encoder, Featurizer, Hashing, cached
from unskew.noise import Noise, NoiseRefused
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material, estimate, from_gold, judge
from unskew.pipeline.recipes import RECIPES, Target
from unskew.reward import fit_head

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHARE = 0.2
"""Expected share of observed rows."""

ALPHAS = (0.5, 0.2, 0.1, 0.05, 0.01, 0.005)
NOISES = ((0.2, 0.1), (0.1, 0.2))
"""(fnr, fpr): scenarios 1 and 2 of the paper."""

GOLD = 600


# ------------------------------------------------------------------------------------- the protocol


def wanted(level: Floats, alpha: float) -> Floats:
    """alpha^(5 - r'), r' the level rescaled to 1..5. Shape [N]."""
    rescaled = 1 + 4 * (level - level.min()) / (level.max() - level.min())
    return np.asarray(alpha ** (5 - rescaled))


def propensities(level: Floats, alpha: float, share: float = SHARE) -> Floats:
    """P(observed) = min(1, k alpha^(5 - r')), k such that its mean is `share`. Shape [N], in (0, 1].

    Args:
        level: higher is better. Shape [N].
        alpha: in (0, 1]; smaller selects harder.
        share: expected share of observed rows, in (0, 1).
    """
    w = wanted(level, alpha)
    full = np.zeros(len(w), bool)
    while True:  # rows at 1 leave less for the others; every turn adds some, or is the last
        k = (share * len(w) - full.sum()) / w[~full].sum()
        more = full | (k * w > 1)
        if (more == full).all():
            return np.where(full, 1.0, k * w)
        full = more


def law(p: Floats, label: Floats, fnr: float, fpr: float) -> Floats:
    """P(silent), P(recorded 0), P(recorded 1) of each row. Shape [N, 3]."""
    up = np.where(label == 1, 1 - fnr, fpr)
    return np.stack([1 - p, p * (1 - up), p * up], axis=1)


def draw(chances: Floats, seed: int) -> tuple[Bools, Bools]:
    """(observed, recorded 1) of each row, drawn from its law. Shape [N] each."""
    u = np.random.default_rng([seed, 7]).random(len(chances))
    outcome = (u[:, None] >= chances.cumsum(1)[:, :-1]).sum(1)
    return outcome > 0, outcome == 2


def held_out(prompts: Sequence[str], seed: int, split: str = "prompt") -> Bools:
    """A fifth of the prompts with all their responses, or of the rows with `split="rows"`. Shape [N]."""
    rows = np.arange(len(prompts))
    key = rows if split == "rows" else np.unique(np.asarray(prompts), return_inverse=True)[1]
    return np.asarray(np.random.default_rng([seed, 1]).permutation(int(key.max()) + 1)[key] % 5 == 0)


def examples(prompts: Sequence[str], observed: Bools, positive: Bools) -> Examples:
    """The record as a log with one kind of feedback, a rating, offered on every row."""
    n, key = len(prompts), np.unique(np.asarray(prompts), return_inverse=True)[1]
    always = np.ones((n, 1), bool)
    return Examples(
        row=np.arange(n),
        response_id=[str(number) for number in range(n)],
        prompt_hash=key.astype(np.uint64),
        group=key.astype(np.int64),
        user=np.zeros(n, np.uint64),
        kinds=(KIND["rating"],),
        offered=always,
        closed=always,
        observed=observed[:, None],
        positive=positive[:, None],
        cell=np.zeros(n, np.uint32),
        policy_prob=np.full(n, np.nan),
        gold=np.full(n, np.nan),
        gold_design=np.zeros(n, np.int8),
        gold_prob=np.full(n, np.nan),
    )


def labelled(rows: Examples, label: Floats, n: int, seed: int) -> Examples:
    """The same with n true labels on the rows that `audit --gold-plan` would ask for."""
    plan = audit.gold_plan(rows, n, seed)
    gold, design, prob = rows.gold.copy(), rows.gold_design.copy(), rows.gold_prob.copy()
    gold[plan.index], design[plan.index], prob[plan.index] = label[plan.index], plan.design, plan.prob
    return replace(rows, gold=gold, gold_design=design, gold_prob=prob)


# ------------------------------------------------------------------------------------- the arms


def arms(silent: Material, told: Material, y: Floats, p: Floats, rate: Noise) -> dict[str, Any]:
    """What each arm is trained on, as a function that may refuse.

    Args:
        silent: the log without gold.
        told: the log with gold.
        y: true labels. Shape [N].
        p: true propensities. Shape [N].
        rate: true error rates.
    """
    o, r = (silent.examples.observed[:, 0].astype(float), silent.examples.positive[:, 0].astype(float))
    known = replace(silent, **from_gold(silent.examples, {"rating": rate}))

    def recipe(name: str, material: Material) -> Callable[[], Target]:
        return lambda: RECIPES[name](material)

    def oracle() -> Target:
        return Target(estimators.ips(r, o, p, rate.fnr, rate.fpr, floor=0), "brier")

    return {
        "naive": recipe("naive", silent),
        "causalrm-ips": recipe("causalrm-ips", silent),
        "causalrm-dr": recipe("causalrm-dr", silent),
        "noise corrected, true rates": recipe("noise_corrected", known),
        "oracle ips, true p and rates": oracle,
        f"class-wise, {GOLD} gold": recipe("classwise_ips", told),
        f"gold alone, {GOLD}": recipe("gold", told),
        "evidence, no gold": recipe("evidence", silent),
        f"evidence, {GOLD} gold": recipe("evidence", told),
        "ideal": lambda: Target(Columns(np.ones(len(y)), y, 0 * y), "brier"),
    }


def trained(
    X: NDArray[Any], rows: Examples, target: Target, head: str, seed: int
) -> Callable[[NDArray[Any]], Floats]:
    """P(label = 1) as a function of features."""
    options: dict[str, Any] = {"head": head, "seed": seed}
    if head == "mlp":  # sizes, step and batch of the paper; patience on held-out prompts
        options |= {"hidden": (256, 64), "lr": 5e-4, "batch": 512, "epochs": 600, "patience": 30}
    found = fit_head(X, target.columns, groups=rows.prompt_hash, loss=target.loss, **options).head
    return lambda at: 0.5 * (1 + np.tanh(0.5 * found(at)))


def measured(p: Floats, label: Floats) -> dict[str, float]:
    """R2, MAE, RMSE, AUC and Brier score (the square of RMSE) of predictions of clean labels."""
    brier = float(np.square(p - label).mean())
    return {
        "r2": float(r2_score(label, p)),
        "mae": float(mean_absolute_error(label, p)),
        "rmse": brier**0.5,
        "auc": float(roc_auc_score(label, p)),
        "brier": brier,
    }


def fitted(material: Material, verdict: audit.Verdict) -> dict[str, Any]:
    """What evidence takes for true: rates with intervals, the share of good responses, figures of gates."""
    assert material.evidence is not None
    gates = {gate.name: gate.value for gate in verdict.gates if "evidence" in gate.binds}
    return {"rates": material.evidence.tables, "good": float(material.evidence.q.mean()), "gates": gates}


def run(
    data: Rated, X: NDArray[Any], alpha: float, noise: tuple[float, float], seed: int, split: str, head: str
) -> dict[str, Any]:
    """Every arm in one cell of the grid: its figures on test rows, or why it was refused."""
    test = held_out(data.prompts, seed, split)
    inside = np.flatnonzero(~test)
    prompts, y = [data.prompts[k] for k in inside], data.label[inside]
    p = propensities(data.level, alpha)[inside]
    observed, positive = draw(law(p, y, *noise), seed)
    rows = examples(prompts, observed, positive)
    options: dict[str, Any] = {"known": {}, "given": {}, "seed": seed, "stage": lambda _: nullcontext()}
    silent = estimate(rows, X[inside], **options)
    told = estimate(labelled(rows, y, GOLD, seed), X[inside], **options)

    def figures(make: Callable[[], Target]) -> dict[str, Any]:
        try:
            predict = trained(X[inside], rows, make(), head, seed)
        except (Refused, NoiseRefused) as error:
            return {"refused": str(error)}
        return measured(predict(X[test]), data.label[test])

    free = SHARE * wanted(data.level, alpha) / wanted(data.level, alpha).mean()
    logs = {"no gold": silent, f"{GOLD} gold": told}
    verdicts = {name: judge(material) for name, material in logs.items()}
    return {
        "alpha": alpha,
        "fnr": noise[0],
        "fpr": noise[1],
        "seed": seed,
        "train": len(inside),
        "test": int(test.sum()),
        "observed": int(observed.sum()),
        "bad observed": int((observed & (y == 0)).sum()),
        "p1": float(p[y == 1].mean()),
        "p0": float(p[y == 0].mean()),
        "largest p of the published formula": float(free.max()),
        "audit": {name: found.estimators for name, found in verdicts.items()},
        "evidence": {name: fitted(material, verdicts[name]) for name, material in logs.items()},
        "arms": {
            name: figures(make)
            for name, make in arms(silent, told, y, p, Noise(*noise, np.zeros((2, 2)))).items()
        },
    }


# ------------------------------------------------------------------------------------- the tables

METRICS = ("r2", "mae", "rmse", "auc", "brier")


def cell(runs: Sequence[dict[str, Any]], arm: str, metric: str) -> str:
    """Mean over runs, or in how many it was refused."""
    found = [one["arms"][arm] for one in runs]
    refused = sum("refused" in figures for figures in found)
    return f"refused {refused}/{len(runs)}" if refused else f"{np.mean([f[metric] for f in found]):.3f}"


def row(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def table(runs: Sequence[dict[str, Any]]) -> str:
    """One pair of error rates: R2 and AUC of each arm by alpha, and all metrics at the first alpha."""
    by: dict[float, list[dict[str, Any]]] = {}
    for one in runs:
        by.setdefault(one["alpha"], []).append(one)
    first, several = next(iter(by)), list(by.values())
    title = f"fnr {runs[0]['fnr']:g}, fpr {runs[0]['fpr']:g}"
    lines = [row(f"{title}: R2 (AUC)", *(f"alpha {alpha:g}" for alpha in by)), "|---|" + "---|" * len(by)]
    seen = (f"{np.mean([one['bad observed'] for one in some]):.0f}" for some in several)
    lines.append(row("rows seen with y = 0", *seen))
    for name in runs[0]["arms"]:
        pairs = ((cell(some, name, "r2"), cell(some, name, "auc")) for some in several)
        lines.append(row(name, *(r2 if "refused" in r2 else f"{r2} ({auc})" for r2, auc in pairs)))
    for gold in runs[0]["audit"]:
        said = (", ".join(sorted({one["audit"][gold]["evidence"] for one in some})) for some in several)
        lines.append(row(f"what the audit says of evidence, {gold}", *said))
    lines += ["", row(f"{title}, alpha {first:g}", *METRICS), "|---|" + "---|" * len(METRICS)]
    lines += [row(name, *(cell(by[first], name, metric) for metric in METRICS)) for name in runs[0]["arms"]]
    return "\n".join(lines)


def encoder(name: str, **options: Any) -> Featurizer:
    """Hashed n-grams, or a frozen model."""
    return Hashing() if name == "hashing" else Encoder(name, batch_tokens=2048, **options)


def main() -> None:
    """Run the grid for each encoder, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unskew"
    parser.add_argument("data", help="file, folder or name that `datasets` reads")
    parser.add_argument("--layout", required=True, choices=list(LAYOUTS))
    parser.add_argument("--part", default="train", help="split of the data set")
    parser.add_argument("--encoder", nargs="+", default=["hashing"], help="hashing, or paths of models")
    parser.add_argument("--pooling", default="mean", choices=("mean", "last"), help="last for causal models")
    parser.add_argument("--max-length", type=int, default=128, help="tokens kept of a text")
    parser.add_argument("--template", default=Encoder.template, help="how a model reads prompt and response")
    parser.add_argument("--alphas", type=float, nargs="+", default=list(ALPHAS))
    parser.add_argument("--noise", type=float, nargs=2, action="append", metavar=("FNR", "FPR"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", default="prompt", choices=("prompt", "rows"))
    parser.add_argument("--head", default="linear", choices=("linear", "mlp"))
    parser.add_argument("--cache", type=Path, default=home, help=f"where features are kept ({home})")
    parser.add_argument("--json", type=Path, help="keep all figures here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    datasets.disable_progress_bars()
    data = read(given.data, LAYOUTS[given.layout], part=given.part, cache=given.cache / "datasets")
    print(
        f"{len(data):,} responses to {len(set(data.prompts)):,} prompts, {data.label.mean():.1%} good, "
        f"{data.dropped} without a level left out; {given.seeds} seeds, split by {given.split}, {given.head} "
        f"heads; {os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}."
    )
    how = {"pooling": given.pooling, "max_length": given.max_length, "template": given.template}
    kept: dict[str, list[dict[str, Any]]] = {}
    for name in given.encoder:
        reader = encoder(name, **how)
        X = cached(reader, data.prompts, data.responses, given.cache)
        for noise in given.noise or NOISES:
            runs = []
            for seed in range(given.seeds):
                for alpha in given.alphas:
                    runs.append(run(data, X, alpha, (noise[0], noise[1]), seed, given.split, given.head))
                    print(name, json.dumps(runs[-1]), file=sys.stderr, flush=True)
            kept.setdefault(name, []).extend(runs)
            print(f"\n{Path(name).name}, {X.shape[1]} features\n\n{table(runs)}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(kept, indent=1), "utf-8")


if __name__ == "__main__":
    main()
