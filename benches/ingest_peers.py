"""The peers of ingestion, each as its expert would write it, with explicit schemas.

`PARSERS` read every field of a log to columns and return the rows and the bytes of the field `response`.
`JOBS` read the fields that they need (`SCHEMA`), do the whole job of `bench_ingest` and write Parquet with
snappy: responses in one file, from which the counts of cells are taken. `answer` says what is in both. All
use two threads.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

THREADS = 2
WEEK = 7 * 24 * 3600
SCHEMA = {
    "type": "VARCHAR", "id": "VARCHAR", "request": "VARCHAR", "user": "VARCHAR", "session": "VARCHAR",
    "shown_at": "VARCHAR", "model": "VARCHAR", "surface": "VARCHAR", "lang": "VARCHAR", "slot": "INTEGER",
    "n_slots": "INTEGER", "policy_prob": "DOUBLE", "prompt": "VARCHAR", "response": "VARCHAR",
    "kind": "VARCHAR", "value": "BOOLEAN", "at": "VARCHAR",
}  # fmt: skip
EVERY = SCHEMA | {"offered": "VARCHAR[]", "meta": "STRUCT(trace VARCHAR, tokens BIGINT)"}
KEPT = [name for name in SCHEMA if name not in ("type", "kind", "value", "at", "shown_at")]
TIME = "%Y-%m-%dT%H:%M:%SZ"
CELL = ["surface", "model", "slot", "lang", "bits"]

Found = dict[str, int]


def arrow_schema(fields: dict[str, str]) -> Any:
    """A schema for whoever reads Arrow."""
    import pyarrow as pa

    types = {
        "VARCHAR": pa.string(),
        "INTEGER": pa.int32(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        EVERY["offered"]: pa.list_(pa.string()),
        EVERY["meta"]: pa.struct({"trace": pa.string(), "tokens": pa.int64()}),
    }
    return pa.schema([(name, types[kind]) for name, kind in fields.items()])


def polars_schema(fields: dict[str, str]) -> Any:
    """A schema for polars."""
    import polars as pl

    return pl.Schema(arrow_schema(fields))


def summed(batches: Iterable[Any]) -> Found:
    """Rows and text of Arrow batches."""
    import pyarrow.compute as pc

    rows = text = 0
    for batch in batches:
        rows += batch.num_rows
        text += pc.sum(pc.binary_length(batch["response"])).as_py() or 0
    return {"rows": rows, "text": text}


def datafusion_context() -> Any:
    """DataFusion with as many partitions as threads."""
    from datafusion import SessionConfig, SessionContext

    return SessionContext(SessionConfig().with_target_partitions(THREADS))


def datafusion_batches(log: str, fields: dict[str, str]) -> Iterator[Any]:
    """Batches of DataFusion's stream."""
    schema, ending = arrow_schema(fields), Path(log).suffix
    frame = datafusion_context().read_json(log, schema=schema, file_extension=ending)
    for batch in frame.execute_stream():
        yield batch.to_pyarrow()


def parse_datafusion(log: str) -> Found:
    """A stream of batches."""
    return summed(datafusion_batches(log, EVERY))


def parse_duckdb(log: str) -> Found:
    """Into a table, which is faster than its stream."""
    db = duckdb_with(log, EVERY)
    row = db.execute("select count(*), sum(strlen(response)) from log").fetchone()
    return {"rows": row[0], "text": int(row[1])}


def parse_polars(log: str) -> Found:
    """The streaming engine, all columns."""
    import polars as pl

    frame = pl.scan_ndjson(log, schema=polars_schema(EVERY)).collect(engine="streaming")
    return {"rows": frame.height, "text": int(frame["response"].str.len_bytes().sum())}


def parse_pyarrow(log: str) -> Found:
    """The stream of `open_json`."""
    import pyarrow as pa
    from pyarrow import json

    pa.set_cpu_count(THREADS)
    schema = json.ParseOptions(explicit_schema=arrow_schema(EVERY), unexpected_field_behavior="ignore")
    return summed(json.open_json(log, json.ReadOptions(block_size=4 << 20), schema))


def parse_datasets(log: str) -> Found:
    """The stream of `load_dataset`."""
    from datasets import Features, load_dataset

    features = Features.from_arrow_schema(arrow_schema(EVERY))
    rows = load_dataset("json", data_files=log, split="train", streaming=True, features=features)
    return summed(rows.with_format("arrow").iter(batch_size=16_384))


PARSERS: dict[str, Callable[[str], Found]] = {
    "datafusion": parse_datafusion,
    "duckdb": parse_duckdb,
    "polars": parse_polars,
    "pyarrow": parse_pyarrow,
    "datasets": parse_datasets,
}


def duckdb_with(log: str, fields: dict[str, str]) -> Any:
    """DuckDB with the log in a table."""
    import duckdb

    db = duckdb.connect()
    db.execute(f"set threads={THREADS}; set preserve_insertion_order=false; set timezone='UTC'")
    db.execute(
        f"create table log as select * from read_json('{log}', format='newline_delimited', columns={fields})"
    )
    return db


