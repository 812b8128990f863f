"""Policy optimisation: PPO, RLOO and GRPO of a causal language model, with any reward.

    config = ppo.PPOConfig("run", response_length=128, per_device_train_batch_size=8, kl_coef=0.05)
    trainer = ppo.OnPolicyTrainer(model, "reward-directory", config, prompts, processing_class=tokenizer)
    trainer.train()                             # or train(resume_from_checkpoint=True): the same parameters

`config` the settings; `trainer` the loop on one page; `actor` policy and value function in one module; `advantage`,
`kl`, `objective`, `logprob` the formulas; `rewards` and `server` where scores come from, `scores` what is made of
them; `rollout`, `prompts`, `generate`, `buffer` the completions of a round; `monitor` the limits; `keeping` and
`state` the checkpoints.
"""

from unskew.ppo.config import GRPOConfig, PPOConfig, RLOOConfig
from unskew.ppo.generate import Generator
from unskew.ppo.monitor import Diverged, Limits, Monitor
from unskew.ppo.names import GRPOTrainer, PPOTrainer, RLOOTrainer
from unskew.ppo.rewards import Rewards, Written
from unskew.ppo.server import Server
from unskew.ppo.trainer import OnPolicyTrainer

__all__ = [
    "Diverged",
    "GRPOConfig",
    "GRPOTrainer",
    "Generator",
    "Limits",
    "Monitor",
    "OnPolicyTrainer",
    "PPOConfig",
    "PPOTrainer",
    "RLOOConfig",
    "RLOOTrainer",
    "Rewards",
    "Server",
    "Written",
]
