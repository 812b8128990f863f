"""UBPR: unbiased pairwise ranking from what was recorded as positive.

    mean over pairs (i, j) of   (Y_i / p_i) (1 - Y_j / p_j) softplus(-(s_i - s_j)),     Y = o y

Saito, "Unbiased Pairwise Learning from Biased Implicit Feedback" (ICTIR 2020). With p = P(observed | x) and
labels that are never flipped the mean weight of a pair is P(i liked) P(j not liked). Weights of pairs with
Y_j = 1 are negative; what a batch says of such pairs is not let below zero in sum (the paper's non-negative
estimator).

A rank has no scale, so probabilities are sigmoid(a s + b), with (a, b) the most likely values for the
recorded labels of training rows, weighted by o / p, fitted again in every epoch; held-out prompts then judge
as everywhere.

Reference code: the propensity of `ubpr` is cut at 1e-8 and computed from the positive label itself, which is
two values and no propensity. Here: p is that of any feedback, with a floor. Pairs are drawn within a batch, 8
rows j for each positive i, whatever their prompts: prompts here have two rows. Knob: floor of the propensity,
.02, .1, .3 (`cubpr` of the reference has .3).
"""

import torch
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import mlp, pose, seeded, train
from torch import Tensor
from torch.nn.functional import softplus

GRID = grid((0.02, 0.1, 0.3))
NEGATIVES = 8


def weight(i: Tensor, p_i: Tensor, j: Tensor, p_j: Tensor) -> Tensor:
    """(Y_i / p_i) (1 - Y_j / p_j) of each pair, from the recorded positives Y of both. Shape of the pairs."""
    return i / p_i * (1 - j / p_j)


def non_negative(weights: Tensor, margin: Tensor) -> Tensor:
    """Mean over pairs of weight softplus(-margin), or no gradient when it is below zero. A scalar."""
    return (weights * softplus(-margin)).mean().clamp_min(0)


def platt(s: Tensor, y: Tensor, w: Tensor) -> tuple[float, float]:
    """(a, b) of the most likely sigmoid(a s + b), a >= 0, by Newton's method with a little ridge."""
    design = torch.stack([s, torch.ones_like(s)], 1).double()
    w, y = (w / w.sum()).double(), y.double()
    found = torch.zeros(2, dtype=torch.float64)
    for _ in range(25):
        q = torch.sigmoid(design @ found)
        ridge = 1e-4 * torch.eye(2, dtype=torch.float64)
        hessian = (design * (w * q * (1 - q))[:, None]).T @ design + ridge
        move = torch.linalg.solve(hessian, design.T @ (w * (y - q)) - ridge @ found)
        found = found + move / max(1.0, float(move.norm()))
    return max(float(found[0]), 0.0), float(found[1])


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log, with its propensities or fitted ones."""
    problem = pose(log, weighted=True)
    X, o, seen = problem.X, problem.o, problem.seen
    up, p = problem.o * problem.y, problem.p.clamp_min(tuning.knob)
    with seeded(log.seed):
        net = mlp(X.shape[1])
        scale = torch.nn.Parameter(torch.tensor([1.0, 0.0]), requires_grad=False)
        net.register_parameter("scale", scale)

        def step(rows: Tensor, _: int) -> Tensor:
            s = net(X[rows])[:, 0]
            i = torch.nonzero(up[rows])[:, 0]
            if not len(i):
                return s.sum() * 0
            j = torch.randint(len(rows), (len(i), NEGATIVES))
            i_rows, j_rows = rows[i][:, None], rows[j]
            return non_negative(weight(up[i_rows], p[i_rows], up[j_rows], p[j_rows]), s[i][:, None] - s[j])

        def value() -> float:
            s = net(X[seen])[:, 0]
            scale.copy_(torch.tensor(platt(s, problem.y[seen], o[seen] / problem.p[seen])))
            return problem.score(read(X[problem.held]))

        def read(X: Tensor) -> Tensor:
            return torch.sigmoid(scale[0] * net(X)[:, 0] + scale[1])

        return train(net, step, problem, tuning, rows=problem.training, value=value, read=read)
