"""One model in every way of measuring it, and two models compared: forests, tables, calibration."""

from collections.abc import Sequence

from unskew.report import charts
from unskew.report.doubt import FIGURES, tipping
from unskew.report.markup import Html, el, figures, join, lines, note, small, table
from unskew.report.models import ARROWS, curve
from unskew.report.values import (
    Estimate,
    Run,
    between,
    estimate,
    fixed,
    mapping,
    mappings,
    number,
    paired,
    short,
    strings,
    words,
)

SIGNS = {True: ("ours", "✓ valid"), False: ("naive", "✕ not valid"), None: ("baseline", "? unchecked")}
"""Colour and words of a way of measuring."""

CAPTION = (
    "Brackets and bars are 95 % intervals by influence functions, rows of one {cluster} as one draw; the "
    "error of the error rates is in them, that of a fitted propensity is not. n: answers or gold labels "
    "that are read. Effective size: the equal answers, or gold labels alone, that would be worth as much."
)


def ways(run: Run) -> Html:
    """Every way of measuring the model: forests, a table with the reasons, calibration."""
    found = mapping(run.get("evaluation"))
    rows = mappings(found.get("ways"))
    if not rows:
        return note("No model was measured on this log.")
    best, truth = found.get("best"), mapping(found.get("truth"))
    drawn = [
        forest(rows, name, title, way, best, number(truth.get(name))) for name, title, way, _ in panels(run)
    ]
    gone = [f"{name.replace('_', ' ')}: {words(why)}" for name, why in mapping(found.get("missing")).items()]
    told = CAPTION.format(cluster=words(found.get("clusters") or "prompt"))
    if cut := sum(number(way.get("clipped")) or 0 for way in rows):
        told += f" Propensities raised to the floor: of {short(cut)} answers, ways counted one by one."
    if truth:
        told += " The upright tick is the truth of the simulated log; one interval in twenty misses it."
    return join(
        [
            sentences(found),
            *drawn,
            figures_table(rows, best),
            small(told),
            small(f"Not to be had here. {'; '.join(gone)}") if gone else "",
            calibration(run, rows, best),
        ]
    )


def panels(run: Run) -> list[tuple[str, str, str, str]]:
    """Figures that get a forest."""
    chosen = ("brier", "accuracy") if paired(run) else ("brier", "auc")
    return [metric for metric in FIGURES if metric[0] in chosen]


def sentences(found: Run) -> Html:
    return el("ul", *(el("li", sentence) for sentence in strings(found.get("sentences"))), class_="limits")


def part(way: Run, name: str) -> Estimate:
    return estimate(mapping(way.get("metrics")).get(name))


def sign(way: Run) -> tuple[str, str]:
    valid = way.get("valid")
    return SIGNS[valid if isinstance(valid, bool) else None]


def title_of(way: Run, best: object) -> Html:
    """Name of a way with its verdict; the one to read carries a star."""
    role, said = sign(way)
    star = "★ " if best is not None and way.get("way") == best else ""
    tag = el("span", said, class_=f"tag {role}", title=words(way.get("why")))
    return join([el("span", star, words(way.get("label") or way.get("way")), class_="arm"), " ", tag])


def forest(
    rows: Sequence[Run],
    name: str,
    title: str,
    better: str,
    best: object,
    truth: float | None,
    *,
    difference: bool = False,
) -> Html:
    """One figure in every way as dots with intervals on one axis."""
    known = [(way, *part(way, name)) for way in rows]
    shown = [(way, value, low, high) for way, value, low, high in known if value is not None]
    if not shown:
        return Html()
    ends = [end for _, *found in shown for end in found if end is not None]
    ends += [truth] if truth is not None else []
    room = 0.04 * (max(ends) - min(ends)) or 0.04 * abs(max(ends)) or 0.01
    domain = (min(ends) - room, max(ends) + room)
    items = []
    for way, value, low, high in shown:
        span = between(low, high)
        role, verdict = sign(way)
        said = f"{title}, {words(way.get('label'))} ({verdict}): {fixed(value)} {span}"
        drawn = charts.bar(value, low, high, domain=domain, role=role, label=said, truth=truth)
        figure = el("span", fixed(value), " ", el("span", span, class_="range"), class_="value")
        items.append(el("li", el("div", title_of(way, best)), figure, drawn))
    side = {"lower": "further left is better", "higher": "further right is better"}.get(better, "")
    if difference:
        side = f"{side} for the first model; the upright tick is no difference"
    caption = el("figcaption", f"{title[0].upper()}{title[1:]} with 95 % interval; {side}")
    return el("figure", caption, el("ul", *items), charts.scale(domain, most=6), class_="ladder")


def figures_table(rows: Sequence[Run], best: object) -> Html:
    """All figures of all ways, and why each may be believed or not."""
    shown = [m for m in FIGURES if any(part(way, m[0]).value is not None for way in rows)]
    body = []
    for way in rows:
        cells = [
            lines(fixed(value), between(low, high)) for value, low, high in (part(way, m[0]) for m in shown)
        ]
        size = [short(number(way.get(key))) for key in ("n", "ess") if any(key in row for row in rows)]
        body.append([title_of(way, best), words(way.get("why")), *size, *cells])
    sizes = [head for key, head in (("n", "n"), ("ess", "effective size")) if any(key in row for row in rows)]
    head = [el("span", title, ARROWS[better], title=meaning) for _, title, better, meaning in shown]
    return table(["way", "why", *sizes, *head], body, label="ways of measuring", classes="arms ways")


def calibration(run: Run, rows: Sequence[Run], best: object) -> Html:
    """Predicted against true: by the way to read, and beside it by feedback as it comes."""
    chosen = [way for way in rows if way.get("way") == best][:1] or [
        way for way in rows if way.get("way") == "powered"
    ][:1]
    chosen += [way for way in rows if way.get("way") == "naive"][:1]
    drawn = []
    for way in chosen:
        found = curve(
            way.get("calibration"),
            title_of(way, best),
            about=f"calibration, {words(way.get('label'))}",
            x_label="predicted chance that A is better" if paired(run) else "predicted chance of being liked",
            y_label="share in which A is better" if paired(run) else "share liked",
            role=sign(way)[0],
            whole=True,
        )
        drawn += [found] if found else []
    if not drawn:
        return Html()
    return join([el("h3", "Does a prediction keep its promise?"), figures(drawn)])


def compared(run: Run) -> Html:
    """Two models: the decision, the differences in every way, and where the order flips."""
    found = mapping(run.get("against"))
    rows = mappings(found.get("ways"))
    if not rows:
        return note("No second model was given.")
    names = strings(found.get("names"))
    about = f"First minus second: {names[0]} minus {names[1]}." if len(names) == 2 else ""
    drawn = [
        forest(rows, name, f"difference of {title}", way, found.get("best"), 0.0, difference=True)
        for name, title, way, _ in panels(run)
    ]
    return join(
        [
            sentences(found),
            el("p", about, class_="lead") if about else "",
            *drawn,
            figures_table(rows, found.get("best")),
            tipping(mapping(found.get("tipping"))),
        ]
    )
