"""`RewardTrainer`: a transformer that scores responses, trained on comparisons with columns.

    z = r_A - r_B - m (one response: r - m),    loss = sum over comparisons of L(z, a, b) / (mean(a) n)

mean(a) is taken over the data set once, before training; n is the number of comparisons in the optimiser's
whole step, over all accumulated batches and all ranks, so accumulation and data parallelism change nothing.
The constructor, the data sets, the settings and the metrics are those of TRL's RewardTrainer; `train` is
transformers'. Sequences are packed where the model allows (`batches`), scored once each however many
comparisons they are in (`comparisons`), and guarded (`guard`).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EarlyStoppingCallback,
    EvalPrediction,
    set_seed,
)

from unskew import losses
from unskew.losses.reference import LOSSES
from unskew.reward.batches import batches_for, scores
from unskew.reward.comparisons import prepare
from unskew.reward.config import RewardConfig, measure
from unskew.reward.dropout import without_dropout
from unskew.reward.guard import Guarded
from unskew.reward.tokens import Tokens, pad_apart

HEADS = ("score", "classifier")
"""Names that sequence classifiers of transformers give their head."""

SAMPLE = 512
"""Rows of the training set, at most, that the mean and the spread of an exported reward are taken from."""

COUNTS = "reward_counts.json"
"""What a checkpoint keeps beside the trainer's own state."""