def job_duckdb(log: str, out: str) -> None:
    """One pass over the file into a table, then the join."""
    db = duckdb_with(log, SCHEMA)
    db.execute("""
        create table seen as
        select response, bool_or(kind = 'copy') as copied,
               arg_max(value, happened) filter (kind = 'thumbs') as liked,
               count(*) as events, min(delay) as first_delay
        from (select distinct on (f.id) f.id, f.response, f.kind, f.value, f."at"::timestamptz as happened,
                     date_diff('second', i.shown_at::timestamptz, f."at"::timestamptz) as delay
              from log f join log i on f.response = i.id
              where f.type = 'feedback' and i.type = 'impression')
        where delay between 0 and 604800 group by response""")
    db.execute(f"""
        copy (select i.*, floor(log2(length(i.response)))::tinyint as bits, s.liked is not null as rated,
                     s.liked, coalesce(s.copied, false) as copied, coalesce(s.events, 0) as events,
                     s.first_delay
              from (select distinct on (id) {", ".join(KEPT)}, shown_at::timestamptz as shown_at
                    from log where type = 'impression') i left join seen s on s.response = i.id)
        to '{out}/out.parquet' (format parquet, compression snappy)""")
    db.execute(f"""
        copy (select {", ".join(CELL)}, count(*) as shown, count(liked) as rated
              from '{out}/out.parquet' group by all) to '{out}/cells.parquet' (format parquet)""")


def job_polars(log: str, out: str) -> None:
    """Read at once, then lazily, streaming where it can."""
    import polars as pl

    lines = pl.read_ndjson(log, schema=polars_schema(SCHEMA)).lazy()

    def when(name: str) -> pl.Expr:
        return pl.col(name).str.to_datetime(TIME, time_unit="us")

    shown = (
        lines.filter(pl.col("type") == "impression").select(*KEPT, when("shown_at")).unique("id", keep="any")
    )
    events = (
        lines.filter(pl.col("type") == "feedback")
        .select("id", "response", "kind", "value", when("at"))
        .unique("id", keep="any")
    )
    delay = pl.col("at") - pl.col("shown_at")
    thumbs = pl.col("kind") == "thumbs"
    last = pl.col("value").filter(thumbs).sort_by(pl.col("at").filter(thumbs)).last()
    seen = (
        events.join(shown.select(pl.col("id").alias("response"), "shown_at"), on="response")
        .filter((delay >= pl.duration(seconds=0)) & (delay <= pl.duration(seconds=WEEK)))
        .group_by("response")
        .agg(
            last.alias("liked"),
            (pl.col("kind") == "copy").any().alias("copied"),
            pl.len().alias("events"),
            (pl.col("at") - pl.col("shown_at")).dt.total_seconds().min().alias("first_delay"),
        )
    )
    labelled = shown.join(seen, left_on="id", right_on="response", how="left").with_columns(
        pl.col("liked").is_not_null().alias("rated"),
        pl.col("copied").fill_null(False),
        pl.col("events").fill_null(0),
        (31 - pl.col("response").str.len_chars().bitwise_leading_zeros()).alias("bits"),
    )
    labelled.sink_parquet(f"{out}/out.parquet", compression="snappy")
    cells = pl.scan_parquet(f"{out}/out.parquet").group_by(CELL)
    counts = cells.agg(pl.len().alias("shown"), pl.col("liked").count().alias("rated"))
    counts.sink_parquet(f"{out}/cells.parquet")


def job_datafusion(log: str, out: str) -> None:
    """SQL over the file."""
    db = datafusion_context()
    db.register_json("log", log, schema=arrow_schema(SCHEMA), file_extension=Path(log).suffix)
    columns = ", ".join(f'"{name}"' for name in KEPT)
    db.sql(f"""
        copy (
            with shown as (select distinct on (id) {columns}, shown_at::timestamp as shown_at
                           from log where type = 'impression' order by id),
            events as (select distinct on (id) id, response, kind, value, "at"::timestamp as happened
                       from log where type = 'feedback' order by id),
            seen as (select e.response, bool_or(e.kind = 'copy') as copied,
                            last_value(e.value order by e.happened) filter (where e.kind = 'thumbs') as liked,
                            count(*) as events,
                            date_part('epoch', min(e.happened)) - date_part('epoch', min(s.shown_at))
                                as first_delay
                     from events e join shown s on e.response = s.id
                     where e.happened >= s.shown_at and e.happened <= s.shown_at + interval '7 days'
                     group by e.response)
            select i.*, cast(floor(log2(character_length(i.response))) as tinyint) as bits,
                   s.liked is not null as rated, s.liked, coalesce(s.copied, false) as copied,
                   coalesce(s.events, 0) as events, s.first_delay
            from shown i left join seen s on s.response = i.id
        ) to '{out}/out.parquet' stored as parquet options ('format.compression' 'snappy')""").collect()
    db.register_parquet("done", f"{out}/out.parquet")
    cell = ", ".join(CELL)
    db.sql(f"""
        copy (select {cell}, count(*) as shown, count(liked) as rated from done group by {cell})
        to '{out}/cells.parquet' stored as parquet""").collect()


