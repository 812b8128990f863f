"""Tables of the published protocol: scores of every arm, and what ours gains or loses beside each."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import rankdata, ttest_rel

METRICS = ("brier", "r2", "auc")


def metrics(q: Any, y: Any) -> dict[str, float]:
    """Brier score, R2 = 1 - Brier / variance, area under the ROC curve."""
    brier = float(np.mean((q - y) ** 2))
    rank, up = rankdata(q), y == 1
    auc = (rank[up].sum() - up.sum() * (up.sum() + 1) / 2) / (up.sum() * (~up).sum())
    return {"brier": brier, "r2": 1 - brier / float(np.var(y)), "auc": float(auc)}


def values_of(runs: list[dict[str, Any]], cell: str, name: str, metric: str) -> dict[int, float]:
    """Seed -> value, where the arm did not refuse."""
    own = [run for run in runs if run["cell"] == cell]
    return {run["seed"]: run["arms"][name][metric] for run in own if metric in run["arms"].get(name, {})}


def holm(p: list[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    order, running, found = np.argsort(p), 0.0, [1.0] * len(p)
    for rank, at in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[at]))
        found[at] = running
    return found


def scores(runs: list[dict[str, Any]], names: list[str], cells: list[str]) -> Iterator[str]:
    """Brier / R2 / AUC, means over seeds."""
    yield "| Brier / R2 / AUC | " + " | ".join(cells) + " |"
    yield "|---|" + "---|" * len(cells)
    for name in names:
        row = []
        for cell in cells:
            got = [list(values_of(runs, cell, name, metric).values()) for metric in METRICS]
            lacking = sum(run["cell"] == cell for run in runs) - len(got[0])
            said = " / ".join(f"{np.mean(v):.3f}" for v in got) if got[0] else "refused"
            row.append(said + (f" ({lacking} refused)" if lacking and got[0] else ""))
        yield f"| {name} | " + " | ".join(row) + " |"
    yield (
        "| audit: evidence without gold, with 600, DR with 600 | "
        + " | ".join(
            ", ".join(
                "/".join(sorted({run["audit"][key] for run in runs if run["cell"] == cell}))
                for key in ("evidence_0", "evidence_600", "doubly_robust_600")
            )
            for cell in cells
        )
        + " |"
    )


def claims(runs: list[dict[str, Any]], mine: str, names: list[str], cells: list[str]) -> Iterator[str]:
    """Brier of ours minus that of each other arm, cell by cell; bold where Holm's p is below .05."""
    yield f"| Brier, {mine} minus | " + " | ".join(cells) + " | better | worse |"
    yield "|---|" + "---|" * (len(cells) + 2)
    for name in names:
        differences, p = [], []
        for cell in cells:
            a, b = values_of(runs, cell, mine, "brier"), values_of(runs, cell, name, "brier")
            both = sorted(a.keys() & b.keys())
            gap = np.array([[a[seed], b[seed]] for seed in both]).reshape(-1, 2)
            differences.append(float((gap[:, 0] - gap[:, 1]).mean()) if both else np.nan)
            p.append(float(ttest_rel(gap[:, 0], gap[:, 1]).pvalue) if len(both) > 1 else 1.0)
        sure = np.array(holm(p)) < 0.05
        row = [
            "–" if np.isnan(d) else f"**{d:+.3f}**" if s else f"{d:+.3f}"
            for d, s in zip(differences, sure, strict=True)
        ]
        better, worse = (int((sure & (np.sign(differences) == side)).sum()) for side in (-1, 1))
        yield f"| {name} | " + " | ".join(row) + f" | {better} | {worse} |"


def report(runs: list[dict[str, Any]], names: list[str], cells: list[str]) -> str:
    """The tables of RESULTS."""
    lines = list(scores(runs, names, cells))
    for mine in ("auto_0", "ours_0", "ours_600"):
        if mine in names:
            lines += ["", *claims(runs, mine, [n for n in names if n not in ("ideal", mine)], cells)]
    return "\n".join(lines)
