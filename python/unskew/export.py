"""Rows back out of a store, and debiased pairs for trainers that are not ours."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unskew.data import Store

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("jsonl", "csv", "parquet", "trl")
STEP = 1 << 14
"""Least rows at a time, and in a row group of Parquet."""

AGAIN = [
    "source",
    "surface",
    "lang",
    "model",
    "policy_id",
    "user_key",
    "session_key",
    "kind",
    "label",
    "actor",
    "op",
]
"""Columns whose values come again and again: Parquet numbers these, and would try others in vain."""

THREADS = min(os.cpu_count() or 1, 4)
"""Files of a folder that are written at a time; each holds a few pieces in memory."""


def export(
    store: "str | Path",
    output: "str | Path",
    *,
    form: str = "jsonl",
    table: str = "impressions",
    accept_red: str | None = None,
) -> dict[str, Any]:
    """Write a table of a store, or debiased preference pairs.

    The row formats give every committed row back, erased ones excepted. Keys are hexadecimal text in JSON
    lines and CSV, and their 16 bytes in Parquet, where every column has the type that it has in the store.
    Parquet goes to one file when its name has an ending; a name without one is a folder, and every part of
    the table becomes a file in it, `THREADS` at a time. What is written is there whole or not at all.

    `trl` writes one line a pair with TRL's `prompt`, `chosen`, `rejected` and our columns beside them (see
    `debiased_pairs`); a trainer that does not know them ignores them.

    Args:
        store: store directory.
        output: file to write, or for Parquet a folder, new or empty.
        form: `jsonl`, `csv`, `parquet` or `trl`.
        table: which table the row formats write.
        accept_red: why `trl` pairs are wanted although the audit refuses their targets.

    Returns:
        rows and bytes written.

    Raises:
        ValueError: unknown format or table; a folder that is not empty; `trl` without usable pairs.
    """
    if form not in FORMATS:
        raise ValueError(f"format is {form!r}; it must be one of {', '.join(FORMATS)}")
    opened = Store.open(store)
    path = Path(output)
    if form == "trl":
        rows = _write_lines(path, debiased_pairs(opened, accept_red))
        told = {} if accept_red is None else {"accepted red": accept_red}
        return {"pairs": rows, "bytes": path.stat().st_size, **told}
    if table not in opened.ledger["parts"]:
        raise ValueError(f"table is {table!r}; this store has {', '.join(sorted(opened.ledger['parts']))}")
    parts = [opened.path / part["path"] for part in opened.ledger["parts"][table]]
    if form == "parquet" and not path.suffix:
        return _write_folder(path, parts)
    if form == "jsonl":
        rows = _write_lines(path, (row for piece in _pieces(parts) for row in _readable(piece).to_pylist()))
    else:
        rows = _write_columns(path, parts, form)
    return {"rows": rows, "bytes": path.stat().st_size}


def debiased_pairs(store: Store, accept_red: str | None = None) -> Iterator[dict[str, Any]]:
    """Preference pairs of responses shown together, with targets corrected for noise and selection.

    Target of a pair: b = (1 + Y_a - Y_b) / 2 with the doubly robust item targets of the newest audit
    (`estimators.pairs_from_items`). `chosen` is the side with the larger target; `label_prob` is the target
    of "chosen is better" and may pass 1, as unbiased targets do; train on it with the folded loss, or clip it
    and accept the bias; `weight` is a.

    Raises:
        unskew.pipeline.Refused: the audit refuses doubly robust targets, and no reason to go on is given.
        ValueError: no response was shown beside another.
    """
    from unskew import pipeline
    from unskew.data import texts

    pairs = pipeline.pair_targets(store, pipeline.TrainConfig(accept_red=accept_red))
    prompts, responses = texts(store, pairs.rows)
    for index in range(len(pairs.a)):
        a, b = int(pairs.side_a[index]), int(pairs.side_b[index])
        target = float(pairs.target[index])
        chosen, rejected = (a, b) if target >= 0.5 else (b, a)
        yield {
            "prompt": prompts[a],
            "chosen": responses[chosen],
            "rejected": responses[rejected],
            "label_prob": max(target, 1 - target),
            "weight": float(pairs.a[index]),
            "margin": 0.0,
            "observed_chosen": bool(pairs.observed[chosen]),
            "observed_rejected": bool(pairs.observed[rejected]),
        }


def _write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """JSON lines."""
    count = 0
    with _whole(path) as unfinished, unfinished.open("w", encoding="utf-8") as target:
        for row in rows:
            target.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            count += 1
    return count


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A place to write a file or folder in, which becomes `path` at the end; an error leaves nothing."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)


def _pieces(parts: Sequence[Path]) -> "Iterator[pa.Table]":
    """The rows of parts, some at a time, at least once; read, not mapped, so that memory holds no more."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    schema = pa.schema([])
    for part in parts:
        with pa.OSFile(str(part)) as source, pa.ipc.open_stream(source) as batches:
            schema = batches.schema
            for batch in batches:
                held.append(batch)
                if sum(map(len, held)) >= STEP:
                    yield _standing(pa.Table.from_batches(held))
                    held = []
    yield _standing(pa.Table.from_batches(held, schema))


