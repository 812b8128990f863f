"""Position bias: how much more often the first slot is looked at than the others.

    P(click | group g in slot k) = theta_k gamma_g        examined, and attractive; independent of each other

    pbm(group, slot, n, clicks)         all groups together, by EM
    all_pairs(group, slot, n, clicks)   groups seen in two slots, compared within each pair of slots
    ratio(slot, n, clicks)              slots that were randomised or swapped: their click rates, divided

A group is what keeps its attractiveness when it moves: a response, a prompt with its ranked answers, a model.
`ratio` needs groups to be spread over the slots by chance; the other two only need that why a group moved
says nothing of its clicks once g and k are known. theta is a ratio: that of the lowest slot is 1.
Input is the aggregated table, one row for each (group, slot); counts may be fractional.

Sources: Craswell et al., "An Experimental Comparison of Click Position-Bias Models" (2008); Agarwal et al.,
"Estimating Position Bias without Intrusive Interventions" (2019), AllPairs.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.rates import Floats, Ints

ROUNDS = 50
"""Rounds of EM."""

STEPS = 200
"""Newton's steps at most."""


@dataclass(frozen=True)
class Slots:
    """Examination of each slot beside the first.

    Args:
        slot: the K slots, rising. Shape [K].
        theta: P(examined) / P(the first slot is examined). Shape [K].
        error: standard error of theta, 0 of the first slot; NaN where there is none to be had (a slot without
            clicks, `all_pairs`). Shape [K].
        groups: groups that tell of it: seen in two slots or more (`ratio`: 0, it needs none).
    """

    slot: NDArray[Any]
    theta: Floats
    error: Floats
    groups: int


def ratio(slot: ArrayLike, n: ArrayLike, clicks: ArrayLike) -> Slots:
    """theta_k = click rate in slot k / click rate in the first slot.

    Assumption: what stands in a slot was decided by chance.

    Args:
        slot: numbers or names, the first in order is the reference. Shape [R].
        n: impressions. Shape [R], >= 0.
        clicks: of them, clicked. Shape [R], in [0, n].

    Raises:
        ValueError: the shapes differ, a count is out of range, or the first slot has no clicks.
    """
    names, k, shown, clicked = _table(slot, n, clicks)
    size = len(names)
    total, came = np.bincount(k, shown, size), np.bincount(k, clicked, size)
    if not came[0] > 0:
        raise ValueError(
            f"slot {names[0]} has no clicks; the others are measured against it. Gather more, or leave it out"
        )
    rate = came / total
    with np.errstate(divide="ignore"):
        log_variance = 1 / came - 1 / total
    theta = rate / rate[0]
    error = theta * np.sqrt(np.where(came > 0, log_variance + log_variance[0], np.nan))
    error[0] = 0.0
    return Slots(names, theta, error, 0)


def pbm(group: ArrayLike, slot: ArrayLike, n: ArrayLike, clicks: ArrayLike) -> Slots:
    """theta of the position-based model by EM, the attractiveness of every group fitted along with it.

    Groups seen in one slot, or never clicked, say nothing and are left out.

    Args:
        group: what keeps its attractiveness. Shape [R].
        slot: numbers or names, the first in order is the reference. Shape [R].
        n: impressions. Shape [R], >= 0.
        clicks: of them, clicked. Shape [R], in [0, n].

    Raises:
        ValueError: the shapes differ, a count is out of range, no group with clicks was seen in two slots, or
            the slots fall into parts that no group connects.
    """
    names, k, shown, clicked = _table(slot, n, clicks)
    g, k, shown, clicked = _groups(_there(group, n), k, shown, clicked, len(names))
    several = (np.bincount(g) > 1) & (np.bincount(g, clicked) > 0)
    use = several[g]
    _connected(g[use], k[use], clicked[use], names)
    # A slot without clicks has theta 0, and then tells nothing about groups.
    alive = np.bincount(k[use], clicked[use], len(names)) > 0
    use &= alive[k]
    g, k = (np.unique(part[use], return_inverse=True)[1] for part in (g, k))
    theta, error = np.zeros(len(names)), np.where(alive, 0.0, np.nan)
    theta[alive], error[alive] = _fit(g, k, shown[use], clicked[use])
    return Slots(names, theta, error, int(several.sum()))


