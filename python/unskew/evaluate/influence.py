"""Metrics from a log with intervals that know how the error rates were found.

A metric v is a function of the columns (a, b). One row moves it by its influence, one rate by its slope:

    psi_i = a_i dv/da_i + b_i dv/db_i                       sums to 0: only ratios of weights matter
    g     = sum_i dv/da_i da_i/drate + dv/db_i db_i/drate   rate = (fnr, fpr)
    Var v = G / (G - 1) sum over clusters (sum of psi)^2 + g' Cov(fnr, fpr) g

With the corrected label t = (label - fpr) / D, D = 1 - fnr - fpr, every estimator is linear in t, and

    dt/dfnr = t / D,   dt/dfpr = (t - 1) / D

The second term of the variance is the delta method. It does not shrink with the log, only with the gold
labels behind the rates: a long log with rates from 200 gold labels is not known better than they are.

Rates from gold *on these rows* (`noise.from_gold`) also hold n_1 and n_0, how often 1 and 0 were recorded,
and so share part of their error with the metric. Each row moves them by

    record 1: (-fnr (1 - fnr), fpr (1 - fpr)) / n_1       record 0: (fnr (1 - fnr), -fpr (1 - fpr)) / n_0

which, times g, joins psi, while Cov keeps what gold alone adds. Without that the interval is too wide.

With s the prediction, l = b the liked and d = a - b the disliked weight of a row, L and M their sums,

    sum (h a + k b) / sum a   dv/da = (h - v) / sum a,     dv/db = k / sum a         (`rows.linear`)
    auc                       dv/dl = H / LM - v / L,      H = d ranked below the row, ties half
                              dv/dd = G / LM - v / M,      G = l ranked above the row, ties half
    r2                        by the chain rule from brier and mean_truth

Source: Hampel, "The Influence Curve and its Role in Robust Estimation" (1974); sums of clusters: Liang and
Zeger, "Longitudinal Data Analysis Using Generalized Linear Models" (1986).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators import Columns
from unskew.evaluate.metrics import Result
from unskew.evaluate.rows import Rows
from unskew.noise import Noise
from unskew.rates import Floats, Ints, Z

LOG_METRICS = ("auc", "accuracy", "brier", "log_loss", "r2", "mean_prediction", "mean_truth", "mean_error")
"""Names of what `log_metrics` and `log_compare` return."""


@dataclass(frozen=True, eq=False)
class Log:
    """Columns of a log, and how they move with the error rates; made by `Log.of`.

    Args:
        a: weight at the estimated rates. Shape [N].
        b: weighted corrected label at the estimated rates. Shape [N].
        slope_a: derivative of a by (fnr, fpr) of the row's kind. Shape [N, 2].
        slope_b: derivative of b. Shape [N, 2].
        by_row: what each row adds to the error of (fnr, fpr) of its kind; 0 when they come from elsewhere.
            Shape [N, 2].
        covariance: of the rates of each kind, less what `by_row` explains. Shape [K, 2, 2].
        noise: rates of each of K kinds of feedback.
        kind: number of each row's kind. Shape [N], in [0, K).
    """

    a: Floats
    b: Floats
    slope_a: Floats
    slope_b: Floats
    by_row: Floats
    covariance: Floats
    noise: tuple[Noise, ...]
    kind: Ints

    @classmethod
    def of(
        cls,
        estimator: Callable[[Any, Any], Columns],
        noise: Noise | Sequence[Noise],
        *,
        kind: ArrayLike | None = None,
        record: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> "Log":
        """Columns of an estimator whose only open arguments are the error rates.

        D a and D b are affine in the rates, so three more calls of the estimator give their exact slopes.

        Args:
            estimator: called as estimator(fnr, fpr), each of shape [N] when `kind` is given and a number
                otherwise; for instance `partial(estimators.ips, label, observed, propensity)`.
            noise: rates of the one kind of feedback, or of each kind (channel, surface).
            kind: number of the row's kind, when there are several. Shape [N].
            record: recorded label and observed of each row, when the rates come from gold on these rows
                (`noise.from_gold` of the same label and observed). Two of shape [N].

        Raises:
            ValueError: a shape or a value is not as described, the columns are not linear in the corrected
                label, or the rates cannot come from these rows.
            NoiseRefused: rates that leave too little to divide by.

        Example:
            >>> from functools import partial
            >>> from unskew import estimators, noise
            >>> ips = partial(estimators.ips, [1, 0, 1, 0], [1, 1, 1, 0], [0.5, 0.5, 1, 1])
            >>> log = Log.of(ips, noise.known(0.1, 0.2, sd=(0.02, 0.03)))
            >>> found = log_metrics([0.9, 0.2, 0.4, 0.6], log)
            >>> round(found["accuracy"]["value"], 3)
            0.943
        """
        rates = (noise,) if isinstance(noise, Noise) else tuple(noise)
        if len(rates) != 1 and kind is None:
            raise ValueError(f"noise has the rates of {len(rates)} kinds; `kind` must say which each row has")
        for rate in rates:
            rate.checked()
        fnr, fpr = (np.array([getattr(rate, name) for rate in rates]) for name in ("fnr", "fpr"))
        if kind is None:
            now = _floats(estimator(float(fnr[0]), float(fpr[0])))
            number = np.zeros(now.shape[1], np.int64)
        else:
            number = np.asarray(kind, np.int64)
            if number.ndim != 1 or ((number < 0) | (number >= len(rates))).any():
                raise ValueError(
                    f"kind has shape {number.shape} and values from {number.min()} to {number.max()}; one "
                    f"number a row in [0, {len(rates)}) is needed"
                )
            now = _floats(estimator(fnr[number], fpr[number]))
        if now.shape[1:] != number.shape:
            raise ValueError(f"the columns have {now.shape[1]} rows, kind {len(number)}; the same is needed")
        clean, miss, false = (_floats(estimator(*at)) for at in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)))
        by_fnr, by_fpr = miss - 2 * clean, false - 2 * clean  # D = 1/2 at both, so D a = a / 2 there
        row_fnr, row_fpr = fnr[number], fpr[number]
        D = 1 - row_fnr - row_fpr
        off = np.abs(clean + row_fnr * by_fnr + row_fpr * by_fpr - D * now)
        if not (off <= 1e-9 * (1 + np.abs(now))).all():
            raise ValueError(
                "the columns of the estimator are not linear in the corrected label, so their slopes by the "
                "rates are unknown; give one of `estimators` with everything but fnr and fpr filled in"
            )
        slope_a, slope_b = np.stack([by_fnr + now, by_fpr + now], axis=-1) / D[None, :, None]
        by_row, covariance = np.zeros(slope_a.shape), np.stack([rate.covariance for rate in rates])
        if record is not None:
            by_row, covariance = _on_these_rows(rates, number, *record)
        return cls(now[0], now[1], slope_a, slope_b, by_row, covariance, rates, number)

    def by_kind(self, by_a: Floats, by_b: Floats) -> Floats:
        """Slope by the rates of each kind of something whose derivatives by a and b these are.

        Args:
            by_a: derivative by a of each row. Shape [N].
            by_b: derivative by b of each row. Shape [N].

        Returns:
            Shape [K, 2].
        """
        moved = by_a[:, None] * self.slope_a + by_b[:, None] * self.slope_b
        return np.stack([np.bincount(self.kind, part, len(self.noise)) for part in moved.T], axis=-1)

    def variance(self, slope: Floats) -> float:
        """Variance that the rates add to something with this slope. Shape of slope [K, 2]."""
        return float(np.einsum("ki,kij,kj", slope, self.covariance, slope))

    def moved(self, influence: Floats, slope: Floats) -> Floats:
        """Influence of each row, also through the rates. Shape [N]."""
        return np.asarray(influence + (self.by_row * slope[self.kind]).sum(1))

    def total(self, influence: Floats, slope: Floats, units: Ints) -> float:
        """Variance of something with this influence and this slope: rows by cluster, and rates."""
        return spread(self.moved(influence, slope), units) + self.variance(slope)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A metric with its derivatives.

    Args:
        value: of the metric.
        by_a: derivative by the weight of each row. Shape [N].
        by_b: derivative by the weighted truth of each row. Shape [N].
        influence: a by_a + b by_b, what each row adds to the error. Shape [N].
    """

    value: float
    by_a: Floats
    by_b: Floats
    influence: Floats

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two metrics of the same rows."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Estimate(*(one - two for one, two in pairs))


