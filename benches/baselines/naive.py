"""Naive: the recorded labels of the observed rows, as they are.

    mean over observed of bce(z, y)

With every row observed and clean labels it is the ideal. No knob; six pairs of step and weight decay.
"""

import torch
from benches.baselines.logged import Logged, Model, Tuning
from benches.baselines.loop import bce, mlp, pose, seeded, train

GRID = tuple(Tuning(lr, decay) for lr in (5e-4, 1e-3, 3e-3) for decay in (1e-4, 1e-3))


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log."""
    problem = pose(log, weighted=False)
    X, y = problem.X, problem.y
    with seeded(log.seed):
        net = mlp(X.shape[1])
        return train(
            net,
            lambda rows, _: bce(net(X[rows])[:, 0], y[rows]).mean(),
            problem,
            tuning,
            rows=problem.seen,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
        )
