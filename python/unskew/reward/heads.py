"""The head: features in, one logit out. A linear map, or linear maps with max(0, .) between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew.losses.numeric import NumericError as NumericError

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]

CHUNK = 65_536
"""Rows scored at a time."""


@dataclass(frozen=True)
class Head:
    """r(x) = W_n max(0, ... max(0, W_1 x + b_1) ...) + b_n, one number a row; linear when n = 1.

    Args:
        layers: (W, b) from the features to the logit, W of shape [inputs, outputs]; finite. Kept as float32
            copies that cannot be written to.

    Raises:
        ValueError: the shapes do not follow each other or do not end in one number.
        NumericError: a parameter is not finite.

    Example:
        >>> Head.linear([2.0, -1.0], 0.5)(np.array([[1.0, 1.0]]))
        array([1.5])
    """

    layers: tuple[tuple[Weights, Weights], ...]

    def __post_init__(self) -> None:
        layers = tuple((_own(weight), _own(bias)) for weight, bias in self.layers)
        object.__setattr__(self, "layers", layers)
        if not layers or any(w.ndim != 2 or b.shape != w.shape[1:] for w, b in layers):
            shapes = [(w.shape, b.shape) for w, b in layers]
            raise ValueError(f"the layers have shapes {shapes}; [inputs, outputs] and [outputs] are needed")
        if any(left[0].shape[1] != right[0].shape[0] for left, right in pairwise(layers)):
            raise ValueError(f"the layers have sizes {self.sizes}, which do not follow each other")
        if self.sizes[-1] != 1:
            raise ValueError(f"the head ends in {self.sizes[-1]} numbers; one logit is needed")
        broken = sum(int((~np.isfinite(part)).sum()) for layer in layers for part in layer)
        if broken:
            raise NumericError(
                f"{broken} parameters of the head are not finite; check the columns, or lower the step"
            )

    @classmethod
    def linear(cls, weight: "Sequence[float] | NDArray[Any]", bias: float) -> "Head":
        """The head r(x) = weight . x + bias."""
        return cls(((np.asarray(weight, np.float32)[:, None], np.array([bias], np.float32)),))

    @property
    def kind(self) -> str:
        """`linear` or `mlp`."""
        return "linear" if len(self.layers) == 1 else "mlp"

    @property
    def sizes(self) -> list[int]:
        """Number of features, hidden units, and 1."""
        return [self.layers[0][0].shape[0], *(w.shape[1] for w, _ in self.layers)]

    def __call__(self, X: NDArray[Any]) -> Floats:
        """Logits of feature rows. Shape [N, D] to [N].

        Raises:
            ValueError: the number of columns is not the head's.
        """
        if X.ndim != 2 or X.shape[1] != self.sizes[0]:
            raise ValueError(f"X has shape {X.shape}; [rows, {self.sizes[0]}] is needed")
        out = np.empty(len(X), np.float64)
        for start in range(0, len(X), CHUNK):
            rows = np.asarray(X[start : start + CHUNK], np.float32)
            for number, (weight, bias) in enumerate(self.layers):
                rows = (np.maximum(rows, 0) if number else rows) @ weight + bias
            out[start : start + CHUNK] = rows[:, 0]
        return out


def _own(values: NDArray[Any]) -> Weights:
    """A copy that stays as it was checked."""
    copy = np.array(values, np.float32)
    copy.setflags(write=False)
    return copy
