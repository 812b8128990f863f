"""Which rows a model was trained on, as far as its card and the store can tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unskew.data import Examples, Store
from unskew.data.store import as_numpy
from unskew.folds import assign
from unskew.pipeline.material import FOLDS
from unskew.rates import Bools, Ints

if TYPE_CHECKING:
    import pyarrow as pa

LEAST = 100
"""Responses on prompts that the model has not seen, from which on they alone measure it."""


@dataclass(frozen=True)
class Sample:
    """What is known about a model and the rows that are to measure it.

    Args:
        in_sample: it was trained on them; None when nothing tells.
        keep: rows that may measure: those on other prompts where there are enough, else all. Shape [N].
        sentence: the same for a person, with what to do.
    """

    in_sample: bool | None
    keep: Bools
    sentence: str


def sample_of(card: Mapping[str, Any], store: Store, rows: Examples) -> Sample:
    """Whether a model was trained on rows of this store.

    Its card names the nuisances it was trained with (they lie in the store that it learned from, with the
    rows they were made for) and, when a fold of prompts was kept from it, which.

    Args:
        card: of the model.
        store: the store that is to measure it.
        rows: its live rows.
    """
    every = np.ones(len(rows), bool)
    told = card.get("provenance") or {}
    if not told.get("nuisances"):
        return Sample(
            None,
            every,
            "The model's card does not say what it was trained on. If it was these rows, every figure here "
            "is too good.",
        )
    kept = store.load("nuisances", told["nuisances"])
    if kept is None or kept[2] is None:
        if (told.get("store") or {}).get("digest") == store.digest:
            return _all_seen(every)
        return Sample(
            False, every, "The model's card names another log than this one as what it was trained on."
        )
    table = kept[2]
    row = as_numpy(table["row"])
    used = np.ones(len(row), bool)
    if (held := card.get("held_out")) is not None:
        used = _folds(table, rows, row) != held
    trained = np.isin(rows.row, row[used])
    seen = np.isin(rows.prompt_hash, np.unique(rows.prompt_hash[trained]))
    new = int((~seen).sum())
    if new < LEAST:
        return _all_seen(every)
    what = "of a fold kept from it, or that came later" if held is not None else "that came later"
    return Sample(
        False,
        ~seen,
        f"Measured on the {new:,} of {len(rows):,} responses whose prompts the model was not trained on "
        f"({what}).",
    )


def _folds(table: "pa.Table", rows: Examples, row: Ints) -> Ints:
    """Fold of each row that the nuisances were made for: theirs, or that of `Material.fold`."""
    if "fold" in table.column_names:
        return as_numpy(table["fold"])
    key = dict(zip(rows.row.tolist(), rows.prompt_hash.tolist(), strict=True))
    return assign(np.array([key.get(one, 0) for one in row.tolist()], np.uint64), FOLDS, np.ones(len(row)))


def _all_seen(every: Bools) -> Sample:
    return Sample(
        True,
        every,
        "The model was trained on these rows, so every figure here is too good and no interval is valid. Its "
        "fair figures, out of fold, are in the run.json and report.html that `unskew train` wrote beside it; "
        "or measure it on a log that it has not seen.",
    )
