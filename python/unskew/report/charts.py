"""Charts: numbers in, one inline `<svg>` out. Colours are CSS variables of the page and follow its theme.

A chart is drawn 340 units wide, a phone's column and a third of a desktop's, so its text keeps its size;
`bar` and `scale` have x in percent and fill the cell they stand in. Each has role=img with a sentence for
those who do not see it, and a <title> on each mark for those who point at it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from unskew.report.markup import Html, el, join
from unskew.report.values import fixed, percent, short

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 340, 42, 12, 26, 44
END = WIDTH - RIGHT
Domain = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """One bin of a calibration curve: predicted, seen with its interval, and the number of rows."""

    predicted: float
    observed: float
    low: float
    high: float
    n: float


def ticks(domain: Domain, most: int = 6) -> list[float]:
    """Round numbers inside `domain`, at most `most`."""
    low, high = domain
    rough = (high - low) / (most - 1) if high > low else 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10, 20) if unit * k >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * k for k in range(first, last + 1)][:most]


def named(values: Sequence[float]) -> list[tuple[float, str]]:
    """Ticks with their text: as many decimals for all as the finest of them needs."""
    digits = next((d for d in range(6) if all(abs(round(v, d) - v) < 1e-9 for v in values)), 6)
    large = any(abs(v) >= 1e6 for v in values)
    return [(v, f"{v:.2g}" if large else fixed(v + 0.0, digits)) for v in values]


def ceiling(value: float) -> float:
    """The next round number at or above `value`, for the end of an axis."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * k for k in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15) if unit * k >= value * (1 - 1e-9))


def text(content: str, x: float, y: float, kind: str, anchor: str | None = None) -> Html:
    return el("text", content, x=x, y=y, class_=kind, text_anchor=anchor)


