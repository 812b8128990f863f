"""The trainer under the names and with the arguments that users of TRL know."""

from typing import Any

from unskew.ppo.config import GRPOConfig, PPOConfig, RLOOConfig
from unskew.ppo.trainer import OnPolicyTrainer


class PPOTrainer(OnPolicyTrainer):
    """`OnPolicyTrainer` with the arguments of TRL's old PPOTrainer, in their order.

    Args:
        args: settings; `PPOConfig("ppo")` when absent.
        processing_class: the policy's tokenizer.
        model: the policy.
        ref_model: the reference, or None.
        reward_model: any reward, see `OnPolicyTrainer`.
        train_dataset: rows with `prompt`.
        value_model: starts the value function, or None.
        kwargs: further arguments of `OnPolicyTrainer`.
    """

    def __init__(
        self,
        args: PPOConfig | None = None,
        processing_class: Any = None,
        model: Any = None,
        ref_model: Any = None,
        reward_model: Any = None,
        train_dataset: Any = None,
        value_model: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model,
            kwargs.pop("reward_funcs", reward_model),
            args,
            train_dataset,
            processing_class=processing_class,
            ref_model=ref_model,
            value_model=value_model,
            **kwargs,
        )


class RLOOTrainer(OnPolicyTrainer):
    """`OnPolicyTrainer` whose settings are `RLOOConfig("rloo")` when absent."""

    config = RLOOConfig


class GRPOTrainer(OnPolicyTrainer):
    """`OnPolicyTrainer` whose settings are `GRPOConfig("grpo")` when absent."""

    config = GRPOConfig
