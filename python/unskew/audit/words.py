"""What a verdict means, for a person who has not read a paper about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from unskew.audit.verdict import Colour, Gate

HEADLINES: dict[Colour, str] = {
    "green": "This log can carry a reward model that speaks for all users and all responses.",
    "amber": "This log can carry a reward model, with the reservations below.",
    "red": "This log cannot carry a reward model that speaks for all users and all responses: do not train "
    "on it yet.",
}

NAMES = {
    "evidence": "evidence from all kinds of feedback together",
    "classwise_ips": "class-wise weights",
    "doubly_robust": "doubly robust targets",
    "snips": "self-normalised weights",
    "ips": "inverse propensity weights",
    "noise_corrected": "corrected labels without weights",
    "choices": "choices between two responses, with their errors undone",
}


def sentences(
    colour: Colour, estimators: Mapping[str, Colour], gates: Sequence[Gate], figures: Mapping[str, Any]
) -> tuple[str, ...]:
    """The verdict in words: what can be done, what it rests on, what cannot be known, what to do next."""
    said = [HEADLINES[colour]]
    allowed = [name for name, c in estimators.items() if c != "red"]
    refused = [name for name, c in estimators.items() if c == "red"]
    if allowed:
        said.append(f"What can be used: {_listed([NAMES[name] for name in allowed])}.")
    elif not estimators:
        said.append(
            "No kind of feedback was offered on a response whose time for feedback is over, so there is "
            "nothing to learn from yet."
        )
    if refused:
        said.append(f"What is refused: {_listed([NAMES[name] for name in refused])}.")
    said += _silence(gates)
    said += _gold(figures, estimators)
    if colour != "green" and allowed:
        first = allowed[0]
        said += [
            gate.sentence
            for gate in gates
            if first in gate.binds and gate.colour == estimators[first] != "green"
        ]
    elif colour == "red":
        best = next(iter(estimators), None)
        said += [gate.sentence for gate in gates if best in gate.binds and gate.colour == "red"]
    return tuple(dict.fromkeys(said))


def _silence(gates: Sequence[Gate]) -> list[str]:
    """A log of voted rows alone."""
    if any(gate.name == "silent responses" and gate.colour == "red" for gate in gates):
        return [
            "Only rows with feedback are in this log. It shows what voters liked among the responses they "
            "voted on; it cannot show how likely a vote is, so nothing can be said about the responses "
            "nobody voted on. Log every response that is shown, with the feedback it offered."
        ]
    return []


def _gold(figures: Mapping[str, Any], estimators: Mapping[str, Colour]) -> list[str]:
    """What gold labels carry, and what is open without them."""
    labels, random = figures["gold"]["labels"], figures["gold"]["random"]
    if not estimators.keys() - {"choices"}:
        return []  # gold pairs have a gate of their own
    if not labels:
        return [
            "There are no gold labels. A log alone cannot tell a response that people dislike from one that "
            "people do not bother to answer, nor a wrong click from a strange taste: the share of liked "
            "responses, the error rates and the effect of liking on answering are assumptions here. A few "
            "hundred labels settle them: `unskew audit STORE --gold-plan 600` writes the rows worth "
            "labelling."
        ]
    if not random:
        return [
            f"{labels} gold labels were chosen by what was recorded; none was drawn at random, so the share "
            "of liked responses, and any measurement of a model, rest on their stated probabilities alone."
        ]
    return [f"{labels} gold labels, {random} of them drawn at random, tie the estimates to the truth."]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
