"""StableDR: a self-normalised reward loss under propensities that balance the imputed loss exactly.

    1 / p' = 1 + exp(-(logit p + tilt c)),   c = e - mean e,   tilt such that  sum of (o / p') c = 0
    reward     sum of (o / p') l / sum of o / p'                 imputer as in `dr_jl`

Li et al., "StableDR: Stabilized Doubly Robust Learning for Recommendation on Data Missing Not at Random"
(ICLR 2023, arXiv 2205.04701). With the balance at zero the estimate equals mean e plus a self-normalised
correction, so it is the ideal loss exactly when e = l, and consistent when p is right; it never leaves the
range of the losses. The balance is decreasing in the tilt, so bisection finds it, in every epoch.

Reference code: has the constraint as a penalty alone (`sdr`), with the mistakes named there. Knob: floor of
the propensity that is tilted, .02, .05, .1.
"""

import torch
from benches.baselines.dr_jl import imputation
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import bce, mlp, pose, seeded, train
from torch import Tensor, nn

GRID = grid((0.02, 0.05, 0.1))
REACH = 5.0
"""Largest change of the log-odds of a propensity; a balance that asks for more is not reached."""


def balanced(p: Tensor, e: Tensor, o: Tensor) -> Tensor:
    """Weights 1 / p' where observed, 0 elsewhere, that give e the mean it has over all rows. Shape [N]."""
    c = (e - e.mean()).double()
    odds = ((1 - p) / p).double()
    c = c / c.abs().max().clamp_min(1e-12)
    low, high = -REACH, REACH
    for _ in range(60):
        tilt = (low + high) / 2
        rest = float((o * (1 + odds * torch.exp(-tilt * c)) * c).sum())
        low, high = (tilt, high) if rest > 0 else (low, tilt)
    return (o * (1 + odds * torch.exp(-(low + high) / 2 * c))).to(p.dtype)


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log, with its propensities or fitted ones."""
    problem = pose(log, weighted=True)
    X, y, o, p = problem.X, problem.y, problem.o, problem.p.clamp_min(tuning.knob)
    weight = torch.zeros_like(o)
    inside = problem.training
    with seeded(log.seed):
        nets = nn.ModuleList([mlp(X.shape[1]), mlp(X.shape[1])])
        reward = nets[0]

        def begin(_: int) -> None:
            z, v = (net(X[inside])[:, 0] for net in nets)
            w = balanced(p[inside], bce(z, torch.sigmoid(v)), o[inside])
            weight[inside] = w / w.mean()

        def step(rows: Tensor, _: int) -> Tensor:
            z, v = (net(X[rows])[:, 0] for net in nets)
            loss = imputation(z.detach(), y[rows], torch.sigmoid(v), o[rows], p[rows]).mean()
            return loss + (weight[rows] * bce(z, y[rows])).mean()

        return train(
            nets,
            step,
            problem,
            tuning,
            rows=problem.seen,  # weights and errors are zero elsewhere
            begin=begin,
            read=lambda X: torch.sigmoid(reward(X)[:, 0]),
        )
