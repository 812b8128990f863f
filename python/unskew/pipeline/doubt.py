"""How much hangs on what was estimated: sensitivity to propensities and error rates, and drift over time."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from unskew import evaluate, noise
from unskew.audit.measure import two_sided
from unskew.evaluate.sensitivity import TIPPING
from unskew.noise import Noise
from unskew.pipeline.evaluation import names_of
from unskew.pipeline.ground import Ground, Reading, Weights
from unskew.pipeline.material import Material
from unskew.rates import Floats, Ints

GAMMAS = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0)
"""Odds ratios of a sensitivity curve."""

RADIUS = math.sqrt(-2 * math.log(0.05))
"""Standard deviations of a region that holds two normal numbers with probability 95 %."""

WINDOWS, ANSWERS = 6, 400
"""Most windows of time, and answers that each should have."""

CHANGED = 0.01
"""p value below which something changed over time."""


def sensitivity(p: Floats, g: Ground) -> dict[str, Any] | None:
    """Bounds of Brier score and accuracy over wrong propensities and over the region of the error rates.

    Args:
        p: by the model. Shape [N].
        g: what it is measured on.

    Returns:
        `kind`, `odds` (what gold sees of it), `curve` (bounds by `gamma`) and `rates` (range over
        the 95 % region of the error rates) of each metric; None where nothing is weighted.
    """
    w = g.weights
    if w is None:
        return None
    s = p[w.at]
    curve = [(gamma, evaluate.bounds(s, w.columns, gamma)) for gamma in GAMMAS]
    return {
        "kind": w.kind,
        "odds": w.odds,
        "curve": {name: [{"gamma": g, **_possible(found[name])} for g, found in curve] for name in TIPPING},
        "rates": _range(s, w),
    }


def _possible(found: Mapping[str, float]) -> dict[str, float]:
    """Bounds of a share: corrected labels can leave [0, 1], the share cannot."""
    return {**found, "low": max(found["low"], 0.0), "high": min(found["high"], 1.0)}


def _range(s: Floats, w: Weights) -> dict[str, Any] | None:
    """Ranges over the region of the rates; None when they are known, or the region holds D = 0."""
    if not w.log.noise[0].covariance.any():
        return None
    try:
        found = evaluate.rate_range(s, w.log, radius=RADIUS)
    except ValueError:
        return None
    return {name: found[name] for name in TIPPING}


def tipping(first: Floats, second: Floats, g: Ground) -> dict[str, Any] | None:
    """Where the comparison of two models flips: odds ratio of the propensities, and error rates.

    Args:
        first: by one model. Shape [N].
        second: by the other. Shape [N].
        g: what they are measured on.

    Returns:
        `kind`, `odds`, `curve` (bounds of the difference by `gamma`) and `tips` by metric: `value` (first
        minus second), `gamma`, `fnr`, `fpr`, `distance`, and the rates that were used; None where nothing is
        weighted.
    """
    w = g.weights
    if w is None:
        return None
    one, two = first[w.at], second[w.at]
    odds, rates = evaluate.tipping_gamma(one, two, w.columns), evaluate.tipping_rates(one, two, w.log)
    curve = [(gamma, evaluate.compare_bounds(one, two, w.columns, gamma)) for gamma in GAMMAS]
    used = w.log.noise[0]
    return {
        "kind": w.kind,
        "odds": w.odds,
        "used": {"fnr": used.fnr, "fpr": used.fpr},
        "curve": {name: [{"gamma": gamma, **found[name]} for gamma, found in curve] for name in TIPPING},
        "tips": {name: {**rates[name], **odds[name]} for name in TIPPING},
    }


def tipping_words(found: Mapping[str, Any], metric: str) -> str:
    """Where a comparison flips, in a sentence.

    Args:
        found: `tipping`.
        metric: which.
    """
    tips, kind = found["tips"][metric], found["kind"]
    if tips["value"] == 0:
        return f"By the weights of {kind} the two are equal, so there is nothing that could flip."
    gamma = tips["gamma"]
    if not math.isfinite(gamma):
        said = f"No error of the propensities of {kind} makes the two equal"
    else:
        said = (
            f"By the weights of {kind} the order flips when the odds of its propensity are off by {gamma:.2f}"
        )
    if math.isfinite(gamma) and found["odds"]:
        said += f" (gold puts the true factor at about {found['odds']:.1f})"
    rates = [f"{name} of {tips[name]:.2f} (used {found['used'][name]:.2f})" for name in ("fnr", "fpr")
             if math.isfinite(tips[name])]  # fmt: skip
    if rates:
        said += f"; or at {' or '.join(rates)}"
        if math.isfinite(tips["distance"]):
            said += f", {tips['distance']:.1f} standard deviations away"
    return said + "."


def drift(p: Floats, g: Ground, m: Material) -> dict[str, Any] | None:
    """The model's metrics, who answers, and error rates by window of time, each with a test of no change.

    Windows hold equally many responses in the order of time.

    Args:
        p: by the model. Shape [N].
        g: what it is measured on.
        m: rows and nuisances.

    Returns:
        `windows` (when each begins and how many responses it holds), `model` (by metric, and the `way` it is
        read), and by kind `answered`, `fit` (observed minus propensity), `positive` (recorded labels) and
        `rates` (in two halves, from gold); `changed`, a sentence for each that did; None for one window.
    """
    reading = next(
        (r for way in ("doubly_robust", "snips", "corrected", "naive") for r in g.readings if r.way == way),
        None,
    )
    count = min(WINDOWS, (0 if reading is None else reading.n) // ANSWERS)
    if reading is None or count < 2:
        return None
    code = _windows(g.time, count)
    starts = [str(np.datetime_as_string(g.time[code == c].min(), unit="m")) for c in range(count)]
    sizes = np.bincount(code).tolist()
    found: dict[str, Any] = {
        "windows": [{"from": start, "n": n} for start, n in zip(starts, sizes, strict=True)],
        "model": {"way": reading.way, **_model(p, g, reading, code)},
        "kinds": {} if g.unit == "pair" else _kinds(g, m, code),
    }
    return {**found, "changed": _changes(found)}


def _windows(time: Any, count: int) -> Ints:
    """Window of each row, by rank of time."""
    rank = np.empty(len(time), np.int64)
    rank[np.argsort(time, kind="stable")] = np.arange(len(time))
    return rank * count // len(time)


def _model(p: Floats, g: Ground, reading: Reading, code: Ints) -> dict[str, Any]:
    at = reading.at
    try:
        found = evaluate.drift(p[at], reading.log, code[at], cluster=g.cluster[at])
    except ValueError:  # a window without weight
        return {}
    return {name: found[name] for name in names_of(g) if name in ("brier", "auc", "accuracy", "mean_truth")}


def _kinds(g: Ground, m: Material, code: Ints) -> dict[str, Any]:
    """Who answers, and how often the record is wrong, by window and kind."""
    found: dict[str, Any] = {}
    for column in two_sided(m.examples):
        usable, seen = column.usable[g.at], column.observed[g.at]
        if len(np.unique(code[usable])) < 2 or len(np.unique(code[seen])) < 2:
            continue
        o, cluster = seen[usable].astype(np.float64), g.cluster[usable]
        one: dict[str, Any] = {"answered": evaluate.mean_drift(o, code[usable], cluster=cluster)}
        if column.name in m.propensities:
            p = m.propensities[column.name].raw[g.at][usable]
            one["fit"] = evaluate.mean_drift(o - p, code[usable], cluster=cluster)
        up = column.positive[g.at][seen].astype(np.float64)
        one["positive"] = evaluate.mean_drift(up, code[seen], cluster=g.cluster[seen])
        if isinstance(rate := m.rates.get(column.name), Noise) and rate.source == "gold":
            one["rates"] = _rates(g, m, column.name)
        found[column.name] = one
    return found


def _rates(g: Ground, m: Material, name: str) -> dict[str, Any] | None:
    """fnr and fpr from the gold of either half of the time; None where a half has too little of it."""
    rows, k = m.examples, m.examples.kind(name)
    half, parts = _windows(g.time, 2), []
    for number in (0, 1):
        at = g.at[half == number]
        usable = m.usable[at, k]
        voted = rows.gold[at][usable & rows.observed[at, k]]
        if not ((voted > 0).any() and (voted < 1).any()):
            return None
        parts.append(
            noise.from_gold(
                rows.positive[at, k],
                rows.gold[at],
                observed=rows.observed[at, k],
                usable=usable,
                design=rows.gold_design[at],
                prob=rows.gold_prob[at],
                kind=name,
            )
        )
    return {
        rate: evaluate.drift_of_rates(
            [getattr(part, rate) for part in parts], [part.covariance[i, i] for part in parts], [0, 1]
        )
        for i, rate in enumerate(("fnr", "fpr"))
    }


WORDS = {
    "answered": "how often {kind} is answered",
    "fit": "how well the propensity describes who answers {kind}",
    "positive": "the share of positive {kind}",
}


def _changes(found: Mapping[str, Any]) -> list[str]:
    """A sentence for each figure that changed."""

    def moved(one: Any) -> bool:
        return bool(one and math.isfinite(one["p"]) and one["p"] < CHANGED)

    said = [
        f"The model's {name.replace('_', ' ')} changed over time (p value {one['p']:.1g})."
        for name, one in found["model"].items()
        if isinstance(one, dict) and moved(one)
    ]
    for kind, figures in found["kinds"].items():
        for name, words in WORDS.items():
            if moved(figures.get(name)):
                text = words.format(kind=kind)
                said.append(
                    f"{text[0].upper()}{text[1:]} changed over time (p value {figures[name]['p']:.1g})."
                )
        for rate, one in (figures.get("rates") or {}).items():
            if moved(one):
                said.append(
                    f"{rate} of {kind} changed between the halves of the log (p value {one['p']:.1g})."
                )
    return said
