"""`unskew ppo`: a policy trained on any reward, with what a report needs to know about it.

    settings = OptimiseConfig(model="policy", reward=("run/model",), prompts="prompts.jsonl")
    optimise(settings, "run-ppo")               # policy/ and run.json; goes on where it stopped

Prompts come from a file or from the log itself. One in `HELD_OUT` of them is kept from training: on these the
policy is compared with what it was before.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, cast

import numpy as np

from unskew import _rust
from unskew.data import Store
from unskew.pipeline.config import adapters, read_settings
from unskew.pipeline.run import plain, write_run
from unskew.pipeline.transformer import Interrupted, bars, same_run
from unskew.rates import mean_interval

HELD_OUT = 10
"""One in so many prompts measures the policy."""

MOST = 200
"""Prompts that measure the policy, at most."""

SHOWN = 6
"""Completions that a report shows."""

ALGORITHMS = ("ppo", "rloo", "grpo")

HISTORY = {
    "step": "step",
    "reward": "reward",
    "reward_std": "reward_std",
    "gold": "gold",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "mean_length",
    "completions/ended": "ended",
    "kl_coef": "kl_coef",
}
"""Names of the trainer's log -> names of a run."""


@dataclass(frozen=True)
class OptimiseConfig:
    """What `unskew ppo` reads from `-c run.yaml` and its flags.

    Args:
        model: causal language model that the policy starts as, a path or name.
        reward: rewards: directories of reward models, `http://` addresses that speak OpenRLHF's
            `/get_reward`, or `file.py:function` with TRL's signature.
        weights: one a reward, 1 each when absent.
        gold: a reward that is watched, never trained on; as `reward`.
        prompts: JSON lines with `prompt`, text or turns; other fields reach the reward functions.
        store: store whose prompts are used when `prompts` is absent.
        algorithm: `ppo`, `rloo` or `grpo`.
        trainer: settings of its `PPOConfig`, `RLOOConfig` or `GRPOConfig`.
        lora: settings of `peft.LoraConfig`; all parameters are trained when absent.
        seed: every random choice follows from it.
    """

    model: str = ""
    reward: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    gold: str | None = None
    prompts: str | None = None
    store: str | None = None
    algorithm: str = "ppo"
    trainer: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("no model: name the policy to start from (`model` in the settings, or --model)")
        if not self.reward:
            raise ValueError("no reward: name at least one (`reward` in the settings, or --reward)")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm is {self.algorithm!r}; it must be one of {', '.join(ALGORITHMS)}")
        if not (self.prompts or self.store):
            raise ValueError("no prompts: give a file (--prompts) or a store (--store)")

    @classmethod
    def load(cls, path: "Path | None", **flags: Any) -> "OptimiseConfig":
        """Settings of a YAML file, with flags in front.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a mapping, or an unknown name or value.
        """
        settings = {**read_settings(path, [known.name for known in fields(cls)]), **flags}
        for name in ("reward", "weights"):
            value = settings.get(name)
            if value is not None:
                settings[name] = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        return cls(**settings)


def optimise(settings: OptimiseConfig, directory: "str | Path", *, quiet: bool = True) -> dict[str, Any]:
    """Train a policy, and keep it and what happened.

    Writes `policy/` (a model directory) and `run.json`; checkpoints are in `checkpoints/` until then.

    Args:
        settings: of the run.
        directory: of the run.
        quiet: no progress bars.

    Returns:
        The run, as in `run.json`: under `policy` the figures before training (`start`) and one arm with its
        history, samples and final figures.

    Raises:
        FileNotFoundError: no such model, prompts, reward or store.
        ValueError: a setting or a prompt cannot be used, or the directory holds another run.
        NumericError: the parameters became non-finite, too many rewards are missing, or a limit was passed.
        Interrupted: a signal ended it, after a checkpoint.
    """
    from transformers import PrinterCallback

    from unskew import ppo
    from unskew.reward.guard import newest

    home = Path(directory)
    rows = prompts(settings)
    held = rows[::HELD_OUT][:MOST] if len(rows) >= HELD_OUT else rows
    training = [row for k, row in enumerate(rows) if k % HELD_OUT] if len(rows) >= HELD_OUT else rows
    work = home / "checkpoints"
    configs = {"ppo": ppo.PPOConfig, "rloo": ppo.RLOOConfig, "grpo": ppo.GRPOConfig}
    options: dict[str, Any] = {
        "report_to": [],
        "save_strategy": "steps",
        "save_steps": 50,
        "save_total_limit": 2,
    }
    options |= settings.trainer
    with bars(quiet):
        args = configs[settings.algorithm](str(work), seed=settings.seed, disable_tqdm=quiet, **options)
        if settings.weights is not None:
            args.reward_weights = list(settings.weights)
        if "logging_steps" not in settings.trainer:
            args.logging_steps = args.num_ppo_epochs * args.num_mini_batches  # a line a round
        same_run(work, {"settings": asdict(settings), "prompts": len(rows)})
        trainer = ppo.OnPolicyTrainer(
            settings.model,
            [source(one) for one in settings.reward],
            args,
            training,
            gold=None if settings.gold is None else source(settings.gold),
            peft_config=adapters(settings.lora, "CAUSAL_LM"),
        )
        trainer.remove_callback(PrinterCallback)
        before, _ = measured(trainer, held, settings.seed)
        trainer.train(resume_from_checkpoint=newest(work) is not None)
        if trainer.interrupted:
            raise Interrupted(trainer.interrupted, work)
        after, samples = measured(trainer, held, settings.seed)
        trainer.save_model(str(home / "policy"))
    arm = {
        "name": settings.algorithm,
        "label": f"{settings.algorithm} on {', '.join(Path(one).name for one in settings.reward)}",
        "role": "ours",
        "history": history(trainer.state.log_history),
        "samples": samples,
        "final": {**figures(after, before), "kl": _last(trainer.state.log_history, "kl")},
    }
    run = {
        "title": f"A policy trained by {settings.algorithm}",
        "policy": {"start": {"final": figures(before)}, "arms": [arm], "counts": trainer.counts},
        "provenance": {
            "unskew": _rust.__version__,
            "settings": {k: v for k, v in asdict(settings).items() if v},
        },
    }
    run = cast(dict[str, Any], plain(run))
    write_run(run, home)
    shutil.rmtree(work)
    return run


