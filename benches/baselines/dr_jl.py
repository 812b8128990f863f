"""DR-JL: doubly robust joint learning, the imputed loss learned beside the reward.

    reward     mean over all rows of   e + (o / p) (l - e),     l = bce(z, y),  e = bce(z, q), q not moved
    imputer    mean over all rows of   (o / p) (l - e)^2,       z not moved

Wang et al., "Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random" (ICML 2019).
Unbiased for the loss of all rows when p is right, or e is, and labels are never flipped.

Reference code: the imputer is fitted once and frozen, propensities are cut at .1, and training stops by its
own loss. Here: imputer and reward move in every step, the floor is the knob, and held-out prompts decide. A
baseline has no error rates: its target is the recorded label, and e can be right for that target only. Knob:
floor of the propensity, .02, .05, .1.
"""

import torch
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import bce, mlp, pose, seeded, train
from torch import Tensor, nn

GRID = grid((0.02, 0.05, 0.1))


def doubly_robust(z: Tensor, y: Tensor, q: Tensor, o: Tensor, p: Tensor) -> Tensor:
    """Doubly robust loss of each row. Shape [N]."""
    imputed = bce(z, q)
    return imputed + o / p * (bce(z, y) - imputed)


def imputation(z: Tensor, y: Tensor, q: Tensor, o: Tensor, p: Tensor) -> Tensor:
    """Weighted squared error of the imputed loss of each row. Shape [N]."""
    return o / p * (bce(z, y) - bce(z, q)).square()


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log, with its propensities or fitted ones."""
    problem = pose(log, weighted=True)
    X, y, o, p = problem.X, problem.y, problem.o, problem.p.clamp_min(tuning.knob)
    with seeded(log.seed):
        nets = nn.ModuleList([mlp(X.shape[1]), mlp(X.shape[1])])
        reward, imputer = nets

        def step(rows: Tensor, _: int) -> Tensor:
            z, q = reward(X[rows])[:, 0], torch.sigmoid(imputer(X[rows])[:, 0])
            given = y[rows], o[rows], p[rows]
            loss = doubly_robust(z, given[0], q.detach(), *given[1:]).mean()
            return loss + imputation(z.detach(), given[0], q, *given[1:]).mean()

        return train(
            nets,
            step,
            problem,
            tuning,
            rows=problem.training,
            read=lambda X: torch.sigmoid(reward(X)[:, 0]),
        )
