"""Charts: numbers in, one inline `<svg>` out. Colours are CSS variables of the page, so they follow its theme.

Every chart is drawn 340 units wide, which is a phone's column and a third of a desktop's, so its text keeps its
size; `bar` and `scale` have x in percent and fill whatever cell they stand in. Each has role=img with a
sentence for those who do not see it, and a <title> on each mark for those who point at it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unskew.report.values import escape, fixed, percent, short

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 340, 42, 12, 26, 44
Domain = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """One bin of a calibration curve: what was predicted, what was seen (with its interval), in how many rows."""

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


def ceiling(value: float) -> float:
    """The next round number at or above `value`, for the end of an axis."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * k for k in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15) if unit * k >= value * (1 - 1e-9))


def svg(content: str, label: str, *, height: float, classes: str = "") -> str:
    return (
        f'<svg class="chart {classes}" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {height:g}">'
        f"{content}</svg>"
    )


@dataclass(frozen=True)
class Frame:
    """The plotting area: domain to pixels, and the axes."""

    x_domain: Domain
    y_domain: Domain
    height: float = 260

    def x(self, value: float) -> float:
        low, high = self.x_domain
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.y_domain
        return TOP + (self.height - TOP - BOTTOM) * (high - value) / (high - low)

    def axes(self, x_label: str, y_label: str, *, as_share: bool = False, mirrored: bool = False) -> str:
        """Grid lines and labels; the label of y stands above its axis, where it needs no turning of the head."""
        floor = self.height - BOTTOM
        parts = [f'<text class="name" x="2" y="13">{escape(y_label)}</text>']
        for tick in ticks(self.y_domain, 5):
            y, text = self.y(tick), abs(tick) if mirrored else tick
            shown = percent(text) if as_share else f"{text:.10g}".replace("-", "−")
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
        for tick in ticks(self.x_domain):
            x, shown = self.x(tick), f"{tick:.10g}".replace("-", "−")
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="{floor + 17}" text-anchor="middle">{shown}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
        parts.append(
            f'<text class="name" x="{middle}" y="{floor + 36}" text-anchor="middle">{escape(x_label)}</text>'
        )
        return "".join(parts)


def calibration(
    points: Sequence[Point], *, label: str, x_label: str, y_label: str, role: str = "ours", whole: bool = True
) -> str:
    """Predicted against seen, with intervals; on the diagonal a prediction keeps its promise.

    Args:
        points: bins, predictions and rates in [0, 1].
        label: sentence for a screen reader.
        role: CSS class that gives the colour.
        whole: axes over all of [0, 1]; else up to the largest value, for small probabilities.
    """
    end = 1.0 if whole else ceiling(max(max(p.predicted, p.high) for p in points))
    frame = Frame((0.0, end), (0.0, end))
    largest = max(p.n for p in points) or 1.0
    ordered = sorted(points, key=lambda p: p.predicted)
    parts = [frame.axes(x_label, y_label)]
    parts.append(
        f'<line class="truth" x1="{frame.x(0):.1f}" y1="{frame.y(0):.1f}" x2="{frame.x(end):.1f}" y2="{frame.y(end):.1f}"/>'
    )
    above, below = (frame.x(0.04 * end), frame.y(0.93 * end)), (frame.x(0.97 * end), frame.y(0.04 * end))
    parts.append(f'<text class="hint" x="{above[0]:.1f}" y="{above[1]:.1f}">predicts too little</text>')
    parts.append(f'<text class="hint" x="{below[0]:.1f}" y="{below[1]:.1f}" text-anchor="end">predicts too much</text>')
    path = " ".join(f"{frame.x(p.predicted):.1f},{frame.y(p.observed):.1f}" for p in ordered)
    parts.append(f'<polyline class="line" points="{path}"/>')
    for p in ordered:
        x = frame.x(p.predicted)
        parts.append(
            f'<g><title>predicted {fixed(p.predicted)}, seen {fixed(p.observed)}, 95 % interval '
            f'{fixed(p.low)} to {fixed(p.high)}, {short(p.n)} rows</title>'
            f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(p.low):.1f}" y2="{frame.y(p.high):.1f}"/>'
            f'<circle class="dot" cx="{x:.1f}" cy="{frame.y(p.observed):.1f}" r="{2.2 + 3.8 * math.sqrt(p.n / largest):.1f}"/></g>'
        )  # fmt: skip
    return svg("".join(parts), label, height=frame.height, classes=role)


