"""run.json: everything a report needs to know about a run, as plain data."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unskew import _rust
from unskew.audit import Verdict
from unskew.data import Store
from unskew.noise import Noise
from unskew.pipeline.config import TrainConfig
from unskew.pipeline.material import Material
from unskew.propensity import Propensity

Unit = Literal["response", "pair"]
"""What a model predicts about: whether one response is liked, or which of two is better."""

ESTIMAND: dict[Unit, str] = {
    "response": "P(liked) of a response, for all responses that were shown, whether or not anybody gave "
    "feedback",
    "pair": "P(A is better than B) of two responses to one prompt, as the people who choose see it, for the "
    "pairs they choose between",
}
SCALE: dict[Unit, str] = {
    "response": "log-odds that a user likes the response",
    "pair": "the difference of two rewards is the log-odds that the first response is better; the level of "
    "one reward means nothing",
}
LIMITS = (
    "What users would have thought of responses that the product never showed: the log holds none.",
    "Differences between people: the model speaks of the average user behind this log.",
)
OF_UNIT: dict[Unit, tuple[str, ...]] = {
    "response": (
        "Kinds of feedback are taken to be independent once a response, whether it is liked and, where users "
        "are logged, how much its user gives feedback are known. Random gold labels test that, coarsely: "
        "`unskew audit` says where kinds come together otherwise.",
    ),
    "pair": (
        "Whether a response is good: choices say which of two is better, and both may be bad.",
        "What people who do not choose prefer, and pairs that nobody chose between: neither is corrected.",
        "Ties: a tie, or that both are bad, is counted and not learned from.",
        "Choices are taken to err at two rates that depend on the slot of the better response alone, not on "
        "how much better it is.",
    ),
}
NO_GOLD: dict[Unit, str] = {
    "response": "Without gold labels the share of liked responses and the error rates rest on assumptions "
    "that the log cannot check.",
    "pair": "Without gold pairs the error rates are as given, and the log cannot check them.",
}
NO_USERS = (
    "Who gave the feedback: no user is logged, so a few people who write a lot cannot be told from many."
)
BINS = 20


def describe(
    title: str,
    store: Store,
    material: Material,
    verdict: Verdict,
    settings: TrainConfig,
    *,
    nuisances: str,
    unit: Unit = "response",
    truth: "dict[tuple[str, str], float] | None" = None,
) -> dict[str, Any]:
    """What a run is about, without its models.

    Args:
        title: of the report.
        store: the store.
        material: rows and nuisances.
        verdict: the audit.
        settings: settings of the run.
        nuisances: id of the nuisances in the store.
        unit: what the model predicts about.
        truth: true rates of a simulated log by (kind, parameter).
    """
    rows = material.examples
    closed = int(material.as_logged().usable.any(1).sum())
    gold = int((~np.isnan(rows.gold)).sum())
    population = f"{len(rows):,} responses shown, {closed:,} with a closed window for feedback"
    compared: dict[str, Any] = {}
    if pairs := material.choices:
        compared = {"choices": {"pairs": len(pairs), "chosen": int(pairs.seen.sum()), **pairs.counts}}
        compared["choices"]["gold"] = int(pairs.labelled.sum())
        if unit == "pair":
            gold = compared["choices"]["gold"]
            population += f"; {len(pairs):,} pairs shown side by side, {pairs.seen.sum():,} with a choice"
    ledger = store.ledger
    return {
        "title": title,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "unit": unit,
        "estimand": ESTIMAND[unit],
        "population": population,
        "counts": {
            "impressions": len(rows),
            "closed": closed,
            "gold": gold,
            "balance": ledger["balance"],
            "kinds": ledger["kinds"],
            "states": ledger["states"],
            **compared,
        },
        "verdict": verdict.to_dict(),
        "propensity": {name: _propensity(material, name, p) for name, p in material.propensities.items()},
        "noise": _noise(material, truth or {}),
        "limits": [
            *LIMITS,
            *OF_UNIT[unit],
            *(() if gold else (NO_GOLD[unit],)),
            *(() if rows.user.any() else (NO_USERS,)),
        ],
        "provenance": {
            "unskew": _rust.__version__,
            "python": platform.python_version(),
            "store": {"generation": store.generation, "digest": store.digest},
            "nuisances": nuisances,
            "accept_red": settings.accept_red,
            "settings": {
                k: v for k, v in settings.to_dict().items() if (v or k == "user_cap") and k != "accept_red"
            },
        },
    }


def _propensity(m: Material, name: str, found: Propensity) -> dict[str, Any]:
    k = m.examples.kind(name)
    usable = m.usable[:, k]
    seen = m.examples.observed[:, k]
    p = found.raw[usable]
    edges = np.linspace(0, max(float(p.max()), 1e-3), BINS + 1)
    observed, silent = (np.histogram(found.raw[usable & rows], edges)[0].tolist() for rows in (seen, ~seen))
    report = found.report
    return {
        "histogram": {"edges": edges.tolist(), "observed": observed, "silent": silent},
        "calibration": [{"predicted": b.predicted, "observed": b.observed, "n": b.n} for b in report.bins],
        "mean_o_over_p": report.mean_o_over_p,
        "ess": report.ess,
        "clipped_mass": {key: report.clipped_mass[key] for key in ("1", "0") if key in report.clipped_mass},
    }


def _noise(m: Material, truth: "dict[tuple[str, str], float]") -> list[dict[str, Any]]:
    """Error rates from gold for two-sided kinds, from evidence for the rest."""
    rows = [row for rate in m.rates.values() if isinstance(rate, Noise) for row in rate.rows()]
    told = {(row["kind"], row["parameter"]) for row in rows}
    if m.evidence is not None:
        rows += [row for row in m.evidence.tables if (row["kind"], row["parameter"]) not in told]
    for row in rows:
        known = truth.get((row["kind"], row["parameter"]))
        if known is not None:
            row["truth"] = known
    return rows


def recovered(arms: Sequence[dict[str, Any]]) -> float | None:
    """Share of the Brier gap between naive and ideal that ours closes; None where one is missing."""
    brier = {arm["role"]: arm["metrics"]["brier"]["value"] for arm in reversed(arms) if "metrics" in arm}
    if not {"naive", "ours", "ideal"} <= brier.keys() or brier["naive"] <= brier["ideal"]:
        return None
    return float((brier["naive"] - brier["ours"]) / (brier["naive"] - brier["ideal"]))


def write_run(run: dict[str, Any], directory: Path) -> Path:
    """run.json in a directory, whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / "run.json"
    partial = target.with_name(f".run.json.{os.getpid()}")
    partial.write_text(json.dumps(plain(run), indent=1, allow_nan=False) + "\n", "utf-8")
    partial.replace(target)
    return target


def plain(value: Any) -> Any:
    """NumPy as Python, and numbers that are not finite as None: JSON knows neither."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
