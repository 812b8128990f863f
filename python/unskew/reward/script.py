"""`unskew train -c reward.yaml`: the settings of `trl reward`, run by `RewardTrainer`.

The file names a model, a data set and settings of `RewardConfig`, as TRL's script reads them; what would be
run otherwise than TRL runs it is refused, not ignored. The model, adapters merged, is written to
`<output_dir>/model`; checkpoints lie beside it, and the same command goes on from the newest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from unskew.reward.config import RewardConfig
from unskew.reward.guard import newest
from unskew.reward.trainer import RewardTrainer

FILES = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
"""Ending of a data set's file -> its reader."""


@dataclass
class Script:
    """What the file says besides the settings of `RewardConfig`; names and defaults are TRL's.

    Args:
        model_name_or_path: sequence classifier or language model, a path or name.
        dataset_name: path or name of a data set, or of a JSON-lines, CSV or Parquet file.
        datasets: several, each `{path, name, data_dir, data_files, split, columns, fraction}`, instead.
        test_split_size: share of `datasets` that is held out.
        use_peft: LoRA by the `lora_*` settings; the head is always trained and saved.
    """

    model_name_or_path: str | None = None
    model_revision: str = "main"
    dtype: str | None = "float32"
    attn_implementation: str | None = None
    dataset_name: str | None = None
    dataset_config: str | None = None
    dataset_train_split: str = "train"
    dataset_test_split: str = "test"
    datasets: list[dict[str, Any]] | None = None
    test_split_size: float | None = None
    use_peft: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_target_modules: list[str] | str | None = None
    lora_target_parameters: list[str] | None = None
    lora_modules_to_save: list[str] | None = None
    lora_task_type: str = "SEQ_CLS"
    use_rslora: bool = False
    use_dora: bool = False


REFUSED = {
    "trust_remote_code": "code of a model's directory is never run",
    "dataset_streaming": "data sets are read whole",
    "streaming": "data sets are read whole",
    "load_in_8bit": "quantised models are not trained",
    "load_in_4bit": "quantised models are not trained",
    "activation_offloading": "activations stay where they are; use gradient_checkpointing",
}
"""Settings of TRL that may only be false, and why."""


def read(settings: Mapping[str, Any]) -> tuple[Script, RewardConfig]:
    """The two parts of the settings.

    Raises:
        ValueError: a name is unknown, or asks for what is not done.
    """
    known = {one.name for one in fields(Script)}
    trained = {one.name for one in fields(RewardConfig) if one.init}
    for name, value in settings.items():
        if name in REFUSED:
            if value:
                raise ValueError(f"{name} is {value!r}, which is not supported: {REFUSED[name]}")
        elif name not in known | trained:
            raise ValueError(f"{name!r} is neither a setting of `trl reward` nor of RewardConfig")
    script = Script(**{name: value for name, value in settings.items() if name in known})
    if script.model_name_or_path is None:
        raise ValueError("model_name_or_path is missing; name the model to train")
    if not (script.dataset_name or script.datasets):
        raise ValueError("neither dataset_name nor datasets is given; name the rows to train on")
    options = {name: value for name, value in settings.items() if name in trained}
    options.setdefault("output_dir", f"{Path(script.model_name_or_path).name}-Reward")
    return script, RewardConfig(**options)


def rows(script: Script, held_out: bool) -> tuple[Any, Any]:
    """(training rows, held-out rows or None) of the data sets.

    Raises:
        FileNotFoundError: no such data set.
        ValueError: it has no such split, or nothing is held out.
    """
    from datasets import DatasetDict, concatenate_datasets

    if not script.datasets:
        found = _load(str(script.dataset_name), script.dataset_config)
        splits = found if isinstance(found, dict) else DatasetDict({script.dataset_train_split: found})
        names = [script.dataset_train_split, *([script.dataset_test_split] if held_out else [])]
        for name in names:
            if name not in splits:
                raise ValueError(f"{script.dataset_name} has splits {', '.join(splits)}; {name!r} is needed")
        return splits[names[0]], splits[names[1]] if held_out else None
    parts = []
    for one in script.datasets:
        options = {name: one[name] for name in ("data_dir", "data_files") if name in one}
        part = _load(one["path"], one.get("name"), split=one.get("split", "train"), **options)
        if one.get("columns"):
            part = part.select_columns(one["columns"])
        if one.get("fraction") is not None:
            part = part.select(range(round(len(part) * one["fraction"])))
        parts.append(part)
    whole = concatenate_datasets(parts)
    if script.test_split_size:
        split = whole.train_test_split(test_size=script.test_split_size)
        return split["train"], split["test"]
    if held_out:
        raise ValueError("eval_strategy is set, and test_split_size is not: there are no held-out rows")
    return whole, None


def _load(name: str, config: str | None, **options: Any) -> Any:
    from datasets import load_dataset, load_from_disk

    path = Path(name)
    try:
        if path.suffix in FILES:
            return load_dataset(FILES[path.suffix], data_files=name, **options)
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            return load_from_disk(name)
        return load_dataset(name, name=config, **options)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(f"{name} could not be loaded as a data set ({error})") from None


def run(settings: Mapping[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Train as the settings say.

    Args:
        settings: names and values of the file.
        quiet: no progress bars.

    Returns:
        model (directory), rows, truncated sequences, skipped steps, the signal that ended it (None when none
        did) and the trainer's log.

    Raises:
        FileNotFoundError, ValueError: a setting cannot be used.
        NumericError: the parameters became non-finite.
    """
    from transformers import PrinterCallback

    script, args = read(settings)
    args.disable_tqdm = args.disable_tqdm or quiet
    train, held = rows(script, args.eval_strategy != "no")
    extra = {"revision": script.model_revision, "dtype": script.dtype}
    extra |= {"attn_implementation": script.attn_implementation} if script.attn_implementation else {}
    given: Any = args.model_init_kwargs or {}
    args.model_init_kwargs = {**extra, **given}
    trainer = RewardTrainer(
        str(script.model_name_or_path),
        args,
        train_dataset=train,
        eval_dataset=held if args.eval_strategy != "no" else None,
        peft_config=_lora(script),
    )
    trainer.remove_callback(PrinterCallback)
    resume = args.resume_from_checkpoint or newest(args.output_dir) is not None
    trainer.train(resume_from_checkpoint=resume)
    found = {
        "model": None,
        "rows": len(train),
        "truncated": trainer.truncated,
        "skipped_steps": trainer.skipped,
        "interrupted": trainer.interrupted,
        "history": trainer.state.log_history,
    }
    if trainer.interrupted:
        return found
    home = Path(args.output_dir) / "model"
    trainer.export(home, {"estimator": "columns of the data set", "base_model": script.model_name_or_path})
    return {**found, "model": str(home)}


def _lora(script: Script) -> Any:
    if not script.use_peft:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=script.lora_r,
        lora_alpha=script.lora_alpha,
        lora_dropout=script.lora_dropout,
        target_modules=script.lora_target_modules,
        target_parameters=script.lora_target_parameters,
        modules_to_save=script.lora_modules_to_save,
        use_rslora=script.use_rslora,
        use_dora=script.use_dora,
    )
