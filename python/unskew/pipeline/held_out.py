"""Policies measured on prompts that nothing was trained on: how good, how far away, better how often."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from unskew import ppo
from unskew.ppo.actor import ActorCritic
from unskew.ppo.build import huggingface
from unskew.ppo.rewards import Rewards
from unskew.ppo.rollout import Completions, Vocabulary, look, write
from unskew.rates import Floats, mean_interval

SAMPLES = 6
"""Completions of each policy that a report shows."""


@dataclass(frozen=True)
class Start:
    """Where all policies start from.

    Args:
        model, tokenizer: a causal language model and what it reads.
        prompts: that policies are trained on.
        held_out: that they are measured on.
    """

    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    prompts: list[str] = field(repr=False)
    held_out: list[str] = field(repr=False)


class Judge:
    """Measures policies on one completion of each prompt held out, by the same seed."""

    def __init__(
        self,
        start: Start,
        gold: Rewards,
        liked: "Callable[[Floats], Floats] | None",
        settings: ppo.PPOConfig,
    ) -> None:
        self.rows = [{"prompt": prompt} for prompt in start.held_out]
        self.liked = liked
        self.gold, self.batch, self.seed = gold, settings.completions, settings.seed + 1
        self.vocabulary = Vocabulary.of(start.tokenizer, start.model)
        self.generator = huggingface(settings, self.vocabulary)
        self.start = ActorCritic(start.model, None, chunk=0)
        self.seen = self._write(start.model)

    def deviation(self, paid: Any) -> float:
        """Standard deviation of a reward over the completions of the start."""
        return float(np.nanstd(Rewards(paid)(self.seen.written).score)) or 1.0

    def _write(self, policy: Any) -> Completions:
        policy.eval()
        return write(
            policy,
            self.generator,
            self.vocabulary,
            self.rows,
            group=1,
            longest_prompt=None,
            seed=self.seed,
            device=torch.device("cpu"),
        )

    def __call__(self, policy: Any, paid: Any, before: "Floats | None" = None) -> dict[str, Any]:
        seen = self._write(policy)
        gold = self.gold(seen.written).score
        proxy = gold if paid is None else Rewards(paid)(seen.written).score
        final: dict[str, Any] = {
            "true": mean_interval(gold),
            "liked": None if self.liked is None else mean_interval(self.liked(gold)),
            "proxy": None if paid is None else float(np.nanmean(proxy)),
            "kl": self._kl(policy, seen),
            "mean_length": float(seen.mask.sum(1).double().mean()),
            "win_rate": None if before is None else float(np.mean((gold > before) + 0.5 * (gold == before))),
        }
        samples = [
            {"prompt": prompt, "completion": completion, "reward": float(reward), "gold": float(true)}
            for prompt, completion, reward, true, _ in zip(
                seen.written.prompts, seen.written.completions, proxy, gold, range(SAMPLES), strict=False
            )
        ]
        return {"final": final, "samples": samples, "gold": gold}

    def _kl(self, policy: Any, seen: Completions) -> float:
        """Mean over completions of log pi - log pi_start."""
        now, then = (
            look(model, seen, self.batch, values=False).logprobs
            for model in (ActorCritic(policy, None, chunk=0).eval(), self.start)
        )
        return float(((now - then) * seen.mask).sum(1).mean())