class RewardTrainer(Guarded):
    """Trains a `*ForSequenceClassification` model with one label.

    Args:
        model: model, PEFT model, or a directory or name to load, in float32 unless `model_init_kwargs` says
            otherwise: small steps are lost in the rounding of bfloat16 parameters.
        args: settings; a `RewardConfig` whose output folder is named after the model when absent.
        data_collator: instead of `batches.Batches`.
        train_dataset: rows as `comparisons` describes them.
        eval_dataset: the same, held out; or several by name.
        processing_class: tokenizer; that of the model when absent.
        compute_metrics: called with an `EvalPrediction` of held-out comparisons: `predictions` are
            the rewards ahead and behind [P, 2], `label_ids` the targets b / a [P] (mixture: is d > 0).
        callbacks, optimizers, optimizer_cls_and_kwargs: of transformers.
        preprocess_logits_for_metrics: of TRL's signature; None, since a reward is one number already.
        peft_config: LoRA and others; the head is always trained and saved with it.

    Attributes:
        tokens: how texts become token ids; goes with the model (`export`).
        truncated: sequences that were cut to `max_length`, by data set.

    Raises:
        ValueError: a row cannot be used (names it), the weights do not add up to something positive, or the
            model has not one label.
    """

    def __init__(
        self,
        model: Any,
        args: RewardConfig | None = None,
        data_collator: Callable[..., Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        compute_metrics: Callable[..., Any] | None = None,
        callbacks: list[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[Any, Any] | None = None,
        preprocess_logits_for_metrics: Callable[..., Any] | None = None,
        peft_config: Any = None,
    ) -> None:
        if preprocess_logits_for_metrics is not None:
            raise ValueError(
                "preprocess_logits_for_metrics is given; a reward is one number, use compute_metrics"
            )
        named = isinstance(model, (str, Path))
        name = str(model) if named else model.config._name_or_path
        if args is None:
            args = RewardConfig(f"{Path(name).name or 'model'}-Reward")
        if args.n_gpu > 1:
            raise ValueError(
                f"{args.n_gpu} GPUs in one process; start one a GPU: accelerate launch, torchrun"
            )
        if named:
            given: Any = args.model_init_kwargs or {}
            options = {"dtype": torch.float32, **given}
            set_seed(args.seed)  # a base model has no head yet
            model = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, **options)
        if model.config.num_labels != 1:
            raise ValueError(f"the model has {model.config.num_labels} labels; a reward has num_labels=1")
        tokenizer = processing_class or AutoTokenizer.from_pretrained(name)
        _dress(tokenizer, args)
        pad_apart(tokenizer, model)
        if peft_config is not None:
            model = _adapt(model, peft_config)
        self.score = head_of(model)
        if args.disable_dropout:
            without_dropout(model)
        if args.freeze_trunk:
            kept = {id(parameter) for parameter in self.score.parameters()}
            for parameter in model.parameters():
                parameter.requires_grad_(id(parameter) in kept)
        self.tokens = Tokens(tokenizer, args.max_length, args.separator, args.turns)
        self.truncated: dict[str, int] = {}
        with args.main_process_first(desc="tokenizing"):
            train = self._prepared(train_dataset, "train", args)
            held = eval_dataset
            if isinstance(held, Mapping) and not hasattr(held, "column_names"):
                held = {key: self._prepared(each, key, args) for key, each in held.items()}
            else:
                held = self._prepared(held, "eval", args)
        self.mean_weight = 1.0 if args.unnormalised or train is None else _mean_weight(train)
        self._sums: dict[str, Tensor] = {}
        self._rewards: list[Tensor] = []
        self._held: list[Tensor] = []
        self._tokens_seen = 0
        if data_collator is None:
            data_collator = batches_for(model, tokenizer.pad_token_id, multiple=args.pad_to_multiple_of or 1)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=train,
            eval_dataset=held,
            processing_class=tokenizer,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
        )
        self.loss_is_scaled_for_ga = True  # divided by the comparisons of the whole step
        self.model_accepts_loss_kwargs = True
        if args.patience is not None:
            self.add_callback(EarlyStoppingCallback(args.patience))

    def _prepared(self, dataset: Any, name: str, args: RewardConfig) -> Any:
        if dataset is None:
            return None
        made, self.truncated[name] = prepare(dataset, self.tokens, args.loss, workers=args.dataset_num_proc)
        return made

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["input_ids", "ahead", "behind", "a", "b", "m", "row"]

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """Comparisons of the optimiser's whole step."""
        count = torch.tensor(sum(len(batch["ahead"]) for batch in batch_samples), device=device)
        if self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Sum of the losses of the batch, divided by mean(a) and the comparisons of the whole step."""
        reward = scores(model, inputs, self.score)
        ahead, behind = reward[inputs["ahead"]], _behind(reward, inputs["behind"])
        count = num_items_in_batch if num_items_in_batch is not None else len(ahead)
        value, _ = losses.folded(
            ahead, behind, inputs["a"], inputs["b"], inputs["m"], loss=self.args.loss, normalizer=None
        )
        loss = value / (count * self.mean_weight)
        if self.args.center_rewards_coefficient is not None:
            loss = loss + self.args.center_rewards_coefficient * (ahead + behind).square().sum() / count
        if num_items_in_batch is not None:
            loss = loss * self.args.world_size  # gradients are averaged over the ranks
        if model.training:
            self._remember(reward.detach(), ahead.detach(), behind.detach(), inputs)
        return (loss, {"logits": reward}) if return_outputs else loss

    def _remember(self, reward: Tensor, ahead: Tensor, behind: Tensor, inputs: dict[str, Tensor]) -> None:
        """Add a batch to the metrics that the next log shows."""
        sums = _metric_sums(ahead, behind, inputs, self.args.loss)
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._rewards.append(torch.stack([reward.min(), reward.sum(), reward.max()]).double())
        self._sums["rewards"] = self._sums.get("rewards", 0.0) + torch.tensor(float(len(reward)))
        size = (inputs["input_ids"] != self.processing_class.pad_token_id).sum()
        self._sums["tokens"] = self._sums.get("tokens", 0.0) + size

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """The metrics of TRL beside the loss: accuracy, margin, mean, min and max reward, num_tokens."""
        if self._rewards and "loss" in logs:
            extremes = torch.stack(self._rewards)
            sums = {name: value.double().cpu().reshape(()) for name, value in self._sums.items()}
            low, total, high = extremes[:, 0].min(), extremes[:, 1].sum(), extremes[:, 2].max()
            if self.args.world_size > 1:
                names = sorted(sums)
                packed = torch.stack([*(sums[name] for name in names), total.cpu(), low.cpu(), high.cpu()])
                every = self.accelerator.gather(packed.to(self.args.device)[None]).cpu()
                sums = dict(zip(names, every.sum(0), strict=False))
                total, low, high = every[:, -3].sum(), every[:, -2].min(), every[:, -1].max()
            self._tokens_seen += int(sums["tokens"])
            found = _ratios(sums)
            logs = {
                **logs,
                **found,
                "mean_reward": float(total / sums["rewards"]),
                "min_reward": float(low),
                "max_reward": float(high),
                "num_tokens": float(self._tokens_seen),
            }
            self._sums, self._rewards = {}, []
        super().log(logs, *args, **kwargs)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measures of held-out rows, those of the trainer when absent; rows as for training are prepared."""
        if hasattr(eval_dataset, "column_names") and "ahead" not in eval_dataset.column_names:
            eval_dataset = self._prepared(eval_dataset, "eval", self.args)
        found: dict[str, float] = super().evaluate(eval_dataset, *args, **kwargs)
        return found

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Keeps what `evaluation_loop` sums up: rows with everything that a measure reads."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            reward = scores(model, inputs, self.score)
        ahead, behind = reward[inputs["ahead"]], _behind(reward, inputs["behind"])
        single = (inputs["behind"] < 0).float()
        kept = (inputs["row"], ahead, behind, single, inputs["a"], inputs["b"], inputs["m"])
        self._held.append(torch.stack([each.double() for each in kept], 1))
        return None, None, None

    def evaluation_loop(
        self, dataloader: Any, description: str, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> Any:
        """As of transformers, with the held-out measures; a row that two ranks saw counts once."""
        self._held = []
        kwargs["prediction_loss_only"] = True
        output = super().evaluation_loop(
            dataloader, description, metric_key_prefix=metric_key_prefix,
            **{**dict(zip(("prediction_loss_only", "ignore_keys"), args, strict=False)), **kwargs},
        )  # fmt: skip
        rows = torch.cat(self._held)
        self._held = []
        if self.args.world_size > 1:
            from accelerate.utils import gather_object

            rows = rows.cpu()
            number, count = torch.unique_consecutive(rows[:, 0], return_counts=True)
            own = list(zip(number.tolist(), torch.split(rows, count.tolist()), strict=True))
            rows = torch.cat(list(dict(gather_object(own)).values()))
        found = held_out(rows, self.args.loss)
        if self.compute_metrics is not None:
            targets = _targets(rows[:, 4], rows[:, 5], self.args.loss)
            found |= self.compute_metrics(EvalPrediction(rows[:, 1:3].cpu().numpy(), targets.cpu().numpy()))
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        return output

    def export(
        self, directory: "str | Path", card: Mapping[str, Any] | None = None, *, unit: bool = False
    ) -> Path:
        """Write the reward model as other stacks load it; adapters are merged. See `directory.write`."""
        from unskew.reward.directory import TransformerReward, write

        model, rows = self.accelerator.unwrap_model(self.model), self.train_dataset
        some = rows.select(range(0, len(rows), -(-len(rows) // SAMPLE)))["input_ids"]
        reward = TransformerReward(model, self.tokens).score_ids([ids for row in some for ids in row])
        facts = {"loss": self.args.loss, "truncated": self.truncated, **(card or {})}
        mean, std = float(reward.mean()), float(reward.std())
        return write(directory, model, self.tokens, facts, unit=unit, mean=mean, std=std)

    def save_state(self, directory: Path) -> None:
        if self.args.should_save:
            (directory / COUNTS).write_text(json.dumps({"num_tokens": self._tokens_seen}))

    def load_state(self, directory: Path) -> None:
        self._tokens_seen = json.loads((directory / COUNTS).read_text())["num_tokens"]


def _behind(reward: Tensor, index: Tensor) -> Tensor:
    """Rewards of the slot behind; 0 where there is none."""
    return torch.where(index >= 0, reward[index.clamp(min=0)], 0.0)


def _metric_sums(
    ahead: Tensor, behind: Tensor, columns: Mapping[str, Tensor], loss: str
) -> dict[str, Tensor]:
    """What accuracy and margin are ratios of, in the labels as they are given.

    A comparison with target t = b / a counts t where the reward says ahead, 1 - t where it says behind, 1/2
    in a tie; in the mixture the sign of the evidence is the label.
    """
    z = ahead - behind
    target = _targets(columns["a"], columns["b"], loss).to(z.dtype)
    weight = columns["a"] * (columns["b"] != 0) if loss == "mixture" else columns["a"]
    right = torch.where(z > 0, target, torch.where(z < 0, 1 - target, 0.5))
    return {
        "right": (weight * right).sum(),
        "margins": (weight * (2 * target - 1) * z).sum(),
        "weights": weight.sum(),
    }


def _targets(a: Tensor, b: Tensor, loss: str) -> Tensor:
    """Target b / a of each comparison, 0 without weight; 1 where the evidence is positive in the mixture."""
    if loss == "mixture":
        return (b > 0).to(b.dtype)
    return torch.where(a != 0, b / a.where(a != 0, 1.0), 0.0)


def _ratios(sums: Mapping[str, Tensor]) -> dict[str, float]:
    weight = float(sums["weights"])
    if not weight:
        return {}
    return {"accuracy": float(sums["right"]) / weight, "margin": float(sums["margins"]) / weight}


def held_out(rows: Tensor, loss: str) -> dict[str, float]:
    """Measures of held-out comparisons, self-normalised.

        loss    sum L(z, a, b) / sum a        brier    sum (a s^2 - 2 b s + b) / sum a

    The Brier form is unbiased for the clean risk where the columns are, and bounded; the mixture is judged by
    its own loss over sum w (design.md 6).

    Args:
        rows: columns row, r_A, r_B, single, a, b, m (w and d for the mixture). Shape [P, 7], float64.
        loss: `logistic`, `brier` or `mixture`.
    """
    _, ahead, behind, _, a, b, m = rows.T
    if not a.sum() > 0:
        raise ValueError(f"the held-out weights add up to {float(a.sum()):g}; more than 0 is needed")
    z = ahead - behind - m
    found = {"loss": float(LOSSES[loss][0](z, a, b).sum() / a.sum())}
    name = measure(loss)
    found[name] = float(LOSSES[name][0](z, a, b).sum() / a.sum())
    sums = _metric_sums(ahead, behind, {"a": a, "b": b}, loss)
    scored = torch.cat([ahead, behind[rows[:, 3] == 0]])
    extremes = {"mean_reward": scored.mean(), "min_reward": scored.min(), "max_reward": scored.max()}
    return {**found, **_ratios(sums), **{key: float(value) for key, value in extremes.items()}}


def _mean_weight(dataset: Any) -> float:
    """Mean weight of the comparisons of a data set.

    Raises:
        ValueError: it is not positive.
    """
    weights = torch.tensor([x for row in dataset["a"] for x in row], dtype=torch.float64)
    mean = float(weights.mean())
    if not mean > 0:
        raise ValueError(f"the weights of the data set have mean {mean:g}; something must weigh more than 0")
    return mean


def head_of(model: Any) -> nn.Module:
    """The head of a sequence classifier, perhaps inside PEFT's wrapper.

    Raises:
        ValueError: it has none of the names in `HEADS`.
    """
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    for name in HEADS:
        if isinstance(getattr(inner, name, None), nn.Module):
            found: nn.Module = getattr(inner, name)
            return found
    raise ValueError(f"{type(inner).__name__} has no {' or '.join(HEADS)}; a sequence classifier is needed")


def _adapt(model: Any, peft_config: Any) -> Any:
    """The model with adapters, its head trained and saved whatever the configuration says of it."""
    from peft import TaskType, get_peft_model

    name = next(name for name in HEADS if hasattr(model, name))
    peft_config.task_type = TaskType.SEQ_CLS
    peft_config.modules_to_save = sorted({name, *(getattr(peft_config, "modules_to_save", None) or ())})
    return get_peft_model(model, peft_config)


def _dress(tokenizer: Any, args: RewardConfig) -> None:
    """Chat template and special tokens of the settings."""
    if args.chat_template_path is not None:
        path = Path(args.chat_template_path)
        tokenizer.chat_template = (
            path.read_text("utf-8")
            if path.suffix == ".jinja"
            else AutoTokenizer.from_pretrained(args.chat_template_path).chat_template
        )
    for name in ("eos_token", "pad_token"):
        token = getattr(args, name)
        if token is not None:
            if tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id):
                raise ValueError(f"{name} is {token!r}, which the tokenizer does not know")
            setattr(tokenizer, name, token)
