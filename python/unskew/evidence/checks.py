"""Whether a fitted likelihood describes what was recorded: counts beside what the fit expects, with p values.

Every row is judged by the fit that left its fold out. A figure is a count over some rows beside its mean and
variance under the fit, all else given:

    kinds A, B together   rows on which both happened           sum P(A, B | x),   P (1 - P)
    A, in a fifth of q    rows of that fifth on which A happened    sum P(A | x),  P (1 - P)
    liked when A happened, liked when not    gold labels    sum P(liked | x, record),  P (1 - P)
    liked, in a third     gold labels in a third of P(liked | x, record), likewise
    first slot chosen, in a third    pairs in a third of P(chosen | x, record but the choice), likewise

where P(A, B | x) = q p1_A p1_B + (1 - q) p0_A p0_B. P(liked | x, record) is conditional on everything
recorded, so gold rows may be chosen by any of it. p values are two-sided and normal; counts below 5 or above
all but 5 expected give none. Under the fit they are nearly uniform, wrong by the error of the fit itself,
which the variance leaves out: they speak of misfit that a log of this size shows, not of every flaw.

Source: posterior predictive checks, Gelman, Meng and Stern (1996), at the fitted point.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from unskew.events import Kind
from unskew.rates import Bools, Floats

FEWEST = 5
"""Expected rows, with and without, below which a count is not judged."""

LEVEL = 0.001
"""Share of good fits that may fail, all figures of a log together (Bonferroni)."""

Check = dict[str, Any]


def checks(
    kinds: Sequence[Kind],
    q: Floats,
    p1: Floats,
    p0: Floats,
    usable: Bools,
    happened: Bools,
    posterior: Floats,
    gold: Floats,
) -> list[Check]:
    """One mapping a figure: check, observed, expected, z, p; figures with too little to judge are left out.

    Args:
        kinds: the K kinds.
        q: P(liked | x), out of fold. Shape [N].
        p1: P(happened | x, liked), out of fold. Shape [N, K].
        p0: P(happened | x, not liked), out of fold. Shape [N, K].
        usable: offered and closed. Shape [N, K].
        happened: anything was recorded; read where usable. Shape [N, K].
        posterior: P(liked | x, record), the gold label apart, out of fold. Shape [N].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
    """
    found = []
    for a, b in combinations(range(len(kinds)), 2):
        rows = usable[:, a] & usable[:, b]
        both = q * p1[:, a] * p1[:, b] + (1 - q) * p0[:, a] * p0[:, b]
        seen = happened[:, a] & happened[:, b]
        found.append(_check(f"{kinds[a].name} and {kinds[b].name} together", seen[rows], both[rows]))
    for k, kind in enumerate(kinds):
        rate = q * p1[:, k] + (1 - q) * p0[:, k]
        for number, rows in enumerate(_parts(q, usable[:, k], 5), start=1):
            found.append(_check(f"{kind.name} in fifth {number} of quality", happened[rows, k], rate[rows]))
    known = ~np.isnan(gold)
    for k, kind in enumerate(kinds):
        for word, side in (("", happened[:, k]), (" not", ~happened[:, k])):
            rows = known & usable[:, k] & side
            found.append(_check(f"liked when {kind.name} did{word} happen", gold[rows], posterior[rows]))
    for number, rows in enumerate(_parts(posterior, known, 3), start=1):
        found.append(_check(f"liked in third {number} of what evidence says", gold[rows], posterior[rows]))
    return [check for check in found if check is not None]


def compare(first: Bools, chance: Floats) -> list[Check]:
    """The same for choices between two responses.

    Args:
        first: the response in the first slot was chosen. Shape [P].
        chance: the probability of that, out of fold. Shape [P].
    """
    parts = enumerate(_parts(chance, np.ones(len(chance), bool), 3), start=1)
    found = [
        _check(f"first slot chosen in third {number} of its chance", first[rows], chance[rows])
        for number, rows in parts
    ]
    return [check for check in found if check is not None]


def failures(found: Sequence[Check]) -> list[Check]:
    """Figures that contradict the fit at `LEVEL` all together, the worst first."""
    return sorted((check for check in found if check["p"] * len(found) < LEVEL), key=lambda check: check["p"])


def _parts(values: Floats, rows: Bools, parts: int) -> list[Any]:
    """Row numbers by quantile of a value."""
    at = np.flatnonzero(rows)
    return np.array_split(at[np.argsort(values[at], kind="stable")], parts)


def _check(name: str, seen: Floats | Bools, chance: Floats) -> Check | None:
    """A count beside its mean and variance; None where there is too little to judge."""
    expected, variance = float(chance.sum()), float((chance * (1 - chance)).sum())
    if min(expected, len(chance) - expected) < FEWEST:
        return None
    z = (float(seen.sum()) - expected) / math.sqrt(variance)
    p = math.erfc(abs(z) / math.sqrt(2))
    return {"check": name, "observed": float(seen.sum()), "expected": expected, "z": z, "p": p}
