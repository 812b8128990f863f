"""The value function: a linear head on the hidden states of a trunk.

    shared     the policy itself
    separate   a trunk of its own, at first a copy of the policy's, or a reward model's
    adapter    the policy's base with a second LoRA adapter: one base copy for policy, value and reference

The head starts at zero, so every value does, unless it comes with a reward model.
"""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

VALUE = "value"
"""Name of the value adapter."""

Made = tuple[nn.Module | None, nn.Linear]


def shared(policy: Any, given: nn.Module | None) -> Made:
    """A head on the policy's own hidden states."""
    return None, _head(policy)


def separate(policy: Any, given: nn.Module | None) -> Made:
    """A copy of a trunk: that of `given` and its score head, or the policy's.

    Raises:
        ValueError: the policy has adapters and nothing is given: its trunk is not its own.
    """
    if given is None and hasattr(policy, "peft_config"):
        raise ValueError(
            "value is 'separate' and the policy has adapters; set value='adapter', or give a value_model"
        )
    model: Any = policy if given is None else given
    trunk = copy.deepcopy(getattr(model, "base_model", model))
    trunk.requires_grad_(True)
    return trunk, _head(policy, getattr(given, "score", None))


def adapter(policy: Any, given: nn.Module | None) -> Made:
    """A second adapter, with the settings of the first.

    Raises:
        ValueError: the policy has no adapters.
    """
    if not hasattr(policy, "peft_config"):
        raise ValueError(
            "value is 'adapter' and the policy has no LoRA; give a peft_config, or value='shared'"
        )
    learns = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    policy.add_adapter(VALUE, copy.deepcopy(policy.peft_config[policy.active_adapter]))
    learns += [parameter for name, parameter in policy.named_parameters() if f".{VALUE}." in name]
    for parameter in learns:  # peft freezes adapters that rest
        parameter.requires_grad_(True)
    return None, _head(policy)


VALUES: dict[str, Callable[[Any, nn.Module | None], Made]] = {
    "shared": shared,
    "separate": separate,
    "adapter": adapter,
}


def _head(policy: Any, score: Any = None) -> nn.Linear:
    embeddings = policy.get_input_embeddings().weight
    size = embeddings.shape[1] if score is None else score.weight.shape[1]
    head = nn.Linear(size, 1, device=embeddings.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    if isinstance(score, nn.Linear) and score.weight.shape == head.weight.shape:
        head.weight.data.copy_(score.weight.data)
    return head
