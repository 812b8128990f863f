"""Error rates from repeated labels: several kinds, annotators or judges on the same items, without much gold.

    P(labels of an item) = sum_z P(z) prod_k P(label_k | z),   z the hidden true label, by EM (`noise.em`)

Exchanging the names of the two classes changes no probability of any label, so **labels alone never say which
class is which**. Something else has to:

    trusted   sources declared better than chance, fnr + fpr < 1: the naming under which they say most
    gold      true labels of some items, fixed inside EM: they decide, whatever is declared

The result says when labels or gold contradict the declaration. The trap is real: on LLMBar's adversarial
pairs most AI judges are worse than chance, and together they outvote the one that is not. Where *every*
source errs in the same direction and there is no gold, nothing in the labels can show it.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from unskew.noise.checks import binary, matrix, same_length
from unskew.noise.em import (
    Confusion,
    Patterns,
    climb,
    information,
    loglik,
    maximise,
    objective,
    posterior,
)
from unskew.noise.records import MIN_D, Noise, NoiseRefused
from unskew.rates import Bools, Floats, Share

SHORT = 20
"""EM steps from every start, before the best goes on."""

MARGIN = 3.0
"""Log-likelihood by which gold must prefer one naming of the classes."""

APART = 4.0
"""Standard errors by which the agreement of two sources may differ from that of independent errors."""

SURPRISE = 0.01
"""Chance below which the mistakes of the posterior on gold rows are called too many."""


class NoiseWarning(UserWarning):
    """Rates were found, but the data contradict what they rest on."""


@dataclass(frozen=True)
class Repeated:
    """Rates of all sources of repeated labels.

    Args:
        prior: P(true 1).
        rates: flip rates of each source, source `dawid-skene`. Length K.
        posterior: P(true 1 | labels) of each item; its gold label where it has one. Shape [N].
        loglik: log-likelihood of the labels and the gold.
        margin: log-likelihood above that of the same model with the classes exchanged: what gold says about
            which class is which. 0 without gold.
        steps: EM steps taken after the short runs from every start.
        settled: whether EM converged.
        warnings: what contradicts the declaration or the model, in words; empty when nothing does.
    """

    prior: Share
    rates: tuple[Noise, ...]
    posterior: Floats
    loglik: float
    margin: float
    steps: int
    settled: bool
    warnings: tuple[str, ...]

    def checked(self) -> "Repeated":
        """This result, when nothing contradicts it.

        Raises:
            NoiseRefused: there are warnings.
        """
        if self.warnings:
            raise NoiseRefused(". ".join(self.warnings))
        return self

    def __getitem__(self, kind: str) -> Noise:
        """Rates of the source with this name."""
        return {rate.kind: rate for rate in self.rates}[kind]


def dawid_skene(
    labels: ArrayLike,
    *,
    trusted: ArrayLike | None = None,
    gold: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    smooth: float = 0.5,
    steps: int = 5000,
    tolerance: float = 1e-8,
) -> Repeated:
    """Class prior and flip rates of every source from labels that several sources gave to the same items.

    Maximum likelihood by EM from several starts (the majority, the trusted majority, gold, each source
    alone). Intervals come from the observed information. Assumptions: sources err independently given the
    true label (where they share errors, rates are too low and intervals too narrow); rates are the same for
    all items; labels are missing at random. Where silence speaks, use `evidence`. Without gold, three sources
    are needed; gold of both classes makes one enough.

    A `NoiseWarning` is given, and kept in the result, when a trusted source comes out at chance or below it
    (its whole 95 % interval of D below .2), when gold hardly decides which class is which, when the posterior
    errs more often on gold rows than it expects of itself, when two sources agree more or less often than
    independent errors allow, or when EM did not settle.

    Args:
        labels: 1, 0, or NaN where the source said nothing. Shape [N, K].
        trusted: sources declared better than chance. Shape [K]; none when absent, which needs gold.
        gold: true label, 0 or 1, NaN where unknown; chosen at random or by the labels. Shape [N].
        names: names of the sources, for messages; `source 0`, ... when absent. Length K.
        smooth: pseudo-rows of each outcome in every rate; 0 for none.
        steps: most EM steps.
        tolerance: EM stops when no parameter moves by as much.

    Returns:
        Rates in the order of the sources.

    Raises:
        ValueError: shapes or labels are wrong; nothing says which class is which; fewer than three sources
            share an item and gold lacks a class; or the labels leave a rate undetermined.

    Source: Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm"
        (1979), equations 2.3 to 2.5, two classes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.random((2000, 1)) < 0.5
        >>> labels = np.where(rng.random((2000, 4)) < [0.1, 0.2, 0.2, 0.3], ~truth, truth)
        >>> found = dawid_skene(labels, trusted=[True] * 4).checked()
        >>> [round(rate.fnr, 1) for rate in found.rates]
        [0.1, 0.2, 0.2, 0.3]
    """
    table = matrix(labels, 1)
    items, size = table.shape
    truth = np.full(items, np.nan) if gold is None else binary(gold, "gold")
    same_length(items, gold=truth)
    trust = np.zeros(size, bool) if trusted is None else np.asarray(trusted).astype(bool)
    kinds = [f"source {k}" for k in range(size)] if names is None else list(names)
    if trust.shape != (size,) or len(kinds) != size:
        raise ValueError(
            f"trusted has shape {trust.shape} and names has {len(kinds)}; {size} of each are needed, one a "
            "source"
        )
    if not (smooth >= 0 and steps >= 1):
        raise ValueError(f"smooth is {smooth} and steps is {steps}; smooth >= 0 and steps >= 1 are needed")
    _identified(table, truth, trust)

    coded = np.nan_to_num(np.column_stack([table, truth]), nan=-1).astype(np.int8)
    cells, place, count = np.unique(coded, axis=0, return_inverse=True, return_counts=True)
    told = np.where(cells < 0, np.nan, cells)
    patterns = Patterns.of(told[:, :-1], told[:, -1], count.astype(np.float64))
    at, taken, settled = _best(patterns, trust, smooth, steps, tolerance)
    covariance = _covariance(information(patterns, at, smooth), kinds)
    rates = tuple(
        Noise(
            float(at.fnr[k]),
            float(at.fpr[k]),
            covariance[np.ix_([1 + k, 1 + size + k], [1 + k, 1 + size + k])],
            "dawid-skene",
            kinds[k],
        )
        for k in range(size)
    )
    known = bool((~np.isnan(truth)).any())
    margin = loglik(patterns, at) - loglik(patterns, at.swapped()) if known else 0.0
    said = [
        *_contradictions(rates, trust, known),
        *([_undecided(margin)] if known and margin < MARGIN else []),
        *_surprise(patterns, at),
        *_together(patterns, at, kinds),
        *([] if settled else [f"EM did not settle in {taken} steps; raise `steps`"]),
    ]
    for sentence in said:
        warnings.warn(sentence, NoiseWarning, stacklevel=2)
    return Repeated(
        Share(at.prior, float(covariance[0, 0])),
        rates,
        posterior(patterns, at)[place.reshape(-1)],
        loglik(patterns, at),
        margin,
        taken,
        settled,
        tuple(said),
    )


def _identified(table: Floats, gold: Floats, trust: Bools) -> None:
    """Raises ValueError where no amount of such labels could tell the rates."""
    labelled = gold[~np.isnan(gold)]
    if not trust.any() and not labelled.size:
        raise ValueError(
            "nothing says which class is which: labels are as likely with true and false exchanged. Declare "
            "sources that are better than chance (`trusted`), or give gold labels of some items"
        )
    most = int((~np.isnan(table)).sum(1).max())
    if most < 3 and len(np.unique(labelled)) < 2:
        raise ValueError(
            f"no item has labels of more than {most} sources, and gold has {len(labelled)} rows of "
            f"{len(np.unique(labelled))} classes; three sources on the same items or gold of both classes "
            "are needed, else many rates explain the labels equally well"
        )
    silent = np.flatnonzero(np.isnan(table).all(0))
    if silent.size:
        raise ValueError(f"column {silent[0]} of labels is all NaN; leave the source out")


def _starts(patterns: Patterns, trust: Bools, smooth: float) -> Iterator[Confusion]:
    """The majority, the trusted majority, gold, and each source alone, as first guesses of the truth."""
    up, down = patterns.up, patterns.down
    known = ~np.isnan(patterns.gold)

    def guess(votes: Bools) -> Confusion:
        yes, no = up[:, votes].sum(1), down[:, votes].sum(1)
        q = (yes + 0.5) / (yes + no + 1)
        return maximise(patterns, np.where(known, patterns.gold, q), max(smooth, 0.5))

    everyone = np.ones(len(trust), bool)
    yield guess(everyone)
    if trust.any() and not trust.all():
        yield guess(trust)
    if known.any():
        fixed = Patterns(up, down, patterns.gold, np.where(known, patterns.weight, 0.0))
        yield maximise(fixed, np.where(known, patterns.gold, 0.5), max(smooth, 0.5))
    if len(trust) > 1:
        yield from (guess(one) for one in np.eye(len(trust), dtype=bool))


def _best(
    patterns: Patterns, trust: Bools, smooth: float, steps: int, tolerance: float
) -> tuple[Confusion, int, bool]:
    """The best of all starts, climbed to its top, with the classes named by gold, else by the declaration."""
    known = bool((~np.isnan(patterns.gold)).any())
    weight = (patterns.weight @ (patterns.up + patterns.down)) * trust

    def named(at: Confusion) -> Confusion:
        """Without gold: trusted sources say as much as they can for the naming."""
        return at if known or float(weight @ at.D) >= 0 else at.swapped()

    tops = []
    for start in _starts(patterns, trust, smooth):
        # Gold breaks the symmetry of the classes, and EM cannot cross from one naming to the other.
        for first in (start, start.swapped()) if known else (start,):
            at = climb(patterns, first, smooth, min(SHORT, steps), tolerance)[0]
            tops.append((objective(patterns, at, smooth), at))
    best = max(tops, key=lambda top: top[0])[1]
    at, taken, settled = climb(patterns, named(best), smooth, steps, tolerance)
    return at, taken, settled


def _covariance(info: Floats, kinds: Sequence[str]) -> Floats:
    """Inverse of the information."""
    scale = 1 / np.sqrt(np.maximum(np.diag(info), 1e-300))
    values, vectors = np.linalg.eigh(info * scale * scale[:, None])
    if values[0] <= 1e-9:
        loose = int(np.argmax(np.abs(vectors[:, 0])))
        name = "the prior" if loose == 0 else f"a rate of {kinds[(loose - 1) % len(kinds)]}"
        raise ValueError(
            f"the labels leave {name} undetermined: many values are equally likely. Label gold rows of both "
            "classes, or give sources that label the same items"
        )
    inner = (vectors / values) @ vectors.T
    return np.asarray(inner * scale * scale[:, None])


def _contradictions(rates: Sequence[Noise], trust: Bools, known: bool) -> Iterator[str]:
    """Trusted sources that are surely too close to chance to be used, or beyond it."""
    worse = [rate for rate, told in zip(rates, trust, strict=True) if told and rate.interval["D"][1] < MIN_D]
    if not worse:
        return
    listed = ", ".join(f"{rate.kind} (D {rate.D:.2f}, at most {rate.interval['D'][1]:.2f})" for rate in worse)
    why = (
        "Gold decides which class is which, so the declaration is wrong for them: trust them no more"
        if known
        else "Either these err about as often as not, or the others do together, and labels cannot tell "
        "which: label gold rows, or trust only sources that you have checked"
    )
    yield (
        f"{len(worse)} of {int(trust.sum())} sources declared better than chance come out at chance or below "
        f"it: {listed}. {why}"
    )


def _together(patterns: Patterns, at: Confusion, kinds: Sequence[str]) -> Iterator[str]:
    """The pair of sources whose agreement is furthest from what independent errors give.

        P(agree) = prior same(fnr_j, fnr_k) + (1 - prior) same(fpr_j, fpr_k)
        same(x, y) = x y + (1 - x) (1 - y)

    Three sources without gold always fit; the check bites from four on.
    """
    up, down, w = patterns.up, patterns.down, patterns.weight[:, None]
    both = (up + down).T @ (w * (up + down))
    agreed = up.T @ (w * up) + down.T @ (w * down)

    def same(rate: Floats) -> Floats:
        return np.outer(1 - rate, 1 - rate) + np.outer(rate, rate)

    told = at.prior * same(at.fnr) + (1 - at.prior) * same(at.fpr)
    gap = (agreed - both * told) / np.sqrt(np.maximum(both * told * (1 - told), 0.25))
    gap[np.tril_indices(len(kinds))] = 0
    j, k = divmod(int(np.argmax(np.abs(gap))), len(kinds))
    if abs(gap[j, k]) > APART:
        yield (
            f"{kinds[j]} and {kinds[k]} agree on {agreed[j, k] / both[j, k]:.0%} of the items that both "
            f"label, where independent errors give {told[j, k]:.0%} ({gap[j, k]:.1f} standard errors): "
            "their errors depend on each other, so rates may be too low, intervals are too narrow, and the "
            "class may be what sources share, not the true one"
        )


def _undecided(margin: float) -> str:
    return (
        f"gold hardly decides which class is which: the log-likelihood of this naming is {margin:.1f} above "
        f"the other; at least {MARGIN:g} is needed. Label more gold rows"
    )


def _surprise(patterns: Patterns, at: Confusion) -> Iterator[str]:
    """Too many gold rows on which the posterior from the labels alone picks the wrong class.

    The number of mistakes is a sum of independent coins with chances min(q, 1 - q), convolved exactly. It
    does not matter how gold rows were chosen, as long as they were chosen by the labels or at random.
    """
    known = ~np.isnan(patterns.gold)
    if not known.any():
        return
    blind = Patterns(patterns.up, patterns.down, np.full(len(known), np.nan), patterns.weight)
    q = np.repeat(posterior(blind, at)[known], patterns.weight[known].astype(int))
    truth = np.repeat(patterns.gold[known], patterns.weight[known].astype(int))
    wrong, chance = int(((q > 0.5) != (truth == 1)).sum()), np.minimum(q, 1 - q)
    law = np.array([1.0])
    for p in chance:
        law = np.append(law, 0.0) * (1 - p) + np.append(0.0, law) * p
    if float(law[wrong:].sum()) < SURPRISE:
        yield (
            f"the labels name the wrong class of {wrong} of {len(q)} gold rows where {chance.sum():.1f} are "
            "expected: sources share errors, or the class that they share is not the true one. Take rates "
            "from gold (`from_gold`), or fewer sources that err apart"
        )
