"""Platt scaling: logits made into probabilities that happen as often as they say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew.rates import Floats


def platt(z: Floats, y: NDArray[Any]) -> tuple[float, float]:
    """(shift, scale) that make sigmoid(shift + scale z) the most likely explanation of y.

    Newton's method, each step halved until the likelihood does not fall, with a ridge of 1e-6 so that the
    answer stays finite when z separates y.

    Args:
        z: logits. Shape [N].
        y: outcomes in [0, 1]. Shape [N].

    Source: Platt, "Probabilistic Outputs for Support Vector Machines" (1999); the damping is ours.
    """
    design = np.stack([np.ones(len(z)), z], axis=1)
    prior = np.array([0.0, 1.0])
    ridge = 1e-6 * len(z)

    def loss(at: Floats) -> float:
        line = design @ at
        return float((np.logaddexp(0, line) - y * line).sum() + 0.5 * ridge * (at - prior) @ (at - prior))

    found, value = prior.copy(), loss(prior)
    for _ in range(100):
        s = sigmoid(design @ found)
        gradient = design.T @ (s - y) + ridge * (found - prior)
        curvature = (design * (s * (1 - s))[:, None]).T @ design + ridge * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while loss(found - size * step) > value and size > 1e-8:
            size /= 2
        found = found - size * step
        before, value = value, loss(found)
        if before - value < 1e-10 * (1 + abs(value)):
            break
    return float(found[0]), float(found[1])


def sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def logit(p: NDArray[Any]) -> Floats:
    inside = np.clip(np.asarray(p, np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(np.log(inside) - np.log1p(-inside))
