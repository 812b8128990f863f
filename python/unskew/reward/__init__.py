"""Reward models: a head on frozen features, trained on columns, kept as safetensors and JSON.

    head = reward.fit_head(X, columns, groups=prompt_hash, loss="brier").head
    model = reward.RewardModel(featurizer, head, card={"estimator": "ips"})
    model.save("model")
    reward.RewardModel.load("model").probability(prompts, responses)

`heads` is the function from features to a logit, `fit` trains it, `classifier` gives it the shape that the
nuisances expect, `model` joins it to its featurizer and keeps it on disk.
"""

from unskew.reward.classifier import HeadClassifier
from unskew.reward.fit import HeadFit, fit_head
from unskew.reward.heads import Head, NumericError
from unskew.reward.model import RewardModel

__all__ = ["Head", "HeadClassifier", "HeadFit", "NumericError", "RewardModel", "fit_head"]
