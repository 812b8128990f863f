"""Metrics of predicted probabilities with their intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators import Columns
from unskew.evaluate.rows import BINS, Rows, unit
from unskew.rates import RANDOM, Floats, Ints, Z, design_weight

METRICS = (
    "auc",
    "accuracy",
    "brier",
    "log_loss",
    "r2",
    "mean_prediction",
    "mean_truth",
    "mean_error",
    "ece",
    "best_of_n",
    "best_of_group",
)
"""Names of what `metrics` returns; the last only where groups are given."""

PAIR_METRICS = ("accuracy", "brier", "ece")
"""Names of what `preferences` returns."""

Result = dict[str, dict[str, float]]


def metrics(
    probability: ArrayLike,
    truth: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    group: ArrayLike | None = None,
    n: int = 16,
    bootstrap: int = 200,
    seed: int = 0,
) -> Result:
    """Metrics of predicted probabilities against the truth, each with its 95 % interval.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        truth: true label, or true probability of it. Shape [N], in [0, 1].
        weight: weight of each row, >= 0; 1 when absent. Shape [N].
        cluster: rows with one value are resampled together (prompt hash); each row alone when absent.
            Shape [N].
        group: responses shown together, for `best_of_group`. Shape [N].
        n: number of draws of `best_of_n`.
        bootstrap: replications behind the intervals, at least 2.
        seed: seed of the replications.

    Returns:
        `value`, `low` and `high` by metric; see `METRICS`.

    Raises:
        ValueError: a shape or a value is not as described.

    Example:
        >>> found = metrics([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0])
        >>> found["auc"]["value"], found["accuracy"]["value"], round(found["brier"]["value"], 3)
        (1.0, 1.0, 0.045)
    """
    t = unit("truth", truth)
    w = np.ones(len(t)) if weight is None else np.asarray(weight, np.float64)
    if w.shape != t.shape or not (w >= 0).all() or not w.any():
        raise ValueError(
            f"weight has shape {w.shape} and sum {w.sum():g}; {t.shape} weights >= 0 are needed, not all 0"
        )
    rows = Rows.of(probability, w, w * t, cluster, group, n)
    return _intervals(rows.values, rows.clusters, bootstrap, seed)


def against_gold(
    probability: ArrayLike,
    label: ArrayLike,
    design: ArrayLike,
    prob: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    group: ArrayLike | None = None,
    n: int = 16,
    bootstrap: int = 200,
    seed: int = 0,
) -> Result:
    """Metrics against gold labels, weighted by the inverse of their design.

    Both parts of the gold measure the model; `mean_prediction`, `mean_truth` and `mean_error` use the random
    part alone, when there is one, since they stand or fall with the base rate. Assumption: the predictions
    come from fits that have not seen these labels.

    Args:
        probability: P(liked) by the model, gold rows only. Shape [G], in [0, 1].
        label: gold label. Shape [G], in [0, 1].
        design: `rates.RANDOM` or `rates.STRATIFIED`. Shape [G].
        prob: probability with which a stratified row was chosen. Shape [G].
        cluster: as in `metrics`.
        group: as in `metrics`.
        n: as in `metrics`.
        bootstrap: as in `metrics`.
        seed: as in `metrics`.

    Raises:
        ValueError: a shape or a value is not as described.
    """
    ways = np.asarray(design)
    weight = design_weight(ways, np.asarray(prob, np.float64))
    options = {"cluster": cluster, "group": group, "n": n, "bootstrap": bootstrap, "seed": seed}
    found = metrics(probability, label, weight=weight, **options)  # type: ignore[arg-type]
    random = ways == RANDOM
    if random.any() and not random.all():
        alone = metrics(
            np.asarray(probability)[random],
            np.asarray(label)[random],
            cluster=None if cluster is None else np.asarray(cluster)[random],
            bootstrap=bootstrap,
            seed=seed,
        )
        found |= {name: alone[name] for name in ("mean_prediction", "mean_truth", "mean_error")}
    return found


def preferences(
    probability: ArrayLike,
    label: ArrayLike,
    design: ArrayLike,
    prob: ArrayLike,
    *,
    cluster: ArrayLike | None = None,
    bootstrap: int = 200,
    seed: int = 0,
) -> Result:
    """Metrics of predicted preferences against gold pairs: those of `PAIR_METRICS`.

    The other metrics rank or pick among rows, and say nothing about pairs whose order is arbitrary.
    Assumption: the predictions come from fits that have not seen these labels.

    Args:
        probability: P(A is better) by the model, sigmoid(r_A - r_B). Shape [P], in [0, 1].
        label: share of labellers to whom A is better. Shape [P], in [0, 1].
        design: `rates.RANDOM` or `rates.STRATIFIED`. Shape [P].
        prob: probability with which a stratified pair was chosen. Shape [P].
        cluster: as in `metrics`.
        bootstrap: as in `metrics`.
        seed: as in `metrics`.

    Raises:
        ValueError: a shape or a value is not as described.
    """
    weight = design_weight(np.asarray(design), np.asarray(prob, np.float64))
    found = metrics(probability, label, weight=weight, cluster=cluster, bootstrap=bootstrap, seed=seed)
    return {name: found[name] for name in PAIR_METRICS}


def against_log(
    probability: ArrayLike,
    columns: Columns,
    *,
    cluster: ArrayLike | None = None,
    group: ArrayLike | None = None,
    n: int = 16,
    bootstrap: int = 200,
    seed: int = 0,
) -> Result:
    """Metrics against feedback that an estimator has corrected and weighted, self-normalised.

    Assumption: the columns are what their estimator promises, and the model was not trained on these rows.
    The intervals take the propensities and error rates behind the columns as known; `log_metrics` adds what
    is not known of the rates.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        columns: of one response a row, all margins 0. Shape [N].
        cluster: as in `metrics`.
        group: as in `metrics`.
        n: as in `metrics`.
        bootstrap: as in `metrics`.
        seed: as in `metrics`.

    Raises:
        ValueError: a shape or a value is not as described, or the weights sum to nothing.

    Source: Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (2015).
    """
    a, b = np.asarray(columns.a, np.float64), np.asarray(columns.b, np.float64)
    if not a.sum() > 0:
        raise ValueError(f"the weights of the columns sum to {a.sum():g}; a positive sum is needed")
    rows = Rows.of(probability, a, b, cluster, group, n)
    return _intervals(rows.values, rows.clusters, bootstrap, seed)


def compare(
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    group: ArrayLike | None = None,
    n: int = 16,
    bootstrap: int = 200,
    seed: int = 0,
) -> Result:
    """Metrics of the first model minus those of the second, on the same rows and the same resampling.

    An interval that excludes 0 says that the models differ; two overlapping intervals of `metrics` do not say
    the contrary.

    Args:
        first: P(liked) by one model. Shape [N], in [0, 1].
        second: P(liked) by the other. Shape [N], in [0, 1].
        truth: as in `metrics`.
        weight: as in `metrics`.
        cluster: as in `metrics`.
        group: as in `metrics`.
        n: as in `metrics`.
        bootstrap: as in `metrics`.
        seed: as in `metrics`.

    Raises:
        ValueError: a shape or a value is not as described.
    """
    t = unit("truth", truth)
    w = np.ones(len(t)) if weight is None else np.asarray(weight, np.float64)
    one, two = (Rows.of(model, w, w * t, cluster, group, n) for model in (first, second))

    def difference(v: Floats) -> dict[str, float]:
        left, right = one.values(v), two.values(v)
        return {name: left[name] - right[name] for name in left}

    return _intervals(difference, one.clusters, bootstrap, seed)


def reliability(
    probability: ArrayLike, truth: ArrayLike, *, weight: ArrayLike | None = None
) -> list[dict[str, float]]:
    """Mean prediction, mean truth and number of rows in bins of equal weight, lowest predictions first.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        truth: true label or probability. Shape [N], in [0, 1].
        weight: weight of each row, >= 0; 1 when absent. Shape [N].
    """
    t = unit("truth", truth)
    w = np.ones(len(t)) if weight is None else np.asarray(weight, np.float64)
    rows = Rows.of(probability, w, w * t, None, None, 1)
    bins, a = rows.bins(rows.a), rows.a
    found = []
    for number in range(BINS):
        at = bins == number
        total = a[at].sum()
        if total > 0:
            predicted = float(a[at] @ rows.s[at] / total)
            seen = float(rows.b[at].sum() / total)
            found.append({"predicted": predicted, "observed": seen, "n": int(at.sum())})
    return found


def histogram(probability: ArrayLike, bins: int = 20) -> dict[str, Any]:
    """Counts of predictions in equal bins of [0, 1]: `edges` and `counts`.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        bins: how many.
    """
    counts, edges = np.histogram(unit("probability", probability), bins=bins, range=(0.0, 1.0))
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _intervals(
    values: Callable[[Floats], dict[str, float]], clusters: Ints, bootstrap: int, seed: int
) -> Result:
    """The values, and their spread over exponential weights of the clusters."""
    if bootstrap < 2:
        raise ValueError(f"bootstrap is {bootstrap}; at least 2 replications are needed for an interval")
    rng = np.random.default_rng(seed)
    found = values(np.ones(len(clusters)))
    size = int(clusters.max()) + 1
    drawn = [values(rng.standard_exponential(size)[clusters]) for _ in range(bootstrap)]
    result: Result = {}
    for name, value in found.items():
        half = Z * float(np.std([draw[name] for draw in drawn], ddof=1))
        result[name] = {"value": value, "low": value - half, "high": value + half}
    return result
