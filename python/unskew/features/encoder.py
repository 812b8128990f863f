"""Features from a frozen transformer: pooled hidden states of the prompt and the response."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unskew.features.base import Array, check_lengths, length


@dataclass
class Encoder:
    """Hidden states of a frozen Hugging Face encoder or causal language model, and the length.

        mean:  phi = sum_t mask_t h_t / sum_t mask_t        last:  phi = h at the last token

    Texts longer than `max_length` lose their beginning (the end of a response matters most) and are counted
    in `counts["truncated"]`. Texts of similar length share a batch; the order of rows is kept.

    Args:
        name: model directory, or a name on the Hugging Face hub (`HF_HUB_OFFLINE=1` keeps it offline).
        pooling: `mean` for encoders, `last` for causal models.
        max_length: tokens kept of a text, at least 2.
        template: how a prompt and a response become one text; `{prompt}` may be left out.
        dtype: `float32`, or `bfloat16` (about twice as fast where the processor has it).
        unit: scale the hidden state to Euclidean length 1.
        batch_tokens: padded tokens in a batch; changes memory and speed, not the values beyond rounding.
        device: a torch device; a GPU when there is one.
        fingerprint: of the model that a saved reward model was trained on; loading another raises.

    Raises:
        ValueError: an argument is out of range, or the model is not the one of `fingerprint`.
        FileNotFoundError: the model cannot be found.
    """

    name: str
    pooling: Literal["mean", "last"] = "mean"
    max_length: int = 512
    template: str = "{prompt}\n\n{response}"
    dtype: Literal["float32", "bfloat16"] = "float32"
    unit: bool = False
    batch_tokens: int = 8192
    device: str | None = None
    fingerprint: str | None = None
    counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _loaded: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.name = str(self.name)
        if self.pooling not in ("mean", "last"):
            raise ValueError(f"pooling is {self.pooling!r}; it must be 'mean' or 'last'")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype is {self.dtype!r}; it must be 'float32' or 'bfloat16'")
        if self.max_length < 2 or self.batch_tokens < 1:
            raise ValueError(
                f"max_length is {self.max_length} and batch_tokens is {self.batch_tokens}; "
                "at least 2 and at least 1 are needed"
            )
        if "{response}" not in self.template:
            raise ValueError(f"template is {self.template!r}; it must contain '{{response}}'")

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Array:
        """Pooled hidden states, the length column last. Shape [N, hidden size + 1].

        Args:
            prompts: what was asked. Length N.
            responses: texts. Length N.

        Raises:
            ValueError: the two lengths differ.
        """
        import torch

        check_lengths(prompts, responses)
        tokenizer, model = self._load()
        texts = [
            self.template.replace("{prompt}", prompt).replace("{response}", response)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        tokens = tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []
        sizes = np.fromiter(map(len, tokens), np.int64, len(texts))
        self.counts = {"truncated": int((sizes > self.max_length).sum())}
        kept = np.minimum(sizes, self.max_length)
        out = np.empty((len(texts), int(model.config.hidden_size) + 1), np.float32)
        for rows in _batches(kept, self.batch_tokens):
            batch = tokenizer(
                [texts[row] for row in rows],
                truncation=True,
                max_length=self.max_length,
                padding=True,
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                hidden = model(
                    input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
                ).last_hidden_state.float()
            mask = batch["attention_mask"][..., None].float()  # [rows, tokens, 1]
            if self.pooling == "mean":
                pooled = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
            else:
                end = batch["attention_mask"].sum(1).clamp_min(1) - 1
                pooled = hidden[torch.arange(len(rows), device=hidden.device), end]
            if self.unit:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
            out[rows, :-1] = pooled.cpu().numpy()
        out[:, -1:] = length(responses)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Settings as JSON, with the fingerprint of the model but not how it is run (batches, device)."""
        names = ("name", "pooling", "max_length", "template", "dtype", "unit")
        settings = {name: getattr(self, name) for name in names}
        return {"featurizer": "encoder", **settings, "fingerprint": self.fingerprint or self._fingerprint()}

    def _load(self) -> tuple[Any, Any]:
        """(tokenizer, model), loaded once; weights come from safetensors alone, never from pickles."""
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging

            found = self._fingerprint()
            if self.fingerprint not in (None, found):
                raise ValueError(
                    f"{self.name} has fingerprint {found}; the features were made by {self.fingerprint}. "
                    "Point to the model they were made by, or compute the features again."
                )
            bar = logging.is_progress_bar_enabled()
            logging.disable_progress_bar()
            try:
                tokenizer = AutoTokenizer.from_pretrained(
                    self.name, truncation_side="left", padding_side="right"
                )
                model = AutoModel.from_pretrained(
                    self.name, dtype=getattr(torch, self.dtype), use_safetensors=True
                )
            except OSError as error:
                raise FileNotFoundError(
                    f"{self.name} could not be loaded ({error}); expected a model directory with safetensors "
                    "weights or the name of one on the hub"
                ) from error
            finally:
                if bar:
                    logging.enable_progress_bar()
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = (tokenizer, model.eval().to(device))
        loaded: tuple[Any, Any] = self._loaded
        return loaded

    def _fingerprint(self) -> str:
        """Of a directory: names, sizes, first and last mebibyte of its files. Of a hub name: its commit."""
        root = Path(self.name)
        if not root.is_dir():
            from transformers import AutoConfig

            try:
                return str(AutoConfig.from_pretrained(self.name)._commit_hash)
            except OSError as error:
                raise FileNotFoundError(
                    f"{self.name} is neither a directory nor a model that can be reached ({error})"
                ) from error
        if not (root / "config.json").is_file():
            raise FileNotFoundError(
                f"{root} holds no config.json; expected a model directory with safetensors weights, "
                "or the name of one on the hub"
            )
        digest = hashlib.sha256()
        for path in sorted(root.iterdir()):
            if path.suffix not in (".json", ".safetensors", ".txt", ".model"):
                continue
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as source:
                digest.update(source.read(1 << 20))
                source.seek(max(0, size - (1 << 20)))
                digest.update(source.read())
        return digest.hexdigest()[:32]


def _batches(sizes: NDArray[np.int64], tokens: int) -> Iterator[NDArray[np.int64]]:
    """Rows in batches of similar size, each at most `tokens` after padding (one row at least)."""
    order = np.argsort(sizes, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and int(sizes[order[stop]]) * (stop + 1 - start) <= tokens:
            stop += 1
        yield order[start:stop]
        start = stop
