"""One two-sided kind of a log with everything that weights need: what a refutation changes and refits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew import estimators, noise, propensity
from unskew.estimators import FLOOR, Columns
from unskew.evaluate.influence import clusters, spread
from unskew.evidence.tables import mean_rate
from unskew.features.axes import axes
from unskew.folds import assign
from unskew.noise import MIN_D, Noise
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material
from unskew.rates import Bools, Floats, Ints
from unskew.reward import HeadClassifier, fit_head

AXES = 32
"""Leading axes of the features that the models here read."""

FOLDS = 3

DECAY = 1e-3
"""Weight decay of every model here."""


@dataclass(frozen=True)
class Log:
    """One two-sided kind on the rows on which it was offered, with the nuisances that it needs.

    Args:
        X: features. Shape [N, D].
        prompt: rows with one value share a fold and count as one draw. Shape [N], integers.
        seen: was feedback given. Shape [N].
        up: recorded label 1, read where seen. Shape [N].
        rates: its error rates.
        designed: P(feedback) where the product set it, NaN elsewhere; absent: nowhere. Shape [N].
        estimator: called as estimator(label, observed, propensity, fnr, fpr); what is put to the test.
        decay: weight decay of the models.
        row: position of each row in the material that it comes from. Shape [N].
    """

    X: NDArray[Any] = field(repr=False)
    prompt: NDArray[Any] = field(repr=False)
    seen: Bools = field(repr=False)
    up: Bools = field(repr=False)
    rates: Noise
    designed: Floats | None = field(default=None, repr=False)
    estimator: Callable[..., Columns] = field(default=estimators.ips, repr=False)
    decay: float = DECAY
    row: Ints | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.seen)

    @cached_property
    def fold(self) -> Ints:
        """Fold of each row. Shape [N]."""
        return assign(self.prompt, FOLDS, np.ones(len(self)))

    @cached_property
    def p(self) -> Floats:
        """P(feedback): as designed, elsewhere fitted out of fold. Shape [N]."""
        open_ = np.ones(len(self), bool) if self.designed is None else np.isnan(self.designed)
        p = np.ones(len(self)) if self.designed is None else np.where(open_, 1.0, self.designed)
        if open_.any():
            model = partial(HeadClassifier, "linear", decays=(self.decay,))
            found = propensity.fit(
                self.X, self.seen, self.prompt, model=model, usable=open_, folds=FOLDS, floor=float(FLOOR)
            )
            p = np.where(open_, found.raw, p)
        return p

    @cached_property
    def columns(self) -> Columns:
        """What the estimator makes of the record."""
        return self.estimator(self.up.astype(np.float64), self.seen, self.p, self.rates.fnr, self.rates.fpr)

    @cached_property
    def score(self) -> Floats:
        """P(liked | x) by a model of these columns, out of fold. Shape [N]."""
        return self.model(self.columns.a, self.columns.b)

    def model(self, a: Floats, b: Floats) -> Floats:
        """sigmoid(head(x)), trained on columns of the other folds by the Brier loss. Shape [N]."""
        found = np.zeros(len(self))
        for number in range(FOLDS):
            inside, held = self.fold != number, self.fold == number
            columns = Columns(a[inside], b[inside], 0 * a[inside])
            head = fit_head(self.X[inside], columns, groups=self.prompt[inside], decays=(self.decay,)).head
            found[held] = 0.5 * (1 + np.tanh(0.5 * head(self.X[held])))
        return found

    def loss(self, s: Floats) -> tuple[float, Floats]:
        """Corrected Brier loss of predictions, self-normalised, and the influence of each row."""
        a, b = self.columns.a, self.columns.b
        return ratio(a * s**2 - 2 * b * s + b, a)

    def value(self, rows: Bools | None = None) -> tuple[float, Floats]:
        """Corrected share of liked responses, self-normalised, and the influence of each row."""
        keep = np.ones(len(self)) if rows is None else rows.astype(np.float64)
        return ratio(self.columns.b * keep, self.columns.a * keep)

    @classmethod
    def of(cls, material: Material, within: Bools | None = None) -> "Log":
        """The two-sided kind of a log with the most answers.

        Args:
            material: rows and nuisances.
            within: rows that may take part; all when absent. Shape [N].

        Raises:
            Refused: no such kind has both answers and silence, and error rates that can be divided by.
        """
        known = {column: rate for column in material.propensities if (rate := rates_of(material, column))}
        known = {column: rate for column, rate in known.items() if rate.D > MIN_D}
        if not known:
            raise Refused(
                "refutations need thumbs or ratings with answers, silence and known error rates, D = 1 - fnr "
                f"- fpr above {MIN_D:g}; this log has none. Label more gold rows (`unskew audit STORE "
                "--gold-plan 600`), or give `noise` in the settings"
            )
        rows = material.examples
        name = max(known, key=lambda kind: int(rows.observed[:, rows.kind(kind)].sum()))
        k = rows.kind(name)
        usable = material.usable[:, k]
        at = np.flatnonzero(usable if within is None else usable & within)
        given = material.given.get(name)
        return cls(
            leading(material.X)[at],
            rows.prompt_hash[at],
            rows.observed[at, k],
            rows.positive[at, k],
            known[name],
            None if given is None else given[at],
            row=at,
        )


def rates_of(material: Material, kind: str) -> Noise | None:
    """Error rates of a kind: known ones or those from gold, else those of evidence."""
    found = material.rates.get(kind)
    if isinstance(found, Noise):
        return found
    if material.evidence is None:
        return None
    pair = [mean_rate(material.evidence.tables, kind, name) for name in ("fnr", "fpr")]
    return None if np.isnan(pair).any() else noise.known(*pair, kind=kind)


def leading(X: NDArray[Any]) -> NDArray[Any]:
    """The features along their leading axes. Shape [N, at most AXES]."""
    frame = axes(X)
    if frame.basis is None:
        return np.asarray(X[:, np.argsort(-frame.variance)[:AXES]])
    return np.asarray((X - frame.centre) @ frame.basis[:, ::-1][:, :AXES])


def ratio(top: Floats, bottom: Floats) -> tuple[float, Floats]:
    """sum top / sum bottom, and the influence of each row."""
    total = float(bottom.sum())
    value = float(top.sum()) / total
    return value, (top - value * bottom) / total


def error(influence: Floats, prompt: NDArray[Any]) -> float:
    """Standard error of a sum of influences, prompts independent."""
    return float(np.sqrt(spread(influence, clusters(prompt, len(influence)))))
