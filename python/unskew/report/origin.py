"""What was read, what cannot be concluded from it, and what made the page."""

from collections.abc import Mapping
from typing import Any

from unskew.report.markup import Html, el, join, note
from unskew.report.values import Run, mapping, number, paired, short, strings, words

PARTS = ("committed", "duplicate", "quarantined", "blank")
ON_GOLD = "The models are measured on gold labels: the metrics are as good as those labels and their draw."
ON_ORACLE = "The truth is known because the log is simulated; on a real log only gold labels can say as much."
ON_NOTHING = "No gold labels: nothing here says how right the models are, only what they were trained on."
NO_SHARE = "The share of the gap to an ideal model that is recovered is unknown: that takes every true label."


def books(run: Run) -> Html:
    """What was read, and whether every line is accounted for."""
    counts = mapping(run.get("counts"))
    if not counts:
        return note("No counts are recorded.")
    balance = mapping(counts.get("balance"))
    sentence = balanced(balance or counts)
    blocks: list[tuple[str, Run]] = [("", {k: v for k, v in counts.items() if not isinstance(v, Mapping)})]
    blocks += [
        (k, v) for k, v in counts.items() if isinstance(v, Mapping) and not (sentence and v is balance)
    ]
    drawn = [facts(title, values) for title, values in blocks if values]
    return join([sentence, el("div", *drawn, class_="facts")])


def balanced(balance: Run) -> Html:
    """lines = committed + duplicate + quarantined + blank, in words; empty when a part is not recorded."""
    lines, found = number(balance.get("lines")), [number(balance.get(part)) for part in PARTS]
    rest = [value for value in found if value is not None]
    if lines is None or len(rest) < len(found):
        return Html()
    right = " + ".join(f"{short(value)} {part}" for value, part in zip(rest, PARTS, strict=True))
    if sum(rest) == lines:
        return el("p", f"✓ The books balance: {short(lines)} lines = {right}.", class_="balance")
    wrong = f"✕ The books do not balance: {short(lines)} lines, but {right} = {short(sum(rest))}."
    return el("p", wrong, class_="balance red")


def facts(title: str, values: Run, *, separated: bool = True) -> Html:
    """A small two-column table of names and values."""
    rows = [
        el("tr", el("th", key.replace("_", " "), scope="row"), el("td", words(value, separated=separated)))
        for key, value in ((str(key), value) for key, value in values.items())
    ]
    caption = el("caption", title.replace("_", " ")) if title else ""
    return el("div", el("table", caption, el("tbody", *rows), class_="pairs"), class_="scroll")


def limits(run: Run) -> Html:
    """What the data cannot support: the run's own sentences, and those that follow from what is missing."""
    said, truth = strings(run.get("limits")), run.get("truth")
    basis = ON_ORACLE if truth == "oracle" else ON_GOLD if truth == "gold" else ON_NOTHING
    said.append(basis.replace("labels", "pairs") if paired(run) else basis)
    if truth != "oracle" and number(run.get("recovered")) is None:
        said.append(NO_SHARE)
    return el("ul", *(el("li", sentence) for sentence in said), class_="limits")


def provenance(run: Run) -> Html:
    """What made the page: versions, store, seeds."""
    found = mapping(run.get("provenance"))
    if not found:
        return note("No provenance is recorded, so this run cannot be repeated from its page.")
    return facts("", flat(found), separated=False)


def flat(found: Run, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, names joined by a space."""
    rows: dict[str, Any] = {}
    for key, value in found.items():
        nested = isinstance(value, Mapping) and value
        rows |= flat(value, f"{prefix}{key} ") if nested else {f"{prefix}{key}": value}
    return rows