def all_pairs(group: ArrayLike, slot: ArrayLike, n: ArrayLike, clicks: ArrayLike) -> Slots:
    """theta by intervention harvesting: for each pair of slots, the groups seen in both stand in both alike.

        c_k(k, k') = sum over groups seen in k and k' of u clicks / n in slot k,   P = theta_k r(k, k')

    with u = n n' / (n + n') of a group, the weights of Mantel and Haenszel (the paper counts every group
    alike, which is as consistent and varies more). r is the mean attractiveness of the groups of a pair;
    theta and r by maximum likelihood over all pairs, which is `pbm` with a pair of slots in the place of a
    group. No standard errors (NaN): rows of a group enter several pairs.

    Args:
        group: what keeps its attractiveness. Shape [R].
        slot: numbers or names, the first in order is the reference. Shape [R].
        n: impressions. Shape [R], >= 0.
        clicks: of them, clicked. Shape [R], in [0, n].

    Raises:
        ValueError: as `pbm`.
    """
    names, k, shown, clicked = _table(slot, n, clicks)
    g, k, shown, clicked = _groups(_there(group, n), k, shown, clicked, len(names))
    size, groups = len(names), int(g.max(initial=-1)) + 1
    seen, rate = np.zeros((size, groups)), np.zeros((size, groups))
    seen[k, g], rate[k, g] = shown, clicked / shown
    one, two = np.triu_indices(size, 1)
    both = seen[one] * seen[two]
    u = both / np.where(both > 0, seen[one] + seen[two], 1.0)  # [pair, group]
    pair, came = np.tile(np.arange(len(one)), 2), [(u * rate[k]).sum(1) for k in (one, two)]
    slots = names[np.concatenate([one, two])]
    found = pbm(pair, slots, np.tile(u.sum(1), 2), np.concatenate(came))
    error = np.where(np.arange(size) > 0, np.nan, 0.0)
    return Slots(names, found.theta, error, int(((seen > 0).sum(0) > 1).sum()))


# --- maximum likelihood ------------------------------------------------------------------------------------


def _fit(g: Ints, k: Ints, n: Floats, c: Floats) -> tuple[Floats, Floats]:
    """theta with its standard errors, every group and slot with clicks: EM, finished by Newton's method.

    The likelihood is concave in log theta and log gamma. EM never leaves [0, 1] and comes near quickly, but
    crawls where groups are nearly always clicked; Newton's steps by the expected curvature do not.
    """
    c = np.minimum(c, n * (1 - 1e-6))  # where all were clicked, P = 1 would be an edge to get caught at
    theta, gamma = _em(g, k, n, c)
    x, y = np.log(theta), np.log(gamma)

    def likelihood(x: Floats, y: Floats) -> float:
        z = x[k] + y[g]
        return float(c @ z + (n - c) @ np.log1p(-np.exp(z))) if (z < 0).all() else -math.inf

    best, others = likelihood(x, y), slice(1, None)
    for _ in range(STEPS):
        p = np.exp(x[k] + y[g])
        score, weight = (c - n * p) / (1 - p), n * p / (1 - p)
        by_group, table = np.bincount(g, weight), np.zeros((len(x), len(y)))
        table[k, g] = weight
        # log gamma is eliminated, log theta of the first slot stays: only ratios are identified
        leading = table / by_group
        information = (np.diag(table.sum(1)) - leading @ table.T)[others, others]
        score_g = np.bincount(g, score)
        dx = np.zeros(len(x))
        dx[others] = np.linalg.solve(information, (np.bincount(k, score) - leading @ score_g)[others])
        dy = (score_g - table.T @ dx) / by_group
        size, least = 1.0, best - 1e-12 * abs(best)  # what rounding may take
        while (found := likelihood(x + size * dx, y + size * dy)) < least and size > 1e-9:
            size /= 2
        if found < least:
            break
        x, y, best = x + size * dx, y + size * dy, found
        if np.abs(size * dx).max(initial=0.0) < 1e-13:
            break
    theta = np.exp(x - x[0])
    error = np.zeros(len(x))
    error[others] = theta[others] * np.sqrt(np.diag(np.linalg.inv(information)))
    return theta, error


