"""From a prompt and a completion to token ids: the one path of training and of scoring.

    text             prompt + separator + completion, the tokenizer's special tokens, and its EOS at the end
    conversation     the chat template, rendered and then tokenised without a second BOS

A sequence longer than `max_length` loses tokens after its first special token (BOS, CLS), so that the end of
the completion stays, and is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Turns = Sequence[Mapping[str, Any]]
Text = str | Turns

PAD = "<|pad|>"
"""The pad token that is added where a tokenizer has none of its own."""


@dataclass(frozen=True)
class Tokens:
    """How texts become token ids.

    Args:
        tokenizer: a tokenizer of transformers.
        max_length: tokens kept of a sequence, at least 2; None keeps all.
        separator: between a prompt and a completion that are plain text.
        turns: whether plain text is a user's turn and an assistant's, so that the chat template applies.
    """

    tokenizer: Any
    max_length: int | None = 1024
    separator: str = ""
    turns: bool = False

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < 2:
            raise ValueError(f"max_length is {self.max_length}; at least 2 is needed, or None")
        if self.turns and not self.tokenizer.chat_template:
            raise ValueError("turns is set, and the tokenizer has no chat template")

    def __call__(
        self, prompt: Text | None, completion: Text, *, tools: Any = None, template: Any = None
    ) -> tuple[list[int], bool]:
        """Token ids, and whether tokens were left out.

        Args:
            prompt: what was asked: text, or turns `{"role", "content"}`. None when the completion begins
                with it.
            completion: what was answered, of the same kind.
            tools: passed to the chat template.
            template: further arguments of the chat template, by name.

        Raises:
            ValueError: there is nothing to tokenise, or turns and no chat template.
            TypeError: neither text nor turns, or one of each.
        """
        ids = self.ids(prompt, completion, tools=tools, template=template)
        if not ids:
            raise ValueError("prompt and completion are empty: no token to score")
        return self.cut(ids)

    def cut(self, ids: list[int]) -> tuple[list[int], bool]:
        """At most `max_length` of the ids: the first when it is special, and the last ones."""
        if self.max_length is None or len(ids) <= self.max_length:
            return ids, False
        first = ids[:1] if ids[0] in (self.tokenizer.bos_token_id, self.tokenizer.cls_token_id) else []
        return [*first, *ids[len(ids) - self.max_length + len(first) :]], True

    def ids(
        self, prompt: Text | None, completion: Text, *, tools: Any = None, template: Any = None
    ) -> list[int]:
        """Token ids, however many."""
        if completion is None:
            raise TypeError("found nothing; text, or a list of {'role', 'content'}, is needed")
        texts = isinstance(completion, str) and (prompt is None or isinstance(prompt, str))
        if texts and not self.turns:
            text = completion if prompt is None else f"{prompt}{self.separator}{completion}"
            eos = self.tokenizer.eos_token
            ids: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
            if eos is not None and (not ids or ids[-1] != self.tokenizer.eos_token_id):
                ids = [*ids, self.tokenizer.eos_token_id]
            return ids
        if not self.tokenizer.chat_template:
            raise ValueError(
                "prompt and completion are conversations, and the tokenizer has no chat template; set "
                "tokenizer.chat_template, or pass text"
            )
        options = {"tools": tools, **(template or {})}
        turns = [*_turns(prompt, "user"), *_turns(completion, "assistant")]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, **options)
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def to_dict(self) -> dict[str, Any]:
        """All but the tokenizer, for the card of a model."""
        return {"max_length": self.max_length, "separator": self.separator, "turns": self.turns}


def _turns(text: Text | None, role: str) -> list[Mapping[str, Any]]:
    if text is None:
        return []
    if isinstance(text, str):
        return [{"role": role, "content": text}]
    if not isinstance(text, Sequence) or not all(isinstance(turn, Mapping) for turn in text):
        raise TypeError(f"found a {type(text).__name__}; text, or a list of {{'role', 'content'}}, is needed")
    return [*text]


def pad_apart(tokenizer: Any, model: Any) -> None:
    """Give tokenizer and model a pad token that ends no sequence, and padding on the right.

    A classification head reads the last token that is not padding; were padding the EOS token, it would read
    the token before it, and other stacks another one. An unused special token is taken where there is one,
    else `PAD` is added and the embeddings grow.

    Args:
        tokenizer: changed in place.
        model: changed in place; its configuration names the pad token.
    """
    config = model.config.get_text_config()
    eos = config.eos_token_id if isinstance(config.eos_token_id, (list, tuple)) else [config.eos_token_id]
    ends = {tokenizer.eos_token_id, *eos} - {None}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        known = [
            token
            for token in tokenizer.all_special_tokens
            if "pad" in token.lower() and tokenizer.convert_tokens_to_ids(token) not in ends
        ]
        if known:
            tokenizer.pad_token = known[0]
        else:
            tokenizer.add_special_tokens({"pad_token": PAD})
        rows = model.get_input_embeddings().num_embeddings
        if tokenizer.pad_token_id >= rows:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            model.get_input_embeddings().weight.data[rows:].zero_()  # never read, the same in every run
    tokenizer.padding_side = "right"
    config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
