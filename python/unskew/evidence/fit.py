"""Fitting the likelihood: full-batch L-BFGS in the axes of the features, out of fold.

    minimise   mean loss + decay / 2 |u_z|^2 + RATE_DECAY / 2 sum over kinds |u_k|^2

u weighs the features after they are centred and scaled to a mean square length of one. The decay of z is the
best of a path on held-out prompts, measured by the likelihood itself; that of the rates g_k is fixed, between
constant tables, which collapse, and free heads, which soak up what the label explains.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import linear

from unskew.estimators.checks import require
from unskew.events import Kind
from unskew.evidence import tables as reports
from unskew.evidence.likelihood import Record, Tables, losses, record_given_label, record_of
from unskew.evidence.result import Evidence, doubts
from unskew.features.axes import Axes, axes
from unskew.folds import assign
from unskew.losses.numeric import NumericError

DECAYS = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Weight decays of z that are tried, strongest first; the first without improvement ends the path."""

RATE_DECAY = 3e-4
"""Weight decay of every g_k."""

HELD_OUT = 5
"""One prompt in so many is held out to choose the decay of z."""

STEPS = 100
"""Iterations of L-BFGS at most."""


class Point(NamedTuple):
    """Where a fit stands.

    Args:
        u: z and g_1 .. g_K along the axes of the features. Shape [1 + K, D].
        shift: their offsets. Shape [1 + K].
        tables: the tables.
    """

    u: Tensor
    shift: Tensor
    tables: Tables


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
    folds: int = 3,
) -> Evidence:
    """What everything recorded says about each response, as one number d a row, and P(liked | x) without it.

    Each row's d and q come from tables and heads fitted to the other folds, gold labels included; a gold
    label itself counts as d = +-30. Assumptions: kinds are independent given the features and the hidden
    label; the log-odds of liking and of happening are linear in the features; a label moves a kind equally
    everywhere. Which gold rows were labelled may depend on anything recorded.

    Args:
        X: features, finite. Shape [N, D].
        kinds: the K kinds; two-sided kinds on single responses and one-sided kinds.
        usable: offered, and the window closed. Shape [N, K].
        observed: anything recorded. Shape [N, K].
        positive: a positive label recorded, or the one-sided kind happened. Shape [N, K].
        fold_key: rows with one key share a fold (prompt hash). Shape [N], integers.
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        random: gold rows that were drawn at random, on which the fit is checked. Shape [N].
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
    for name, column, shape in (
        ("usable", use, (len(X), len(kinds))),
        ("observed", seen, (len(X), len(kinds))),
        ("positive", up, (len(X), len(kinds))),
        ("gold", label, (len(X),)),
        ("random", drawn, (len(X),)),
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
    speaks = use.any(1) | ~np.isnan(label)
    fold = assign(fold_key, folds, speaks)
    record = record_of(kinds, *(torch.from_numpy(c) for c in (use, seen, up, label)))
    rows = torch.from_numpy(np.array(X, np.float32))
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("X holds a value that is not finite; repair the features or drop the row")
    inside = [torch.from_numpy(np.flatnonzero(speaks & (fold != number))) for number in range(folds)]
    everywhere = torch.from_numpy(np.flatnonzero(speaks))
    frame = axes(X)  # of the features alone, so one frame serves every fold
    decay, history = _choose(rows, record, frame, inside[0], fold_key)
    d, q = np.zeros((folds, len(X))), np.zeros((folds, len(X)))
    for number in range(folds):
        line, found = _fit(rows, record, frame, inside[number], decay)
        liked, disliked = record_given_label(line[:, 1:], found, record)
        d[number], q[number] = (liked - disliked).numpy(), torch.sigmoid(line[:, 0]).numpy()
    line, found = _fit(rows, record, frame, everywhere, decay)
    rates = reports.rows(line[everywhere], found, record.at(everywhere), kinds)
    own = q[fold, np.arange(len(X))]
    warnings = doubts(kinds, rates, own[drawn & ~np.isnan(label)], label[drawn & ~np.isnan(label)])
    return Evidence(d, q, fold, label, speaks, rates, decay, history, warnings)


def _choose(
    X: Tensor, record: Record, frame: Axes, inside: Tensor, fold_key: ArrayLike
) -> tuple[float, list[dict[str, float]]]:
    """The decay of z that explains held-out prompts best, and the path."""
    code = np.unique(np.asarray(fold_key)[inside.numpy()], return_inverse=True)[1]
    order = np.random.default_rng(1).permutation(int(code.max()) + 1)
    held = torch.from_numpy(order[code] % HELD_OUT == 0)
    training, test = inside[~held], inside[held]
    if not len(training) or not len(test):
        raise ValueError("a fold has too few prompts to hold one out; more prompts or fewer folds are needed")
    solve = Descent(X[training], record.at(training), frame)
    point, history = solve.start(), []
    for decay in DECAYS:
        point = solve(point, decay)
        line = solve.line(X[test], point)
        value = float(losses(line, point.tables, record.at(test)).mean())
        history.append({"decay": decay, "held_out": value})
        if len(history) > 1 and value >= history[-2]["held_out"]:
            break
    return min(history, key=lambda step: step["held_out"])["decay"], history


def _fit(X: Tensor, record: Record, frame: Axes, inside: Tensor, decay: float) -> tuple[Tensor, Tables]:
    """z and g of all rows, and the tables, from the rows inside."""
    solve = Descent(X[inside], record.at(inside), frame)
    point = solve(solve.start(), decay)
    return solve.line(X, point), point.tables


class Descent:
    """The objective on some rows, in the axes of their features.

    Args:
        X: features. Shape [M, D], float32.
        record: what was recorded about them.
        frame: centre, size and axes of the features.
    """

    def __init__(self, X: Tensor, record: Record, frame: Axes) -> None:
        self.X, self.record, self.frame = X, record, frame
        self.centre = torch.from_numpy(frame.centre)
        basis = frame.basis
        self.back = None if basis is None else torch.from_numpy(np.ascontiguousarray(basis.T))

    def start(self) -> Point:
        """No slopes, the rates of happening as they are, and the tables of `Tables.start`."""
        usable = self.record.usable.double()
        rate = ((self.record.happened * usable).sum(0) + 0.5) / (usable.sum(0) + 1)
        shift = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logit(rate)])
        return Point(torch.zeros(len(shift), self.X.shape[1]), shift, Tables.start(self.record.sign))

    def weights(self, u: Tensor) -> Tensor:
        """Weights of the features themselves. Shape [1 + K, D]."""
        return (u if self.back is None else u @ self.back) / self.frame.scale

    def line(self, X: Tensor, point: Point) -> Tensor:
        """z and g_1 .. g_K of feature rows. Shape [N, 1 + K], float64."""
        weights = self.weights(point.u)
        return (linear(X, weights) - weights @ self.centre).double() + point.shift

    def __call__(self, start: Point, decay: float) -> Point:
        """The minimum near `start`, for one decay of z."""
        decays = torch.full((len(start.shift), 1), RATE_DECAY)
        decays[0] = decay
        stretch = torch.from_numpy(np.stack([self.frame.stretch(float(value)) for value in decays[:, 0]]))
        v = (start.u / stretch).requires_grad_()
        shift = start.shift.clone().requires_grad_()
        tables = Tables(*(part.clone().requires_grad_() for part in start.tables))
        descent = torch.optim.LBFGS(
            [v, shift, *tables],
            max_iter=STEPS,
            history_size=20,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-6,
            tolerance_change=1e-6,  # of the mean loss: a hundredth of a row in ten thousand
        )

        def objective() -> Tensor:
            descent.zero_grad()
            u = stretch * v
            line = self.line(self.X, Point(u, shift, tables))
            value = losses(line, tables, self.record).mean() + 0.5 * (decays * u.square()).sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        descent.step(objective)  # type: ignore[no-untyped-call]
        end = Point((stretch * v).detach(), shift.detach(), Tables(*(part.detach() for part in tables)))
        if not all(bool(torch.isfinite(part).all()) for part in (end.u, end.shift, *end.tables)):
            raise NumericError(f"the evidence became non-finite at decay {decay:g}; check the features")
        return end
