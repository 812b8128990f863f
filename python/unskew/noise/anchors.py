"""Error rates from anchors: the ends of a noisy posterior. Only for recipes that repeat a paper."""

import numpy as np
from numpy.typing import ArrayLike

from unskew.noise.records import Noise


def quantile_anchors(posterior: ArrayLike, quantile: float = 0.97, *, kind: str = "feedback") -> Noise:
    """Flip rates read off the ends of a noisy posterior, as CausalRM does; unsafe.

        fnr = 1 - quantile_q of P(recorded 1 | x),   fpr = quantile_{1-q} of P(recorded 1 | x)

    Right only when some responses are surely liked, some surely disliked, and feedback does not depend on
    either; selection inflates P(recorded 1 | x, observed): with truth (.20, .10) fpr comes out at .3 to .7.
    For recipes that repeat the paper, never for ours.

    Args:
        posterior: P(recorded 1 | x) of each row. Shape [N], in [0, 1].
        quantile: q, in (.5, 1].
        kind: name of the kind, for messages.

    Raises:
        ValueError: `quantile` or the posterior is out of range.

    Source: CausalRM (arXiv 2603.18736), Algorithm 1 step 4, quantiles in place of the extremes.
    """
    values = np.asarray(posterior, np.float64)
    if not 0.5 < quantile <= 1:
        raise ValueError(f"quantile is {quantile}; it must be in (0.5, 1]")
    if values.size == 0 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"posterior of {kind} has {values.size} values; it must hold probabilities in [0, 1]"
        )
    low, high = np.quantile(values, [1 - quantile, quantile])
    return Noise(float(1 - high), float(low), np.zeros((2, 2)), "anchors", kind, unsafe=True)
