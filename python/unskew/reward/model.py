"""A reward model on disk: parameters in `model.safetensors`, everything else in `reward.json`; no pickle."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unskew import features
from unskew.features import Featurizer
from unskew.reward.heads import Floats, Head, NumericError

FORMAT, VERSION = "unskew-reward", 1
PARAMETERS, CARD = "model.safetensors", "reward.json"


class Scorer(Protocol):
    """What every reward model does, a head or a transformer."""

    @property
    def card(self) -> dict[str, Any]:
        """Provenance."""

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """Reward of each response. Shape [N]."""

    def probability(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """P(liked) of each response. Shape [N], in (0, 1)."""

    def save(self, directory: "str | os.PathLike[str]") -> None:
        """Write the model to a directory."""


@dataclass(frozen=True)
class RewardModel:
    """P(a user likes the response) = sigmoid(scale r(features) + shift).

    Args:
        featurizer: texts to features.
        head: features to a logit.
        scale, shift: final calibration of the logit; 1 and 0 when there is none.
        card: provenance as JSON: estimator, nuisances, audit verdict, limits.
    """

    featurizer: Featurizer
    head: Head
    scale: float = 1.0
    shift: float = 0.0
    card: dict[str, Any] = field(default_factory=dict)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """Reward (log-odds of being liked) of each response. Shape [N].

        Args:
            prompts: what was asked. Length N.
            responses: what was answered. Length N.

        Raises:
            ValueError: the lengths differ.
        """
        return self.scale * self.head(self.featurizer(prompts, responses)) + self.shift

    def probability(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """P(liked) of each response. Shape [N], in (0, 1)."""
        return np.asarray(0.5 * (1 + np.tanh(0.5 * self.score(prompts, responses))))

    def save(self, directory: "str | os.PathLike[str]") -> None:
        """Write the model to a directory, made when absent; each file appears whole or not at all.

        Raises:
            ValueError: the card holds a number that JSON does not; nothing is written.
            NumericError: scale or shift is not finite (a `Head` never holds such a number).
        """
        from safetensors.numpy import save

        if not (np.isfinite(self.scale) and np.isfinite(self.shift)):
            raise NumericError(
                f"scale is {self.scale} and shift {self.shift}; both must be finite to be saved"
            )
        home = Path(directory)
        home.mkdir(parents=True, exist_ok=True)
        document = {
            "format": FORMAT,
            "version": VERSION,
            "featurizer": self.featurizer.to_dict(),
            "head": {"kind": self.head.kind, "sizes": self.head.sizes},
            "scale": float(self.scale),
            "shift": float(self.shift),
            "card": self.card,
        }
        arrays = {}
        for number, (weight, bias) in enumerate(self.head.layers):
            arrays[f"layers.{number}.weight"] = np.ascontiguousarray(weight)
            arrays[f"layers.{number}.bias"] = np.ascontiguousarray(bias)
        parameters = save(arrays, metadata={"format": FORMAT})
        document["parameters"] = hashlib.sha256(parameters).hexdigest()
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        _replace({home / PARAMETERS: parameters, home / CARD: text.encode()})

    @classmethod
    def load(cls, directory: "str | os.PathLike[str]") -> "Scorer":
        """The model of a directory: a head that `save` wrote, or a transformer (see `directory.load`).

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: the files are damaged, of another format or version, or do not fit each other.
            NumericError: a parameter is not finite.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        home = Path(directory)
        if (home / "config.json").is_file() and not (home / CARD).is_file():
            from unskew.reward.directory import load as load_transformer

            return load_transformer(home)
        for name in (CARD, PARAMETERS):
            if not (home / name).is_file():
                raise FileNotFoundError(
                    f"{home / name} does not exist; a directory written by `unskew train` is needed"
                )
        document = _document(home / CARD)
        parameters = (home / PARAMETERS).read_bytes()
        try:
            arrays = load(parameters)
        except SafetensorError as error:
            raise ValueError(
                f"{home / PARAMETERS}: not a safetensors file ({error}); copy the model again"
            ) from None
        sizes = document["head"]["sizes"]
        expected: dict[str, tuple[int, ...]] = {}
        for number, (inputs, outputs) in enumerate(pairwise(sizes)):
            expected[f"layers.{number}.weight"] = (inputs, outputs)
            expected[f"layers.{number}.bias"] = (outputs,)
        found = {name: array.shape for name, array in arrays.items()}
        if found != expected or any(array.dtype != np.float32 for array in arrays.values()):
            raise ValueError(
                f"{home / PARAMETERS}: found {_shapes(found)}, but {CARD} says float32 {_shapes(expected)}; "
                "copy the model again"
            )
        layers = [
            (arrays[f"layers.{number}.weight"], arrays[f"layers.{number}.bias"])
            for number in range(len(sizes) - 1)
        ]
        try:
            head = Head(tuple(layers))
            featurizer = features.from_dict(document["featurizer"])
        except NumericError as error:
            raise NumericError(f"{home / PARAMETERS}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{home}: {error}") from None
        if document.get("parameters", digest := hashlib.sha256(parameters).hexdigest()) != digest:
            raise ValueError(
                f"{home / PARAMETERS} is not the file that {CARD} was written with; copy the model again"
            )
        return cls(featurizer, head, document["scale"], document["shift"], document["card"])


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "featurizer": dict,
    "head": dict,
    "scale": (int, float),
    "shift": (int, float),
    "card": dict,
}


def _document(path: Path) -> dict[str, Any]:
    """The card, checked."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); copy the model again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f'{path}: no `"format": "{FORMAT}"`; expected a model written by `unskew train`')
    if document.get("version") != VERSION:
        raise ValueError(
            f"{path}: version is {document.get('version')!r}; expected {VERSION}; install a newer release"
        )
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name), kind) or isinstance(document[name], bool):
            raise ValueError(f"{path}: {name} is {document.get(name)!r}; copy the model again")
    sizes = document["head"].get("sizes")
    if (
        not isinstance(sizes, list)
        or len(sizes) < 2
        or any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in sizes)
    ):
        raise ValueError(f"{path}: head sizes are {sizes!r}; expected at least two positive whole numbers")
    for name in ("scale", "shift"):
        if not np.isfinite(document[name]):
            raise NumericError(f"{path}: {name} is {document[name]}; it must be finite")
    return document


def _shapes(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items())) or "nothing"


def _replace(contents: dict[Path, bytes]) -> None:
    """Write all beside, flush, and only then take the places of the files."""
    drafts = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in contents}
    try:
        for path, draft in drafts.items():
            with draft.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, draft in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
