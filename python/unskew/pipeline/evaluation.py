"""A model, or two, in every way of measuring: metrics, intervals, and which of them may be believed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unskew import evaluate
from unskew.estimators import ess
from unskew.evaluate import logs
from unskew.evaluate.metrics import Result
from unskew.evaluate.validity import ENOUGH, Validity, Way, validity
from unskew.pipeline.ground import Ground, Reading
from unskew.rates import Floats, design_weight

LABELS: dict[Way, str] = {
    "naive": "feedback as it comes",
    "snips": "propensity weights (SNIPS)",
    "doubly_robust": "doubly robust",
    "classwise_ips": "class weights",
    "corrected": "choices, errors undone",
    "powered": "gold and log (PPI)",
    "gold": "gold alone",
}
"""Names of the ways for a person."""

OF_RESPONSES = ("brier", "auc", "accuracy", "log_loss", "r2", "mean_prediction", "mean_truth", "mean_error")
OF_PAIRS = ("accuracy", "brier", "log_loss")
"""Metrics of responses, and of pairs, whose order is arbitrary."""

BINS, GOLD_BINS = 10, 5
"""Bins of a calibration curve from a log, and from gold."""

DRAWS = 16
"""n of best of n."""

LOWER = ("brier", "log_loss")
"""Metrics of which less is better."""


def ways(p: Floats, g: Ground, in_sample: bool | None) -> list[dict[str, Any]]:
    """Every way of measuring one model, each with its metrics and whether its intervals may be believed.

    Args:
        p: P(liked), or P(A is better), by the model. Shape [N], in [0, 1].
        g: what it is measured on.
        in_sample: the model was trained on it; None when nobody knows.

    Returns:
        `way`, `label`, `valid`, `why`, `n` (answers or gold labels), `ess`, `clipped` (answers with
        a propensity raised to the floor), `metrics` and `calibration` each;
        with gold and a log also `differs`, the p value of a test of the log against gold.
    """
    found = [_from_log(p, g, reading, in_sample) for reading in g.readings]
    if g.labels >= 2:
        found += [_from_gold(p, g, way, in_sample) for way in ("powered", "gold")]
        worth(found, g)
    return found


def _from_log(p: Floats, g: Ground, reading: Reading, in_sample: bool | None) -> dict[str, Any]:
    s, cluster = p[reading.at], g.cluster[reading.at]
    whole = evaluate.log_metrics(s, reading.log, cluster=cluster)
    metrics = {name: whole[name] for name in names_of(g)}
    if g.unit == "response":
        picked = logs.weighted(reading.log, logs.best_of(p, DRAWS)[reading.at])
        metrics["best_of_n"] = evaluate.log_metrics(s, picked, cluster=cluster)["mean_truth"]
    if reading.way == "doubly_robust" and len(g.pairs[0]):
        metrics["pair_accuracy"] = _pair_accuracy(p, g, reading)
    differs = None if reading.way in ("naive", "corrected") else _against_gold(p, g, reading)
    bins = evaluate.bins_of(p, BINS)[reading.at]
    return {
        **described(reading.way, judge(g, reading, in_sample, differs)),
        "n": reading.n,
        "ess": reading.ess,
        "clipped": reading.clipped,
        "differs": differs,
        "metrics": metrics,
        "calibration": evaluate.log_calibration(s, reading.log, bins, cluster=cluster),
    }


def _from_gold(p: Floats, g: Ground, way: Way, in_sample: bool | None) -> dict[str, Any]:
    options: dict[str, Any] = {"design": g.design, "prob": g.prob, "cluster": g.cluster}
    if way == "gold":
        options["power"] = 0.0
    whole = evaluate.powered(p, g.pseudo, g.gold, **options)
    metrics = {name: whole[name] for name in names_of(g) if name in whole}
    if g.unit == "response":
        picked = evaluate.powered(p, g.pseudo, g.gold, weight=logs.best_of(p, DRAWS), **options)
        metrics["best_of_n"] = picked["mean_truth"]
    known = ~np.isnan(g.gold)
    return {
        **described(way, judge(g, way, in_sample)),
        "n": g.labels,
        "ess": ess(design_weight(g.design[known], g.prob[known])),
        "clipped": 0,
        "differs": None,
        "metrics": metrics,
        "calibration": evaluate.powered_calibration(
            p, g.pseudo, g.gold, evaluate.bins_of(p, GOLD_BINS), **options
        ),
    }


def worth(found: list[dict[str, Any]], g: Ground) -> None:
    """Write into the powered way how many gold labels alone would give its Brier interval."""
    by_way = {one["way"]: one for one in found}
    wide, narrow = (width(by_way[way], "brier") for way in ("gold", "powered"))
    by_way["powered"]["ess"] = by_way["gold"]["ess"] * (wide / narrow) ** 2 if narrow > 0 else None


def width(way: Mapping[str, Any], metric: str) -> float:
    """Width of an interval."""
    return float(way["metrics"][metric]["high"] - way["metrics"][metric]["low"])


def _pair_accuracy(p: Floats, g: Ground, reading: Reading) -> dict[str, float]:
    """Share of pairs of responses shown together whose better one is ranked first; ties count half."""
    ahead, behind = g.pairs
    log, pair = logs.of_pairs(reading.log, reading.at, ahead, behind)
    first = (0.5 * (1 + np.sign(p[ahead] - p[behind])))[pair]
    return evaluate.log_metrics(first, log, cluster=g.cluster[ahead][pair])["accuracy"]


def _against_gold(p: Floats, g: Ground, reading: Reading) -> float | None:
    """p value of the log against random gold, by Brier score and AUC; None without enough gold."""
    if not g.random or g.labels < ENOUGH:
        return None
    rows = len(reading.at)
    found = evaluate.gold_test(
        np.concatenate([p[reading.at], p]),
        logs.padded(reading.log, len(g)),
        np.concatenate([np.full(rows, np.nan), g.gold]),
        cluster=np.concatenate([g.cluster[reading.at], g.cluster]),
    )
    values = [found[name]["p"] for name in ("brier", "auc") if np.isfinite(found[name]["p"])]
    return min(1.0, len(values) * min(values)) if values else None


def names_of(g: Ground) -> tuple[str, ...]:
    """Metrics that mean something there."""
    return OF_PAIRS if g.unit == "pair" else OF_RESPONSES


def described(way: Way, found: Validity) -> dict[str, Any]:
    """A way and its validity, for JSON."""
    return {"way": way, "label": LABELS[way], "valid": found.valid, "why": found.why}


def judge(g: Ground, way: "Reading | Way", in_sample: bool | None, differs: float | None = None) -> Validity:
    """The validity of a way on this ground."""
    if isinstance(way, Reading):
        return validity(
            way.way,
            selection=way.selection,
            gold=g.labels,
            in_sample=in_sample,
            random=g.random,
            refused=way.refused,
            disagrees=differs,
        )
    return validity(way, selection="unknown", gold=g.labels, in_sample=in_sample, random=g.random)


def best_of_ways(found: list[dict[str, Any]], metric: str = "brier") -> str | None:
    """The way to read: the valid one with the shortest interval; None when none is valid."""
    valid = [way for way in found if way["valid"]]
    return min(valid, key=lambda way: width(way, metric))["way"] if valid else None


def compared(
    first: Floats, second: Floats, g: Ground, in_sample: bool | None, measured: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Differences, first minus second, in every way: paired, so that what moves both models cancels.

    Args:
        first: by one model, as in `ways`.
        second: by the other.
        g: what they are measured on.
        in_sample: one of them was trained on it; None when nobody knows of one.
        measured: `ways` of the two, for their tests against gold.
    """
    found = []
    for reading in g.readings:
        at, tests = reading.at, [w["differs"] for w in measured if w["way"] == reading.way]
        differs = min((value for value in tests if value is not None), default=None)
        gap: Result = evaluate.log_compare(first[at], second[at], reading.log, cluster=g.cluster[at])
        found.append(
            {**described(reading.way, judge(g, reading, in_sample, differs)), "n": reading.n, "gap": gap}
        )
    if g.labels >= 2:
        options: dict[str, Any] = {"design": g.design, "prob": g.prob, "cluster": g.cluster}
        for way, power in (("powered", None), ("gold", 0.0)):
            gap = evaluate.powered_compare(first, second, g.pseudo, g.gold, power=power, **options)
            found.append({**described(way, judge(g, way, in_sample)), "n": g.labels, "gap": gap})  # type: ignore[arg-type]
    shown = [name for name in names_of(g) if name not in ("mean_prediction", "mean_truth", "mean_error")]
    return [
        {**{key: value for key, value in one.items() if key != "gap"},
         "metrics": {name: one["gap"][name] for name in shown if name in one["gap"]}}
        for one in found
    ]  # fmt: skip


def decision(found: list[dict[str, Any]], metric: str, first: str, second: str) -> str:
    """Who is better, in a sentence; no more than the best valid way says.

    Args:
        found: `compared`.
        metric: what decides.
        first: name of one model.
        second: name of the other.
    """
    way = next((one for one in found if one["way"] == best_of_ways(found, metric)), None)
    if way is None:
        return (
            f"Nothing here can say whether {first} or {second} is better: no way of comparing them is valid."
        )
    gap = way["metrics"][metric]
    said = f"{metric.replace('brier', 'Brier score')} differs by {gap['value']:+.3f} "
    said += f"[{gap['low']:+.3f}, {gap['high']:+.3f}], {way['label']}"
    if gap["low"] <= 0 <= gap["high"]:
        return f"Neither is better beyond chance: {said}."
    wins = (gap["value"] < 0) == (metric in LOWER)
    one, other = (first, second) if wins else (second, first)
    return f"{one} beats {other}: {said}."
