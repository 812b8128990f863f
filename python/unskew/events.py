"""Feedback logs in: the kinds of feedback, and the way from canonical events to a store.

An event is a JSON object on a line or in an array, a record of a CSV or TSV file under a header with the
names of the fields, or a row of a Parquet file or an Arrow table; `type` is `impression`, `feedback` or
`choice`. The work is done in Rust: strict JSON, repeats by id, feedback joined to responses in any order,
silent responses kept, people only as keyed hashes, and books that balance: lines = committed + duplicate +
quarantined + blank.

In a CSV file an empty cell is an absent field, every record ends with a line end, a number or true or false
in `value` is that, `offered` is `a;b` or JSON, `messages` and `meta` are JSON.

Exports of other products, in any of these formats, are read through a mapping (`unskew.mappings`), which says
what the fields are; every cell of a CSV file is text to it. A line may then hold several records, so `lines +
expanded` stands on the left, and `skipped`, records that are not carried, on the right.
"""

import glob
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from unskew import _rust, tables
from unskew.mappings import SourceMapping, load, shipped

Side = Literal["two", "positive", "negative", "none"]
Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

TEXTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
ENDINGS = (*TEXTS, *(f"{text}.{packed}" for text in TEXTS for packed in ("gz", "zst")), ".parquet")
"""Files that a directory gives."""

_SECOND = 1_000_000
_DAY = 86_400


@dataclass(frozen=True)
class Kind:
    """A kind of feedback.

    Args:
        name: the word in logs and reports.
        bit: its place in every mask of the store.
        side: `two` (observed flag and a label of either sign), `positive` or `negative` (happened or not;
            happening speaks for or against the response), `none` (recorded, but no evidence).
    """

    name: str
    bit: int
    side: Side

    @property
    def mask(self) -> int:
        """Its bit as a mask."""
        return 1 << self.bit

    @property
    def two_sided(self) -> bool:
        """Whether it has an observed flag and a label of either sign."""
        return self.side == "two"

    @property
    def one_sided(self) -> bool:
        """Whether it happened or not, and happening is evidence."""
        return self.side in ("positive", "negative")


KINDS: tuple[Kind, ...] = (
    Kind("thumbs", 0, "two"),
    Kind("rating", 1, "two"),
    Kind("click", 2, "positive"),
    Kind("copy", 3, "positive"),
    Kind("share", 4, "positive"),
    Kind("edit", 5, "none"),
    Kind("regenerate", 6, "negative"),
    Kind("dwell", 7, "none"),
    Kind("stop", 8, "negative"),
    Kind("abandon", 9, "negative"),
    Kind("report", 10, "negative"),
    Kind("comment", 11, "none"),
    Kind("choice", 12, "two"),
    Kind("rank", 13, "none"),
    Kind("tool_accept", 14, "positive"),
    Kind("custom", 15, "none"),
)
"""Every kind, in the order of the bits."""

KIND: dict[str, Kind] = {kind.name: kind for kind in KINDS}
"""The kinds by name."""