def estimates(probability: ArrayLike, a: Floats, b: Floats) -> dict[str, Estimate]:
    """Every metric of `LOG_METRICS` with its derivatives; nan where a class or all weight is missing.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        a: weight. Shape [N].
        b: weighted truth. Shape [N].

    Raises:
        ValueError: a shape or a value is not as described, or the weights do not have a positive sum.
    """
    total = float(np.sum(a))
    if not total > 0:
        raise ValueError(f"the weights of the columns sum to {total:g}; a positive sum is needed")
    rows = Rows.of(probability, a, b, None, None, 1)
    partial: dict[str, tuple[float, Floats, Floats]] = {}
    for name, (h, k) in rows.linear.items():
        value = float(h @ rows.a + k @ rows.b) / total
        partial[name] = value, (h - value) / total, k / total
    partial["auc"] = _auc(rows)
    mean, by_a, by_b = partial["mean_truth"]
    brier, brier_a, brier_b = partial["brier"]
    spread = mean * (1 - mean) if 0 < mean < 1 else np.nan
    tilt = brier * (1 - 2 * mean) / spread**2
    partial["r2"] = 1 - brier / spread, tilt * by_a - brier_a / spread, tilt * by_b - brier_b / spread
    found = {}
    for name in LOG_METRICS:
        value, *sorted_slopes = partial[name]
        by_a, by_b = np.empty(len(a)), np.empty(len(a))
        by_a[rows.order], by_b[rows.order] = sorted_slopes
        found[name] = Estimate(value, by_a, by_b, a * by_a + b * by_b)
    return found


