"""Which responses are worth a gold label: a random part and a part stratified by kind and recorded label.

The random part (base rate, class propensities, evaluation) is drawn first; the stratified part (error
rates) comes from the rest, so no response is labelled twice. Weighting by 1 / prob makes either part
represent the log.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unskew.simulate.sample import Draw
from unskew.simulate.world import KINDS

STRATA = ("thumbs up", "thumbs down", "rating up", "rating down", "copy", "regenerate", "silent")
"""A response falls into the first that applies."""

_SHARES = np.array([2.0, 2.0, 1.0, 1.5, 1.0, 1.0, 1.5])


@dataclass(frozen=True)
class Gold:
    """Responses chosen for a gold label.

    Args:
        row: position in the draw. Shape [G].
        stratified: part of the design that chose it; the others are random. Shape [G].
        prob: probability with which it was chosen by that part. Shape [G], in (0, 1].
    """

    row: NDArray[np.int64]
    stratified: NDArray[np.bool_]
    prob: NDArray[np.float64]


def strata(drawn: Draw) -> NDArray[np.int64]:
    """Index into `STRATA` of each response. Shape [N]."""
    thumbs, rating, copy, regenerate = (KINDS.index(kind) for kind in KINDS)
    seen, up = drawn.observed, drawn.positive
    return np.select(
        [
            seen[:, thumbs] & up[:, thumbs],
            seen[:, thumbs],
            seen[:, rating] & up[:, rating],
            seen[:, rating],
            seen[:, copy],
            seen[:, regenerate],
        ],
        list(range(6)),
        6,
    )


def choose(drawn: Draw, stratified: int = 400, random: int = 200, seed: int = 0) -> Gold:
    """Choose the rows of a two-part gold set.

    Args:
        drawn: the log.
        stratified: rows of the stratified part, at least 0.
        random: rows of the random part, at least 0.
        seed: seed of the choice.

    Raises:
        ValueError: more rows are asked for than there are responses.
    """
    n = len(drawn)
    if stratified < 0 or random < 0 or stratified + random > n:
        raise ValueError(f"gold is ({stratified}, {random}); two counts that sum to at most {n} are needed")
    rng = np.random.default_rng([seed, 7])
    order = rng.permutation(n)
    rows, probs = [order[:random]], [np.full(random, random / n)]
    rest = order[random:]
    stratum = strata(drawn)[rest]
    sizes = np.bincount(stratum, minlength=len(STRATA))
    for number, quota in enumerate(_quotas(sizes, stratified)):
        rows.append(rest[stratum == number][:quota])
        probs.append(np.full(quota, (1 - random / n) * quota / max(sizes[number], 1)))
    return Gold(
        row=np.concatenate(rows),
        stratified=np.arange(random + stratified) >= random,
        prob=np.concatenate(probs),
    )


def _quotas(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Rows of each stratum: near its share, at most its size, `total` in all."""
    quota = np.zeros(len(sizes), np.int64)
    while quota.sum() < total:
        room = np.where(sizes > quota, _SHARES, 0.0)
        wanted = np.floor((total - quota.sum()) * room / room.sum()).astype(np.int64)
        if not wanted.any():
            wanted[int(np.argmax(room))] = 1
        quota = np.minimum(quota + wanted, sizes)
    return quota
