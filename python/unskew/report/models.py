"""The models side by side: metrics, reliability, rewards."""

from collections.abc import Sequence

from unskew.rates import wilson
from unskew.report import charts
from unskew.report.charts import Point
from unskew.report.markup import Html, el, figures, join, lines, note, small, table
from unskew.report.values import (
    Estimate,
    Run,
    between,
    column,
    estimate,
    fixed,
    mapping,
    mappings,
    number,
    paired,
    proper,
    short,
    words,
)

ROLES = {
    "naive": "feedback as it comes",
    "ours": "corrected by unskew",
    "baseline": "for comparison",
    "ideal": "uses the truth, cannot be had",
    "unsafe": "published recipe, assumptions not checked",
}
METRICS = (
    ("brier", "Brier score", "lower", "mean squared error of the predicted probability; 0 is perfect"),
    ("auc", "AUC", "higher", "chance that a liked response ranks above a disliked one; .5 is a coin"),
    ("accuracy", "accuracy", "higher", "share of responses called liked or disliked rightly"),
    ("r2", "R²", "higher", "share of the label's variance that is explained; below 0 is worse than the mean"),
    ("ece", "calibration error", "lower", "mean distance between predicted and seen rates over bins"),
    ("mean_error", "mean error", "lower", "|mean prediction − mean truth|: how wrong the overall level is"),
    ("mean_prediction", "mean prediction", "", "predicted share of liked responses"),
    ("best_of_n", "best of n", "higher", "true quality of the response that the model picks out of n"),
)
OF_PAIRS = {
    "brier": "mean squared error of the predicted chance that A is better; 0 is perfect, a coin has .25",
    "accuracy": "share of pairs of which the better response is named rightly",
}
ARROWS = {"lower": "\u00a0↓", "higher": "\u00a0↑", "": ""}
CAPTION = (
    "↓ lower is better, ↑ higher is better; ★ best of the models that could be had (the ideal one uses the "
    "truth); brackets are 95 % intervals, and where they overlap widely a star decides little."
)


def name_of(arm: Run) -> str:
    return words(arm.get("label") or arm.get("name") or "unnamed")


def role_of(arm: Run) -> str:
    role = arm.get("role")
    return role if isinstance(role, str) and role in ROLES else "baseline"


def titled(arm: Run) -> Html:
    """Name and role of a model; an unsafe one carries a sign as well."""
    role = role_of(arm)
    tag = el("span", "⚠ " if role == "unsafe" else "", role, class_=f"tag {role}", title=ROLES[role])
    return join([el("span", name_of(arm), class_="arm"), " ", tag])


def metric(arm: Run, name: str) -> Estimate:
    return estimate(mapping(arm.get("metrics")).get(name))


def best(arms: Sequence[Run], name: str, direction: str) -> str | None:
    """The best figure of a column as it is printed, over the models that can be had (no ideal)."""
    values = [metric(arm, name).value for arm in arms if role_of(arm) != "ideal"]
    known = [abs(v) if name == "mean_error" else v for v in values if v is not None]
    if not direction or len(known) < 2:
        return None
    return fixed(min(known) if direction == "lower" else max(known))


def side_by_side(run: Run) -> Html:
    """Every model, every metric, intervals, the best of each column."""
    arms = mappings(run.get("arms"))
    told = OF_PAIRS if paired(run) else {}
    every = [(name, title, way, told.get(name, meaning)) for name, title, way, meaning in METRICS]
    shown = [m for m in every if any(metric(arm, m[0]).value is not None for arm in arms)]
    if not shown:
        return note("No model was measured in this run.")
    winners = {name: best(arms, name, direction) for name, _, direction, _ in shown}
    rows = [[titled(arm), *(cell(arm, name, winners[name]) for name, *_ in shown)] for arm in arms]
    head = [el("span", title, ARROWS[way], title=meaning) for _, title, way, meaning in shown]
    legend = [el("div", el("dt", title), el("dd", meaning)) for _, title, _, meaning in shown]
    truth = next((v for arm in arms if (v := metric(arm, "mean_truth").value) is not None), None)
    level = f" The true share of liked responses is {fixed(truth)}." if truth is not None else ""
    return join(
        [
            ladder(arms),
            table(["model", *head], rows, label="models side by side", classes="arms"),
            small(CAPTION, level),
            el("dl", *legend, class_="legend"),
        ]
    )


def cell(arm: Run, name: str, winner: str | None) -> Html:
    """A figure over its interval, starred when it is the best of its column; signed errors by their size."""
    value, low, high = metric(arm, name)
    if name == "mean_error" and value is not None and value < 0:
        value, low, high = -value, None if high is None else -high, None if low is None else -low
    shown = fixed(value)
    if value is not None and role_of(arm) != "ideal" and shown == winner:
        return lines(
            el("strong", f"★\u00a0{shown}", class_="best", title="best of its column"), between(low, high)
        )
    return lines(shown, between(low, high))