def bins(edges: Sequence[float], counts: Sequence[float]) -> list[tuple[float, float, float]]:
    """(left, right, share of all) of each bin; shares are zero when nothing was counted."""
    total = sum(counts) or 1.0
    return [(a, b, n / total) for a, b, n in zip(edges, edges[1:], counts, strict=False)]


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    label: str,
    x_label: str,
    top: float,
    role: str = "ours",
    marks: Sequence[tuple[str, float]] = (),
) -> str:
    """Shares by bin.

    Args:
        edges: bin edges, increasing, one more than `counts`.
        counts: rows in each bin.
        top: end of the y axis, shared by charts that stand side by side.
        marks: (name, x) of vertical lines, such as a mean.
    """
    frame = Frame((edges[0], edges[-1]), (0.0, top), 220)
    parts = [frame.axes(x_label, "share of responses", as_share=True)]
    for left, right, share in bins(edges, counts):
        x, width, y = frame.x(left), frame.x(right) - frame.x(left), frame.y(share)
        parts.append(
            f'<rect class="fill" x="{x + 0.5:.1f}" width="{max(width - 1, 0.5):.1f}" y="{y:.1f}" '
            f'height="{frame.y(0) - y:.1f}"><title>{fixed(left, 2)} to {fixed(right, 2)}: {percent(share)}</title></rect>'
        )
    for name, value in marks:
        x = frame.x(min(max(value, edges[0]), edges[-1]))
        anchor, shift = ("end", -4) if x > WIDTH / 2 else ("start", 4)
        drop = 10 if name == "truth" else 24
        parts.append(
            f'<line class="mark {escape(name)}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{frame.y(0):.1f}">'
            f"<title>mean {escape(name)} {fixed(value)}</title></line>"
            f'<text class="label" x="{x + shift:.1f}" y="{TOP + drop}" text-anchor="{anchor}">'
            f"{escape(name)} {fixed(value, 2)}</text>"
        )
    return svg("".join(parts), label, height=frame.height, classes=role)


def mirror(
    edges: Sequence[float], upper: Sequence[float], lower: Sequence[float], *, label: str, x_label: str, names: tuple[str, str]
) -> str:
    """Two histograms over the same bins, one upwards and one downwards, each as shares of its own total."""
    above, below = bins(edges, upper), bins(edges, lower)
    top = ceiling(max([share for *_, share in (*above, *below)], default=1.0))
    frame = Frame((edges[0], edges[-1]), (-top, top), 260)
    parts = [frame.axes(x_label, "share of each group", as_share=True, mirrored=True)]
    for side, sign, rows in (("observed", 1, above), ("silent", -1, below)):
        name = names[0] if sign > 0 else names[1]
        for left, right, share in rows:
            x, width = frame.x(left), frame.x(right) - frame.x(left)
            parts.append(
                f'<rect class="{side}" x="{x + 0.5:.1f}" width="{max(width - 1, 0.5):.1f}" '
                f'y="{frame.y(max(sign * share, 0)):.1f}" height="{abs(frame.y(share) - frame.y(0)):.1f}">'
                f"<title>{escape(name)}, {fixed(left, 2)} to {fixed(right, 2)}: {percent(share)}</title></rect>"
            )
        y = frame.y(sign * top) + (13 if sign > 0 else -6)
        parts.append(
            f'<text class="label {side}" x="{WIDTH - RIGHT - 2}" y="{y:.1f}" text-anchor="end">{escape(name)}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{frame.y(0):.1f}" y2="{frame.y(0):.1f}"/>')
    return svg("".join(parts), label, height=frame.height)


def _across(value: float, domain: Domain) -> float:
    """Percent of the width of a bar, with 2 % of room at both ends for the marks."""
    low, high = domain
    return 2 + 96 * min(max((value - low) / (high - low), 0.0), 1.0)


def bar(
    value: float | None, low: float | None, high: float | None, *, domain: Domain, label: str, role: str = "ours", truth: float | None = None
) -> str:
    """A dot with its interval and, where it is known, a tick at the truth; fills the width of its cell."""
    parts = [f"<title>{escape(label)}</title>", '<line class="grid" x1="2%" x2="98%" y1="9" y2="9"/>']
    if low is not None and high is not None:
        x1, x2 = _across(low, domain), _across(high, domain)
        parts.append(f'<line class="interval" x1="{x1:.2f}%" x2="{x2:.2f}%" y1="9" y2="9"/>')
    if value is not None:
        parts.append(f'<circle class="dot" cx="{_across(value, domain):.2f}%" cy="9" r="5"/>')
    if truth is not None:
        x = _across(truth, domain)
        parts.append(f'<line class="tick-truth" x1="{x:.2f}%" x2="{x:.2f}%" y1="1" y2="17"/>')
    return f'<svg class="bar {role}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def share(value: float, *, label: str) -> str:
    """A bar filled up to a share in [0, 1]."""
    width = 100 * min(max(value, 0.0), 1.0)
    return (
        f'<svg class="bar" role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>'
        '<rect class="track" width="100%" y="5" height="8" rx="4"/>'
        f'<rect class="observed" width="{width:.2f}%" y="5" height="8" rx="4"/></svg>'
    )


def scale(domain: Domain, *, most: int = 4) -> str:
    """The axis that belongs to bars of the same domain."""
    marks = []
    for tick in ticks(domain, most):
        x, shown = _across(tick, domain), f"{tick:.10g}".replace("-", "−")
        anchor = "start" if x < 10 else "end" if x > 90 else "middle"
        marks.append(f'<text class="tick" x="{x:.2f}%" y="12" text-anchor="{anchor}">{shown}</text>')
    return f'<svg class="bar" aria-hidden="true">{"".join(marks)}</svg>'
