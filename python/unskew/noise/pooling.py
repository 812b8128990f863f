"""Sparse kinds lean on the rates of all kinds."""

from collections.abc import Sequence

import numpy as np

from unskew.noise.records import Noise

PRIOR = 10.0
"""Effective examples that the pooled rate counts for when a sparse kind is shrunk towards it."""


def shrink(rates: Sequence[Noise], prior: float = PRIOR) -> list[Noise]:
    """Each kind's rates moved towards those of all kinds; see `by_kind`. One kind alone stays as it is."""
    if len(rates) < 2 or prior <= 0:
        return list(rates)
    n = np.array([rate.n for rate in rates])
    own = np.array([(rate.fnr, rate.fpr) for rate in rates])
    certain = np.where(np.isinf(n), 1e9, n)
    pooled = (certain * own).sum(0) / certain.sum(0)
    weight = prior / (certain + prior)
    moved = (1 - weight) * own + weight * pooled
    return [
        Noise(float(m[0]), float(m[1]), rate.covariance, rate.source, rate.kind, (float(w[0]), float(w[1])))
        for rate, m, w in zip(rates, moved, weight, strict=True)
    ]
