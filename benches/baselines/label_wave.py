"""LabelWave: naive, stopped when predictions begin to change again, without any validation label.

    changes(epoch) = training rows with feedback whose predicted class differs from that of the epoch before
    stop at the first epoch in which the mean of the last k changes stops falling

Yuan et al., "Early Stopping Against Label Noise Without Validation Data" (ICLR 2024).

Reference code: nothing to repair. Here: changes are counted over the rows that are trained on. Held-out
prompts choose among the settings, never the epoch. Knob: k, 3, 5, 10 (the reference has 10).
"""

import numpy as np
import torch
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import bce, mlp, pose, seeded, train
from torch import Tensor

GRID = grid((3, 5, 10))


class Waves:
    """Moving mean of prediction changes.

    Args:
        k: epochs in the mean.
    """

    def __init__(self, k: int) -> None:
        self.k, self.before, self.changes = k, None, []

    def __call__(self, z: Tensor) -> float:
        """The mean of the last k changes, infinite before there are k. Takes logits, shape [N]."""
        now = z > 0
        if self.before is not None:
            self.changes.append(float((now != self.before).float().sum()))
        self.before = now
        return float(np.mean(self.changes[-self.k :])) if len(self.changes) >= self.k else np.inf


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log."""
    problem = pose(log, weighted=False)
    X, y, seen = problem.X, problem.y, problem.seen
    k = int(tuning.knob)
    waves = Waves(k)
    with seeded(log.seed):
        net = mlp(X.shape[1])
        return train(
            net,
            lambda rows, _: bce(net(X[rows])[:, 0], y[rows]).mean(),
            problem,
            tuning,
            rows=seen,
            value=lambda: waves(net(X[seen])[:, 0]),
            warm_up=k,
            patience=1,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
        )
