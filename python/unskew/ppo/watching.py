"""What a run says about itself: figures of rounds, counts, evaluations, lines of the log."""

import logging
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from unskew.ppo import figures
from unskew.ppo.actor import ActorCritic, Evaluated
from unskew.ppo.config import PPOConfig
from unskew.ppo.generate import Generator
from unskew.ppo.kl import Controller
from unskew.ppo.monitor import Monitor
from unskew.ppo.rewards import Rewards, Scored
from unskew.ppo.rollout import Completions, Rows, Vocabulary, write

log = logging.getLogger(__name__)


class Watching:
    """A mixin for Trainers."""

    args: PPOConfig
    accelerator: Any
    model: Any
    state: Any

    actor: ActorCritic
    controller: Controller
    counts: dict[str, int]
    generator: Generator
    gold: Rewards | None
    monitor: Monitor
    notes: figures.Notes
    rewards: Rewards
    vocabulary: Vocabulary

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's line, with the means of what was noted since the last one."""
        if not any(name.startswith("eval_") for name in logs):
            logs |= self.notes.means()
        super().log(logs, start_time)  # type: ignore[misc]

    def write(self, rows: Rows, group: int, seed: int) -> Completions:
        """`group` completions of each prompt by the policy as it is."""
        return write(
            self.actor.policy,
            self.generator,
            self.vocabulary,
            rows,
            group=group,
            longest_prompt=self.args.max_prompt_length,
            seed=seed,
            device=self.args.device,
            trainer_state=self.state,
        )

    def watch(
        self,
        seen: Completions,
        old: Evaluated,
        scored: Scored,
        raw: Tensor,
        valid: Tensor,
        logratio: Tensor | None,
        clipped: int,
    ) -> None:
        """Count, note, and hold the figures of a round against the limits; then lead beta."""
        found = {
            "completions": len(raw),
            "tokens": int(seen.mask.sum()),
            "truncated": int((~seen.ended).sum()),
            "left_out": int((~valid).sum()),
            "prompts_cut": seen.cut,
            "scores_clipped": clipped,
            **{f"faults/{name}": count for name, count in scored.faults.items()},
        }
        self.counts = {name: self.counts.get(name, 0) + count for name, count in found.items()}
        round_ = figures.of_round(
            mask=seen.mask,
            ended=seen.ended,
            valid=valid,
            raw=raw,
            entropy=old.entropy,
            logratio=logratio,
            parts=scored.parts,
            gold=None if self.gold is None else self.gold(seen.written).score,
            group=self.args.num_generations,
            total=self._sum,
        )
        self.notes.add(round_ | {"kl_coef": self.controller.beta, "num_tokens": self.counts["tokens"]})
        known = len(self.monitor.warnings)
        self.monitor.round(round_)
        for warning in self.monitor.warnings[known:]:
            log.warning(warning)
        if logratio is not None:
            self.controller.update(round_["kl"], len(raw) * self.accelerator.num_processes)

    def _sum(self, x: Tensor) -> Tensor:
        """Sum over ranks."""
        if self.accelerator.num_processes == 1:
            return x
        summed: Tensor = self.accelerator.reduce(x.to(self.args.device), "sum")
        return summed

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        *args: Any,
        metric_key_prefix: str = "eval",
        **kwargs: Any,
    ) -> EvalLoopOutput:
        """Reward, gold reward and length of one completion a prompt, by the same seed each time."""
        self.model.eval()
        found: dict[str, list[Any]] = {"mean_length": [], "reward": [], "gold": []}
        for number, rows in enumerate(dataloader):
            seen = self.write(rows, 1, self.args.seed + number)
            found["mean_length"] += seen.mask.sum(1).tolist()
            for name, rewards in (("reward", self.rewards), ("gold", self.gold)):
                if rewards is not None:
                    found[name] += rewards(seen.written).score.tolist()
        metrics = {}
        for name, values in found.items():
            x = torch.tensor(values, dtype=torch.float64, device=self.args.device)
            if name != "gold" or self.gold is not None:
                metrics[f"{metric_key_prefix}_{name}"] = figures.mean(x.nan_to_num(), ~x.isnan(), self._sum)
        return EvalLoopOutput(None, None, metrics, len(found["mean_length"]))
