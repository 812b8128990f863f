"""Markup that is safe by construction: only `el` makes it, and whatever else is put in is escaped."""

import html
import re
from collections.abc import Iterable, Sequence

from unskew.report.values import words

UNHOLDABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates, which HTML or UTF-8 cannot hold."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(found: object) -> str:
    """Any JSON value for HTML, in content and in quoted attributes; what HTML cannot hold becomes U+FFFD."""
    return html.escape(UNHOLDABLE.sub("\ufffd", words(found)), quote=True)


def join(children: Iterable[object]) -> Html:
    """Children one after the other: markup as it is, everything else escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def el(tag: str, *children: object, **attributes: "str | float | None") -> Html:
    """One element: `el("a", "text", href="#id")`.

    Args:
        tag: element name, from the program, never from the data.
        children: markup (`Html`), or anything else, which is escaped.
        attributes: a trailing underscore is dropped, others become hyphens; None leaves the attribute out;
            numbers are written with two decimals at most.
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is not None:
            text = escape(value) if isinstance(value, str) else f"{round(value, 2):.10g}"
            parts.append(f'{name.rstrip("_").replace("_", "-")}="{text}"')
    return Html(f"<{' '.join(parts)}>{join(children)}</{tag}>")


def note(text: str) -> Html:
    """What is said where there is nothing to show."""
    return el("p", text, class_="note")


def small(*children: object) -> Html:
    return el("p", *children, class_="small")


def lines(main: object, below: str) -> Html:
    """A table cell: a figure, and under it in small type its interval or meaning."""
    return join([main, el("span", below, class_="range")])


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, label: str, classes: str = "") -> Html:
    """Cells by row; the first of a row is its header. The table scrolls inside its own box."""
    top = el("tr", *(el("th", cell, scope="col") for cell in head))
    body = [el("tr", el("th", row[0], scope="row"), *(el("td", cell) for cell in row[1:])) for row in rows]
    whole = el("table", el("thead", top), el("tbody", *body), class_=classes)
    return el("div", whole, class_="scroll", role="region", tabindex="0", aria_label=label)


def figures(items: Iterable[tuple[object, object]]) -> Html:
    """Charts side by side, each under its title."""
    drawn = [el("figure", el("figcaption", title), chart) for title, chart in items]
    return el("div", *drawn, class_="figures")
