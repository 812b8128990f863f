"""Chains of responses read from the top: each is examined because the one above did not end the search.

A session is a ranked list, or a chain of regenerated responses. Where it ends is not seen; the closed forms
take the first or the last click for the end, and a session without clicks for read through:

    cascade   attraction = first clicks / rows at or above the first click
    DCM       attraction = clicks / rows at or above the last click,
              continuation of a slot = 1 - last / clicks
    SDBN      attraction as DCM,   satisfaction = last / clicks,   relevance = attraction x satisfaction

`attraction` of the cascade is consistent when people stop at the first click or read on to the end. Those of
DCM and SDBN maximise a lower bound: who clicks, goes on and clicks no more is taken for one who stopped, so
attraction below a click and satisfaction come out too high, the more the more people go on in vain.

Sources: Craswell et al., "An Experimental Comparison of Click Position-Bias Models" (2008); Guo, Liu and
Wang, "Efficient Multiple-Click Models in Web Search" (2009); Chapelle and Zhang, "A Dynamic Bayesian Network
Click Model for Web Search Ranking" (2009), simplified.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.rates import Bools, Floats


@dataclass(frozen=True)
class Chains:
    """Counts of each item, or of each slot, over sessions.

    Args:
        name: items or slots, in order. Shape [I].
        to_first: rows at or above the first click of their session. Shape [I].
        to_last: rows at or above the last click. Shape [I].
        clicks: rows that were clicked. Shape [I].
        first: rows that were the first click. Shape [I].
        last: rows that were the last click. Shape [I].
    """

    name: NDArray[Any]
    to_first: Floats = field(repr=False)
    to_last: Floats = field(repr=False)
    clicks: Floats = field(repr=False)
    first: Floats = field(repr=False)
    last: Floats = field(repr=False)

    @property
    def cascade(self) -> Floats:
        """P(clicked | examined) by the cascade model; NaN where nothing was examined. Shape [I]."""
        return _share(self.first, self.to_first)

    @property
    def attraction(self) -> Floats:
        """P(clicked | examined) by DCM and SDBN. Shape [I]."""
        return _share(self.clicks, self.to_last)

    @property
    def satisfaction(self) -> Floats:
        """P(the search ends | clicked) by SDBN; 1 minus it, by slot, is DCM's continuation. Shape [I]."""
        return _share(self.last, self.clicks)

    @property
    def relevance(self) -> Floats:
        """P(clicked, and the search ends | examined) by SDBN; 0 where nothing was clicked. Shape [I]."""
        return _share(self.last, self.to_last)


def chains(
    session: ArrayLike, slot: ArrayLike, clicked: ArrayLike, by: ArrayLike, *, count: ArrayLike | None = None
) -> Chains:
    """Count what the closed forms need.

    Args:
        session: rows read one after the other share it. Shape [N].
        slot: order of reading within the session. Shape [N].
        clicked: shape [N].
        by: what is counted for: the response or model (attraction, satisfaction), or the slot (continuation).
            Shape [N].
        count: sessions that the session of a row stands for; 1 when absent. Shape [N].

    Raises:
        ValueError: the shapes differ.
    """
    place, click = np.asarray(slot), np.asarray(clicked).astype(bool)
    columns = {
        "session": np.asarray(session),
        "clicked": click,
        "by": np.asarray(by),
        "count": np.ones(len(place)) if count is None else np.asarray(count, np.float64),
    }
    for name, column in columns.items():
        if column.shape != place.shape:
            raise ValueError(f"{name} has shape {column.shape}, slot {place.shape}; the same is needed")
    code = np.unique(columns["session"], return_inverse=True)[1]
    rank = np.unique(place, return_inverse=True)[1]
    sessions, most = int(code.max(initial=-1)) + 1, int(rank.max(initial=0)) + 1
    first, last = np.full(sessions, most), np.full(sessions, -1)
    np.minimum.at(first, code[click], rank[click])
    np.maximum.at(last, code[click], rank[click])
    last[last < 0] = most  # without clicks, read through
    names, item = np.unique(columns["by"], return_inverse=True)

    def counted(rows: Bools) -> Floats:
        return np.asarray(np.bincount(item[rows], columns["count"][rows], len(names)), np.float64)

    return Chains(
        names,
        counted(rank <= first[code]),
        counted(rank <= last[code]),
        counted(click),
        counted(click & (rank == first[code])),
        counted(click & (rank == last[code])),
    )


def _share(part: Floats, whole: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
