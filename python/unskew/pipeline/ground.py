"""What models are measured on: the log in each way of reading it, gold, pseudo-labels, clusters, time.

The ways use the nuisances of the store, never the model, so that two models stand on the same ground. Several
two-sided kinds are joined with the shares of the recipes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from unskew import estimators, noise
from unskew.audit import Verdict
from unskew.audit.gates import LABEL_TEST
from unskew.audit.measure import two_sided
from unskew.estimators import FLOOR, Columns, ess
from unskew.evaluate import Log, label_odds, logs
from unskew.evaluate.validity import ENOUGH, Selection, Way
from unskew.noise import Noise, NoiseRefused
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material
from unskew.pipeline.recipes.pairs import by_slot
from unskew.pipeline.recipes.parts import classes, imputed_for, propensity, rates, trust_in
from unskew.pipeline.run import Unit
from unskew.rates import RANDOM, Bools, Floats, Ints, Liked, design_weight

By = Literal["prompt", "user"]
"""Rows that count as one draw."""

Maker = Callable[[Material, str, Floats, Bools, Ints], Log]

FAMILY: dict[Way, str] = {
    "snips": "snips",
    "doubly_robust": "doubly_robust",
    "classwise_ips": "classwise_ips",
}
"""The audit's name of each way that it judges."""


@dataclass(frozen=True)
class Reading:
    """The log, read in one way.

    Args:
        way: which.
        log: its columns and their slopes.
        at: response or pair of each row of the log. Shape [M].
        n: answers that it uses.
        ess: what their weights leave.
        clipped: answers whose propensity was raised to the floor.
        selection: what gold says about the kinds that it reads.
        refused: why the audit refuses it; empty when it does not.
    """

    way: Way
    log: Log = field(repr=False)
    at: Ints = field(repr=False)
    n: int
    ess: float
    clipped: int
    selection: Selection
    refused: str = ""


@dataclass(frozen=True)
class Weights:
    """Inverse propensity columns of the kind that says most, for what may be wrong with them.

    Args:
        kind: its name.
        columns: of `estimators.ips`, rows on which the kind is usable. Shape [M].
        log: the same, with slopes by the rates.
        at: response of each row. Shape [M].
        odds: how far gold sees the label move the odds of the propensities (`evaluate.label_odds`), >= 1;
            None without enough gold.
    """

    kind: str
    columns: Columns = field(repr=False)
    log: Log = field(repr=False)
    at: Ints = field(repr=False)
    odds: float | None


@dataclass(frozen=True)
class Ground:
    """Responses or pairs on which models are measured, N of them.

    Args:
        unit: which.
        at: positions in `Examples` (responses) or `Choices` (pairs). Shape [N].
        readings: ways of reading the log that can be had.
        missing: why another way cannot be had, by its name.
        pseudo: pseudo-labels with weights, for prediction-powered metrics. Shape [N].
        gold: true label, NaN where there is none, or where it plays no part. Shape [N], in [0, 1].
        random: the gold was drawn at random.
        design, prob: how each gold label was chosen. Shape [N].
        cluster: rows that count as one draw. Shape [N].
        by: what a cluster is.
        time: when it was shown. Shape [N].
        weights: for sensitivity; None where nothing is weighted.
        pairs: (A, B) responses shown together, numbered as `at`; none for pairs. Shape [P] each.
    """

    unit: Unit
    at: Ints = field(repr=False)
    readings: tuple[Reading, ...]
    missing: dict[str, str]
    pseudo: Columns = field(repr=False)
    gold: Floats = field(repr=False)
    random: bool
    design: Any = field(repr=False)
    prob: Floats = field(repr=False)
    cluster: Ints = field(repr=False)
    by: By
    time: Any = field(repr=False)
    weights: Weights | None = field(repr=False)
    pairs: tuple[Ints, Ints] = field(repr=False)

    def __len__(self) -> int:
        return len(self.at)

    @property
    def labels(self) -> int:
        """Gold labels that measure."""
        return int((~np.isnan(self.gold)).sum())


def of_responses(m: Material, verdict: Verdict, keep: Bools, cluster: Ints, by: By, time: Any) -> Ground:
    """The ground of models of responses: those on which some kind is usable.

    Args:
        m: rows and nuisances, its kinds those that the audit allows.
        verdict: the audit.
        keep: rows that may measure. Shape [N of the store].
        cluster: rows with one value count as one draw. Shape [N of the store].
        by: what a cluster is.
        time: when each was shown. Shape [N of the store].

    Raises:
        ValueError: no row is left.
    """
    rows = m.examples
    at = np.flatnonzero(keep & (m.usable.any(1) | ~np.isnan(rows.gold)))
    if not len(at):
        raise ValueError("no response is left to measure on: none has a closed window for feedback, or gold")
    readings: list[Reading] = []
    missing: dict[str, str] = {}
    makers: dict[Way, Maker] = {
        "naive": _naive,
        "snips": _snips,
        "doubly_robust": _robust,
        "classwise_ips": _classwise,
    }
    for way, make in makers.items():
        found = _reading(m, verdict, way, make, at)
        if isinstance(found, Reading):
            readings.append(found)
        else:
            missing[way] = found
    gold, random = _measuring(rows.gold[at], rows.gold_design[at])
    ones = np.ones(len(at))
    q = np.full(len(at), 0.5) if m.evidence is None else m.evidence.imputed[at]
    return Ground(
        "response",
        at,
        tuple(readings),
        missing,
        Columns(ones, q, 0 * ones),
        gold,
        random,
        rows.gold_design[at],
        rows.gold_prob[at],
        cluster[at],
        by,
        time[at],
        _weights(m, at),
        _together(rows.group[at]),
    )


