"""Logs of the nine worlds with twenty features in place of texts, as those of the design had.

    x ~ N(0, I)     quality   z = SPREAD f(x), f linear in 19 features with a little of their products, s.d. 1
                    tone      the last feature; it has nothing to do with quality

Who answers and who errs is drawn from the probabilities of `unskew.simulate`. Thumbs, copies and
regenerations are offered everywhere, in one slot; every window is closed. Two responses share a prompt,
twelve a user.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unskew import simulate
from unskew.data import RANDOM, Choices, Examples
from unskew.estimators import CAP
from unskew.events import KIND
from unskew.simulate.world import SPREAD, chances

Floats = NDArray[np.float64]

FEATURES = 20
OFFERED = ("thumbs", "copy", "regenerate")


@dataclass(frozen=True)
class Smooth:
    """A log and what nobody sees.

    Args:
        rows: the log, without gold.
        X: features. Shape [N, 20].
        quality: z. Shape [N].
        truth: true labels. Shape [N].
        d: log-likelihood ratio of everything recorded, by the true probabilities. Shape [N].
        rates: true error rates of thumbs.
    """

    rows: Examples
    X: NDArray[np.float32]
    quality: Floats
    truth: Floats
    d: Floats
    rates: dict[str, float]


def draw(world: simulate.World, n: int, seed: int) -> Smooth:
    """The log of one seed."""
    rng = np.random.default_rng((20, seed))
    X = rng.standard_normal((n, FEATURES))
    quality, tone = SPREAD * _shape(X), X[:, -1]
    user = rng.integers(0, n // 12, n)
    habit = rng.standard_normal(n // 12)[user]
    truth = rng.random(n) < 1 / (1 + np.exp(-quality))
    given = chances(world, quality, tone, np.ones(n, int), habit, np.zeros(n))
    at = [simulate.KINDS.index(name) for name in OFFERED]
    p1, p0, fnr, fpr = (part[:, at] for part in (given.p1, given.p0, given.fnr, given.fpr))
    happened = rng.random((n, len(at))) < np.where(truth[:, None], p1, p0)
    flip = rng.random((n, len(at))) < np.where(truth[:, None], fnr, fpr)
    positive = happened & (truth[:, None] ^ flip)
    positive[:, 1:] = happened[:, 1:]  # of one-sided kinds: that it happened
    silence = np.log1p(-p1) - np.log1p(-p0)
    liked = np.where(positive, np.log1p(-fnr) - np.log(np.maximum(fpr, 1e-9)), 0.0)
    liked = np.where(happened & ~positive, np.log(np.maximum(fnr, 1e-9)) - np.log1p(-fpr), liked)
    liked[:, 1:] = 0.0
    d = np.where(happened, np.log(p1) - np.log(p0) + liked, silence).sum(1)
    nan, every = np.full(n, np.nan), np.ones((n, len(at)), bool)
    rows = Examples(
        row=np.arange(n),
        response_id=[str(row) for row in range(n)],
        prompt_hash=np.arange(n).astype(np.uint64) // 2,
        group=np.arange(n) // 2,
        user=user.astype(np.uint64) + 1,
        kinds=tuple(KIND[name] for name in OFFERED),
        offered=every,
        closed=every,
        observed=happened,
        positive=positive,
        cell=np.zeros(n, np.uint32),
        policy_prob=nan,
        gold=nan,
        gold_design=np.zeros(n, np.int8),
        gold_prob=nan,
    )
    rates = {"fnr": world.thumbs.fnr, "fpr": world.thumbs.fpr}
    return Smooth(rows, X.astype(np.float32), quality, truth.astype(np.float64), np.clip(d, -CAP, CAP), rates)


DECIDES = ("another look", "a coin", "a fresh look")
"""How people choose where both are liked, or neither: Bradley and Terry, a coin; or always the first."""


def chosen(drawn: Smooth, decides: str, seed: int, rates: tuple[float, float], share: float = 0.5) -> Choices:
    """Choices of a share of all prompts between their two responses.

    Args:
        drawn: the log.
        decides: one of `DECIDES`.
        seed: seed of the choices.
        rates: how often B is chosen though A is better, and A though B is.
        share: of the prompts.
    """
    rng = np.random.default_rng((23, seed))
    a = np.arange(0, len(drawn.truth), 2)
    b, n = a + 1, len(a)
    look = rng.random(n) < (
        0.5 if decides == "a coin" else 1 / (1 + np.exp(drawn.quality[b] - drawn.quality[a]))
    )
    differ = (drawn.truth[a] != drawn.truth[b]) & (decides != "a fresh look")
    first = np.where(differ, drawn.truth[a] > 0, look)
    label = (rng.random(n) < np.where(first, 1 - rates[0], rates[1])).astype(np.float64)
    label[rng.random(n) >= share] = np.nan
    nan = np.full(n, np.nan)
    return Choices(a, b, label, np.ones(n, bool), nan, np.zeros(n, np.int8), nan)


def _shape(X: Floats) -> Floats:
    """Quality of each row before it is scaled: mean 0, s.d. 1 over all rows. Shape [N]."""
    weights = np.random.default_rng(5).standard_normal(FEATURES - 1)
    linear = X[:, :-1] @ (weights / np.linalg.norm(weights))
    return np.asarray((linear + 0.2 * (X[:, 0] * X[:, 1] + X[:, 2] * X[:, 3])) / np.sqrt(1.08))


def labelled(drawn: Smooth, size: int, seed: int) -> Examples:
    """The log with the true labels of `size` rows drawn at random."""
    gold = np.full(len(drawn.truth), np.nan)
    picked = np.random.default_rng((21, seed)).permutation(len(gold))[:size]
    gold[picked] = drawn.truth[picked]
    known = ~np.isnan(gold)
    design = np.where(known, RANDOM, 0).astype(np.int8)
    return replace(
        drawn.rows, gold=gold, gold_design=design, gold_prob=np.where(known, size / len(gold), np.nan)
    )
