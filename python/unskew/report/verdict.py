"""The audit in words: a banner, what the counts say beside it, then every rule that was checked."""

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
    said.append(estimators(found))
    beside = strings(run.get("notes"))
    noted = [small("What the counts of the log say beside it:"), el("ul", *(el("li", n) for n in beside))]
    banner = el("div", *said, class_=f"banner {colour}")
    return join([banner, *(noted if beside else ()), gates(mappings(found.get("gates")))])


def estimators(found: Run) -> Html:
    """The colour of each estimator, or at least which are allowed; the log is as good as the best of them."""
    judged = [(words(name), colour) for name, colour in mapping(found.get("estimators")).items()]
    named = [f"{name.replace('_', ' ')} ({colour})" for name, colour in judged if colour in WORST_FIRST]
    if named:
        beside = [(words(name).replace("_", " "), c) for name, c in mapping(found.get("others")).items()]
        asked = ", ".join(f"{name} ({colour})" for name, colour in beside if colour in WORST_FIRST)
        said = f"Estimators on this log, the one to try first in front: {', '.join(named)}."
        return small(said + (f" Only when asked for: {asked}." if asked else ""))
    allowed = found.get("allowed")
    if not isinstance(allowed, (list, tuple)):
        return Html()
    return small(f"Estimators allowed on this log: {words(allowed) if allowed else 'none'}.")


def gates(found: Sequence[Run]) -> Html:
    """Every rule that was checked, worst first; those that passed are folded away."""
    if not found:
        return note("No gate is recorded.")
    judged = sorted(
        ((colour_of(gate) or "amber", gate) for gate in found), key=lambda g: WORST_FIRST.index(g[0])
    )
    failed = [item(gate, colour) for colour, gate in judged if colour != "green"]
    passed = [item(gate, colour) for colour, gate in judged if colour == "green"]
    parts = [el("h3", f"What was checked: {len(found)} gates, {len(failed)} not green")]
    if failed:
        parts.append(small("A red gate refuses the estimators that it concerns, not the others."))
        parts.append(el("ul", *failed, class_="gates"))
    if passed:
        summary = el("summary", f"{len(passed)} gates that passed")
        parts.append(el("details", summary, el("ul", *passed, class_="gates")))
    return join(parts)


def item(gate: Run, colour: str) -> Html:
    """One rule: its name, what was found, its limit, and the estimators it holds for."""
    parts = [(key, gate.get(field)) for key, field in (("found", "value"), ("rule:", "limit"))]
    figures = [f"{key} {bounds(value)}" for key, value in parts if value is not None]
    if binds := strings(gate.get("binds")):
        figures.append(f"concerns {', '.join(binds)}".replace("_", " "))
    name = words(gate.get("name", "gate")).replace("_", " ")
    body = (el("strong", name), " ", el("span", colour, class_="word"), el("p", gate.get("sentence") or ""))
    return el("li", symbol(colour), el("div", *body, small("; ".join(figures))), class_=colour)


def bounds(limit: object) -> str:
    """One value, or the two ends between which a value must lie."""
    if isinstance(limit, (list, tuple)) and len(limit) == 2:
        return f"{words(limit[0])} to {words(limit[1])}"
    return words(limit)
