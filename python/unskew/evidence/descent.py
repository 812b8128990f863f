"""The minimum of the likelihood on some rows: full-batch L-BFGS in the axes of the features.

    minimise   loss of rows and pairs / N + sum over users h^2 / (2 HABIT N) + sum over kinds growth^2 / (2 N)
                   + decay / 2 |u_z|^2 + SHARED_DECAY / 2 |s|^2 + own / 2 sum over kinds |u_k - s|^2

    z(x) = u_z . x,    g_k(x) = u_k . x + h(user)        with an offset each

u weighs the features after they are centred and scaled to a mean square length of one. What scales the rate
of one kind of feedback, a tone or a habit, mostly scales that of the others: s is learned from all of them,
and u_k departs from it where its own records say so. Heads that share nothing rest on a few hundred records
each; too strong a decay of them lets the hidden class turn into "gets feedback", too weak a one soaks up what
the label explains. At its best s leaves a penalty of the u_k alone, which is diagonal in turned heads
w = Q' u:

    own / 2 sum |w_j|^2, but SHARED_DECAY own / (SHARED_DECAY + K own) for w_1 = sum over kinds u_k / sqrt K

h is a random effect: normal with variance HABIT, at its posterior mode; growth is a priori N(0, 1), or zero.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from unskew.evidence.likelihood import Record, Tables, total
from unskew.features.axes import Axes
from unskew.losses.numeric import NumericError

SHARED_DECAY = 1e-4
"""Weight decay of s, what the rates of all kinds share."""

HABIT = 0.25
"""Variance of the habits of users, in squared log-odds."""

STEPS = 100
"""Iterations of L-BFGS at most."""

TOLERANCE = 1e-7
"""Fall of the mean loss in one iteration that ends the descent: a thousandth of a row in ten thousand."""


class Point(NamedTuple):
    """Where a fit stands.

    Args:
        u: z and the turned heads w along the axes of the features. Shape [1 + K, D].
        shift: offsets of z and g_1 .. g_K. Shape [1 + K].
        habit: log-odds by which a user's habit raises every kind. Shape [U].
        tables: the tables.
    """

    u: Tensor
    shift: Tensor
    habit: Tensor
    tables: Tables


class Descent:
    """The objective on some rows, in the axes of their features.

    Args:
        X: features. Shape [M, D], float32.
        record: what was recorded about them.
        frame: centre, size and axes of the features.
        users: number of users, U.
    """

    def __init__(self, X: Tensor, record: Record, frame: Axes, users: int) -> None:
        self.X, self.record, self.frame = X, record, frame
        self.centre = torch.from_numpy(frame.centre)
        basis = frame.basis
        self.back = None if basis is None else torch.from_numpy(np.ascontiguousarray(basis.T))
        known = record.user[record.user >= 0]
        kinds = len(record.sign)
        turn = np.linalg.qr(np.column_stack([np.ones(kinds), np.eye(kinds)[:, 1:]]))[0]
        self.turn = torch.from_numpy(turn.astype(np.float32))
        self.visits = torch.bincount(known, minlength=users).double()

    def start(self) -> Point:
        """No slopes, the rates of happening as they are, no habits, and tables to start from or to keep."""
        usable = self.record.usable.double()
        rate = ((self.record.happened * usable).sum(0) + 0.5) / (usable.sum(0) + 1)
        shift = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logit(rate)])
        slopes = torch.zeros(len(shift), self.X.shape[1])
        tables = (Tables.at_its_word if self.record.literal else Tables.start)(self.record.sign)
        tables = tables._replace(growth=torch.zeros_like(self.record.sign))
        return Point(slopes, shift, torch.zeros_like(self.visits), tables)

    def decay_of_shared(self, own: float) -> float:
        """Weight decay of w_1, for one of what kinds do not share."""
        return SHARED_DECAY * own / (SHARED_DECAY + len(self.turn) * own)

    def weights(self, u: Tensor) -> Tensor:
        """Weights of the features themselves in z and g_1 .. g_K. Shape [1 + K, D]."""
        heads = torch.cat([u[:1], self.turn @ u[1:]])
        return (heads if self.back is None else heads @ self.back) / self.frame.scale

    def line(self, X: Tensor, user: Tensor, point: Point) -> Tensor:
        """z and g_1 .. g_K of rows and their users, -1 for nobody known. Shape [N, 1 + K], float64."""
        weights = self.weights(point.u)
        line = (linear(X, weights) - weights @ self.centre).double() + point.shift
        habit = torch.cat([point.habit, torch.zeros(1, dtype=torch.float64)])[user]  # -1: the last, nobody
        return torch.cat([line[:, :1], line[:, 1:] + habit[:, None]], 1)

    def __call__(self, start: Point, decay: float, own: float, grows: bool) -> Point:
        """The minimum near `start`, for one decay of z and one of what kinds do not share.

        Args:
            start: where to begin.
            decay: of z.
            own: decay of what kinds do not share.
            grows: whether the effect of the label on who answers may grow with z; it keeps its growth else.
        """
        decays = torch.full((len(start.u), 1), own)
        decays[0] = decay
        decays[1] = self.decay_of_shared(own)
        stretch = torch.from_numpy(np.stack([self.frame.stretch(float(value)) for value in decays[:, 0]]))
        loosen = (len(self.X) / (1 / HABIT + self.visits / 4)).sqrt()  # curvatures alike, as for the features
        v = (start.u / stretch).requires_grad_()
        shift = start.shift.clone().requires_grad_()
        t = (start.habit / loosen).requires_grad_()
        tables = Tables(*(part.clone().requires_grad_() for part in start.tables))
        free = () if self.record.literal else tables if grows else tables[:-1]
        descent = torch.optim.LBFGS(
            [v, shift, t, *free],
            max_iter=STEPS,
            history_size=20,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-6,
            tolerance_change=TOLERANCE,
        )

        def objective() -> Tensor:
            descent.zero_grad()
            u, habit = stretch * v, loosen * t
            line = self.line(self.X, self.record.user, Point(u, shift, habit, tables))
            value = total(line, tables, self.record) / len(self.X) + 0.5 * (decays * u.square()).sum()
            prior = habit.square().sum() / HABIT + tables.growth.square().sum()
            value = value + prior / (2 * len(self.X))
            value.backward()  # type: ignore[no-untyped-call]
            return value

        descent.step(objective)  # type: ignore[no-untyped-call]
        end = Point(
            (stretch * v).detach(),
            shift.detach(),
            (loosen * t).detach(),
            Tables(*(part.detach() for part in tables)),
        )
        if not all(bool(torch.isfinite(part).all()) for part in (*end[:3], *end.tables)):
            raise NumericError(f"the evidence became non-finite at decay {decay:g}; check the features")
        return end
