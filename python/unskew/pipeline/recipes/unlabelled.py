"""Kinds that happen or not, and speak for a response when they do: silence is no dislike.

    positive_unlabelled   a = 1, b = o / P(happened | liked)         the rate from gold
    nnpu                  a = 1, b = o prior / mean(o), and a risk that does not fall below zero
    implicit              d = sum of log(1 - p1) over silent kinds   ImplicitRM, the rate p1 from gold
                          a = 1, b = P(liked | what happened)        the same by EM, p1(x) fitted as well

Read clicks, copies and shares, never thumbs; all take it that the kind never happens to a disliked response,
and that among the liked it happens to all alike (`implicit` with a fitted p1: that what `restriction` says is
true). Columns of several kinds on one response are added with shares that sum to one over the kinds offered,
in proportion to how often they happen. `evidence` needs none of this and reads the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from unskew import estimators
from unskew.estimators import CAP, Columns, Counts, Mixture
from unskew.estimators.implicit import PRODUCT
from unskew.noise import Happening
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material
from unskew.pipeline.recipes.parts import Target, probability
from unskew.rates import Bools, Floats, Ints, design_weight
from unskew.reward import fit_head

NEVER = (
    "It is taken that no {name} happens to a response that is not liked, and that liked ones get it alike."
)


def happened(m: Material, family: str, make: Callable[[str, Floats, Ints], Columns]) -> Columns:
    """Columns of each positive one-sided kind, added.

    Args:
        m: rows and nuisances.
        family: of the audit, which says what kinds may be used.
        make: name, happened and number of the rows on which the kind can be read, to columns of those rows.
    """
    names = positive_kinds(m, family)
    columns, weight, offered = [], [], []
    for name in names:
        k = m.examples.kind(name)
        usable = m.usable[:, k]
        rows = np.flatnonzero(usable & m.inside)
        o = m.examples.observed[rows, k].astype(np.float64)
        found = make(name, o, rows)
        a, b = np.zeros((2, len(usable)))
        a[rows], b[rows] = found.a, found.b
        columns.append(Columns(a, b, 0 * a, found.counts))
        weight.append(max(float(o.mean()), 1e-12) if len(o) else 1e-12)
        offered.append(usable)
    return estimators.combine(columns, weight, np.stack(offered, axis=1))


def positive_kinds(m: Material, family: str) -> list[str]:
    """Positive one-sided kinds that can be read: what the audit allows, else all of them.

    Raises:
        Refused: there are none.
    """
    offered: Bools = np.asarray(m.usable.any(0))
    names = [kind.name for k, kind in enumerate(m.examples.kinds) if kind.side == "positive" and offered[k]]
    if not names:
        raise Refused(f"{family} needs clicks, copies or shares; none was offered in this log")
    allowed = () if m.kinds is None else m.kinds.get(family, ())
    return [name for name in names if name in allowed] or names


def p1_of(m: Material, name: str) -> float | None:
    """P(happened | liked) of a kind from gold; None without gold on a liked response."""
    found = m.rates.get(name)
    return found.liked if isinstance(found, Happening) and found.liked > 0 else None


def positive_unlabelled(m: Material) -> Target:
    """What happened, over how often it happens to liked responses; silence counts as dislike."""

    def make(name: str, o: Floats, rows: Ints) -> Columns:
        p1 = p1_of(m, name)
        if p1 is None:
            raise Refused(
                f"P({name} | liked) is unknown, and {PRODUCT}. Label some responses "
                "(`unskew audit STORE --gold-plan 600`)"
            )
        return estimators.positive_unlabelled(o, p1)

    return Target(
        happened(m, "positive_unlabelled", make), "brier", warnings=_never(m, "positive_unlabelled")
    )


@dataclass(frozen=True)
class NonNegative:
    """nnPU: what happened, scaled to a known share of liked responses, in the non-negative risk.

    Args:
        prior: P(liked) over the responses on which the kind can be read; from gold when absent.

    Source: Kiryo et al., "Positive-Unlabeled Learning with Non-Negative Risk Estimator" (2017).
    """

    _: KW_ONLY
    prior: float | None = None

    def __call__(self, m: Material) -> Target:
        def make(name: str, o: Floats, rows: Ints) -> Columns:
            return estimators.nnpu(o, self.prior if self.prior is not None else _share(m, rows))

        columns = happened(m, "nnpu", make)
        return Target(columns, "brier", fit={"non_negative": True}, warnings=_never(m, "nnpu"))


def _share(m: Material, rows: Ints) -> float:
    """P(liked) of some rows, by their gold labels and the inverse of its design."""
    known = rows[~np.isnan(m.examples.gold[rows])]
    if not len(known):
        raise Refused(
            "the share of liked responses is unknown: there are no gold labels. Label some, or give it in "
            "the settings (recipes: {nnpu: {prior: 0.6}})"
        )
    weight = design_weight(m.examples.gold_design[known], m.examples.gold_prob[known])
    return float(weight @ m.examples.gold[known] / weight.sum())


@dataclass(frozen=True)
class Implicit:
    """ImplicitRM: P(happened | x) = P(liked | x) p1.

    With p1 from gold, one number a kind, the likelihood is the mixture loss, whose slope is that of the
    posterior of EM, and d = 30 where a kind happened. Without, p1(x) is fitted too, by EM with two heads, and
    only the product is identified: `restriction` must say what tells the two apart, and goes with the model.

    Args:
        restriction: what tells liking from activity, in words; asked for where gold gives no p1.
        decay: weight decay of the heads of EM.
        rounds: of EM at most.
        tolerance: change of the mean log-likelihood in a round below which EM stops.

    Source: ImplicitRM (arXiv 2603.23184).
    """

    _: KW_ONLY
    restriction: str = ""
    decay: float = 3e-4
    rounds: int = 30
    tolerance: float = 1e-5

    def __call__(self, m: Material) -> Target:
        names = positive_kinds(m, "implicit")
        p1 = {name: p1_of(m, name) for name in names}
        unknown = [name for name, rate in p1.items() if rate is None]
        if not unknown:
            return Target(_evidence(m, p1), "mixture", warnings=_never(m, "implicit"))
        if not self.restriction.strip():
            raise Refused(
                f"P({unknown[0]} | liked) is unknown, and {PRODUCT}. Label some responses (`unskew audit "
                "STORE --gold-plan 600`), or say in the settings what tells the two apart (recipes: "
                "{implicit: {restriction: ...}})"
            )
        said = list(_never(m, "implicit"))

        def make(name: str, o: Floats, rows: Ints) -> Columns:
            rate, groups = p1[name], m.examples.prompt_hash[rows]

            def fit(columns: Columns) -> Floats:
                options: dict[str, Any] = {"loss": "logistic", "metric": "logistic", "decays": (self.decay,)}
                head = fit_head(m.X[rows], columns, groups=groups, **options).head
                return probability(head(m.X[rows]))

            found = estimators.implicit_em(
                o,
                fit,
                fit if rate is None else None,
                p1=0.5 if rate is None else rate,
                restriction=self.restriction,
                rounds=self.rounds,
                tolerance=self.tolerance,
            )
            if found.warning:
                said.append(f"{name}: {found.warning}.")
            if not found.converged:
                said.append(f"EM of {name} stopped after {self.rounds} rounds, before it had settled.")
            return found.columns

        return Target(happened(m, "implicit", make), "logistic", warnings=tuple(said))


def _evidence(m: Material, p1: Mapping[str, float | None]) -> Mixture:
    """What happened and did not, as one number a response, for kinds that never happen to disliked ones."""
    d, speaks = np.zeros(len(m.examples)), np.zeros(len(m.examples), bool)
    for name, rate in p1.items():
        k = m.examples.kind(name)
        usable = m.usable[:, k] & m.inside
        found = estimators.mixture(np.ones(len(d)), m.examples.observed[:, k] & usable, 0, 1, rate, 0)
        d, speaks = d + usable * found.d, speaks | usable
    capped = int((d >= CAP).sum())
    return Mixture(speaks.astype(np.float64), np.clip(d, -CAP, CAP), 0 * d, Counts(capped=capped))


def _never(m: Material, family: str) -> tuple[str, ...]:
    return tuple(NEVER.format(name=name) for name in positive_kinds(m, family))
