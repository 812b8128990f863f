"""Settings of a run: one dataclass, read from YAML, overridden by flags."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from unskew.audit.users import CAP
from unskew.features import Encoder, Featurizer, Hashing

CELLS = "cells"
"""Value of `propensity` that counts in cells."""


class Refused(Exception):
    """The audit does not allow what was asked for."""

    exit_code = 8


@dataclass(frozen=True)
class TrainConfig:
    """What `unskew train` reads from `-c run.yaml` and its flags.

    Args:
        estimator: `auto`, or a name in `recipes.RECIPES`.
        features: `hashing`, or the path or name of a Hugging Face model.
        head: `linear` or `mlp`.
        model: path or name of a transformer to fine-tune on the same columns; it is then what is written.
        trainer: settings of its `RewardConfig`.
        lora: settings of `peft.LoraConfig`; all parameters are trained when absent.
        noise: known error rates by kind, `[fnr, fpr]`; they replace those from gold.
        base_rate: share of all responses that are liked, in (0, 1), where a survey or the like tells it; with
            known `noise` it gives class propensities where there is no gold.
        propensity: `cells`, to count who answers by surface, slot, model and length instead of fitting it on
            the features; or a file (JSON lines, CSV, Parquet or Arrow) with `response` and columns
            `p_<kind>`: known probabilities that feedback is given; they replace ours. Null where the product
            did not set one: it is fitted there, and the others can refute the fit (`refute.forced_ask`).
        user_cap: responses with feedback that one user counts for at most, in multiples of the median user;
            users whose labels contradict all others are left out (`audit.users`). None (YAML: null) does
            neither and reads every record as it came, as the naive recipes always do.
        apart: kinds that mean something else on each surface: each is read as one kind a surface, with error
            rates, propensities and tables of its own (`data.apart`). Its parts are named `thumbs in SURFACE`.
        compare: further recipes to train and show beside.
        recipes: settings of recipes, by name: `{ips: {floor: 0.1}, causalrm-dr: {corrected: true}}`.
        accept_red: why to train although the audit refuses; goes on the card. Where it refuses every
            estimator, `auto` then corrects nothing (`cautious`); one asked for by name is trained.
        seed: every random choice follows from it.
    """

    estimator: str = "auto"
    features: str = "hashing"
    head: str = "linear"
    model: str | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] | None = None
    noise: dict[str, tuple[float, float]] = field(default_factory=dict)
    base_rate: float | None = None
    propensity: str | None = None
    user_cap: float | None = CAP
    apart: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    accept_red: str | None = None
    seed: int = 0

    @classmethod
    def load(cls, path: "Path | None", **flags: Any) -> "TrainConfig":
        """Settings of a YAML file, with flags in front.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a mapping, or an unknown name or value.
        """
        found = read_settings(path, [known.name for known in fields(cls)])
        settings = {**found, **flags}
        settings |= {name: tuple(settings.get(name, ())) for name in ("apart", "compare")}
        return cls(**settings)

    def __post_init__(self) -> None:
        if self.head not in ("linear", "mlp"):
            raise ValueError(f"head is {self.head!r}; it must be 'linear' or 'mlp'")
        if self.base_rate is not None and not 0 < self.base_rate < 1:
            raise ValueError(f"base_rate is {self.base_rate!r}; the share of liked responses is in (0, 1)")
        if self.user_cap is not None and not self.user_cap > 0:
            raise ValueError(f"user_cap is {self.user_cap!r}; a positive number is needed, or null for none")
        for kind, rates in self.noise.items():
            if not isinstance(rates, (list, tuple)) or len(rates) != 2:
                raise ValueError(f"noise of {kind} is {rates!r}; [fnr, fpr] is needed")
        for name, settings in self.recipes.items():
            if not isinstance(settings, dict):
                raise ValueError(f"recipes: {name} is {settings!r}; names and values are needed")

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def read_settings(path: "Path | None", names: "Sequence[str] | None" = None) -> dict[str, Any]:
    """Names and values of a YAML file; none without a file, any where `names` are absent.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a mapping, or a name that is not among `names`.
    """
    if path is None:
        return {}
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a YAML file of settings is needed")
    try:
        found: Any = yaml.safe_load(path.read_text("utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}; names and values are needed")
    for name in found:
        if names is not None and name not in names:
            raise ValueError(f"{path}: {name!r} is not a setting; known are {', '.join(names)}")
    return found


def adapters(lora: "dict[str, Any] | None", task: str) -> Any:
    """LoRA's configuration for a task of peft (`SEQ_CLS`, `CAUSAL_LM`); None without settings."""
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(**{"task_type": task, **lora})


def featurizer(name: str) -> Featurizer:
    """Features by name: `hashing`, or any Hugging Face encoder or causal language model."""
    return Hashing() if name == "hashing" else Encoder(name)
