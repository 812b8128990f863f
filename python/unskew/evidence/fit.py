"""Fitting the likelihood out of fold, with the decays chosen on held-out prompts.

The decay of z, and then that of what the rates of kinds do not share, are those that explain held-out prompts
best, measured by the likelihood itself; then whether effects grow. `descent` states what is minimised.

A gold label weighs as much as any row. Weighing those drawn at random five times corrects the level and costs
ranking: AUC fell by .001 to .008 with 200 or 600 labels. Nothing is calibrated afterwards: an offset, a
temperature of d or Platt's line, fitted to gold that two folds leave out, with priors at the identity, moved
the Brier score by -.0005 to +.0004 (offset and temperature) or up to +.002 (slope) once habits and what kinds
share were modelled; before, by -.009 to 0. Kinds are taken as independent given features, label and user.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from unskew.data import Choices
from unskew.estimators.checks import require
from unskew.events import Kind
from unskew.evidence import tables as reports
from unskew.evidence.checks import checks, compare
from unskew.evidence.compared import Compared
from unskew.evidence.descent import Descent
from unskew.evidence.likelihood import Record, Tables, chances, evidence, happening, record_of, total, voices
from unskew.evidence.result import Evidence, doubts
from unskew.features.axes import Axes, axes
from unskew.folds import assign

DECAYS = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Weight decays of z that are tried, strongest first; the first without improvement ends the path."""

OWN_DECAYS = (3e-3, 3e-4)
"""Weight decays of what the kinds do not share that are tried, strongest first."""

GROWTH = 1e-3
"""Held-out log-likelihood a row that must be won before the effect of the label on answering may grow with z.

Where people answer at both extremes, .003 to .009 were won with 16,000 rows, and the Brier score fell by .001
to .005. Where they do not, up to .0006 were won, and a level that is free to move with it cost up to .0036.
It is not asked of a kind alone: growth and error rates then explain each other (.008 won, Brier up by .013).
"""

LITERAL = (
    "{} alone was recorded, and no gold label: nothing tells its errors, or who answers, from what is liked. "
    "Records are taken at their word, as a naive model takes them. Label rows at random, or log another kind."
)
"""What is said when one kind speaks alone."""

HELD_OUT = 5
"""One prompt in so many is held out to choose the decay of z."""


def fit(
    X: NDArray[Any],
    kinds: Sequence[Kind],
    usable: ArrayLike,
    observed: ArrayLike,
    positive: ArrayLike,
    fold_key: ArrayLike,
    *,
    gold: ArrayLike | None = None,
    random: ArrayLike | None = None,
    user: ArrayLike | None = None,
    choices: Choices | None = None,
    folds: int = 3,
) -> Evidence:
    """What everything recorded says about each response, as one number d a row, and P(liked | x) without it.

    Each row's d and q come from tables and heads fitted to the other folds, gold labels included; a gold
    label itself counts as d = +-30. Assumptions: kinds are independent given the features and the hidden
    label; the log-odds of liking and of happening are linear in the features; a label moves a kind equally
    everywhere, a two-sided one perhaps the more the better a response is; the habits of users are independent
    of what they are shown; whoever chooses between two responses likes what other kinds speak of, and whether
    somebody chooses depends on the features alone. Which gold rows were labelled may depend on anything
    recorded. One two-sided kind alone, without choices or gold, is taken at its word (`record_of`):
    q is then what a naive model learns, d is +-15 where there is a record, and there are no tables.

    Args:
        X: features, finite. Shape [N, D].
        kinds: the K kinds; two-sided kinds on single responses and one-sided kinds.
        usable: offered, and the window closed. Shape [N, K].
        observed: anything recorded. Shape [N, K].
        positive: a positive label recorded, or the one-sided kind happened. Shape [N, K].
        fold_key: rows with one key share a fold (prompt hash). Shape [N], integers.
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        random: gold rows that were drawn at random, on which the fit is checked. Shape [N].
        user: who gave the feedback, a number each, 0 where unknown. Shape [N], integers.
        choices: pairs of these responses, of which one may have been chosen, with gold; both of a pair share
            a fold key.
        folds: at least 2.

    Raises:
        ValueError: a shape differs, a value is not as described, a kind is no evidence, nothing is usable, or
            a fold has nothing in it.
        NumericError: the fit became non-finite.

    Source: the likelihood is in `likelihood`; out of fold as in Chernozhukov et al. (2018).
    """
    use, seen, up = (np.asarray(column).astype(bool) for column in (usable, observed, positive))
    label = np.full(len(X), np.nan) if gold is None else np.asarray(gold, np.float64)
    drawn = np.zeros(len(X), bool) if random is None else np.asarray(random).astype(bool)
    who = np.zeros(len(X), np.uint64) if user is None else np.asarray(user)
    for name, column, shape in (
        ("usable", use, (len(X), len(kinds))),
        ("observed", seen, (len(X), len(kinds))),
        ("positive", up, (len(X), len(kinds))),
        ("gold", label, (len(X),)),
        ("random", drawn, (len(X),)),
        ("user", who, (len(X),)),
    ):
        if column.shape != shape:
            raise ValueError(f"{name} has shape {column.shape}; {shape} is needed: rows of X, kinds")
    for kind in kinds:
        if kind.name == "choice" or not (kind.two_sided or kind.one_sided):
            raise ValueError(
                f"{kind.name!r} says nothing about one response; pass two-sided and one-sided kinds alone"
            )
    graded = np.isnan(label) | ((label >= 0) & (label <= 1))
    require(graded, "gold", label, "in [0, 1]", "NaN stands for no label")
    if not use.any():
        raise ValueError("no kind was offered on a row whose window is closed; there is no evidence to weigh")
    pairs, key = Compared.of(choices), np.asarray(fold_key)
    if len(apart := np.flatnonzero(key[pairs.a.numpy()] != key[pairs.b.numpy()])):
        raise ValueError(
            f"responses {int(pairs.a[apart[0]])} and {int(pairs.b[apart[0]])} are a pair and have two fold "
            "keys; a choice is between two responses to one prompt"
        )
    speaks = use.any(1) | ~np.isnan(label)
    speaks[torch.cat([pairs.a, pairs.b]).numpy()] = True
    fold = assign(fold_key, folds, speaks)
    code, known = np.full(len(X), -1), who != 0
    code[known] = np.unique(who[known], return_inverse=True)[1]
    t = torch.from_numpy
    record = record_of(kinds, t(use), t(seen), t(up), t(label), t(code), pairs)
    rows = t(np.array(X, np.float32))
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("X holds a value that is not finite; repair the features or drop the row")
    inside = [torch.from_numpy(np.flatnonzero(speaks & (fold != number))) for number in range(folds)]
    everywhere = torch.from_numpy(np.flatnonzero(speaks))
    frame = axes(X)  # of the features alone, so one frame serves every fold
    spoke = voices(kinds, record.happened) + int((record.compared.side != 0).any())
    settings, history = _choose(rows, record, frame, inside[0], fold_key, spoke)
    d, q = np.zeros((folds, len(X))), np.zeros((folds, len(X)))
    p1, p0 = np.zeros(use.shape), np.zeros(use.shape)
    chosen = record.compared.chosen()
    first, expected = chosen.side.numpy() > 0, np.zeros(len(chosen.a))
    unseen = torch.zeros(len(X), 1 + len(kinds), dtype=torch.float64)
    for number in range(folds):
        line, found = _fit(rows, record, frame, inside[number], settings)
        d[number], q[number] = evidence(line, found, record).numpy(), torch.sigmoid(line[:, 0]).numpy()
        held = fold == number
        unseen[held] = line[held]
        mine = held[chosen.a.numpy()]
        expected[mine] = chances(line, found, record).numpy()[mine]
        p1[held], p0[held] = (part[held] for part in happening(line, found, record))
    rates = [] if record.literal else reports.rows(unseen[everywhere], found, record.at(everywhere), kinds)
    own = q[fold, np.arange(len(X))]
    posterior = own / (own + (1 - own) * np.exp(-d[fold, np.arange(len(X))]))
    figures = checks(kinds, own, p1, p0, use, record.happened.numpy(), posterior, label)
    figures += compare(first, expected)
    warnings = doubts(kinds, rates, own[drawn & ~np.isnan(label)], label[drawn & ~np.isnan(label)], figures)
    if record.literal:
        warnings = (LITERAL.format(kinds[int(record.happened.any(0).nonzero()[0])].name), *warnings)
    return Evidence(d, q, fold, label, speaks, rates, settings.decay, history, warnings, figures)


