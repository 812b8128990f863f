"""F-correction: the recorded label is predicted through the error rates.

    mean over observed of   -y log r - (1 - y) log(1 - r),     r = fpr + D sigmoid(z),   D = 1 - fnr - fpr

Patrini et al., "Making Deep Neural Networks Robust to Label Noise: A Loss Correction Approach" (CVPR 2017),
theorem 2; stationary at z = logit P(true 1 | x) when the rates are right and feedback does not depend on the
label. Rates that the log does not have come from anchors, as in the paper: 1 - fnr and fpr are high and low
quantiles of the predictions of a naive model.

Reference code: none for this method; where its kin estimate rates they do so again in every step, on a random
batch, and raise D to 1e-6. Here: once; rates above .45 are lowered to it, with a warning, and D < .2 is
refused. The held-out value compares y with r. Knob: quantile of the anchors, .9, .97, 1.
"""

import warnings

import numpy as np
import torch
from benches.baselines import naive
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import mlp, pose, seeded, train
from numpy.typing import NDArray
from torch import Tensor

GRID = grid((0.9, 0.97, 1.0))
MOST, LEAST_D = 0.45, 0.2


def rates(log: Logged, tuning: Tuning, posterior: NDArray[np.float64] | None = None) -> tuple[float, float]:
    """(fnr, fpr) of a log, or from the ends of a naive posterior over all rows.

    Args:
        log: the log.
        tuning: its knob is the quantile.
        posterior: naive P(recorded 1 | x), fitted when it is needed and absent. Shape [N].

    Raises:
        ValueError: D is below .2.
    """
    if log.fnr is not None and log.fpr is not None:
        fnr, fpr = log.fnr, log.fpr
    else:
        q = naive.fit(log, tuning)(log.X) if posterior is None else posterior
        high, low = np.quantile(q, [tuning.knob, 1 - tuning.knob])
        fnr, fpr = float(1 - high), float(low)
        if max(fnr, fpr) > MOST:
            warnings.warn(f"anchors give fnr {fnr:.2f}, fpr {fpr:.2f}; lowered to {MOST}", stacklevel=2)
        fnr, fpr = min(fnr, MOST), min(fpr, MOST)
    if 1 - fnr - fpr < LEAST_D:
        raise ValueError(
            f"fnr {fnr:.2f} and fpr {fpr:.2f} leave D = {1 - fnr - fpr:.2f}; at least {LEAST_D} is needed"
        )
    return fnr, fpr


def forward(z: Tensor, y: Tensor, fnr: float, fpr: float) -> Tensor:
    """Negative log-likelihood of each recorded label. Shape [N]."""
    D = 1 - fnr - fpr
    r, rest = fpr + D * torch.sigmoid(z), fnr + D * torch.sigmoid(-z)  # 1 - r without cancellation
    return -y * r.clamp_min(1e-12).log() - (1 - y) * rest.clamp_min(1e-12).log()


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log, with its rates or anchored ones.

    Raises:
        ValueError: D is below .2.
    """
    fnr, fpr = rates(log, tuning)
    D = 1 - fnr - fpr
    problem = pose(log, weighted=False)
    X, y = problem.X, problem.y
    held = problem.held
    with seeded(log.seed):
        net = mlp(X.shape[1])

        def recorded() -> float:
            return problem.score(fpr + D * torch.sigmoid(net(X[held])[:, 0]))

        model = train(
            net,
            lambda rows, _: forward(net(X[rows])[:, 0], y[rows], fnr, fpr).mean(),
            problem,
            tuning,
            rows=problem.seen,
            value=recorded,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
        )
        with torch.no_grad():
            return Model(model.read, recorded())