def _auc(rows: Rows) -> tuple[float, Floats, Floats]:
    """AUC and its derivatives by a and b, sorted."""
    liked, disliked = rows.b, rows.a - rows.b
    L, M = float(liked.sum()), float(disliked.sum())
    if L * M == 0:
        return np.nan, np.full(len(liked), np.nan), np.full(len(liked), np.nan)
    H, G = rows.below(disliked), L - rows.below(liked)
    value = float(liked @ H) / (L * M)
    by_liked, by_disliked = H / (L * M) - value / L, G / (L * M) - value / M
    return value, by_disliked, by_liked - by_disliked


def log_metrics(probability: ArrayLike, log: Log, *, cluster: ArrayLike | None = None) -> Result:
    """Metrics against a log, self-normalised, with the uncertainty of the error rates in the intervals.

    Assumption: the estimator behind the log is right (its propensities, and its rates up to their
    covariance), and the model was not trained on these rows. Estimated propensities are taken as known.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        log: of one response a row. N rows.
        cluster: rows with one value count as one draw (user, prompt); each row alone when absent. Shape [N].

    Returns:
        `value`, `low` and `high` by metric; see `LOG_METRICS`.

    Raises:
        ValueError: a shape or a value is not as described, or the weights sum to nothing.

    Source: the module; self-normalised values: Swaminathan and Joachims, "The Self-Normalized Estimator for
    Counterfactual Learning" (2015).
    """
    units = clusters(cluster, len(log.a))
    found: Result = {}
    for name, part in estimates(probability, log.a, log.b).items():
        slope = log.by_kind(part.by_a, part.by_b)
        found[name] = interval(part.value, log.total(part.influence, slope, units))
    return found


