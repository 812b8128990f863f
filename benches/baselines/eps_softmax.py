"""eps-softmax: predictions pushed close to one-hot before a cross-entropy, beside a mean absolute error.

    mean over observed of   .05 (-log s_y)  +  2 (1 - q_y),
    s_k = (q_k + m [k is the predicted class]) / (1 + m),     q_1 = sigmoid(z), q_0 = 1 - q_1

Wang et al., "eps-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise" (NeurIPS 2024). The mean
absolute error of one-hot y is 2 (1 - q_y). Predicts q.

Reference code: the same two terms and weights, nothing to repair. Here: over observed rows. Knob: m, 1, 100,
10000 (the reference has 10000).
"""

import torch
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import mlp, pose, seeded, train
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

GRID = grid((1.0, 100.0, 10_000.0))
CROSS, ABSOLUTE = 0.05, 1.0


def loss(z: Tensor, y: Tensor, m: float) -> Tensor:
    """Loss of each row. Shape [N]."""
    side = (2 * y - 1) * z  # log-odds of the recorded class
    q = torch.sigmoid(side)
    right = (q + m).log()
    pushed = torch.where(side > 0, right, logsigmoid(side)) - torch.log1p(torch.tensor(m))
    return -CROSS * pushed + ABSOLUTE * 2 * torch.exp(-softplus(side))


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log."""
    problem = pose(log, weighted=False)
    X, y = problem.X, problem.y
    with seeded(log.seed):
        net = mlp(X.shape[1])
        return train(
            net,
            lambda rows, _: loss(net(X[rows])[:, 0], y[rows], tuning.knob).mean(),
            problem,
            tuning,
            rows=problem.seen,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
        )
