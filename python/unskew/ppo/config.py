"""Settings of a run, under the names that users of TRL's PPO, RLOO and GRPO trainers know.

One *round* rolls out `per_device_train_batch_size x gradient_accumulation_steps x num_mini_batches`
completions on each device and then takes `num_ppo_epochs x num_mini_batches` optimiser steps on them; steps,
checkpoints, logs and the learning rate count optimiser steps, as in any `Trainer`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from unskew.ppo.advantage import ADVANTAGES
from unskew.ppo.kl import ESTIMATORS, FORMS
from unskew.ppo.objective import POLICY_LOSSES, WEIGHINGS


def _about(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class PPOConfig(TrainingArguments):  # type: ignore[misc]
    """Proximal policy optimisation (arXiv 1707.06347) on completions of prompts."""

    # --- the defaults that differ from TrainingArguments
    learning_rate: float = _about("Step of the policy.", 1e-6)
    logging_steps: float = _about("Optimiser steps between two lines of the log.", 10)
    remove_unused_columns: bool = _about("Columns of the data set reach the reward functions.", False)

    # --- roll-outs
    num_ppo_epochs: int = _about("Passes over the completions of a round.", 4)
    num_mini_batches: int = _about("Optimiser steps in a pass.", 1)
    num_generations: int = _about("G: completions of each prompt.", 1)
    response_length: int = _about("Tokens of a completion at most.", 53)
    max_prompt_length: int | None = _about(
        "Tokens of a prompt at most; longer ones lose their beginning.", None
    )
    temperature: float = _about("Of sampling; log-probabilities are of the same softmax.", 1.0)
    top_k: int = _about("Sample among the k likeliest; 0 is all.", 0)
    top_p: float = _about("Sample among the likeliest that hold this probability.", 1.0)
    min_p: float | None = _about("Sample among tokens of this probability, relative to the likeliest.", None)
    repetition_penalty: float = _about("Divides the logits of repeated tokens.", 1.0)
    local_rollout_forward_batch_size: int = _about("Completions in a forward pass without gradient.", 64)
    logprob_chunk: int = _about("Tokens whose logits exist at a time; 0 takes the model's own logits.", 1024)
    disable_dropout: bool = _about("Without it the policy that learns is not the one that wrote.", True)

    # --- rewards
    reward_weights: list[float] | None = field(
        default=None, metadata={"help": "One a reward function; 1 when absent."}
    )
    missing_eos_penalty: float | None = _about("Taken off a completion that was cut off.", None)
    mask_truncated_completions: bool = _about("Leave out completions that were cut off.", False)
    use_score_scaling: bool = _about("Divide scores by their running standard deviation.", False)
    use_score_norm: bool = _about("Also subtract their running mean.", False)
    score_clip: float | None = _about("Scores are clipped to +- this, after scaling.", None)
    whiten_rewards: bool = _about("Divide rewards of tokens by their standard deviation.", False)
    max_missing_reward: float = _about(
        "Share of completions without a finite reward that stops the run.", 0.1
    )

    # --- distance from the reference
    kl_coef: float = _about("beta: weight of the KL; 0 needs no reference.", 0.05)
    kl_estimator: str = _about(f"Of a token: {', '.join(ESTIMATORS)}.", "k1")
    kl_form: str = _about("`penalty`: R - beta KL; `mixture`: (1 - beta) R - beta KL.", "penalty")
    kl_in_loss: bool = _about("Differentiate the KL instead of paying it in the reward.", False)
    kl_target: float | None = _about("KL of a completion that an adaptive beta is led to.", None)
    kl_horizon: float = _about("Completions over which beta may change by 20 %.", 10_000.0)

    # --- objective
    advantage: str = _about(f"One of {', '.join(ADVANTAGES)}.", "gae")
    gamma: float = _about("Discount of a token.", 1.0)
    lam: float = _about("lambda of GAE.", 0.95)
    whiten_advantages: bool = _about("Mean 0 and deviation 1 over a round.", True)
    policy_loss: str = _about(f"One of {', '.join(POLICY_LOSSES)}.", "clip")
    loss_type: str = _about(f"How tokens are averaged: {', '.join(WEIGHINGS)}.", "token")
    cliprange: float = _about("The ratio is held above 1 - this.", 0.2)
    cliprange_high: float | None = _about("And below 1 + this; `cliprange` when absent.", None)
    entropy_coef: float = _about("Weight of the entropy of a token.", 0.0)
    value: str = _about("Value function: shared, separate, adapter or auto.", "auto")
    vf_coef: float = _about("Weight of the value loss.", 0.1)
    cliprange_value: float = _about("Values move at most this far from those of the roll-out.", 0.2)

    # --- limits that stop the run
    max_kl: float | None = _about("KL of a completion in nats (mean of a round).", None)
    ratio_threshold: float | None = _about("Mean ratio of a micro-batch.", 10.0)
    min_entropy: float | None = _about("Share of the first round's entropy that must remain.", None)
    max_length_growth: float | None = _about("Times the first round's mean length.", None)
    max_gold_drop: float | None = _about("Fall of the gold reward below its best round.", None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choices("advantage", ADVANTAGES)
        self._choices("policy_loss", POLICY_LOSSES)
        self._choices("loss_type", WEIGHINGS)
        self._choices("kl_estimator", ESTIMATORS)
        self._choices("kl_form", FORMS)
        self._choices("value", ("auto", "shared", "separate", "adapter"))
        for name in ("num_ppo_epochs", "num_mini_batches", "num_generations", "response_length"):
            self._must(name, getattr(self, name) >= 1, ">= 1")
        self._must("local_rollout_forward_batch_size", self.local_rollout_forward_batch_size >= 1, ">= 1")
        self._must("logprob_chunk", self.logprob_chunk >= 0, ">= 0")
        for name in ("gamma", "lam", "max_missing_reward"):
            self._must(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        self._must("temperature", self.temperature > 0, "> 0")
        self._must("kl_coef", self.kl_coef >= 0, ">= 0")
        if FORMS[self.kl_form] is FORMS["mixture"]:
            self._must("kl_coef", self.kl_coef < 1, "< 1 in the mixture form")
            self._must("kl_target", self.kl_target is None, "absent: an adaptive beta has no mixture form")
            self._must(
                "kl_in_loss", not self.kl_in_loss, "false in the mixture form: it is paid in the reward"
            )
        if self.kl_target is not None:
            self._must("kl_target", self.kl_target > 0, "> 0")
            self._must("kl_coef", self.kl_coef > 0, "> 0 to be led anywhere")
        if self.kl_in_loss:
            self._must(
                "kl_estimator", self.kl_estimator != "k1", "k2 or k3 in the loss: k1 has no gradient there"
            )
        if self.completions % self.num_generations:
            raise ValueError(
                f"a round has {self.completions} completions on a device (per_device_train_batch_size x "
                "gradient_accumulation_steps x num_mini_batches), which are no whole groups of "
                f"{self.num_generations} (num_generations); change one of the four"
            )

    @property
    def completions(self) -> int:
        """Completions of a round on one device."""
        return int(self.train_batch_size * self.gradient_accumulation_steps * self.num_mini_batches)

    @property
    def ticks(self) -> int:
        """Micro-batches of a round on one device."""
        return int(self.gradient_accumulation_steps * self.num_mini_batches * self.num_ppo_epochs)

    def _choices(self, name: str, among: Iterable[str]) -> None:
        if getattr(self, name) not in among:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(among)}")

    def _must(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)}; it must be {what}")


@dataclass
class RLOOConfig(PPOConfig):
    """REINFORCE leave-one-out (arXiv 2402.14740): no value function, the KL in the reward of a completion."""

    advantage: str = "rloo"
    num_generations: int = 2
    whiten_advantages: bool = False
    num_ppo_epochs: int = 1
    loss_type: str = "constant"
    rloo_k: int | None = _about("Older name of num_generations.", None)
    num_iterations: int | None = _about("Another name of num_ppo_epochs.", None)
    max_completion_length: int | None = _about("Another name of response_length.", None)
    beta: float | None = _about("Another name of kl_coef.", None)
    epsilon: float | None = _about("Another name of cliprange.", None)
    epsilon_high: float | None = _about("Another name of cliprange_high.", None)

    def __post_init__(self) -> None:
        for theirs, ours in SAME.items():
            if (given := getattr(self, theirs)) is not None:
                setattr(self, ours, given)
        super().__post_init__()


SAME = {
    "rloo_k": "num_generations",
    "num_iterations": "num_ppo_epochs",
    "max_completion_length": "response_length",
    "beta": "kl_coef",
    "epsilon": "cliprange",
    "epsilon_high": "cliprange_high",
}
"""TRL's name -> ours."""


@dataclass
class GRPOConfig(RLOOConfig):
    """Group relative policy optimisation (arXiv 2402.03300): KL in the loss, by k3."""

    advantage: str = "grpo"
    num_generations: int = 8
    loss_type: str = "sequence"
    kl_coef: float = 0.0
    kl_estimator: str = "k3"
    kl_in_loss: bool = True
    response_length: int = 256
