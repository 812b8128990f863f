"""Policy optimisation: PPO, RLOO and GRPO of a causal language model, with any reward.

    config = ppo.PPOConfig("run", response_length=128, per_device_train_batch_size=8, kl_coef=0.05)
    trainer = ppo.OnPolicyTrainer(model, "reward-directory", config, prompts, processing_class=tokenizer)
    trainer.train()                             # or train(resume_from_checkpoint=True): the same parameters

`trainer` is the loop on one page, `config` its settings. `advantage`, `kl`, `objective` and `logprob` are the
formulas; `actor` and `value` the model; `prompts`, `generate`, `rollout` and `buffer` the completions of a
round; `rewards` and `server` say what they are worth, `scores` what is made of that; `figures`, `monitor` and
`watching` what is said about a run and where it stops; `keeping` and `state` what a checkpoint holds;
`imitate` builds a small model to start from.
"""

from unskew.ppo.config import GRPOConfig, PPOConfig, RLOOConfig
from unskew.ppo.generate import Generator
from unskew.ppo.imitate import imitate, phrases, smallest
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
    "imitate",
    "phrases",
    "smallest",
]
