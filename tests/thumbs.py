"""A log of thumbs that are selected by features and flipped, in numpy: what intervals are tested on."""

from functools import partial

import numpy as np

from unskew import estimators, noise

FAMILY = ("noise_corrected", "ips", "snips", "classwise_ips", "doubly_robust")


def sample(rows=400, seed=0, fnr=0.15, fpr=0.25):
    """A log selected by features: predictions, true labels, record, observed, propensity, imputation."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows)
    liked = rng.random(rows) < 1 / (1 + np.exp(-1.5 * x))
    p = 0.15 + 0.5 / (1 + np.exp(-x))
    observed = rng.random(rows) < p
    recorded = np.where(rng.random(rows) < np.where(liked, fnr, fpr), ~liked, liked)
    s = np.round(1 / (1 + np.exp(-x + 0.4 * rng.standard_normal(rows))), 2)
    return s, liked.astype(float), recorded.astype(float), observed.astype(float), p, 0.2 + 0.6 * s


def opened(name, rows):
    """An estimator of the family with all but the rates filled in."""
    _, _, recorded, observed, p, q = rows
    more = {"noise_corrected": (), "classwise_ips": (p, 0.7 * p), "doubly_robust": (p, q)}.get(name, (p,))
    return partial(getattr(estimators, name), recorded, observed, *more)


def uncertain(fnr=0.15, fpr=0.25, sd=(0.02, 0.03), rho=0.3):
    covariance = np.diag(np.square(sd))
    covariance[0, 1] = covariance[1, 0] = rho * sd[0] * sd[1]
    return noise.Noise(fnr, fpr, covariance, "gold")


def width(part):
    return part["high"] - part["low"]
