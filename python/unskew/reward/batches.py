"""Sequences of a batch as one tensor: packed without padding where the model can, padded where it cannot.

Packed: sequences lie one after the other in rows as wide as the longest of them; position ids that start
anew tell every attention of transformers where one ends. The tail of a row that no sequence fits is padding
with positions of its own. Attention over rows of that width costs no more than padded batches do, and what is
padded is a few tokens a row instead of a few a sequence. Where no row holds two sequences, one row of
positions serves all, and attention needs no mask: what follows a sequence does not reach its last token.

Padded: one sequence a row, an attention mask; for encoders, and for positions that are not given by ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from unskew.reward.comparisons import COLUMNS

Features = list[dict[str, Any]]


@dataclass(frozen=True)
class Batches:
    """Collator: rows of `comparisons.prepare` to tensors.

    Args:
        pad: id of the pad token.
        packed: pack sequences; else pad them.
        whole: pack all sequences of a batch into one row (flash attention wants it).
        multiple: width of a row is a multiple of this.

    Returns:
        input_ids [R, W]; position_ids [R, W] ([1, W] where no row holds two sequences) and last [S] (packed:
        flat index of the last token of each sequence), or attention_mask [R, W]; ahead, behind [P] (index of
        the sequence, -1: none); a, b, m [P]; row [P].
    """

    pad: int
    packed: bool = True
    whole: bool = False
    multiple: int = 1

    def __call__(self, features: Features) -> dict[str, Tensor]:
        sequences = [ids for row in features for ids in row["input_ids"]]
        start = 0
        ahead: list[int] = []
        behind: list[int] = []
        for row in features:
            ahead += [start + k for k in row["ahead"]]
            behind += [start + k if k >= 0 else -1 for k in row["behind"]]
            start += len(row["input_ids"])
        columns = {
            name: torch.tensor([x for row in features for x in row[name]], dtype=torch.float32)
            for name in COLUMNS
        }
        rows = torch.tensor([row["row"] for row in features for _ in row["ahead"]])
        compared = {"ahead": torch.tensor(ahead), "behind": torch.tensor(behind), **columns, "row": rows}
        return {**self.sequences(sequences), **compared}

    def sequences(self, sequences: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """The tensors that a model reads."""
        longest = max(map(len, sequences))
        if not self.packed:
            width = -(-longest // self.multiple) * self.multiple
            ids = torch.full((len(sequences), width), self.pad)
            mask = torch.zeros_like(ids)
            for number, sequence in enumerate(sequences):
                ids[number, : len(sequence)] = torch.tensor(sequence)
                mask[number, : len(sequence)] = 1
            return {"input_ids": ids, "attention_mask": mask}
        width = sum(map(len, sequences)) if self.whole else longest
        width = -(-width // self.multiple) * self.multiple
        place, count = pack([len(sequence) for sequence in sequences], width)
        ids, positions = torch.full((count, width), self.pad), torch.zeros((count, width), dtype=torch.long)
        last = torch.empty(len(sequences), dtype=torch.long)
        filled = [0] * count
        for number, (sequence, (row, column)) in enumerate(zip(sequences, place, strict=True)):
            end = column + len(sequence)
            ids[row, column:end] = torch.tensor(sequence)
            positions[row, column:end] = torch.arange(len(sequence))
            last[number] = row * width + end - 1
            filled[row] = max(filled[row], end)
        for row, end in enumerate(filled):
            positions[row, end:] = torch.arange(width - end)
        if count == len(sequences):
            positions = torch.arange(width).clamp(max=longest - 1)[None]  # no position beyond the model's
        return {"input_ids": ids, "position_ids": positions, "last": last}


def pack(lengths: Sequence[int], width: int) -> tuple[list[tuple[int, int]], int]:
    """Where sequences go: the longest first, each into the first row that has room.

    Args:
        lengths: tokens of each sequence, at most `width`.
        width: tokens of a row.

    Returns:
        (row, column) of each sequence, and the number of rows.
    """
    place = [(0, 0)] * len(lengths)
    filled: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        size = lengths[number]
        row = next((k for k, used in enumerate(filled) if used + size <= width), len(filled))
        if row == len(filled):
            filled.append(0)
        place[number] = (row, filled[row])
        filled[row] += size
    return place, len(filled)


def packs(model: Any) -> bool:
    """Whether a sequence classifier can be packed: causal, scored token by token, positions by ids."""
    return hasattr(model, "score") and "position_ids" in signature(model.forward).parameters


def batches_for(model: Any, pad: int, *, multiple: int = 1) -> Batches:
    """The collator of a model."""
    flash = "flash" in str(getattr(model.config, "_attn_implementation", ""))
    return Batches(pad, packed=packs(model), whole=flash, multiple=multiple)


def scores(model: Any, batch: dict[str, Tensor], score: Any) -> Tensor:
    """Reward of each sequence, float32. Shape [S].

    Args:
        model: sequence classifier with one label, perhaps wrapped (DDP, PEFT).
        batch: tensors of `Batches`.
        score: the head module inside the model; read where sequences are packed, because the model itself
            pools one token a row.
    """
    if "last" not in batch:
        given = {name: batch[name] for name in ("input_ids", "attention_mask")}
        pooled: Tensor = model(**given).logits
        return pooled[:, 0].float()
    every: list[Tensor] = []
    handle = score.register_forward_hook(lambda _, __, found: every.append(found))
    try:
        model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False)
    finally:
        handle.remove()
    return every[0].reshape(-1)[batch["last"]].float()
