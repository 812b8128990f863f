"""A transformer on the columns that an estimator left: what `unskew train STORE --model DIR` adds.

The prompts of fold 0, their gold labels included, are kept from it and from the nuisances it learns from, so
that it can be measured beside the heads; a tenth of the other prompts chooses the checkpoint (design.md 6).
An interrupted run goes on where it stopped when the same command is given again.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unskew.data import Store, texts
from unskew.estimators import Mixture
from unskew.folds import assign
from unskew.pipeline.arms import Arm
from unskew.pipeline.config import TrainConfig, adapters
from unskew.pipeline.material import Material
from unskew.pipeline.recipes import Target, columns_inside, recipe_of
from unskew.rates import Bools, Ints

if TYPE_CHECKING:
    import pyarrow as pa

HELD = 0
"""Fold that measures the transformer."""

CHOOSING = 10
"""One in so many of the other prompts chooses the checkpoint."""

DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 16,
    "learning_rate": 5e-5,
    "warmup_steps": 0.05,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "patience": 1,
    "report_to": [],
}
"""Settings of the trainer, where the run's `trainer` says nothing else."""


@contextmanager
def bars(quiet: bool) -> Iterator[None]:
    """Without the progress bars of the libraries, when quiet."""
    import datasets
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled()
    if quiet:
        logging.disable_progress_bar()
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if quiet and before[0]:
            logging.enable_progress_bar()
        if quiet and not before[1]:
            datasets.enable_progress_bars()


class Interrupted(Exception):
    """A signal ended the training, after a checkpoint."""

    def __init__(self, number: int, directory: Path) -> None:
        super().__init__(f"stopped; the same command goes on from the newest checkpoint in {directory}")
        self.exit_code = 128 + number


def columns_of(target: Target) -> "pa.Table":
    """The columns of a target as they are kept in a store."""
    import pyarrow as pa

    columns = target.columns
    names = ("w", "d", "m") if isinstance(columns, Mixture) else ("a", "b", "m")
    table = {name: getattr(columns, name) for name in names}
    if target.pairs is not None:
        table |= {"row_a": target.pairs[0], "row_b": target.pairs[1]}
    return pa.table(table)


def fine_tune(
    store: Store,
    material: Material,
    ours: Arm,
    settings: TrainConfig,
    home: Path,
    *,
    known: Bools,
    card: Mapping[str, Any],
    quiet: bool = True,
) -> tuple[Arm, dict[str, Any]]:
    """Train a transformer on the columns of an arm, export it to `home/model`, and score what measures it.

    Args:
        store: the store.
        material: rows and nuisances.
        ours: the arm whose recipe gives the columns.
        settings: `model`, and `trainer` with settings of `RewardConfig` and `lora` with those of LoRA.
        home: directory of the run; checkpoints are in `checkpoints/` until the model is written.
        known: rows that a model can be measured on. Shape [N].
        card: provenance.
        quiet: no progress bars.

    Returns:
        (arm, history): the arm's rewards are nan where it was not held out; one entry a log of the trainer.

    Raises:
        ValueError: the directory holds a run with other settings, or the columns cannot be trained on.
        NumericError: the parameters became non-finite.
        Interrupted: a signal ended it.
    """
    from transformers import PrinterCallback, set_seed

    from unskew.reward import RewardModel, targets
    from unskew.reward.config import RewardConfig
    from unskew.reward.guard import newest
    from unskew.reward.trainer import RewardTrainer

    with bars(quiet):
        part = material.without(HELD)
        target = columns_inside(part, recipe_of(ours.name, settings.recipes.get(ours.name))(part))
        first = np.arange(len(material.examples)) if target.pairs is None else target.pairs[0]
        choosing = _choosing(material, part.inside)[first]
        table, inside = columns_of(target), part.inside[first]
        train, loss = targets.dataset(store, table, loss=target.loss, keep=inside & ~choosing)
        held, _ = targets.dataset(store, table, loss=target.loss, keep=inside & choosing)
        set_seed(settings.seed)  # a base model has no head yet
        model, tokenizer = _loaded(str(settings.model))
        turns = bool(tokenizer.chat_template)
        work = home / "checkpoints"
        options = {**DEFAULTS, "separator": "" if turns else "\n\n", "turns": turns, **settings.trainer}
        arguments = RewardConfig(str(work), loss=loss, seed=settings.seed, disable_tqdm=quiet, **options)
        same_run(work, {"settings": settings.to_dict(), "store": store.digest, "estimator": ours.name})
        trainer = RewardTrainer(
            model,
            arguments,
            train_dataset=train,
            eval_dataset=held,
            processing_class=tokenizer,
            peft_config=adapters(settings.lora, "SEQ_CLS"),
        )
        trainer.remove_callback(PrinterCallback)  # standard output is the command's own
        trainer.train(resume_from_checkpoint=newest(work) is not None)
        if trainer.interrupted:
            raise Interrupted(trainer.interrupted, work)
        history = list(trainer.state.log_history)
        counts = {"skipped_steps": trainer.skipped, "rollbacks": trainer.rollbacks, **trainer.truncated}
        facts = {**card, "base_model": Path(str(settings.model)).name, "trainer": counts, "held_out": HELD}
        trainer.export(home / "model", facts)
        shutil.rmtree(work)
        reward = np.full(len(material.examples), np.nan)
        rows = np.flatnonzero(known & ~part.inside)
        if len(rows):
            reward[rows] = RewardModel.load(home / "model").score(*texts(store, material.examples.row[rows]))
        label = f"{ours.label}; a transformer, measured on {len(rows):,} held-out responses"
        return replace(ours, name=f"{ours.name}-transformer", label=label, role="ours", reward=reward), {
            "history": history,
            "counts": counts,
            "rows": {"training": len(train), "choosing": len(held)},
        }


def _choosing(material: Material, inside: Bools) -> Bools:
    """Rows whose prompts choose the checkpoint. Shape [N]."""
    fold: Ints = assign(material.examples.prompt_hash, CHOOSING, inside)
    return np.asarray(inside & (fold == 0))


def _loaded(name: str) -> tuple[Any, Any]:
    """Sequence classifier and tokenizer of a directory or a name."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=1)
        return model, AutoTokenizer.from_pretrained(name)
    except OSError as error:
        raise FileNotFoundError(f"{name} could not be loaded as a model with a tokenizer ({error})") from None


def same_run(directory: Path, facts: Mapping[str, Any]) -> None:
    """Keep what decides a run beside its checkpoints, or compare.

    Raises:
        ValueError: checkpoints of another run are there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path, text = directory / "run_settings.json", json.dumps(facts, indent=1, sort_keys=True, default=str)
    if path.is_file() and path.read_text("utf-8") != text:
        raise ValueError(
            f"{directory} holds checkpoints of a run with other settings or another log; remove it, or "
            "choose another --out"
        )
    path.write_text(text, "utf-8")
