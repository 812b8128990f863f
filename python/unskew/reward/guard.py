"""What keeps a training run whole: no poisoned step, no half checkpoint, no lost interruption.

    class RewardTrainer(Guarded): ...

A step whose loss or gradient is not finite is skipped and counted. After `PATIENCE` such steps in a row the
parameters go back to the newest whole checkpoint (to those of the start where there is none) and the
learning rate falls to a tenth; after `ROLLBACKS` of that, `NumericError` (exit code 7). A non-finite
parameter is never written. A checkpoint is whole when `MARKER` is in it, which is written last and holds the
checksum of every file; others are set aside when the trainer is made, so that `resume_from_checkpoint=True`
finds a whole one. SIGINT and SIGTERM end the run after the step under way, with a checkpoint.

All of it hangs on hooks of `transformers.Trainer`; `train` is its own, but for giving the signals back.
"""

import hashlib
import json
import logging
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from unskew.losses.numeric import NumericError

MARKER = "complete.json"
"""Written last into a checkpoint: name -> [bytes, sha256] of every file in it."""

START = "start.safetensors"
"""The parameters that are trained, as they were before, until the first checkpoint is whole."""

PATIENCE = 3
"""Skipped steps in a row that cost a roll-back."""

ROLLBACKS = 2
"""Roll-backs after which the next one ends the run."""

SLOWER = 0.1
"""Factor on the learning rate at a roll-back."""

log = logging.getLogger(__name__)


class Guarded(Trainer):  # type: ignore[misc]
    """A `transformers.Trainer` with guards.

    Attributes:
        skipped: steps left out because their loss or gradient was not finite.
        rollbacks: times the parameters went back.
        interrupted: number of the signal that ended the run; None when none did.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skipped = self.rollbacks = 0
        self.interrupted: int | None = None
        self._poisoned = False
        self._streak = 0
        if self.args.should_save:
            set_aside(self.args.output_dir)
        self.accelerator.wait_for_everyone()
        self._watch = _Watch(self)
        self.add_callback(self._watch)

    @property
    def _start(self) -> Path:
        """Where the trained parameters of the start lie until there is a checkpoint."""
        return Path(self.args.output_dir) / START

    def save_state(self, directory: Path) -> None:
        """Write what else a resumed run needs, before the checkpoint is marked whole."""

    def load_state(self, directory: Path) -> None:
        """Read it back."""

    def went_back(self) -> None:
        """Forget what belongs to parameters that a roll-back left."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().train(*args, **kwargs)
        finally:  # a run that failed comes to no `on_train_end`
            self._watch.restore()

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().training_step(*args, **kwargs)
        if bool(torch.isfinite(loss)):
            return loss
        self._poisoned = True
        log.warning("step %d has a loss of %g", self.state.global_step + 1, float(loss))
        return torch.zeros_like(loss)  # the trainer's sum would stay nan for ever

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if self.skipped:
            logs = {**logs, "skipped_steps": self.skipped, "rollbacks": self.rollbacks}
        super().log(logs, *args, **kwargs)

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)
        self._poisoned |= norm is not None and not bool(torch.isfinite(torch.as_tensor(norm)))
        return norm

    def before_step(self, model: nn.Module) -> None:
        """Skip the step when it is poisoned; go back when too many were.

        Raises:
            NumericError: going back did not help.
        """
        poisoned, self._poisoned = self._poisoned, False
        if self.args.world_size > 1:  # one rank's loss, or one rank's signal, concerns all
            flags = torch.tensor([float(poisoned), float(self.interrupted or 0)], device=self.args.device)
            torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
            poisoned, self.interrupted = bool(flags[0]), int(flags[1]) or None
        if not poisoned:
            self._streak = 0
            return
        self.skipped += 1
        self._streak += 1
        log.warning(
            "step %d skipped: its loss or gradient is not finite (%d so far)",
            self.state.global_step + 1,
            self.skipped,
        )
        if self.accelerator.scaler is None:  # a scaler of float16 skips by itself, and must see the gradients
            for parameter in model.parameters():
                parameter.grad = None
        if self._streak >= PATIENCE:
            self._streak = 0
            self.roll_back()

    def roll_back(self) -> None:
        """Parameters of the newest whole checkpoint, or of the start; a smaller step; no momentum.

        Raises:
            NumericError: it was done `ROLLBACKS` times before; the parameters are finite again all the same.
        """
        last = newest(self.args.output_dir)
        if last is not None:
            self._load_from_checkpoint(str(last))
        elif self._start.is_file():
            kept = load_file(self._start)
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    if name in kept:
                        parameter.copy_(kept[name])
        self.rollbacks += 1
        where = last.name if last is not None else "the start"
        if self.rollbacks > ROLLBACKS:
            raise NumericError(
                f"{self.skipped} steps had a loss or gradient that is not finite, the last {PATIENCE} in a "
                f"row at step {self.state.global_step + 1}; a smaller step did not help ({ROLLBACKS} times). "
                f"The parameters are those of {where}. Lower learning_rate (it began at "
                f"{self.args.learning_rate:g}), or look for extreme weights and margins in the data"
            )
        self.went_back()
        self.optimizer.state.clear()
        for group in self.optimizer.param_groups:
            group["lr"] *= SLOWER
        if hasattr(self.lr_scheduler, "base_lrs"):
            self.lr_scheduler.base_lrs = [rate * SLOWER for rate in self.lr_scheduler.base_lrs]
        log.warning(
            "back to the parameters of %s, with the learning rate at %g of what it was", where, SLOWER
        )

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        refuse_non_finite(state_dict if state_dict is not None else dict(self.model.named_parameters()))
        super()._save(output_dir, state_dict)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        run = Path(self._get_output_dir(trial=trial))
        directory = run / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            (directory / MARKER).unlink(missing_ok=True)
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # only whole ones replace others
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.save_state(directory)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark(directory)
            self._start.unlink(missing_ok=True)
            best = self.state.best_model_checkpoint
            rotate_checkpoints(
                output_dir=str(run), save_total_limit=limit, best_model_checkpoint=best, use_mtime=True
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.load_state(Path(checkpoint))


class _Watch(TrainerCallback):  # type: ignore[misc]
    """The hooks of a run that a trainer cannot override."""

    def __init__(self, trainer: Guarded) -> None:
        self.trainer = trainer
        self.before: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.trainer.interrupted = None
        if newest(args.output_dir) is None:
            trained = (pair for pair in self.trainer.model.named_parameters() if pair[1].requires_grad)
            if args.should_save:
                Path(args.output_dir).mkdir(parents=True, exist_ok=True)
                save_file({name: kept.detach().contiguous() for name, kept in trained}, self.trainer._start)
            self.trainer.accelerator.wait_for_everyone()
        if threading.current_thread() is threading.main_thread():
            self.process = os.getpid()
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._remember)

    def _remember(self, number: int, _: Any) -> None:
        if os.getpid() != self.process:  # a worker that the run forked has no step to end
            self.restore()
            signal.raise_signal(number)
            return
        self.trainer.interrupted = number
        log.warning("%s: stopping after this step, with a checkpoint", signal.Signals(number).name)
        self.restore()  # a second one stops at once

    def restore(self) -> None:
        """Give the signals back to whom they were before."""
        while self.before:
            number, handler = self.before.popitem()
            signal.signal(number, handler)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.trainer.before_step(model)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.trainer.interrupted:
            control.should_save = control.should_training_stop = True
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.trainer.interrupted and state.epoch % 1:  # a stop within an epoch is no end of one
            control.should_save = control.should_evaluate = False
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.restore()
        if args.should_save:
            self.trainer._start.unlink(missing_ok=True)


