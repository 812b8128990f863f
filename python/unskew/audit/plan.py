"""Which responses are worth a gold label.

Two thirds are drawn at random: they teach evidence most, and give the base rate and evaluation. The rest is
stratified by kind and recorded label (error rates), because a random draw holds few answers and fewer wrong
ones. Every row carries the probability with which its part chose it, so either part can stand for the log.

`outlook` says what a number of labels would show: widths of intervals, and power of tests if liking changed
who answers.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unskew.audit import measure
from unskew.audit.power import class_power, least, log_power
from unskew.data import RANDOM, STRATIFIED, Examples
from unskew.noise import Noise
from unskew.rates import Floats, Ints, Liked, design_weight, effective, wilson

RANDOM_PART = 2 / 3
"""Share of the labels that is drawn at random."""

TWO_SIDED, ONE_SIDED, SILENT = 2.0, 1.0, 1.5
"""Share of the stratified part for each label of a two-sided kind, each one-sided kind, and silence."""

GUESS = 0.15
"""Error rates on which the expected widths are planned."""

ACCURACY = 0.75
"""Accuracy on which the width of an evaluation is planned."""

RATIO = 2.0
"""p1 / p0 on which power is planned: liked responses are answered twice as often."""

POWER = 0.8
"""Power that is worth planning for."""


@dataclass(frozen=True)
class GoldPlan:
    """Rows to label.

    Args:
        index: position in the examples. Shape [G].
        response_id: the product's id. Length G.
        design: `RANDOM` or `STRATIFIED`. Shape [G].
        prob: probability with which its part chose the row. Shape [G], in (0, 1].
        stratum: why it was chosen, in words. Length G.
        widths: expected width of the 95 % interval of `fnr`, `fpr` and `D` of each two-sided kind, if both
            rates were .15, and under `all` of the base rate and of an accuracy of .75, from random gold.
    """

    index: Ints
    response_id: list[str]
    design: NDArray[np.int8]
    prob: Floats
    stratum: list[str]
    widths: dict[str, dict[str, float]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.index)

    def lines(self, prompts: Sequence[str], responses: Sequence[str]) -> list[str]:
        """A JSON line a row, with an empty label to fill in: 1 good, 0 not.

        The record is left out on purpose: who labels must not see how others voted.

        Args:
            prompts: of the planned rows. Length G.
            responses: of the planned rows. Length G.
        """
        if not len(prompts) == len(responses) == len(self):
            raise ValueError(
                f"{len(prompts)} prompts and {len(responses)} responses for {len(self)} planned rows; one of "
                "each is needed"
            )
        names = {RANDOM: "random", STRATIFIED: "stratified"}
        return [
            json.dumps(
                {
                    "type": "gold",
                    "response": self.response_id[number],
                    "label": None,
                    "design": names[int(self.design[number])],
                    "prob": float(self.prob[number]),
                    "annotator": None,
                    "prompt": prompts[number],
                    "text": responses[number],
                },
                ensure_ascii=False,
            )
            for number in range(len(self))
        ]


def gold_plan(examples: Examples, n: int, seed: int = 0) -> GoldPlan:
    """Choose `n` rows to label: two thirds at random, the rest by what was recorded.

    Rows that already have gold, or on which no kind is usable, are left out. A row falls into the first
    stratum that applies: each two-sided kind up or down, each one-sided kind that happened, silent.

    Args:
        examples: the live rows.
        n: number of labels, at least 10.
        seed: seed of the choice.

    Raises:
        ValueError: fewer than 10 labels, or more than there are rows to label.
    """
    usable = examples.offered & examples.closed
    open_rows = np.flatnonzero(usable.any(1) & np.isnan(examples.gold))
    if not 10 <= n <= len(open_rows):
        raise ValueError(
            f"{n} gold labels are asked for; it must be between 10 and {len(open_rows)}, the responses "
            "without gold whose window for feedback is closed"
        )
    rng = np.random.default_rng([seed, 3])
    order = rng.permutation(open_rows)
    random = int(n * RANDOM_PART)
    rest = order[random:]
    names, shares, code = _strata(examples)
    sizes = np.bincount(code[rest], minlength=len(names))
    quota = _quotas(sizes, np.array(shares), n - random)
    rows, prob = [order[:random]], [np.full(random, random / len(order))]
    why = ["random"] * random
    for number, count in enumerate(quota.tolist()):
        rows.append(rest[code[rest] == number][:count])
        prob.append(np.full(count, (1 - random / len(order)) * count / max(int(sizes[number]), 1)))
        why += [names[number]] * count
    index = np.concatenate(rows).astype(np.int64)
    design = np.where(np.arange(n) < random, RANDOM, STRATIFIED).astype(np.int8)
    chance = np.concatenate(prob)
    ids = [examples.response_id[at] for at in index.tolist()]
    return GoldPlan(index, ids, design, chance, why, _widths(examples, index, design, chance))


def _strata(examples: Examples) -> tuple[list[str], list[float], Ints]:
    """(names, shares, stratum of each row)."""
    names, shares, masks = [], [], []
    usable = examples.offered & examples.closed
    order = sorted(range(len(examples.kinds)), key=lambda k: not examples.kinds[k].two_sided)
    for k in order:
        kind, seen = examples.kinds[k], examples.observed[:, k] & usable[:, k]
        if kind.two_sided and kind.name != "choice":
            names += [f"{kind.name} up", f"{kind.name} down"]
            shares += [TWO_SIDED, TWO_SIDED]
            masks += [seen & examples.positive[:, k], seen & ~examples.positive[:, k]]
        elif kind.one_sided:
            names.append(f"{kind.name} happened")
            shares.append(ONE_SIDED)
            masks.append(seen & examples.positive[:, k])
    code = np.select(masks, list(range(len(masks))), len(masks)) if masks else np.zeros(len(examples), int)
    return [*names, "silent"], [*shares, SILENT], code.astype(np.int64)


def _quotas(sizes: Ints, shares: Floats, total: int) -> Ints:
    """Rows of each stratum: near its share, at most its size, `total` in all."""
    quota = np.zeros(len(sizes), np.int64)
    while quota.sum() < total:
        room = np.where(sizes > quota, shares, 0.0)
        wanted = np.floor((total - quota.sum()) * room / room.sum()).astype(np.int64)
        if not wanted.any():
            wanted[int(np.argmax(room))] = 1
        quota = np.minimum(quota + wanted, sizes)
    return quota


def _widths(
    examples: Examples, index: Ints, design: NDArray[np.int8], prob: Floats
) -> dict[str, dict[str, float]]:
    """Expected widths of the intervals once the planned rows, and those that have gold, are labelled."""
    every_design, every_prob = examples.gold_design.copy(), examples.gold_prob.copy()
    every_design[index], every_prob[index] = design, prob
    labelled = every_design > 0
    widths = {}
    up, down, _ = np.eye(3, dtype=bool)
    for column in measure.two_sided(examples):
        seen = int(column.observed.sum())
        if not seen:
            continue
        high = column.positive.sum() / seen
        liked = min(max((high - GUESS) / (1 - 2 * GUESS), 0.02), 0.98)
        above = min(max((1 - GUESS) * liked / max(high, 1e-9), 0.02), 0.98)
        below = min(max(GUESS * liked / max(1 - high, 1e-9), 0.02), 0.98)
        record = np.where(column.observed, np.where(column.positive, 0, 1), 2)
        rows, sizes = np.zeros(3), np.zeros(3)
        for number in range(3):
            here = column.usable & (record == number)
            rows[number] = here.sum()
            sizes[number] = effective(
                design_weight(every_design[here & labelled], every_prob[here & labelled])
            )
        share = np.array([above, below, 0.5])
        planned = Liked(rows, share, share * (1 - share) / (sizes + 2), sizes)
        ratios = ((down, up | down, True), (up, up | down, False))
        fnr, fpr = (planned.ratio(*ratio).value for ratio in ratios)
        interval = Noise(fnr, fpr, planned.covariance(*ratios)).interval
        widths[column.name] = {name: high_ - low for name, (low, high_) in interval.items()}
    random = float((every_design == RANDOM).sum())
    whole = {"base_rate": width(0.5, random), "accuracy": width(ACCURACY, random)}
    return {**widths, "all": whole}


def width(share: float, n: float) -> float:
    """Width of Wilson's 95 % interval of a share seen in n labels."""
    low, high = wilson(share, n)
    return high - low


