"""MT-IPS: propensity and reward learned together on one trunk, the reward weighted by the propensity.

    mean over all rows of   (o / p) bce(z, y)  +  knob bce(u, o),    p = max(sigmoid(u), floor), not moved by
                                                                      the first term
Zhang et al., "Large-scale Causal Approaches to Debiasing Post-click Conversion Rate Estimation with
Multi-task Learning" (WWW 2020), Multi-IPW. Unbiased when p = P(observed | x) and labels are never flipped.

Reference code: the value that decides when to stop is refreshed in every fourth epoch, so that patience
counts stale numbers; propensities are cut at .1, which keeps half of the weight of disliked responses or
less. Here: a value in every epoch, a floor of .02, and the mean over all rows, observed or not. Knob: weight
of the propensity, .3, 1, 3; the first epochs learn it alone.
"""

import torch
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import FLOOR, bce, mlp, pose, seeded, train
from torch import Tensor

GRID = grid((0.3, 1.0, 3.0))
WARM_UP = 5


def ips(z: Tensor, y: Tensor, o: Tensor, p: Tensor) -> Tensor:
    """Inverse propensity score of each row; its mean is unbiased for the loss of all rows. Shape [N]."""
    return o / p * bce(z, y)


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log; its propensities serve the held-out value alone."""
    problem = pose(log, weighted=True)
    X, y, o = problem.X, problem.y, problem.o
    with seeded(log.seed):
        net = mlp(X.shape[1], 2)

        def step(rows: Tensor, epoch: int) -> Tensor:
            z, u = net(X[rows]).unbind(1)
            loss = tuning.knob * bce(u, o[rows]).mean()
            if epoch < WARM_UP:
                return loss
            p = torch.sigmoid(u).detach().clamp_min(FLOOR)
            return loss + ips(z, y[rows], o[rows], p).mean()

        return train(
            net,
            step,
            problem,
            tuning,
            rows=problem.training,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
            warm_up=WARM_UP,
        )