def job_composite(log: str, out: str) -> None:
    """An expert's pieces: DataFusion reads, a set and a dict know ids, numpy joins, a thread writes Parquet.

    Text goes out as it comes; the labels follow in a file of their own, row by row.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    written: queue.Queue[Any] = queue.Queue(2)

    def write() -> None:
        writer = None
        while (table := written.get()) is not None:
            writer = writer or pq.ParquetWriter(f"{out}/out.parquet", table.schema, compression="snappy")
            writer.write_table(table)
        if writer:
            writer.close()

    def seconds(texts: Any) -> Any:
        return pc.cast(pc.strptime(texts, TIME, "s"), pa.int64()).to_numpy(zero_copy_only=False)

    thread = threading.Thread(target=write)
    thread.start()
    row_of: dict[str, int] = {}
    known: set[str] = set()
    shown, about, values, copies, times, cells = [], [], [], [], [], []
    for batch in datafusion_batches(log, SCHEMA):
        is_shown = pc.equal(batch["type"], "impression")
        rows, given = batch.filter(is_shown), batch.filter(pc.invert(is_shown))
        fresh = []
        for place, name in enumerate(rows["id"].to_pylist()):
            if name not in row_of:
                row_of[name] = len(row_of)
                fresh.append(place)
        rows = rows if len(fresh) == rows.num_rows else rows.take(pa.array(fresh, pa.int64()))
        shown.append(seconds(rows["shown_at"]))
        bits = pc.floor(pc.log2(pc.utf8_length(rows["response"]))).cast(pa.int8())
        cells.append(pa.table(rows.select(CELL[:-1])).append_column("bits", bits))
        written.put(
            pa.table(rows.select(KEPT)).append_column("shown_at", pc.strptime(rows["shown_at"], TIME, "us"))
        )
        new = []
        for place, name in enumerate(given["id"].to_pylist()):
            if name not in known:
                known.add(name)
                new.append(place)
        given = given if len(new) == given.num_rows else given.take(pa.array(new, pa.int64()))
        about.extend(given["response"].to_pylist())
        values.append(pc.fill_null(given["value"], False).to_numpy(zero_copy_only=False))
        copies.append(pc.equal(given["kind"], "copy").to_numpy(zero_copy_only=False))
        times.append(seconds(given["at"]))
    written.put(None)
    row = np.fromiter((row_of.get(name, -1) for name in about), np.int64, len(about))
    at, value, copy = (np.concatenate(parts) for parts in (times, values, copies))
    delay = at - np.concatenate(shown)[row]
    kept = np.flatnonzero((row >= 0) & (delay >= 0) & (delay <= WEEK))
    kept = kept[np.argsort(at[kept], kind="stable")]
    rated, liked, copied = (np.zeros(len(row_of), bool) for _ in range(3))
    copied[row[kept[copy[kept]]]] = True
    thumbs = kept[~copy[kept]]
    rated[row[thumbs]] = True
    liked[row[thumbs]] = value[thumbs]  # of several to one row the last stands
    events = np.bincount(row[kept], minlength=len(row_of))
    first = np.full(len(row_of), np.iinfo(np.int64).max)
    np.minimum.at(first, row[kept], delay[kept])
    labels = {
        "rated": rated,
        "liked": pa.array(liked, mask=~rated),
        "copied": copied,
        "events": events,
        "first_delay": pa.array(first, mask=events == 0),
    }
    pq.write_table(pa.table(labels), f"{out}/labels.parquet")
    counted = pa.concat_tables(cells).append_column("liked", pa.array(rated, mask=~rated)).group_by(CELL)
    counts = counted.aggregate([([], "count_all"), ("liked", "count")])
    names = {"count_all": "shown", "liked_count": "rated"}
    pq.write_table(counts.rename_columns(names), f"{out}/cells.parquet")
    thread.join()


JOBS: dict[str, Callable[[str, str], None]] = {
    "duckdb": job_duckdb,
    "polars": job_polars,
    "datafusion": job_datafusion,
    "composite": job_composite,
}


def answer(out: str) -> Found:
    """What a job of a peer wrote."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    labels = Path(out, "labels.parquet")
    told = ["rated", "liked", "copied", "events", "first_delay"]
    table = pq.read_table(labels if labels.exists() else f"{out}/out.parquet", columns=told)
    response = pq.read_table(f"{out}/out.parquet", columns=["response"])["response"]
    return {
        "responses": len(response),
        **{name: int(pc.sum(table[name]).as_py()) for name in told},
        "text": pc.sum(pc.binary_length(response)).as_py(),
        **cells_of(pq.read_table(f"{out}/cells.parquet")["shown"]),
    }


def cells_of(shown: Any) -> Found:
    """The number of cells, and their sizes in a number that tells them apart."""
    import pyarrow.compute as pc

    return {"cells": len(shown), "squares": pc.sum(pc.power(pc.cast(shown, "int64"), 2)).as_py()}
