"""The compiled core."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

__version__: str

class BudgetExceeded(Exception):
    """More bad lines than the budget allows; nothing was committed."""

class StoreLocked(Exception):
    """Another process is writing to the store."""

class ChecksumError(Exception):
    """Stored bytes are not the bytes that were committed."""

def ingest(
    inputs: Sequence[str | PathLike[str]],
    store: str | PathLike[str],
    *,
    source: str = "canonical",
    key_file: str | PathLike[str] | None = None,
    max_bad: str | None = None,
    memory: str | None = None,
    until: str | None = None,
    threads: int = 0,
    window_us: int = 604_800_000_000,
    lateness_us: int = 86_400_000_000,
    keep_raw: bool = False,
    mapping: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    tables: Callable[[str], Any] | None = None,
    cursor: str | None = None,
    keep_addresses: bool = False,
    salvage: bool = False,
) -> str:
    """Read logs into a store, in one commit or not at all; returns the report as JSON.

    `threads=0` means two; `max_bad` is `"N"` or `"P%"`; `until` is RFC 3339; `progress(bytes, lines)` may
    raise to stop; `mapping` is the table of a `SourceMapping`, None for canonical events. `tables(path)`
    opens a Parquet file, or the table of an input `arrow:NAME`, as an object with `__arrow_c_stream__`.
    `cursor` is kept in the ledger with such a table, which is then one source in all runs. With `salvage`, a
    compressed file that is cut off gives the rows before the cut.
    """

class ScaleJob:
    """A job of many workers: it locks a new store, hears of each stage, and commits once.

    The inputs are dealt to at most `shards` shards of about equal size, in order.
    """

    DRIVER: int
    STAGES: int
    def __init__(
        self,
        inputs: Sequence[str | PathLike[str]],
        store: str | PathLike[str],
        *,
        shards: int,
        source: str = "canonical",
        key_file: str | PathLike[str] | None = None,
        max_bad: str | None = None,
        until: str | None = None,
        window_us: int = 604_800_000_000,
        lateness_us: int = 86_400_000_000,
        keep_raw: bool = False,
        mapping: str | None = None,
        keep_addresses: bool = False,
    ) -> None: ...
    @property
    def shards(self) -> int:
        """Number of shards, each of which gets an empty letter for the first stage."""
    def settings(self) -> str:
        """What the workers of the next stage must know."""
    def learn(self, letters: Sequence[tuple[int, bytes]]) -> None:
        """Hear what a stage tells the driver: (sender, letter)."""
    def commit(self) -> str:
        """Commit; returns the report as JSON."""
    def abandon(self) -> None:
        """Give the store back without a commit and delete what was written; nothing after a commit."""

def scale_step(
    settings: str,
    stage: int,
    to: int,
    letters: Sequence[tuple[int, bytes]],
    tables: Callable[[str], Any] | None = None,
) -> list[tuple[int, bytes]]:
    """Run a stage for one addressee, given its letters as (sender, letter); returns (addressee, letter)."""

def survey(
    inputs: Sequence[str | PathLike[str]],
    *,
    source: str = "canonical",
    until: str | None = None,
    window_us: int = 604_800_000_000,
    lateness_us: int = 86_400_000_000,
    mapping: str | None = None,
    tables: Callable[[str], Any] | None = None,
    salvage: bool = False,
) -> str:
    """Read logs without writing anything; returns what is in them as JSON."""

def open_store(path: str | PathLike[str]) -> str:
    """The newest ledger entry of a store as JSON."""

def verify(
    path: str | PathLike[str], *, key_file: str | PathLike[str] | None = None, memory: str | None = None
) -> str:
    """Check every checksum and count of a store and its digest; returns what was checked as JSON."""

def erase(
    path: str | PathLike[str],
    user: str,
    *,
    key_file: str | PathLike[str] | None = None,
    memory: str | None = None,
) -> str:
    """Erase a person from a store, in one commit; returns what was erased as JSON."""

def compact(path: str | PathLike[str]) -> str:
    """Join small parts of a store into few, in one commit; returns what was done as JSON."""

def attach(
    store: str | PathLike[str], folder: str, id: str, files: Sequence[str | PathLike[str]], generation: int
) -> None:
    """Move temporary files into a folder of the store under an id, in one commit."""

def kinds() -> list[tuple[str, int, str]]:
    """The kinds of feedback: (name, bit, side)."""

def loss(
    scores_a: Any,
    scores_b: Any | None,
    columns: Sequence[Any],
    entry: str,
    loss: str,
    temperature: float,
    floor: float,
    scale: float,
    threads: int,
) -> tuple[list[float], Any]:
    """Sums over rows, in the order of `losses.engines.SUMS`, and the slope of each row; see there.

    The tensors lie on the CPU, contiguous, in float32 or float64 as the scores (`observed`: bool). The bits
    do not depend on the number of threads.
    """
