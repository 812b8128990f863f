"""Recipes: from rows and nuisances to the columns of a loss. A new estimator is one more function here.

    name              loss      reads
    evidence          mixture   everything recorded, gold inside
    classwise_ips     Brier     labels, rates, p1 and p0 from gold
    doubly_robust     Brier     labels, rates, propensity, imputation q of evidence
    snips, ips        Brier     labels, rates, propensity
    noise_corrected   Brier     labels, rates
    pairs             Brier     pairs of responses shown together, targets of doubly_robust
    choices           Brier     choices by slot, rates: pairs of responses, only differences are learned
    naive             Brier     labels as they are
    naive_choices     Brier     choices as they are
    gold              Brier     gold labels alone
    causalrm-ips      logistic  the published algorithm, its nuisances included: unsafe
    causalrm-dr       logistic  the same

Several two-sided kinds on one response are added with shares that sum to one over the kinds offered; a kind
counts in proportion to D^2 x its share of answers, the inverse of the variance of its corrected label.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from unskew import estimators, noise
from unskew.audit.choices import REMEDY
from unskew.data import Choices
from unskew.estimators import Columns, Mixture
from unskew.noise import Noise
from unskew.pipeline.config import Refused
from unskew.pipeline.material import PROPENSITY_DECAYS, Material
from unskew.rates import Bools, Floats, Ints, design_weight
from unskew.reward import fit_head
from unskew.reward.problem import Loss


@dataclass(frozen=True)
class Target:
    """What a reward model is trained on.

    Args:
        columns: (a, b, m) or (w, d, m), one entry a row or a pair.
        loss: the loss that they enter.
        pairs: rows in slots A and B; None for single responses.
    """

    columns: Columns | Mixture
    loss: Loss
    pairs: tuple[Ints, Ints] | None = None


Recipe = Callable[[Material], Target]
PerKind = Callable[[str, Floats, Bools], Columns]


def _kinds(m: Material, family: str, make: PerKind, *, trust: bool = True) -> Columns:
    """Columns of each two-sided kind, added."""
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
        share = seen.sum() / max(usable.sum(), 1)
        weight.append(max(_rates(m, name).D ** 2 * share, 1e-12) if trust else 1.0)
        offered.append(usable)
    return estimators.combine(columns, weight, np.stack(offered, axis=1))


def _rates(m: Material, name: str) -> Noise:
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


def _propensity(m: Material, name: str) -> Floats:
    if name not in m.propensities:
        raise Refused(f"the propensity of {name} is unknown: the log has no silent row, or no answered one")
    return m.propensities[name].raw


def _classes(m: Material, name: str) -> tuple[float, float]:
    if name not in m.classwise:
        raise Refused(f"class propensities of {name} need gold labels; there are none on its usable rows")
    return m.classwise[name].p1, m.classwise[name].p0


def naive(m: Material) -> Target:
    """Labels as they are, where there are any, whoever gave them."""
    return Target(
        _kinds(m.as_logged(), "naive", lambda _, y, o: estimators.naive(y, o), trust=False), "brier"
    )


def noise_corrected(m: Material) -> Target:
    """Flips undone, selection left alone."""

    def make(name: str, y: Floats, o: Bools) -> Columns:
        rate = _rates(m, name)
        return estimators.noise_corrected(y, o, rate.fnr, rate.fpr)

    return Target(_kinds(m, "noise_corrected", make), "brier")


def _weighted(family: str, estimator: Callable[..., Columns]) -> Recipe:
    """IPS and SNIPS."""

    def recipe(m: Material) -> Target:
        def make(name: str, y: Floats, o: Bools) -> Columns:
            rate = _rates(m, name)
            return estimator(y, o, _propensity(m, name), rate.fnr, rate.fpr)

        return Target(_kinds(m, family, make), "brier")

    recipe.__doc__ = f"Corrected labels, weighted: {family}."
    return recipe


def classwise_ips(m: Material) -> Target:
    """Each class weighted by its own propensity, from gold."""

    def make(name: str, y: Floats, o: Bools) -> Columns:
        rate = _rates(m, name)
        return estimators.classwise_ips(y, o, *_classes(m, name), rate.fnr, rate.fpr)

    return Target(_kinds(m, "classwise_ips", make), "brier")


def doubly_robust(m: Material) -> Target:
    """The out-of-fold head of evidence on every row, corrected where feedback was given."""
    q = _imputation(m)

    def make(name: str, y: Floats, o: Bools) -> Columns:
        rate = _rates(m, name)
        return estimators.doubly_robust(y, o, _propensity(m, name), q, rate.fnr, rate.fpr)

    return Target(_kinds(m, "doubly_robust", make), "brier")


def _imputation(m: Material) -> Floats:
    """P(liked | x): out of fold, or by the fit that left out the hidden fold."""
    if m.evidence is None:
        raise Refused("doubly robust targets need the imputation of evidence, and no kind speaks in this log")
    return m.evidence.q if m.hidden is None else m.evidence.q_by[m.hidden]


def evidence(m: Material) -> Target:
    """Everything recorded as one number, in the mixture loss."""
    if m.evidence is None:
        raise Refused("there is no evidence: no kind was offered on a response whose window is closed")
    return Target(m.evidence.columns(m.hidden), "mixture")


def pairs(m: Material) -> Target:
    """Pairs of responses shown together, from item-wise doubly robust targets."""
    items = cast(Columns, doubly_robust(m).columns)
    ahead, behind = shown_together(m.examples.group, m.usable.any(1) & m.inside)
    return Target(estimators.pairs_from_items(items, ahead, behind), "brier", (ahead, behind))


def shown_together(group: Ints, keep: Bools) -> tuple[Ints, Ints]:
    """Rows (A, B) of every pair of responses that share a group, A before B.

    Args:
        group: code of the request. Shape [N].
        keep: rows that may take part. Shape [N].
    """
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(group[rows], kind="stable")]
    ahead, behind = [], []
    for step in range(1, len(rows)):
        together = group[rows[step:]] == group[rows[:-step]]
        if not together.any():
            break
        ahead.append(rows[:-step][together])
        behind.append(rows[step:][together])
    if not ahead:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(ahead).astype(np.int64), np.concatenate(behind).astype(np.int64)


def choices(m: Material) -> Target:
    """Choices coded by slot, flips undone, who chooses left alone.

    Unbiased for the clean loss of the pairs with a choice when fnr and fpr are right, whatever the slot does
    to them. Where the slots are unknown either order is as likely, so that both rates are their mean.
    """
    pairs, rate = _choices(m), _rates(m, "choice")
    either = (rate.fnr + rate.fpr) / 2
    fnr, fpr = (np.where(pairs.ordered, own, either) for own in (rate.fnr, rate.fpr))
    columns = estimators.noise_corrected(np.nan_to_num(pairs.label), pairs.seen, fnr, fpr)
    return Target(columns, "brier", (pairs.a, pairs.b))


def naive_choices(m: Material) -> Target:
    """Choices as they are, whoever made them."""
    pairs = _choices(m.as_logged())
    columns = estimators.naive(np.nan_to_num(pairs.label), pairs.seen)
    return Target(columns, "brier", (pairs.a, pairs.b))


def _choices(m: Material) -> Choices:
    if not m.choices:
        raise Refused("there are no choices: no pair of responses to one prompt was shown with a choice")
    return m.choices


def gold(m: Material) -> Target:
    """Gold labels alone, by the inverse of their design."""
    rows = m.examples
    known = ~np.isnan(rows.gold)
    if not known.any():
        raise Refused("there are no gold labels in this store")
    a = np.zeros(len(rows))
    a[known] = design_weight(rows.gold_design[known], rows.gold_prob[known])
    return Target(Columns(a, a * np.nan_to_num(rows.gold), 0 * a), "brier")


def _causalrm(robust: bool) -> Recipe:
    """CausalRM (arXiv 2603.18736), Algorithm 1 with the defaults of its code.

    Propensity by squared error on all rows, cut at .1; error rates from the .97 quantiles of a proxy trained
    on recorded labels; imputation by that proxy, noisy as it is; logistic loss. Two things are kinder than
    the code: rates are found once, not in every batch, and the checkpoint is chosen on held-out prompts.
    """

    def recipe(m: Material) -> Target:
        def make(name: str, y: Floats, o: Bools) -> Columns:
            k = m.examples.kind(name)
            p = _fitted(m, m.usable[:, k].astype(np.float64), o.astype(np.float64), "brier")
            proxy = _fitted(m, o.astype(np.float64), y, "logistic")
            rate = noise.quantile_anchors(proxy[m.inside & m.usable[:, k]], kind=name)
            options: dict[str, Any] = {"fnr": rate.fnr, "fpr": rate.fpr, "floor": 0.1, "unsafe": True}
            usable = np.where(m.usable[:, k], np.maximum(p, 1e-6), 1.0)
            if robust:
                return estimators.doubly_robust(y, o, usable, proxy, **options)
            return estimators.ips(y, o, usable, **options)

        return Target(_kinds(m, "causalrm", make, trust=False), "logistic")

    return recipe


def _fitted(m: Material, weight: Floats, label: Floats, loss: Loss) -> Floats:
    """P(label = 1 | x) of every row, by a head trained on the weighted rows inside."""
    a = weight * m.inside
    columns = Columns(a, a * label, 0 * a)
    options: dict[str, Any] = {"loss": loss, "metric": loss, "decays": PROPENSITY_DECAYS}
    head = fit_head(m.X, columns, groups=m.examples.prompt_hash, **options).head
    return np.asarray(0.5 * (1 + np.tanh(0.5 * head(m.X))))


RECIPES: dict[str, Recipe] = {
    "evidence": evidence,
    "classwise_ips": classwise_ips,
    "doubly_robust": doubly_robust,
    "snips": _weighted("snips", estimators.snips),
    "ips": _weighted("ips", estimators.ips),
    "noise_corrected": noise_corrected,
    "pairs": pairs,
    "choices": choices,
    "naive": naive,
    "naive_choices": naive_choices,
    "gold": gold,
    "causalrm-ips": _causalrm(robust=False),
    "causalrm-dr": _causalrm(robust=True),
}
"""Recipes by name."""

NAIVE = ("naive", "naive_choices")
"""Recipes that take feedback as it is."""

PAIRWISE = ("choices", "naive_choices")
"""Recipes that learn from comparisons alone: only the difference of two rewards means something."""

UNSAFE = ("causalrm-ips", "causalrm-dr")
"""Recipes that repeat a paper without checking what it assumes."""


def columns_inside(m: Material, target: Target) -> Target:
    """The target with the rows of the hidden fold weighing nothing."""
    if m.hidden is None:
        return target
    keep = m.inside if target.pairs is None else m.inside[target.pairs[0]]
    found = target.columns
    if isinstance(found, Mixture):
        return replace(target, columns=replace(found, w=found.w * keep))
    return replace(target, columns=replace(found, a=found.a * keep, b=found.b * keep))
