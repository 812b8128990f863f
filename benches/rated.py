"""Rated data sets: which columns hold prompt, responses and levels, and what counts as a good response.

The published data sets of CausalRM and how its code reads them (revision ecadee4), with one difference: it
rates PKU-SafeRLHF by severity as it is, higher for more harm; here the severity is negated.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps what the protocol needs.

    Args:
        prompt: column of the prompt.
        rated: columns of each response and its level. A response is a text, or messages that end in it.
        levels: the list whose median divides good from bad; the levels that occur when empty.
        sign: 1 when more is better, -1 when the column counts harm.
    """

    prompt: str
    rated: tuple[tuple[str, str], ...]
    levels: tuple[float, ...] = ()
    sign: int = 1


ULTRAFEEDBACK = (1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8, 8.3, 8.5, 9, 9.3, 9.5, 9.8, 10)

LAYOUTS = {
    "helpsteer": Layout("prompt", (("response", "helpfulness"),), (0, 1, 2, 3, 4)),
    "ultrafeedback": Layout(
        "prompt", (("chosen", "score_chosen"), ("rejected", "score_rejected")), ULTRAFEEDBACK
    ),
    "saferlhf": Layout(
        "prompt",
        tuple((f"response_{n}", f"response_{n}_severity_level") for n in (0, 1)),
        (0, 1, 2, 3),
        sign=-1,
    ),
    "plain": Layout("prompt", (("response", "level"),)),
}
"""nvidia/HelpSteer, HuggingFaceH4/ultrafeedback_binarized, PKU-Alignment/PKU-SafeRLHF, and your own."""


@dataclass(frozen=True)
class Rated:
    """Rated responses: N of them.

    Args:
        prompts, responses: texts. Length N.
        level: higher is better. Shape [N].
        label: 1 when the level is above the median of the list of levels. Shape [N].
        dropped: rows without a level, left out.
    """

    prompts: list[str]
    responses: list[str]
    level: Floats
    label: Floats
    dropped: int

    def __len__(self) -> int:
        return len(self.prompts)


def read(source: str, layout: Layout, *, part: str = "train", cache: Path | None = None) -> Rated:
    """The responses of a data set, one row each.

    Args:
        source: a JSON, CSV or parquet file, or a folder or name that `datasets.load_dataset` knows.
        layout: its columns.
        part: which split of it.
        cache: where `datasets` keeps its tables.

    Raises:
        ValueError: a column is missing, or all labels are equal.
    """
    path, options = Path(source), {"cache_dir": str(cache) if cache else None}
    if path.is_file():
        form = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}.get(path.suffix)
        if form is None:
            raise ValueError(f"{path} ends in {path.suffix!r}; .jsonl, .json, .csv or .parquet is needed")
        table = datasets.load_dataset(form, data_files={part: str(path)}, split=part, **options)
    else:
        table = datasets.load_dataset(source, split=part, **options)
    needed = [layout.prompt, *(name for pair in layout.rated for name in pair)]
    if absent := [name for name in needed if name not in table.column_names]:
        raise ValueError(f"{source} has columns {table.column_names}; {', '.join(absent)} is missing")
    found = [
        (text(row[layout.prompt]), text(row[response]), row[level])
        for row in table
        for response, level in layout.rated
    ]
    kept = [one for one in found if one[2] is not None and np.isfinite(one[2])]
    prompts, responses, levels = (list(column) for column in zip(*kept, strict=True))
    level = layout.sign * np.asarray(levels, np.float64)
    middle = np.median(layout.sign * np.array(layout.levels) if layout.levels else np.unique(level))
    label = (level > middle).astype(np.float64)
    if len(np.unique(label)) < 2:
        raise ValueError(f"{source}: every level is on one side of {middle:g}; there is nothing to learn")
    return Rated(prompts, responses, level, label, len(found) - len(kept))


def text(value: Any) -> str:
    """A text, or the last of some messages."""
    return value if isinstance(value, str) else str(value[-1]["content"])