def ladder(arms: Sequence[Run]) -> Html:
    """Brier scores as dots on one axis, worst at the top."""
    known = [(value, low, high, arm) for arm in arms for value, low, high in [metric(arm, "brier")]]
    ranked = sorted(
        [(v, low, high, arm) for v, low, high, arm in known if v is not None], key=lambda k: -k[0]
    )
    if not ranked:
        return Html()
    ends = [end for v, low, high, _ in ranked for end in (v, low, high) if end is not None]
    room = 0.06 * (max(ends) - min(ends)) or 0.06 * abs(max(ends)) or 0.01
    domain = (min(ends) - room, max(ends) + room)
    items = []
    for value, low, high, arm in ranked:
        span = between(low, high)
        said = f"{name_of(arm)}: Brier score {fixed(value)} {span}"
        drawn = charts.bar(value, low, high, domain=domain, role=role_of(arm), label=said)
        figure = el("span", fixed(value), " ", el("span", span, class_="range"), class_="value")
        items.append(el("li", el("div", titled(arm)), figure, drawn))
    caption = el("figcaption", "Brier score with 95 % interval; further left is better")
    return el("figure", caption, el("ul", *items), charts.scale(domain, most=6), class_="ladder")


def points(found: object) -> tuple[list[Point], int]:
    """Bins that hold rows and two rates, and how many were left out because they do not."""
    kept, bins = [], mappings(found)
    for entry in bins:
        predicted, observed, n = (number(entry.get(key)) for key in ("predicted", "observed", "n"))
        if predicted is None or observed is None or n is None or n <= 0:
            continue
        if not (0 <= predicted <= 1 and 0 <= observed <= 1):
            continue
        low, high = number(entry.get("low")), number(entry.get("high"))
        if low is None or high is None:
            low, high = wilson(observed, n)
        kept.append(Point(predicted, observed, low, high, n))
    return kept, len(bins) - len(kept)


def curve(
    found: object, title: object, *, about: str, x_label: str, y_label: str, role: str, whole: bool
) -> tuple[Html, Html] | None:
    """A calibration chart with its title, or None when no bin can be drawn; bins left out are counted."""
    kept, empty = points(found)
    if not kept:
        return None
    ends = [f"predicted {fixed(p.predicted, 2)} and seen {fixed(p.observed, 2)}" for p in (kept[0], kept[-1])]
    said = f"{about}: {len(kept)} bins, from {ends[0]} to {ends[1]}"
    drawn = charts.calibration(kept, label=said, x_label=x_label, y_label=y_label, role=role, whole=whole)
    left_out = f" ({empty} of {empty + len(kept)} bins without rows)" if empty else ""
    return join([title, el("span", left_out, class_="small")]), drawn


def chance(run: Run) -> str:
    """What the predictions of a run are chances of."""
    return "predicted chance that A is better" if paired(run) else "predicted chance of being liked"


def reliability(run: Run) -> Html:
    """One panel per model: the predicted against the true share of liked responses (of pairs: A better)."""
    truth = "share in which A is better" if paired(run) else "share truly liked"
    drawn = [
        curve(
            arm.get("reliability"),
            titled(arm),
            about=f"reliability of {name_of(arm)}",
            x_label=chance(run),
            y_label=truth,
            role=role_of(arm),
            whole=True,
        )
        for arm in mappings(run.get("arms"))
    ]
    items = [item for item in drawn if item]
    if not items:
        return note("No reliability curve was recorded: that needs gold labels or a simulated truth.")
    return figures(items)


def rewards(run: Run) -> Html:
    """One panel per model: how its rewards are spread, with the mean prediction and the mean truth."""
    found = []
    for arm in mappings(run.get("arms")):
        shape = mapping(arm.get("histogram"))
        edges, counts = column(shape.get("edges")), column(shape.get("counts"))
        if proper(edges, counts):
            found.append((arm, edges, counts))
    if not found:
        return note("No reward histogram was recorded.")
    rows = "pairs" if paired(run) else "responses"
    top = charts.ceiling(max(part for _, e, c in found for *_, part in charts.bins(e, c)))
    items = []
    for arm, edges, counts in found:
        probability = edges[0] >= 0 and edges[-1] <= 1
        means = (
            ("truth", metric(arm, "mean_truth").value),
            ("predicted", metric(arm, "mean_prediction").value),
        )
        marks = [(name, value) for name, value in means if probability and value is not None]
        said = "".join(f", mean {name} {fixed(value)}" for name, value in marks)
        drawn = charts.histogram(
            edges,
            counts,
            label=f"rewards of {name_of(arm)} on {short(sum(counts))} {rows}{said}",
            x_label=chance(run) if probability else "reward (log-odds)",
            top=top,
            role=role_of(arm),
            marks=marks,
        )
        items.append((titled(arm), drawn))
    return figures(items)
