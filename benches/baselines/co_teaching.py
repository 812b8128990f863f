"""Co-teaching: two networks, each taught by the rows on which the other loses little.

    loss of A   mean of bce(z_A, y) over the share 1 - forget(epoch) of observed rows with the least loss of B
    forget(epoch) = knob min(epoch / 10, 1)

Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels" (NeurIPS 2018),
algorithm 1. Predicts the mean of the two.

Reference code: keeps a share of the whole batch, in which unobserved rows have infinite loss; with a fifth of
the rows observed nothing is ever dropped, and what remains is plain cross-training. Here: a share of the
observed rows. Knob: share forgotten, .1, .2, .3.
"""

from collections.abc import Callable

import torch
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import bce, mlp, pose, seeded, train
from torch import Tensor, nn

GRID = grid((0.1, 0.2, 0.3))
RAMP = 10


def kept(score: Tensor, o: Tensor, forget: float) -> Tensor:
    """Rows of the observed share 1 - forget with the lowest score; never fewer than one of them."""
    seen = torch.nonzero(o == 1)[:, 0]
    count = max(round((1 - forget) * len(seen)), min(len(seen), 1))
    return seen[score[seen].argsort(stable=True)[:count]]


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log."""
    return cross(log, tuning, tuning.knob, lambda loss, mine, other: loss)


def cross(
    log: Logged, tuning: Tuning, most: float, score: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Model:
    """Two networks that choose rows for each other.

    Args:
        log: the log.
        tuning: step and weight decay.
        most: share forgotten in the end.
        score: (loss of the chooser, its logits, those of the other) -> what the least of is kept.
    """
    problem = pose(log, weighted=False)
    X, y, o = problem.X, problem.y, problem.o
    with seeded(log.seed):
        nets = nn.ModuleList([mlp(X.shape[1]), mlp(X.shape[1])])

        def step(rows: Tensor, epoch: int) -> Tensor:
            z = [net(X[rows])[:, 0] for net in nets]
            losses = [bce(side, y[rows]) for side in z]
            forget = most * min(epoch / RAMP, 1)
            total = losses[0].sum() * 0
            for mine, other in ((0, 1), (1, 0)):
                chosen = score(losses[other].detach(), z[other].detach(), z[mine].detach())
                total = total + losses[mine][kept(chosen, o[rows], forget)].mean()
            return total

        return train(
            nets,
            step,
            problem,
            tuning,
            rows=problem.seen,
            read=lambda X: torch.stack([torch.sigmoid(net(X)[:, 0]) for net in nets]).mean(0),
        )
