"""Arrow tables and Parquet files: the store that lines give, and refusals by name of what is no event."""

import re
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forms import ROWS, as_lines, as_table, kept, save, shown
from logs import books, table
from unskew import events

pytestmark = pytest.mark.usefixtures("keyed")


def arrow_tables():
    def views(rows):
        whole = as_table(rows)
        types = [pa.string_view() if kind == pa.string() else kind for kind in whole.schema.types]
        return whole.cast(pa.schema(zip(whole.column_names, types, strict=True)))

    def wide(rows):
        whole = as_table(rows)
        types = {pa.string(): pa.large_string(), pa.list_(pa.string()): pa.large_list(pa.string())}
        return whole.cast(
            pa.schema([(field.name, types.get(field.type, field.type)) for field in whole.schema])
        )

    def bytes_and_codes(rows):
        whole = as_table(rows)
        coded = ("type", "kind", "user", "request")
        arrays = [
            column.dictionary_encode()
            if name in coded
            else column.cast(pa.binary())
            if column.type == pa.string()
            else column
            for name, column in zip(whole.column_names, whole.columns, strict=True)
        ]
        return pa.table(arrays, names=whole.column_names)

    def times(rows):
        whole = as_table(rows)
        for name, unit, zone in (
            ("shown_at", "s", "UTC"),
            ("at", "ms", "Europe/Paris"),
            ("received_at", "ns", "UTC"),
        ):
            parsed = [row.get(name) and row[name].replace("Z", "") for row in rows]
            zoned = pa.array(parsed).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
            whole = whole.set_column(whole.column_names.index(name), name, zoned)
        return whole

    def floats(rows):
        whole = as_table(rows)
        for name in ("slot", "n_slots", "turn", "version"):
            at = whole.column_names.index(name)
            whole = whole.set_column(at, name, whole[name].cast(pa.float64()))
        return whole

    return {
        "table": as_table,
        "reader": lambda rows: as_table(rows).to_reader(max_chunksize=3),
        "batch": lambda rows: as_table(rows).to_batches()[0],
        "views": views,
        "wide": wide,
        "bytes and codes": bytes_and_codes,
        "times": times,
        "floats": floats,
        "sliced": lambda rows: pa.concat_tables([as_table([ROWS[0], *rows]).slice(1)]),
        "pandas": lambda rows: as_table(rows).to_pandas(),
        "polars": lambda rows: pytest.importorskip("polars").from_arrow(as_table(rows)),
        "duckdb": lambda rows: pytest.importorskip("duckdb").from_arrow(as_table(rows)),
    }


@pytest.mark.parametrize("name", arrow_tables())
def test_the_same_rows_in_a_table_are_the_same_store(tmp_path, name):
    whole = events.ingest(save(tmp_path / "log.jsonl", as_lines(ROWS)), tmp_path / "lines")
    report = events.ingest(arrow_tables()[name](ROWS), tmp_path / "store", name=name)
    assert books(report) == (len(ROWS), len(ROWS), 0, 0, 0)
    assert report.digest == whole.digest
    assert report.files[0]["path"] == f"arrow:{name}"
    again = events.ingest(arrow_tables()[name](ROWS), tmp_path / "store", name=name)
    assert books(again) == (len(ROWS), 0, len(ROWS), 0, 0)
    assert again.digest == whole.digest
    assert [row["line"] for row in table(tmp_path / "store", "impressions").to_pylist()] == [1, 2, 3]


def test_bytes_that_are_not_utf8_cost_their_row(tmp_path):
    whole = as_table([shown(number) for number in range(3)])
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        odd = pa.array([b"m", b"\xed\xa0\x80", None], pa.binary()).cast(kind)
        report = events.ingest(whole.append_column("model", odd), tmp_path / str(kind))
        assert report.quarantine == {"utf8": 1}
        assert kept(tmp_path / str(kind), column="model") == ["m", None]
    lying = pa.Array.from_buffers(
        pa.string(), 3, pa.array([b"m", b"\xed\xa0\x80", b"n"], pa.binary()).buffers()
    )
    assert events.ingest(whole.append_column("model", lying), tmp_path / "lying").quarantine == {"utf8": 1}


def test_values_that_json_has_not_cost_their_row(tmp_path):
    rows = as_table([shown(number) for number in range(4)])
    odd = pa.array([0.5, float("nan"), float("inf"), None])
    report = events.ingest(rows.append_column("policy_prob", odd), tmp_path / "floats")
    assert report.quarantine == {"number": 2}
    times = pa.array([2**62, -(2**62), 0, 1772409600], pa.timestamp("s", "UTC"))
    report = events.ingest(rows.set_column(2, "shown_at", times), tmp_path / "times")
    assert report.quarantine == {"time_range": 3}
    slots = pa.array([1.5, 2.0**60, 3.0, None])
    report = events.ingest(rows.append_column("slot", slots), tmp_path / "slots")
    assert report.quarantine == {"type": 2}
    assert kept(tmp_path / "slots", column="slot") == [3, None]


