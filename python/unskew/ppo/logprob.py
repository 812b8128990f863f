"""Log-probabilities and entropies of tokens from hidden states, without the logits of all tokens at once.

    x = (h W' + c) / T,   log p(y) = x_y - lse(x),   H = lse(x) - sum_v p_v x_v
    d/dx_v = g (1[v = y] - p_v) - g_H p_v (log p_v + H)

A chunk of tokens at a time, forward and again backward, so at most a chunk's logits exist. Sums and
exponentials in float32 (float64 for float64 input). This is the road for any device; it needs four matrix
products where a kernel that knows the loss beforehand needs three.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 1024
"""Tokens whose logits exist at a time."""


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        lse, chosen, entropy = (hidden.new_empty(len(hidden), dtype=wide) for _ in range(3))
        for start in range(0, len(hidden), chunk):
            here = slice(start, start + chunk)
            x = _logits(hidden[here], weight, bias, temperature, wide)
            lse[here] = torch.logsumexp(x, 1)
            chosen[here] = x.gather(1, targets[here, None])[:, 0]
            p = torch.exp(x - lse[here, None])
            entropy[here] = lse[here] - x.mul_(p).sum(1)
        ctx.save_for_backward(hidden, weight, bias, targets, lse, entropy)
        ctx.temperature, ctx.chunk = temperature, chunk
        return chosen - lse, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, g_entropy: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, lse, entropy = ctx.saved_tensors
        wide, need = lse.dtype, ctx.needs_input_grad
        d_hidden = torch.empty_like(hidden) if need[0] else None
        d_weight = torch.zeros_like(weight, dtype=wide) if need[1] else None
        d_bias = torch.zeros_like(bias, dtype=wide) if need[2] else None
        for start in range(0, len(hidden), ctx.chunk):
            here = slice(start, start + ctx.chunk)
            x = _logits(hidden[here], weight, bias, ctx.temperature, wide).sub_(lse[here, None])
            p = torch.exp(x)
            x.add_(entropy[here, None]).mul_(-g_entropy[here, None]).sub_(g[here, None]).mul_(p)
            del p
            x.scatter_add_(1, targets[here, None], g[here, None])
            x.div_(ctx.temperature)
            if d_bias is not None:
                d_bias += x.sum(0)
            x = x.to(hidden.dtype)
            if d_hidden is not None:
                torch.mm(x, weight, out=d_hidden[here])
            if d_weight is not None:
                d_weight += x.t() @ hidden[here]
        return (
            d_hidden,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None else d_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, wide: torch.dtype
) -> Tensor:
    x = torch.nn.functional.linear(hidden, weight, bias).to(wide)
    return x.div_(temperature)


def logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """(log p(target), entropy of p) for p = softmax((hidden weight' + bias) / temperature), in nats.

    Differentiable once in hidden, weight and bias.

    Args:
        hidden: last hidden states. Shape [N, H].
        weight: rows of the output embedding. Shape [V, H].
        targets: tokens chosen, in [0, V). Shape [N].
        bias: added to the logits. Shape [V].
        temperature: divides the logits, > 0.
        chunk: tokens at a time, >= 1.

    Raises:
        ValueError: shapes do not fit, or an argument is out of range.
    """
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden is {list(hidden.shape)}, weight {list(weight.shape)}; [N, H] and [V, H] are needed"
        )
    if targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"targets are {list(targets.shape)}, hidden {list(hidden.shape)}; one target a row is needed"
        )
    if not temperature > 0 or chunk < 1:
        raise ValueError(f"temperature is {temperature} and chunk {chunk}; they must be > 0 and >= 1")
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    weight = weight.to(hidden.dtype)
    bias = None if bias is None else bias.to(hidden.dtype)
    with torch.autocast(device, enabled=False):
        return _Chunked.apply(hidden, weight, bias, targets, temperature, chunk)  # type: ignore[no-any-return]


def logprobs_of_logits(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The same from logits that already exist, by the formulas above. Shapes [N, V] and [N]."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    log_p = torch.log_softmax(logits.to(wide) / temperature, -1)
    chosen = log_p.gather(-1, targets[..., None])[..., 0]
    return chosen, -(log_p.exp() * log_p).sum(-1)
