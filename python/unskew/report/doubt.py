"""How much hangs on what was estimated: bounds over wrong propensities, and figures by window of time."""

from collections.abc import Mapping, Sequence

from unskew.report import charts
from unskew.report.markup import Html, el, figures, join, note, small, table
from unskew.report.models import METRICS
from unskew.report.values import (
    Run,
    between,
    estimate,
    fixed,
    mapping,
    mappings,
    number,
    short,
    strings,
    words,
)

MORE = (
    (
        "log_loss",
        "log loss",
        "lower",
        "mean −log of the chance given to what happened, at most 4.6 a response",
    ),
    ("best_of_n", "best of 16", "higher", "share truly liked of the response that the model picks out of 16"),
    (
        "pair_accuracy",
        "pair accuracy",
        "higher",
        "share of neighbouring responses ranked right; ties count half",
    ),
)
FIGURES = (*(metric for metric in METRICS if metric[0] not in ("ece", "best_of_n")), *MORE)
"""Figures of an evaluation, as those of `models`."""


def tipping(found: Run) -> Html:
    """The difference over wrong propensities, with the point at which it flips."""
    tips = mapping(found.get("tips"))
    drawn = [
        band(found, name, f"difference of {title}", number(mapping(tips.get(name)).get("gamma")))
        for name, title, *_ in FIGURES
        if name in ("brier", "accuracy")
    ]
    items = [item for item in drawn if item is not None]
    if not items:
        return Html()
    told = (
        f"Read by the weights of {words(found.get('kind'))}. At factor 1 the propensities are right; at 2 "
        "the true odds of an answer may be half or twice what was used, also by the hidden label. "
        "Where the band holds 0 either model may be the better one. What chance adds comes on top."
    )
    return join(
        [el("h3", "How wrong may the propensities be before the order flips?"), small(told), figures(items)]
    )


def sensitivity(run: Run) -> Html:
    """One model over wrong propensities, and over the region of the error rates."""
    found = mapping(mapping(run.get("evaluation")).get("sensitivity"))
    drawn = [band(found, name, title, None) for name, title, *_ in FIGURES if name in ("brier", "accuracy")]
    items = [item for item in drawn if item is not None]
    if not items:
        return note(
            "Nothing is weighted by a propensity here: no two-sided kind has error rates and silent rows."
        )
    rates = mapping(found.get("rates"))
    ranges = [
        f"{title} {between(low, high)}"
        for name, title, *_ in FIGURES
        for _, low, high in [estimate(rates.get(name))]
        if low is not None and high is not None
    ]
    said = f"Read by the weights of {words(found.get('kind'))}."
    if ranges:
        said += f" Over the 95 % region of its error rates: {', '.join(ranges)}."
    return join([figures(items), small(said)])


def band(found: Run, name: str, title: str, tip: float | None) -> tuple[str, Html] | None:
    """Bounds of a figure over the odds ratio."""
    points = []
    for entry in mappings(mapping(found.get("curve")).get(name)):
        values = [number(entry.get(key)) for key in ("gamma", "low", "value", "high")]
        known = [value for value in values if value is not None]
        if len(known) == 4 and known[0] >= 1:
            points.append((known[0], min(known[1:]), known[2], max(known[1:])))
    points.sort()
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return None
    end = points[-1][0]
    odds = number(found.get("odds"))
    marks = [
        (text, kind, value)
        for text, kind, value in (
            (f"flips at {short(tip)}", "flip", tip),
            (f"gold sees {short(odds)}", "truth", odds),
        )
        if value is not None and points[0][0] <= value <= end
    ]
    last = points[-1]
    said = f"{title} from {fixed(points[0][2])} to between {fixed(last[1])} and {fixed(last[3])} "
    said += f"at a factor of {short(end)}"
    if tip is not None:
        said += f"; it may be 0 from {short(tip)} on"
    drawn = charts.band(
        points,
        label=said,
        x_label="factor on the odds of the propensity",
        y_label="value and bounds",
        marks=marks,
    )
    beyond = [
        text for text, value in (("flips only beyond the chart", tip), ("gold sees a factor beyond it", odds))
        if value is not None and value > end
    ]  # fmt: skip
    return title + "".join(f"; {text}" for text in beyond), drawn


def drift(run: Run) -> Html:
    """The model, who answers and what is recorded, by window of time."""
    found = mapping(mapping(run.get("evaluation")).get("drift"))
    starts = [words(window.get("from")) for window in mappings(found.get("windows"))]
    if len(starts) < 2:
        return note("Too few answers to be split into windows of time.")
    model, items, tests = mapping(found.get("model")), [], []
    for name, title in (("brier", "Brier score"), ("auc", "AUC"), ("accuracy", "accuracy")):
        one = mapping(model.get(name))
        tests += [(f"{title} of the model", one)] if one else []
        items += [drawn] if name != "accuracy" and (drawn := windows(one, title, starts)) else []
    for kind, parts in mapping(found.get("kinds")).items():
        parts = mapping(parts)
        for key, title in (
            ("answered", f"share of {kind} answered"),
            ("fit", f"{kind}: answered minus propensity"),
            ("positive", f"share of positive {kind}"),
        ):
            one = mapping(parts.get(key))
            tests += [(title, one)] if one else []
            items += [drawn] if key != "positive" and (drawn := windows(one, title, starts)) else []
        for rate, one in mapping(parts.get("rates")).items():
            tests.append((f"{rate} of {kind}, two halves", mapping(one)))
    rows = [
        [title, short(number(one.get("chi2"))), short(number(one.get("df"))), fixed(number(one.get("p")))]
        for title, one in tests
    ]
    said = strings(found.get("changed")) or ["No figure here changed by more than chance (1 %)."]
    way = words(model.get("way") or "").replace("_", " ")
    told = f"The model is read by the way {way}. A change of the error rates looks like one of the model."
    return join(
        [
            el("ul", *(el("li", sentence) for sentence in said), class_="limits"),
            figures(items),
            table(["figure", "chi-square", "df", "p value"], rows, label="tests of no change"),
            small(told),
        ]
    )


def windows(found: Mapping[str, object], title: str, starts: Sequence[str]) -> tuple[str, Html] | None:
    """One figure by window of time."""
    parts = [estimate(window) for window in mappings(found.get("windows"))]
    points = [
        (day(start), value, low, high)
        for start, (value, low, high) in zip(starts, parts, strict=False)
        if value is not None and low is not None and high is not None
    ]
    if len(points) < 2:
        return None
    spread = ", ".join(f"{start} {fixed(value)}" for start, value, *_ in points)
    drawn = charts.over_time(points, label=f"{title} by window: {spread}", y_label="with 95 % interval")
    p = number(found.get("p"))
    return title + ("" if p is None else f" (p value {fixed(p, 2)})"), drawn


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def day(start: str) -> str:
    """`5 Jan` of 2026-01-05T00:18; other text as it is, cut."""
    head = start[:10].split("-")
    if len(head) == 3 and all(one.isdigit() for one in head) and 1 <= int(head[1]) <= 12:
        return f"{int(head[2])} {MONTHS[int(head[1]) - 1]}"
    return start[:6]
