"""Does a prediction keep its promise, read from a log or from gold with pseudo-labels: bin by bin.

Within a bin of predictions the mean truth is sum b / sum a, a metric as any other: its influence, its slopes
by the error rates and its tuned power are those of `influence` and `powered`.
"""

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators import Columns
from unskew.evaluate.influence import Estimate, Log, clusters, interval
from unskew.evaluate.powered import gold_weight, tuned
from unskew.evaluate.rows import unit
from unskew.rates import Bools, Floats, Ints

Bins = list[dict[str, float]]


def bins_of(probability: ArrayLike, bins: int) -> Ints:
    """Bin of each prediction: about as many rows in each, ties together. Shape [N].

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        bins: how many, at least 1; fewer where predictions tie.
    """
    s = unit("probability", probability)
    edges = np.unique(np.quantile(s, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, s, side="right").astype(np.int64)


def log_calibration(
    probability: ArrayLike, log: Log, bin_: Ints, *, cluster: ArrayLike | None = None
) -> Bins:
    """Mean prediction and mean truth by bin, from a log.

    Assumption: that of `influence.log_metrics`.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        log: of one response a row. N rows.
        bin_: bin of each row. Shape [N].
        cluster: as in `log_metrics`.

    Returns:
        `predicted`, `observed`, `low`, `high` and `n` (rows with weight) by bin; bins whose weights have no
        positive sum are left out. `observed` may leave [0, 1].
    """
    s, units = unit("probability", probability), clusters(cluster, len(log.a))
    found: Bins = []
    for here in _masks(bin_):
        if not log.a[here].sum() > 0:
            continue
        part = _mean(log.a, log.b, here)
        total = log.total(part.influence, log.by_kind(part.by_a, part.by_b), units)
        n = int(np.count_nonzero(log.a[here]))
        found.append(_bin(s, here, interval(part.value, total), n))
    return found


def powered_calibration(
    probability: ArrayLike,
    columns: Columns,
    gold: ArrayLike,
    bin_: Ints,
    *,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    power: float | None = None,
) -> Bins:
    """Mean prediction and mean truth by bin, from gold and pseudo-labels.

    Assumption: that of `powered.powered`.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        columns: as in `powered`.
        gold: as in `powered`.
        bin_: bin of each row. Shape [N].
        design: as in `powered`.
        prob: as in `powered`.
        cluster: as in `powered`.
        power: as in `powered`; 0 for gold alone.

    Returns:
        As `log_calibration`, `n` gold rows; bins with fewer than two are left out.
    """
    s, units = unit("probability", probability), clusters(cluster, len(columns.a))
    weight, label = gold_weight(gold, design, prob, len(columns.a))
    a, b = np.asarray(columns.a, np.float64), np.asarray(columns.b, np.float64)
    found: Bins = []
    for here in _masks(bin_):
        n = int(np.count_nonzero(weight[here]))
        if n < 2 or not a[here].sum() > 0:
            continue
        true, everywhere = _mean(weight, weight * label, here), _mean(a, b, here)
        both = weight * a
        near = {"mean": _mean(both, weight * b, here)} if both[here].sum() > 0 else None
        value = tuned({"mean": true}, {"mean": everywhere}, near, units, power)["mean"]
        found.append(_bin(s, here, {name: value[name] for name in ("value", "low", "high")}, n))
    return found


def _masks(bin_: Ints) -> list[Bools]:
    return [bin_ == number for number in np.unique(bin_)]


def _mean(a: Floats, b: Floats, here: Bools) -> Estimate:
    """sum b / sum a over some rows, with its derivatives."""
    a, b = np.where(here, a, 0.0), np.where(here, b, 0.0)
    total = float(a.sum())
    value = float(b.sum()) / total
    inside = here.astype(np.float64)
    by_a, by_b = -value / total * inside, inside / total
    return Estimate(value, by_a, by_b, a * by_a + b * by_b)


def _bin(s: Floats, here: Bools, found: dict[str, float], n: int) -> dict[str, float]:
    return {
        "predicted": float(s[here].mean()),
        "observed": found["value"],
        "low": found["low"],
        "high": found["high"],
        "n": n,
    }
