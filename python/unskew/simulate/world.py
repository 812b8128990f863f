"""Worlds: who gives feedback, how often, and with what errors; every probability is known.

Feedback kinds are independent given the text x, the slot, the user and the hidden label r, with

    P(r = 1 | x) = sigmoid(z(x))
    two-sided    P(recorded | x, r) = sum over levels of P(level | x, r) shift(min(1, k alpha^e), v)
    one-sided    P(happened | x, r) = shift(rate of r, v)
    record       P(recorded 1 | r = 1) = 1 - fnr,  P(recorded 1 | r = 0) = fpr

where shift multiplies the odds by exp(v), v = log position + nuisance tone + activity (one-sided kinds: no
position), and k is solved so that the mean over all responses is the rate that the world asks for. Level 0..3
cuts z + logistic noise at -LEVEL, 0, LEVEL (about 30, 20, 20, 30 %), so that r = (level >= 2); each kind
has a level of its own. The exponent e is

    label      4 (3 - level) / 3        the published protocol (CausalRM, arXiv 2603.18736, its code)
    u          4 (1 - |2 level - 3| / 3)    both extremes speak
    features   4 (1 - rank of z)        depends on the text alone
    random     0
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unskew.simulate import words
from unskew.simulate.text import Plan, plan, topics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Selection = Literal["features", "label", "u", "random"]
Spurious = Literal["none", "flattery", "length"]

KINDS = ("thumbs", "rating", "copy", "regenerate")
"""The kinds of feedback of the simulated product, in bit order."""

LEVEL = 1.4
SPREAD = 1.95
"""Standard deviation of z over responses, to which `features` selection refers."""


@dataclass(frozen=True)
class TwoSided:
    """A kind whose label is recorded when feedback is given.

    Args:
        rate: mean P(recorded) over the responses on which the kind is offered, in (0, 1).
        fnr: P(recorded 0 | true 1), in [0, 1).
        fpr: P(recorded 1 | true 0), in [0, 1).
    """

    rate: float
    fnr: float
    fpr: float


@dataclass(frozen=True)
class OneSided:
    """A kind that happens or does not.

    Args:
        liked: P(happened | r = 1), in (0, 1).
        disliked: P(happened | r = 0), in (0, 1).
    """

    liked: float
    disliked: float


@dataclass(frozen=True)
class World:
    """Everything the simulated product and its users do.

    Args:
        selection: what the two-sided kinds are selected by: `features` (missing at random given the text),
            `label` (the hidden label), `u` (both extremes of satisfaction), `random`.
        alpha: strength of the selection, in [.001, 1]; 1 is none, .5 the published default, .2 hopeless.
        thumbs, rating: two-sided kinds; ratings are asked for on one surface only.
        copy, regenerate: one-sided kinds, positive and negative.
        nuisance: standard deviation of the log-odds by which the tone of a response scales the feedback of
            all kinds; .8 makes constant tables collapse.
        activity: the same for a hidden habit of each user; breaks independence of kinds given the text.
        position: factor on the odds of two-sided feedback in slots 1 to 4.
        spurious: what users reward in the record but not in truth: a flattering prefix, or length.
        spurious_strength: log-odds of a positive record for one standard deviation of that factor.
        days: length of the log; 97 % of the traffic falls before its last ten days.
        late: share of feedback that arrives an hour to a day after it was given.
        disordered: share of impressions that arrive after half an hour to twelve hours, mostly behind their
            own feedback.
        repeated: share of events sent twice (at-least-once delivery).
        revised: share of thumbs given after an earlier, opposite one.
    """

    selection: Selection = "label"
    alpha: float = 0.5
    thumbs: TwoSided = field(default_factory=lambda: TwoSided(rate=0.18, fnr=0.10, fpr=0.20))
    rating: TwoSided = field(default_factory=lambda: TwoSided(rate=0.25, fnr=0.15, fpr=0.10))
    copy: OneSided = field(default_factory=lambda: OneSided(liked=0.15, disliked=0.02))
    regenerate: OneSided = field(default_factory=lambda: OneSided(liked=0.04, disliked=0.20))
    nuisance: float = 0.0
    activity: float = 0.0
    position: tuple[float, ...] = (1.0, 0.8, 0.65, 0.5)
    spurious: Spurious = "none"
    spurious_strength: float = 0.0
    days: float = 46.0
    late: float = 0.05
    disordered: float = 0.03
    repeated: float = 0.02
    revised: float = 0.02

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("selection", self.selection, get_args(Selection)),
            ("spurious", self.spurious, get_args(Spurious)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
        if not 0.001 <= self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha}; it must be in [0.001, 1]")
        for name in ("late", "disordered", "repeated", "revised"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share and must be in [0, 1]")
        if self.days < 20:
            raise ValueError(f"days is {self.days}; at least 20 are needed for attribution windows to close")
        if len(self.position) != 4 or min(self.position) <= 0:
            raise ValueError(f"position is {self.position}; four positive factors are needed, one a slot")
        for name in ("thumbs", "rating"):
            kind: TwoSided = getattr(self, name)
            if not 0 < kind.rate < 1 or not 0 <= kind.fnr < 1 or not 0 <= kind.fpr < 1:
                raise ValueError(f"{name} is {kind}; rate must be in (0, 1), fnr and fpr in [0, 1)")
        for name in ("copy", "regenerate"):
            one: OneSided = getattr(self, name)
            if not 0 < one.liked < 1 or not 0 < one.disliked < 1:
                raise ValueError(f"{name} is {one}; both probabilities must be in (0, 1)")


WORLDS: dict[str, World] = {
    "label": World(),
    "features": World(selection="features"),
    "u": World(selection="u"),
    "random": World(selection="random"),
    "nuisance": World(selection="random", nuisance=0.8),
    "label-nuisance": World(nuisance=0.8),
    "u-nuisance-activity": World(selection="u", nuisance=0.8, activity=0.5),
    "hopeless": World(alpha=0.2),
    "flattery": World(selection="features", spurious="flattery", spurious_strength=0.8),
    "length": World(selection="features", spurious="length", spurious_strength=0.8),
}
"""Named worlds."""


@dataclass(frozen=True)
class Chances:
    """True probabilities of feedback, one column for each of `KINDS`.

    Args:
        p1, p0: P(feedback | x, r = 1) and P(feedback | x, r = 0) where the kind is offered. Shape [N, 4].
        fnr, fpr: error rates of the record, 0 for one-sided kinds. Shape [N, 4].
        capped: entries whose k alpha^e passed 1 and was set to 1.
    """

    p1: Floats
    p0: Floats
    fnr: Floats
    fpr: Floats
    capped: int


def chances(world: World, z: Floats, tone: Floats, slot: Ints, habit: Floats, factor: Floats) -> Chances:
    """The probabilities of the module docstring for N responses.

    Args:
        world: the world.
        z: quality. Shape [N].
        tone: standardised tone of the text. Shape [N].
        slot: position, 1 to 4. Shape [N].
        habit: standardised habit of the user. Shape [N].
        factor: standardised spurious factor. Shape [N].
    """
    n = len(z)
    p1, p0, fnr, fpr = (np.zeros((n, len(KINDS))) for _ in range(4))
    everywhere = world.nuisance * tone + world.activity * habit
    placed = everywhere + np.log(np.asarray(world.position))[slot - 1]
    capped = 0
    for column, name in enumerate(KINDS):
        kind: TwoSided | OneSided = getattr(world, name)
        if isinstance(kind, TwoSided):
            k = _scale(world, kind.rate)
            p1[:, column], p0[:, column], over = _observed(world, k, z, placed)
            capped += over
            shift = world.spurious_strength * factor if world.spurious != "none" else np.zeros(n)
            fnr[:, column] = 1 - _shift(np.full(n, 1 - kind.fnr), shift)
            fpr[:, column] = _shift(np.full(n, kind.fpr), shift)
        else:
            p1[:, column] = _shift(np.full(n, kind.liked), everywhere)
            p0[:, column] = _shift(np.full(n, kind.disliked), everywhere)
    return Chances(p1, p0, fnr, fpr, capped)


def factor(world: World, plan: Plan) -> Floats:
    """The spurious factor of each response, mean 0 and variance 1; zeros without one. Shape [N]."""
    if world.spurious == "flattery":
        return np.asarray(((plan.flattery >= 0) - 0.3) / np.sqrt(0.3 * 0.7))
    if world.spurious == "length":
        mean, deviation = _reference()[3]
        return (_sentences(plan) - mean) / deviation
    return np.zeros(len(plan.topic))


def skilled(n: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """(model of each response, skill of its writer)."""
    shares, means = np.array(list(words.MODELS.values())).T
    model = rng.choice(len(shares), n, p=shares)
    return model, means[model] + 0.9 * rng.standard_normal(n)


def _sentences(plan: Plan) -> Floats:
    return np.asarray(plan.advice + plan.remark.sum(1), dtype=np.float64)


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def _shift(probability: Floats, log_odds: Floats) -> Floats:
    """Probability after its odds are multiplied by exp(log_odds); 0 and 1 stay."""
    up = probability * np.exp(log_odds)
    return np.asarray(up / (up + (1 - probability)))


def _observed(world: World, k: float, z: Floats, log_odds: Floats) -> tuple[Floats, Floats, int]:
    """(P(observed | x, r = 1), P(observed | x, r = 0), capped entries)."""
    if world.selection == "features":
        exponent = [4 * (1 - _rank(z))] * 4
    elif world.selection == "u":
        exponent = [np.full(len(z), 4 * (1 - abs(2 * level - 3) / 3)) for level in range(4)]
    else:
        strength = 4 / 3 if world.selection == "label" else 0.0
        exponent = [np.full(len(z), strength * (3 - level)) for level in range(4)]
    base = [k * world.alpha**e for e in exponent]
    given = [_shift(np.minimum(1.0, p), log_odds) for p in base]
    top = _sigmoid(z - LEVEL) / _sigmoid(z)  # P(level 3 | r = 1)
    bottom = _sigmoid(-z - LEVEL) / _sigmoid(-z)  # P(level 0 | r = 0)
    p1 = given[2] + top * (given[3] - given[2])
    p0 = given[1] + bottom * (given[0] - given[1])
    return p1, p0, int((np.max(base, axis=0) > 1).sum())


def _rank(z: Floats) -> Floats:
    """Rank of z among all responses, in (0, 1): a fixed function of the text, the logistic curve near the
    normal one."""
    return _sigmoid(1.702 * z / SPREAD)


@lru_cache(maxsize=64)
def _scale(world: World, rate: float) -> float:
    """k such that the mean P(observed) over all responses is `rate`, by bisection on reference responses."""
    z, tone, slot, _ = _reference()
    habit = np.random.default_rng(1).standard_normal(len(z))
    log_odds = world.nuisance * tone + world.activity * habit + np.log(np.asarray(world.position))[slot - 1]
    probability = _sigmoid(z)
    low, high = -30.0, 30.0  # of log k; at alpha .001 the smallest k alpha^e is 1 before k is exp(28)
    for _ in range(60):
        middle = (low + high) / 2
        p1, p0, _ = _observed(world, float(np.exp(middle)), z, log_odds)
        seen = float(np.mean(probability * p1 + (1 - probability) * p0))
        low, high = (middle, high) if seen < rate else (low, middle)
    return float(np.exp(high))


@lru_cache(maxsize=1)
def _reference() -> tuple[Floats, Floats, Ints, tuple[float, float]]:
    """(z, tone, slot, mean and deviation of the number of sentences) of 20,000 fixed responses."""
    rng = np.random.default_rng(20_260_105)
    n = 20_000
    _, skill = skilled(n, rng)
    drawn = plan(rng.integers(0, topics(), n), skill, rng)
    slot = rng.choice(4, n, p=(0.44, 0.44, 0.08, 0.04)) + 1
    sentences = _sentences(drawn)
    return drawn.quality(), drawn.tone(), slot, (float(sentences.mean()), float(sentences.std()))


def named(name: str, **changes: object) -> World:
    """A world of `WORLDS` with some of its fields changed.

    Raises:
        ValueError: no world has that name.
    """
    if name not in WORLDS:
        raise ValueError(f"world is {name!r}; it must be one of {', '.join(WORLDS)}")
    return replace(WORLDS[name], **changes)  # type: ignore[arg-type]
