"""Shares and their uncertainty: Wilson intervals, beta priors, and what gold labels say behind each record.

Gold rows are few and often chosen unequally, while the record of every response is known. So the share of
liked responses is estimated *within* each record s (up, down, silent; happened, not happened), and the log
itself says how often each record occurs:

    theta_s = P(liked | record s)   from the gold rows with that record
    share(A | B, c) = sum_{s in A} n_s theta_s^c / sum_{s in B} n_s theta_s^c
    theta^1 = theta,   theta^0 = 1 - theta

Flip rates, class propensities and base rates are all such ratios. Assumption: within a record, gold rows were
chosen at random or with the probabilities that are given.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Interval = tuple[float, float]

Z = 1.959963984540054
"""Normal quantile of a 95 % interval."""

NO_GOLD, RANDOM, STRATIFIED = 0, 1, 2
"""How a gold row was chosen."""


def mean_interval(values: Floats) -> dict[str, float]:
    """Mean with its 95 % interval, +- Z s / sqrt(n); values that are not finite are left out.

    Args:
        values: independent draws, at least one of them finite. Shape [N].
    """
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    mean, half = float(x.mean()), Z * float(x.std(ddof=min(1, len(x) - 1))) / math.sqrt(len(x))
    return {"value": mean, "low": mean - half, "high": mean + half}


def wilson(share: float, n: float, z: float = Z) -> Interval:
    """Wilson's interval of a share seen in n trials; n may be an effective number.

        (p + z^2 / 2n  +-  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Args:
        share: in [0, 1].
        n: number of trials, >= 0; with none the interval is (0, 1).
        z: normal quantile, 1.96 for 95 %.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927).

    Example:
        >>> low, high = wilson(0.5, 100)
        >>> round(low, 4), round(high, 4)
        (0.4038, 0.5962)
    """
    if n <= 0:
        return 0.0, 1.0
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def binomial_tail(k: int, n: int, p: float) -> float:
    """P(X >= k) of a binomial X, summed exactly: sum over j >= k of C(n, j) p^j (1 - p)^(n - j).

    Args:
        k: least number of successes.
        n: trials, >= 0.
        p: chance of each, in [0, 1].

    Example:
        >>> round(binomial_tail(2, 3, 0.5), 4)
        0.5
    """
    if k <= 0:
        return 1.0
    if k > n or p <= 0:
        return 0.0
    if p >= 1:
        return 1.0
    j = np.arange(k, n + 1, dtype=np.float64)
    ways = math.lgamma(n + 1) - _log_gamma(j + 1) - _log_gamma(n - j + 1)
    return min(1.0, float(np.exp(ways + j * math.log(p) + (n - j) * math.log1p(-p)).sum()))


@dataclass(frozen=True)
class Share:
    """A share with the variance of its estimate.

    Args:
        value: the share, in [0, 1].
        variance: of the estimate, >= 0; 0 when the share is known.
    """

    value: float
    variance: float

    @property
    def n(self) -> float:
        """Trials that would give this variance; infinite when the share is known."""
        spread = self.value * (1 - self.value)
        return spread / self.variance if self.variance > 0 else math.inf

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval at the effective number of trials."""
        if self.variance <= 0:
            return self.value, self.value
        return wilson(self.value, self.n)


