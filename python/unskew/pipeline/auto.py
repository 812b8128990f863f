"""What `auto` settles, and why: estimator, error rates, propensity and loss of a run, each in words.

    part          of               what there is to choose from, first the one that is tried first
    estimator     the whole log    the audit's order; the first that is not refused
    error rates   a two-sided kind given, from gold, from an assumption, inside the likelihood
    propensity    a two-sided kind logged, of each class (gold), fitted on the features, inside the likelihood
    loss          the estimator    mixture for evidence, Brier for corrected labels: both bounded

Nothing is decided here that the audit has not decided: an estimator that it refuses is never replaced in
silence, and what was passed over is listed with the reason. Where it refuses every one and a person goes on
all the same, nothing is corrected: a correction that rests on what the log cannot tell does harm as easily as
good. Votes are taken at their word, and the less so the fewer people gave one (`estimators.cautious`).
"""

from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from unskew.audit import Verdict
from unskew.noise import Noise
from unskew.pipeline.config import Refused, TrainConfig
from unskew.pipeline.material import Material
from unskew.pipeline.recipes import FAMILY, PAIRWISE, UNCORRECTED, UNSAFE, recipe_of

FOR = {
    "evidence": "It reads everything that was recorded, silence and gold labels included, and needs no error "
    "rate from outside.",
    "classwise_ips": "Gold labels tell how often people answer about each class, which no weight from "
    "features can know.",
    "doubly_robust": "It stays right when either the propensity or the imputation is wrong.",
    "snips": "The propensity explains who answers, and self-normalised weights vary less.",
    "ips": "The propensity explains who answers.",
    "noise_corrected": "Errors of the record can be undone; who answers is taken not to matter.",
    "choices": "Only choices between two responses were logged; errors of the slot are undone.",
}
"""What speaks for an estimator."""

LOSS = {
    "mixture": "Evidence is a likelihood, and this loss is bounded whatever the log-likelihood ratio.",
    "brier": "It is bounded, and unbiased with corrected labels too, which may lie outside [0, 1].",
    "logistic": "The loss of its paper.",
}
"""What speaks for a loss."""


AT_ITS_WORD = (
    "Nothing is corrected: feedback is taken at its word. The model tells what those who give it record, "
    "which need not be what all users like."
)
"""A limit of a model that was trained by a recipe that corrects nothing."""


@dataclass(frozen=True)
class Decision:
    """One thing that was settled.

    Args:
        part: `estimator`, `error rates`, `propensity` or `loss`.
        of: kind of feedback, or what it is about.
        chosen: what was taken.
        why: for a person.
        passed: (name, reason) of what would have come first and was refused.
    """

    part: str
    of: str
    chosen: str
    why: str
    passed: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def choose(settings: TrainConfig, verdict: Verdict) -> str:
    """The estimator to train: the one asked for, or the first that the audit allows.

    Where the audit allows none and `accept_red` says why to go on, `auto` corrects nothing (`cautious`, or
    `naive_choices` where no votes or ratings were logged); one asked for by name is trained.

    Raises:
        Refused: the audit refuses it and no reason is given to go on, or nothing can be taken at its word.
        ValueError: no recipe has that name.
    """
    name = settings.estimator
    if name == "auto":
        if verdict.allowed:
            return verdict.allowed[0]
        name = next(iter(verdict.estimators), "")
        if not name:
            raise Refused(" ".join(verdict.sentences))
        if settings.accept_red:
            return _uncorrected(verdict)
    recipe_of(name)
    judged, unknown = FAMILY.get(name, name), verdict.colour if name in UNSAFE else "green"
    if {**verdict.estimators, **verdict.others}.get(judged, unknown) == "red":
        if settings.accept_red:
            return name
        why = " ".join(verdict.reasons(judged) or verdict.sentences)
        raise Refused(f"the audit refuses {name}: {why} To train all the same, say why: --accept-red REASON")
    return name


def _uncorrected(verdict: Verdict) -> str:
    """The recipe that takes the feedback of a log at its word.

    Raises:
        Refused: clicks, copies and the like are all there is, and one that did not happen is no dislike.
    """
    if set(verdict.estimators) - {"evidence", "choices"}:  # judged kind by kind: votes or ratings
        return "cautious"
    if "choices" in verdict.estimators:
        return "naive_choices"
    raise Refused(
        f"the audit refuses evidence: {' '.join(verdict.reasons('evidence'))} Without votes, ratings or "
        "choices there is nothing to take at its word. To train all the same, name the estimator: "
        "--estimator evidence"
    )


