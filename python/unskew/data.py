"""The store as a reader sees it: tables, the live rows as columns, gold labels, and files kept beside them.

Rust writes the facts (`unskew.events.ingest`); this module opens the newest commit, joins the observations to
the impressions (they are row-aligned, so the join is a concatenation), and is the only place where estimated
columns meet examples.
"""

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
from unskew.events import KINDS, Kind

if TYPE_CHECKING:
    import pyarrow as pa

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_GOLD, RANDOM, STRATIFIED = 0, 1, 2
"""Values of `Examples.gold_design`."""

_DESIGNS = {"random": RANDOM, "stratified": STRATIFIED}


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


@dataclass(frozen=True)
class Examples:
    """The live rows of a store as NumPy columns: N responses, K kinds of feedback that the store has seen.

    Args:
        row: row number in `impressions`. Shape [N].
        response_id: the product's id. Length N.
        prompt_hash: first 64 bits of the prompt's hash, the key of every fold. Shape [N].
        group: code of the request whose candidates were shown together. Shape [N].
        kinds: the K kinds, in bit order.
        offered, closed: the kind was offered; its attribution window has passed. Shape [N, K].
        observed, positive: anything was recorded; a positive label was recorded, or the one-sided kind
            happened. Shape [N, K].
        cell: index into the `cells` table. Shape [N].
        policy_prob: P(the logging policy shows the response), NaN when not logged. Shape [N].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        gold_design: `NO_GOLD`, `RANDOM` or `STRATIFIED`. Shape [N].
        gold_prob: probability with which the row was chosen for labelling, NaN without gold. Shape [N].
    """

    row: Ints
    response_id: list[str]
    prompt_hash: NDArray[np.uint64]
    group: Ints
    kinds: tuple[Kind, ...]
    offered: Bools
    closed: Bools
    observed: Bools
    positive: Bools
    cell: NDArray[np.uint32]
    policy_prob: Floats
    gold: Floats
    gold_design: NDArray[np.int8]
    gold_prob: Floats

    def __len__(self) -> int:
        return len(self.row)

    def kind(self, name: str) -> int:
        """Column of a kind.

        Raises:
            KeyError: the store has no such feedback.
        """
        for index, kind in enumerate(self.kinds):
            if kind.name == name:
                return index
        raise KeyError(f"no {name!r} feedback in this store; it has {', '.join(k.name for k in self.kinds)}")


