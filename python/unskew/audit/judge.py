"""From figures to a verdict: gather what is known about each kind, ask every gate, decide."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew.audit import choices as pairwise
from unskew.audit import measure, one_sided, words
from unskew.audit import users as writers
from unskew.audit.gates import FAMILIES, GOLD, RULES, WEIGHTS, Case
from unskew.audit.verdict import Colour, Gate, Verdict, best, worst
from unskew.audit.whole import whole_log
from unskew.data import RANDOM, Choices, Examples
from unskew.noise import Happening, Noise, by_kind
from unskew.propensity import Classwise, Propensity
from unskew.rates import Bools, Floats


def audit(
    examples: Examples,
    *,
    propensities: Mapping[str, Propensity] | None = None,
    rates: "Mapping[str, Noise | Happening] | None" = None,
    classwise: Mapping[str, Classwise] | None = None,
    posterior: Floats | None = None,
    quality: Floats | None = None,
    covariates: Mapping[str, NDArray[Any]] | None = None,
    warnings: Sequence[str] = (),
    choices: Choices | None = None,
    users: writers.Users | None = None,
) -> Verdict:
    """Judge what a log can support.

    Rates and class propensities that are not given come from the gold of the log, when it has any. Nothing is
    fitted here, so an audit of given columns costs seconds.

    Args:
        examples: the live rows with their gold.
        propensities: of each two-sided kind, by name.
        rates: error rates of each kind that the estimators will use, by name.
        classwise: class propensities of each two-sided kind, by name.
        posterior: P(liked | everything recorded) of each row, from evidence. Shape [N].
        quality: P(liked | text) of each row, from fits that have not seen it. Shape [N].
        covariates: columns that should balance after weighting (`covariates(X)`), by name. Shape [N] each.
        warnings: what went wrong while the nuisances were fitted; each makes evidence amber at best.
        choices: pairs on which a choice was offered, with their gold; their rates are those of kind `choice`.
        users: who wrote the log, and whose records are set aside in `examples` and `choices`.

    Raises:
        ValueError: a column does not have one number a row.
    """
    for name, given in {"posterior": posterior, "quality": quality, **(covariates or {})}.items():
        if given is not None and np.shape(given) != (len(examples),):
            raise ValueError(f"{name} has shape {np.shape(given)}; ({len(examples)},) is needed, one a row")
    labels = examples.gold[~np.isnan(examples.gold)]
    gold = len(labels) >= GOLD
    if rates is None and gold:
        usable = examples.offered & examples.closed
        rates = by_kind(
            examples.kinds,
            usable,
            examples.observed,
            examples.positive,
            examples.gold,
            examples.gold_design,
            examples.gold_prob,
        )
    cases = []
    for column in measure.two_sided(examples):
        rate = (rates or {}).get(column.name)
        own = rate if isinstance(rate, Noise) else None
        known = (classwise or {}).get(column.name)
        if known is None and gold:
            known = measure.class_propensities(examples, column)
        elsewhere = own if own is not None and own.source == "known" else None
        counts = measure.classes(column, known=known, rates=elsewhere, posterior=posterior)
        propensity = (propensities or {}).get(column.name)
        cases.append(
            Case(examples, column, propensity, own, known, counts, posterior, quality, covariates or {}, gold)
        )
    gates = [gate for case in cases for rule in RULES for gate in rule(case)]
    if not choices or speaking(examples):
        gates += list(whole_log(examples, cases, labels, warnings))
    if users is not None:
        gates += list(writers.gates(users, (*FAMILIES, "choices")))
    estimators, kinds = _decide(examples, cases, gates)
    compared: dict[str, Any] = {}
    if choices:
        rate = (rates or {}).get("choice")
        told = rate if isinstance(rate, Noise) else None
        gates += list(pairwise.gates(choices, told))
        bound = [gate.colour for gate in gates if "choices" in gate.binds]
        estimators["choices"], kinds["choices"] = worst(bound), ("choice",)
        compared = {"choice": pairwise.figures(choices, told)}
    beside = list(one_sided.gates(examples, rates or {}, len(labels)))
    others, alone = one_sided.decide(beside)
    kinds |= alone
    if choices:
        beside.append(pairwise.votes(choices))
        others["strength"] = worst(gate.colour for gate in (*gates, *beside) if "strength" in gate.binds)
        kinds["strength"] = ("choice",)
    colour = best(estimators.values())
    figures = {
        "gold": {
            "labels": len(labels),
            "random": int((examples.gold_design[~np.isnan(examples.gold)] == RANDOM).sum()),
        },
        "rows": len(examples),
        "users": None if users is None else users.to_dict(),
        **{case.name: _figures(case) for case in cases},
        **compared,
    }
    said = words.sentences(colour, estimators, gates, figures)
    return Verdict(colour, said, tuple(gates), estimators, kinds, figures, others, tuple(beside))


def speaking(examples: Examples) -> tuple[str, ...]:
    """Kinds that are evidence about single responses: offered, and their window closed."""
    usable: Bools = np.asarray((examples.offered & examples.closed).any(0))
    return tuple(
        kind.name
        for k, kind in enumerate(examples.kinds)
        if usable[k] and (kind.one_sided or (kind.two_sided and kind.name != "choice"))
    )


def _decide(
    examples: Examples, cases: Sequence[Case], gates: Sequence[Gate]
) -> tuple[dict[str, Colour], dict[str, tuple[str, ...]]]:
    """Colour of each estimator that applies, and the kinds that it may use."""
    estimators: dict[str, Colour] = {}
    kinds: dict[str, tuple[str, ...]] = {}
    for family in FAMILIES:
        bound = [gate for gate in gates if family in gate.binds]
        if family == "evidence":
            if speaks := speaking(examples):
                estimators[family] = worst(gate.colour for gate in bound)
                kinds[family] = speaks if estimators[family] != "red" else ()
            continue
        by_kind_ = {
            case.name: worst(gate.colour for gate in bound if gate.kind in (case.name, None))
            for case in cases
            if family not in WEIGHTS or case.propensity is not None
        }
        if by_kind_:
            estimators[family] = best(by_kind_.values())
            kinds[family] = tuple(name for name, colour in by_kind_.items() if colour != "red")
    return estimators, kinds


def _figures(case: Case) -> dict[str, Any]:
    """The numbers behind the gates of one kind."""
    column = case.column
    found: dict[str, Any] = {
        "usable": column.n,
        "observed": int(column.observed.sum()),
        "silent": column.silent,
        "positive": int(column.positive.sum()),
    }
    if case.counts is not None:
        c = case.counts
        found["classes"] = {
            "liked": c.liked,
            "not_liked": c.disliked,
            "p1": c.p1,
            "p0": c.p0,
            "source": c.source,
        }
    if case.known is not None:
        found["class_propensity"] = {
            "p1": case.known.p1,
            "p0": case.known.p0,
            "interval": case.known.interval,
        }
    if case.rates is not None:
        found["rates"] = case.rates.rows()
    if case.propensity is not None:
        found["propensity"] = case.propensity.report.to_dict()
        found["balance"] = {
            name: {"before": before, "after": after}
            for name, (before, after) in measure.balance(column, case.propensity.p, case.covariates).items()
        }
    return found
