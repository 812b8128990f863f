"""Propensities from a logged column, from cell counts, and from features."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.folds import assign
from unskew.propensity.calibration import logit, platt, sigmoid
from unskew.propensity.measure import FLOOR, Propensity, judge, masks
from unskew.propensity.shrink import shrunk
from unskew.rates import Bools


class Model(Protocol):
    """What scikit-learn calls a classifier."""

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Any:
        """Learn P(y = 1 | x)."""

    def predict_proba(self, X: NDArray[Any]) -> NDArray[Any]:
        """P(y = 0 | x) and P(y = 1 | x). Shape [N, 2]."""


def logged(
    probabilities: ArrayLike,
    observed: ArrayLike,
    *,
    usable: ArrayLike | None = None,
    positive: ArrayLike | None = None,
    floor: float = FLOOR,
) -> Propensity:
    """Propensities that the product set and logged, taken as they are and never refitted.

    Args:
        probabilities: P(feedback asked for and given), or of a randomised request. Shape [N], in (0, 1].
        observed: was feedback given. Shape [N].
        usable: offered and closed; all rows when absent. Shape [N].
        positive: recorded label, for the clipped mass by label. Shape [N].
        floor: smaller propensities are raised to it and counted.

    Raises:
        ValueError: a probability of a usable row is not in (0, 1], or the shapes differ.
    """
    o, use = masks(observed, usable)
    return judge(np.asarray(probabilities, np.float64), o, use, positive, floor, "logged")


def cells(
    cell: ArrayLike | Sequence[ArrayLike],
    observed: ArrayLike,
    fold_key: ArrayLike,
    *,
    usable: ArrayLike | None = None,
    among: ArrayLike | None = None,
    positive: ArrayLike | None = None,
    folds: int = 5,
    floor: float = FLOOR,
) -> Propensity:
    """Shrunk share of feedback in the cell of a row, counted on the other folds.

        p_c = (k_c + s p_parent(c)) / (n_c + s)

    k_c of n_c usable rows have feedback; the parent of a coarsest cell is everything. See `shrink`.

    Assumption: feedback does not depend on the hidden label within a cell.

    Args:
        cell: cell of each row, or several columns from coarse to fine, each nested in the one before it.
            Shape [N] each.
        observed: was feedback given. Shape [N].
        fold_key: rows with one key share a fold (prompt hash). Shape [N], integers.
        usable: offered and closed; all rows when absent. Shape [N].
        among: rows on which feedback could be given, such as those that were shown: p is P(feedback | among)
            of every usable row, learned and measured on these. All usable ones when absent. Shape [N].
        positive: recorded label, for the clipped mass by label. Shape [N].
        folds: at least 2.
        floor: smaller propensities are raised to it and counted.

    Raises:
        ValueError: the shapes differ, there are fewer than 2 folds, a fold leaves nothing to count, or there
            is feedback outside `among`.
    """
    o, use = masks(observed, usable)
    could = _among(o, use, among)
    given = np.asarray(cell)
    columns = [given] if given.ndim == 1 else list(given)
    levels = []
    for column in columns:
        if column.shape != o.shape:
            raise ValueError(f"cell has shape {column.shape}, observed {o.shape}; the same is needed")
        levels.append(np.unique(column, return_inverse=True)[1].astype(np.int64))
    fold = assign(fold_key, folds, use)
    p, strengths = np.ones(len(o)), np.zeros((folds, len(levels)))
    for number in range(folds):
        inside, held = could & (fold != number), use & (fold == number)
        found = shrunk(levels, inside & o, inside)
        p[held], strengths[number] = found.mean[held], found.strength
    settings = {"folds": folds, "strength": strengths.mean(0).tolist()}
    return judge(p, o, use, positive, floor, "cells", settings, could)


def fit(
    X: NDArray[Any],
    observed: ArrayLike,
    fold_key: ArrayLike,
    *,
    model: Callable[[], Model],
    usable: ArrayLike | None = None,
    among: ArrayLike | None = None,
    positive: ArrayLike | None = None,
    folds: int = 5,
    floor: float = FLOOR,
) -> Propensity:
    """P(feedback | features), each row by a model and a calibration that have not seen its prompt.

        p = sigmoid(shift + scale logit m_{-k}(x)),   (shift, scale) by maximum likelihood on the other folds

    Assumption: feedback does not depend on the hidden label given the features.

    Args:
        X: features. Shape [N, D].
        observed: was feedback given. Shape [N].
        fold_key: rows with one key share a fold (prompt hash). Shape [N], integers.
        model: makes a fresh classifier; `reward.HeadClassifier` stops early on cross-entropy. When its `fit`
            takes `groups`, it gets the fold keys, so that it can hold out whole prompts too.
        usable: offered and closed; all rows when absent. Shape [N].
        among: rows on which feedback could be given, such as those that were shown: p is P(feedback | among)
            of every usable row, learned and measured on these. All usable ones when absent. Shape [N].
        positive: recorded label, for the clipped mass by label. Shape [N].
        folds: at least 2.
        floor: smaller propensities are raised to it and counted.

    Raises:
        ValueError: the shapes differ, there are fewer than 2 folds, a training part has one outcome only, or
            there is feedback outside `among`.

    Source: cross-fitting, Chernozhukov et al., "Double/debiased machine learning" (2018); Platt scaling.
    """
    o, use = masks(observed, usable)
    could = _among(o, use, among)
    keys = np.asarray(fold_key)
    if len(X) != len(o):
        raise ValueError(f"X has {len(X)} rows, observed {len(o)}; the same number is needed")
    fold = assign(keys, folds, use)
    raw = np.zeros(len(o))
    for number in range(folds):
        inside, held = np.flatnonzero(could & (fold != number)), np.flatnonzero(use & (fold == number))
        seen = int(o[inside].sum())
        if seen in (0, len(inside)):
            raise ValueError(
                f"feedback was given on {seen} of {len(inside)} rows outside fold {number}; a model needs "
                "both outcomes. A log of voted rows alone cannot tell propensities: log the silent ones too"
            )
        classifier = model()
        options = {"groups": keys[inside]} if "groups" in inspect.signature(classifier.fit).parameters else {}
        classifier.fit(X[inside], o[inside].astype(np.float64), **options)
        raw[held] = logit(classifier.predict_proba(X[held])[:, 1])
    p, maps = np.ones(len(o)), []
    for number in range(folds):
        inside, held = could & (fold != number), use & (fold == number)
        shift, scale = platt(raw[inside], o[inside])
        maps.append((shift, scale))
        p[held] = sigmoid(shift + scale * raw[held])
    settings = {"folds": folds, "calibration": np.mean(maps, 0).tolist()}
    return judge(p, o, use, positive, floor, "features", settings, could)


def _among(observed: Bools, usable: Bools, among: ArrayLike | None) -> Bools:
    """Usable rows on which feedback could be given."""
    if among is None:
        return usable
    could = np.asarray(among).astype(bool)
    if could.shape != observed.shape:
        raise ValueError(f"among has shape {could.shape}, observed {observed.shape}; the same is needed")
    strange = int((observed & usable & ~could).sum())
    if strange:
        raise ValueError(
            f"{strange} usable rows have feedback and are not among those on which it could be given; "
            "correct the record of what was shown"
        )
    return np.asarray(usable & could)
