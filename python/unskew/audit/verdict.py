"""The result of an audit as data."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Colour = Literal["green", "amber", "red"]

COLOURS: tuple[Colour, ...] = ("green", "amber", "red")


def worst(colours: Iterable[Colour]) -> Colour:
    """The worst of some colours; green when there are none."""
    return max(colours, key=COLOURS.index, default="green")


def best(colours: Iterable[Colour]) -> Colour:
    """The best of some colours; red when there are none."""
    return min(colours, key=COLOURS.index, default="red")


@dataclass(frozen=True)
class Gate:
    """One rule, what was found, and what follows.

    Args:
        name: of the rule; the kind of feedback comes first when it is about one.
        value: what was found, None when it could not be.
        limit: the rule in a few words.
        colour: green, amber or red.
        sentence: for a person.
        binds: estimators that the colour holds for.
        kind: kind of feedback, None for the whole log.
    """

    name: str
    value: float | str | None
    limit: str
    colour: Colour
    sentence: str
    binds: tuple[str, ...]
    kind: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What a log can support.

    Args:
        colour: that of the best estimator that can be used; red when none can.
        sentences: what a person should know, most important first.
        gates: every rule that was checked.
        estimators: colour of each estimator that applies to this log.
        kinds: kinds of feedback that each estimator may use; none when it is refused.
        figures: the numbers behind the gates, by kind.
        others: colour of estimators that are used when asked for, never chosen, and say nothing about the
            log: they rest on what it cannot check.
        beside: rules that concern those alone.
    """

    colour: Colour
    sentences: tuple[str, ...]
    gates: tuple[Gate, ...] = field(repr=False)
    estimators: dict[str, Colour]
    kinds: dict[str, tuple[str, ...]]
    figures: dict[str, Any] = field(repr=False)
    others: dict[str, Colour] = field(default_factory=dict)
    beside: tuple[Gate, ...] = field(default=(), repr=False)

    @property
    def allowed(self) -> tuple[str, ...]:
        """Estimators that are not refused, in the order of preference."""
        return tuple(name for name, colour in self.estimators.items() if colour != "red")

    def reasons(self, estimator: str) -> tuple[str, ...]:
        """Why an estimator is not green: the sentences of its worst gates."""
        every = (*self.gates, *self.beside)
        bound = [gate for gate in every if estimator in gate.binds and gate.colour != "green"]
        most = worst(gate.colour for gate in bound)
        return tuple(gate.sentence for gate in bound if gate.colour == most)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "allowed": list(self.allowed)}
