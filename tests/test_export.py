"""Rows out of a store, in every format and in pieces of any size."""

import json

import pytest

from logs import good, write
from unskew import events, export
from unskew.data import Store

pytestmark = pytest.mark.usefixtures("keyed")


def told(value):
    return value.hex() if isinstance(value, bytes) else value


@pytest.mark.parametrize("step", [1, 30, 1 << 14])
@pytest.mark.parametrize("table", ["impressions", "feedback", "observations"])
def test_every_format_gives_the_rows_of_the_table_with_keys_in_hexadecimal_where_they_are_text(
    tmp_path, monkeypatch, step, table
):
    import pyarrow.csv
    import pyarrow.parquet

    monkeypatch.setattr(export, "STEP", step)
    store = tmp_path / "store"
    for run in range(3):  # a part each
        events.ingest(write(tmp_path / f"{run}.jsonl", good(20, 100 * run)), store)
    rows = Store.open(store).table(table).to_pylist()
    expected = [{name: told(value) for name, value in row.items()} for row in rows]
    assert export.export(store, tmp_path / "rows.parquet", form="parquet", table=table)["rows"] == len(rows)
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist() == rows
    export.export(store, tmp_path / "rows.jsonl", table=table)
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert lines == json.loads(json.dumps(expected, default=str))
    if table != "observations":  # CSV has no lists
        assert export.export(store, tmp_path / "rows.csv", form="csv", table=table)["rows"] == len(rows)
        assert pyarrow.csv.read_csv(tmp_path / "rows.csv").num_rows == len(rows)


def test_columns_that_parquet_numbers_are_columns_of_the_store(tmp_path):
    events.ingest(write(tmp_path / "log.jsonl", good(1)), tmp_path / "store")
    store = Store.open(tmp_path / "store")
    tables = ("impressions", "feedback")
    assert set(export.AGAIN) <= {name for table in tables for name in store.table(table).schema.names}


def test_a_table_without_rows_has_its_columns(tmp_path):
    import pyarrow.parquet

    events.ingest(write(tmp_path / "log.jsonl", good(1)), tmp_path / "store")
    told = export.export(tmp_path / "store", tmp_path / "pairs.parquet", form="parquet", table="pairs")
    assert told["rows"] == 0
    assert "key_a" in pyarrow.parquet.read_table(tmp_path / "pairs.parquet").schema.names


def test_a_name_without_an_ending_is_a_folder_with_a_file_for_each_part(tmp_path):
    import pyarrow.parquet

    for run in range(3):
        events.ingest(write(tmp_path / f"{run}.jsonl", good(20, 100 * run)), tmp_path / "store")
    one, folder = tmp_path / "rows.parquet", tmp_path / "deep" / "rows"
    export.export(tmp_path / "store", one, form="parquet")
    told = export.export(tmp_path / "store", folder, form="parquet")
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"part-0000{number}.parquet" for number in range(3)]
    assert told == {"rows": 60, "bytes": sum(file.stat().st_size for file in files)}
    assert pyarrow.parquet.read_table(folder).equals(pyarrow.parquet.read_table(one))
    with pytest.raises(ValueError, match=r"rows is not empty; name a folder that is new or empty, or a file"):
        export.export(tmp_path / "store", folder, form="parquet")
    assert export.export(tmp_path / "store", tmp_path / "pairs", form="parquet", table="pairs")["rows"] == 0
    assert "key_a" in pyarrow.parquet.read_table(tmp_path / "pairs").schema.names


@pytest.mark.parametrize(
    ("form", "name"),
    [("jsonl", "rows.jsonl"), ("csv", "rows.csv"), ("parquet", "rows.parquet"), ("parquet", "rows")],
)
def test_what_fails_on_the_way_leaves_everything_as_it_was(tmp_path, monkeypatch, form, name):
    monkeypatch.setattr(export, "STEP", 1)
    store, out = tmp_path / "store", tmp_path / "out"
    for run in range(2):
        events.ingest(write(tmp_path / f"{run}.jsonl", good(20, 100 * run)), store)
    out.mkdir()
    if name != "rows":
        (out / name).write_text("what was there before")
    second = store / Store.open(store).ledger["parts"]["impressions"][1]["path"]
    second.write_bytes(second.read_bytes()[:300])
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises((OSError, ValueError)):
        export.export(store, out / name, form=form)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
