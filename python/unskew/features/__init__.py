"""Frozen features of a prompt and a response, computed once, kept on disk and memory-mapped.

    phi(prompt, response) in R^D,   last column = log(1 + characters of the response) - 5.5

Length is a column of its own, so that a head can use it, be penalised for it, or be denied it.
`Hashing` needs no download; `Encoder` is any Hugging Face encoder or causal language model.
"""

from collections.abc import Callable
from typing import Any

from unskew.features.base import Featurizer, length
from unskew.features.cache import cached
from unskew.features.encoder import Encoder
from unskew.features.hashing import Hashing

__all__ = ["Encoder", "Featurizer", "Hashing", "cached", "from_dict", "length"]


def from_dict(settings: dict[str, Any]) -> "Hashing | Encoder":
    """The featurizer that `to_dict` described.

    Args:
        settings: what `to_dict` gave, perhaps by way of JSON.

    Raises:
        ValueError: no featurizer has that name or one of those settings.
    """
    kinds: dict[str, Callable[..., Hashing | Encoder]] = {"hashing": Hashing, "encoder": Encoder}
    rest = dict(settings)
    name = rest.pop("featurizer", None)
    if name not in kinds:
        raise ValueError(f"featurizer is {name!r}; it must be 'hashing' or 'encoder'")
    try:
        return kinds[name](**rest)
    except TypeError as error:
        raise ValueError(f"the settings of featurizer {name!r} do not fit this version: {error}") from None
