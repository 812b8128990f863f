"""What training code calls: checked arguments in, a differentiable loss and its counts out."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from unskew.losses.engines import SUMS, Form
from unskew.losses.op import Loss
from unskew.losses.reference import FLOOR, rules

Name = Literal["logistic", "brier", "mixture"]
Column = Any  # a tensor, an array or a number


@dataclass(frozen=True)
class Stats:
    """What the rows of a loss amount to. On CUDA, reading a number waits for the device.

    Args:
        sums: one number for each name of `engines.SUMS`, float64, on the device of the scores.
        rows: number of rows.
    """

    sums: Tensor
    rows: int

    def _read(self, name: str) -> float:
        return float(self.sums[SUMS.index(name)])

    @property
    def loss(self) -> float:
        """Sum of the losses in float64, not normalized."""
        return self._read("loss")

    @property
    def weight(self) -> float:
        """Sum of the weights: a or w; observed / propensity in the raw entry."""
        return self._read("weight")

    @property
    def ess(self) -> float:
        """Effective sample size (sum of weights)^2 / sum of squares; 0 when nothing weighs anything."""
        square = self._read("weight_squared")
        return self.weight**2 / square if square else 0.0

    @property
    def clipped(self) -> int:
        """Observed rows whose propensity was raised to the floor; 0 in the folded entry."""
        return int(self._read("clipped"))

    @property
    def outside(self) -> int:
        """Rows with b outside [0, a], that is with a target outside [0, 1]; 0 for the mixture."""
        return int(self._read("outside"))

    @property
    def invalid(self) -> int:
        """Rows of the raw entry that cannot be; their loss is nan. On CPU they raise instead."""
        return int(self._read("invalid"))

    @property
    def z_min(self) -> float:
        """Smallest z; inf without rows."""
        return self._read("z_min")

    @property
    def z_max(self) -> float:
        """Largest z; -inf without rows."""
        return self._read("z_max")


def folded(
    scores_a: Tensor,
    scores_b: Tensor | None,
    a: Column,
    b: Column,
    m: Column = 0.0,
    *,
    loss: Name = "brier",
    temperature: float = 1.0,
    normalizer: float | Tensor | None = None,
) -> tuple[Tensor, Stats]:
    """Sum over rows of a loss at z = temperature (scores_a - scores_b) - m, from an estimator's columns.

    Unbiased when the columns are; the formulas are those of `reference`. Gradients flow into the scores,
    twice if asked; never into a column.

    Args:
        scores_a: rewards of the responses, or of slot A. Shape [N], floating.
        scores_b: rewards of slot B; None for single responses. Shape [N].
        a: weight (w for the mixture). Shape [N], or one number.
        b: weight times target (d for the mixture). Shape [N], or one number.
        m: margin, signed with the order of the slots. Shape [N], or one number, in logits.
        loss: `brier`, `logistic`, or `mixture`.
        temperature: factor on the score (difference), > 0.
        normalizer: what the sum is divided by, > 0.

    Returns:
        The loss, a scalar in the dtype of the scores (float32 for half precision), and its `Stats`.

    Raises:
        ValueError: a shape, a dtype or a value is not as described, or a column requires a gradient.

    Example:
        >>> value, stats = folded(torch.zeros(2), None, a=torch.ones(2), b=torch.tensor([1.0, 0.0]))
        >>> value.item(), stats.weight
        (0.5, 2.0)
    """
    names = ("w", "d", "m") if loss == "mixture" else ("a", "b", "m")
    form = _form("folded", loss, temperature, FLOOR, normalizer)
    return _sum(scores_a, scores_b, dict(zip(names, (a, b, m), strict=True)), form, normalizer)


def raw(
    scores_a: Tensor,
    scores_b: Tensor | None,
    label: Column,
    observed: Column,
    propensity: Column,
    fnr: Column = 0.0,
    fpr: Column = 0.0,
    imputation: Column | None = None,
    margin: Column = 0.0,
    *,
    loss: Name = "brier",
    temperature: float = 1.0,
    floor: float = FLOOR,
    normalizer: float | Tensor | None = None,
) -> tuple[Tensor, Stats]:
    """Sum over rows of a loss whose weights and targets are formed on the way, from what was recorded.

        t = (label - fpr) / (1 - fnr - fpr),    weight = observed / max(propensity, floor)
        inverse propensity, without imputation    a = weight,    b = weight t
        doubly robust, with it                    a = 1,         b = imputation + weight (t - imputation)

    Equal to `folded` on the columns of `unskew.estimators.ips` or `doubly_robust`, and unbiased under their
    assumptions. No gradient flows into a nuisance. On CUDA nothing waits for the device: rows that cannot be
    make the loss nan and are counted, where the CPU raises.

    Args:
        scores_a: rewards of the responses, or of slot A. Shape [N], floating.
        scores_b: rewards of slot B; None for single responses. Shape [N].
        label: recorded label (1: liked, or A won), read where observed. Shape [N], in [0, 1].
        observed: feedback was given. Shape [N], bool (0 and 1 are checked and converted).
        propensity: P(observed). Shape [N], or one number, in (0, 1].
        fnr: P(recorded 0 | true 1). Shape [N], or one number, in [0, 1].
        fpr: P(recorded 1 | true 0). Shape [N], or one number, in [0, 1], with 1 - fnr - fpr > .2.
        imputation: P(true label = 1) by a model that has not seen the record. Shape [N], or one number.
        margin: subtracted from z, signed with the order of the slots. Shape [N], or one number, in logits.
        loss: `brier` or `logistic`; the mixture reads evidence d, see `folded`.
        temperature: factor on the score (difference), > 0.
        floor: smaller propensities are raised to it and counted, in [0, 1].
        normalizer: what the sum is divided by, > 0.

    Returns:
        The loss, a scalar in the dtype of the scores (float32 for half precision), and its `Stats`.

    Raises:
        ValueError: a shape, a dtype or a value is not as described, or a nuisance requires a gradient.

    Source: CausalRM (arXiv 2603.18736), IPS and DR objectives, with a clean imputation.
    """
    if loss == "mixture":
        raise ValueError(
            "loss is 'mixture', which reads evidence, not targets; use estimators.mixture and folded"
        )
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is {floor}; it is a propensity and must be in [0, 1]")
    columns = {"label": label, "observed": observed, "propensity": propensity, "fnr": fnr, "fpr": fpr}
    columns |= {} if imputation is None else {"imputation": imputation}
    form = _form("raw", loss, temperature, floor, normalizer)
    return _sum(scores_a, scores_b, columns | {"margin": margin}, form, normalizer)


def _form(entry: str, loss: str, temperature: float, floor: float, normalizer: float | Tensor | None) -> Form:
    """What is computed; a normalizer that is a number becomes part of the slopes."""
    if loss not in get_args(Name):
        raise ValueError(f"loss is {loss!r}; it must be one of {', '.join(get_args(Name))}")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be > 0")
    if isinstance(normalizer, Tensor) or normalizer is None:
        return Form(entry, loss, float(temperature), float(floor), 1.0)
    if not normalizer > 0:
        raise ValueError(f"normalizer is {normalizer}; it must be > 0")
    return Form(entry, loss, float(temperature), float(floor), 1 / float(normalizer))


def _sum(
    scores_a: Tensor,
    scores_b: Tensor | None,
    columns: dict[str, Column],
    form: Form,
    normalizer: float | Tensor | None,
) -> tuple[Tensor, Stats]:
    """Check, convert, compute, and complain about rows that cannot be."""
    if scores_a.ndim != 1 or not scores_a.is_floating_point():
        found = f"shape {list(scores_a.shape)} and dtype {_dtype(scores_a)}"
        raise ValueError(f"scores_a has {found}; one floating number per row, shape [N], is needed")
    if scores_b is not None and (scores_b.shape, scores_b.dtype) != (scores_a.shape, scores_a.dtype):
        found = f"shape {list(scores_b.shape)} and dtype {_dtype(scores_b)}"
        wanted = f"{list(scores_a.shape)} and {_dtype(scores_a)}"
        raise ValueError(f"scores_b has {found}, scores_a {wanted}; the same is needed")
    dtype = torch.float64 if scores_a.dtype == torch.float64 else torch.float32
    ready = [_column(name, column, scores_a, dtype) for name, column in columns.items()]
    ahead, behind = _as(scores_a, dtype), None if scores_b is None else _as(scores_b, dtype)
    value, sums, _ = Loss.apply(ahead, behind, form, *ready)
    stats = Stats(sums, len(scores_a))
    if (
        form.entry == "raw"
        and sums.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and stats.invalid
    ):
        raise ValueError(_complaint(ready[:-1], stats.rows))
    return (value / normalizer if isinstance(normalizer, Tensor) else value), stats


def _column(name: str, column: Column, scores: Tensor, dtype: torch.dtype) -> Tensor:
    """The column on the device of the scores, with one entry for each score, or one for all."""
    if isinstance(column, Tensor) and column.requires_grad:
        raise ValueError(f"{name} requires a gradient, and none flows into it; pass {name}.detach()")
    here = isinstance(column, Tensor) and column.device == scores.device
    values = column if here else torch.as_tensor(column, device=scores.device)
    if values.ndim and values.shape != scores.shape:
        raise ValueError(
            f"{name} has shape {list(values.shape)}, scores_a has shape {list(scores.shape)}: "
            "one number per score, or one for all, is needed"
        )
    if name == "observed" and values.dtype != torch.bool:
        strange = int(((values != 0) & (values != 1)).sum())
        if strange:
            raise ValueError(f"observed has {strange} entries that are neither 0 nor 1; pass booleans")
    if values.ndim == 0 or (values.stride(0) == 0 and len(values) > 1):
        values = values.reshape(-1)[:1]
    return _as(values, torch.bool if name == "observed" else dtype)


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous, in that dtype. Asking first costs less than a conversion that has nothing to do."""
    return (tensor if tensor.dtype == dtype else tensor.to(dtype)).contiguous()


def _complaint(columns: list[Tensor], rows: int) -> str:
    """Words for the first broken rule."""
    for name, values, fine, expected, remedy in rules(*columns):
        bad = (~fine).expand(rows).nonzero().flatten()
        if len(bad):
            more = f" (and of {len(bad) - 1} more)" if len(bad) > 1 else ""
            found = f"{values.expand(rows)[bad[0]].item():g}"
            return f"{name} of row {int(bad[0])}{more} is {found}; it must be {expected}. {remedy}"
    return "a row of the raw columns cannot be, yet no rule names it"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