def decisions(
    material: Material, verdict: Verdict, settings: TrainConfig, name: str, loss: str
) -> list[Decision]:
    """Everything that was settled on the way to a model, in the order of a person's questions.

    Args:
        material: rows and nuisances.
        verdict: the audit.
        settings: what was asked for.
        name: the estimator that is trained.
        loss: the loss that its columns enter.
    """
    family = FAMILY.get(name, name)
    found = [estimator(verdict, settings, name)]
    if family in FOR or name in UNCORRECTED:
        kinds = ["choice"] if name in PAIRWISE else material.offered_to(family)
        kinds = ["every kind"] if family == "evidence" else kinds  # together, not one by one
        found += [_rates(material, family, kind) for kind in kinds]
        found += [_propensity(material, family, kind) for kind in kinds if name not in PAIRWISE]
    return [*found, Decision("loss", name, loss, LOSS[loss])]


def estimator(verdict: Verdict, settings: TrainConfig, name: str) -> Decision:
    """The estimator, and what the audit refused before it."""
    colour = {**verdict.estimators, **verdict.others}.get(FAMILY.get(name, name))
    judged = f" The audit finds it {colour}." if colour else ""
    if settings.estimator != "auto":
        return Decision("estimator", "the whole log", name, f"It was asked for by name.{judged}")
    before = takewhile(lambda other: other != name, verdict.estimators)
    passed = tuple((other, _first(verdict, other)) for other in before)
    if name in UNCORRECTED:
        half = ", and silence as one half" if name == "cautious" else ""
        why = (
            "The audit refuses every estimator, so nothing is corrected: feedback is taken at its word"
            f"{half}. It was trained all the same: {settings.accept_red}"
        )
    else:
        why = f"{FOR.get(name, 'It is the first that the audit allows.')}{judged}"
    return Decision("estimator", "the whole log", name, why, passed)


def _first(verdict: Verdict, name: str) -> str:
    return next(iter(verdict.reasons(name)), "The audit refuses it.")


def _rates(m: Material, name: str, kind: str) -> Decision:
    """Where the error rates of a kind come from, for an estimator."""
    part, found = "error rates", m.rates.get(kind)
    if name in UNCORRECTED:
        return Decision(part, kind, "none", "Feedback is taken at its word.")
    if name == "evidence":
        labels = int((~np.isnan(m.examples.gold)).sum())
        told = f"{labels:,} gold labels are part of it" if labels else "no gold label checks them"
        why = f"They are fitted with everything else that was recorded; {told}."
        return Decision(part, kind, "inside the likelihood", why)
    if not isinstance(found, Noise):
        return Decision(part, kind, "none", "No gold label lies on both classes of its answers.")
    said = f"fnr {found.fnr:.2f}, fpr {found.fpr:.2f}, D at least {found.interval['D'][0]:.2f}"
    if found.source == "known":
        return Decision(part, kind, "given", f"The settings name them ({said}); gold would not change them.")
    if found.source == "gold":
        return Decision(part, kind, "from gold", f"Gold labels were found on both classes ({said}).")
    return Decision(part, kind, found.source, f"There is no gold; they rest on an assumption ({said}).")


def _propensity(m: Material, name: str, kind: str) -> Decision:
    """What is known about who answers, for an estimator."""
    part, found = "propensity", m.propensities.get(kind)
    if name in (*UNCORRECTED, "noise_corrected"):
        return Decision(part, kind, "none", "Who answers is left alone.")
    if name == "evidence":
        why = "How often each class speaks is part of it, and may depend on the features."
        return Decision(part, kind, "inside the likelihood", why)
    if name == "classwise_ips" and kind in m.classwise:
        own = m.classwise[kind]
        why = f"From {own.source}: {own.p1:.1%} of liked, {own.p0:.1%} of disliked responses get an answer."
        return Decision(part, kind, "of each class", why)
    if found is None:
        return Decision(part, kind, "none", "There is no silent response, or no answered one.")
    mean = f"held-out mean of o / p {found.report.mean_o_over_p:.2f}"
    if found.source == "logged":
        return Decision(part, kind, "logged", f"The product decided whom to ask ({mean}).")
    if found.source == "cells":
        why = f"By surface, slot, model and length, small cells shrunk, out of fold by prompt ({mean})."
        return Decision(part, kind, "counted in cells", why)
    return Decision(part, kind, "fitted on the features", f"Out of fold, by prompt ({mean}).")
