"""The audit in words: a banner, then every rule that was checked."""

from collections.abc import Sequence

from unskew.report.markup import Html, el, join, note, small
from unskew.report.values import Run, mapping, mappings, strings, words

SYMBOLS = {"green": "✓", "amber": "!", "red": "✕"}
MEANING = {
    "green": "the log supports the claim",
    "amber": "usable, with care",
    "red": "the log does not support the claim",
}
WORST_FIRST = ("red", "amber", "green")


def colour_of(found: Run) -> str | None:
    colour = found.get("colour")
    return colour if isinstance(colour, str) and colour in SYMBOLS else None


def symbol(colour: str) -> Html:
    return el("span", SYMBOLS[colour], class_="symbol", aria_hidden="true")


def verdict(run: Run) -> Html:
    """The audit as a banner: colour, symbol and word say the same; then its gates, worst first."""
    found = mapping(run.get("verdict"))
    colour = colour_of(found)
    if colour is None:
        return note(
            "No audit is recorded in this run, so nothing here says how far its figures can be trusted."
        )
    said = [el("p", symbol(colour), f" Audit: {colour}, {MEANING[colour]}", class_="colour")]
    said += [el("p", sentence) for sentence in strings(found.get("sentences"))]
    if reason := mapping(run.get("provenance")).get("accept_red"):
        said.append(el("p", el("strong", "Trained in spite of the audit."), " Reason given: ", reason))
    if isinstance(allowed := found.get("allowed"), (list, tuple)):
        said.append(small(f"Estimators allowed on this log: {words(allowed) if allowed else 'none'}."))
    return join([el("div", *said, class_=f"banner {colour}"), gates(mappings(found.get("gates")))])


def gates(found: Sequence[Run]) -> Html:
    """Every rule that was checked, with what was found and its limit."""
    if not found:
        return note("No gate is recorded.")
    judged = [(colour_of(gate) or "amber", gate) for gate in found]
    bad = sum(colour != "green" for colour, _ in judged)
    items = []
    for colour, gate in sorted(judged, key=lambda pair: WORST_FIRST.index(pair[0])):
        name = words(gate.get("name", "gate")).replace("_", " ")
        parts = [(key, gate.get(field)) for key, field in (("found", "value"), ("limit", "limit"))]
        figures = ", ".join(f"{key} {bounds(value)}" for key, value in parts if value is not None)
        title = (el("strong", name), " ", el("span", colour, class_="word"))
        body = el("div", *title, el("p", gate.get("sentence") or ""), small(figures))
        items.append(el("li", symbol(colour), body, class_=colour))
    head = el("h3", f"What was checked: {len(found)} gates, {bad} not green")
    return join([head, el("ul", *items, class_="gates")])


def bounds(limit: object) -> str:
    """One value, or the two ends between which a value must lie."""
    if isinstance(limit, (list, tuple)) and len(limit) == 2:
        return f"{words(limit[0])} to {words(limit[1])}"
    return words(limit)