def refuse_non_finite(parameters: "dict[str, Tensor]") -> None:
    """Nothing, when every number is finite.

    Raises:
        NumericError: names the first tensor with a number that is not.
    """
    for name, parameter in parameters.items():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise NumericError(f"parameter {name} holds a number that is not finite; it is not saved")


def mark(directory: Path) -> None:
    """Make a checkpoint whole: every file on the disk, then the marker."""
    found = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MARKER):
        with path.open("rb+") as file:
            digest = _digest(file)
            os.fsync(file.fileno())
        found[str(path.relative_to(directory))] = [path.stat().st_size, digest]
    draft = directory / f".{MARKER}"
    with draft.open("w") as file:
        json.dump(found, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(directory / MARKER)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def fault(directory: Path) -> str | None:
    """What is wrong with a checkpoint, in words; None when it is whole."""
    marker = directory / MARKER
    if not marker.is_file():
        return f"it has no {MARKER}, which is written last"
    try:
        listed = json.loads(marker.read_bytes())
    except ValueError:
        return f"{MARKER} is not JSON"
    for name, (size, digest) in listed.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, {size} were written"
        with path.open("rb") as file:
            if _digest(file) != digest:
                return f"{name} has another checksum than when it was written"
    return None


def checkpoints(directory: "str | os.PathLike[str]") -> list[Path]:
    """Checkpoints of a run, newest first, whole or not."""
    name = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")
    found = [
        (int(match[1]), path) for path in Path(directory).glob("*") if (match := name.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True) if path.is_dir()]


def newest(directory: "str | os.PathLike[str]") -> Path | None:
    """The newest whole checkpoint of a run."""
    return next((path for path in checkpoints(directory) if fault(path) is None), None)


def set_aside(directory: "str | os.PathLike[str]") -> list[Path]:
    """Rename the checkpoints that are newer than the newest whole one, and say so.

    Returns:
        Where they are now: `incomplete-checkpoint-N` beside.
    """
    moved = []
    for path in checkpoints(directory):
        wrong = fault(path)
        if wrong is None:
            break
        there = path.with_name(f"incomplete-{path.name}")
        number = 1
        while there.exists():
            number += 1
            there = path.with_name(f"incomplete-{path.name}-{number}")
        path.rename(there)
        moved.append(there)
        log.warning("%s cannot be resumed from: %s; it is now %s", path, wrong, there.name)
    return moved
