"""Figures of a round and of steps, over all ranks, under the names that users of TRL look for."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unskew.ppo.advantage import Total
from unskew.ppo.rewards import Floats


@dataclass
class Notes:
    """Numbers noted between two lines of the log, each of which shows their means."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: dict[str, float]) -> None:
        """Note one number of each name."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(float(value))

    def means(self) -> dict[str, float]:
        """Means since the last call."""
        found = {name: sum(values) / len(values) for name, values in self.values.items()}
        self.values = {}
        return found


def mean(x: Tensor, mask: Tensor, total: Total = lambda x: x) -> float:
    """Mean over the mask, over all ranks; 0 where it is empty."""
    sums = total(torch.stack([(x * mask).sum().double(), mask.sum().double()]))
    return float(sums[0] / sums[1].clamp(min=1))


def deviation(x: Tensor, mask: Tensor, total: Total = lambda x: x) -> float:
    """Standard deviation over the mask, over all ranks, with Bessel's correction."""
    middle = mean(x, mask, total)
    sums = total(torch.stack([((x - middle).square() * mask).sum().double(), mask.sum().double()]))
    return float((sums[0] / (sums[1] - 1).clamp(min=1)).sqrt())


def of_round(
    *,
    mask: Tensor,
    ended: Tensor,
    valid: Tensor,
    raw: Tensor,
    entropy: Tensor,
    logratio: Tensor | None,
    parts: dict[str, Floats],
    gold: Floats | None,
    group: int,
    total: Total,
) -> dict[str, float]:
    """What the log and the monitor are told about a round.

    Args:
        mask: tokens of the completions. Shape [N, T].
        ended: completions that were not cut off. Shape [N].
        valid: completions that count. Shape [N].
        raw: scores as the rewards gave them. Shape [N].
        entropy: of the distribution of each token, in nats. Shape [N, T].
        logratio: log pi - log ref of each token, None without a reference. Shape [N, T].
        parts: value of each reward, NaN where missing. Shape [N] each.
        gold: gold reward, NaN where missing. Shape [N].
        group: completions of a prompt.
        total: sum over ranks.
    """
    raw = torch.where(valid, raw, 0.0)
    lengths = mask.sum(1).double()
    everyone = torch.ones_like(ended)
    found = {
        "reward": mean(raw, valid, total),
        "reward_std": deviation(raw, valid, total),
        "entropy": mean(entropy, mask, total),
        "completions/mean_length": mean(lengths, everyone, total),
        "completions/ended": mean(ended.double(), everyone, total),
        "left_out": mean((~valid).double(), everyone, total),
    }
    if group > 1:
        groups = raw.view(-1, group)
        same = (groups == groups[:, :1]).all(1)
        found["frac_reward_zero_std"] = mean(same.double(), torch.ones_like(same), total)
    if logratio is not None:
        found["kl"] = mean((logratio * mask).sum(1), valid, total)
    columns = {f"rewards/{name}": values for name, values in parts.items()}
    for name, values in columns.items() if gold is None else [*columns.items(), ("gold", gold)]:
        known = torch.from_numpy(np.isfinite(values)).to(mask.device)
        x = torch.from_numpy(np.nan_to_num(values)).to(mask.device, torch.float32)
        if name == "gold":
            found[name] = mean(x, known, total)
        else:
            found[f"{name}/mean"], found[f"{name}/std"] = mean(x, known, total), deviation(x, known, total)
    return found
