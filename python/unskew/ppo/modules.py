"""Small things that are asked of any Hugging Face model: hidden states, which weights it has."""

import hashlib
import inspect
from typing import Any

import torch
from torch import Tensor, nn


def inputs(model: nn.Module, ids: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Arguments of a forward pass; positions count from the first real token, where a model asks."""
    given = {"input_ids": ids, "attention_mask": real.long()}
    if "position_ids" in inspect.signature(type(model).forward).parameters:
        given["position_ids"] = (real.long().cumsum(1) - 1).clamp(min=0)
    return given


def hidden(trunk: Any, ids: Tensor, real: Tensor) -> Tensor:
    """Hidden states that the output head reads. Shape [B, P + T, H]."""
    states: Tensor = trunk(**inputs(trunk, ids, real), use_cache=False).last_hidden_state
    return states


def fingerprint(parameters: dict[str, nn.Parameter]) -> str:
    """A digest of up to 64 values of each parameter: tells one set of weights from another."""
    digest = hashlib.blake2b(digest_size=16)
    for name, parameter in sorted(parameters.items()):
        flat = parameter.detach().flatten()
        some = flat[:: max(1, len(flat) // 64)][:64].to("cpu", torch.float64)
        digest.update(name.encode() + some.numpy().tobytes())
    return digest.hexdigest()
