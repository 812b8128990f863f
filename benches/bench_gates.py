"""What every gate of the audit measures, beside whether the correction is right: real texts, 16k to 1M rows.

    python benches/bench_gates.py --encoder MODEL --texts FOLDER [--json RUNS] [--seed 0] [--cells 0 60]

Responses are drawn with replacement from the turns of real dialogues (MiniLM embeddings, 64 principal
components); a fixed teacher rates them. So a million rows hold fresh votes about a few thousand texts: what
grows is the record, not the variety of texts. Thumbs are given by P = k alpha^(4 (1 - h)), a fifth of the
rows on average, and flipped with fnr .2 and fpr .1; h is

    visible     the rank of what a linear head can read of the reward: propensities can be fitted
    features    the rank of the reward, which is not linear: they can be fitted in part
    label       the hidden level: they cannot

Besides, copies (.15 / .02) and regenerations (.04 / .20) happen at random given the label.

    gold     error rates                 what else
    0        known                       nothing
    200      200 random labels           propensities of classes from the same
    600      the same and 400 labels stratified by the vote

Estimators are linear heads on the votes, and (16k rows, alpha .5 and .2) evidence on all kinds, measured
by the Brier score on texts that no fit has seen. A score is starred as right when it is not above naive by
more than .002, and within .02 of the same head on every true label. Verdicts are those of `audit.audit`.
Numbers go to benches/RESULTS.md by hand.
"""

import argparse
import json
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.bench_protocol import embed
from benches.gates_tables import GOLD, ROWS, TARGETS, summary, table
from benches.protocol_worlds import CUTS, NOISE, scaled, teacher

from unskew import audit, estimators, evidence, noise
from unskew.audit import measure
from unskew.data import NO_GOLD, RANDOM, STRATIFIED, Examples
from unskew.estimators import Columns
from unskew.events import KIND
from unskew.evidence import Evidence
from unskew.folds import assign
from unskew.propensity import FLOOR, Propensity
from unskew.propensity.measure import judge
from unskew.reward import fit_head

Array = NDArray[Any]

ALPHAS = (1.0, 0.5, 0.3, 0.2, 0.1)
FNR, FPR = 0.2, 0.1
KINDS = tuple(KIND[name] for name in ("thumbs", "copy", "regenerate"))
HAPPENS = ((0.15, 0.02), (0.04, 0.20))
FOLDS, COMPONENTS = 3, 64
WEIGHED = ((16_000, 0.5), (16_000, 0.2))
SELECTIONS = ("visible", "features", "label")


class Texts(NamedTuple):
    """Texts to learn from, then texts to test on.

    Args:
        X: components. Shape [T, 64].
        reward: of the teacher, mean 0, s.d. 1. Shape [T].
        group: code of the dialogue. Shape [T].
        inside: texts to learn from. Shape [T].
    """

    X: Array
    reward: Array
    group: Array
    inside: Array


class Log(NamedTuple):
    """N rows of a log: number of the text, true label, and what was recorded of each kind."""

    text: Array
    truth: Array
    observed: Array
    positive: Array


def texts(file: Path) -> Texts:
    """Components of the embeddings of a file; dialogues are held out whole."""
    kept = np.load(file)
    X = (kept["X"] - kept["X"].mean(0)) / kept["X"].std(0).clip(1e-6)
    found = np.linalg.svd(X, full_matrices=False)[0][:, :COMPONENTS] * np.sqrt(len(X))
    group = np.unique(kept["group"], return_inverse=True)[1]
    held = np.random.default_rng(2).random(int(group.max()) + 1) < 0.3
    return Texts(found.astype(np.float32), teacher(found), group, ~held[group])


