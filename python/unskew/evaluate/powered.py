"""Gold and log together: prediction-powered metrics, and a test of the log against gold.

With v a metric, g the gold rows under their design weights, f the pseudo-labels of the log,

    v(power) = v(true labels, g) + power (v(f, all rows) - v(f, g))

The bracket is 0 on average whatever the pseudo-labels are, since gold rows were chosen without looking at the
truth: it only tells how far this gold sample happens to lie from all rows. So v(power) is right under
selection by the hidden label too, where the log alone is not, and errors of the rates cancel. With A the
influence of the first term and B that of the bracket, summed by cluster, the variance sum (A + power B)^2 is
least at

    power = - sum A B / sum B^2

which is the tuned lambda of PPI++ (covariance of label and pseudo-label over the variance of the latter),
with overlap of gold and log, design weights and clusters taken as they are. power = 0 is gold alone, power =
1 plain prediction-powered inference; with inverse propensities as pseudo-labels 1 is far too much.

The test asks whether the log agrees with gold: z = (v(log) - v(gold)) / s, where s^2 holds the rows of both
and the error of the rates (`influence`). A rejection says that an assumption behind the log fails, most often
that feedback depends on the hidden label.

Source: Angelopoulos, Duchi and Zrnic, "PPI++: Efficient Prediction-Powered Inference" (arXiv 2311.01453),
power tuning; that tuning may cost a little when gold rows are few and the pseudo-labels poor (correlation
below about 1 / sqrt(n)): Mani et al., "No Free Lunch" (arXiv 2505.20178).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from unskew.estimators import Columns
from unskew.evaluate.influence import Estimate, Log, clusters, estimates, interval, spread
from unskew.evaluate.metrics import Result
from unskew.evaluate.rows import unit
from unskew.rates import RANDOM, Floats, Ints, design_weight

POWERED_METRICS = ("auc", "accuracy", "brier", "log_loss", "r2", "mean_truth", "mean_error")
"""Names of what `powered`, `powered_compare` and `gold_test` return."""


def powered(
    probability: ArrayLike,
    columns: Columns,
    gold: ArrayLike,
    *,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    power: float | None = None,
) -> Result:
    """Metrics by gold labels, sharpened by pseudo-labels on every row of the log.

    Assumption: gold rows were chosen at random, or with the probabilities that are given, among the rows of
    the log; neither the model nor the pseudo-label of a row has seen its gold label. Nothing is assumed of
    the pseudo-labels: poor ones get power near 0.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        columns: pseudo-labels. Best with weight 1 on every row: `estimators.doubly_robust`, or the
            imputation q itself, `Columns(ones, q, zeros)`. Shape [N].
        gold: true label, NaN where there is none. Shape [N], in [0, 1].
        design: `rates.RANDOM` or `rates.STRATIFIED` of gold rows; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].
        weight: how much each row counts in the metrics (`best_of`), >= 0; 1 when absent. Shape [N].
        cluster: rows with one value count as one draw (user, prompt); each row alone when absent. Shape [N].
        power: of the pseudo-labels; tuned for each metric when absent.

    Returns:
        `value`, `low`, `high` and `power` by metric; see `POWERED_METRICS`. Pseudo-labels that have no value
        for a metric on the gold rows (one class, no weight) get power 0.

    Raises:
        ValueError: a shape or a value is not as described, or fewer than two rows have gold.

    Source: PPI++ (arXiv 2311.01453); see the module.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = rng.random(2000)
        >>> truth = (rng.random(2000) < p).astype(float)
        >>> gold = np.where(np.arange(2000) < 200, truth, np.nan)
        >>> pseudo = Columns(np.ones(2000), p, np.zeros(2000))
        >>> found = powered(p, pseudo, gold)["brier"]
        >>> bool(found["low"] < ((p - truth) ** 2).mean() < found["high"])
        True
    """
    true, everywhere, here = _parts(probability, columns, gold, design, prob, weight)
    wanted = {name: true[name] for name in POWERED_METRICS}
    return tuned(wanted, everywhere, here, clusters(cluster, len(columns.a)), power)


def powered_compare(
    first: ArrayLike,
    second: ArrayLike,
    columns: Columns,
    gold: ArrayLike,
    *,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    power: float | None = None,
) -> Result:
    """Metrics of the first model minus those of the second, as `powered` measures them.

    Paired: what a row does to both models cancels before it is squared, and the power is tuned for the
    difference. power = 0 compares on gold alone.

    Args:
        first: P(liked) by one model. Shape [N], in [0, 1].
        second: P(liked) by the other. Shape [N], in [0, 1].
        columns: as in `powered`.
        gold: as in `powered`.
        design: as in `powered`.
        prob: as in `powered`.
        weight: as in `powered`.
        cluster: as in `powered`.
        power: as in `powered`.

    Raises:
        ValueError: a shape or a value is not as described, or fewer than two rows have gold.
    """
    one, two = (_parts(model, columns, gold, design, prob, weight) for model in (first, second))
    here = None if one[2] is None or two[2] is None else _minus(one[2], two[2])
    units = clusters(cluster, len(columns.a))
    return tuned(_minus(one[0], two[0]), _minus(one[1], two[1]), here, units, power)


Estimates = dict[str, Estimate]


def _minus(one: Estimates, two: Estimates) -> Estimates:
    return {name: one[name] - two[name] for name in POWERED_METRICS}


def _parts(
    probability: ArrayLike,
    columns: Columns,
    gold: ArrayLike,
    design: ArrayLike | None,
    prob: ArrayLike | None,
    weight: ArrayLike | None,
) -> tuple[Estimates, Estimates, Estimates | None]:
    """Metrics by true labels on gold, by pseudo-labels on all rows, and by pseudo-labels on gold."""
    a, b = np.asarray(columns.a, np.float64), np.asarray(columns.b, np.float64)
    count = np.ones(len(a)) if weight is None else np.asarray(weight, np.float64)
    if count.shape != a.shape or not (count >= 0).all():
        raise ValueError(
            f"weight has shape {count.shape}, the log {a.shape}; one number >= 0 a row is needed"
        )
    drawn, label = gold_weight(gold, design, prob, len(a))
    a, b, counted = a * count, b * count, drawn * count
    true, everywhere = estimates(probability, counted, counted * label), estimates(probability, a, b)
    here = estimates(probability, drawn * a, drawn * b) if float(drawn @ a) > 0 else None
    return true, everywhere, here


def tuned(
    true: Estimates, everywhere: Estimates, here: Estimates | None, units: Ints, power: float | None
) -> Result:
    """true + power (everywhere - here) for the metrics of `true`, at the best power or a given one."""
    if power is not None and not math.isfinite(power):
        raise ValueError(f"power is {power}; a number is needed, 0 for gold alone, or None to tune it")
    found: Result = {}
    for name, first in true.items():
        bracket = None if here is None else everywhere[name] - here[name]
        shift, B_rows = 0.0, np.zeros(len(units))
        if bracket is not None and math.isfinite(bracket.value):
            shift, B_rows = bracket.value, bracket.influence
        A, B = (np.bincount(units, part) for part in (first.influence, B_rows))
        square = float(B @ B)
        best = (-float(A @ B) / square if square > 0 else 0.0) if power is None else float(power)
        variance = spread(first.influence + best * B_rows, units)
        found[name] = interval(first.value + best * shift, variance) | {"power": best}
    return found


def gold_test(
    probability: ArrayLike,
    log: Log,
    gold: ArrayLike,
    *,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
) -> Result:
    """Metrics from the log minus those from gold, and whether they may differ by chance.

    A small p says that the log is biased for this model; a large one that nothing was found, which with a few
    hundred gold labels is weak comfort: the interval says how large a bias may be there all the same.

    Assumption: that of `against_gold`; and the gold behind the rates is not this gold (its stratified part
    gives the rates, its random part this test): what the two share is not taken off the variance.

    Args:
        probability: P(liked) by the model. Shape [N], in [0, 1].
        log: of one response a row. N rows.
        gold: true label, NaN where there is none. Shape [N], in [0, 1].
        design: as in `powered`.
        prob: as in `powered`.
        cluster: as in `powered`.

    Returns:
        `value` (log minus gold), `low`, `high`, `z` and the two-sided `p` by metric; see `POWERED_METRICS`.

    Raises:
        ValueError: a shape or a value is not as described, or fewer than two rows have gold.

    Source: Hausman, "Specification Tests in Econometrics" (1978), with the variance of the difference itself.
    """
    weight, label = gold_weight(gold, design, prob, len(log.a))
    units = clusters(cluster, len(log.a))
    true, ours = estimates(probability, weight, weight * label), estimates(probability, log.a, log.b)
    found: Result = {}
    for name in POWERED_METRICS:
        gap = ours[name] - true[name]
        slope = log.by_kind(ours[name].by_a, ours[name].by_b)
        variance = log.total(gap.influence, slope, units)
        z = gap.value / math.sqrt(variance) if variance > 0 else math.nan
        found[name] = interval(gap.value, variance) | {"z": z, "p": math.erfc(abs(z) / math.sqrt(2))}
    return found


def gold_weight(
    gold: ArrayLike, design: ArrayLike | None, prob: ArrayLike | None, rows: int
) -> tuple[Floats, Floats]:
    """Design weight of each row, 0 without gold, and the label, 0 without gold. Each of shape [N]."""
    label = np.asarray(gold, np.float64)
    ways = np.full(rows, RANDOM) if design is None else np.asarray(design)
    chance = np.full(rows, np.nan) if prob is None else np.asarray(prob, np.float64)
    for name, values in (("gold", label), ("design", ways), ("prob", chance)):
        if values.shape != (rows,):
            raise ValueError(
                f"{name} has shape {values.shape}, the log {rows} rows; one value a row is needed"
            )
    at = np.flatnonzero(~np.isnan(label))
    if len(at) < 2:
        raise ValueError(f"{len(at)} of {rows} rows have a gold label; at least 2 are needed, better 200")
    weight, known = np.zeros(rows), np.zeros(rows)
    weight[at], known[at] = design_weight(ways[at], chance[at]), unit("gold", label[at])
    return weight, known
