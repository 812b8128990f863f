"""What a baseline is given, and what it may be tuned by."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Logged:
    """One two-sided kind of feedback about N responses, as a product would have it.

    Args:
        X: features. Shape [N, d], float32.
        y: recorded label 0 or 1; read where observed, and nowhere else. Shape [N].
        observed: was feedback given. Shape [N], bool.
        group: code of the prompt; rows with one code never part. Shape [N], integers.
        p: P(observed), fitted by `loop.propensity` when absent. Shape [N], in (0, 1].
        fnr, fpr: P(recorded 0 | true 1), P(recorded 1 | true 0); None when nobody knows them.
        seed: of the split, the start and the order.

    Raises:
        ValueError: a shape or a label is not as described.
    """

    X: NDArray[np.float32]
    y: NDArray[Any]
    observed: NDArray[np.bool_]
    group: NDArray[Any]
    p: NDArray[np.float64] | None = None
    fnr: float | None = None
    fpr: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("y", "observed", "group", "p"):
            column = getattr(self, name)
            if column is not None and np.shape(column) != (len(self.X),):
                raise ValueError(
                    f"{name} has shape {np.shape(column)}; ({len(self.X)},) is needed, one a row"
                )
        if not np.isin(self.y[self.observed], (0, 1)).all():
            raise ValueError("y holds a label that is neither 0 nor 1 on a row with feedback")


@dataclass(frozen=True)
class Tuning:
    """One setting.

    Args:
        lr: Adam's step.
        weight_decay: Adam's L2 penalty.
        knob: the one number that matters most to the method, as its file says; nan where it has none.
    """

    lr: float = 1e-3
    weight_decay: float = 1e-4
    knob: float = float("nan")


@dataclass(frozen=True)
class Model:
    """Probabilities of new rows, and what held-out prompts said about them.

    Args:
        read: P(true label 1) of features. Takes [N, d] float32, gives [N].
        held_out: the criterion by which this setting competes with the others; lower is better.
    """

    read: Callable[[NDArray[Any]], NDArray[np.float64]]
    held_out: float

    def __call__(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """P(true label 1) of feature rows. Shape [N]."""
        return self.read(X)


Fit = Callable[[Logged, Tuning], Model]

RATES = ((1e-3, 1e-4), (3e-3, 1e-3))
"""Pairs of step and weight decay that are crossed with three values of the knob."""


def grid(knobs: Iterable[float]) -> tuple[Tuning, ...]:
    """Six settings for three values of a knob."""
    return tuple(Tuning(lr, decay, knob) for knob in knobs for lr, decay in RATES)
