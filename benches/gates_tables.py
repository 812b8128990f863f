"""Tables of `bench_gates`: Brier scores with the colours of the audit, and how often a colour was right."""

from typing import Any

ROWS = (16_000, 64_000, 256_000, 1_000_000)
GOLD = (0, 200, 600)
TARGETS = ("noise_corrected", "ips", "doubly_robust", "classwise_ips")


def right(run: dict[str, Any], name: str) -> bool:
    """Whether an estimator did no harm, and what it was there for."""
    score = run["scores"].get(name, 1.0)
    return bool(score <= run["naive"] + 0.002 and score <= run["ideal"] + 0.02)


def table(runs: list[dict[str, Any]], labels: int) -> str:
    """Brier scores with colours, and figures, of one number of gold labels."""
    names = [*TARGETS, "evidence"]
    lines = [
        "| rows | selected by | alpha | naive | ideal | "
        + " | ".join(name.replace("_", " ") for name in names)
        + " | ESS | mean o / p | votes of the rarer class | of all rows | least class | D at least |"
        " p1 = p0, reach | features |",
    ]
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    for run in runs:
        if run["gold"] != labels:
            continue
        shown = [
            f"{run['scores'][name]:.3f}{'*' if right(run, name) else ''} {run['colours'].get(name, '')}"
            if name in run["scores"]
            else f"– {run['colours'].get(name, '')}"
            for name in names
        ]
        test = run["test"] and f"{run['test'][0]:.2g}, {run['test'][1]:.1f}"
        figures = (run["low"], run["d_low"])
        cells = [
            f"{run['rows'] // 1000}k",
            run["selection"] if run["alpha"] < 1 else "nothing",
            f"{run['alpha']:g}",
            f"{run['naive']:.3f}",
            f"{run['ideal']:.3f}",
            *shown,
            f"{run['ess']:,.0f}",
            f"{run['mean']:.2f}",
            "–" if run["fewest"] is None else f"{run['fewest']:,.0f}",
            f"{100 * run['share']:.2f} %",
            *("–" if value is None else f"{value:.3f}" for value in figures),
            test or "–",
            "–" if run["features"] is None else f"{run['features']:.2g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(runs: list[dict[str, Any]]) -> str:
    """How often each colour was right, by size of the log."""
    lines = [
        "| gold | estimator | rows | green: right | amber: right | red: right |",
        "|---|---|---|---|---|---|",
    ]
    for labels in GOLD:
        for name in TARGETS:
            for rows in ROWS:
                mine = [run for run in runs if run["gold"] == labels and run["rows"] == rows]
                shares = []
                for colour in ("green", "amber", "red"):
                    own = [right(run, name) for run in mine if run["colours"].get(name) == colour]
                    shares.append(f"{sum(own)} of {len(own)}")
                if mine:
                    lines.append(f"| {labels} | {name} | {rows // 1000}k | " + " | ".join(shares) + " |")
    return "\n".join(lines)
