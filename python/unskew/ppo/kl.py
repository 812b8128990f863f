"""The distance from the reference: estimators from samples, its weight, and the controller of that weight."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Estimator = Callable[[Tensor], Tensor]


def k1(x: Tensor) -> Tensor:
    """x = log pi - log ref of a token. Unbiased under pi; its gradient says nothing, so only for rewards."""
    return x


def k2(x: Tensor) -> Tensor:
    """x^2 / 2. Biased, of low variance; the mean of its gradient is the gradient of KL(pi || ref)."""
    return 0.5 * x.square()


def k3(x: Tensor) -> Tensor:
    """exp(-x) - 1 + x: k1 plus a term of mean zero. Unbiased, never negative (arXiv 2402.03300, eq. 4)."""
    return torch.expm1(-x) + x


ESTIMATORS: dict[str, Estimator] = {"k1": k1, "k2": k2, "k3": k3}

Form = Callable[[float], tuple[float, float]]


def penalty(beta: float) -> tuple[float, float]:
    """R - beta KL (arXiv 1909.08593, eq. 2)."""
    return 1.0, beta


def mixture(beta: float) -> tuple[float, float]:
    """(1 - beta) R - beta KL (arXiv 2309.00267): 1 - beta times the penalty form with beta / (1 - beta)."""
    return 1.0 - beta, beta


FORMS: dict[str, Form] = {"penalty": penalty, "mixture": mixture}
"""beta -> (weight of the score, weight of the KL)."""


def shaped(score: Tensor, kl: Tensor, mask: Tensor, beta: float, form: Form = penalty) -> Tensor:
    """Rewards of tokens: -w_kl KL_t everywhere, + w_score score on the last token. Shape [B, T].

    Args:
        score: reward of each completion. Shape [B].
        kl: estimated KL of each token. Shape [B, T].
        mask: tokens of the completions, from 0 without gaps. Shape [B, T].
        beta: weight of the KL.
        form: `penalty` or `mixture`.
    """
    of_score, of_kl = form(beta)
    following = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    last = mask & ~following
    return last * (of_score * score)[:, None] - mask * (of_kl * kl)


@dataclass
class Controller:
    """Weight of the KL: fixed, or led to a target (arXiv 1909.08593, section 2.2).

    e = clip((KL - target) / target, -0.2, 0.2), beta <- beta (1 + e n / horizon) after n completions. The
    paper's K = 0.1 is n / horizon.

    Args:
        beta: the weight now, >= 0.
        target: wished KL of a completion in nats (summed over its tokens), > 0; fixed weight when None.
        horizon: completions over which an error of 20 % changes beta by 20 %.
    """

    beta: float
    target: float | None = None
    horizon: float = 10_000.0

    def update(self, kl: float, completions: int) -> None:
        """Learn the mean KL of `completions` completions."""
        if self.target is not None:
            error = min(max(kl / self.target - 1.0, -0.2), 0.2)
            self.beta *= 1.0 + error * completions / self.horizon