def line(kind: str, x1: float, y1: float, x2: float, y2: float, *children: Html) -> Html:
    return el("line", *children, class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def hover(said: str) -> Html:
    return el("title", said)


@dataclass(frozen=True)
class Frame:
    """The plotting area: domain to pixels, and the axes."""

    x_domain: Domain
    y_domain: Domain
    height: float = 260

    def x(self, value: float) -> float:
        low, high = self.x_domain
        return LEFT + (END - LEFT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.y_domain
        return TOP + (self.height - TOP - BOTTOM) * (high - value) / (high - low)

    def axes(
        self,
        x_label: str,
        y_label: str,
        *,
        as_share: bool = False,
        x_ticks: "Sequence[tuple[float, str]] | None" = None,
    ) -> list[Html]:
        """Grid lines and labels; that of y stands above its axis, where it needs no turning of the head."""
        floor = self.height - BOTTOM
        parts = [text(y_label, 2, 13, "name")]
        for tick, shown in named(ticks(self.y_domain, 5)):
            y = self.y(tick)
            parts += [line("grid", LEFT, y, END, y)]
            parts += [text(percent(abs(tick)) if as_share else shown, LEFT - 6, y + 4, "tick", "end")]
        for tick, shown in named(ticks(self.x_domain)) if x_ticks is None else x_ticks:
            x = self.x(tick)
            parts += [line("axis", x, floor, x, floor + 4), text(shown, x, floor + 17, "tick", "middle")]
        parts += [line("axis", LEFT, floor, END, floor)]
        return [*parts, text(x_label, (LEFT + END) / 2, floor + 36, "name", "middle")]

    def block(self, left: float, right: float, start: float, end: float, kind: str, said: str) -> Html:
        """A bar of a histogram from y = start to y = end."""
        x, width = self.x(left) + 0.5, max(self.x(right) - self.x(left) - 1, 0.5)
        y1, y2 = sorted((self.y(start), self.y(end)))
        return el("rect", hover(said), class_=kind, x=x, y=y1, width=width, height=y2 - y1)

    def svg(self, parts: Sequence[Html], label: str, role: str = "") -> Html:
        box = f"0 0 {WIDTH} {self.height:g}"
        return el("svg", *parts, class_=f"chart {role}", role="img", aria_label=label, viewBox=box)


@dataclass(frozen=True)
class Series:
    """A curve: its name, its CSS classes, and its points (x, y), at least one."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


def curves(series: Sequence[Series], *, label: str, x_label: str, y_label: str) -> Html:
    """Lines on one pair of axes, each named at its end.

    Args:
        series: at least one.
        label: sentence for a screen reader.
        x_label: name of the x axis.
        y_label: name of the y axis.
    """
    xs, ys = zip(*(point for each in series for point in each.points), strict=True)
    room = 0.06 * (max(ys) - min(ys)) or 0.06 * abs(max(ys)) or 0.01
    right = max(xs) if max(xs) > min(xs) else min(xs) + max(1.0, abs(min(xs)))
    frame = Frame((min(xs), right), (min(ys) - room, max(ys) + room), 220)
    parts = frame.axes(x_label, y_label)
    ends: list[float] = []
    for each in series:
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in each.points)
        first, last = each.points[0], each.points[-1]
        said = f"{each.name}: from {short(first[1])} to {short(last[1])}"
        parts.append(el("g", hover(said), el("polyline", class_=f"line {each.kind}", points=path)))
        y = frame.y(last[1])
        while any(abs(y - other) < 12 for other in ends):  # names must not cover each other
            y += 3
        ends.append(y)
        parts.append(text(each.name, min(frame.x(last[0]), END) - 4, y - 5, "label", "end"))
    return frame.svg(parts, label)


def band(
    points: Sequence[tuple[float, float, float, float]],
    *,
    label: str,
    x_label: str,
    y_label: str,
    marks: Sequence[tuple[str, str, float]] = (),
) -> Html:
    """A figure between its bounds, as a function of x, with upright marks.

    Args:
        points: (x, low, value, high), x increasing; at least two.
        label: sentence for a screen reader.
        x_label: name of the x axis.
        y_label: name of the y axis.
        marks: (text, CSS class, x) of upright lines.
    """
    ends = [end for _, low, _, high in points for end in (low, high)]
    room = 0.08 * (max(ends) - min(ends)) or 0.08 * abs(max(ends)) or 0.01
    frame = Frame((points[0][0], points[-1][0]), (min(ends) - room, max(ends) + room), 220)

    def path(at: int) -> list[str]:
        return [f"{frame.x(p[0]):.1f},{frame.y(p[at]):.1f}" for p in points]

    parts = frame.axes(x_label, y_label)
    parts.append(el("polygon", class_="band", points=" ".join([*path(3), *reversed(path(1))])))
    if frame.y_domain[0] < 0 < frame.y_domain[1]:
        parts.append(line("truth", LEFT, frame.y(0), END, frame.y(0)))
    for at in (1, 3):
        parts.append(el("polyline", class_="line thin", points=" ".join(path(at))))
    parts.append(el("polyline", class_="line", points=" ".join(path(2))))
    for place, (text_, kind, value) in enumerate(marks):
        x = frame.x(value)
        left = x > (LEFT + END) / 2
        parts.append(line(f"mark {kind}", x, TOP, x, frame.height - BOTTOM, hover(text_)))
        y, anchor = TOP + 11 + 14 * place, "end" if left else "start"
        parts.append(text(text_, x + (-4 if left else 4), y, "label", anchor))
    return frame.svg(parts, label, "ours")


def over_time(points: Sequence[tuple[str, float, float, float]], *, label: str, y_label: str) -> Html:
    """A figure by window of time, with intervals.

    Args:
        points: (begin of the window, value, low, high) in the order of time; at least two.
        label: sentence for a screen reader.
        y_label: name of the y axis.
    """
    ends = [end for _, _, low, high in points for end in (low, high)]
    room = 0.08 * (max(ends) - min(ends)) or 0.08 * abs(max(ends)) or 0.01
    frame = Frame((-0.5, len(points) - 0.5), (min(ends) - room, max(ends) + room), 200)
    names = [(float(place), start) for place, (start, *_) in enumerate(points)]
    parts = frame.axes("window, by its first day", y_label, x_ticks=names)
    if frame.y_domain[0] < 0 < frame.y_domain[1]:
        parts.append(line("truth", LEFT, frame.y(0), END, frame.y(0)))
    path = " ".join(f"{frame.x(k):.1f},{frame.y(p[1]):.1f}" for k, p in enumerate(points))
    parts.append(el("polyline", class_="line thin", points=path))
    for place, (start, value, low, high) in enumerate(points):
        x, said = frame.x(place), f"from {start}: {fixed(value)}, 95 % interval {fixed(low)} to {fixed(high)}"
        whisker = line("whisker", x, frame.y(low), x, frame.y(high))
        parts.append(el("g", hover(said), whisker, el("circle", class_="dot", cx=x, cy=frame.y(value), r=4)))
    return frame.svg(parts, label, "ours")


def calibration(
    points: Sequence[Point], *, label: str, x_label: str, y_label: str, role: str = "ours", whole: bool = True
) -> Html:
    """Predicted against seen, with intervals; on the diagonal a prediction keeps its promise.

    Args:
        points: bins, predictions and rates in [0, 1]; at least one.
        label: sentence for a screen reader.
        x_label: name of the x axis.
        y_label: name of the y axis.
        role: CSS class that gives the colour.
        whole: axes over all of [0, 1]; else up to the largest value, for small probabilities.
    """
    end = 1.0 if whole else min(ceiling(max(max(p.predicted, p.high) for p in points)), 1.0)
    frame = Frame((0.0, end), (0.0, end))
    largest = max(p.n for p in points)
    ordered = sorted(points, key=lambda p: p.predicted)
    path = " ".join(f"{frame.x(p.predicted):.1f},{frame.y(p.observed):.1f}" for p in ordered)
    parts = [
        *frame.axes(x_label, y_label),
        line("truth", frame.x(0), frame.y(0), frame.x(end), frame.y(end)),
        text("predicts too little", frame.x(0.04 * end), frame.y(0.93 * end), "hint"),
        text("predicts too much", frame.x(0.97 * end), frame.y(0.04 * end), "hint", "end"),
        el("polyline", class_="line", points=path),
    ]
    for p in ordered:
        x, said = frame.x(p.predicted), f"predicted {fixed(p.predicted)}, seen {fixed(p.observed)}"
        said += f", 95 % interval {fixed(p.low)} to {fixed(p.high)}, {short(p.n)} rows"
        whisker = line("whisker", x, frame.y(p.low), x, frame.y(p.high))
        radius = 2.2 + 3.8 * math.sqrt(p.n / largest)
        dot = el("circle", class_="dot", cx=x, cy=frame.y(p.observed), r=radius)
        parts.append(el("g", hover(said), whisker, dot))
    return frame.svg(parts, label, role)


def bins(edges: Sequence[float], counts: Sequence[float]) -> list[tuple[float, float, float]]:
    """(left, right, share of all) of each bin; shares are zero when nothing was counted."""
    total = sum(counts) or 1.0
    return [(a, b, n / total) for (a, b), n in zip(pairwise(edges), counts, strict=True)]


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    label: str,
    x_label: str,
    top: float,
    role: str = "ours",
    marks: Sequence[tuple[str, float]] = (),
) -> Html:
    """Shares by bin.

    Args:
        edges: bin edges, increasing, one more than `counts`.
        counts: rows in each bin.
        label: sentence for a screen reader.
        x_label: name of the x axis.
        top: end of the y axis, shared by charts that stand side by side.
        role: CSS class that gives the colour.
        marks: (name, x) of vertical lines, such as a mean.
    """
    frame, names = Frame((edges[0], edges[-1]), (0.0, top), 220), []
    parts = frame.axes(x_label, "share of responses", as_share=True)
    for left, right, part in bins(edges, counts):
        said = f"{fixed(left, 2)} to {fixed(right, 2)}: {percent(part)}"
        parts.append(frame.block(left, right, 0, part, "fill", said))
    for place, (name, value) in enumerate(sorted(marks, key=lambda mark: mark[1])):
        x, last = frame.x(min(max(value, edges[0]), edges[-1])), place == len(marks) - 1
        # The lower mark is named on its left, the higher on its right, unless the chart ends there.
        left_of = x > WIDTH - 96 or (x > LEFT + 90 and not last)
        y, anchor = TOP + (24 if last and left_of else 10), "end" if left_of else "start"
        parts.append(line(f"mark {name}", x, TOP, x, frame.y(0), hover(f"mean {name} {fixed(value)}")))
        names.append(text(f"{name} {fixed(value, 2)}", x + (-4 if left_of else 4), y, "label", anchor))
    return frame.svg([*parts, *names], label, role)


def mirror(
    edges: Sequence[float], upper: Sequence[float], lower: Sequence[float], *, label: str, x_label: str
) -> Html:
    """Who gave feedback upwards, who was silent downwards: same bins, each as shares of its own total."""
    above, below = bins(edges, upper), bins(edges, lower)
    top = ceiling(max(part for *_, part in (*above, *below)))
    frame = Frame((edges[0], edges[-1]), (-top, top))
    parts = frame.axes(x_label, "share of each group", as_share=True)
    groups = (("observed", "with feedback", 1, above, upper), ("silent", "silent", -1, below, lower))
    for kind, name, sign, rows, counts in groups:
        for left, right, part in rows:
            said = f"{name}, {fixed(left, 2)} to {fixed(right, 2)}: {percent(part)}"
            parts.append(frame.block(left, right, 0, sign * part, kind, said))
        y = frame.y(sign * top) + (13 if sign > 0 else -6)
        parts.append(text(f"{short(sum(counts))} {name}", END - 2, y, "label", "end"))
    parts.append(line("axis", LEFT, frame.y(0), END, frame.y(0)))
    return frame.svg(parts, label)


def across(value: float, domain: Domain) -> str:
    """Where a value stands in a bar, with 2 % of room at both ends for the marks."""
    low, high = domain
    return f"{2 + 96 * min(max((value - low) / (high - low), 0.0), 1.0):.2f}%"


def bar(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    domain: Domain,
    label: str,
    role: str = "ours",
    truth: float | None = None,
) -> Html:
    """A dot with its interval and, where it is known, a tick at the truth; fills the width of its cell."""

    def stroke(kind: str, start: str, end: str, y1: int = 9, y2: int = 9) -> Html:
        return el("line", class_=kind, x1=start, x2=end, y1=y1, y2=y2)

    parts = [hover(label), stroke("grid", "2%", "98%")]
    if low is not None and high is not None:
        parts.append(stroke("interval", across(low, domain), across(high, domain)))
    if value is not None:
        parts.append(el("circle", class_="dot", cx=across(value, domain), cy=9, r=5))
    if truth is not None:
        x = across(truth, domain)
        parts.append(stroke("tick-truth", x, x, 1, 17))
    return el("svg", *parts, class_=f"bar {role}", role="img", aria_label=label)


def share(value: float, *, label: str) -> Html:
    """A bar filled up to a share in [0, 1]."""
    filled = f"{100 * min(max(value, 0.0), 1.0):.2f}%"
    track, fill = (
        el("rect", class_=kind, width=width, y=5, height=8, rx=4)
        for kind, width in (("track", "100%"), ("observed", filled))
    )
    return el("svg", hover(label), track, fill, class_="bar", role="img", aria_label=label)


def scale(domain: Domain, *, most: int = 4) -> Html:
    """The axis that belongs to bars of the same domain."""
    marks = []
    for tick, shown in named(ticks(domain, most)):
        place = (tick - domain[0]) / (domain[1] - domain[0])
        anchor = "start" if place < 0.08 else "end" if place > 0.92 else "middle"
        marks.append(el("text", shown, class_="tick", x=across(tick, domain), y=12, text_anchor=anchor))
    return el("svg", join(marks), class_="bar", aria_hidden="true")
