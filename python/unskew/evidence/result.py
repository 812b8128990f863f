"""The result of a fit: one number of evidence a row, and what a person should doubt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unskew.estimators import CAP, Counts, Mixture
from unskew.events import Kind
from unskew.evidence.checks import Check, failures
from unskew.evidence.tables import mean_rate
from unskew.rates import Bools, Floats, Ints

LEVEL = 2.576
"""Standard errors beyond which random gold contradicts the fit (1 %)."""

FLAT = 1.1
"""Ratio of P(happened | liked) and P(happened | not) below which a one-sided kind says nothing."""


@dataclass(frozen=True)
class Evidence:
    """d and q of N rows, by each of F folds.

    Args:
        d_by: log P(recorded | liked) / P(recorded | not liked) by the fit that left out a fold. Shape [F, N].
        q_by: P(liked | x) by the same. Shape [F, N].
        fold: fold of each row. Shape [N].
        gold: true label, NaN where there is none. Shape [N].
        speaks: rows with a usable kind or a gold label. Shape [N].
        tables: one mapping a rate, from a fit to all rows: kind, parameter, estimate, low, high, source.
        decay: weight decay of z that was chosen.
        history: held-out value by decay.
        warnings: sentences about what does not fit.
        checks: counts beside what the fit expects; see `checks`.
    """

    d_by: Floats = field(repr=False)
    q_by: Floats = field(repr=False)
    fold: Ints = field(repr=False)
    gold: Floats = field(repr=False)
    speaks: Bools = field(repr=False)
    tables: list[dict[str, Any]] = field(repr=False)
    decay: float
    history: list[dict[str, float]] = field(repr=False)
    warnings: tuple[str, ...]
    checks: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @property
    def d(self) -> Floats:
        """Evidence of everything recorded, out of fold; +-30 for a gold label of 1 or 0. Shape [N]."""
        return self._known(self.d_by[self.fold, np.arange(len(self.fold))], self.gold)

    @property
    def q(self) -> Floats:
        """P(liked | x) out of fold: it has seen neither the row's record nor its gold label. Shape [N]."""
        return np.asarray(self.q_by[self.fold, np.arange(len(self.fold))])

    @property
    def posterior(self) -> Floats:
        """P(liked | x and everything recorded) = sigmoid(logit q + d). Shape [N]."""
        z = np.log(self.q) - np.log1p(-self.q) + self.d
        return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))

    @property
    def imputed(self) -> Floats:
        """P(liked | x and everything recorded but the row's own gold label), out of fold. Shape [N].

        A pseudo-label for `evaluate.powered`, which compares it with gold.
        """
        d = self.d_by[self.fold, np.arange(len(self.fold))]
        z = np.log(self.q) - np.log1p(-self.q) + np.clip(d, -CAP, CAP)
        return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))

    def columns(self, without: int | None = None) -> Mixture:
        """Columns of the mixture loss: w = 1 on rows that say anything, d, no margin.

        Args:
            without: a fold that must have left no trace: its rows weigh nothing, and the d of the others
                come from the fit that left it out. Out-of-fold d of every row when absent.
        """
        inside = self.speaks if without is None else self.speaks & (self.fold != without)
        d = self.d if without is None else self._known(self.d_by[without], self.gold)
        w = inside.astype(np.float64)
        capped = int((np.abs(d[np.isnan(self.gold)]) > CAP).sum())
        return Mixture(w, np.clip(d, -CAP, CAP) * w, 0 * w, Counts(capped=capped))

    @staticmethod
    def _known(d: Floats, gold: Floats) -> Floats:
        """d with gold labels in the place of records; a label y in (0, 1) counts as its log-odds."""
        y = np.clip(np.nan_to_num(gold, nan=0.5), 1e-14, 1 - 1e-14)
        certain = np.clip(np.log(y) - np.log1p(-y), -CAP, CAP)
        return np.where(np.isnan(gold), d, certain)


def doubts(
    kinds: Sequence[Kind],
    tables: Sequence[dict[str, Any]],
    q: Floats,
    gold: Floats,
    checks: Sequence[Check] = (),
) -> tuple[str, ...]:
    """What a person should know before trusting a fit.

    Args:
        kinds: the kinds.
        tables: the tables.
        q: P(liked | x) out of fold, rows of random gold. Shape [G].
        gold: their labels. Shape [G].
        checks: counts beside what the fit expects.
    """
    found = []
    for kind in kinds:
        if kind.one_sided:
            liked, other = (mean_rate(tables, kind.name, f"P(happened|{word})") for word in ("liked", "not"))
            high, low = (liked, other) if kind.side == "positive" else (other, liked)
            if high < FLAT * low:
                found.append(
                    f"{kind.name} is declared {kind.side}, but it happens on {liked:.1%} of liked and "
                    f"{other:.1%} of other responses: it says next to nothing here, or means the opposite."
                )
    if len(q) >= 50:
        gap = float((gold - q).mean())
        error = float(np.sqrt((q * (1 - q)).sum())) / len(q)
        if abs(gap) > LEVEL * error:
            found.append(
                f"On {len(q)} random gold labels {gold.mean():.0%} are liked where evidence predicts "
                f"{q.mean():.0%}: kinds may not be independent, or their rates depend on more than the model "
                "allows. Label more rows at random."
            )
    if failed := failures(checks):
        worst = failed[0]
        found.append(
            f"{len(failed)} of {len(checks)} counts contradict the fit, most of all {worst['check']}: "
            f"{worst['observed']:,.0f} where {worst['expected']:,.0f} are expected. Feedback depends on more "
            "than the model allows; trust the gold labels first."
        )
    return tuple(found)