def of_pairs(m: Material, keep: Bools, cluster: Ints, by: By, time: Any) -> Ground:
    """The ground of models of choices: pairs shown side by side; the arguments are those of `of_responses`.

    Raises:
        ValueError: no pair is left.
    """
    pairs = m.choices
    at = np.zeros(0, np.int64) if pairs is None else np.flatnonzero(keep[pairs.a] & keep[pairs.b])
    if pairs is None or not len(at):
        raise ValueError("no pair of responses is left to measure on: none was shown with a choice")
    seen, label = pairs.seen[at], np.nan_to_num(pairs.label[at])
    n, numbers = int(seen.sum()), np.arange(len(at))
    readings: list[Reading] = []
    missing: dict[str, str] = {}
    pseudo = estimators.naive(label, seen)
    if n:
        naive = Log.of(lambda fnr, fpr: estimators.naive(label, seen), noise.known(0, 0, kind="choice"))
        readings.append(Reading("naive", naive, numbers, n, float(n), 0, "unknown"))
        try:
            rate = rates(m, "choice")
            log = Log.of(lambda fnr, fpr: _some(by_slot(pairs, fnr, fpr), at), rate)
            readings.append(Reading("corrected", log, numbers, n, float(n), 0, "unknown"))
            pseudo = Columns(log.a, log.b, 0 * log.a)
        except (Refused, NoiseRefused) as error:
            missing["corrected"] = str(error)
    gold, random = _measuring(pairs.gold[at], pairs.gold_design[at])
    none = np.zeros(0, np.int64)
    return Ground(
        "pair",
        at,
        tuple(readings),
        missing,
        pseudo if n else Columns(np.ones(len(at)), np.full(len(at), 0.5), np.zeros(len(at))),
        gold,
        random,
        pairs.gold_design[at],
        pairs.gold_prob[at],
        cluster[pairs.a[at]],
        by,
        time[pairs.a[at]],
        None,
        (none, none),
    )


def _some(columns: Columns, at: Ints) -> Columns:
    return Columns(columns.a[at], columns.b[at], columns.m[at])


def _measuring(gold: Floats, design: Any) -> tuple[Floats, bool]:
    """The random part of the gold where there are two labels of it, else all; and which it is."""
    random = np.where(design == RANDOM, gold, np.nan)
    found = bool((~np.isnan(random)).sum() >= 2)
    return (random, True) if found else (gold, False)


def _reading(m: Material, verdict: Verdict, way: Way, make: Maker, at: Ints) -> Reading | str:
    """The log in one way, its kinds joined; or why no kind can be read so."""
    allowed = _all(m) if way == "naive" else m.offered_to(FAMILY[way])
    found = {name: _part(m, way, make, name, at) for name in allowed}
    parts = {name: part for name, part in found.items() if isinstance(part, _Part)}
    if not parts:
        return next((str(why) for why in found.values()), "no thumbs or ratings were offered on a response")
    total = np.zeros(len(at))
    for part in parts.values():
        total[part.at] += part.trust
    share = [part.trust / total[part.at] for part in parts.values()]
    left = np.concatenate([np.abs(p.weight) * s for p, s in zip(parts.values(), share, strict=True)])
    return Reading(
        way,
        logs.join([part.log for part in parts.values()], share),
        np.concatenate([part.at for part in parts.values()]),
        sum(part.n for part in parts.values()),
        ess(left),
        sum(part.clipped for part in parts.values()),
        selection_of(m, verdict, list(parts)),
        _refusal(verdict, FAMILY.get(way), list(parts)),
    )


@dataclass(frozen=True)
class _Part:
    """One kind of a reading: its log, where its rows are, its answers, its weights, what it counts."""

    log: Log
    at: Ints
    n: int
    weight: Floats
    trust: float
    clipped: int


def _part(m: Material, way: Way, make: Maker, name: str, at: Ints) -> "_Part | str":
    rows, k = m.examples, m.examples.kind(name)
    numbers = np.flatnonzero(m.usable[at, k])
    own = at[numbers]
    seen, label = rows.observed[own, k], rows.positive[own, k].astype(np.float64)
    if not seen.any():
        return f"nobody answered {name} on these responses"
    try:
        log = make(m, name, label, seen, own)
        trust = 1.0 if way == "naive" else trust_in(m, name)
        p = _propensities(m, way, name, own)
        weight = seen / np.maximum(p, float(FLOOR)) if way == "doubly_robust" else log.a
        return _Part(log, numbers, int(seen.sum()), weight, trust, int((seen & (p < float(FLOOR))).sum()))
    except (Refused, NoiseRefused) as error:
        return str(error)


