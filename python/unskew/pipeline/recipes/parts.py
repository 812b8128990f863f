"""What recipes are made of: the target they return, the nuisances they ask for, and what they add up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from unskew import estimators
from unskew.audit.choices import REMEDY
from unskew.data import Choices
from unskew.estimators import Columns, Mixture
from unskew.noise import Noise
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material
from unskew.rates import Bools, Floats, Ints
from unskew.reward import fit_head
from unskew.reward.problem import Loss


@dataclass(frozen=True)
class Target:
    """What a reward model is trained on.

    Args:
        columns: (a, b, m) or (w, d, m), one entry a row or a pair.
        loss: the loss that they enter.
        pairs: rows in slots A and B; None for single responses.
        fit: arguments of `reward.fit_head` that the recipe asks for; a transformer does without.
        warnings: sentences that go with every model trained on it.
    """

    columns: Columns | Mixture
    loss: Loss
    pairs: tuple[Ints, Ints] | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


Recipe = Callable[[Material], Target]
PerKind = Callable[[str, Floats, Bools], Columns]


def two_sided(m: Material, family: str, make: PerKind, *, trust: bool = True) -> Columns:
    """Columns of each two-sided kind, added.

    Args:
        m: rows and nuisances.
        family: of the audit, which says what kinds may be used.
        make: name, recorded label and observed of a kind to its columns.
        trust: kinds count by D^2 x their share of answers; all alike otherwise.
    """
    names = m.offered_to(family)
    if not names:
        raise ValueError(
            f"{family} needs thumbs or ratings; this log has no two-sided feedback to learn from"
        )
    columns, weight, offered = [], [], []
    for name in names:
        k = m.examples.kind(name)
        usable = m.usable[:, k]
        seen = m.examples.observed[:, k] & usable
        columns.append(make(name, m.examples.positive[:, k].astype(np.float64), seen))
        weight.append(trust_in(m, name) if trust else 1.0)
        offered.append(usable)
    return estimators.combine(columns, weight, np.stack(offered, axis=1))


def trust_in(m: Material, name: str) -> float:
    """What a two-sided kind counts beside others: D^2 x its share of answers."""
    k = m.examples.kind(name)
    usable = m.usable[:, k]
    share = float((m.examples.observed[:, k] & usable).sum()) / max(int(usable.sum()), 1)
    return max(rates(m, name).D ** 2 * share, 1e-12)


def rates(m: Material, name: str) -> Noise:
    """Error rates of a two-sided kind.

    Raises:
        Refused: there are none.
        NoiseRefused: they are too bad to be divided by. Asked of the whole log alone, as the audit does: the
            fits that hide a fold know the rates less well, and only measure.
    """
    found = m.rates.get(name)
    if not isinstance(found, Noise) and name == "choice":
        raise Refused(f"the error rates of choices are unknown. {REMEDY}")
    if not isinstance(found, Noise):
        raise Refused(
            f"the error rates of {name} are unknown: no gold label was found on both classes of its answers. "
            "Label some (`unskew audit STORE --gold-plan 600`), or give them as `noise` in the settings"
        )
    return found.checked() if m.hidden is None else found


def propensity(m: Material, name: str) -> Floats:
    """P(feedback) of a two-sided kind, out of fold. Shape [N].

    Raises:
        Refused: it is unknown.
    """
    if name not in m.propensities:
        raise Refused(f"the propensity of {name} is unknown: the log has no silent row, or no answered one")
    return m.propensities[name].raw


def classes(m: Material, name: str) -> tuple[float, float]:
    """P(feedback | liked) and P(feedback | not liked) of a two-sided kind.

    Raises:
        Refused: they are unknown.
    """
    if name not in m.classwise:
        raise Refused(f"class propensities of {name} need gold labels; there are none on its usable rows")
    return m.classwise[name].p1, m.classwise[name].p0


def imputed(m: Material) -> Floats:
    """P(liked | x) of evidence: out of fold, or by the fit that left out the hidden fold. Shape [N].

    Raises:
        Refused: there is no evidence.
    """
    if m.evidence is None:
        raise Refused("the imputation is that of evidence, and no kind speaks in this log")
    return m.evidence.q if m.hidden is None else m.evidence.q_by[m.hidden]


def imputed_for(m: Material, name: str) -> Floats:
    """P(liked | x) that the doubly robust target of a two-sided kind corrects. Shape [N].

    That of evidence; where the audit refuses evidence, a head fitted out of fold to the weighted corrected
    labels of the kind, so that a fit nobody may use does not come in by the back door.

    Raises:
        Refused: there is no evidence, or no rates, or no propensity.
    """
    if m.kinds is None or m.kinds.get("evidence") != ():
        return imputed(m)
    k, rate = m.examples.kind(name), rates(m, name)
    seen = m.examples.observed[:, k] & m.usable[:, k]
    label = m.examples.positive[:, k].astype(np.float64)
    weighted = estimators.ips(label, seen, propensity(m, name), rate.fnr, rate.fpr)
    return cross_fitted(m, weighted, loss="brier")


def choices_of(m: Material) -> Choices:
    """Pairs on which a choice was offered.

    Raises:
        Refused: there are none.
    """
    if not m.choices:
        raise Refused("there are no choices: no pair of responses to one prompt was shown with a choice")
    return m.choices


def inside(columns: Columns, keep: Bools) -> Columns:
    """The columns with the other rows weighing nothing."""
    return replace(columns, a=columns.a * keep, b=columns.b * keep)


def predicted(m: Material, columns: Columns, **options: Any) -> Floats:
    """P(1 | x) of every row, by a head fitted to the columns of the rows inside. Shape [N].

    Args:
        m: rows and features.
        columns: one entry a row.
        options: arguments of `fit_head`.
    """
    head = fit_head(m.X, inside(columns, m.inside), groups=m.examples.prompt_hash, **options).head
    return probability(head(m.X))


def cross_fitted(m: Material, columns: Columns, **options: Any) -> Floats:
    """P(1 | x) of every row, by a head fitted to the columns of the other folds. Shape [N].

    A hidden fold is left out of every fit; its own rows get the fit to all others.
    """
    found = np.zeros(len(m.examples))
    for number in range(int(m.fold.max()) + 1):
        own = m.fold == number
        part = inside(columns, m.inside & ~own)
        head = fit_head(m.X, part, groups=m.examples.prompt_hash, **options).head
        found[own] = probability(head(m.X[own]))
    return found


def probability(z: Floats) -> Floats:
    """sigmoid(z)."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def columns_inside(m: Material, target: Target) -> Target:
    """The target with the rows of the hidden fold weighing nothing."""
    if m.hidden is None:
        return target
    keep = m.inside if target.pairs is None else m.inside[target.pairs[0]]
    found = target.columns
    if isinstance(found, Mixture):
        return replace(target, columns=replace(found, w=found.w * keep))
    return replace(target, columns=inside(found, keep))
