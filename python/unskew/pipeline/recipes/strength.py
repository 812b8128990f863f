"""Choices that models trained on the other prompts do not believe: dropped, flipped, smoothed, with a margin.

    drop, flip   the share of choices with the least agreement
    smooth       choices against which the models are on the whole: b -> (1 - 2 alpha) b + alpha a
    margin       all pairs: m -> m + the mean margin of the models

Several models vote, each on prompts that it has not seen. They differ by random weights of the prompts that
they learn from (exponential, the Bayesian bootstrap). Biased by design, see `unskew.estimators.strength`; the
error rates of choices are neither read nor undone: smoothing is the inverse of that correction.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew import estimators
from unskew.estimators import Columns
from unskew.pipeline.material import Material
from unskew.pipeline.recipes.parts import Target, choices_of
from unskew.rates import Ints
from unskew.reward import fit_head

REMEDIES = ("drop", "flip", "smooth", "margin")


@dataclass(frozen=True)
class Strength:
    """Choices as they are, with remedies, in the logistic loss.

    Args:
        remedies: of `drop`, `flip`, `smooth` and `margin`; done in that order.
        heads: models that vote, at least 1.
        share: choices that `drop` and `flip` take, the least believed first, in [0, 1]. Published: .1.
        alpha: share of labels that `smooth` takes as flipped, in [0, 1/2].
        least: smallest margin in the order of the choice, such as 0; none when absent.
        seed: of the weights of the prompts.

    Source: Wang et al., "Secrets of RLHF in Large Language Models Part II" (arXiv 2401.06080), the arms flip,
        margin, flip + margin and soft label + margin. Out-of-fold votes and alpha are ours.
    """

    remedies: tuple[str, ...]
    _: KW_ONLY
    heads: int = 10
    share: float = 0.1
    alpha: float = 0.1
    least: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ValueError(f"heads is {self.heads}; at least one model must vote")

    def __call__(self, m: Material) -> Target:
        found = choices_of(m)
        columns = estimators.naive(np.nan_to_num(found.label), found.seen)
        keep = m.inside[found.a]
        pairs = found.a, found.b
        strength = estimators.preference_strength(*votes(m, columns, pairs, self.heads, self.seed))
        agreement = estimators.agreement(columns, strength.mean)
        least = estimators.weakest(agreement, found.seen & keep, self.share)
        if "drop" in self.remedies:
            columns = estimators.drop(columns, least)
        if "flip" in self.remedies:
            columns = estimators.flip(columns, least)
        if "smooth" in self.remedies:
            columns = estimators.smooth(columns, self.alpha, (agreement < 0) & keep)
        if "margin" in self.remedies:
            columns = estimators.adaptive_margin(columns, strength.mean, least=self.least)
        return Target(columns, "logistic", pairs, warnings=(self._said(columns),))

    def _said(self, columns: Columns) -> str:
        """What the votes did."""
        counts = {name: getattr(columns.counts, name) for name in ("dropped", "flipped", "smoothed", "held")}
        done = [f"{count:,} {name}" for name, count in counts.items() if count]
        if "margin" in self.remedies:
            done.append("margins everywhere")
        return (
            f"{self.heads} models that had not seen a prompt voted on its choices: "
            f"{', '.join(done) or 'nothing changed'}. Where they decide, what people chose does not count: a "
            "remedy, not a correction."
        )


def votes(
    m: Material, columns: Columns, pairs: tuple[Ints, Ints], heads: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rewards of both sides of each pair, by heads that saw neither its prompt nor a hidden fold.

    Args:
        m: rows and features.
        columns: of the pairs. Shape [P].
        pairs: rows in slots A and B. Shape [P] each.
        heads: how many vote.
        seed: of the weights of the prompts.

    Returns:
        Rewards of A and of B. Shape [heads, P] each.
    """
    a, b = pairs
    prompt, fold = np.unique(m.examples.prompt_hash, return_inverse=True)[1], m.fold
    scores = np.zeros((2, heads, len(a)))
    decays: dict[str, Any] = {}
    for number in range(int(fold.max()) + 1):
        own = fold[a] == number
        keep = m.inside[a] & ~own
        for head in range(heads):
            weight = np.random.default_rng((seed, number, head)).exponential(size=int(prompt.max()) + 1)
            part = keep * weight[prompt[a]]
            drawn = Columns(columns.a * part, columns.b * part, columns.m)
            options: dict[str, Any] = {"loss": "logistic", "metric": "logistic", "pairs": pairs, **decays}
            fit = fit_head(m.X, drawn, groups=m.examples.prompt_hash, **options)
            decays = decays or {"decays": (fit.history[fit.best_epoch]["step"],)}
            scores[0, head, own], scores[1, head, own] = fit.head(m.X[a[own]]), fit.head(m.X[b[own]])
    return scores[0], scores[1]