def draw(t: Texts, selection: str, alpha: float, rows: int, seed: int) -> Log:
    """Votes, copies and regenerations about texts to learn from."""
    rng = np.random.default_rng((seed, rows))
    text = rng.choice(np.flatnonzero(t.inside), rows)
    noisy = t.reward[text] + NOISE * rng.standard_normal(rows)
    level = np.searchsorted(np.quantile(noisy, CUTS), noisy, side="right")
    truth = level >= 2
    height = level / 3 if selection == "label" else ranks(t, selection)[text]
    seen = rng.random(rows) < scaled(alpha ** (4 * (1 - height)))
    up = seen & (truth ^ (rng.random(rows) < np.where(truth, FNR, FPR)))
    others = [rng.random(rows) < np.where(truth, *chance) for chance in HAPPENS]
    return Log(text, truth, np.stack([seen, *others], axis=1), np.stack([up, *others], axis=1))


def ranks(t: Texts, selection: str) -> Array:
    """Rank of each text among those to learn from, by the reward or its best linear reading. Shape [T]."""
    value = t.reward
    if selection == "visible":
        design = np.concatenate([t.X, np.ones((len(t.X), 1))], axis=1)
        value = design @ np.linalg.lstsq(design[t.inside], t.reward[t.inside], rcond=None)[0]
    return np.asarray(np.searchsorted(np.sort(value[t.inside]), value) / t.inside.sum())


