"""A store at its newest commit: tables of facts, and files kept beside them."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unskew import _rust

if TYPE_CHECKING:
    import pyarrow as pa


def read_arrow(path: "str | Path") -> "pa.Table":
    """One Arrow IPC stream file, memory-mapped.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()


def write_arrow(table: "pa.Table", path: "str | Path") -> None:
    """`table` as an Arrow IPC stream file, the format `datasets.Dataset.from_file` memory-maps."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=16_384)


@dataclass(frozen=True)
class Store:
    """A feedback store at its newest commit.

    Args:
        path: directory that `unskew ingest --store` wrote.
        ledger: the newest valid ledger entry (ingestion books, parts, attachments).
    """

    path: Path
    ledger: dict[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: "str | Path") -> "Store":
        """The newest commit of the store at `path`.

        Raises:
            FileNotFoundError: `path` holds no store.
            unskew._rust.ChecksumError: the ledger does not match its checksum.
        """
        return cls(Path(path), json.loads(_rust.open_store(str(path))))

    @property
    def generation(self) -> int:
        """Number of ingests committed; what is kept in the store names the generation it was made from."""
        return int(self.ledger["generation"])

    @property
    def digest(self) -> str:
        """Store digest: equal for equal logs, however they were split, ordered or interrupted."""
        return str(self.ledger["digest"])

    def table(self, name: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """One table, parts in order.

        Args:
            name: `impressions`, `feedback`, `observations`, `pairs`, `cells` or `quarantine`.
            columns: names to keep; all when absent.
        """
        import pyarrow as pa

        parts = [read_arrow(self.path / part["path"]) for part in self.ledger["parts"].get(name, [])]
        if columns is not None:
            parts = [part.select(list(columns)) for part in parts]
        return pa.concat_tables(parts) if parts else pa.table({})

    def attach(
        self, folder: str, name: str, provenance: dict[str, Any], table: "pa.Table | None" = None
    ) -> str:
        """Keep a table and its provenance in the store, in one commit; none when it is the newest already.

        Args:
            folder: `gold`, `nuisances`, `targets` or `audit`.
            name: what it is; the id is `name` followed by a content hash.
            provenance: JSON-able facts: seeds, sources, generation.
            table: columns, row-aligned with the impressions or carrying a `row` column.

        Returns:
            The id under which `load` finds it.
        """
        text = json.dumps(
            {**provenance, "generation": self.generation}, indent=1, sort_keys=True, default=_plain
        )
        digest = hashlib.sha256(text.encode())
        with tempfile.TemporaryDirectory(prefix="attach-", dir=self.path) as scratch:
            files = []
            if table is not None:
                arrow = Path(scratch) / "table.arrow"
                write_arrow(table, arrow)
                digest.update(arrow.read_bytes())
            identity = f"{name}-{digest.hexdigest()[:12]}"
            newest = next((e for e in reversed(self.ledger["attachments"]) if e["folder"] == folder), None)
            if newest is not None and newest["id"] == identity:
                return identity  # named by its content, so it is there already
            if table is not None:
                files.append(str(arrow.rename(arrow.with_name(f"{identity}.arrow"))))
            document = Path(scratch) / f"{identity}.json"
            document.write_text(text)
            files.append(str(document))
            _rust.attach(str(self.path), folder, identity, files, self.generation)
        self.ledger.update(json.loads(_rust.open_store(str(self.path))))
        return identity

    def load(
        self, folder: str, name: str | None = None, *, current: bool = False
    ) -> "tuple[str, dict[str, Any], pa.Table | None] | None":
        """The newest attachment of a folder, or the newest whose id is or starts with `name`.

        Args:
            folder: `gold`, `nuisances`, `targets` or `audit`.
            name: id or beginning of the id.
            current: only attachments made from the present generation.

        Returns:
            (id, provenance, table or None), or None when there is none.
        """
        for entry in reversed(self.ledger.get("attachments", [])):
            if entry["folder"] != folder or not entry["id"].startswith(name or ""):
                continue
            if current and entry["generation"] != self.generation:
                continue
            table, document = None, {}
            for file in entry["files"]:
                if file.endswith(".arrow"):
                    table = read_arrow(self.path / file)
                else:
                    document = json.loads((self.path / file).read_text())
            return entry["id"], document, table
        return None


def as_numpy(column: Any) -> NDArray[Any]:
    """A column without nulls as a NumPy array."""
    return np.asarray(column.to_numpy(zero_copy_only=False) if hasattr(column, "chunks") else column)


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as JSON."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
