"""CausalRM itself: labels with flips undone, weighted or doubly robust, error rates from anchors.

    t = (y - fpr) / D,   D = 1 - fnr - fpr
    IPS    mean over all rows of   (o / p) bce(z, t)
    DR     mean over all rows of   bce(z, c) + (o / p) (bce(z, t) - bce(z, c)),  c = clip((q - fpr) / D, 0, 1)

CausalRM (arXiv 2603.18736), algorithm 1; q is the naive posterior of recorded labels. Unbiased for clean
labels when the rates are right, and p is, or (DR) c is. The loss has no lower end.

Reference code (OME-IPS, OME-DR): takes q where c belongs, so that a right imputation cannot help; finds the
rates again in every step and raises D to 1e-6; stops by the training loss. Here: c; rates once, as in
`f_correction`, refused when D < .2; held-out prompts compare y with fpr + D sigmoid(z), weighted. Knob:
quantile of the anchors, .9, .97, 1.
"""

import torch
from benches.baselines import naive
from benches.baselines.f_correction import rates
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import bce, mlp, pose, seeded, train
from torch import Tensor

GRID = grid((0.9, 0.97, 1.0))


def target(y: Tensor, o: Tensor, p: Tensor, c: Tensor, fnr: float, fpr: float) -> Tensor:
    """Doubly robust target of each row: c + (o / p) (t - c). Shape [N].

    The loss of DR is bce against it, since bce is affine in the label.
    """
    t = (y - fpr) / (1 - fnr - fpr)
    return c + o / p * (t - c)


def ips(log: Logged, tuning: Tuning) -> Model:
    """Train the IPS objective. Raises ValueError when D < .2."""
    return _fit(log, tuning, robust=False)


def dr(log: Logged, tuning: Tuning) -> Model:
    """Train the DR objective. Raises ValueError when D < .2."""
    return _fit(log, tuning, robust=True)


def _fit(log: Logged, tuning: Tuning, *, robust: bool) -> Model:
    posterior = naive.fit(log, tuning)(log.X)
    fnr, fpr = rates(log, tuning, posterior)
    D = 1 - fnr - fpr
    problem = pose(log, weighted=True)
    X, y, o, p = problem.X, problem.y, problem.o, problem.p
    if robust:
        c = ((torch.from_numpy(posterior).float() - fpr) / D).clamp(0, 1)
        aim, weight = target(y, o, p, c, fnr, fpr), torch.ones_like(o)
    else:
        aim, weight = (y - fpr) / D, o / p
    with seeded(log.seed):
        net = mlp(X.shape[1])

        def recorded() -> float:
            return problem.score(fpr + D * torch.sigmoid(net(X[problem.held])[:, 0]))

        model = train(
            net,
            lambda rows, _: (weight[rows] * bce(net(X[rows])[:, 0], aim[rows])).mean(),
            problem,
            tuning,
            rows=problem.training if robust else problem.seen,
            value=recorded,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
        )
        with torch.no_grad():
            return Model(model.read, recorded())
