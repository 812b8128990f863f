"""Models side by side: each trained on its own columns, measured on prompts it has not seen."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unskew import evaluate
from unskew.data import Choices, Examples
from unskew.estimators import Mixture, ess
from unskew.pipeline.config import TrainConfig
from unskew.pipeline.material import Material
from unskew.pipeline.recipes import UNCORRECTED, UNSAFE, Recipe, Target, columns_inside, recipe_of
from unskew.rates import Floats, design_weight
from unskew.reward import HeadFit, fit_head

LABELS = {
    "evidence": "evidence: all feedback and gold in one likelihood",
    "classwise_ips": "class-wise weights, corrected labels",
    "doubly_robust": "doubly robust targets",
    "snips": "self-normalised weights, corrected labels",
    "ips": "inverse propensity weights, corrected labels",
    "noise_corrected": "corrected labels, no weights",
    "mrdr": "doubly robust targets, imputation fitted for the least variance",
    "shrunk_ips": "shrunk inverse propensity weights, corrected labels",
    "shrunk_dr": "doubly robust targets, shrunk weights",
    "imputation": "imputation alone: the head of evidence, distilled",
    "pairs": "pairs shown together, doubly robust targets",
    "choices": "choices, their errors undone",
    "strength-drop": "choices, the least believed dropped",
    "strength-flip": "choices, the least believed turned round",
    "strength-smooth": "choices, softened where models disbelieve them",
    "strength-margin": "choices, with the margin that models see",
    "strength-flip-margin": "choices, the least believed turned round, with margins",
    "strength-smooth-margin": "choices, softened where disbelieved, with margins",
    "positive_unlabelled": "positive feedback over its rate, silence as dislike",
    "nnpu": "positive feedback scaled to the share of liked responses (nnPU)",
    "implicit": "liking and activity from positive feedback (ImplicitRM)",
    "naive": "naive: thumbs and ratings as they come",
    "cautious": "cautious: thumbs and ratings as they come, silence as one half",
    "naive_choices": "naive: choices as they come",
    "gold": "gold labels alone",
    "causalrm-ips": "CausalRM-IPS as published",
    "causalrm-dr": "CausalRM-DR as published",
}
"""Names of the recipes for a person."""


@dataclass(frozen=True)
class Arm:
    """A trained model and its out-of-fold predictions.

    Args:
        name, label, role: what it is; roles are `ours`, `naive`, `baseline`, `unsafe`, `ideal`.
        fit: the head trained on all prompts.
        target: what it was trained on.
        reward: log-odds of each row, by a model that saw neither its prompt nor its gold; nan where there is
            no such model. Shape [N].
    """

    name: str
    label: str
    role: str
    fit: HeadFit = field(repr=False)
    target: Target = field(repr=False)
    reward: Floats = field(repr=False)

    @property
    def probability(self) -> Floats:
        """P(liked) of each row. Shape [N]."""
        return _sigmoid(self.reward)

    def preference(self, choices: Choices) -> Floats:
        """P(A is better) of each pair. Shape [P]."""
        return _sigmoid(self.reward[choices.a] - self.reward[choices.b])


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def train_arm(
    material: Material,
    name: str,
    settings: TrainConfig,
    *,
    recipe: Recipe | None = None,
    role: str | None = None,
) -> Arm:
    """Train one recipe on all prompts, and once for each fold with that fold hidden.

    Args:
        material: rows and nuisances.
        name: a name in `RECIPES`, or of the recipe that is given.
        settings: head and seed.
        recipe: the recipe; that of the name when absent.
        role: `naive` and `unsafe` follow from the name; `ours` otherwise.

    Raises:
        ValueError: no recipe has that name, or its columns cannot be trained on.
        Refused: what the recipe needs is not there.
    """
    make = recipe or recipe_of(name, settings.recipes.get(name))
    target = make(material)
    fit = _train(material, target, settings)
    decay = fit.history[fit.best_epoch]["step"]
    rows = np.zeros(len(material.examples))
    for number in range(int(material.fold.max()) + 1):
        part = material.without(number)
        found = _train(part, columns_inside(part, make(part)), settings, decay=decay)
        held = ~part.inside
        rows[held] = found.head(material.X[held])
    known = "naive" if name in UNCORRECTED else "unsafe" if name in UNSAFE else "ours"
    told = ", ".join(f"{setting}: {value}" for setting, value in settings.recipes.get(name, {}).items())
    label = LABELS.get(name, name) + (f" ({told})" if told else "")
    return Arm(name, label, role or known, fit, target, rows)


def fit_arm(material: Material, target: Target, settings: TrainConfig) -> HeadFit:
    """The head of a target trained on all prompts: that of `train_arm`, without measuring it.

    Raises:
        ValueError: its columns cannot be trained on.
    """
    return _train(material, target, settings)


def _train(m: Material, target: Target, settings: TrainConfig, decay: float | None = None) -> HeadFit:
    options: dict[str, Any] = {"head": settings.head, "seed": settings.seed, **target.fit}
    if decay is not None and options["head"] == "linear":
        options["decays"] = (decay,)  # chosen on all prompts
    return fit_head(
        m.X,
        target.columns,
        groups=m.examples.prompt_hash,
        loss=target.loss,
        pairs=target.pairs,
        **options,
    )


def measured(arm: Arm, rows: Examples, truth: Floats | None, bootstrap: int) -> dict[str, Any]:
    """An arm as the report shows it, measured where the truth is known.

    Args:
        arm: the arm.
        rows: the live rows, with gold.
        truth: true labels of every row of a simulated log, NaN where unknown; gold when absent. Shape [N].
        bootstrap: replications behind the intervals.
    """
    known = ~np.isnan(rows.gold if truth is None else truth) & ~np.isnan(arm.reward)
    p, cluster, group = arm.probability[known], rows.prompt_hash[known], rows.group[known]
    found: dict[str, Any] = {"name": arm.name, "label": arm.label, "role": arm.role}
    found["histogram"] = evaluate.histogram(arm.probability[~np.isnan(arm.reward)])
    if known.any():
        options: dict[str, Any] = {"cluster": cluster, "bootstrap": bootstrap}
        if truth is not None:
            found["metrics"] = evaluate.metrics(p, truth[known], group=group, **options)
            found["reliability"] = evaluate.reliability(p, truth[known])
        else:
            design, prob = rows.gold_design[known], rows.gold_prob[known]
            found["metrics"] = evaluate.against_gold(p, rows.gold[known], design, prob, **options)
            weight = design_weight(design, prob)
            found["reliability"] = evaluate.reliability(p, rows.gold[known], weight=weight)
    return found


def measured_on_pairs(arm: Arm, rows: Examples, choices: Choices, bootstrap: int) -> dict[str, Any]:
    """An arm as the report shows it, measured where gold says which of two responses is better.

    Args:
        arm: the arm.
        rows: the live rows.
        choices: the pairs, with gold.
        bootstrap: replications behind the intervals, by prompt.
    """
    p = arm.preference(choices)
    known = choices.labelled & ~np.isnan(p)
    found: dict[str, Any] = {"name": arm.name, "label": arm.label, "role": arm.role}
    found["histogram"] = evaluate.histogram(p[~np.isnan(p)])
    if known.any():
        design, prob = choices.gold_design[known], choices.gold_prob[known]
        cluster = rows.prompt_hash[choices.a[known]]
        found["metrics"] = evaluate.preferences(
            p[known], choices.gold[known], design, prob, cluster=cluster, bootstrap=bootstrap
        )
        weight = design_weight(design, prob)
        found["reliability"] = evaluate.reliability(p[known], choices.gold[known], weight=weight)
    return found


def weights(arm: Arm) -> dict[str, Any]:
    """What an arm's weights leave of the log, and what was clipped."""
    columns = arm.target.columns
    w = np.abs(columns.w if isinstance(columns, Mixture) else columns.a)
    counts = columns.counts
    return {
        "estimator": arm.label,
        "ess": ess(w),
        "n": int((w != 0).sum()),
        "max_weight": float(w.max(initial=0.0)),
        "clipped": counts.clipped + counts.capped + counts.raised,
        "outside": counts.outside,
    }
