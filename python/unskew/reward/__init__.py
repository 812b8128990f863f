"""Reward models: a head on frozen features, trained on columns, kept as safetensors and JSON.

    head = reward.fit_head(X, columns, groups=prompt_hash, loss="brier").head
    model = reward.RewardModel(featurizer, head, card={"estimator": "ips"})
    model.save("model")
    reward.RewardModel.load("model").probability(prompts, responses)

`heads` is the function from features to a logit, `fit` trains it, `classifier` gives it the shape that the
nuisances expect, `model` joins it to its featurizer and keeps it on disk.

And transformers, trained on the same columns (imported when first used):

    trainer = reward.RewardTrainer("Qwen/Qwen3-0.6B", train_dataset=rows)    # as trl.RewardTrainer
    trainer.train()
    trainer.export("model")                         # a directory that TRL, OpenRLHF, verl and vLLM load
    reward.RewardModel.load("model").score(prompts, responses)

`comparisons` turns rows into sequences and comparisons, `tokens` texts into ids, `batches` sequences into
tensors without padding, `trainer` trains under `guard`, `directory` writes and loads, `function` is the
reward as RL trainers call it.
"""

from importlib import import_module
from typing import Any

from unskew.reward.classifier import HeadClassifier
from unskew.reward.fit import HeadFit, fit_head
from unskew.reward.heads import Head, NumericError
from unskew.reward.model import RewardModel, Scorer

_LAZY = {
    "RewardConfig": "config",
    "RewardFunction": "function",
    "RewardTrainer": "trainer",
    "Tokens": "tokens",
    "TransformerReward": "directory",
}
"""Names that need transformers, and where they are."""

__all__ = [
    "Head",
    "HeadClassifier",
    "HeadFit",
    "NumericError",
    "RewardConfig",
    "RewardFunction",
    "RewardModel",
    "RewardTrainer",
    "Scorer",
    "Tokens",
    "TransformerReward",
    "fit_head",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"unskew.reward.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'unskew.reward' has no attribute {name!r}")
