"""A draw from a world: texts, what was recorded about them, and the truth, as columns in memory."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unskew.simulate import text, words
from unskew.simulate.world import KINDS, World, chances, factor, skilled

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

START = np.datetime64("2026-01-05T00:00:00", "us")
DAY = 86_400_000_000
"""Microseconds."""

TAIL_DAYS, TAIL_SHARE = 10.0, 0.03
"""The last days of a log and the share of traffic in them, so that most attribution windows have closed."""

_STARS = {1: ((4, 5), (0.45, 0.55)), 0: ((1, 2, 3), (0.3, 0.3, 0.4))}


@dataclass(frozen=True)
class Draw:
    """N responses of a simulated product with what was recorded and what is true.

    Args:
        world, seed: what it was drawn from.
        response_id: id of each response. Length N.
        prompt, response: texts. Length N.
        request: number of the request whose candidates were shown together. Shape [N].
        slot, n_slots: position 1.. within the request, and how many there were. Shape [N].
        user, session, turn: who, in which visit, at which turn of it. Shape [N].
        model, surface: index into `words.MODELS` and `words.SURFACES`. Shape [N].
        policy_prob: probability with which the product showed this model. Shape [N].
        shown_at: microseconds after `START`. Shape [N].
        offered: was the kind offered, a column for each of `KINDS`. Shape [N, 4].
        observed: was anything recorded. Shape [N, 4].
        positive: was the recorded label 1, or did the one-sided kind happen. Shape [N, 4].
        stars: recorded stars 1 to 5, 0 where none. Shape [N].
        delay: microseconds from the response to its feedback, 0 where none. Shape [N, 4].
        quality, tone, spurious: z(x), the tone and the spurious factor. Shape [N].
        label: the truth r. Shape [N].
        p1, p0: P(feedback | x, r = 1), P(feedback | x, r = 0); 0 where not offered. Shape [N, 4].
        fnr, fpr: error rates of the record. Shape [N, 4].
        capped: entries whose selection weight passed 1 and was set to 1.
    """

    world: World
    seed: int
    response_id: list[str] = field(repr=False)
    prompt: list[str] = field(repr=False)
    response: list[str] = field(repr=False)
    request: Ints
    slot: Ints
    n_slots: Ints
    user: Ints
    session: Ints
    turn: Ints
    model: Ints
    surface: Ints
    policy_prob: Floats
    shown_at: Ints
    offered: Bools
    observed: Bools
    positive: Bools
    stars: Ints
    delay: Ints
    quality: Floats
    tone: Floats
    spurious: Floats
    label: Ints
    p1: Floats
    p0: Floats
    fnr: Floats
    fpr: Floats
    capped: int

    def __len__(self) -> int:
        return len(self.response_id)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the columns of `offered`, `observed`, `positive`, `p1`, `p0`, `fnr` and `fpr`."""
        return KINDS

    @property
    def probability(self) -> Floats:
        """P(r = 1 | x) = sigmoid(quality). Shape [N]."""
        return np.asarray(0.5 * (1 + np.tanh(0.5 * self.quality)))

    @property
    def propensity(self) -> Floats:
        """P(feedback | x, r) at the true r of each response: what inverse weighting needs. Shape [N, 4]."""
        return np.where(self.label[:, None] == 1, self.p1, self.p0)