def _propensities(m: Material, way: Way, name: str, own: Ints) -> Floats:
    """What a way divides by: the smallest propensity that concerns a row; 1 where it divides by none."""
    if way == "naive":
        return np.ones(len(own))
    return np.full(len(own), min(classes(m, name))) if way == "classwise_ips" else propensity(m, name)[own]


def _all(m: Material) -> list[str]:
    return [column.name for column in two_sided(m.examples)]


def _naive(m: Material, name: str, label: Floats, seen: Bools, own: Ints) -> Log:
    return Log.of(lambda fnr, fpr: estimators.naive(label, seen), noise.known(0, 0, kind=name))


def _snips(m: Material, name: str, label: Floats, seen: Bools, own: Ints) -> Log:
    return Log.of(partial(estimators.snips, label, seen, propensity(m, name)[own]), rates(m, name))


def _robust(m: Material, name: str, label: Floats, seen: Bools, own: Ints) -> Log:
    p, q = propensity(m, name)[own], imputed_for(m, name)[own]
    return Log.of(partial(estimators.doubly_robust, label, seen, p, q), rates(m, name))


def _classwise(m: Material, name: str, label: Floats, seen: Bools, own: Ints) -> Log:
    rate, (p1, p0) = rates(m, name), classes(m, name)
    return logs.by_class(label, seen, p1, p0, rate, _covariance(m, name, rate))


def _covariance(m: Material, name: str, rate: Noise) -> Floats:
    """Covariance of (fnr, fpr, p1, p0): of one gold sample, unless the rates come from elsewhere."""
    found = np.zeros((4, 4))
    found[:2, :2], found[2:, 2:] = rate.covariance, m.classwise[name].covariance
    if rate.source != "gold" or m.classwise[name].source != "gold":
        return found
    rows, k = m.examples, m.examples.kind(name)
    record = np.where(rows.observed[:, k], np.where(rows.positive[:, k], 0, 1), 2)
    usable = np.where(m.usable[:, k], record, -1)
    up, down, silent = np.eye(3, dtype=bool)
    seen = up | down
    ratios = (
        (down, seen, True),
        (up, seen, False),
        (seen, seen | silent, True),
        (seen, seen | silent, False),
    )
    design = rows.gold_design.astype(np.int64)
    return Liked.of(usable, 3, rows.gold, design, rows.gold_prob).covariance(*ratios)


def selection_of(m: Material, verdict: Verdict, names: Sequence[str]) -> Selection:
    """What gold says about who gives feedback of these kinds; the worst of them counts."""
    found = {gate.kind: gate.colour for gate in verdict.gates if gate.name.endswith(f": {LABEL_TEST}")}
    if any(found.get(name) == "red" for name in names):
        return "label"
    if all(name in m.propensities and m.propensities[name].source == "logged" for name in names):
        return "designed"
    return "features" if all(found.get(name) == "green" for name in names) else "unknown"


def _refusal(verdict: Verdict, family: str | None, names: Sequence[str]) -> str:
    """The first sentence of the audit that refuses an estimator on these kinds, other than that test."""
    gates = (g for g in verdict.gates if g.colour == "red" and family in g.binds and g.kind in (*names, None))
    return next((gate.sentence for gate in gates if not gate.name.endswith(f": {LABEL_TEST}")), "")


def _weights(m: Material, at: Ints) -> Weights | None:
    """Inverse propensity columns of the kind that counts most."""
    best: tuple[float, str] | None = None
    for name in _all(m):
        if name in m.propensities and isinstance(rate := m.rates.get(name), Noise) and not rate.refusal:
            best = max(best or (0.0, name), (trust_in(m, name), name))
    if best is None:
        return None
    name = best[1]
    k = m.examples.kind(name)
    numbers = np.flatnonzero(m.usable[at, k])
    own, rate = at[numbers], rates(m, name)
    seen, label = m.examples.observed[own, k], m.examples.positive[own, k].astype(np.float64)
    if not seen.any():
        return None
    call = partial(estimators.ips, label, seen, propensity(m, name)[own])
    known = own[~np.isnan(m.examples.gold[own])]
    odds = None
    if len(known) >= ENOUGH:
        gold = (m.examples.observed[known, k], propensity(m, name)[known], m.examples.gold[known])
        weight = design_weight(m.examples.gold_design[known], m.examples.gold_prob[known])
        value = label_odds(*gold, weight=weight)
        odds = value if np.isfinite(value) else None
    return Weights(name, call(rate.fnr, rate.fpr), Log.of(call, rate), numbers, odds)


def _together(group: Ints) -> tuple[Ints, Ints]:
    """Pairs of responses shown together: those next to each other within a group."""
    order = np.argsort(group, kind="stable")
    same = group[order[1:]] == group[order[:-1]]
    return order[:-1][same], order[1:][same]
