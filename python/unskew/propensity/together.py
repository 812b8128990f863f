"""What is recorded together: on two responses of one session, by two kinds on one response. Exact counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unskew.rates import Bools, Ints


@dataclass(frozen=True)
class Joint:
    """Pairs of responses within sessions, by whether each has feedback.

    Args:
        pairs: unordered pairs of responses of one session.
        both, one, neither: of them, with feedback on both, on one, on none; they sum to `pairs`.
    """

    pairs: int
    both: int
    one: int
    neither: int

    @property
    def p(self) -> float:
        """P(feedback on both of a pair); NaN without pairs."""
        return self.both / self.pairs if self.pairs else float("nan")

    @property
    def odds_ratio(self) -> float:
        """Odds of feedback on one response when the other has it, over those when it has none.

            both neither / (one / 2)^2

        1 when answers to the responses of a session do not hang together; then P(both) is the product of two
        propensities. NaN when undetermined.
        """
        top, bottom = 4 * self.both * self.neither, self.one**2
        return top / bottom if bottom else float("inf") if top else float("nan")


def joint(observed: ArrayLike, session: ArrayLike, *, usable: ArrayLike | None = None) -> Joint:
    """How often feedback comes on both of two responses of one session.

    With k of n responses of a session answered: k (k - 1) / 2 pairs with both, k (n - k) with one.

    Args:
        observed: was feedback given. Shape [N].
        session: rows of one session share it. Shape [N].
        usable: offered and closed; all rows when absent. Shape [N].

    Raises:
        ValueError: the shapes differ.
    """
    o, names = np.asarray(observed).astype(bool), np.asarray(session)
    use = np.ones(o.shape, bool) if usable is None else np.asarray(usable).astype(bool)
    for name, column in (("session", names), ("usable", use)):
        if column.shape != o.shape:
            raise ValueError(f"{name} has shape {column.shape}, observed {o.shape}; the same is needed")
    code = np.unique(names[use], return_inverse=True)[1]
    n = np.bincount(code).astype(np.int64)
    k = np.bincount(code[o[use]], minlength=len(n)).astype(np.int64)
    pairs, both, one = (int(x.sum()) for x in (n * (n - 1) // 2, k * (k - 1) // 2, k * (n - k)))
    return Joint(pairs, both, one, pairs - both - one)


def crossed(observed: ArrayLike, positive: ArrayLike, usable: ArrayLike) -> Ints:
    """How often each pair of kinds was recorded in each way on one response.

    A kind is recorded positive (state 0), otherwise (1: negative; a one-sided kind that is recorded without
    having happened) or not at all (2). Entry [i, j, s, t] counts the responses on which both kinds are
    usable, kind i is in state s and kind j in state t. Copy with thumbs-down is [copy, thumbs, 0, 1].

    Args:
        observed: anything recorded, by kind. Shape [N, K].
        positive: recorded positive, read where observed. Shape [N, K].
        usable: kind offered and its window closed. Shape [N, K].

    Returns:
        Shape [K, K, 3, 3]; [j, i] is [i, j] transposed.

    Raises:
        ValueError: the shapes differ.
    """
    o, up, use = (np.asarray(column).astype(bool) for column in (observed, positive, usable))
    if not (o.shape == up.shape == use.shape and o.ndim == 2):
        raise ValueError(
            f"observed has shape {o.shape}, positive {up.shape}, usable {use.shape}; the same [N, K] is "
            "needed"
        )
    n, kinds = o.shape
    states = np.stack([o & up, o & ~up, ~o], axis=2) & use[:, :, None]
    flat = states.reshape(n, 3 * kinds)
    return np.asarray(_gram(flat).reshape(kinds, 3, kinds, 3).transpose(0, 2, 1, 3))


def _gram(flags: Bools, rows: int = 1 << 16) -> NDArray[np.int64]:
    """flags' flags in whole numbers; float64 holds them exactly below 2^53 rows."""
    total = np.zeros((flags.shape[1], flags.shape[1]))
    for start in range(0, len(flags), rows):
        part = flags[start : start + rows].astype(np.float64)
        total += part.T @ part
    return total.astype(np.int64)
