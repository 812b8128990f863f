"""The losses of tokens, and how tokens are summed."""

from collections.abc import Callable

import torch
from torch import Tensor

PolicyLoss = Callable[[Tensor, Tensor, Tensor, float, float], tuple[Tensor, Tensor]]
"""(log-probabilities, those of the roll-out, advantages, low, high) -> (loss, was it clipped), all [B, T]."""


def clip(logprobs: Tensor, old: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """max(-A rho, -A clip(rho, 1 - low, 1 + high)) with rho = pi / pi_old (PPO, arXiv 1707.06347, eq. 7)."""
    ratio = torch.exp(logprobs - old)
    free = -advantages * ratio
    held = -advantages * ratio.clamp(1.0 - low, 1.0 + high)
    return torch.maximum(free, held), held > free


POLICY_LOSSES: dict[str, PolicyLoss] = {"clip": clip}


def value_loss(values: Tensor, old: Tensor, returns: Tensor, cliprange: float) -> tuple[Tensor, Tensor]:
    """0.5 max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2), and where the second is the larger.

    From OpenAI's baselines; 2307.04964, section 5.3. Shapes [B, T].
    """
    held = old + (values - old).clamp(-cliprange, cliprange)
    free, clipped = (values - returns).square(), (held - returns).square()
    return 0.5 * torch.maximum(free, clipped), clipped > free


Weighing = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""(mask, longest completion allowed) -> (weight of each token [B, T], what their sum is divided by)."""


def by_token(mask: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Mean over all tokens: a long completion weighs more (PPO)."""
    return mask.float(), mask.sum().float()


def by_sequence(mask: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Mean over completions of the mean over their tokens (GRPO, arXiv 2402.03300, eq. 3)."""
    return mask / mask.sum(1, keepdim=True).clamp(min=1), mask.any(1).sum().float()


def by_longest(mask: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Sum over tokens, divided by a constant: no reward for length (Dr. GRPO, arXiv 2503.20783)."""
    return mask / float(longest), mask.any(1).sum().float()


WEIGHINGS: dict[str, Weighing] = {"token": by_token, "sequence": by_sequence, "constant": by_longest}
"""The total is summed over the micro-batches and ranks of an optimiser step, then divided by once."""