class Settings(NamedTuple):
    """What held-out prompts decide: the decays of z and of what kinds do not share, whether effects grow."""

    decay: float
    own: float
    grows: bool


def _choose(
    X: Tensor, record: Record, frame: Axes, inside: Tensor, fold_key: ArrayLike, voices: int
) -> tuple[Settings, list[dict[str, Any]]]:
    """The settings that explain held-out prompts best, and the path to them.

    Every fit starts anew, as those that follow do: from the minimum of a strong decay, where the hidden class
    may be "gets feedback", a weaker one need not find its way out.
    """
    code = np.unique(np.asarray(fold_key)[inside.numpy()], return_inverse=True)[1]
    order = np.random.default_rng(1).permutation(int(code.max()) + 1)
    held = torch.from_numpy(order[code] % HELD_OUT == 0)
    training, test = inside[~held], inside[held]
    if not len(training) or not len(test):
        raise ValueError("a fold has too few prompts to hold one out; more prompts or fewer folds are needed")
    solve = Descent(X[training], record.at(training), frame, _users(record))
    history: list[dict[str, Any]] = []

    def lost(settings: Settings) -> float:
        """Loss of held-out prompts."""
        point = solve(solve.start(), *settings)
        line = solve.line(X[test], record.user[test], point)
        value = float(total(line, point.tables, record.at(test))) / len(test)
        history.append({**settings._asdict(), "held_out": value})
        return value

    best, least = Settings(DECAYS[0], OWN_DECAYS[0], False), math.inf
    for decay in DECAYS:
        if (value := lost(best._replace(decay=decay))) >= least:
            break
        best, least = best._replace(decay=decay), value
    for own in OWN_DECAYS[1:]:
        if (value := lost(best._replace(own=own))) >= least:
            break
        best, least = best._replace(own=own), value
    if voices > 1 and bool((record.sign == 0).any()) and lost(best._replace(grows=True)) < least - GROWTH:
        best = best._replace(grows=True)
    return best, history


def _fit(X: Tensor, record: Record, frame: Axes, inside: Tensor, settings: Settings) -> tuple[Tensor, Tables]:
    """z and g of all rows, and the tables, from the rows inside."""
    solve = Descent(X[inside], record.at(inside), frame, _users(record))
    point = solve(solve.start(), *settings)
    return solve.line(X, record.user, point), point.tables


def _users(record: Record) -> int:
    return int(record.user.max()) + 1
