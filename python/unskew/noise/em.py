"""The two-class model of repeated labels: likelihood, EM map and observed information.

An item is truly 1 with probability `prior`; source k records 0 on a true 1 with probability fnr_k and 1 on a
true 0 with probability fpr_k, independently of the other sources given the truth. With u_k = 1 where source k
said 1, d_k = 1 where it said 0, and both 0 where it said nothing,

    log P(labels, 1) = log prior + sum_k u_k log(1 - fnr_k) + d_k log fnr_k
    log P(labels, 0) = log(1 - prior) + sum_k u_k log fpr_k + d_k log(1 - fpr_k)
    E:  q = P(1 | labels);  a gold label fixes it at 0 or 1
    M:  prior = mean q,   fnr_k = sum q d_k / sum q (u_k + d_k),   fpr_k = sum (1 - q) u_k / sum (1 - q) (u_k
        + d_k)

Every count of the M step gets `smooth` pseudo-rows of either outcome, which makes it the maximum of the
likelihood times smooth log x (1 - x) summed over all parameters x, and keeps rates off 0 and 1.

Sources: Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm"
(1979), equations 2.3 to 2.5; Louis, "Finding the Observed Information Matrix when Using the EM Algorithm"
(1982), equation 3.2.
"""

from dataclasses import dataclass

import numpy as np

from unskew.rates import Floats

TINY = 1e-300
"""Smallest number that is taken a logarithm of: P = 0 stays finite, and hopeless."""


@dataclass(frozen=True)
class Confusion:
    """Parameters of the model.

    Args:
        prior: P(true 1).
        fnr: P(source k records 0 | true 1). Shape [K].
        fpr: P(source k records 1 | true 0). Shape [K].
    """

    prior: float
    fnr: Floats
    fpr: Floats

    @property
    def D(self) -> Floats:
        """1 - fnr - fpr of every source. Shape [K]."""
        return np.asarray(1 - self.fnr - self.fpr)

    def swapped(self) -> "Confusion":
        """The same model with the names of the classes exchanged: all labels are as likely, every D turns."""
        return Confusion(1 - self.prior, 1 - self.fpr, 1 - self.fnr)

    def vector(self) -> Floats:
        """(prior, fnr, fpr). Shape [1 + 2 K]."""
        return np.concatenate([[self.prior], self.fnr, self.fpr])


@dataclass(frozen=True)
class Patterns:
    """What was said about items, equal items once.

    Args:
        up: source k said 1. Shape [P, K].
        down: source k said 0. Shape [P, K].
        gold: true label, NaN where unknown. Shape [P].
        weight: items with this pattern. Shape [P].
    """

    up: Floats
    down: Floats
    gold: Floats
    weight: Floats

    @classmethod
    def of(cls, labels: Floats, gold: Floats, weight: Floats) -> "Patterns":
        """From labels, 1, 0 or NaN. Shape [P, K]."""
        return cls((labels == 1).astype(np.float64), (labels == 0).astype(np.float64), gold, weight)


def joint(patterns: Patterns, at: Confusion) -> tuple[Floats, Floats]:
    """log P(labels, true 1) and log P(labels, true 0), -inf where gold rules it out. Shape [P] each."""
    miss, hit, false, right = (np.log(np.maximum(p, TINY)) for p in (at.fnr, 1 - at.fnr, at.fpr, 1 - at.fpr))
    one = np.log(max(at.prior, TINY)) + patterns.up @ hit + patterns.down @ miss
    zero = np.log(max(1 - at.prior, TINY)) + patterns.up @ false + patterns.down @ right
    return np.where(patterns.gold == 0, -np.inf, one), np.where(patterns.gold == 1, -np.inf, zero)


def posterior(patterns: Patterns, at: Confusion) -> Floats:
    """P(true 1 | labels, gold). Shape [P]."""
    one, zero = joint(patterns, at)
    return np.asarray(np.exp(one - np.logaddexp(one, zero)))


def loglik(patterns: Patterns, at: Confusion) -> float:
    """Log-likelihood of all items."""
    return float(patterns.weight @ np.logaddexp(*joint(patterns, at)))


def objective(patterns: Patterns, at: Confusion, smooth: float) -> float:
    """What `step` never lowers: log-likelihood plus smooth (log x + log(1 - x)) over all parameters."""
    x = at.vector()
    return loglik(patterns, at) + smooth * float(np.log(np.maximum(x * (1 - x), TINY)).sum())


def maximise(patterns: Patterns, q: Floats, smooth: float) -> Confusion:
    """M step: the parameters that make items most likely when q of each is true 1. Shape [P]."""
    w = patterns.weight

    def share(part: Floats, rest: Floats) -> Floats:
        whole = part + rest + 2 * smooth
        return np.asarray(np.where(whole > 0, (part + smooth) / np.where(whole > 0, whole, 1), 0.5))

    one, zero = w * q, w * (1 - q)
    prior = share(np.atleast_1d(one.sum()), np.atleast_1d(zero.sum()))
    fnr = share(one @ patterns.down, one @ patterns.up)
    fpr = share(zero @ patterns.up, zero @ patterns.down)
    return Confusion(float(prior[0]), fnr, fpr)


def step(patterns: Patterns, at: Confusion, smooth: float) -> Confusion:
    """One EM step."""
    return maximise(patterns, posterior(patterns, at), smooth)


def information(patterns: Patterns, at: Confusion, smooth: float) -> Floats:
    """Observed information: the negative second derivative of `objective` by (prior, fnr, fpr).

        I = sum_i E[B_i | labels] - q_i (1 - q_i) g_i g_i^T

    B_i is the information of an item whose class is known, diagonal here, and g_i the difference of the
    scores of its two classes; what is subtracted is what not knowing the class costs. Shape [1 + 2 K, 1 + 2
    K].
    """
    q, w, up, down = posterior(patterns, at), patterns.weight, patterns.up, patterns.down
    one, zero, size = w * q, w * (1 - q), up.shape[1]
    # For every parameter x: events whose chance is x, and events whose chance is 1 - x.
    yes = np.concatenate([[one.sum()], one @ down, zero @ up]) + smooth
    no = np.concatenate([[zero.sum()], one @ up, zero @ down]) + smooth
    x = np.clip(at.vector(), 1e-12, 1 - 1e-12)
    gap = np.column_stack(
        [
            np.full(len(q), 1 / (x[0] * (1 - x[0]))),
            down / x[1 : 1 + size] - up / (1 - x[1 : 1 + size]),
            down / (1 - x[1 + size :]) - up / x[1 + size :],
        ]
    )
    return np.asarray(np.diag(yes / x**2 + no / (1 - x) ** 2) - gap.T @ (gap * (w * q * (1 - q))[:, None]))


def climb(
    patterns: Patterns, start: Confusion, smooth: float, steps: int, tolerance: float
) -> tuple[Confusion, int, bool]:
    """EM steps until no parameter moves by `tolerance`: (parameters, steps taken, whether they settled)."""
    at = start
    for number in range(1, steps + 1):
        before, at = at, step(patterns, at, smooth)
        if np.abs(at.vector() - before.vector()).max() < tolerance:
            return at, number, True
    return at, steps, False
