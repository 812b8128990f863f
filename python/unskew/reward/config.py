"""Settings of `RewardTrainer`: the names and defaults of TRL's RewardConfig, and what it does not have."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from transformers import TrainingArguments
from transformers.utils import is_torch_cuda_available

_LOSSES = ("logistic", "brier", "mixture")


@dataclass
class RewardConfig(TrainingArguments):  # type: ignore[misc]
    """Settings of a reward model's training.

    Of TRL's configuration, with its names and defaults: `learning_rate` 1e-4, `logging_steps` 10,
    `gradient_checkpointing` on, `bf16` unless `fp16` (here only where there is a GPU). The kept checkpoint is
    the one with the lowest held-out value of the loss's own measure where `load_best_model_at_end` is set.

    Args:
        model_init_kwargs: arguments of `from_pretrained`, when the model is a name.
        chat_template_path: tokenizer directory or `.jinja` file whose chat template is used.
        disable_dropout: train without dropout.
        dataset_num_proc: processes that tokenise.
        eos_token: end of a sequence; the tokenizer's when absent.
        pad_token: pad token; one that ends no sequence is found or added when absent.
        max_length: tokens kept of a sequence; a longer one loses its beginning and is counted (TRL drops it).
        pad_to_multiple_of: width of a batch is a multiple of this.
        center_rewards_coefficient: weight of the mean of (r_A + r_B)^2, which keeps rewards near 0.
        loss: `logistic` (Bradley-Terry), `brier` (bounded) or `mixture` (columns w and d).
        separator: between a prompt and a completion that are plain text.
        turns: plain text is a user's turn and an assistant's; the chat template applies.
        freeze_trunk: train the head alone.
        patience: evaluations without improvement that end the run; needs `load_best_model_at_end`.
        unnormalised: leave the weights as they are; else they are divided by their mean over the data set.
    """

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*TrainingArguments._VALID_DICT_FIELDS, "model_init_kwargs"]

    learning_rate: float = field(default=1e-4)
    logging_steps: float = field(default=10)
    gradient_checkpointing: bool = field(default=True)
    bf16: bool | None = field(default=None)
    logging_nan_inf_filter: bool = field(default=False)
    model_init_kwargs: dict[str, Any] | str | None = field(default=None)
    chat_template_path: str | None = field(default=None)
    disable_dropout: bool = field(default=True)
    dataset_num_proc: int | None = field(default=None)
    eos_token: str | None = field(default=None)
    pad_token: str | None = field(default=None)
    max_length: int | None = field(default=1024)
    pad_to_multiple_of: int | None = field(default=None)
    center_rewards_coefficient: float | None = field(default=None)
    loss: str = field(default="logistic", metadata={"choices": list(_LOSSES)})
    separator: str = field(default="")
    turns: bool = field(default=False)
    freeze_trunk: bool = field(default=False)
    patience: int | None = field(default=None)
    unnormalised: bool = field(default=False)

    def __post_init__(self) -> None:
        if self.loss not in _LOSSES:
            raise ValueError(f"loss is {self.loss!r}; it must be one of {', '.join(_LOSSES)}")
        if self.bf16 is None:
            self.bf16 = not self.fp16 and is_torch_cuda_available()
        if self.load_best_model_at_end and not self.metric_for_best_model:
            self.metric_for_best_model: str | None = measure(self.loss)
            self.greater_is_better: bool | None = False
        super().__post_init__()
        if self.patience is not None and not self.load_best_model_at_end:
            raise ValueError("patience is set, which needs load_best_model_at_end=True and evaluations")


def measure(loss: str) -> str:
    """What a held-out set is judged by: unbiased and bounded, never the training loss (methods.md 2.6)."""
    return "mixture" if loss == "mixture" else "brier"
