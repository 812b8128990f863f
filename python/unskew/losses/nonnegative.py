"""Corrections of a risk that cannot be negative but is: they act on sums over a batch, not on rows.

Corrected columns split any linear loss into two parts,

    R1 = sum b l(z, 1)          R0 = sum (a - b) l(z, 0)          risk = R1 + R0

each an unbiased estimate of a number that is not negative. With targets outside [0, 1] a flexible model
drives a part below zero by memorising. The corrections bend it back:

    non_negative   max(0, R1) + max(0, R0)     no slope from a part below zero
    absolute       |R1| + |R0|                 a part below zero is climbed back up
    flooding       |risk - level| + level      a risk below the level is climbed back up

All are convex in the sums, so their expectation is at least that of the plain risk (Jensen): biased upwards,
by E[max(0, -R)] for each part that is clamped, twice that for the absolute value, 2 E[max(0, level - risk)]
for flooding. The bias depends on the batch: use them to train, report the plain risk. Over accumulated
micro-batches or ranks the sums must be added first.

    r1, r0 = class_risks(z, a, b, loss=logistic, normalizer=n)
    non_negative(r1, r0).backward()
"""

import torch
from torch import Tensor

from unskew.losses.reference import Rowwise, brier


def class_risks(
    z: Tensor, a: Tensor, b: Tensor, *, loss: Rowwise = brier, normalizer: float | None = None
) -> tuple[Tensor, Tensor]:
    """R1 = sum b l(z, 1) and R0 = sum (a - b) l(z, 0): what liked and disliked responses cost.

    Unbiased for sum P(liked) l(z, 1) and sum (1 - P(liked)) l(z, 0) when the columns are.

    Args:
        z: score, or difference of scores, less the margin. Shape [N], in logits.
        a: weight. Shape [N].
        b: weight times target. Shape [N].
        loss: `losses.logistic` or `losses.brier`, or any function (z, a, b) -> loss of each row that is
            linear in a and b.
        normalizer: what both sums are divided by, > 0; the number of rows when absent.

    Returns:
        R1 and R0, scalars.

    Raises:
        ValueError: the shapes differ, or the normalizer is not positive.
    """
    if not z.shape == a.shape == b.shape:
        raise ValueError(
            f"z has shape {list(z.shape)}, a {list(a.shape)}, b {list(b.shape)}; the same is needed"
        )
    over = max(len(z), 1) if normalizer is None else normalizer
    if not over > 0:
        raise ValueError(f"normalizer is {normalizer}; it must be > 0")
    return loss(z, b, b).sum() / over, loss(z, a - b, 0 * b).sum() / over


def non_negative(r1: Tensor, r0: Tensor) -> Tensor:
    """max(0, R1) + max(0, R0): a part below zero counts as zero and has no slope.

    With the columns of `estimators.nnpu`, whose R1 is never negative, this is the non-negative PU risk.
    Expectation: the clean risk + E[max(0, -R1)] + E[max(0, -R0)] when the columns are unbiased.

    Args:
        r1: of `class_risks`. A scalar.
        r0: of `class_risks`. A scalar.

    Source: Kiryo et al., "Positive-Unlabeled Learning with Non-Negative Risk Estimator" (2017); Lu et
    al., "Mitigating Overfitting in Supervised Classification from Two Unlabeled Datasets" (2020).
    """
    return torch.relu(r1) + torch.relu(r0)


def absolute(r1: Tensor, r0: Tensor) -> Tensor:
    """|R1| + |R0|: the slope of a part below zero is turned round.

    The step that Kiryo et al. take where a part is negative (their algorithm 1 with beta 0, gamma 1).
    Expectation: the clean risk + 2 E[max(0, -R1)] + 2 E[max(0, -R0)] when the columns are unbiased.

    Args:
        r1: of `class_risks`. A scalar.
        r0: of `class_risks`. A scalar.

    Source: Lu et al. (2020), absolute value as the correction function.
    """
    return r1.abs() + r0.abs()


def flooding(risk: Tensor, level: float) -> Tensor:
    """|risk - level| + level: the risk of a batch is held at a level above zero.

    Expectation: that of the risk + 2 E[max(0, level - risk)].

    Args:
        risk: mean loss of a batch. A scalar.
        level: where the slope turns, in units of the loss.

    Source: Ishida et al., "Do We Need Zero Training Loss After Achieving Zero Training Error?" (2020).
    """
    return (risk - level).abs() + level