@dataclass(frozen=True)
class Outlook:
    """What a number of labels would show, were they given.

    Args:
        labels: number of further labels.
        widths: as in `GoldPlan`; of the evaluation `accuracy`, were it .75.
        power: by two-sided kind, of `p1 = p0` (that gold rejects it at 1 %) and of `log against gold` (that
            gold contradicts, at 5 %, the share of liked responses that weights from features tell); both if
            half of the responses were liked, and these were answered twice as often as the others.
    """

    labels: int
    widths: dict[str, dict[str, float]]
    power: dict[str, dict[str, float]]


def outlook(examples: Examples, n: int, pairs: int = 0, seed: int = 0) -> list[Outlook]:
    """What n / 2, n and 2 n labels would show, as far as the log has rows for them.

    Args:
        examples: the live rows.
        n: number of labels, as in `gold_plan`.
        pairs: pairs with a choice; when there are any, the widths of `choice` are those of as many gold pairs
            drawn at random, half of them with the better response in the first slot.
        seed: seed of the choice.

    Raises:
        ValueError: as `gold_plan`.
    """
    found = []
    gold_plan(examples, n, seed)  # n itself must be possible
    for labels in (n // 2, n, 2 * n):
        try:
            plan = gold_plan(examples, labels, seed)
        except ValueError:
            continue
        widths = plan.widths
        if pairs:
            of_pairs = width(GUESS, min(labels, pairs) / 2)
            widths = {**widths, "choice": {"fnr": of_pairs, "fpr": of_pairs}}
        random = int((plan.design == RANDOM).sum()) + _random(examples)
        power = {
            column.name: _powers(random * column.n / len(examples), *_planned(column))
            for column in measure.two_sided(examples)
            if 0 < column.observed.sum() < column.n
        }
        found.append(Outlook(labels, widths, power))
    return found


def enough(examples: Examples) -> dict[str, dict[str, int | None]]:
    """Further labels, two thirds of them random, with which a test of `outlook` has a power of .8, by kind.

    0 where the random labels that are there already do.
    """
    found: dict[str, dict[str, int | None]] = {}
    for column in measure.two_sided(examples):
        if not 0 < column.observed.sum() < column.n:
            continue
        share, planned = column.n / len(examples), _planned(column)

        def power(n: int, share: float = share, planned: tuple[float, float] = planned) -> dict[str, float]:
            return _powers((n * RANDOM_PART + _random(examples)) * share, *planned)

        now = power(0) if _random(examples) else {}
        found[column.name] = {
            name: 0 if now.get(name, 0.0) >= POWER else _least(power, name) for name in power(1)
        }
    return found


def _random(examples: Examples) -> int:
    """Random gold labels that are there already."""
    return int((examples.gold_design == RANDOM).sum())


def _least(power: Callable[[int], dict[str, float]], name: str) -> int | None:
    """Labels with which one of several tests has enough power."""
    return least(lambda n: power(n)[name] >= POWER)


def _planned(column: measure.Column) -> tuple[float, float]:
    """(p1, p0) of a kind with half of the responses liked: the mean is that of the log."""
    mean = float(column.observed.sum()) / column.n
    p0 = min(2 * mean / (1 + RATIO), 1 / RATIO)
    return RATIO * p0, p0


def _powers(random: float, p1: float, p0: float) -> dict[str, float]:
    """Power of both tests with so many random labels on responses that offer the kind."""
    return {
        "p1 = p0": class_power(random, 0.5, p1, p0),
        "log against gold": log_power(random, 0.5, p1, p0),
    }
