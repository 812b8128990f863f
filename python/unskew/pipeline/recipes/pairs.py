"""Pairs of responses: made from single ones that were shown together, or chosen between."""

from typing import cast

import numpy as np

from unskew import estimators
from unskew.data import Choices
from unskew.estimators import Columns
from unskew.pipeline.material import Material
from unskew.pipeline.recipes.corrected import DoublyRobust
from unskew.pipeline.recipes.parts import Target, choices_of, rates
from unskew.rates import Bools, Ints


def pairs(m: Material) -> Target:
    """Pairs of responses shown together, from item-wise doubly robust targets."""
    items = cast(Columns, DoublyRobust()(m).columns)
    ahead, behind = shown_together(m.examples.group, m.usable.any(1) & m.inside)
    return Target(estimators.pairs_from_items(items, ahead, behind), "brier", (ahead, behind))


def shown_together(group: Ints, keep: Bools) -> tuple[Ints, Ints]:
    """Rows (A, B) of every pair of responses that share a group, A before B.

    Args:
        group: code of the request. Shape [N].
        keep: rows that may take part. Shape [N].
    """
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(group[rows], kind="stable")]
    ahead, behind = [], []
    for step in range(1, len(rows)):
        together = group[rows[step:]] == group[rows[:-step]]
        if not together.any():
            break
        ahead.append(rows[:-step][together])
        behind.append(rows[step:][together])
    if not ahead:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(ahead).astype(np.int64), np.concatenate(behind).astype(np.int64)


def choices(m: Material) -> Target:
    """Choices coded by slot, flips undone, who chooses left alone.

    Unbiased for the clean loss of the pairs with a choice when fnr and fpr are right, whatever the slot does
    to them. Where the slots are unknown either order is as likely, so that both rates are their mean.
    """
    found, rate = choices_of(m), rates(m, "choice")
    return Target(by_slot(found, rate.fnr, rate.fpr), "brier", (found.a, found.b))


def by_slot(pairs: Choices, fnr: float, fpr: float) -> Columns:
    """Corrected choices at the error rates of the slots, or their mean where the slots are unknown."""
    either = (fnr + fpr) / 2
    miss, false = (np.where(pairs.ordered, own, either) for own in (fnr, fpr))
    return estimators.noise_corrected(np.nan_to_num(pairs.label), pairs.seen, miss, false)


def naive_choices(m: Material) -> Target:
    """Choices as they are, whoever made them."""
    found = choices_of(m.as_logged())
    columns = estimators.naive(np.nan_to_num(found.label), found.seen)
    return Target(columns, "brier", (found.a, found.b))