@dataclass(frozen=True)
class Report:
    """What one ingestion did.

    Args:
        path: the store.
        generation: number of data commits of the store.
        digest: store digest, equal for equal logs however they were split, ordered or interrupted.
        committed: whether this run changed the store; false when every input had been read before.
        balance: lines, committed, duplicate (repeats and older versions), quarantined, blank of this run;
            with a mapping also expanded (records beyond the first of a line) and skipped (not carried).
        total: the same of the store.
        quarantine: refused lines of this run by reason.
        samples: up to five refused lines of each reason: file, line, offset, length, reason, field, message.
        files: one entry an input: path, status (`read`, `resumed`, `unchanged`), its books, reasons, bytes.
        live: impressions, silent impressions and feedback events that stand.
        kinds: standing events by kind.
        states: standing events by state of the join: `attributed`, `attributed_early` (before the response,
            within an hour), `attributed_other_actor` (not by a user; kept, not counted), `pending`, `orphan`,
            `out_of_window`, `skew`, `ambiguous` (several responses at once), `retracted`.
        silent_share: share of the impressions about which nothing was recorded, None without impressions.
        raw: the whole report of the core.
    """

    path: Path
    generation: int
    digest: str
    committed: bool
    balance: Mapping[str, int]
    total: Mapping[str, int]
    quarantine: Mapping[str, int]
    samples: tuple[Mapping[str, Any], ...]
    files: tuple[Mapping[str, Any], ...]
    live: Mapping[str, int]
    kinds: Mapping[str, int]
    states: Mapping[str, int]
    silent_share: float | None
    bytes: int
    seconds: float
    raw: Mapping[str, Any]

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that the core wrote."""
        raw = json.loads(text)
        names = (
            "generation",
            "digest",
            "committed",
            "balance",
            "total",
            "quarantine",
            "live",
            "kinds",
            "states",
        )
        return cls(
            path=Path(raw["store"]),
            samples=tuple(raw["samples"]),
            files=tuple(raw["files"]),
            silent_share=raw["silent_share"],
            bytes=raw["bytes"],
            seconds=raw["seconds"],
            raw=raw,
            **{name: raw[name] for name in names},
        )

    def to_dict(self) -> dict[str, Any]:
        """The whole report, ready for JSON."""
        return dict(self.raw)

    def summary(self) -> dict[str, int | float | str]:
        """What a person wants to know, by name."""
        share = "-" if self.silent_share is None else f"{self.silent_share:.1%}"
        refused = ", ".join(f"{reason} {count}" for reason, count in self.quarantine.items())
        records = self.balance["lines"] + self.balance.get("expanded", 0)
        skipped = {"not carried": self.balance["skipped"]} if "skipped" in self.balance else {}
        return {
            "lines": self.balance["lines"],
            **({"records": records} if records != self.balance["lines"] else {}),
            "committed": self.balance["committed"],
            "repeats": self.balance["duplicate"],
            "quarantined": f"{self.balance['quarantined']} ({refused})" if refused else 0,
            "blank": self.balance["blank"],
            **skipped,
            "responses in the store": self.live.get("impressions", 0),
            "without any feedback": share,
            "feedback": ", ".join(f"{kind} {count}" for kind, count in self.kinds.items()) or "none",
            "joined": ", ".join(f"{state} {count}" for state, count in self.states.items()) or "none",
            "generation": self.generation if self.committed else f"{self.generation} (nothing new)",
            "digest": self.digest,
            "seconds": round(self.seconds, 2),
        }


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
    inputs: Inputs | tables.Table,
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
    threads: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Report:
    """Read feedback logs into a store, in one commit or not at all.

    Running the same command again changes nothing; a file that grew is read from where it ended; a file
    that was truncated or rewritten is refused. A table is read each time, and rows that are there already
    are repeats by their id. Memory grows with the number of events, about 100 bytes each, not with text.

    Args:
        inputs: paths, globs, directories, or `-` for standard input (JSON only); JSON lines, JSON arrays,
            `.csv` and `.tsv`, each plain, gzip or zstd, and `.parquet`. Or a table: whatever has
            `__arrow_c_stream__`, such as those of pyarrow, polars, pandas and DuckDB; see `unskew.tables`.
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
        threads: parsing threads, 0 = two.
        progress: called with (bytes, lines) done; an exception it raises stops the run, nothing committed.

    Raises:
        unskew._rust.BudgetExceeded: too many bad lines.
        unskew._rust.StoreLocked: another process writes to the store.
        unskew._rust.ChecksumError: the store is damaged.
        OSError: an input cannot be read, is damaged, or was truncated or rewritten since the last run.
        ValueError: another key than the store's, another mapping than before, a mapping that cannot be used,
            an argument out of range, or a table whose columns cannot be those of events.
    """
    namespace, table = _meant(source, mapping)
    files, opened = _opened(inputs, name, mapped=table is not None)
    text = _rust.ingest(
        files,
        os.fspath(store),
        source=namespace,
        mapping=table.table if table else None,
        key_file=key_file,
        max_bad=None if max_bad is None else str(max_bad),
        until=until,
        threads=threads,
        window_us=round(window_days * _DAY * _SECOND),
        lateness_us=round(lateness_days * _DAY * _SECOND),
        keep_raw=keep_raw,
        progress=progress,
        tables=opened,
    )
    return Report.from_json(text)


def _opened(
    inputs: Inputs | tables.Table, name: str, *, mapped: bool
) -> tuple[list[str], Callable[[str], Any]]:
    """Names of what is to be read, and what opens the tables among it."""
    if isinstance(inputs, tables.Table):
        return [f"arrow:{name}"], lambda path: tables.stream(path, inputs, mapped=mapped)
    return expand(inputs), lambda path: tables.parquet(path, mapped=mapped)


def _meant(source: str | None, mapping: str | os.PathLike[str] | None) -> tuple[str, SourceMapping | None]:
    """Namespace of the ids and the mapping, if events are not canonical."""
    if mapping is None and source not in shipped():
        return source or "canonical", None
    if mapping is not None and os.fspath(mapping) == "canonical":
        return source or "canonical", None
    chosen = load(mapping if mapping is not None else source or "")
    return source or chosen.name, chosen


@dataclass(frozen=True)
class Coverage:
    """What inputs hold and what would come of them, without a store.

    Args:
        title: what they were read as.
        balance: the books that an ingestion into an empty store would have.
        rules: records by record type of the mapping; those of no type under "".
        quarantine: refused records by reason.
        samples: up to three of each reason: file, line, offset, length, reason, field, message.
        live: impressions, silent impressions, feedback.
        kinds, states: standing feedback by kind and by state of the join.
        known: share of the impressions that name policy_prob, offered, user, session, request, slot, model.
        join_rate: share of the feedback that finds its response; None without feedback.
        lost: fields that the mapping declares as not carried.
        unknown: fields in the inputs that it neither carries nor declares lost.
    """

    title: str
    balance: Mapping[str, int]
    rules: Mapping[str, int]
    quarantine: Mapping[str, int]
    samples: tuple[Mapping[str, Any], ...]
    live: Mapping[str, int]
    kinds: Mapping[str, int]
    states: Mapping[str, int]
    known: Mapping[str, float]
    join_rate: float | None
    lost: tuple[str, ...]
    unknown: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def summary(self) -> dict[str, int | float | str]:
        """What a person wants to know before ingesting."""
        shown, silent = self.live["impressions"], self.live["silent"]
        books = {name: self.balance.get(name, 0) for name in ("lines", "expanded", "blank", "duplicate")}
        refused = ", ".join(f"{reason} {count}" for reason, count in self.quarantine.items())
        rules = {f"record: {name or 'of no known type'}": count for name, count in self.rules.items()}
        share = {name: f"{part:.1%}" if shown else "-" for name, part in self.known.items()}
        return {
            "read as": self.title,
            "lines": books["lines"],
            "records": books["lines"] + books["expanded"] - books["blank"],
            **rules,
            "repeats": books["duplicate"],
            "quarantined": f"{self.balance['quarantined']} ({refused})" if refused else 0,
            "responses": shown,
            "without any feedback": f"{silent:,} ({silent / shown:.1%})" if shown else "-",
            "feedback": ", ".join(f"{kind} {count}" for kind, count in self.kinds.items()) or "none",
            "feedback that finds its response": "-" if self.join_rate is None else f"{self.join_rate:.1%}",
            "propensity logged": share.get("policy_prob", "-"),
            "offered controls known": share.get("offered", "-"),
            "user known": share.get("user", "-"),
            "session known": share.get("session", "-"),
            "fields not carried": len(self.lost),
            "fields unknown to the mapping": ", ".join(self.unknown) or "none",
        }


def dry_run(
    inputs: Inputs | tables.Table,
    *,
    name: str = "table",
    source: str | None = None,
    mapping: str | os.PathLike[str] | None = None,
    until: str | None = None,
    window_days: float = 7.0,
    lateness_days: float = 1.0,
) -> Coverage:
    """Read feedback logs and say what is in them; nothing is written, no key is needed.

    The arguments are those of `ingest`.

    Raises:
        OSError: an input cannot be read or is damaged.
        ValueError: a mapping that cannot be used, or a table whose columns cannot be those of events.
    """
    namespace, table = _meant(source, mapping)
    files, opened = _opened(inputs, name, mapped=table is not None)
    text = _rust.survey(
        files,
        source=namespace,
        mapping=table.table if table else None,
        until=until,
        window_us=round(window_days * _DAY * _SECOND),
        lateness_us=round(lateness_days * _DAY * _SECOND),
        tables=opened,
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
        **{name: found[name] for name in ("balance", "rules", "quarantine", "live", "kinds", "states")},
    )


def verify(
    store: str | os.PathLike[str], *, key_file: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Check every checksum and count of a store, and its digest from the rows themselves.

    Returns:
        store, ledger, generation, digest, files, bytes, impressions, feedback, balance.

    Raises:
        unskew._rust.ChecksumError: something is not what was committed; the message names the file.
        ValueError: another key than the store's.
    """
    checked: dict[str, Any] = json.loads(_rust.verify(os.fspath(store), key_file=key_file))
    return checked


def erase(
    user: str, store: str | os.PathLike[str], *, key_file: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Take one person out of a store, in one commit or not at all.

    Gone are the impressions and the feedback that name the person, and feedback that names nobody and is
    about their responses, requests or sessions; what is derived is then what a log without them would give.
    Row numbers and gold labels stay; audits, nuisances and targets go, for they were made from rows that are
    gone, and so do the kept bytes of refused lines, cached features, and the commit before. The log files are
    the caller's: a file that was read is not read again, but a new one brings the person back.

    Args:
        user: id of the person, as the log has it.
        store: directory of the store.
        key_file: as in `ingest`.

    Returns:
        store, committed (false when nothing was there to erase), ledger, generation, digest, impressions and
        feedback erased.

    Raises:
        unskew._rust.StoreLocked: another process writes to the store.
        unskew._rust.ChecksumError: the store is damaged.
        ValueError: another key than the store's.
    """
    done: dict[str, Any] = json.loads(_rust.erase(os.fspath(store), user, key_file=key_file))
    shutil.rmtree(Path(store) / "features", ignore_errors=True)
    return done