def _standing(table: "pa.Table") -> "pa.Table":
    """Without the blanks that stand where a person was erased; no other row has an empty id."""
    import pyarrow.compute as pc

    names = [name for name in ("response_id", "event_id") if name in table.schema.names][-1:]
    if not names or not pc.any(pc.equal(table[names[0]], "")).as_py():
        return table  # as it is: a filter copies every text
    return table.filter(pc.not_equal(table[names[0]], ""))


def _write_folder(folder: Path, parts: Sequence[Path]) -> dict[str, Any]:
    """Parquet, a file for each part, in the order of their names."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; name a folder that is new or empty, or a file: x.parquet")
    with _whole(folder) as unfinished:
        unfinished.mkdir(parents=True)
        files = [unfinished / f"part-{number:05}.parquet" for number in range(len(parts))]
        with ThreadPoolExecutor(THREADS) as pool:
            rows = sum(pool.map(lambda part, file: _write_columns(file, [part], "parquet"), parts, files))
        size = sum(file.stat().st_size for file in files)
    return {"rows": rows, "bytes": size}


def _write_columns(path: Path, parts: Sequence[Path], form: str) -> int:
    """CSV or Parquet, piece by piece; there is at least one."""
    import pyarrow.csv
    import pyarrow.parquet

    writers = {
        "csv": pyarrow.csv.CSVWriter,
        "parquet": partial(pyarrow.parquet.ParquetWriter, use_dictionary=AGAIN),
    }
    pieces = _pieces(parts)
    if form == "csv":
        pieces = (_readable(piece) for piece in pieces)
    first = next(pieces)
    rows = 0
    with _whole(path) as unfinished, writers[form](unfinished, first.schema) as writer:
        for piece in chain([first], pieces):
            writer.write_table(piece)
            rows += piece.num_rows
    return rows


def _readable(table: "pa.Table") -> "pa.Table":
    """Binary columns as hexadecimal text."""
    import pyarrow as pa

    for index, name in enumerate(table.schema.names):
        if pa.types.is_fixed_size_binary(table.schema.field(index).type):
            table = table.set_column(
                index, name, pa.chunked_array(map(_hex, table[name].chunks), pa.string())
            )
    return table


def _hex(keys: "pa.FixedSizeBinaryArray") -> "pa.StringArray":
    """Two digits a byte, null where there is none."""
    import pyarrow as pa

    width, digits = keys.type.byte_width, np.frombuffer(b"0123456789abcdef", np.uint8)
    whole = np.frombuffer(keys.buffers()[1] or b"", np.uint8)
    taken = whole[keys.offset * width : (keys.offset + len(keys)) * width]
    text = np.stack([digits[taken >> 4], digits[taken & 15]], axis=1)
    places = np.arange(len(keys) + 1, dtype=np.int32) * (2 * width)
    absent = keys.is_null().to_numpy(zero_copy_only=False) if keys.null_count else None
    valid = None if absent is None else pa.py_buffer(np.packbits(~absent, bitorder="little"))
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(places), pa.py_buffer(text), valid)
