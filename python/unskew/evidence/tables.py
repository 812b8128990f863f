"""What the fitted likelihood says about each kind of feedback, with intervals.

Means over the usable rows of a kind, weighted by P(r | x):

    P(happened | liked) = sum q p_1 / sum q,    P(happened | not) = sum (1 - q) p_0 / sum (1 - q)

with q = sigmoid(z) and p_r = sigmoid(g + (r - 1/2) effect); fnr and fpr of two-sided kinds are tables as they
are. A head explains part of the errors in the records that it was fitted to, so that rates read beside it are
too low. Tables, and the offset and the scale of every head, are therefore fitted once more, to heads out of
fold, with numbers more in log-odds per standard deviation of z, `growth` for two-sided kinds alone:

    g + along z + (r - 1/2) (effect + growth z)

Decayed heads g leave to `effect` a part of what quality itself does to who answers, or, drawn to what the
kinds share, lend some to a kind that has none; and people who answer at both extremes have an effect that
grows with z. Either way the error rates would make up for it. Both numbers are a priori N(0, 1), and fnr and
fpr uniform, so that none ends on the edge of its range. Covariance: the inverse observed information of all
of these, carried to the means by the delta method. The direction of a head is else taken as found: the
intervals know how uncertain its level and strength are, not where it points.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unskew.events import Kind
from unskew.evidence.compared import errors
from unskew.evidence.likelihood import Record, Tables, contrast, effect, total
from unskew.rates import Share


def rows(line: Tensor, tables: Tables, record: Record, kinds: Sequence[Kind]) -> list[dict[str, Any]]:
    """One mapping a rate: kind, parameter, estimate, low, high, source.

    Args:
        line: z and g_1 .. g_K by fits that have not seen a row's record. Shape [N, 1 + K].
        tables: tables to start from.
        record: what was recorded about these rows.
        kinds: the K kinds.
    """
    two = record.sign == 0
    extra = torch.zeros(2 * line.shape[1] + 2 * len(kinds), dtype=torch.float64)
    point = torch.cat([extra, tables.effect, tables.level, tables.contrast, tables.slots])
    quality = ((line[:, :1] - line[:, :1].mean()) / line[:, :1].std().clamp(min=1e-9)).clamp(-3, 3)

    def split(at: Tensor) -> tuple[Tensor, ...]:
        return torch.split(at, [line.shape[1]] * 2 + [len(kinds)] * 5 + [2])

    def moved(at: Tensor) -> tuple[Tensor, Tables]:
        """Line and tables at a point: every head moved, and an effect for each row. Shape [N, K]."""
        shift, stretch, along, growth, strength, level, tilt, slots = split(at)
        head = line * (1 + stretch) + shift
        head = torch.cat([head[:, :1], head[:, 1:] + quality * along], 1)
        return head, Tables(strength + quality * (growth * two), level, tilt, slots)

    def objective(at: Tensor) -> Tensor:
        moved_line, moved_tables = moved(at)
        _, _, along, growth, *_ = split(at)
        error = torch.cat([torch.stack(_errors(moved_tables))[:, two].flatten(), errors(moved_tables.slots)])
        uniform = (
            logsigmoid(error) + logsigmoid(-error)
        ).sum()  # log(p (1 - p)), the density of its log-odds
        prior = 0.5 * (along.square() + growth.square()).sum() - uniform
        return total(moved_line, moved_tables, record) + prior

    def values(at: Tensor) -> Tensor:
        moved_line, moved_tables = moved(at)
        return torch.stack([value for _, _, value in _values(moved_line, moved_tables, record, kinds)])

    point = _minimum(objective, point)
    information = torch.autograd.functional.hessian(objective, point)  # type: ignore[no-untyped-call]
    slopes = torch.autograd.functional.jacobian(values, point)  # type: ignore[no-untyped-call]
    covariance = slopes @ torch.linalg.pinv(information, rtol=1e-9, hermitian=True) @ slopes.T
    found = []
    for (name, parameter, value), variance in zip(
        _values(*moved(point), record, kinds), covariance.diagonal().tolist(), strict=True
    ):
        low, high = Share(float(value), max(variance, 0.0)).interval
        found.append(
            {
                "kind": name,
                "parameter": parameter,
                "estimate": float(value),
                "low": low,
                "high": high,
                "source": "evidence",
            }
        )
    return found


def _minimum(total: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Where a smooth function of few numbers is smallest, near `start`."""
    point = start.clone().requires_grad_()
    descent = torch.optim.LBFGS(
        [point], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-3, tolerance_change=1e-6
    )

    def objective() -> Tensor:
        descent.zero_grad()
        value = total(point)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    descent.step(objective)  # type: ignore[no-untyped-call]
    return point.detach()


def _values(
    line: Tensor, tables: Tables, record: Record, kinds: Sequence[Kind]
) -> list[tuple[str, str, Tensor]]:
    """(kind, parameter, value) of every table; kinds that are usable nowhere are left out."""
    q = torch.sigmoid(line[:, 0])
    half, (fnr, fpr) = effect(tables, record.sign, line[:, 0]) / 2, _errors(tables)
    found = []
    for k, kind in enumerate(kinds):
        at = record.usable[:, k]
        if not bool(at.any()):
            continue
        liked, g = q[at], line[at, 1 + k]
        verb = "answered" if kind.two_sided else "happened"
        for word, weight, side in (("liked", liked, 1), ("not", 1 - liked, -1)):
            rate = (weight * torch.sigmoid(g + side * half[at, k])).sum() / weight.sum()
            found.append((kind.name, f"P({verb}|{word})", rate))
        if kind.two_sided:
            found.append((kind.name, "fnr", torch.sigmoid(fnr[k])))
            found.append((kind.name, "fpr", torch.sigmoid(fpr[k])))
    if bool((record.compared.side != 0).any()):
        found += [
            ("choice", name, torch.sigmoid(odds))
            for name, odds in zip(("fnr", "fpr"), errors(tables.slots), strict=True)
        ]
    return found


def _errors(tables: Tables) -> tuple[Tensor, Tensor]:
    """Log-odds of fnr and fpr of two-sided kinds. Shape [K] each."""
    tilt = contrast(tables) / 2
    return -tables.level - tilt, tables.level - tilt


def mean_rate(found: Sequence[dict[str, Any]], kind: str, parameter: str) -> float:
    """The estimate of one table, nan when it is not among them."""
    return next(
        (row["estimate"] for row in found if (row["kind"], row["parameter"]) == (kind, parameter)), np.nan
    )
