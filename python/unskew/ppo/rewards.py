"""Any reward: a directory, a function, a server, or a weighted list of them.

    score = sum over sources of weight x value

A source may say None where it does not apply; then the others decide. A value that is NaN or infinite is a
fault: the completion is left out and counted, as is one to which no source applies.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unskew.losses.numeric import NumericError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Written:
    """Completions of a round, as rewards see them; every list has length N.

    Args:
        prompts: as in the data set, texts or conversations.
        completions: answers without special tokens; a conversation's answer is a list with one message.
        completion_ids: tokens of the completions, the one that ends them included.
        queries: prompt and completion as one text with special tokens, without padding.
        ended: False where a completion was cut off.
        columns: the other columns of the data set.
        extra: further keyword arguments for functions, e.g. `trainer_state`.
    """

    prompts: list[Any]
    completions: list[Any]
    completion_ids: list[list[int]]
    queries: list[str]
    ended: list[bool]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


Reply = Sequence["float | None"]


class Source(Protocol):
    """One value, or None, for each completion."""

    name: str

    def __call__(self, written: Written) -> Reply: ...


class Function:
    """A function with TRL's signature: prompts, completions, completion_ids and data set columns by keyword.

    It is given what its signature names, everything when it takes `**kwargs`, and returns one float or None
    for each completion.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        parameters = inspect.signature(function).parameters.values()
        self.everything = any(one.kind is one.VAR_KEYWORD for one in parameters)
        self.names = {one.name for one in parameters}

    def __call__(self, written: Written) -> Reply:
        given = {
            **written.columns,
            **written.extra,
            "prompts": written.prompts,
            "completions": written.completions,
            "completion_ids": written.completion_ids,
        }
        if not self.everything:
            given = {name: value for name, value in given.items() if name in self.names}
        return self.function(**given)  # type: ignore[no-any-return]


class Scorer:
    """A reward model with `.score(prompts, completions)`, from a directory or at hand.

    Conversations reach it as they are when it says `conversational = True`, else as the texts of their
    messages.
    """

    def __init__(self, model: Any, name: str = "reward") -> None:
        self.model, self.name = model, name

    @classmethod
    def load(cls, directory: "str | os.PathLike[str]") -> "Scorer":
        """The model of a directory of unskew or Hugging Face; errors are those of `RewardModel.load`."""
        from unskew.reward import RewardModel

        return cls(
            RewardModel.load(directory), os.path.basename(os.fspath(directory).rstrip("/")) or "reward"
        )

    def __call__(self, written: Written) -> Reply:
        prompts, completions = written.prompts, written.completions
        if not getattr(self.model, "conversational", False):
            prompts, completions = [_text(one) for one in prompts], [_text(one) for one in completions]
        return np.asarray(self.model.score(prompts, completions), np.float64).tolist()  # type: ignore[no-any-return]


def _text(words: Any) -> str:
    return words if isinstance(words, str) else "\n".join(str(message["content"]) for message in words)


@dataclass(frozen=True)
class Scored:
    """Scores of completions.

    Args:
        score: weighted sum; NaN where a completion has none. Shape [N].
        parts: value of each source, NaN where it has none. Shape [N] each.
        missing: completions without a finite score.
        faults: NaN and infinite values of each source.
    """

    score: Floats
    parts: dict[str, Floats]
    missing: int
    faults: dict[str, int]


class Rewards:
    """Sources and their weights; called with completions.

    Args:
        sources: directories, functions, `http(s)://` addresses, reward models, or a list of them.
        weights: one a source, finite; 1 each when absent.
        limit: share of completions without a finite score that is an error, in [0, 1].

    Raises:
        ValueError: weights do not fit, a source is none, or a source returns another number of values.
    """

    def __init__(self, sources: Any, weights: Sequence[float] | None = None, *, limit: float = 0.1) -> None:
        listed = list(sources) if isinstance(sources, (list, tuple)) else [sources]
        if not listed:
            raise ValueError("reward_funcs is empty; at least one reward is needed")
        self.sources = [source(one) for one in listed]
        self.weights = np.ones(len(listed)) if weights is None else np.asarray(weights, np.float64)
        self.limit = limit
        if self.weights.shape != (len(listed),) or not np.isfinite(self.weights).all():
            raise ValueError(
                f"reward_weights are {None if weights is None else list(weights)} for {len(listed)} rewards; "
                "one finite weight a reward is needed"
            )
        self.names = _distinct([one.name for one in self.sources])

    def __call__(self, written: Written) -> Scored:
        """Scores of completions.

        Raises:
            ValueError: a source returned another number of values than completions.
            NumericError: more than `limit` of them have no finite score.
        """
        size = len(written.completions)
        score, applies, broken = np.zeros(size), np.zeros(size, bool), np.zeros(size, bool)
        parts, faults = {}, {}
        for name, one, weight in zip(self.names, self.sources, self.weights, strict=True):
            reply = one(written)
            if len(reply) != size:
                raise ValueError(
                    f"reward {name!r} returned {len(reply)} values for {size} completions; one each is "
                    "needed, None where it does not apply"
                )
            silent = np.array([value is None for value in reply])
            values = np.array([np.nan if value is None else float(value) for value in reply])
            finite = np.isfinite(values)
            faults[name] = int((~finite & ~silent).sum())
            parts[name] = np.where(finite, values, np.nan)
            broken |= ~finite & ~silent
            applies |= finite
            score += weight * np.where(finite, values, 0.0)
        lost = broken | ~applies
        if lost.mean() > self.limit:
            row = int(np.flatnonzero(lost)[0])
            raise NumericError(
                f"{int(lost.sum())} of {size} completions have no finite reward ({_count(faults)}), above "
                f"the limit of {self.limit:.0%} (max_missing_reward); check the reward on "
                f"the first, {written.completions[row]!r}"
            )
        return Scored(np.where(lost, np.nan, score), parts, int(lost.sum()), faults)


def source(given: Any) -> Source:
    """The source behind a directory, function, address or reward model.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(given, str) and given.startswith(("http://", "https://")):
        from unskew.ppo.server import Server

        return Server(given)
    if isinstance(given, (str, os.PathLike)):
        return Scorer.load(given)
    if isinstance(given, (Function, Scorer)) or (hasattr(given, "name") and _takes_written(given)):
        return given  # type: ignore[no-any-return]
    if hasattr(given, "score") and not hasattr(given, "state_dict"):
        return Scorer(given)
    if callable(given) and not hasattr(given, "state_dict"):
        return Function(given)
    raise ValueError(
        f"reward is a {type(given).__name__}; a directory, a function with TRL's signature, an http address "
        "or a model with score(prompts, completions) is needed. Save a torch module and pass its directory"
    )


def _takes_written(given: Any) -> bool:
    return callable(given) and next(iter(inspect.signature(given).parameters), None) == "written"


def _distinct(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(names)]


def _count(faults: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count} NaN or infinite" for name, count in faults.items())
