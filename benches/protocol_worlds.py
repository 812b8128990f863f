"""The published protocol: who speaks, who errs, and the two sources of features it is played on.

    reward      a fixed non-linear function of 8 projections, plus noise of s.d. .3; levels 0 to 3 between its
                30th, 50th and 80th percentile; liked when the level is 2 or 3
    features    p = k alpha^(4 (1 - rank of the reward without noise)), so feedback follows what features show
    label       p = k alpha^(4 (1 - level / 3)), the published one: feedback follows the hidden level
    k           such that a fifth of the rows is observed, p cut at 1
    flips       fnr and fpr, on observed rows

Rows come in pairs that share a prompt, which has half of their variance. Real text has the same reward of the
first 64 principal components of its embeddings.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from benches.baselines import Logged
from benches.baselines.loop import propensity
from numpy.typing import NDArray

from unskew.data import NO_GOLD, RANDOM, STRATIFIED

Array = NDArray[Any]

SHARE, NOISE, COMPONENTS, PROJECTIONS = 0.2, 0.3, 64, 8
CUTS = (0.3, 0.5, 0.8)


class Cell(NamedTuple):
    """One setting of the protocol."""

    fnr: float
    fpr: float
    selection: str
    alpha: float

    def __str__(self) -> str:
        return f"{self.selection} {self.alpha:g}, {self.fnr:g}/{self.fpr:g}"


CELLS = tuple(
    Cell(fnr, fpr, selection, alpha)
    for fnr, fpr in ((0.2, 0.1), (0.1, 0.2))
    for selection in ("features", "label")
    for alpha in (0.5, 0.2)
)


@dataclass(frozen=True)
class Drawn:
    """A log and what nobody sees.

    Args:
        log: rows to learn from, with fitted propensities. N rows.
        truth: their true labels. Shape [N].
        X, label: features and true labels of other prompts. Shape [M, d], [M].
    """

    log: Logged
    truth: Array
    X: Array
    label: Array


class World(NamedTuple):
    """What logs are drawn from.

    Args:
        rows: rows to learn from.
        test: rows to test on.
        embedded: file of embeddings `X` and prompt codes `group`; normal features when absent.
    """

    rows: int
    test: int
    embedded: str | None = None


class Source(NamedTuple):
    """Features, prompts and rewards without noise of rows to learn from, then of rows to test on.

    Args:
        X: features. Shape [N + M, d].
        reward: mean 0, s.d. 1. Shape [N + M].
        group: code of the prompt. Shape [N + M].
        rows: N.
    """

    X: Array
    reward: Array
    group: Array
    rows: int


def teacher(u: Array) -> Array:
    """The reward of coordinates of s.d. 1: tanh network, interaction, kink and sine. [N, D] -> [N]."""
    rng = np.random.default_rng(7)
    axes = np.linalg.qr(rng.standard_normal((u.shape[1], PROJECTIONS)))[0]
    v = u @ axes
    hidden = np.tanh(v @ rng.standard_normal((PROJECTIONS, 12)) * 0.7)
    value = hidden @ rng.standard_normal(12) * 0.4
    value = value + 0.5 * v[:, 1] * v[:, 2] + 0.5 * np.abs(v[:, 3]) + 0.5 * np.sin(2 * v[:, 4])
    return np.asarray((value - value.mean()) / value.std())


def synthetic(rows: int, test: int, seed: int) -> Source:
    """Normal features, two rows a prompt."""
    rng = np.random.default_rng((1, seed))
    prompts = (rows + test) // 2
    shared = np.repeat(rng.standard_normal((prompts, COMPONENTS)), 2, axis=0)
    X = np.sqrt(0.5) * (shared + rng.standard_normal((2 * prompts, COMPONENTS)))
    return Source(X.astype(np.float32), teacher(X), np.repeat(np.arange(prompts), 2), rows // 2 * 2)


def texts(embedded: Array, group: Array, rows: int, seed: int) -> Source:
    """Real embeddings, prompts shuffled; about `rows` rows to learn from, the others to test on."""
    X = (embedded - embedded.mean(0)) / embedded.std(0).clip(1e-6)
    left = np.linalg.svd(X, full_matrices=False)[0]
    found = teacher(left[:, :COMPONENTS] * np.sqrt(len(X)))
    code = np.unique(group, return_inverse=True)[1]
    place = np.random.default_rng((2, seed)).permutation(int(code.max()) + 1)[code]
    order = np.argsort(place, kind="stable")
    place = place[order]
    whole = int(np.searchsorted(place, place[rows]))  # the last prompt is not parted
    return Source(X[order].astype(np.float32), found[order], place, whole)


@lru_cache(maxsize=1)
def draw(world: World, cell: Cell, seed: int) -> Drawn:
    """Levels, feedback and flips of one seed, with propensities fitted to what is seen."""
    if world.embedded is None:
        source = synthetic(world.rows, world.test, seed)
    else:
        kept = np.load(world.embedded)
        source = texts(kept["X"], kept["group"], min(world.rows, int(0.7 * len(kept["X"]))), seed)
    rng = np.random.default_rng((3, seed))
    noisy = source.reward + NOISE * rng.standard_normal(len(source.reward))
    level = np.searchsorted(np.quantile(noisy, CUTS), noisy, side="right")
    liked = level >= 2
    inside = slice(0, source.rows)
    if cell.selection == "features":
        height = np.argsort(np.argsort(source.reward[inside])) / source.rows
    else:
        height = level[inside] / 3
    p = scaled(cell.alpha ** (4 * (1 - height)))
    observed = rng.random(source.rows) < p
    truth = liked[inside]
    flipped = rng.random(source.rows) < np.where(truth, cell.fnr, cell.fpr)
    recorded = np.where(observed, truth ^ flipped, False).astype(np.float64)
    log = Logged(source.X[inside], recorded, observed, source.group[inside], seed=seed)
    log = replace(log, p=propensity(log))
    return Drawn(log, truth, source.X[source.rows :], liked[source.rows :].astype(np.float64))


def scaled(shape: Array) -> Array:
    """k shape, cut at 1, with mean `SHARE`; k by bisection."""
    low, high = 0.0, 1 / float(shape.min())
    for _ in range(100):
        k = (low + high) / 2
        low, high = (low, k) if np.minimum(k * shape, 1).mean() > SHARE else (k, high)
    return np.minimum(low * shape, 1.0)


class Gold(NamedTuple):
    """Gold labels of a log, NaN where there is none, and how rows were chosen. Shape [N] each."""

    label: Array
    design: Array
    prob: Array


def gold_of(drawn: Drawn, random: int, stratified: int) -> Gold:
    """Gold labels: `random` rows of all, then `stratified` observed rows, half of them of each record."""
    rng = np.random.default_rng((4, drawn.log.seed))
    n = len(drawn.truth)
    label, design, prob = np.full(n, np.nan), np.full(n, NO_GOLD, np.int8), np.full(n, np.nan)

    def take(rows: Array, size: int, how: int) -> None:
        picked = rng.permutation(rows)[:size]
        label[picked], design[picked] = drawn.truth[picked], how
        prob[picked] = len(picked) / max(len(rows), 1)

    take(np.arange(n), random, RANDOM)
    for record in (0, 1):
        free = drawn.log.observed & (drawn.log.y == record) & np.isnan(label)
        take(np.flatnonzero(free), stratified // 2, STRATIFIED)
    return Gold(label, design, prob)