def test_columns_that_the_format_does_not_know_are_kept(tmp_path):

    rows = as_table([shown(1)])
    extra = {
        "a": pa.array([["x", None]]),
        "b": pa.array([{"y": 1, "z": None}]),
        "c": pa.array([Decimal("1.50")]),
        "d": pa.array([date(2026, 1, 2)]),
        "e": pa.array([datetime(2026, 1, 2, 3)], pa.timestamp("ms")),
        "f": pa.array([1.0]),
        "g": pa.array([True]),
        "h": pa.array([[1, 2]], pa.list_(pa.int8(), 2)),
        "i": pa.array([2**64 - 1], pa.uint64()),
        "j": pa.nulls(1),
        "k": pa.array([0.1], pa.float32()),
    }
    for name, column in extra.items():
        rows = rows.append_column(name, column)
    events.ingest(rows, tmp_path / "store")
    assert kept(tmp_path / "store", column="extra") == [
        '{"a":["x",null],"b":{"y":1},"c":"1.50","d":"2026-01-02","e":"2026-01-02 03:00:00.000","f":1.0,'
        '"g":true,"h":[1,2],"i":18446744073709551615,"k":0.10000000149011612}'
    ]


def test_tables_and_headers_that_cannot_be_events_are_refused_by_name(tmp_path):
    rows = as_table([shown(1, user="u")])
    naive = rows.set_column(2, "shown_at", pa.array([0], pa.timestamp("us")))
    naive = naive.set_column(naive.column_names.index("user"), "user", pa.array([1.0]))
    what = (
        "arrow:prod: column 'shown_at' holds timestamps without a zone (timestamp[us]), expected timestamps "
        "with a zone or text; say which zone they are in, such as column.cast(timestamp('us', 'UTC')). "
        "column 'user' holds numbers (double), expected integers or text; cast them to int64 or text. "
        "Nothing was read"
    )
    with pytest.raises(ValueError, match=re.escape(what)):
        events.ingest(naive, tmp_path / "store", name="prod")
    pq.write_table(rows.drop_columns("type"), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=r"log\.parquet: no column is named 'type'; found id, shown_at"):
        events.ingest(tmp_path / "log.parquet", tmp_path / "store")
    twice = pa.table([rows["id"], rows["type"], rows["id"]], names=["id", "type", "id"])
    with pytest.raises(ValueError, match="two columns are named 'id'"):
        events.ingest(twice, tmp_path / "store")
    odd = rows.append_column("x", pa.array([{"a": 1}], pa.map_(pa.string(), pa.int64())))
    with pytest.raises(ValueError, match="column 'x' is map<string, int64>: cast it to text or leave it out"):
        events.ingest(odd, tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*.arrow"))


def test_a_table_that_fails_on_the_way_commits_nothing(tmp_path):
    def batches():
        yield from as_table([shown(1)]).to_batches()
        raise RuntimeError("the connection broke")

    rows = as_table([shown(1)])
    reader = pa.RecordBatchReader.from_batches(rows.schema, batches())
    with pytest.raises(OSError, match=r"arrow:table: after 1 rows: .*the connection broke"):
        events.ingest(reader, tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*.arrow"))


def test_parquet_files_stand_in_the_ledger_like_every_file(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(as_table(ROWS), path, row_group_size=3)
    first = events.ingest(path, tmp_path / "store")
    assert first.files[0]["bytes"] == path.stat().st_size
    assert not events.ingest(path, tmp_path / "store").committed
    content = path.read_bytes()
    path.write_bytes(content)  # the same bytes at another time
    assert not events.ingest(path, tmp_path / "store").committed
    path.write_bytes(content + b"x")
    with pytest.raises(OSError, match=r"grown to .* no end to read on from"):
        events.ingest(path, tmp_path / "store")
    path.write_bytes(content[:-1])
    with pytest.raises(OSError, match="truncated to"):
        events.ingest(path, tmp_path / "store")
    path.write_bytes(content[:50] + b"x" + content[51:] + b"more")
    with pytest.raises(OSError, match="rewritten: its first bytes have another checksum"):
        events.ingest(path, tmp_path / "store")
    assert events.verify(tmp_path / "store")["digest"] == first.digest
    other = tmp_path / "other.parquet"
    for damaged in (b"", b"PAR1", content[: len(content) // 2], content[:-20] + b"x" * 20):
        other.write_bytes(damaged)
        with pytest.raises(OSError, match=r"other\.parquet: no whole Parquet file"):
            events.ingest(other, tmp_path / "store")
