"""The contract between the core and an engine: letters, grouped by whom they are to.

The work of a stage is a function from all letters to one shard to letters to others; an engine brings the
letters together and calls it. The driver hears of every stage before the next begins. A letter is a versioned
byte string of the core.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from unskew import _rust, tables
from unskew.events.reports import Report
from unskew.events.runs import Inputs, expand, meant, microseconds

LETTERS = pa.schema([("to", pa.int32()), ("by", pa.int32()), ("data", pa.binary())])
"""Addressee, sender, and what the letter says."""

DRIVER = _rust.ScaleJob.DRIVER
"""Whom a stage tells what concerns all; less than any other addressee."""

BATCH = 64 << 20
"""Bytes after which a batch of letters ends."""


@dataclass(frozen=True)
class Work:
    """One stage, as a function that can be sent to a worker."""

    settings: str
    """What all workers must know."""
    stage: int
    """Number of the stage."""
    mapped: bool
    """Whether the inputs are read through a mapping."""

    def __call__(self, letters: pa.Table) -> pa.Table:
        """Letters of the stage, given all letters to one addressee, or to each of several.

        Raises:
            ValueError: letters are missing, the worker has another version or key than the driver.
            OSError: an input cannot be read, or the store cannot be written.
        """
        groups = defaultdict(list)
        columns = (letters.column(name).to_pylist() for name in LETTERS.names)
        for to, by, data in zip(*columns, strict=True):
            groups[to].append((by, data))
        return pa.Table.from_batches(self._answers(groups.items()), LETTERS)

    def batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same for an engine that hands out batches."""
        whole = [pa.Table.from_batches([batch]).cast(LETTERS) for batch in batches]
        yield from self(pa.concat_tables([LETTERS.empty_table(), *whole])).to_batches()

    def _answers(self, groups: Iterable[tuple[int, list[tuple[int, bytes]]]]) -> Iterator[pa.RecordBatch]:
        rows: list[tuple[int, int, bytes]] = []
        size = 0
        for me, letters in groups:
            for to, data in _rust.scale_step(self.settings, self.stage, me, letters, self._opened):
                rows.append((to, me, data))
                size += len(data)
                if size >= BATCH:
                    yield batch(rows)
                    rows, size = [], 0
        yield batch(rows)

    def _opened(self, path: str) -> pa.RecordBatchReader:
        return tables.parquet(path, mapped=self.mapped)


def batch(rows: list[tuple[int, int, bytes]]) -> pa.RecordBatch:
    """Letters from (addressee, sender, data)."""
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.RecordBatch.from_arrays(
        [pa.array(column, kind) for column, kind in zip(columns, LETTERS.types, strict=True)], schema=LETTERS
    )


class Engine(Protocol):
    """What carries letters."""

    def start(self, letters: pa.Table) -> Any:
        """The letters to the first stage, as the engine holds them."""

    def step(self, letters: Any, work: Work) -> tuple[Any, pa.Table]:
        """Letters to the next stage, and those to the driver.

        `work` must see all letters to one addressee in one call. It may be run again if it did not end.
        """


@dataclass
class Local:
    """All stages in this process, one after the other."""

    shuffled: list[int] = field(default_factory=list)
    """Bytes of the letters of each stage, those to the driver left out."""

    def start(self, letters: pa.Table) -> pa.Table:
        """The letters."""
        return letters

    def step(self, letters: pa.Table, work: Work) -> tuple[pa.Table, pa.Table]:
        """The letters of a stage."""
        answers = work(letters)
        theirs, told = split(answers)
        self.shuffled.append(sum(len(data.as_buffer() or b"") for data in theirs.column("data")))
        return theirs, told


def split(letters: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Letters to the next stage, and those to the driver."""
    import pyarrow.compute as pc

    to_driver = pc.equal(letters.column("to"), DRIVER)
    return letters.filter(pc.invert(to_driver)), letters.filter(to_driver)


def ingest(
    inputs: Inputs,
    store: str | os.PathLike[str],
    *,
    engine: Engine | None = None,
    shards: int | None = None,
    source: str | None = None,
    mapping: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    max_bad: int | str | None = None,
    until: str | None = None,
    window_days: float = 7.0,
    lateness_days: float = 1.0,
    keep_raw: bool = False,
    keep_addresses: bool = False,
) -> Report:
    """Read feedback logs into a new store by the workers of an engine, in one commit or not at all.

    Rows, observations, pairs, counters, books and digest are those of `events.ingest` over the same inputs,
    whatever the engine, the number of shards, and the workers that died on the way. Parts are cut where
    shards end.

    Args:
        inputs: as in `events.ingest`, files only. A file is read by one worker.
        store: directory of the store, new or empty, under the same path on every worker.
        engine: `unskew.scale.ray.Ray` or `unskew.scale.spark.Spark`; this process when absent.
        shards: parts in which the inputs are read, in their order and of about equal size; a worker holds
            the rows of one at a time, without their text, and brings together some of what is in several. One
            for each file when absent.
        source: as in `events.ingest`, and so are all below.
        mapping: see there.
        key_file: see there; it, or the variable UNSKEW_KEY, must be the same on every worker.
        max_bad: see there.
        until: see there.
        window_days: see there.
        lateness_days: see there.
        keep_raw: see there.
        keep_addresses: see there.

    Raises:
        unskew._rust.BudgetExceeded: too many bad lines.
        unskew._rust.StoreLocked: another process writes to the store.
        ValueError: the store has rows already, or an argument is out of range.
        OSError: an input cannot be read, or the store cannot be written.

    What is raised in a worker arrives in the way of the engine. Nothing is committed then, and what was
    written is deleted.
    """
    files = expand(inputs)
    if "-" in files:
        raise ValueError("standard input cannot be spread; pass files")
    namespace, table = meant(source, mapping)
    shards = len(files) if shards is None else shards
    job = _rust.ScaleJob(
        files,
        os.fspath(store),
        shards=shards,
        source=namespace,
        mapping=table.table if table else None,
        key_file=key_file,
        max_bad=None if max_bad is None else str(max_bad),
        until=until,
        window_us=microseconds(window_days),
        lateness_us=microseconds(lateness_days),
        keep_raw=keep_raw,
        keep_addresses=keep_addresses,
    )
    try:
        engine = Local() if engine is None else engine
        first = batch([(shard, DRIVER, b"") for shard in range(job.shards)])
        letters = engine.start(pa.Table.from_batches([first]))
        for stage in range(job.STAGES):
            letters, told = engine.step(letters, Work(job.settings(), stage, table is not None))
            job.learn(list(zip(told.column("by").to_pylist(), told.column("data").to_pylist(), strict=True)))
        return Report.from_json(job.commit())
    finally:
        job.abandon()
