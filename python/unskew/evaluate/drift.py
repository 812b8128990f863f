"""A metric by window of time, and whether it changed.

With v the estimates of W windows and V their covariance,

    mean = 1' V^-1 v / 1' V^-1 1,    chi2 = (v - mean)' V^-1 (v - mean)   with W - 1 degrees of freedom

For independent windows that is the sum of squared distances to the weighted mean in standard errors. V is not
diagonal here: people who come back tie windows together (sums of influence by cluster), and all windows share
the error of the rates (`influence`), which moves them alike and is no change.

Source: Cochran, "The Combination of Estimates from Different Experiments" (1954).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unskew.evaluate.influence import LOG_METRICS, Estimate, Log, clusters, estimates, interval
from unskew.rates import Floats, Ints


def drift(
    probability: ArrayLike, log: Log, window: ArrayLike, *, cluster: ArrayLike | None = None
) -> dict[str, dict[str, Any]]:
    """Metrics from the log by window, their weighted mean, and a test that nothing changed.

    A small p says that the model, the people or the feedback changed, not which of them: error rates that
    drift look like a model that does. Seven metrics are seven tests. Windows need some hundred observed rows
    each for the chi-square to hold.

    Assumption: that of `log_metrics`, with one set of error rates for all windows.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        log: of one response a row. N rows.
        window: number or name of the window of each row, in the order of time (day, week). Shape [N].
        cluster: as in `log_metrics`.

    Returns:
        By metric (`influence.LOG_METRICS`): `value`, `low`, `high` of the weighted mean; `chi2`, `df`, `p`
        (nan when a window has no spread or a metric no value); and `windows`, a list with `window`, `n`
        (rows with weight), `value`, `low`, `high` of each.

    Raises:
        ValueError: a shape or a value is not as described, there is one window, or one has no weight.
    """
    keys = np.asarray(window)
    if keys.shape != log.a.shape:
        raise ValueError(f"window has shape {keys.shape}, the log {log.a.shape}; one value a row is needed")
    names, code = np.unique(keys, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"window has {len(names)} value; at least 2 windows are needed to see a change")
    units = clusters(cluster, len(log.a))
    parts: list[dict[str, Estimate]] = []
    rows: list[int] = []
    for number, name in enumerate(names):
        here = code == number
        if not log.a[here].sum() > 0:
            raise ValueError(
                f"the weights of window {name} sum to {log.a[here].sum():g} over {int(here.sum())} rows; a "
                "positive sum is needed: wider windows"
            )
        parts.append(estimates(probability, np.where(here, log.a, 0.0), np.where(here, log.b, 0.0)))
        rows.append(int(np.count_nonzero(log.a[here])))
    found = {}
    for metric in LOG_METRICS:
        values = np.array([part[metric].value for part in parts])
        covariance = _covariance([part[metric] for part in parts], log, units, code)
        found[metric] = _by_window(values, covariance, names.tolist(), rows)
    return found


def mean_drift(values: ArrayLike, window: ArrayLike, *, cluster: ArrayLike | None = None) -> dict[str, Any]:
    """The mean of a number by window, and a test that it did not change.

    For instance observed - p, which stays at 0 for as long as the propensity describes who answers.

    Args:
        values: shape [N].
        window: as in `drift`. Shape [N].
        cluster: as in `log_metrics`.

    Returns:
        `value`, `low`, `high`, `chi2`, `df`, `p` and `windows`, as one metric of `drift`.

    Raises:
        ValueError: a shape is not as described, or there is one window.
    """
    v, keys = np.asarray(values, np.float64), np.asarray(window)
    if keys.shape != v.shape:
        raise ValueError(f"window has shape {keys.shape}, values {v.shape}; one window a row is needed")
    names, code = np.unique(keys, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"window has {len(names)} value; at least 2 windows are needed to see a change")
    units, size = clusters(cluster, len(v)), np.bincount(code)
    means = np.bincount(code, v) / size
    totals = np.zeros((len(names), int(units.max()) + 1))
    np.add.at(totals, (code, units), (v - means[code]) / size[code])
    covariance = totals @ totals.T * totals.shape[1] / (totals.shape[1] - 1)
    return _by_window(means, covariance, names.tolist(), size.tolist())


def drift_of_rates(values: ArrayLike, variance: ArrayLike, window: Sequence[Any]) -> dict[str, Any]:
    """Estimates of one rate from windows that share no rows, and a test that it did not change.

    Args:
        values: estimate of each window. Shape [W].
        variance: of each. Shape [W], > 0.
        window: name of each, in the order of time. Length W.

    Returns:
        As `mean_drift`, without `n`.

    Raises:
        ValueError: fewer than two windows, or a shape differs.
    """
    v, spread = np.asarray(values, np.float64), np.asarray(variance, np.float64)
    if v.ndim != 1 or len(v) < 2 or spread.shape != v.shape or len(window) != len(v):
        raise ValueError(
            f"values have shape {v.shape}, variance {spread.shape}, window {len(window)} names; the same "
            "[W], W at least 2, is needed"
        )
    return _by_window(v, np.diag(spread), list(window), None)


def _by_window(
    values: Floats, covariance: Floats, names: Sequence[Any], sizes: Sequence[int] | None
) -> dict[str, Any]:
    windows = []
    for number, (name, value, variance) in enumerate(zip(names, values, np.diag(covariance), strict=True)):
        count = {} if sizes is None else {"n": sizes[number]}
        windows.append({"window": name, **count, **interval(float(value), float(variance))})
    return {**_change(values, covariance), "windows": windows}


def _covariance(parts: list[Estimate], log: Log, units: Ints, code: Ints) -> Floats:
    """Covariance of one metric over windows: shared clusters and shared error rates. Shape [W, W]."""
    slopes = np.stack(
        [
            log.by_kind(np.where(code == w, part.by_a, 0.0), np.where(code == w, part.by_b, 0.0))
            for w, part in enumerate(parts)
        ]
    )
    rows = [log.moved(part.influence, slope) for part, slope in zip(parts, slopes, strict=True)]
    totals = np.stack([np.bincount(units, row) for row in rows])
    covariance = totals @ totals.T * totals.shape[1] / (totals.shape[1] - 1)
    return np.asarray(covariance + np.einsum("vki,kij,wkj->vw", slopes, log.covariance, slopes))


def _change(values: Floats, covariance: Floats) -> dict[str, float]:
    """Weighted mean with its interval, and the test of no change."""
    df = float(len(values) - 1)
    if not np.isfinite(covariance).all() or np.linalg.matrix_rank(covariance, hermitian=True) <= df:
        nothing = dict.fromkeys(("value", "low", "high", "chi2"), math.nan)
        return {**nothing, "df": df, "p": math.nan}
    inverse = np.linalg.inv(covariance)
    weight = inverse.sum(0) / inverse.sum()
    mean = float(weight @ values)
    away = values - mean
    chi2 = float(away @ inverse @ away)
    return {**interval(mean, float(1 / inverse.sum())), "chi2": chi2, "df": df, "p": chi2_tail(chi2, int(df))}


def chi2_tail(value: float, df: int) -> float:
    """P(chi-square with df degrees of freedom > value).

        Q(1/2, y) = erfc(sqrt y),   Q(1, y) = exp(-y),   Q(k + 1, y) = Q(k, y) + y^k exp(-y) / Gamma(k + 1)

    at k = df / 2 and y = value / 2.

    Args:
        value: >= 0.
        df: >= 1.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 26.4.

    Example:
        >>> round(chi2_tail(5.991, 2), 4), round(chi2_tail(7.815, 3), 4)
        (0.05, 0.05)
    """
    y = value / 2
    k, tail = (0.5, math.erfc(math.sqrt(y))) if df % 2 else (1.0, math.exp(-y))
    while k < df / 2:
        tail += math.exp(k * math.log(y) - y - math.lgamma(k + 1)) if y > 0 else 0.0
        k += 1
    return tail
