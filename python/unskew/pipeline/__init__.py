"""The road from a store to a reward model: nuisances, columns, model, numbers.

    pipeline.audit_store("store", gold="gold.jsonl")["colour"]
    run = pipeline.train("store", "run")
    pipeline.train("store", "run", pipeline.TrainConfig(estimator="ips"))

`material` estimates the nuisances, `recipes` turns them into columns (a new estimator is a function there),
`arms` trains and measures models side by side, `store` keeps what was estimated, `run` says it as data,
`road` joins them, and `apply` uses what was trained. What a model is measured on is `ground` (`sample` says
what it has seen), `evaluation` measures it in every way, `doubt` says what hangs on what, `assess` says all
of it. The command line only calls this.
"""

from unskew.pipeline.apply import evaluate_model, score_file
from unskew.pipeline.config import Refused, TrainConfig
from unskew.pipeline.recipes import RECIPES, UNSAFE
from unskew.pipeline.road import (
    Pairs,
    Truth,
    audit_store,
    pair_targets,
    train,
    write_gold_plan,
)
from unskew.pipeline.tuning import OptimiseConfig, optimise

__all__ = [
    "RECIPES",
    "UNSAFE",
    "OptimiseConfig",
    "Pairs",
    "Refused",
    "TrainConfig",
    "Truth",
    "audit_store",
    "evaluate_model",
    "optimise",
    "pair_targets",
    "score_file",
    "train",
    "write_gold_plan",
]
