"""From logs to a store, or to what is in them; a store checked, a person taken out."""

import glob
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unskew import _rust, tables
from unskew.events.queries import Query
from unskew.events.reports import Coverage, Report
from unskew.mappings import SourceMapping, load, shipped

Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

TEXTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
ENDINGS = (*TEXTS, *(f"{text}.{packed}" for text in TEXTS for packed in ("gz", "zst")), ".parquet")
"""Files that a directory gives."""

_SECOND = 1_000_000
_DAY = 86_400


def expand(inputs: Inputs) -> list[str]:
    """Files named by paths, globs and directories, in a fixed order; `-` is standard input.

    Args:
        inputs: one or several. A directory gives the log files below it, by `ENDINGS`.

    Raises:
        FileNotFoundError: a path does not exist, or a glob or directory gives no file.
    """
    found: list[str] = []
    for item in [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs:
        name = os.fspath(item)
        if name == "-" or os.path.isfile(name):
            found.append(os.path.join(".", name) if name.startswith("arrow:") else name)
            continue
        if os.path.isdir(name):
            below = Path(name).rglob("*")
            files = [str(path) for path in below if path.name.endswith(ENDINGS) and path.is_file()]
        else:
            files = [path for path in glob.glob(name, recursive=True) if os.path.isfile(path)]
        if not files:
            raise FileNotFoundError(
                f"{name}: no such file, and no log file ({', '.join((*TEXTS, '.parquet'))}) matches it"
            )
        found.extend(sorted(files))
    return found


def ingest(
    inputs: Inputs | tables.Table | Query,
    store: str | os.PathLike[str],
    *,
    name: str = "table",
    source: str | None = None,
    mapping: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    max_bad: int | str | None = None,
    until: str | None = None,
    window_days: float = 7.0,
    lateness_days: float = 1.0,
    keep_raw: bool = False,
    keep_addresses: bool = False,
    salvage: bool = False,
    threads: int = 0,
    memory: int | str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Report:
    """Read feedback logs into a store, in one commit or not at all.

    Running the same command again changes nothing; a file that grew is read from where it ended; a file
    that was truncated or rewritten is refused, and so is a compressed one that is cut off, unless `salvage`
    keeps the rows before the cut; it is read on from there once it is whole. A table is read each time, and
    rows that are there already are repeats by their id; a `Query` with a cursor is read from where the last
    commit ended. Memory grows with the number of events, at most 80 bytes each, not with text; with
    `memory`, by less than two bytes each once that is spent.

    Args:
        inputs: paths, globs, directories, or `-` for standard input (JSON only); JSON lines, JSON arrays,
            `.csv` and `.tsv`, each plain, gzip or zstd, and `.parquet`. Or a table: whatever has
            `__arrow_c_stream__`, such as those of pyarrow, polars, pandas and DuckDB; see `unskew.tables`. Or
            a `Query` of a database.
        store: directory of the store, made when absent.
        name: what books and lineage call a table, as `arrow:NAME`.
        source: a shipped mapping by name (`unskew.mappings.shipped`), or the namespace of the ids of
            canonical events, `canonical` when absent.
        mapping: TOML file that says how the records of a product become canonical rows; the namespace of the
            ids is then its own, or `source`. `canonical` reads canonical events into the namespace `source`.
        key_file: file with the key of the pseudonyms; else the variable UNSKEW_KEY, else the user's own key
            file, made once.
        max_bad: bad lines tolerated, a number or `"P%"` of the run's lines; when absent the larger of 1000
            and 1 %.
        until: RFC 3339; everything before it has arrived. The largest time in the store when absent.
        window_days: feedback counts this long after its response was shown.
        lateness_days: feedback may arrive this much later.
        keep_raw: keep the bytes of refused lines in the quarantine.
        keep_addresses: keep e-mail and IP addresses in fields that the format does not know and in messages
            beside their content; else such fields are left out and counted (docs/reliability.md).
        salvage: keep the whole rows of a gzip or zstd file that is cut off. The cut is a refused line of no
            length, `corrupt`; an incomplete line before it is `torn`. The checksum of the text went with
            the rest of the file, so nothing but its grammar says that a row is right.
        threads: parsing threads, 0 = two.
        memory: bytes that what is remembered of the events may take, a number or a size such as `"256MB"`;
            the rest goes to files inside the store that have no name and end with the run. No limit when
            absent. The result is the same, byte for byte. The process needs some 130 MB besides.
        progress: called with (bytes, lines) done; an exception it raises stops the run, nothing committed.

    Raises:
        unskew._rust.BudgetExceeded: too many bad lines.
        unskew._rust.StoreLocked: another process writes to the store.
        unskew._rust.ChecksumError: the store is damaged.
        OSError: an input cannot be read, is damaged, or was truncated or rewritten since the last run; a
            database cannot be reached.
        ModuleNotFoundError: the driver of a database is not installed.
        ValueError: another key than the store's, another mapping than before, a mapping that cannot be used,
            an argument out of range, a table whose columns cannot be those of events, or a query or cursor
            that cannot be used.
    """
    namespace, table = meant(source, mapping)
    with _opened(inputs, name, store, mapped=table is not None) as (files, opened, cursor):
        text = _rust.ingest(
            files,
            os.fspath(store),
            source=namespace,
            mapping=table.table if table else None,
            key_file=key_file,
            max_bad=None if max_bad is None else str(max_bad),
            until=until,
            threads=threads,
            memory=None if memory is None else str(memory),
            window_us=microseconds(window_days),
            lateness_us=microseconds(lateness_days),
            keep_raw=keep_raw,
            keep_addresses=keep_addresses,
            salvage=salvage,
            progress=progress,
            tables=opened,
            cursor=cursor,
        )
    return Report.from_json(text)


@contextmanager
def _opened(
    inputs: Inputs | tables.Table | Query, name: str, store: str | os.PathLike[str] | None, *, mapped: bool
) -> Iterator[tuple[list[str], Callable[[str], Any], str | None]]:
    """Names of what is to be read, what opens the tables among it, and the cursor of the next run."""
    if isinstance(inputs, Query):
        path = f"arrow:{inputs.path()}"
        with inputs.opened(None if store is None else _last(store, path)) as (rows, cursor):
            loose = inputs.is_untyped()
            yield [path], lambda path: tables.stream(path, rows, mapped=mapped, loose=loose), cursor
    elif isinstance(inputs, tables.Table):
        yield [f"arrow:{name}"], lambda path: tables.stream(path, inputs, mapped=mapped), None
    else:
        yield expand(inputs), lambda path: tables.parquet(path, mapped=mapped), None


def _last(store: str | os.PathLike[str], path: str) -> str | None:
    """The cursor of an input in the newest commit of a store."""
    try:
        sources = json.loads(_rust.open_store(os.fspath(store)))["sources"]
    except FileNotFoundError:
        return None
    return next((known.get("cursor") for known in reversed(sources) if known["path"] == path), None)


def microseconds(days: float) -> int:
    """Whole microseconds in so many days."""
    return round(days * _DAY * _SECOND)


def meant(source: str | None, mapping: str | os.PathLike[str] | None) -> tuple[str, SourceMapping | None]:
    """Namespace of the ids and the mapping, if events are not canonical."""
    if mapping is None and source not in shipped():
        return source or "canonical", None
    if mapping is not None and os.fspath(mapping) == "canonical":
        return source or "canonical", None
    chosen = load(mapping if mapping is not None else source or "")
    return source or chosen.name, chosen


def dry_run(
    inputs: Inputs | tables.Table | Query,
    *,
    name: str = "table",
    source: str | None = None,
    mapping: str | os.PathLike[str] | None = None,
    until: str | None = None,
    window_days: float = 7.0,
    lateness_days: float = 1.0,
    salvage: bool = False,
) -> Coverage:
    """Read feedback logs and say what is in them; nothing is written, no key is needed.

    The arguments are those of `ingest`; a query is read from its start.

    Raises:
        OSError: an input cannot be read or is damaged.
        ValueError: a mapping that cannot be used, or a table whose columns cannot be those of events.
    """
    namespace, table = meant(source, mapping)
    with _opened(inputs, name, None, mapped=table is not None) as (files, opened, _):
        text = _rust.survey(
            files,
            source=namespace,
            mapping=table.table if table else None,
            until=until,
            window_us=microseconds(window_days),
            lateness_us=microseconds(lateness_days),
            tables=opened,
            salvage=salvage,
        )
    found = json.loads(text)
    joined = sum(count for state, count in found["states"].items() if state.startswith("attributed"))
    total, shown = found["live"]["feedback"], found["live"]["impressions"]
    return Coverage(
        title=table.title if table else "canonical events",
        known={name: count / shown if shown else 0.0 for name, count in found["known"].items()},
        join_rate=joined / total if total else None,
        samples=tuple(found["samples"]),
        lost=table.lost if table else (),
        unknown=tuple(table.unknown(found["fields"])) if table else (),
        addresses=found["addresses"],
        **{name: found[name] for name in ("balance", "rules", "quarantine", "live", "kinds", "states")},
    )


def verify(
    store: str | os.PathLike[str],
    *,
    key_file: str | os.PathLike[str] | None = None,
    memory: int | str | None = None,
) -> dict[str, Any]:
    """Check every checksum and count of a store, and its digest from the rows themselves.

    Nothing in the store is changed. With `memory`, as in `ingest`, it must be writable: what is more goes to
    files without a name inside it.

    Returns:
        store, ledger, generation, digest, files, bytes, impressions, feedback, balance.

    Raises:
        unskew._rust.ChecksumError: something is not what was committed; the message names the file.
        ValueError: another key than the store's, or `memory` is no size.
    """
    budget = None if memory is None else str(memory)
    checked: dict[str, Any] = json.loads(_rust.verify(os.fspath(store), key_file=key_file, memory=budget))
    return checked


def erase(
    user: str,
    store: str | os.PathLike[str],
    *,
    key_file: str | os.PathLike[str] | None = None,
    memory: int | str | None = None,
) -> dict[str, Any]:
    """Take one person out of a store, in one commit or not at all.

    Gone are the impressions and the feedback that name the person, and feedback that names nobody and is
    about their responses, requests or sessions; what is derived is then what a log without them would give.
    Row numbers and gold labels stay; audits, nuisances and targets go, for they were made from rows that are
    gone, and so do the kept bytes of refused lines, cached features, and the commit before. The log files are
    the caller's: a file that was read is not read again, but a new one brings the person back, and so does a
    database that still has their rows, of which those at the cursor are read again.

    Args:
        user: id of the person, as the log has it.
        store: directory of the store.
        key_file: as in `ingest`.
        memory: as in `ingest`; the store is the same whatever it is. Beside it stand a few bits for each
            event, and the numbers of the rows of others that had lost to the person's under one id.

    Returns:
        store, committed (false when nothing was there to erase), ledger, generation, digest, impressions and
        feedback erased.

    Raises:
        unskew._rust.StoreLocked: another process writes to the store.
        unskew._rust.ChecksumError: the store is damaged.
        ValueError: another key than the store's, or `memory` is no size.
    """
    budget = None if memory is None else str(memory)
    done: dict[str, Any] = json.loads(_rust.erase(os.fspath(store), user, key_file=key_file, memory=budget))
    shutil.rmtree(Path(store) / "features", ignore_errors=True)
    return done


def compact(store: str | os.PathLike[str]) -> dict[str, Any]:
    """Join the small parts that many runs leave into few, in one commit or not at all.

    Rows keep their numbers, so everything made from them stays, and nothing else changes: neither the digest
    and the generation nor what was read of which input. The files of the commit before are deleted by the
    commit after this one, as ever, for readers may still hold them.

    Returns:
        store, committed (false when there is nothing to join), ledger, generation, digest, and the number of
        parts, `before` and `parts`.

    Raises:
        unskew._rust.StoreLocked: another process writes to the store.
        unskew._rust.ChecksumError: the store is damaged.
    """
    done: dict[str, Any] = json.loads(_rust.compact(os.fspath(store)))
    return done
