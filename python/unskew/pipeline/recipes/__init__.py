"""Recipes: from rows and nuisances to the columns of a loss. A new estimator is one more function here.

    name                  loss      reads
    evidence              mixture   everything recorded, gold inside
    classwise_ips         Brier     labels, rates, p1 and p0 from gold
    doubly_robust         Brier     labels, rates, propensity, imputation q of evidence
    snips, ips            Brier     labels, rates, propensity
    noise_corrected       Brier     labels, rates
    mrdr                  Brier     as doubly_robust, q fitted for the least variance
    shrunk_ips, _dr       Brier     as ips and doubly_robust, weights w / (1 + w^2 / L)
    imputation            Brier     q of evidence alone
    pairs                 Brier     pairs of responses shown together, targets of doubly_robust
    choices               Brier     choices by slot, rates: pairs of responses, only differences are learned
    strength-*            logistic  choices as they are, and what models of the other prompts think of them:
                                    drop, flip, smooth, margin, flip-margin, smooth-margin
    positive_unlabelled   Brier     clicks, copies and shares, P(happened | liked) from gold
    nnpu                  Brier     the same, P(liked) from gold, a risk that stays above zero
    implicit              logistic  the same by EM, P(happened | liked) from gold, or fitted with a warning
    naive                 Brier     labels as they are
    cautious              Brier     the same, and silence as one half
    naive_choices         Brier     choices as they are
    gold                  Brier     gold labels alone
    causalrm-ips, -dr     logistic  the published algorithm, its nuisances included: unsafe

Clipped weights have no name of their own: a cap on the weights is a floor under the propensity, a setting of
ips, snips, doubly_robust and mrdr (`recipes: {ips: {floor: 0.1}}`: no weight above 10).

Several two-sided kinds on one response are added with shares that sum to one over the kinds offered; a kind
counts in proportion to D^2 x its share of answers, the inverse of the variance of its corrected label.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from unskew import estimators
from unskew.pipeline.recipes.corrected import (
    DoublyRobust,
    Shrunk,
    Weighted,
    cautious,
    classwise_ips,
    gold,
    naive,
    noise_corrected,
)
from unskew.pipeline.recipes.evidence import evidence, imputation
from unskew.pipeline.recipes.pairs import choices, naive_choices, pairs, shown_together
from unskew.pipeline.recipes.parts import Recipe, Target, columns_inside
from unskew.pipeline.recipes.published import CausalRM
from unskew.pipeline.recipes.strength import Strength
from unskew.pipeline.recipes.unlabelled import Implicit, NonNegative, positive_unlabelled

__all__ = [
    "FAMILY",
    "NAIVE",
    "PAIRWISE",
    "RECIPES",
    "UNCORRECTED",
    "UNSAFE",
    "Recipe",
    "Target",
    "columns_inside",
    "pairs",
    "recipe_of",
    "shown_together",
]

STRENGTH: dict[str, Recipe] = {
    f"strength-{'-'.join(remedies)}": Strength(remedies)
    for remedies in (
        ("drop",),
        ("flip",),
        ("smooth",),
        ("margin",),
        ("flip", "margin"),
        ("smooth", "margin"),
    )
}

RECIPES: dict[str, Recipe] = {
    "evidence": evidence,
    "classwise_ips": classwise_ips,
    "doubly_robust": DoublyRobust(),
    "snips": Weighted("snips", estimators.snips),
    "ips": Weighted("ips", estimators.ips),
    "noise_corrected": noise_corrected,
    "mrdr": DoublyRobust(more=True),
    "shrunk_ips": Shrunk(robust=False),
    "shrunk_dr": Shrunk(robust=True),
    "imputation": imputation,
    "pairs": pairs,
    "choices": choices,
    **STRENGTH,
    "positive_unlabelled": positive_unlabelled,
    "nnpu": NonNegative(),
    "implicit": Implicit(),
    "naive": naive,
    "cautious": cautious,
    "naive_choices": naive_choices,
    "gold": gold,
    "causalrm-ips": CausalRM(robust=False),
    "causalrm-dr": CausalRM(robust=True),
}
"""Recipes by name."""

NAIVE = ("naive", "naive_choices")
"""Recipes that take feedback as it is."""

UNCORRECTED = (*NAIVE, "cautious")
"""Recipes that undo neither errors nor selection."""

PAIRWISE = ("choices", "naive_choices", *STRENGTH)
"""Recipes that learn from comparisons alone: only the difference of two rewards means something."""

UNSAFE = ("causalrm-ips", "causalrm-dr")
"""Recipes that repeat a paper without checking what it assumes."""

FAMILY: dict[str, str] = {
    "pairs": "doubly_robust",
    "mrdr": "doubly_robust",
    "shrunk_dr": "doubly_robust",
    "shrunk_ips": "ips",
    "imputation": "evidence",
    **dict.fromkeys(STRENGTH, "strength"),
}
"""Name under which the audit judges a recipe, where it is not its own."""

SAME = {"clipped_ips": "ips", "clipped_dr": "doubly_robust"}
"""Names that are asked for, and the recipe whose floor they are."""


def recipe_of(name: str, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a name, with some of its settings changed.

    Args:
        name: in `RECIPES`.
        settings: names and values: the keyword fields of its class.

    Raises:
        ValueError: no recipe has that name, it has no such setting, or a value is not as described.
    """
    if name in SAME:
        raise ValueError(
            f"{name} with a cap c is {SAME[name]} with a floor of 1 / c under the propensity: ask for that, "
            f"with recipes: {{{SAME[name]}: {{floor: 0.1}}}} in the YAML file for c = 10"
        )
    if name not in RECIPES:
        raise ValueError(f"estimator is {name!r}; it must be auto or one of {', '.join(RECIPES)}")
    found = RECIPES[name]
    known = [f.name for f in fields(found) if f.kw_only] if is_dataclass(found) else []
    for setting in settings or {}:
        if setting not in known:
            raise ValueError(f"{name} has no setting {setting!r}; it has {', '.join(known) or 'none'}")
    return cast(Recipe, replace(cast(Any, found), **settings)) if settings else found
