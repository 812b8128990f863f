"""SDR: a self-normalised reward loss, whose propensity is taught to balance the imputed loss.

    imputer      mean of (o / p) (l - e)^2                                            as in `dr_jl`
    propensity   mean of bce(u, o)  +  knob ( mean of (1 - o / p) (e - mean e) )^2
    reward       sum of (o / p) l / sum of o / p                                      p not moved

Li et al., "StableDR: Stabilized Doubly Robust Learning for Recommendation on Data Missing Not at Random"
(ICLR 2023, arXiv 2205.04701), its cycle of three updates. Where the balance is zero, the self-normalised loss
is doubly robust and stays bounded. `stable_dr` makes it zero; this file pushes it there.

Reference code: `sdr` has 1 - o p in the place of 1 - o / p; its square is around the cross-entropy as well;
the reward is divided by the number of observed rows, not by the sum of their weights. All three are repaired
here. Knob: weight of the balance, 1, 10, 100.
"""

import torch
from benches.baselines.dr_jl import imputation
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import FLOOR, bce, mlp, pose, seeded, train
from torch import Tensor, nn

GRID = grid((1.0, 10.0, 100.0))


def balance(e: Tensor, o: Tensor, p: Tensor) -> Tensor:
    """mean of (1 - o / p) (e - mean e): zero where weights do not move the mean of e. A scalar."""
    return ((1 - o / p) * (e - e.mean())).mean()


def propensity_loss(u: Tensor, e: Tensor, o: Tensor, weight: float) -> Tensor:
    """Cross-entropy of the propensity plus the squared balance. A scalar."""
    p = torch.sigmoid(u).clamp_min(FLOOR)
    return bce(u, o).mean() + weight * balance(e, o, p).square()


def self_normalised(loss: Tensor, o: Tensor, p: Tensor) -> Tensor:
    """sum of (o / p) loss / sum of o / p; 0 when nothing was observed. A scalar."""
    w = o / p
    return (w * loss).sum() / w.sum().clamp_min(1e-12)


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log; its propensities serve the held-out value alone."""
    problem = pose(log, weighted=True)
    X, y, o = problem.X, problem.y, problem.o
    with seeded(log.seed):
        nets = nn.ModuleList([mlp(X.shape[1]) for _ in range(3)])
        reward = nets[0]

        def step(rows: Tensor, _: int) -> Tensor:
            z, v, u = (net(X[rows])[:, 0] for net in nets)
            q, p = torch.sigmoid(v), torch.sigmoid(u).detach().clamp_min(FLOOR)
            e = bce(z, q).detach()
            loss = propensity_loss(u, e, o[rows], tuning.knob)
            loss = loss + imputation(z.detach(), y[rows], q, o[rows], p).mean()
            return loss + self_normalised(bce(z, y[rows]), o[rows], p)

        return train(
            nets,
            step,
            problem,
            tuning,
            rows=problem.training,
            read=lambda X: torch.sigmoid(reward(X)[:, 0]),
        )