def draw(world: World = World(), n: int = 16_000, seed: int = 0) -> Draw:  # noqa: B008 (frozen)
    """Draw a product log with its truth.

    Texts and true labels depend on `n` and `seed` alone, so that worlds can be compared on the same texts.

    Args:
        world: the world.
        n: number of responses, at least 1.
        seed: seed of every random choice.

    Raises:
        ValueError: `n` is not positive.

    Example:
        >>> drawn = draw(n=100)
        >>> drawn.offered.shape
        (100, 4)
    """
    if n < 1:
        raise ValueError(f"n is {n}; at least one response is needed")
    shape, wording, truth, deeds = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)
    )
    # Requests, and the visits of users they belong to.
    sizes = shape.choice((2, 3, 4), n, p=(0.8, 0.12, 0.08))
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), n)) + 1]
    sizes[-1] -= sizes.sum() - n
    request = np.repeat(np.arange(len(sizes)), sizes)
    slot = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
    visit, turn, user, time = _visits(len(sizes), world.days, shape)
    shares = np.array([share for share, _ in words.SURFACES.values()])
    surface = shape.choice(len(shares), len(sizes), p=shares)
    # What is asked and answered.
    topic = wording.integers(0, text.topics(), len(sizes))
    prompts = text.prompts(topic, wording)
    model, skill = skilled(n, wording)
    plan = text.plan(topic[request], skill, wording)
    quality, tone, spurious = plan.quality(), plan.tone(), factor(world, plan)
    label = (truth.random(n) < 0.5 * (1 + np.tanh(0.5 * quality))).astype(np.int64)
    # Feedback.
    habit = deeds.standard_normal(int(user.max()) + 1)[user][request]
    chance = chances(world, quality, tone, slot, habit, spurious)
    offered = np.array([[kind in kinds for kind in KINDS] for _, kinds in words.SURFACES.values()])
    offered = offered[surface[request]]
    p1, p0 = chance.p1 * offered, chance.p0 * offered
    observed = deeds.random((n, 4)) < np.where(label[:, None] == 1, p1, p0)
    recorded = deeds.random((n, 4)) < np.where(label[:, None] == 1, 1 - chance.fnr, chance.fpr)
    one_sided = np.array([kind in ("copy", "regenerate") for kind in KINDS])
    positive = observed & (recorded | one_sided)
    rating = KINDS.index("rating")
    stars = np.where(positive[:, rating], _stars(1, n, deeds), _stars(0, n, deeds))
    return Draw(
        world=world,
        seed=seed,
        response_id=[f"r{number:08d}" for number in range(n)],
        prompt=[prompts[number] for number in request.tolist()],
        response=text.responses(plan),
        request=request,
        slot=slot,
        n_slots=sizes[request],
        user=user[request],
        session=visit[request],
        turn=turn[request],
        model=model,
        surface=surface[request],
        policy_prob=np.array([share for share, _ in words.MODELS.values()])[model],
        shown_at=time[request],
        offered=offered,
        observed=observed,
        positive=positive,
        stars=np.where(observed[:, rating], stars, 0),
        delay=np.where(observed, _delays(n, deeds), 0),
        quality=quality,
        tone=tone,
        spurious=spurious,
        label=label,
        p1=p1,
        p0=p0,
        fnr=chance.fnr,
        fpr=chance.fpr,
        capped=chance.capped,
    )


def _visits(requests: int, days: float, rng: np.random.Generator) -> tuple[Ints, Ints, Ints, Ints]:
    """(visit, turn, user, time) of each request: visits of one to four requests, few users visiting often."""
    lengths = np.minimum(rng.geometric(0.5, requests), 4)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), requests)) + 1]
    visit = np.repeat(np.arange(len(lengths)), lengths)[:requests]
    turn = np.arange(requests) - (np.cumsum(lengths) - lengths)[visit]
    users = max(10, requests // 12)
    often = rng.gamma(0.7, size=users) + 0.02
    user = rng.choice(users, len(lengths), p=often / often.sum())
    bulk = days - TAIL_DAYS
    tail = rng.random(len(lengths)) < TAIL_SHARE
    start = np.where(tail, bulk + TAIL_DAYS * rng.random(len(lengths)), bulk * rng.random(len(lengths)))
    gap = rng.integers(20_000_000, 600_000_000, requests)
    gap[turn == 0] = 0
    first = np.flatnonzero(turn == 0)
    elapsed = np.cumsum(gap) - np.repeat(np.cumsum(gap)[first], np.diff(np.append(first, requests)))
    return visit, turn, user[visit], (start[visit] * DAY).astype(np.int64) + elapsed


def _delays(n: int, rng: np.random.Generator) -> Ints:
    """Microseconds until feedback: exponential, cut at 6.5 days; ratings answer a survey a day later."""
    mean = np.array([120e6, 1.0 * DAY, 60e6, 40e6])
    cut = 1 - np.exp(-6.5 * DAY / mean)
    return np.asarray(1 - mean * np.log1p(-cut * rng.random((n, 4)))).astype(np.int64)


def _stars(recorded: int, n: int, rng: np.random.Generator) -> Ints:
    """Stars that say the recorded label: 4 or 5, or 1 to 3."""
    values, shares = _STARS[recorded]
    return rng.choice(values, n, p=shares)