def gold_of(log: Log, labels: int, seed: int) -> tuple[Array, Array, Array]:
    """Labels, design and probability: 200 random ones, the others half of each recorded vote. [N] each."""
    rng, n = np.random.default_rng((seed, labels, 5)), len(log.truth)
    label, design, prob = np.full(n, np.nan), np.full(n, NO_GOLD, np.int8), np.full(n, np.nan)
    at = rng.choice(n, min(labels, 200), replace=False)
    label[at], design[at], prob[at] = log.truth[at], RANDOM, labels / n
    for vote in (0, 1) if labels > 200 else ():
        free = np.flatnonzero(log.observed[:, 0] & (log.positive[:, 0] == vote) & np.isnan(label))
        at = rng.permutation(free)[: (labels - 200) // 2]
        label[at], design[at], prob[at] = log.truth[at], STRATIFIED, len(at) / len(free)
    return label, design, prob


def trained(t: Texts, log: Log, columns: Columns, keep: Array | None = None) -> Array:
    """P(liked) of every text by a linear head; rows of one text are added up, which changes no loss."""
    a, b = (
        np.bincount(log.text, part if keep is None else part * keep, len(t.X))
        for part in (columns.a, columns.b)
    )
    head = fit_head(t.X, Columns(a, b, 0 * a), groups=t.group, loss="brier").head
    return np.asarray(0.5 * (1 + np.tanh(0.5 * head(t.X))))


def answering(t: Texts, log: Log) -> Propensity:
    """P(vote | text) by logistic heads that have not seen the dialogue, as the pipeline's, judged on rows."""
    fold, seen = assign(t.group, FOLDS, t.inside), log.observed[:, 0]
    n, k = np.bincount(log.text, minlength=len(t.X)), np.bincount(log.text, seen, len(t.X))
    p = np.zeros(len(t.X))
    for number in range(FOLDS):
        out = fold != number
        columns = Columns(n * out.astype(float), k * out, np.zeros(len(t.X)))
        head = fit_head(t.X, columns, groups=t.group, loss="logistic", metric="logistic").head
        p[~out] = 0.5 * (1 + np.tanh(0.5 * head(t.X[~out])))
    every = np.ones(len(seen), bool)
    return judge(np.clip(p, 1e-6, 1)[log.text], seen, every, log.positive[:, 0], FLOOR, "features")


def examples(t: Texts, log: Log, gold: tuple[Array, Array, Array]) -> Examples:
    """The log as the audit reads it."""
    n = len(log.text)
    every = np.ones((n, len(KINDS)), bool)
    return Examples(
        row=np.arange(n),
        response_id=[""] * n,
        prompt_hash=t.group[log.text].astype(np.uint64),
        group=np.arange(n),
        user=np.zeros(n, np.uint64),
        kinds=KINDS,
        offered=every,
        closed=every,
        observed=log.observed,
        positive=log.positive,
        cell=np.zeros(n, np.uint32),
        policy_prob=np.full(n, np.nan),
        gold=gold[0],
        gold_design=gold[1],
        gold_prob=gold[2],
    )


def weigh(t: Texts, log: Log, gold: tuple[Array, Array, Array]) -> Evidence:
    """Votes, copies, regenerations, silence and gold as one number a row."""
    every = np.ones_like(log.observed)
    return evidence.fit(
        t.X[log.text],
        KINDS,
        every,
        log.observed,
        log.positive,
        t.group[log.text],
        gold=gold[0],
        random=gold[1] == RANDOM,
    )


def measured(t: Texts, selection: str, alpha: float, rows: int, seed: int) -> list[dict[str, Any]]:
    """Figures of the gates, verdicts and truth of one log, for every number of gold labels."""
    log = draw(t, selection, alpha, rows, seed)
    seen, up, ones = log.observed[:, 0], log.positive[:, 0], np.ones(rows)
    chance = liked(t)

    def brier(p: Array) -> float:
        """Expected Brier score on texts that no fit has seen."""
        own, q = p[~t.inside], chance[~t.inside]
        return float((q * (1 - own) ** 2 + (1 - q) * own**2).mean())

    ideal = brier(trained(t, log, Columns(ones, log.truth.astype(float), 0 * ones)))
    naive = brier(trained(t, log, estimators.naive(up, seen)))
    p = answering(t, log)
    truth = {
        "p1": float(seen[log.truth].mean()),
        "p0": float(seen[~log.truth].mean()),
        "share": float(min((seen & log.truth).sum(), (seen & ~log.truth).sum()) / rows),
    }
    found = []
    for labels in GOLD:
        gold = (
            gold_of(log, labels, seed)
            if labels
            else (np.full(rows, np.nan), np.zeros(rows, np.int8), np.full(rows, np.nan))
        )
        log_as_rows = examples(t, log, gold)
        fit = weigh(t, log, gold) if (rows, alpha) in WEIGHED and labels != 200 else None
        thumbs = measure.two_sided(log_as_rows)[0]
        known = measure.class_propensities(log_as_rows, thumbs) if labels else None
        rates = {"thumbs": noise.known(FNR, FPR, kind="thumbs")}
        if labels:
            rates = noise.by_kind(KINDS, log_as_rows.offered, log.observed, log.positive, *gold)
        rate = rates.get("thumbs")
        scores: dict[str, float] = {}
        q = None
        if rate is not None and rate.refusal is None:
            flips = (rate.fnr, rate.fpr)
            weighted = estimators.ips(up, seen, p.raw, *flips)
            q = crossed(t, log, weighted)
            columns = {
                "noise_corrected": estimators.noise_corrected(up, seen, *flips),
                "ips": weighted,
                "doubly_robust": estimators.doubly_robust(up, seen, p.raw, q, *flips),
            }
            if known is not None and min(known.p1, known.p0) > 0:
                columns["classwise_ips"] = estimators.classwise_ips(up, seen, known.p1, known.p0, *flips)
            scores = {name: brier(trained(t, log, value)) for name, value in columns.items()}
        if fit is not None:
            head = fit_head(t.X[log.text], fit.columns(), groups=t.group[log.text], loss="mixture").head
            scores["evidence"] = brier(0.5 * (1 + np.tanh(0.5 * head(t.X))))
        quality = q if fit is None else fit.q
        verdict = audit.audit(
            log_as_rows,
            propensities={"thumbs": p},
            rates=rates,
            posterior=None if fit is None else fit.posterior,
            quality=quality,
            covariates={f"component {c + 1}": t.X[log.text, c] for c in range(8)},
            warnings=() if fit is None else fit.warnings,
        )
        estimate = measure.classes(
            thumbs,
            known=known,
            rates=None if labels else rate,
            posterior=None if fit is None else fit.posterior,
        )
        by_fit = (
            None if fit is None else measure.classes(thumbs, known=None, rates=None, posterior=fit.posterior)
        )
        test = measure.label_test(log_as_rows, thumbs, p.raw, quality) if labels else None
        found.append(
            {
                "selection": selection,
                "alpha": alpha,
                "rows": rows,
                "seed": seed,
                "gold": labels,
                **truth,
                "naive": naive,
                "ideal": ideal,
                "scores": scores,
                "colours": dict(verdict.estimators),
                "red": {
                    name: [g.name for g in verdict.gates if g.colour == "red" and name in g.binds]
                    for name in (*TARGETS, "evidence")
                },
                "ess": p.report.ess,
                "mean": measure.mean_weight(thumbs, p),
                "floored": p.report.mean_o_over_p,
                "clipped": p.report.clipped / rows,
                "fewest": None if estimate is None else estimate.fewest,
                "low": None if estimate is None else estimate.low,
                "fit_share": None if by_fit is None else by_fit.fewest / rows,
                "d_low": None if rate is None else rate.interval["D"][0],
                "test": None if test is None else (test.p, test.reach),
                "features": measure.feature_test(log_as_rows, thumbs, p.raw) if labels else None,
            }
        )
    return found


def crossed(t: Texts, log: Log, columns: Columns) -> Array:
    """P(liked) of each row by heads that have not seen its dialogue."""
    fold, q = assign(t.group, FOLDS, t.inside), np.zeros(len(t.X))
    for number in range(FOLDS):
        own = fold == number
        q[own] = trained(t, log, columns, ~own[log.text])[own]
    return q[log.text]


def liked(t: Texts) -> Array:
    """P(liked) of every text: the reward with its noise above the cut. Shape [T]."""
    noisy = t.reward[t.inside] + NOISE * np.random.default_rng(3).standard_normal(int(t.inside.sum()))
    z = (t.reward - np.quantile(noisy, CUTS[1])) / NOISE
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])


