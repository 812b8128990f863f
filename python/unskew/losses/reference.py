"""Losses, their slopes and their targets, row by row: the only statement of this mathematics in Python.

With s = sigmoid(z) and c = sigmoid(-z) = 1 - s,

    logistic   L = b softplus(-z) + (a - b) softplus(z)     dL/dz = (a - b) s - b c
    Brier      L = b c^2 + (a - b) s^2                      dL/dz = 2 s c ((a - b) s - b c)
    mixture    L = w (softplus(z) - softplus(z + d))        dL/dz = w (s - sigmoid(z + d))

The first two are a softplus(z) - b z and a s^2 - 2 b s + b, written as b times the loss of label 1 plus a - b
times the loss of label 0: nothing cancels when b = a, or at |z| of thousands. Every function can be
differentiated twice by torch; Rust and Triton hold the same formulas and are tested against these.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

FLOOR = 0.02
"""Smallest propensity that `raw` uses as it is."""

MIN_D = 0.2
"""Rates with D = 1 - fnr - fpr at or below this are refused."""

Rowwise = Callable[[Tensor, Tensor, Tensor], Tensor]


class Target(NamedTuple):
    """What the raw columns amount to.

    Args:
        a: weight of the row. Shape [N].
        b: weight times target. Shape [N].
        weight: observed / propensity, the weight whose effective sample size counts. Shape [N].
        clipped: observed, with a propensity below the floor. Shape [N], bool.
    """

    a: Tensor
    b: Tensor
    weight: Tensor
    clipped: Tensor


class Rule(NamedTuple):
    """What a raw column must be.

    Args:
        name: the column, or a formula of columns.
        values: what was found. Shape [N].
        fine: where it is as expected. Shape [N], bool.
        expected: in words.
        remedy: what to do where it is not.
    """

    name: str
    values: Tensor
    fine: Tensor
    expected: str
    remedy: str


def logistic(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a softplus(z) - b z, for each row.

    Convex where a >= 0; unbounded below where b is outside [0, a].

    Args:
        z: score, or difference of scores, less the margin. Shape [N], in logits.
        a: weight. Shape [N].
        b: weight times target. Shape [N].
    """
    return -(b * logsigmoid(z) + (a - b) * logsigmoid(-z))


def brier(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a s^2 - 2 b s + b with s = sigmoid(z), for each row: bounded, and linear in a and b.

    Args:
        z: score, or difference of scores, less the margin. Shape [N], in logits.
        a: weight. Shape [N].
        b: weight times target. Shape [N].
    """
    return b * torch.sigmoid(-z).square() + (a - b) * torch.sigmoid(z).square()


def mixture(z: Tensor, w: Tensor, d: Tensor) -> Tensor:
    """w (softplus(z) - softplus(z + d)), for each row: -log-likelihood of the record + constant.

    Between -w max(d, 0) and w max(-d, 0). Fisher-consistent: least in expectation at the true z when d is
    log P(record | liked) / P(record | not liked).

    Args:
        z: score, or difference of scores, less the margin. Shape [N], in logits.
        w: weight. Shape [N].
        d: log-likelihood ratio of what was recorded. Shape [N].
    """
    # L(z, d) = L(-z, -d) - d; on the side where z + d / 2 <= 0 no softplus is larger than |d|, whatever |z|
    mirrored = z + d / 2 > 0
    sign = 1 - 2 * mirrored.to(z.dtype)
    near, far = sign * z, sign * (z + d)
    return w * (logsigmoid(-far) - logsigmoid(-near) - mirrored * d)


def logistic_slope(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """dL/dz of `logistic`."""
    return (a - b) * torch.sigmoid(z) - b * torch.sigmoid(-z)


def brier_slope(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """dL/dz of `brier`."""
    return 2 * torch.sigmoid(z) * torch.sigmoid(-z) * logistic_slope(z, a, b)


def mixture_slope(z: Tensor, w: Tensor, d: Tensor) -> Tensor:
    """dL/dz of `mixture`, as one product, since the difference of two sigmoids cancels."""
    gap = torch.sign(d) * torch.expm1(-d.abs())
    return w * gap * torch.sigmoid(z + d.clamp(min=0)) * torch.sigmoid(-z - d.clamp(max=0))


LOSSES: dict[str, tuple[Rowwise, Rowwise]] = {
    "logistic": (logistic, logistic_slope),
    "brier": (brier, brier_slope),
    "mixture": (mixture, mixture_slope),
}
"""Name -> (loss, slope)."""


def target(
    label: Tensor,
    observed: Tensor,
    propensity: Tensor,
    fnr: Tensor,
    fpr: Tensor,
    imputation: Tensor | None = None,
    *,
    floor: float = FLOOR,
) -> Target:
    """Columns a and b from what was recorded: inverse propensity, or doubly robust with an imputation.

        t = (label - fpr) / (1 - fnr - fpr),    weight = observed / max(propensity, floor)
        IPS    a = weight,    b = weight t
        DR     a = 1,         b = imputation + weight (t - imputation)

    Unbiased under the assumptions of `unskew.estimators.ips` and `doubly_robust`, whose fused twin this is.

    Args:
        label: recorded label, read where observed. Shape [N], in [0, 1].
        observed: feedback was given. Shape [N], bool.
        propensity: P(observed). Shape [N], in (0, 1].
        fnr: P(recorded 0 | true 1). Shape [N], in [0, 1].
        fpr: P(recorded 1 | true 0). Shape [N], in [0, 1], with 1 - fnr - fpr > .2.
        imputation: P(true label = 1); IPS when absent. Shape [N], in [0, 1].
        floor: smaller propensities are raised to it.
    """
    weight = observed / propensity.clamp(min=floor)
    corrected = torch.where(observed, (label - fpr) / (1 - fnr - fpr), 0)
    clipped = observed & (propensity < floor)
    if imputation is None:
        return Target(weight, weight * corrected, weight, clipped)
    robust = imputation + weight * (corrected - imputation)
    return Target(torch.ones_like(robust), robust, weight, clipped)


def rules(
    label: Tensor,
    observed: Tensor,
    propensity: Tensor,
    fnr: Tensor,
    fpr: Tensor,
    imputation: Tensor | None = None,
) -> list[Rule]:
    """What must hold in every row of the raw columns; a row that breaks one has no loss.

    Args:
        label: as in `target`.
        observed: as in `target`.
        propensity: as in `target`.
        fnr: as in `target`.
        fpr: as in `target`.
        imputation: as in `target`.
    """
    d = 1 - fnr - fpr
    noisy = "labels this noisy carry next to nothing: leave the kind out, or use the mixture"
    found = [
        Rule("propensity", propensity, (propensity > 0) & (propensity <= 1), "in (0, 1]", "drop the row"),
        Rule("fnr", fnr, fnr >= 0, "in [0, 1]", "it is a probability"),
        Rule("fpr", fpr, fpr >= 0, "in [0, 1]", "it is a probability"),
        Rule("1 - fnr - fpr", d, d > MIN_D, f"above {MIN_D:g}", noisy),
        Rule("label", label, ~observed | (label >= 0) & (label <= 1), "in [0, 1]", "1 is liked, 0 is not"),
    ]
    if imputation is not None:
        fine = (imputation >= 0) & (imputation <= 1)
        found.append(Rule("imputation", imputation, fine, "in [0, 1]", "it is a probability, not a logit"))
    return found
