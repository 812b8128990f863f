"""Tables in: Parquet files and Arrow streams, with the types that the core reads.

A column is named as a field of the canonical format; a null is an absent field; the lineage of a row is its
number. The core writes every row as one JSON line for the parser that reads files, so the same rules hold.
Text may be `binary` or any kind of string (it is checked for UTF-8 row by row); text in `value`, `offered`
and `messages` reads as in a CSV file; columns that the format does not know are kept whatever they hold.

Under a mapping (`mapped`) no column has a meaning of its own: all of them are kept as they are, text as text.
"""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa


@runtime_checkable
class Table(Protocol):
    """What Arrow, polars, pandas, DuckDB and ADBC hand out."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The stream of its batches."""


ROWS = 2048
"""Rows of a Parquet file that are decoded at a time."""

TEXT, WHOLE, NUMBER, TRUTH = "text", "integers", "numbers", "booleans"
TIME, LIST = "timestamps with a zone", "lists"

_FIELDS = {
    "id request response session user parent winner": {TEXT, WHOLE},
    "shown_at received_at at": {TIME, TEXT},
    "turn slot n_slots version policy_prob": {WHOLE, NUMBER, TEXT},
    "value": {TRUTH, WHOLE, NUMBER, TEXT},
    "offered messages": {LIST, TEXT},
    "type prompt model surface lang policy_id kind actor op comment": {TEXT},
}
EXPECTED = {name: may for names, may in _FIELDS.items() for name in names.split()}
"""What a column may hold."""

HINTS = {
    "timestamps without a zone": "say which zone they are in, such as column.cast(timestamp('us', 'UTC'))",
    NUMBER: "cast them to int64 or text",
}


def parquet(path: str | os.PathLike[str], *, mapped: bool = False) -> "pa.RecordBatchReader":
    """The rows of a Parquet file.

    Raises:
        OSError: the file cannot be read or is no whole Parquet file.
        ValueError: a column has a type that its field cannot have.
    """
    import pyarrow as pa
    from pyarrow import parquet as pq

    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except pa.ArrowException as error:
        raise OSError(f"{path}: no whole Parquet file: {error}; nothing of this run was committed") from error
    return readable(str(path), file.schema_arrow, file.iter_batches(batch_size=ROWS), mapped=mapped)


def stream(name: str, table: Table, *, mapped: bool = False, loose: bool = False) -> "pa.RecordBatchReader":
    """The rows of anything with `__arrow_c_stream__`; `loose` types of columns say nothing of their values.

    Raises:
        ValueError: a column has a type that its field cannot have.
    """
    import pyarrow as pa

    reader = pa.RecordBatchReader.from_stream(table)
    return readable(name, reader.schema, reader, mapped=mapped, loose=loose)


def readable(
    name: str,
    schema: "pa.Schema",
    batches: Iterable["pa.RecordBatch"],
    *,
    mapped: bool = False,
    loose: bool = False,
) -> "pa.RecordBatchReader":
    """The same rows in types that the core knows.

    Raises:
        ValueError: what is wrong with which column, all of them at once.
    """
    import pyarrow as pa

    faults = [
        f"two columns are named {column!r}" for column in schema.names if schema.names.count(column) > 1
    ][:1]
    if not mapped and "type" not in schema.names:
        faults.append(f"no column is named 'type'; found {', '.join(schema.names)}")
    types = []
    for field in schema:
        found, expected = holds(field.type), None if mapped or loose else EXPECTED.get(field.name)
        types.append(plain(field.type))
        if expected is not None and found not in {*expected, "nulls"}:
            words = " or ".join(word for word in (TRUTH, WHOLE, NUMBER, TIME, LIST, TEXT) if word in expected)
            hint = f"; {HINTS[found]}" if found in HINTS else ""
            faults.append(f"column {field.name!r} holds {found} ({field.type}), expected {words}{hint}")
        elif not castable(field.type, types[-1]):
            faults.append(f"column {field.name!r} is {field.type}: cast it to text or leave it out")
    if faults:
        raise ValueError(f"{name}: {'. '.join(faults)}. Nothing was read")
    target = pa.schema([pa.field(field.name, type_) for field, type_ in zip(schema, types, strict=True)])
    return pa.RecordBatchReader.from_batches(target, cast(batches, target))


def cast(batches: Iterable["pa.RecordBatch"], target: "pa.Schema") -> Iterator["pa.RecordBatch"]:
    """Batches with the types of `target`."""
    import pyarrow as pa

    for batch in batches:
        columns = [
            column
            if column.type == type_
            else as_text(column)
            if is_uuid(column.type)
            else column.cast(type_)
            for column, type_ in zip(batch.columns, target.types, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=target)


def holds(type_: "pa.DataType") -> str:
    """What a type means to the format, in a word."""
    import pyarrow as pa
    from pyarrow import types as of

    if of.is_dictionary(type_):
        return holds(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        return TEXT if is_uuid(type_) or is_text(type_.storage_type) else "something else"
    words = [
        (TEXT, is_text(type_)),
        (WHOLE, of.is_integer(type_)),
        (NUMBER, of.is_floating(type_)),
        (TRUTH, of.is_boolean(type_)),
        (TIME, of.is_timestamp(type_) and type_.tz is not None),
        ("timestamps without a zone", of.is_timestamp(type_)),
        (LIST, is_list(type_)),
        ("nulls", of.is_null(type_)),
    ]
    return next((word for word, so in words if so), "something else")


def plain(type_: "pa.DataType") -> "pa.DataType":
    """The type that the core reads in its place: encodings undone, what it has no value for as text."""
    import pyarrow as pa
    from pyarrow import types as of

    if isinstance(type_, pa.BaseExtensionType):
        return plain(type_.storage_type) if is_text(type_.storage_type) else pa.string()
    if of.is_dictionary(type_):
        values = plain(type_.value_type)
        return type_ if values == type_.value_type else values
    if of.is_float16(type_):
        return pa.float32()
    if is_list(type_):
        items = plain(type_.value_type)
        return pa.large_list(items) if of.is_large_list(type_) else pa.list_(items)
    if of.is_struct(type_):
        return pa.struct([pa.field(field.name, plain(field.type)) for field in type_])
    kept = holds(type_) not in ("something else", "timestamps without a zone")
    return type_ if kept else pa.string()


def is_text(type_: "pa.DataType") -> bool:
    """Whether it is some kind of text."""
    import pyarrow as pa

    kinds = (
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.string_view(),
        pa.binary_view(),
    )
    return type_ in kinds


def is_uuid(type_: "pa.DataType") -> bool:
    """Whether it is that of UUIDs, which lie in 16 bytes."""
    return getattr(type_, "extension_name", "") == "arrow.uuid"


def as_text(uuids: "pa.Array") -> "pa.Array":
    """UUIDs as they are written."""
    import pyarrow as pa

    return pa.array([None if value is None else str(value) for value in uuids.to_pylist()], pa.string())


def is_list(type_: "pa.DataType") -> bool:
    """Whether it is some kind of list."""
    from pyarrow import types as of

    lists = (of.is_list, of.is_large_list, of.is_fixed_size_list, of.is_list_view, of.is_large_list_view)
    return any(test(type_) for test in lists)


def castable(found: "pa.DataType", target: "pa.DataType") -> bool:
    """Whether values of one type can become values of the other."""
    import pyarrow as pa

    try:
        return found == target or pa.nulls(0, found).cast(target) is not None
    except pa.ArrowException:
        return False