def _em(g: Ints, k: Ints, n: Floats, c: Floats) -> tuple[Floats, Floats]:
    """theta and gamma after some rounds of EM.

        theta_k = sum over its rows of (c + (n - c) theta_k (1 - gamma_g) / (1 - theta_k gamma_g)) / sum of n

    and gamma_g with the two exchanged: clicks, and the chance that a silent row was examined (attractive).
    Only products are identified; theta and gamma are begun at the same height, where EM is quickest.
    """
    n_k, n_g = np.bincount(k, n), np.bincount(g, n)
    theta, gamma = np.bincount(k, c) / n_k, np.bincount(g, c) / n_g
    height = 0.99 * math.sqrt((c / n).max())
    theta, gamma = height * theta / theta.max(), height * gamma / gamma.max()
    for _ in range(ROUNDS):
        e, a = theta[k], gamma[g]
        silent = (n - c) / (1 - e * a)
        theta = np.bincount(k, c + silent * e * (1 - a)) / n_k
        gamma = np.bincount(g, c + silent * a * (1 - e)) / n_g
        theta, gamma = np.minimum(theta, 1 - 1e-9), np.minimum(gamma, 1 - 1e-9)
    return theta, gamma


# --- tables ------------------------------------------------------------------------------------------------


def _table(slot: ArrayLike, n: ArrayLike, clicks: ArrayLike) -> tuple[NDArray[Any], Ints, Floats, Floats]:
    """Slots, the slot of each row, impressions and clicks; rows without impressions left out."""
    k, shown, clicked = np.asarray(slot), np.asarray(n, np.float64), np.asarray(clicks, np.float64)
    if not (k.shape == shown.shape == clicked.shape and k.ndim == 1):
        raise ValueError(
            f"slot has shape {k.shape}, n {shown.shape}, clicks {clicked.shape}; the same [R] is needed"
        )
    bad = np.flatnonzero(~((clicked >= 0) & (clicked <= shown)))
    if bad.size:
        raise ValueError(
            f"row {bad[0]} has {clicked[bad[0]]:g} clicks on {shown[bad[0]]:g} impressions; between none and "
            "all of them can be clicked"
        )
    there = shown > 0
    names, code = np.unique(k[there], return_inverse=True)
    if not len(names):
        raise ValueError("no row has impressions; a position is measured by what was shown in it")
    return names, code.astype(np.int64), shown[there], clicked[there]


def _there(group: ArrayLike, n: ArrayLike) -> NDArray[Any]:
    """Groups of the rows with impressions."""
    names, shown = np.asarray(group), np.asarray(n, np.float64)
    if names.shape != shown.shape:
        raise ValueError(f"group has shape {names.shape}, n {shown.shape}; the same is needed")
    return names[shown > 0]


def _groups(
    group: NDArray[Any], k: Ints, n: Floats, c: Floats, slots: int
) -> tuple[Ints, Ints, Floats, Floats]:
    """One row for each (group, slot) with impressions: group, slot, impressions, clicks."""
    at = np.unique(group, return_inverse=True)[1].astype(np.int64) * slots + k
    used, row = np.unique(at, return_inverse=True)
    shown, clicked = (np.asarray(np.bincount(row, x), np.float64) for x in (n, c))
    return used // slots, used % slots, shown, clicked


def _connected(g: Ints, k: Ints, c: Floats, names: NDArray[Any]) -> None:
    """Every slot is tied to the first by groups that were seen in both, through slots with clicks."""
    size = len(names)
    rows, clicks = np.bincount(k, minlength=size), np.bincount(k, c, size)
    if not clicks[0] > 0:
        raise ValueError(
            f"slot {names[0]} has no clicks on groups seen in other slots too; the others are measured "
            "against it. Gather more, or leave it out"
        )
    tied = np.zeros((size, int(g.max()) + 1), bool)
    tied[k, g] = True
    tied[clicks == 0] = False
    reached = np.arange(size) == 0
    for _ in range(size):
        reached = reached | tied[:, tied[reached].any(0)].any(1)
    lost = names[~reached & ((clicks > 0) | (rows == 0))]
    if len(lost):
        raise ValueError(
            f"no clicked group ties slot {', '.join(map(str, lost))} to slot {names[0]}: nothing that was "
            "clicked was seen in both. Let some responses change places, or leave these slots out"
        )
