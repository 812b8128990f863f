"""Advantages: from rewards of tokens to what each token is worth more than expected.

An estimator takes `Rewarded` and gives (advantages, returns), both [B, T] and zero outside the mask; the
returns are what a value function is fitted to, and are not used without one. Rows are completions; the G
completions of a prompt stand beside each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-4
"""Added to the standard deviation of a group (GRPO)."""

Total = Callable[[Tensor], Tensor]
"""Sum over the ranks of a run; the tensor itself where there is one rank."""


@dataclass(frozen=True)
class Rewarded:
    """What completions earned.

    Args:
        rewards: reward of each token; the score of the completion is part of its last token. Shape [B, T].
        mask: True for the tokens of the completion, which start at 0 without gaps; a row of False is left out
            of everything. Shape [B, T].
        values: V(prompt and tokens before t). Shape [B, T]; None without a value function.
        group: G, completions of one prompt, in rows that follow each other.
        gamma: discount of a token, in [0, 1].
        lam: lambda of GAE, in [0, 1].
    """

    rewards: Tensor
    mask: Tensor
    values: Tensor | None = None
    group: int = 1
    gamma: float = 1.0
    lam: float = 0.95


Pair = tuple[Tensor, Tensor]
Advantage = Callable[[Rewarded], Pair]


def discounted(x: Tensor, decay: float) -> Tensor:
    """y_t = x_t + decay y_{t+1}, from the end, in log2(T) passes over the whole batch.

    After pass i, y_t = sum_{l < 2^i} decay^l x_{t+l}; a pass adds the same sum, 2^i further on. Shape [B, T].
    """
    y, step = x, 1
    while step < x.shape[-1]:
        y = torch.cat([y[..., :-step] + decay * y[..., step:], y[..., -step:]], -1)
        step, decay = 2 * step, decay * decay
    return y


def gae(given: Rewarded) -> Pair:
    """Generalised advantage estimation: A_t = delta_t + gamma lambda A_{t+1}, returns A_t + V_t.

    delta_t = r_t + gamma V_{t+1} - V_t; nothing follows the last token of a completion, so V is 0 there, also
    where the completion was cut off (arXiv 1506.02438, eq. 12 and 16).

    Raises:
        ValueError: there are no values.
    """
    if given.values is None:
        raise ValueError(
            "gae needs values, found none; give the trainer a value function, or take rloo or grpo"
        )
    mask = given.mask.to(given.rewards.dtype)
    values = given.values.to(given.rewards.dtype) * mask
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    delta = (given.rewards + given.gamma * following - values) * mask
    advantages = discounted(delta, given.gamma * given.lam) * mask
    return advantages, advantages + values


def rloo(given: Rewarded) -> Pair:
    """REINFORCE leave-one-out: R_i - mean of the R_j of the other completions of the prompt.

    R is the sum of the rewards of the completion; each of its tokens has its advantage (arXiv 2402.14740,
    eq. 9).
    A completion without valid companions has nothing to be compared with: its advantage is 0.
    """
    total, valid, count = _groups(given)
    others = (total * valid).sum(1, keepdim=True) - total
    advantage = total - others / (count - 1).clamp(min=1)
    return _spread(advantage * (count > 1), given)


def grpo(given: Rewarded) -> Pair:
    """Group relative: (R_i - mean R) / (std R + 1e-4) among the completions of the prompt.

    The standard deviation has Bessel's correction (arXiv 2402.03300, section 4.1.2).
    """
    deviation, valid, count = _centred(given)
    variance = (deviation.square() * valid).sum(1, keepdim=True) / (count - 1).clamp(min=1)
    return _spread(deviation / (variance.sqrt() + EPSILON), given)


def dr_grpo(given: Rewarded) -> Pair:
    """R_i - mean R: GRPO without a division that favours prompts whose rewards hardly differ (2503.20783)."""
    return _spread(_centred(given)[0], given)


ADVANTAGES: dict[str, Advantage] = {"gae": gae, "rloo": rloo, "grpo": grpo, "dr_grpo": dr_grpo}
NEED_VALUES: set[Advantage] = {gae}
"""Estimators that ask for a value function; the others would ignore it."""


def whiten(x: Tensor, mask: Tensor, *, shift: bool = True, total: Total = lambda x: x) -> Tensor:
    """(x - mean) / std over the mask, in two passes; with `shift=False` the mean is added again.

    std^2 has Bessel's correction and 1e-8 is added to it. Zero outside the mask.

    Args:
        x: numbers. Shape [B, T].
        mask: which count. Shape [B, T].
        shift: whether the mean becomes 0.
        total: sum over ranks, so that all of them whiten alike.
    """
    count = total(mask.sum().to(x.dtype)).clamp(min=1)
    mean = total((x * mask).sum()) / count
    variance = total(((x - mean).square() * mask).sum()) / (count - 1).clamp(min=1)
    white = (x - mean) * torch.rsqrt(variance + 1e-8)
    return (white if shift else white + mean) * mask


def _groups(given: Rewarded) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of rewards and validity [B / G, G], and how many are valid [B / G, 1]."""
    if len(given.rewards) % given.group or given.group < 2:
        raise ValueError(
            f"{len(given.rewards)} completions in groups of {given.group}; an estimator that compares the "
            "completions of a prompt needs whole groups of at least 2 (num_generations)"
        )
    total = (given.rewards * given.mask).sum(1).view(-1, given.group)
    valid = given.mask.any(1).view(-1, given.group).to(total.dtype)
    return total, valid, valid.sum(1, keepdim=True)


def _centred(given: Rewarded) -> tuple[Tensor, Tensor, Tensor]:
    total, valid, count = _groups(given)
    return total - (total * valid).sum(1, keepdim=True) / count.clamp(min=1), valid, count


def _spread(advantage: Tensor, given: Rewarded) -> Pair:
    """The advantage of a completion on each of its tokens."""
    spread = advantage.reshape(-1, 1) * given.mask
    return spread, spread
