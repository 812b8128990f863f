"""CVIB: no propensity; what is predicted without feedback should carry what is predicted with it.

    mean over observed of bce(z, y)  +  knob H(a, b)  -  .1 mean over observed of H(q),   q = sigmoid(z)
    H(a, b) = -a log b - (1 - a) log(1 - b),   a, b the mean of q over observed and over other rows of a batch

Wang et al., "Information Theoretic Counterfactual Learning from Missing-Not-At-Random Feedback" (NeurIPS
2020). The last term punishes confidence.

Reference code: the punishment is mean of q log q alone, half of an entropy, which pulls every q towards 1 /
e; nothing is clamped, so that a saturated q gives infinity. Here: both halves, computed from z. Knob: weight
of the contrast, .1, .3, 1 (the reference has .2).
"""

import torch
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import bce, mlp, pose, seeded, train
from torch import Tensor
from torch.nn.functional import logsigmoid

GRID = grid((0.1, 0.3, 1.0))
CONFIDENCE = 0.1
EPS = 1e-6


def entropy(z: Tensor) -> Tensor:
    """Binary entropy of sigmoid(z), both halves, finite for every z. Shape of z."""
    q = torch.sigmoid(z)
    return -(q * logsigmoid(z) + (1 - q) * logsigmoid(-z))


def contrast(z: Tensor, o: Tensor) -> Tensor:
    """Cross-entropy of the mean prediction without feedback against that with it; 0 if either is empty."""
    if not 0 < int(o.sum()) < len(o):
        return z.sum() * 0
    q = torch.sigmoid(z)
    a, b = (q[o == side].mean().clamp(EPS, 1 - EPS) for side in (1, 0))
    return -a * b.log() - (1 - a) * (1 - b).log()


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log."""
    problem = pose(log, weighted=False)
    X, y, o = problem.X, problem.y, problem.o
    with seeded(log.seed):
        net = mlp(X.shape[1])

        def step(rows: Tensor, _: int) -> Tensor:
            z, seen = net(X[rows])[:, 0], o[rows]
            fitted = (seen * bce(z, y[rows])).sum() / seen.sum().clamp_min(1)
            sure = (seen * entropy(z)).sum() / seen.sum().clamp_min(1)
            return fitted + tuning.knob * contrast(z, seen) - CONFIDENCE * sure

        return train(
            net,
            step,
            problem,
            tuning,
            rows=problem.training,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
        )