def examples(store: Store, gold: "pa.Table | None" = None) -> Examples:
    """Columns of the live rows of `store`, with gold labels joined by row.

    Args:
        store: an open store.
        gold: table of `read_gold`; the newest kept in the store when absent.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    seen = store.table("observations")
    shown = store.table("impressions", ["response_id", "request_id", "prompt_hash", "policy_prob"])
    live = np.flatnonzero(_numpy(seen["live"]))
    take = pa.array(live)
    masks = {name: _numpy(seen[name])[live] for name in ("offered", "closed_kinds", "o_kinds", "pos_kinds")}
    any_bit = np.bitwise_or.reduce(masks["offered"] | masks["o_kinds"]) if len(live) else np.uint32(0)
    kinds = tuple(kind for kind in KINDS if int(any_bit) >> kind.bit & 1)
    bits = np.array([kind.bit for kind in kinds], dtype=np.uint32)

    def unpack(name: str) -> Bools:
        return (masks[name][:, None] >> bits & 1).astype(bool)

    request = shown["request_id"].take(take).combine_chunks().dictionary_encode()
    group = _numpy(pc.fill_null(request.indices, -1)).astype(np.int64)
    alone = group < 0
    group[alone] = len(request.dictionary) + np.arange(alone.sum())
    prompt = shown["prompt_hash"].take(take).combine_chunks()
    key = np.frombuffer(prompt.buffers()[1], dtype="<u8").reshape(-1, 2)[prompt.offset :][: len(live), 0]

    label, design, prob = np.full(len(live), np.nan), np.zeros(len(live), np.int8), np.full(len(live), np.nan)
    if gold is None:
        kept = store.load("gold")
        gold = kept[2] if kept else None
    if gold is not None:
        single = gold.filter(pc.is_valid(gold["label"]))
        position = np.full(int(seen.num_rows), -1)
        position[live] = np.arange(len(live))
        at = position[_numpy(single["row"])]
        good = at >= 0
        label[at[good]] = _numpy(single["label"])[good]
        design[at[good]] = [_DESIGNS[d] for d in pc.filter(single["design"], pa.array(good)).to_pylist()]
        prob[at[good]] = _numpy(single["prob"])[good]
    return Examples(
        row=live.astype(np.int64),
        response_id=shown["response_id"].take(take).to_pylist(),
        prompt_hash=key.astype(np.uint64),
        group=group,
        kinds=kinds,
        offered=unpack("offered"),
        closed=unpack("closed_kinds"),
        observed=unpack("o_kinds"),
        positive=unpack("pos_kinds"),
        cell=_numpy(seen["cell"])[live],
        policy_prob=_numpy(pc.fill_null(shown["policy_prob"].take(take), np.nan)).astype(np.float64),
        gold=label,
        gold_design=design,
        gold_prob=prob,
    )


def texts(store: Store, rows: Ints) -> tuple[list[str], list[str]]:
    """Prompts and responses of the given impression rows."""
    import pyarrow as pa

    table = store.table("impressions", ["prompt", "response"]).take(pa.array(rows))
    return table["prompt"].to_pylist(), table["response"].to_pylist()


def read_gold(path: "str | Path", store: Store) -> "tuple[pa.Table, list[str]]":
    """Gold labels of a JSON-lines file, checked against the store (ingestion format, `gold` rows).

    A label of the same response by several annotators becomes their mean. Rows that cannot be used are left
    out and reported; the others are kept. A label is a number in [0, 1], or true or false.

    Returns:
        (table, rejected): columns `row`, `label` (single responses), `row_a`, `row_b`, `winner` (pairs),
        `design`, `prob` (null where not given); and one sentence for each rejected line.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no line can be used.
    """
    import pyarrow as pa

    shown = store.table("impressions", ["response_id"])["response_id"].to_pylist()
    row_of: dict[str, int | None] = {}
    for row in np.flatnonzero(_numpy(store.table("observations", ["live"])["live"])).tolist():
        row_of[shown[row]] = None if shown[row] in row_of else row
    votes: dict[int, list[tuple[float, str, float | None]]] = {}
    rows: list[dict[str, Any]] = []
    rejected: list[str] = []
    # Only "\n" ends a line: texts beside the labels may hold every other separator of Unicode.
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            single, parsed = _gold_line(line, row_of)
        except ValueError as error:
            rejected.append(f"{path} line {number}: {error}")
            continue
        if single:
            votes.setdefault(parsed["row"], []).append((parsed["label"], parsed["design"], parsed["prob"]))
        else:
            rows.append(parsed)
    for row, cast in votes.items():
        design, prob = cast[0][1:]
        if any(vote[1:] != (design, prob) for vote in cast):
            rejected.append(f"{path}: response row {row} is labelled under two designs; the first is used")
        rows.append(
            {"row": row, "label": sum(v[0] for v in cast) / len(cast), "design": design, "prob": prob}
        )
    if not rows:
        raise ValueError(f"{path}: no usable gold label. " + " ".join(rejected[:3]))
    schema = pa.schema(
        [
            ("row", pa.int64()),
            ("label", pa.float64()),
            ("row_a", pa.int64()),
            ("row_b", pa.int64()),
            ("winner", pa.string()),
            ("design", pa.string()),
            ("prob", pa.float64()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema), rejected


def _gold_line(line: bytes, row_of: "dict[str, int | None]") -> tuple[bool, dict[str, Any]]:
    """(is it about one response, its columns)."""
    try:
        event = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        what = getattr(error, "msg", None) or str(error)
        raise ValueError(f"not JSON ({what}); expected one object a line") from None
    if not isinstance(event, dict):
        raise ValueError(f"found a JSON {type(event).__name__}; expected an object")
    design = event.get("design", "random")
    prob: Any = event.get("prob")
    if design not in tuple(_DESIGNS):
        raise ValueError(f"design is {design!r}; it must be 'random' or 'stratified'")
    usable = _number(prob) and 0 < prob <= 1
    if design == "stratified" and not usable:
        raise ValueError(f"prob is {prob!r}; a stratified row needs its labelling probability in (0, 1]")
    if not (usable or prob is None or (_number(prob) and prob != prob)):
        raise ValueError(f"prob is {prob!r}; it must be in (0, 1], or left out of a random row")

    def text(key: str) -> Any:
        name = event.get(key)
        return str(name) if isinstance(name, int) and not isinstance(name, bool) else name  # as ids of logs

    def row(key: str) -> int:
        name = text(key)
        if not isinstance(name, str) or name not in row_of:
            raise ValueError(f"{key} is {name!r}, which is not a response of this store")
        found = row_of[name]
        if found is None:
            raise ValueError(f"{key} is {name!r}, which is a response of several sources of this store")
        return found

    common = {"design": design, "prob": float(prob) if usable else None}
    if "a" in event or "b" in event:
        rows = {"row_a": row("a"), "row_b": row("b")}
        a, b, winner = text("a"), text("b"), text("winner")
        if a == b:
            raise ValueError(f"a and b are both {a!r}; a pair needs two responses")
        if winner not in (a, b, "tie", "both_bad"):
            raise ValueError(f"winner is {winner!r}; it must be a, b, 'tie' or 'both_bad'")
        return False, {**rows, "winner": {a: "a", b: "b"}.get(winner, winner), **common}
    label: Any = event.get("label")
    if not (isinstance(label, bool) or (_number(label) and 0 <= label <= 1)):
        raise ValueError(f"label is {label!r}; it must be a number in [0, 1]")
    return True, {"row": row("response"), "label": float(label), **common}


def _number(value: Any) -> bool:
    """Whether it is a number of JSON: no boolean, no text."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numpy(column: Any) -> NDArray[Any]:
    """A column without nulls as a NumPy array."""
    return np.asarray(column.to_numpy(zero_copy_only=False) if hasattr(column, "chunks") else column)


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as JSON."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