def prompts(settings: OptimiseConfig) -> list[dict[str, Any]]:
    """Rows with `prompt`, each prompt once, in the order of the file or the log.

    Raises:
        FileNotFoundError: no such file or store.
        ValueError: a line is no such row (names it), or there is none.
    """
    found: dict[str, dict[str, Any]] = {}
    if settings.prompts:
        path = Path(settings.prompts)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; JSON lines with `prompt` are needed")
        for number, line in enumerate(path.read_text("utf-8").split("\n"), start=1):
            if line.strip():
                row = _row(line, f"{path} line {number}")
                found.setdefault(json.dumps(row["prompt"]), row)
    else:
        shown = Store.open(str(settings.store)).table("impressions", ["prompt"])["prompt"]
        found = {text: {"prompt": text} for text in shown.unique().to_pylist() if text}
    if not found:
        raise ValueError(f"{settings.prompts or settings.store} holds no prompt")
    return list(found.values())


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}); one object a line is needed") from None
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), (str, list)) or not row["prompt"]:
        raise ValueError(f"{where}: an object with `prompt`, text or a list of turns, is needed")
    return row


def source(name: str) -> Any:
    """A reward by name: a directory, an address, or `file.py:function`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file has no such function.
    """
    file, _, function = name.rpartition(":")
    if not file.endswith(".py"):
        return name
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; `file.py:function` is needed")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be read as Python")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, function, None)):
        raise ValueError(f"{path} has no function {function!r}")
    return getattr(module, function)


Measured = dict[str, Any]


def measured(
    trainer: Any, rows: Sequence[dict[str, Any]], seed: int
) -> tuple[Measured, list[dict[str, Any]]]:
    """Rewards of one completion a prompt, and some of them as text.

    Args:
        trainer: `ppo.OnPolicyTrainer`.
        rows: with `prompt`.
        seed: of the sampling.

    Returns:
        (figures, samples): `reward` and `gold` (None without one), shape [N] each.
    """
    trainer.model.eval()
    seen = trainer.write(rows, 1, seed).written
    found: Measured = {"reward": trainer.rewards(seen).score, "gold": None}
    if trainer.gold is not None:
        found["gold"] = trainer.gold(seen).score
    samples = [
        {
            "prompt": _text(seen.prompts[k]),
            "completion": _text(seen.completions[k]),
            "reward": found["reward"][k],
            "gold": None if found["gold"] is None else found["gold"][k],
        }
        for k in range(min(SHOWN, len(rows)))
    ]
    return found, samples


def figures(found: Measured, before: "Measured | None" = None) -> dict[str, Any]:
    """Means with intervals: `proxy`; `true` where there is gold; `win_rate` where there is a before."""
    shown = {"proxy": mean_interval(found["reward"])}
    if found["gold"] is not None:
        shown["true"] = mean_interval(found["gold"])
    if before is not None:
        name = "reward" if found["gold"] is None else "gold"
        better = np.sign(found[name] - before[name])
        shown["win_rate"] = mean_interval((1 + better) / 2)
    return shown


def history(log: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rounds of a trainer's log, under the names of a run."""
    return [
        {ours: entry[theirs] for theirs, ours in HISTORY.items() if theirs in entry}
        for entry in log
        if "reward" in entry
    ]


def _last(log: Sequence[dict[str, Any]], name: str) -> Any:
    return next((entry[name] for entry in reversed(log) if name in entry), None)


def _text(words: Any) -> str:
    return words if isinstance(words, str) else "\n".join(str(turn.get("content", "")) for turn in words)
