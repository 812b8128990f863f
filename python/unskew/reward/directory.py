"""A transformer reward model on disk, as every stack loads it, and back.

`config.json` of a stock `*ForSequenceClassification` with one label and a pad token that ends no sequence;
`model.safetensors` with the head inside and adapters merged; the tokenizer with its chat template;
`reward_card.json` with what the model was trained on and how texts become tokens; `README.md`. No pickle, no
code, no buffers. The directory appears whole or not at all.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from unskew.reward.batches import batches_for, scores
from unskew.reward.guard import refuse_non_finite
from unskew.reward.tokens import Text, Tokens, pad_apart

CARD = "reward_card.json"

PROBES = ("The answer is 42.", "w1 w2\n\nHow do I bake bread? First, measure the flour twice!")
"""Texts on which a tokenizer that was read back is compared."""

Floats = NDArray[np.float64]

README = """---
tags: [reward-model, unskew]
pipeline_tag: text-classification
---
# Reward model

The reward is the one logit: the higher, the better. {scale}
How it was made, and what it may be trusted with, is in `{card}`.

```python
from transformers import pipeline

judge = pipeline("text-classification", model="{name}", function_to_apply="none")  # no sigmoid
judge({example}){note}
```
"""


@dataclass(frozen=True)
class TransformerReward:
    """A sequence classifier that scores responses.

    Args:
        model: `*ForSequenceClassification` with one label.
        tokens: how texts become token ids, as in training.
        card: provenance as JSON.
    """

    model: Any = field(repr=False)
    tokens: Tokens
    card: dict[str, Any] = field(default_factory=dict)
    conversational = True  # prompts and responses may be turns

    def score(
        self,
        prompts: Sequence[Text | None],
        responses: Sequence[Text],
        *,
        tools: Any = None,
        batch_tokens: int = 16_384,
    ) -> Floats:
        """Reward of each response. Shape [N].

        Args:
            prompts: what was asked, text or turns; None where the response begins with it. Length N.
            responses: what was answered, of the same kind. Length N.
            tools: passed to the chat template.
            batch_tokens: tokens scored at a time; changes memory and speed only.

        Raises:
            ValueError: the lengths differ, or a row has no token.
        """
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses; one of each is needed")
        sequences = [
            self.tokens(prompt, response, tools=tools)[0]
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        return self.score_ids(sequences, batch_tokens=batch_tokens)

    def score_ids(self, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 16_384) -> Floats:
        """Reward of each sequence of token ids. Shape [N]."""
        from unskew.reward.trainer import head_of

        pad = self.tokens.tokenizer.pad_token_id
        collate, head = batches_for(self.model, pad), head_of(self.model)
        found = np.empty(len(sequences))
        order = sorted(range(len(sequences)), key=lambda k: len(sequences[k]))
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                for rows in _chunks(order, sequences, batch_tokens):
                    batch = collate.sequences([sequences[row] for row in rows])
                    batch = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
                    found[rows] = scores(self.model, batch, head).double().cpu().numpy()
        finally:
            self.model.train(training)
        return found

    def probability(self, prompts: Sequence[Text | None], responses: Sequence[Text]) -> Floats:
        """P(liked) of each response: sigmoid of the reward. Shape [N], in (0, 1)."""
        return np.asarray(0.5 * (1 + np.tanh(0.5 * self.score(prompts, responses))))

    def save(self, directory: "str | os.PathLike[str]") -> None:
        """Write the model; see `write`."""
        write(directory, self.model, self.tokens, self.card)


def write(
    directory: "str | os.PathLike[str]",
    model: Any,
    tokens: Tokens,
    card: Mapping[str, Any],
    *,
    unit: bool = False,
    mean: float | None = None,
    std: float | None = None,
) -> Path:
    """Write a reward model directory, in place of one that is there.

    Args:
        directory: made when absent.
        model: sequence classifier, perhaps with adapters, which are merged into a copy.
        tokens: how texts become token ids.
        card: provenance as JSON.
        unit: divide the head by `std`, for trainers that expect rewards of unit spread; the reward is then no
            log-odds any more. A head has no bias, so the mean stays and is only written down.
        mean: of the rewards on the training data; goes to `config.json`, where OpenRLHF looks, and the card.
            That of the model's own configuration when absent, else 0.
        std: their standard deviation; the same, else 1.

    Raises:
        NumericError: a parameter is not finite; nothing is written.
        ValueError: the model has not one label, or the card holds a number that JSON does not.
    """
    from unskew.reward.trainer import head_of

    if hasattr(model, "peft_config"):
        model = deepcopy(model).merge_and_unload()
    if model.config.num_labels != 1:
        raise ValueError(f"the model has {model.config.num_labels} labels; a reward has one")
    refuse_non_finite(dict(model.named_parameters()))
    config = deepcopy(model.config)
    mean = getattr(config, "mean", 0.0) if mean is None else mean
    std = getattr(config, "std", 1.0) if std is None else std
    head, state = _name_of(model, head_of(model)), model.state_dict()
    if unit:
        state |= {name: state[name] / std for name in state if name.startswith(f"{head}.")}
        mean, std = mean / std, 1.0
    config.id2label, config.label2id = {0: "reward"}, {"reward": 0}
    config.mean, config.std, config.value_head_prefix = mean, std, head
    document = {
        "format": "unskew-transformer",
        "version": 1,
        "tokens": tokens.to_dict(),
        "mean": mean,
        "std": std,
        "unit": unit,
        "card": dict(card),
    }
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    home = Path(directory)
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = home.with_name(f".{home.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        original, model.config = model.config, config
        try:
            model.save_pretrained(draft, state_dict=state)
        finally:
            model.config = original
        tokens.tokenizer.save_pretrained(draft)
        _same_tokens(tokens.tokenizer, draft)
        (draft / CARD).write_text(text, "utf-8")
        (draft / "README.md").write_text(_readme(home.name, tokens, card), "utf-8")
        for path in draft.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        aside = home.with_name(f".{home.name}.old.{os.getpid()}")
        if home.exists():
            home.rename(aside)
        draft.rename(home)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return home


def _same_tokens(tokenizer: Any, directory: Path) -> None:
    """Nothing, when the tokenizer that others will load from the directory is this one.

    transformers chooses the tokenizer's class by the model's name, and a tokenizer of another kind then comes
    back changed without a word.

    Raises:
        ValueError: it gives other tokens.
    """
    found = AutoTokenizer.from_pretrained(directory)
    if any(found(text)["input_ids"] != tokenizer(text)["input_ids"] for text in PROBES):
        raise ValueError(
            f"the tokenizer comes back from a directory of this model as a {type(found).__name__} that gives "
            f"other tokens than the {type(tokenizer).__name__} it was trained with; use the model's own "
            "tokenizer, or a model whose class accepts any (Llama, GPT-2)"
        )


def load(directory: "str | os.PathLike[str]", **options: Any) -> TransformerReward:
    """A reward model directory, ours or any sequence classifier with one label.

    Without a card, texts are tokenised as TRL does: plain, with an EOS, or by the chat template.

    Args:
        directory: with `config.json`, safetensors weights and a tokenizer.
        options: of `from_pretrained`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: not one label, or a damaged card.
        NumericError: a parameter is not finite.
    """
    home = Path(directory)
    if not (home / "config.json").is_file():
        raise FileNotFoundError(f"{home / 'config.json'} does not exist; a reward model directory is needed")
    document: dict[str, Any] = {}
    if (home / CARD).is_file():
        try:
            document = json.loads((home / CARD).read_bytes())
            settings = document["tokens"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{home / CARD} is damaged ({error!r}); copy the model again") from None
    else:
        settings = {"max_length": None, "separator": "", "turns": False}
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            home, use_safetensors=True, output_loading_info=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(home)
    except OSError as error:
        raise FileNotFoundError(f"{home} could not be loaded ({error})") from None
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{home} has no {missing[0]}: it would be random. A trained reward model is needed")
    if model.config.num_labels != 1:
        raise ValueError(f"{home} has {model.config.num_labels} labels; a reward model has one")
    refuse_non_finite(dict(model.named_parameters()))
    if tokenizer.pad_token_id is None:
        pad_apart(tokenizer, model)
    return TransformerReward(model.eval(), Tokens(tokenizer, **settings), document.get("card", {}))


def _chunks(order: list[int], sequences: Sequence[Sequence[int]], tokens: int) -> Any:
    """Rows of similar length, at most `tokens` together (one row at least)."""
    start = 0
    while start < len(order):
        stop, total = start + 1, len(sequences[order[start]])
        while stop < len(order) and total + len(sequences[order[stop]]) <= tokens:
            total += len(sequences[order[stop]])
            stop += 1
        yield order[start:stop]
        start = stop


def _name_of(model: Any, module: Any) -> str:
    return str(next(name for name, found in model.named_children() if found is module))


def _readme(name: str, tokens: Tokens, card: Mapping[str, Any]) -> str:
    scale = f"It is {card['scale']}." if "scale" in card else ""
    if tokens.tokenizer.chat_template and tokens.turns:
        example = 'tokenizer.apply_chat_template([{"role": "user", "content": "..."}, ...], tokenize=False)'
        note = "  # rendered with the chat template, without a second BOS"
    else:
        example, note = f'"prompt" + {tokens.separator!r} + "response" + tokenizer.eos_token', ""
    return README.format(name=name, scale=scale, card=CARD, example=example, note=note)
