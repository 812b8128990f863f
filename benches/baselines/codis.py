"""CoDis: co-teaching that also keeps rows on which the two networks disagree.

    kept    least of   loss of B - knob JS(A, B)     over observed rows, the rest as in `co_teaching`
    JS(A, B) = H((a + b) / 2) - (H(a) + H(b)) / 2,   a, b = P(label 1) by A and B, H the binary entropy

Xia et al., "Combating Noisy Labels with Sample Selection by Mining High-Discrepancy Examples" (ICCV 2023).

Reference code: counts the whole batch, as in `co_teaching`, and degenerates likewise. Here: a fifth of the
observed rows is forgotten. Knob: weight of the discrepancy, .1, .5, 1.
"""

import torch
from benches.baselines.co_teaching import cross
from benches.baselines.cvib import entropy
from benches.baselines.logged import Logged, Model, Tuning, grid
from torch import Tensor

GRID = grid((0.1, 0.5, 1.0))
FORGET = 0.2


def jensen_shannon(z: Tensor, other: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two binary predictions, in nats, from their logits. Shape [N]."""
    middle = ((torch.sigmoid(z) + torch.sigmoid(other)) / 2).clamp(1e-7, 1 - 1e-7)
    return (entropy(torch.logit(middle)) - (entropy(z) + entropy(other)) / 2).clamp_min(0)


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log."""
    return cross(log, tuning, FORGET, lambda loss, z, other: loss - tuning.knob * jensen_shannon(z, other))
