"""MT-DR: propensity, imputation and reward on one trunk, the reward by the doubly robust loss.

    mean over all rows of   e + (o / p) (l - e)  +  (o / p) (l - e)^2  +  knob bce(u, o)

with l and e as in `dr_jl`; p and, in the first term, q are not moved; z is not moved by the second. Zhang et
al., "Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with Multi-task
Learning" (WWW 2020), Multi-DR. Unbiased when p is right, or e is, and labels are never flipped.

Reference code: as in `mt_ips`. Here: as there. Knob: weight of the propensity, .3, 1, 3.
"""

import torch
from benches.baselines.dr_jl import doubly_robust, imputation
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import FLOOR, bce, mlp, pose, seeded, train
from benches.baselines.mt_ips import WARM_UP
from torch import Tensor

GRID = grid((0.3, 1.0, 3.0))


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log; its propensities serve the held-out value alone."""
    problem = pose(log, weighted=True)
    X, y, o = problem.X, problem.y, problem.o
    with seeded(log.seed):
        net = mlp(X.shape[1], 3)

        def step(rows: Tensor, epoch: int) -> Tensor:
            z, u, v = net(X[rows]).unbind(1)
            loss = tuning.knob * bce(u, o[rows]).mean()
            if epoch < WARM_UP:
                return loss
            p, q = torch.sigmoid(u).detach().clamp_min(FLOOR), torch.sigmoid(v)
            loss = loss + imputation(z.detach(), y[rows], q, o[rows], p).mean()
            return loss + doubly_robust(z, y[rows], q.detach(), o[rows], p).mean()

        return train(
            net,
            step,
            problem,
            tuning,
            rows=problem.training,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
            warm_up=WARM_UP,
        )
