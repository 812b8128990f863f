"""`torch.ops.unskew.loss`: the engines behind one operation that autograd and torch.compile understand.

The forward pass computes the slope of every row along with the loss, so the backward pass is a product. When
the gradient is itself to be differentiated (`create_graph=True`), it is formed again from `reference`.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from unskew.losses.engines import SUMS, Form, chunked, compiled, enter, margin
from unskew.losses.reference import LOSSES

_LIBRARY = torch.library.Library("unskew", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "loss(Tensor scores_a, Tensor? scores_b, Tensor[] columns, str entry, str loss, float temperature, "
    "float floor, float scale) -> (Tensor sums, Tensor slope)"
)
_LIBRARY.impl("loss", chunked, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
_LIBRARY.impl("loss", compiled, "CPU")  # type: ignore[no-untyped-call]


@cache
def _cuda_engine() -> Callable[..., tuple[Tensor, Tensor]]:
    """The Triton kernel, imported with the first CUDA tensor; torch operations where Triton is absent."""
    if find_spec("triton") is None:
        return chunked
    from unskew.kernels import pairwise

    return pairwise.launch  # type: ignore[no-any-return]


_LIBRARY.impl("loss", lambda *args: _cuda_engine()(*args), "CUDA")  # type: ignore[no-untyped-call]


@torch.library.register_fake("unskew::loss", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _fake(
    scores_a: Tensor, scores_b: Tensor | None, columns: list[Tensor], *form: str | float
) -> tuple[Tensor, Tensor]:
    return scores_a.new_empty(len(SUMS), dtype=torch.float64), torch.empty_like(scores_a)


class Loss(torch.autograd.Function):
    """(sum of losses times scale, sums, slope) of rows; differentiable, twice, in the scores only."""

    @staticmethod
    def forward(
        scores_a: Tensor, scores_b: Tensor | None, how: Form, *columns: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        sums, slope = torch.ops.unskew.loss(scores_a, scores_b, list(columns), *how)
        return (how.scale * sums[0]).to(scores_a.dtype), sums, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        scores_a, scores_b, ctx.how, *columns = inputs
        _, sums, slope = output
        ctx.mark_non_differentiable(sums, slope)
        ctx.save_for_backward(slope, scores_a, scores_b, *columns)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        grad, how = grads[0], ctx.how
        slope, scores_a, scores_b, *columns = ctx.saved_tensors
        if torch.is_grad_enabled() and grad.requires_grad | ctx.needs_input_grad[0] | ctx.needs_input_grad[1]:
            z = margin(scores_a, scores_b, columns[-1], how.temperature)
            entered, _ = enter(columns, how)
            slope = how.scale * how.temperature * LOSSES[how.loss][1](z, entered.a, entered.b)
        ahead = slope if _is_one(grad) else slope * grad
        return ahead, None if scores_b is None else -ahead, None, *(None for _ in columns)


def _is_one(grad: Tensor) -> bool:
    """What loss.backward() hands over; never asked where the answer would wait for a device, or be traced."""
    known = grad.is_cpu and not grad.requires_grad and not torch.compiler.is_compiling()
    return known and grad.item() == 1


Loss.forward.__signature__ = signature(Loss.forward)  # type: ignore[attr-defined] # torch asks at each call