@dataclass(frozen=True)
class Liked:
    """P(liked | record) for each of R records of one kind of feedback.

    Args:
        rows: how often each record occurs in the log. Shape [R].
        share: P(liked | record), Jeffreys' prior included. Shape [R], in (0, 1).
        variance: of the share. Shape [R].
        n: effective gold rows with each record. Shape [R].
    """

    rows: Floats
    share: Floats
    variance: Floats
    n: Floats

    @classmethod
    def of(cls, record: Ints, records: int, gold: Floats, design: Ints, prob: Floats) -> "Liked":
        """Estimate from gold.

        Args:
            record: record of each response, 0 to R - 1, or -1 to leave it out. Shape [N].
            records: R.
            gold: true label in [0, 1], NaN where there is none. Shape [N].
            design: `RANDOM` or `STRATIFIED` where there is gold. Shape [N].
            prob: probability with which a stratified row was chosen. Shape [N].
        """
        rows, share, variance, size = (np.zeros(records) for _ in range(4))
        labelled = ~np.isnan(gold)
        for number in range(records):
            here = record == number
            rows[number] = here.sum()
            found = here & labelled
            weight = design_weight(design[found], prob[found])
            n = effective(weight)
            liked = n * float(weight @ gold[found]) / weight.sum() if n else 0.0
            share[number] = (liked + 0.5) / (n + 1)
            variance[number] = share[number] * (1 - share[number]) / (n + 2)
            size[number] = n
        return cls(rows, share, variance, size)

    def ratio(self, part: Bools, whole: Bools, liked: bool) -> Share:
        """Share of the records `part` among the records `whole`, in the liked or the disliked class.

        The variance counts both the gold rows (delta method) and how often each record occurs.

        Args:
            part: records of the numerator, a subset of `whole`. Shape [R].
            whole: records of the denominator. Shape [R].
            liked: the class.
        """
        value, by_share, by_rows = self._slopes(part, whole, liked)
        return Share(value, float(by_share**2 @ self.variance + by_rows**2 @ self.rows))

    def covariance(self, *ratios: tuple[Bools, Bools, bool]) -> Floats:
        """Covariance of several `ratio`s. Shape [len(ratios), len(ratios)]."""
        slopes = [self._slopes(*ratio)[1:] for ratio in ratios]
        by_share, by_rows = (np.stack(parts) for parts in zip(*slopes, strict=True))
        return np.asarray((by_share * self.variance) @ by_share.T + (by_rows * self.rows) @ by_rows.T)

    def _slopes(self, part: Bools, whole: Bools, liked: bool) -> tuple[float, Floats, Floats]:
        """The ratio and its derivatives by theta_s and by n_s."""
        share = self.share if liked else 1 - self.share
        total = float((self.rows * share)[whole].sum())
        if total == 0:
            return 0.5, np.full(len(share), 0.5), np.zeros(len(share))
        value = float((self.rows * share)[part].sum()) / total
        slope = (part - value * whole) / total
        return value, slope * self.rows * (1 if liked else -1), slope * share

    def base_rate(self) -> Share:
        """P(liked) over all records."""
        total = self.rows.sum()
        if total == 0:
            return Share(0.5, 0.25)
        value = float(self.rows @ self.share / total)
        spread = (self.rows / total) ** 2 @ self.variance + self.rows @ (self.share - value) ** 2 / total**2
        return Share(value, float(spread))


def effective(weight: Floats) -> float:
    """Effective number of rows of Kish, (sum w)^2 / sum w^2; 0 without weight."""
    square = float(weight @ weight)
    return float(weight.sum()) ** 2 / square if square > 0 else 0.0


def design_weight(design: NDArray[Any], prob: Floats) -> Floats:
    """Weights that let random and stratified gold rows speak for one population.

    Within each part 1 / prob (random rows: equal), each part scaled to its own effective size, so that the
    part whose weights are even counts for more. Any fixed mix of the parts is consistent. Shape [G].

    Args:
        design: `RANDOM` or `STRATIFIED`. Shape [G].
        prob: probability with which a stratified row was chosen, in (0, 1]. Shape [G].

    Raises:
        ValueError: a stratified row has no probability.
    """
    weight = np.ones(len(design))
    stratified = design == STRATIFIED
    chance = np.asarray(prob, np.float64)[stratified]
    bad = np.flatnonzero(~((chance > 0) & (chance <= 1)))
    if bad.size:
        raise ValueError(
            f"prob of stratified gold row {np.flatnonzero(stratified)[bad[0]]} is {chance[bad[0]]}; it must "
            "be in (0, 1]: the probability with which the row was chosen for labelling"
        )
    if stratified.any():
        inverse = 1 / chance
        weight[stratified] = inverse * effective(inverse) / inverse.sum()
    return weight


def beta_strength(successes: Floats, trials: Floats, mean: Floats | float) -> float:
    """Strength s of the prior Beta(s mean, s (1 - mean)) that makes the counts most likely.

    Marginal likelihood of the beta-binomial, maximised over s in [.5, 10^5] on a grid of the logarithm that
    is refined once. Small s: cells differ, each keeps its own rate; large s: all share the mean.

    Args:
        successes: count of each cell. Shape [C].
        trials: of them, out of how many. Shape [C].
        mean: mean of the prior, one number or one a cell, in (0, 1).

    Source: empirical Bayes for binomial rates; Kleinman, "Proportions with Extraneous Variance" (1973).
    """
    pairs, times = np.unique(
        np.stack([successes, trials, np.broadcast_to(mean, trials.shape)]), axis=1, return_counts=True
    )
    k, n, m = pairs

    def likelihood(log_strength: float) -> float:
        a = np.exp(log_strength) * m
        b = np.exp(log_strength) - a
        value = _log_gamma(k + a) - _log_gamma(a) + _log_gamma(n - k + b) - _log_gamma(b)
        return float((value - _log_gamma(n + a + b) + _log_gamma(a + b)) @ times)

    low, high = math.log(0.5), math.log(1e5)
    for _ in range(2):
        grid = np.linspace(low, high, 25)
        best = int(np.argmax([likelihood(point) for point in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 24)]
    return float(np.exp(grid[best]))


_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])
