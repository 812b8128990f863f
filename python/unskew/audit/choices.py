"""Gates of choices between two responses: error rates by slot, enough of both classes, what nothing corrects.

    estimator    reads                     refused by
    choices      fnr, fpr                  rates, few examples
    strength     votes of several models   few examples

Amber at best: who chooses, and when, is not corrected, and votes are no truth. `strength` is judged beside
the others: never chosen without being asked for, and no part of the colour of a log.
"""

from collections.abc import Iterator
from typing import Any

from unskew.audit import measure
from unskew.audit.gates import D_AMBER, EXAMPLES, GOLD
from unskew.audit.measure import Classes, Column
from unskew.audit.verdict import Colour, Gate
from unskew.data import Choices
from unskew.noise import MIN_D, MIN_D_LOW, Noise

BINDS = ("choices", "strength")
RATED = ("choices",)
LABEL = 'one line {"a": ID, "b": ID, "winner": ID} each, in the file that --gold names'
REMEDY = (
    f"Say of a few hundred of these pairs which response is better ({LABEL}), or give known rates in the "
    "settings (noise: {choice: [fnr, fpr]})."
)


def classes(choices: Choices, rates: Noise | None) -> Classes | None:
    """Choices about pairs in which A (liked) and B (disliked) is better; None when the rates are unknown."""
    seen = choices.seen
    column = Column("choice", seen, seen, choices.label == 1)
    return measure.classes(column, known=None, rates=rates, posterior=None)


def gates(choices: Choices, rates: Noise | None) -> Iterator[Gate]:
    """Every rule about choices.

    Args:
        choices: the pairs, with gold.
        rates: error rates by slot, known or from gold pairs.
    """
    chosen = int(choices.seen.sum())
    said = (
        f"{chosen:,} of {len(choices):,} pairs shown side by side have a choice that says which is better. "
        "Who chooses, and between which responses, is not corrected: a model of choices speaks for the "
        "people who choose, about the answers they choose between."
    )
    yield _gate("who chooses", chosen, "not corrected", "amber", said)
    yield _noise(rates)
    if (counts := classes(choices, rates)) is not None:
        which = "first" if counts.liked <= counts.disliked else "second"
        said = (
            f"About {counts.fewest:,.0f} choices are about pairs in which the response in the {which} slot "
            f"is truly better; at least {EXAMPLES} of each class are needed."
        )
        colour: Colour = "red" if counts.fewest < EXAMPLES else "green"
        yield _gate("observed examples of a class", counts.fewest, f"at least {EXAMPLES}", colour, said)
    yield _gold(choices, rates)
    if bare := choices.counts.get("no_slots", 0):
        said = (
            f"{bare:,} pairs have no slots, so nothing tells which response was shown first; the mean of the "
            "two error rates stands for both there. Log `slot` on impressions."
        )
        yield _gate("pairs without slots", bare, "slots logged", "amber", said)
    if wide := choices.counts.get("of_more", 0):
        said = (
            f"{wide:,} pairs come from requests that showed more than two responses. Each is read as a "
            "choice between two, which holds when the others do not change which of the two is preferred."
        )
        yield _gate("more than two responses", wide, "two responses", "amber", said)


def votes(choices: Choices) -> Gate:
    """Whether there are choices enough for models to vote on them."""
    chosen = int(choices.seen.sum())
    said = f"Models that vote on {chosen:,} choices repeat the errors that the choices share."
    few: Colour = "red" if chosen < EXAMPLES else "amber"
    return _gate("votes", chosen, f"at least {EXAMPLES}", few, said, ("strength",))


def _noise(rates: Noise | None) -> Gate:
    limit = f"above {MIN_D}, lower bound at least {MIN_D_LOW} (amber below {D_AMBER})"
    if rates is None:
        said = (
            "How often people choose the worse response, in either slot, is unknown: there are no gold pairs "
            f"of both classes and no rates were given. {REMEDY}"
        )
        return _gate("error rates", None, limit, "red", said, RATED)
    said = (
        f"Where the response in the first slot is better, {rates.fnr:.0%} of choices miss it; where the "
        f"second is better, {rates.fpr:.0%} do; D = {rates.D:.2f}, at least {rates.interval['D'][0]:.2f}."
    )
    if rates.refusal:
        said += f" That is too noisy, or too little known, to be corrected. {REMEDY}"
        return _gate("error rates", rates.D, limit, "red", said, RATED)
    return _gate("error rates", rates.D, limit, "amber" if rates.D < D_AMBER else "green", said, RATED)


def _gold(choices: Choices, rates: Noise | None) -> Gate:
    n, limit = int(choices.labelled.sum()), f"at least {GOLD}"
    ties, unknown = (choices.counts.get(name, 0) for name in ("gold_ties", "gold_unknown"))
    unused = f" ({ties} say tie, {unknown} are not among the logged pairs)" if ties or unknown else ""
    if n == 0:
        said = (
            f"There are no gold pairs that say which response is better{unused}: error rates are taken as "
            f"given, and nothing measures a model. Label some ({LABEL})."
        )
    else:
        told = " and say how often choices err" if rates is not None and rates.source == "gold" else ""
        said = f"{n} gold pairs{unused} measure a model{told}."
        said += f" {GOLD} are the least that count." if n < GOLD else ""
    return _gate("gold pairs", n, limit, "amber" if n < GOLD else "green", said)


def figures(choices: Choices, rates: Noise | None) -> dict[str, Any]:
    """The numbers behind the gates."""
    counts = classes(choices, rates)
    found: dict[str, Any] = {
        "pairs": len(choices),
        "chosen": int(choices.seen.sum()),
        "first_slot_won": int((choices.label == 1).sum()),
        "gold_pairs": int(choices.labelled.sum()),
        "left_out": choices.counts,
    }
    if counts is not None:
        found["classes"] = {"first_better": counts.liked, "second_better": counts.disliked}
    if rates is not None:
        found["rates"] = rates.rows()
    return found


def _gate(
    name: str,
    value: float | None,
    limit: str,
    colour: Colour,
    sentence: str,
    binds: tuple[str, ...] = BINDS,
) -> Gate:
    return Gate(f"choice: {name}", value, limit, colour, sentence, binds, "choice")
