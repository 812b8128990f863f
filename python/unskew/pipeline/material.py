"""What every recipe works on: the rows, their features, and the nuisances estimated from them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from unskew import audit, evidence, noise, propensity
from unskew.audit import Verdict
from unskew.audit.judge import speaking
from unskew.audit.measure import Column, class_propensities, two_sided
from unskew.audit.users import CAP, Users, even, weigh_users, without
from unskew.data import RANDOM, Choices, Examples
from unskew.estimators import FLOOR
from unskew.events import KINDS
from unskew.evidence import Evidence
from unskew.folds import assign
from unskew.noise import Happening, Noise
from unskew.propensity import Classwise, Propensity
from unskew.propensity.measure import judge as measured
from unskew.rates import Bools, Floats, Ints
from unskew.reward import HeadClassifier

PROPENSITY_DECAYS = (1e-3, 3e-4, 1e-4)
"""Weight decays that a fitted propensity tries."""

FOLDS = 3
"""Folds of the evidence, and of the models that are measured."""

PASSES = 3
"""Times at most that nuisances are estimated again because more users contradict all others."""

LABELS = 60
"""Labels of a kind below which nobody can be said to contradict the others."""

Stage = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Material:
    """Rows, features and nuisances. Everything estimated is out of fold by prompt.

    Args:
        examples: the live rows, with gold, without the records of `users` that are set aside.
        X: their features. Shape [N, D].
        propensities: P(feedback) of each two-sided kind.
        rates: error rates of each kind: known ones, else those from gold.
        classwise: P(feedback | label) of each two-sided kind, from gold.
        evidence: everything recorded as one number; None when no kind speaks.
        known: rates that the user gave; gold does not change them.
        base_rate: share of liked responses that the user gave; gold comes before it.
        kinds: what the audit lets each estimator use; every kind when absent.
        hidden: fold whose rows and gold labels must leave no trace.
        choices: pairs on which a choice was offered, with gold; None when there are none.
        given: P(feedback) by kind where the product set it, NaN where it did not. Shape [N] each.
        users: who wrote the log, and whose records are set aside; None when nobody was asked.
        logged: rows and choices with every record, when some are set aside.
    """

    examples: Examples
    X: NDArray[Any] = field(repr=False)
    propensities: Mapping[str, Propensity] = field(default_factory=dict)
    rates: Mapping[str, Noise | Happening] = field(default_factory=dict)
    classwise: Mapping[str, Classwise] = field(default_factory=dict)
    evidence: Evidence | None = None
    known: Mapping[str, Noise] = field(default_factory=dict)
    base_rate: float | None = None
    kinds: Mapping[str, tuple[str, ...]] | None = None
    hidden: int | None = None
    choices: Choices | None = field(default=None, repr=False)
    given: Mapping[str, Floats] = field(default_factory=dict, repr=False)
    users: Users | None = None
    logged: "tuple[Examples, Choices | None] | None" = field(default=None, repr=False)

    def as_logged(self) -> "Material":
        """The same with every record in its place: what a naive model sees."""
        if self.logged is None:
            return self
        return replace(self, examples=self.logged[0], choices=self.logged[1], logged=None)

    @property
    def usable(self) -> Bools:
        """Kind offered, and its window closed. Shape [N, K]."""
        return self.examples.offered & self.examples.closed

    @property
    def fold(self) -> Ints:
        """Fold of each row, that of the evidence where there is any. Shape [N]."""
        if self.evidence is not None:
            return self.evidence.fold
        return assign(self.examples.prompt_hash, FOLDS, np.ones(len(self.examples)))

    @property
    def inside(self) -> Bools:
        """Rows outside the hidden fold. Shape [N]."""
        if self.hidden is None:
            return np.ones(len(self.examples), bool)
        return np.asarray(self.fold != self.hidden)

    def without(self, fold: int) -> "Material":
        """The same with a fold hidden: its gold is gone, and what came from it is redone."""
        hidden = replace(self, hidden=fold)
        gold = np.where(hidden.inside, self.examples.gold, np.nan)
        rows, pairs = replace(self.examples, gold=gold), self.choices
        if pairs is not None:
            pairs = replace(pairs, gold=np.where(hidden.inside[pairs.a], pairs.gold, np.nan))
        told = from_gold(rows, self.known, pairs, self.base_rate)
        return replace(hidden, examples=rows, choices=pairs, **told)

    def offered_to(self, family: str) -> list[str]:
        """Two-sided kinds that an estimator may use: what the audit allows, else all of them."""
        names = [column.name for column in two_sided(self.examples)]
        allowed = () if self.kinds is None else self.kinds.get(family, ())
        return [name for name in names if name in allowed] or names


def from_gold(
    rows: Examples,
    known: Mapping[str, Noise],
    choices: Choices | None = None,
    base_rate: float | None = None,
) -> dict[str, Any]:
    """Rates and class propensities: the nuisances that gold, or what the user knows, gives in closed form."""
    usable = rows.offered & rows.closed
    found = noise.by_kind(
        rows.kinds, usable, rows.observed, rows.positive, rows.gold, rows.gold_design, rows.gold_prob
    )
    found |= by_surface(rows)
    if (compared := choice_rates(choices)) is not None:
        found["choice"] = compared
    found |= known
    classes = {
        column.name: by_class(rows, column, found.get(column.name), base_rate) for column in two_sided(rows)
    }
    return {
        "rates": found,
        "classwise": {name: value for name, value in classes.items() if value is not None},
    }


def by_class(
    rows: Examples, column: Column, rate: Noise | Happening | None, base_rate: float | None
) -> Classwise | None:
    """Class propensities of a kind, from gold, else from a share of liked responses and its error rates."""
    found = class_propensities(rows, column)
    if found is not None or base_rate is None or not isinstance(rate, Noise):
        return found
    if rate.refusal or not column.observed.any():
        return None
    return propensity.classwise_from_base_rate(
        column.observed,
        column.positive,
        base_rate,
        fnr=rate.fnr,
        fpr=rate.fpr,
        covariance=rate.covariance,
        usable=column.usable,
    )


def by_surface(rows: Examples) -> dict[str, Noise]:
    """Error rates of kinds that are parted by surface, each leaning on the whole kind (`noise.by_cell`)."""
    found: dict[str, Noise] = {}
    for whole in KINDS:
        own = [k for k, kind in enumerate(rows.kinds) if kind.two_sided and kind.bit == whole.bit]
        if len(own) < 2:
            continue
        usable = rows.offered[:, own] & rows.closed[:, own]
        names = np.array([rows.kinds[k].name for k in own])
        try:
            cells = noise.by_cell(
                rows.positive[:, own].any(1),
                rows.gold,
                names[usable.argmax(1)],
                observed=(rows.observed[:, own] & usable).any(1),
                usable=usable.any(1),
                design=rows.gold_design,
                prob=rows.gold_prob,
                kind=whole.name,
            )
        except ValueError:  # no gold on both classes
            continue
        found |= {str(name): replace(rate, kind=str(name)) for name, rate in cells.rates.items()}
    return found


def choice_rates(choices: Choices | None) -> Noise | None:
    """Error rates of choices by slot, from gold pairs; None without gold on choices of both classes.

    From the pairs whose slots are logged, when there are any: elsewhere the two rates are one.
    """
    if choices is None:
        return None
    usable = choices.seen & (choices.ordered if choices.ordered.any() else True)
    voted = choices.gold[usable & choices.labelled]
    if not ((voted > 0).any() and (voted < 1).any()):
        return None
    return noise.from_gold(
        choices.label == 1,
        choices.gold,
        usable=usable,
        design=choices.gold_design,
        prob=choices.gold_prob,
        kind="choice",
    )


def estimate(
    rows: Examples,
    X: NDArray[Any],
    *,
    known: Mapping[str, Noise],
    given: "Mapping[str, NDArray[Any]]",
    seed: int,
    stage: Stage,
    choices: Choices | None = None,
    user_cap: float | None = CAP,
    cells: Sequence[Ints] | None = None,
    base_rate: float | None = None,
) -> Material:
    """All nuisances of a log, without the records of users who contradict all others.

    Args:
        rows: the live rows, with gold.
        X: features. Shape [N, D].
        known: error rates by kind that the user gave.
        given: propensities by kind that the user gave. Shape [N] each.
        seed: seed of the fits.
        stage: shows what is under way.
        choices: pairs on which a choice was offered, with gold.
        user_cap: see `audit.users`; None reads every record as it came.
        cells: count who answers in these cells, from coarse to fine (`propensity.nested`); fitted on the
            features when absent.
        base_rate: share of liked responses that the user gave.
    """
    fit = partial(_nuisances, X=X, known=known, given=given, seed=seed, cells=cells, base_rate=base_rate)
    if user_cap is None or not rows.user.any():
        return fit(rows, stage=stage, choices=choices)
    with stage("who wrote this log"):
        usual = crowd(rows, X, seed)
        users = weigh_users(rows, user_cap, scores=[usual], seed=seed)
    if users is None:
        return fit(rows, stage=stage, choices=choices)
    kept, pairs = without(rows, choices, users.aside)
    found = fit(kept, stage=stage, choices=pairs)
    for _ in range(PASSES):
        if found.evidence is None:
            break
        scores = [usual, dict.fromkeys(usual, found.evidence.q)]
        before, users = users, cast(Users, weigh_users(rows, user_cap, scores=scores, seed=seed))
        if np.array_equal(before.aside, users.aside):
            break
        kept, pairs = without(rows, choices, users.aside)
        with stage("again, without users who contradict all others"):
            found = fit(kept, stage=lambda _: nullcontext(), choices=pairs)
    return with_users(found, rows, choices, users)


def crowd(rows: Examples, X: NDArray[Any], seed: int) -> dict[str, Floats]:
    """P(recorded 1 | x, answered) of each two-sided kind, out of fold, every user counting about equally.

    A linear head on the recorded labels, with the weight of each user at most that of the median user. Kinds
    with fewer than `LABELS` labels are left out.
    """
    found = {}
    for column in two_sided(rows):
        at = np.flatnonzero(column.observed)
        prompt = rows.prompt_hash[at]
        if len(at) < LABELS or len(np.unique(prompt)) < LABELS // 2:
            continue
        fold, weight = assign(prompt, FOLDS, np.ones(len(at))), even(rows.user[at])
        p = np.full(len(rows), np.nan)
        for number in range(FOLDS):
            inside, held = at[fold != number], at[fold == number]
            model = HeadClassifier("linear", seed=seed, decays=PROPENSITY_DECAYS)
            model.fit(X[inside], column.positive[inside], weight[fold != number], rows.prompt_hash[inside])
            p[held] = model.predict_proba(X[held])[:, 1]
        found[column.name] = p
    return found


def with_users(found: Material, rows: Examples, choices: Choices | None, users: Users | None) -> Material:
    """Material of a log with what was set aside of it."""
    touched = users is not None and bool(users.aside.any())
    return replace(found, users=users, logged=(rows, choices) if touched else None)


def _nuisances(
    rows: Examples,
    *,
    X: NDArray[Any],
    known: Mapping[str, Noise],
    given: "Mapping[str, NDArray[Any]]",
    seed: int,
    stage: Stage,
    choices: Choices | None,
    cells: Sequence[Ints] | None,
    base_rate: float | None,
) -> Material:
    """All nuisances of the records that are there."""
    usable = rows.offered & rows.closed
    propensities: dict[str, Propensity] = {}
    for column in two_sided(rows):
        with stage(f"who answers {column.name}") if column.name not in given else nullcontext():
            p = answering(column, X, rows.prompt_hash, given.get(column.name), seed, cells)
        if p is not None:
            propensities[column.name] = p
    speaks = [rows.kind(name) for name in speaking(rows)]
    found = None
    if speaks:
        with stage("weighing all feedback as evidence"):
            found = evidence.fit(
                X,
                [rows.kinds[k] for k in speaks],
                usable[:, speaks],
                rows.observed[:, speaks],
                rows.positive[:, speaks],
                rows.prompt_hash,
                gold=rows.gold,
                random=rows.gold_design == RANDOM,
                user=rows.user,
                choices=choices,
                folds=FOLDS,
            )
    told = from_gold(rows, known, choices, base_rate)
    told |= {"known": known, "base_rate": base_rate, "choices": choices, "given": given}
    return Material(rows, X, propensities, evidence=found, **told)


def answering(
    column: Column,
    X: NDArray[Any],
    prompt: NDArray[Any],
    given: Floats | None,
    seed: int,
    cells: Sequence[Ints] | None = None,
) -> Propensity | None:
    """P(feedback) of a kind: as given, and fitted out of fold where it is not.

    Args:
        column: the kind.
        X: features. Shape [N, D].
        prompt: fold key. Shape [N].
        given: probabilities that the product set, NaN where it did not. Shape [N].
        seed: seed of the fit.
        cells: count in these cells, from coarse to fine, instead of fitting on the features. Shape [N] each.

    Returns:
        None when there is something to fit and it has answers alone, or silence alone.
    """
    options: dict[str, Any] = {"positive": column.positive, "floor": float(FLOOR)}
    told = np.full(len(X), np.nan) if given is None else given
    unknown = column.usable & np.isnan(told)
    if not unknown.any():
        return propensity.logged(told, column.observed, usable=column.usable, **options)
    if not 0 < (column.observed & unknown).sum() < unknown.sum():
        return None
    if cells is not None:
        return propensity.cells(cells, column.observed, prompt, usable=column.usable, **options)
    model = partial(HeadClassifier, "linear", seed=seed, decays=PROPENSITY_DECAYS)
    fitted = propensity.fit(X, column.observed, prompt, model=model, usable=unknown, **options)
    if unknown.sum() == column.n:
        return fitted
    p = np.where(unknown, fitted.raw, told)
    return measured(
        p, column.observed, column.usable, column.positive, float(FLOOR), "features", fitted.settings
    )


def judge(material: Material) -> Verdict:
    """The audit of a log with its nuisances."""
    found = material.evidence
    return audit.audit(
        material.examples,
        propensities=material.propensities,
        rates=material.rates,
        classwise=material.classwise,
        posterior=None if found is None else found.posterior,
        quality=None if found is None else found.q,
        covariates=audit.covariates(material.X),
        warnings=() if found is None else found.warnings,
        choices=material.choices,
        users=material.users,
    )
