"""Gates of estimators that read clicks, copies and shares alone: positive feedback without a negative side.

    estimator             reads                           refused by
    positive_unlabelled   happened, P(happened | liked)   silence, few, no gold, happens to disliked responses
    implicit              the same                        the same
    nnpu                  happened, P(liked)              the same

Amber at best: that the kind happens to all liked responses alike is taken, and no log can check it. They are
judged beside the others: never chosen without being asked for, and no part of the colour of a log.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from unskew.audit.gates import EXAMPLES, GOLD
from unskew.audit.verdict import Colour, Gate, best, worst
from unskew.data import Examples
from unskew.noise import Happening, Noise
from unskew.rates import Bools

BINDS = ("positive_unlabelled", "nnpu", "implicit")
RATED = ("positive_unlabelled", "implicit")
LEAK = 0.1
"""Largest P(happened | not liked) / P(happened | liked), at its lower bound: how liked disliked ones look."""


def kinds(examples: Examples) -> tuple[str, ...]:
    """Positive one-sided kinds that were offered, and their window closed."""
    usable: Bools = np.asarray((examples.offered & examples.closed).any(0))
    return tuple(kind.name for k, kind in enumerate(examples.kinds) if usable[k] and kind.side == "positive")


def decide(gates: Sequence[Gate]) -> tuple[dict[str, Colour], dict[str, tuple[str, ...]]]:
    """Colour of each estimator, that of its best kind, and the kinds that it may use.

    Args:
        gates: of this module.
    """
    colours: dict[str, Colour] = {}
    usable: dict[str, tuple[str, ...]] = {}
    for family in BINDS if gates else ():
        own: dict[str, Colour] = {
            str(kind): worst(gate.colour for gate in gates if gate.kind == kind and family in gate.binds)
            for kind in dict.fromkeys(gate.kind for gate in gates)
        }
        colours[family] = best(own.values())
        usable[family] = tuple(kind for kind, colour in own.items() if colour != "red")
    return colours, usable


def gates(examples: Examples, rates: "Mapping[str, Noise | Happening]", labels: int) -> Iterator[Gate]:
    """Every rule about positive kinds.

    Args:
        examples: the live rows.
        rates: of each kind; those of one-sided kinds from gold.
        labels: gold labels of the log.
    """
    for name in kinds(examples):
        k = examples.kind(name)
        usable = examples.offered[:, k] & examples.closed[:, k]
        count = int((examples.observed[:, k] & usable).sum())
        silent = int(usable.sum()) - count
        said = f"{silent:,} of {int(usable.sum()):,} responses that offered {name} had none."
        yield _gate(name, "silent responses", silent, "at least 1", "green" if silent else "red", said, BINDS)
        said = f"{name} happened on {count:,} responses; at least {EXAMPLES} are needed."
        few: Colour = "red" if count < EXAMPLES else "green"
        yield _gate(name, "responses on which it happened", count, f"at least {EXAMPLES}", few, said, BINDS)
        found = rates.get(name)
        yield from _rate(name, found if isinstance(found, Happening) else None)
        said = f"{labels} gold labels tell the share of liked responses, which nnPU takes as known."
        colour: Colour = "red" if labels < GOLD else "green"
        yield _gate(
            name, "share of liked responses", labels, f"at least {GOLD} gold", colour, said, ("nnpu",)
        )
        said = (
            f"That {name} happens to every liked response with the same chance is taken: what else moves it, "
            "such as length or a habit, is learned as liking. Evidence allows for it."
        )
        yield _gate(name, "the same for all liked", None, "not checked", "amber", said, BINDS)


def _rate(name: str, found: Happening | None) -> Iterator[Gate]:
    """How often it happens to liked, and to disliked responses."""
    if found is None or found.liked <= 0:
        said = (
            f"How often {name} happens to a liked response is unknown: without gold labels the log holds the "
            "product of liking and of that chance alone, and every division between them fits as well."
        )
        yield _gate(name, "chance when liked", None, "gold", "red", said, RATED)
        return
    said = f"{name} happens to {found.liked:.1%} of liked and {found.disliked:.1%} of disliked responses."
    yield _gate(name, "chance when liked", found.liked, "gold", "green", said, RATED)
    low = found.interval["disliked"][0] / found.liked
    limit = f"at most {LEAK} at the lower bound"
    if low <= LEAK:
        yield _gate(name, "happens to disliked responses", low, limit, "green", said, BINDS)
        return
    said += (
        f" These estimators take the second to be none; it is at least {low:.0%} of the first, so that a "
        "disliked response looks liked by as much. Evidence reads both."
    )
    yield _gate(name, "happens to disliked responses", low, limit, "red", said, BINDS)


def _gate(
    kind: str,
    name: str,
    value: float | None,
    limit: str,
    colour: Colour,
    sentence: str,
    binds: tuple[str, ...],
) -> Gate:
    return Gate(f"{kind}: {name}", value, limit, colour, sentence, binds, kind)
