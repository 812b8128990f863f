"""What a checkpoint holds: the policy as a model of its own, the value function, and the state of the run.

checkpoint-N/  config.json, model.safetensors (or adapters), tokenizer    loads as any causal language model
               value.safetensors                                          value function
               ppo_state.safetensors, ppo_state.json                      buffer, generators, statistics
               optimizer.pt, scheduler.pt, rng_state.pth, trainer_state.json    the Trainer's own
"""

import json
import os
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from unskew.ppo import state
from unskew.ppo.actor import ActorCritic
from unskew.ppo.buffer import Buffer
from unskew.ppo.config import PPOConfig
from unskew.ppo.figures import Notes
from unskew.ppo.kl import Controller
from unskew.ppo.monitor import Monitor
from unskew.ppo.scores import Moments


class Keeping(Trainer):  # type: ignore[misc]
    """A Trainer whose checkpoints hold all of that, written inside its `_save_checkpoint`.

    A guard of saving and loading goes before it in the bases of a class: then it sees what is written, and
    marks a checkpoint whole when everything is there.
    """

    args: PPOConfig
    actor: ActorCritic
    processing_class: Any
    state: Any

    chance: torch.Generator
    controller: Controller
    moments: Moments
    monitor: Monitor
    notes: Notes
    counts: dict[str, int]
    buffer: Buffer | None
    reference_digest: str

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a run knows besides parameters, optimiser and the Trainer's own state: tensors and JSON."""
        tensors = {"chance": self.chance.get_state()}
        document: dict[str, Any] = {
            "round": self._round(),
            "reference": self.reference_digest,
            "kl_coef": self.controller.beta,
            "moments": dict(vars(self.moments)),
            "monitor": self.monitor.state_dict(),
            "counts": dict(self.counts),
            "notes": {name: list(values) for name, values in self.notes.values.items()},
            "position": None if self.buffer is None else self.buffer.position,
        }
        if self.buffer is not None:
            tensors["order"] = self.buffer.order
            tensors |= {f"rows.{name}": rows for name, rows in self.buffer.rows.items()}
        return tensors, document

    def load_state_dict(self, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: this run has other rounds, or another reference.
        """
        if document["round"] != self._round():
            raise ValueError(
                f"the checkpoint has rounds of {document['round']}, this run of {self._round()}; resume with "
                "the same batch size, accumulation, num_mini_batches, num_ppo_epochs and number of processes"
            )
        if document["reference"] != self.reference_digest:
            raise ValueError(
                "the reference is not the one that the checkpoint was trained against; build the trainer "
                "with the model that the run started from, not with the checkpoint's"
            )
        self.chance.set_state(tensors["chance"])
        self.controller.beta = document["kl_coef"]
        self.moments = Moments(**document["moments"])
        self.monitor.load_state_dict(document["monitor"])
        self.counts, self.notes = document["counts"], Notes(document["notes"])
        self.buffer = None
        if document["position"] is not None:
            device = self.args.device
            rows = {
                name.removeprefix("rows."): value.to(device)
                for name, value in tensors.items()
                if name.startswith("rows.")
            }
            order = tensors["order"].to(device)
            self.buffer = Buffer(rows, order, self.args.train_batch_size, document["position"])

    def _round(self) -> dict[str, int]:
        """What makes the buffers of two runs the same."""
        args = self.args
        return {
            "completions": args.completions,
            "micro_batches": args.ticks,
            "micro_batch": args.train_batch_size,
            "processes": args.world_size,
        }

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        state.save(output_dir, self.args.process_index, self.args.world_size, *self.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.load_state_dict(*state.load(checkpoint, self.args.process_index, self.args.world_size))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        home = output_dir or self.args.output_dir
        os.makedirs(home, exist_ok=True)
        self.actor.save(home, state_dict)
        self.processing_class.save_pretrained(home)
        with open(os.path.join(home, "training_args.json"), "w", encoding="utf-8") as file:
            json.dump(self.args.to_dict(), file, indent=1, default=str)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, self.actor.policy)
        self.actor.load_value(resume_from_checkpoint)
        self.buffer = None  # it is another policy's, unless the run state is loaded too

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)
