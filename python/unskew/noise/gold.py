"""Error rates from gold labels, kind by kind."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.events import Kind
from unskew.noise.pooling import PRIOR, shrink
from unskew.noise.records import Happening, Noise
from unskew.rates import RANDOM, Bools, Floats, Liked

UP, DOWN, SILENT = np.eye(3, dtype=bool)
HAPPENED, NOT = np.eye(2, dtype=bool)


def from_gold(
    positive: ArrayLike,
    gold: ArrayLike,
    *,
    observed: ArrayLike | None = None,
    usable: ArrayLike | None = None,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    kind: str = "feedback",
) -> Noise:
    """Flip rates of a two-sided kind from gold labels.

        fnr = n_0 theta_0 / (n_0 theta_0 + n_1 theta_1),   theta_y = P(true 1 | recorded y) on gold rows
        fpr = n_1 (1 - theta_1) / (n_0 (1 - theta_0) + n_1 (1 - theta_1)),   n_y rows of the log recorded y

    Assumption: among rows of one record, gold rows were chosen at random or with probability `prob`. So the
    gold may be stratified by the record, which is what makes a few hundred labels enough.

    Args:
        positive: recorded label 1, read where observed. Shape [N].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        observed: was anything recorded; everywhere when absent. Shape [N].
        usable: rows on which the kind was offered and its window is closed; all when absent. Shape [N].
        design: `rates.RANDOM` or `rates.STRATIFIED` of gold rows; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].
        kind: name of the kind, for messages.

    Raises:
        ValueError: the shapes differ, or a class has no gold row with a record.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.random(4000) < 0.6
        >>> recorded = np.where(rng.random(4000) < 0.1, ~truth, truth)
        >>> gold = np.where(np.arange(4000) < 400, truth, np.nan)
        >>> from_gold(recorded, gold).interval["fnr"][1] < 0.2
        True
    """
    up, label, seen, use, chosen, chance = columns(positive, gold, observed, usable, design, prob)
    record = np.where(seen, np.where(up, 0, 1), 2)
    found = Liked.of(np.where(use, record, -1), 3, label, chosen, chance)
    voted = label[use & seen & ~np.isnan(label)]
    if not (voted > 0).any() or not (voted < 1).any():
        raise ValueError(
            f"{kind}: {len(voted)} gold rows carry a record, {int((voted > 0.5).sum())} of them liked; rates "
            "need both classes. Label more rows of each record (`unskew audit --gold-plan`)"
        )
    ratios = ((DOWN, UP | DOWN, True), (UP, UP | DOWN, False))
    fnr, fpr = (found.ratio(*ratio).value for ratio in ratios)
    return Noise(fnr, fpr, found.covariance(*ratios), "gold", kind)


def happening_from_gold(
    happened: ArrayLike,
    gold: ArrayLike,
    *,
    usable: ArrayLike | None = None,
    design: ArrayLike | None = None,
    prob: ArrayLike | None = None,
    kind: str = "feedback",
) -> Happening:
    """P(happened | liked) and P(happened | not liked) of a one-sided kind from gold labels.

        P(happened | liked) = n_h theta_h / (n_h theta_h + n_n theta_n),   h happened, n did not

    Args:
        happened: did it happen. Shape [N].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        usable: rows on which the kind was offered and its window is closed; all when absent. Shape [N].
        design: `rates.RANDOM` or `rates.STRATIFIED` of gold rows; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].
        kind: name of the kind, for messages.

    Raises:
        ValueError: the shapes differ, or no usable row has a gold label.
    """
    up, label, _, use, chosen, chance = columns(happened, gold, None, usable, design, prob)
    if not (use & ~np.isnan(label)).any():
        raise ValueError(f"{kind}: no gold row among the rows on which it was offered and closed; label some")
    found = Liked.of(np.where(use, np.where(up, 0, 1), -1), 2, label, chosen, chance)
    ratios = ((HAPPENED, HAPPENED | NOT, True), (HAPPENED, HAPPENED | NOT, False))
    liked, disliked = (found.ratio(*ratio).value for ratio in ratios)
    return Happening(liked, disliked, found.covariance(*ratios), "gold", kind)


def by_kind(
    kinds: Sequence[Kind],
    usable: Bools,
    observed: Bools,
    positive: Bools,
    gold: Floats,
    design: NDArray[Any] | None = None,
    prob: Floats | None = None,
    *,
    prior: float = PRIOR,
) -> "dict[str, Noise | Happening]":
    """Rates of every kind from gold, sparse two-sided kinds shrunk to the pooled rate.

        rate = (n own + prior pooled) / (n + prior),   n effective gold rows of the class

    The covariance stays that of the kind's own rows, so a shrunk rate is never claimed to be better known
    than its gold allows. Kinds without gold of both classes, choices (they compare) and kinds that are no
    evidence are left out.

    Args:
        kinds: the K kinds.
        usable: offered and closed. Shape [N, K].
        observed: anything was recorded. Shape [N, K].
        positive: 1 was recorded, or it happened. Shape [N, K].
        gold: true label, NaN where there is none. Shape [N].
        design: `rates.RANDOM` or `rates.STRATIFIED`; random when absent. Shape [N].
        prob: probability with which a stratified row was chosen. Shape [N].
        prior: effective examples that the pooled rate counts for; 0 for no shrinkage.

    Returns:
        `Noise` for two-sided, `Happening` for one-sided kinds, by name.
    """
    found: dict[str, Noise | Happening] = {}
    for k, kind in enumerate(kinds):
        use, labelled = usable[:, k], ~np.isnan(gold)
        if kind.one_sided and (use & labelled).any():
            found[kind.name] = happening_from_gold(
                positive[:, k], gold, usable=use, design=design, prob=prob, kind=kind.name
            )
        elif kind.two_sided and kind.name != "choice":
            voted = gold[use & observed[:, k] & labelled]
            if (voted > 0).any() and (voted < 1).any():
                found[kind.name] = from_gold(
                    positive[:, k],
                    gold,
                    observed=observed[:, k],
                    usable=use,
                    design=design,
                    prob=prob,
                    kind=kind.name,
                )
    two = [rate for rate in found.values() if isinstance(rate, Noise)]
    return found | {rate.kind: rate for rate in shrink(two, prior)}


def columns(
    positive: ArrayLike,
    gold: ArrayLike,
    observed: ArrayLike | None,
    usable: ArrayLike | None,
    design: ArrayLike | None,
    prob: ArrayLike | None,
) -> tuple[Bools, Floats, Bools, Bools, NDArray[Any], Floats]:
    """The arguments as arrays of one length, absent ones filled in."""
    up = np.asarray(positive).astype(bool)
    given = {"gold": gold, "observed": observed, "usable": usable, "design": design, "prob": prob}
    absent: dict[str, Any] = {"observed": True, "usable": True, "design": RANDOM, "prob": np.nan}
    columns = {
        name: np.full(up.shape, absent[name]) if value is None else np.asarray(value)
        for name, value in given.items()
    }
    for name, values in columns.items():
        if values.shape != up.shape:
            raise ValueError(f"{name} has shape {values.shape}, the record {up.shape}; the same is needed")
    label = columns["gold"].astype(np.float64)
    seen, use = columns["observed"].astype(bool), columns["usable"].astype(bool)
    return up, label, seen, use, columns["design"], columns["prob"].astype(np.float64)
