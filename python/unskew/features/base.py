"""What every featurizer shares: its shape as a protocol, and length as a column of its own."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LENGTH_CENTRE = 5.5
"""Subtracted from log(1 + characters): about 240 characters."""

CHUNK = 16_384
"""Rows held in memory at a time."""


class Featurizer(Protocol):
    """Prompts and responses in, features out; the same rows whatever else is in the batch.

    `counts` says what the last call left out (texts cut short); `to_dict` is all that decides the values.
    """

    counts: dict[str, int]

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Array:
        """Features, the length column last. Shape [N, D]."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able settings, which `from_dict` turns back into the featurizer."""


def length(responses: Sequence[str]) -> Array:
    """log(1 + characters) - 5.5 of each response. Shape [N, 1]."""
    characters = np.fromiter(map(len, responses), np.float64, len(responses))
    return (np.log1p(characters)[:, None] - LENGTH_CENTRE).astype(np.float32)


def check_lengths(prompts: Sequence[str], responses: Sequence[str]) -> None:
    """Raises ValueError unless there is one prompt a response."""
    if len(prompts) != len(responses):
        raise ValueError(
            f"there are {len(prompts)} prompts and {len(responses)} responses; one of each is needed"
        )