def log_compare(first: ArrayLike, second: ArrayLike, log: Log, *, cluster: ArrayLike | None = None) -> Result:
    """Metrics of the first model minus those of the second, from the same log.

    Paired: what a row or a rate does to both models cancels before it is squared.

    Args:
        first: P(liked) by one model. Shape [N], in [0, 1].
        second: P(liked) by the other. Shape [N], in [0, 1].
        log: as in `log_metrics`.
        cluster: as in `log_metrics`.

    Raises:
        ValueError: a shape or a value is not as described, or the weights sum to nothing.
    """
    units = clusters(cluster, len(log.a))
    one, two = (estimates(model, log.a, log.b) for model in (first, second))
    found: Result = {}
    for name in LOG_METRICS:
        gap = one[name] - two[name]
        slope = log.by_kind(gap.by_a, gap.by_b)
        found[name] = interval(gap.value, log.total(gap.influence, slope, units))
    return found


def clusters(cluster: ArrayLike | None, rows: int) -> Ints:
    """Number of the cluster of each row, from 0; every row its own when absent. Shape [N].

    Raises:
        ValueError: the shape differs, or there are fewer than two.
    """
    keys = np.arange(rows) if cluster is None else np.asarray(cluster)
    if keys.shape != (rows,):
        raise ValueError(f"cluster has shape {keys.shape}, the log {rows} rows; one value a row is needed")
    codes = np.unique(keys, return_inverse=True)[1]
    if codes[-1:].size == 0 or codes.max() == 0:
        raise ValueError(f"{rows} rows are 1 cluster or none; an interval needs at least 2 clusters")
    return np.asarray(codes, np.int64)


def spread(influence: Floats, units: Ints) -> float:
    """Variance of a sum of influences over independent clusters: G / (G - 1) sum (total of a cluster)^2."""
    total = np.bincount(units, influence)
    return float(total @ total) * len(total) / (len(total) - 1)


def interval(value: float, variance: float) -> dict[str, float]:
    """The value with its 95 % interval."""
    half = Z * float(np.sqrt(variance))
    return {"value": value, "low": value - half, "high": value + half}


def _on_these_rows(
    rates: tuple[Noise, ...], kind: Ints, label: ArrayLike, observed: ArrayLike
) -> tuple[Floats, Floats]:
    """What each row adds to the error of the rates, [N, 2], and the covariance that gold adds, [K, 2, 2]."""
    seen = np.asarray(observed) == 1
    up = np.asarray(label) == 1
    if seen.shape != kind.shape or up.shape != kind.shape:
        raise ValueError(
            f"record has shapes {up.shape} and {seen.shape}, the log {kind.shape}; label and observed of "
            "each row are needed"
        )
    by_row, apart = np.zeros((len(kind), 2)), np.zeros((len(rates), 2, 2))
    for number, rate in enumerate(rates):
        one, zero = (seen & (kind == number) & (up == word) for word in (True, False))
        part = np.array([-rate.fnr * (1 - rate.fnr), rate.fpr * (1 - rate.fpr)])
        by_row[one], by_row[zero] = part / max(one.sum(), 1), -part / max(zero.sum(), 1)
        own = by_row[kind == number]
        apart[number] = rate.covariance - own.T @ own
        if any(rate.shrunk) or np.linalg.eigvalsh(apart[number])[0] < -1e-9:
            raise ValueError(
                f"the rates of {rate.kind} are shrunk, or better known than their own records allow, so they "
                "are not those of gold on these rows alone; leave `record` out"
            )
    return by_row, apart


def _floats(columns: Columns) -> Floats:
    """a and b. Shape [2, N]."""
    return np.stack([np.asarray(columns.a, np.float64), np.asarray(columns.b, np.float64)])