def cells() -> list[tuple[str, float, int]]:
    """Every selection, alpha and size; alpha 1 is the same whatever selects."""
    found = [(how, alpha, rows) for rows in ROWS for how in SELECTIONS for alpha in ALPHAS]
    return [cell for cell in found if cell[1] < 1 or cell[0] == "visible"]


def main() -> None:
    """Run the cells that are not in the file yet, and print the tables."""
    home = os.environ.get("UNSKEW_DATA", "../shared/data")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", required=True, help="directory of a sentence encoder")
    parser.add_argument("--texts", type=Path, default=Path(home) / "hh_harmless")
    parser.add_argument("--turns", type=int, default=9_000)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "unskew")
    parser.add_argument("--json", type=Path, default=Path("gates.jsonl"), help="runs; read first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cells", type=int, nargs=2, default=(0, len(cells())), help="first, and end")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    t = texts(embed(given.encoder, given.texts, given.cache, given.turns))
    lines = given.json.read_text("utf-8").splitlines() if given.json.exists() else []
    runs = [json.loads(line) for line in lines]
    done = {(run["selection"], run["alpha"], run["rows"]) for run in runs if run["seed"] == given.seed}
    start = time.process_time()
    for cell in cells()[slice(*given.cells)]:
        if cell in done:
            continue
        found = measured(t, *cell, given.seed)
        runs += found
        with given.json.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(run) + "\n" for run in found)
        print(*cell, f"{time.process_time() - start:.0f} CPU s", file=sys.stderr, flush=True)
    runs = [run for run in runs if run["seed"] == given.seed]
    print(f"{int(t.inside.sum()):,} texts to learn from, {int((~t.inside).sum()):,} to test on\n")
    for labels in GOLD:
        print(f"{labels} gold labels\n\n{table(runs, labels)}\n")
    print(summary(runs))


if __name__ == "__main__":
    main()
