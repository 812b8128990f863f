"""The live rows of a store as NumPy columns, and their texts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unskew.data.store import Store, as_numpy
from unskew.events import KINDS, Kind

if TYPE_CHECKING:
    import pyarrow as pa

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_GOLD, RANDOM, STRATIFIED = 0, 1, 2
"""Values of `Examples.gold_design`."""

DESIGNS = {"random": RANDOM, "stratified": STRATIFIED}


@dataclass(frozen=True)
class Examples:
    """The live rows of a store as NumPy columns: N responses, K kinds of feedback that the store has seen.

    Args:
        row: row number in `impressions`. Shape [N].
        response_id: the product's id. Length N.
        prompt_hash: first 64 bits of the prompt's hash, the key of every fold. Shape [N].
        group: code of the request whose candidates were shown together. Shape [N].
        user: first 64 bits of the pseudonym of who saw the response, 0 where no user is logged. Shape [N].
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
    user: NDArray[np.uint64]
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
    names = ["response_id", "request_id", "user_key", "prompt_hash", "policy_prob"]
    shown = store.table("impressions", names)
    live = np.flatnonzero(as_numpy(seen["live"]))
    take = pa.array(live)
    masks = {name: as_numpy(seen[name])[live] for name in ("offered", "closed_kinds", "o_kinds", "pos_kinds")}
    any_bit = np.bitwise_or.reduce(masks["offered"] | masks["o_kinds"]) if len(live) else np.uint32(0)
    kinds = tuple(kind for kind in KINDS if int(any_bit) >> kind.bit & 1)
    bits = np.array([kind.bit for kind in kinds], dtype=np.uint32)

    def unpack(name: str) -> Bools:
        return (masks[name][:, None] >> bits & 1).astype(bool)

    request = shown["request_id"].take(take).combine_chunks().dictionary_encode()
    group = as_numpy(pc.fill_null(request.indices, -1)).astype(np.int64)
    alone = group < 0
    group[alone] = len(request.dictionary) + np.arange(alone.sum())

    def leading(name: str, order: str) -> NDArray[np.uint64]:
        """First 64 bits of a column of 16 bytes, 0 where there are none."""
        column = shown[name].take(take).combine_chunks()
        words = np.frombuffer(column.buffers()[1], dtype=f"{order}u8").reshape(-1, 2)
        found = words[column.offset :][: len(live), 0].astype(np.uint64)
        return np.where(as_numpy(column.is_valid()), found, np.uint64(0))

    label, design, prob = np.full(len(live), np.nan), np.zeros(len(live), np.int8), np.full(len(live), np.nan)
    if gold is None:
        kept = store.load("gold")
        gold = kept[2] if kept else None
    if gold is not None:
        single = gold.filter(pc.is_valid(gold["label"]))
        position = np.full(int(seen.num_rows), -1)
        position[live] = np.arange(len(live))
        at = position[as_numpy(single["row"])]
        good = at >= 0
        label[at[good]] = as_numpy(single["label"])[good]
        design[at[good]] = [DESIGNS[d] for d in pc.filter(single["design"], pa.array(good)).to_pylist()]
        prob[at[good]] = as_numpy(single["prob"])[good]
    return Examples(
        row=live.astype(np.int64),
        response_id=shown["response_id"].take(take).to_pylist(),
        prompt_hash=leading("prompt_hash", "<"),
        group=group,
        user=leading("user_key", ">"),
        kinds=kinds,
        offered=unpack("offered"),
        closed=unpack("closed_kinds"),
        observed=unpack("o_kinds"),
        positive=unpack("pos_kinds"),
        cell=as_numpy(seen["cell"])[live],
        policy_prob=as_numpy(pc.fill_null(shown["policy_prob"].take(take), np.nan)).astype(np.float64),
        gold=label,
        gold_design=design,
        gold_prob=prob,
    )


def shown_at(store: Store, rows: Ints) -> NDArray[np.datetime64]:
    """When the given impression rows were shown (UTC, microseconds)."""
    import pyarrow as pa

    column = store.table("impressions", ["shown_at"]).take(pa.array(rows))["shown_at"]
    return as_numpy(column.cast(pa.int64())).astype("datetime64[us]")


def delays(store: Store, rows: Examples, kind: str) -> tuple[Floats, Floats]:
    """How long feedback of a kind took, and how old each response is, in milliseconds. Shape [N] each.

    Args:
        store: an open store.
        rows: its live rows.
        kind: name of the kind.

    Returns:
        (delay, age): from the response to its first feedback of the kind, NaN where none has come; and to the
        watermark. What `propensity.delays` reads.

    Raises:
        ValueError: the store was written before delays by kind were kept; any new commit writes them.
    """
    import pyarrow as pa

    bit = rows.kinds[rows.kind(kind)].bit
    seen = store.table("observations")
    if "delays_ms" not in seen.column_names:
        raise ValueError(
            f"{store.path} was written before delays by kind were kept; ingest its log into a new store"
        )
    seen = seen.select(["o_kinds", "delays_ms", "age_ms"]).take(pa.array(rows.row)).combine_chunks()
    recorded, listed = as_numpy(seen["o_kinds"]), seen["delays_ms"].combine_chunks()
    # One delay for each recorded kind, in the order of the bits: that of a kind follows those of lower bits.
    lower = (recorded[:, None] >> np.arange(bit, dtype=np.uint32) & 1).sum(1)
    place = as_numpy(listed.offsets)[:-1] + lower.astype(np.int64)
    delay, came = np.full(len(rows), np.nan), (recorded >> np.uint32(bit) & 1).astype(bool)
    delay[came] = as_numpy(listed.values)[place[came]]
    return delay, as_numpy(seen["age_ms"]).astype(np.float64)


def cells(store: Store, rows: Examples) -> list[Ints]:
    """Surface, slot, model and bucket of length of each row, as codes. Shape [N] each.

    What `propensity.nested` takes, coarse first.
    """
    table = store.table("cells", ("surface", "slot", "model", "len_bucket"))
    codes = (column.combine_chunks().dictionary_encode("encode").indices for column in table.columns)
    return [as_numpy(code)[rows.cell].astype(np.int64) for code in codes]


def users(rows: Examples) -> Ints:
    """Number of the user of each row; a row without a user is one by itself. Shape [N]."""
    found = np.unique(rows.user, return_inverse=True)[1].astype(np.int64)
    alone = rows.user == 0
    found[alone] = len(rows) + np.arange(alone.sum())
    return found


def texts(store: Store, rows: Ints) -> tuple[list[str], list[str]]:
    """Prompts and responses of the given impression rows."""
    import pyarrow as pa

    table = store.table("impressions", ["prompt", "response"]).take(pa.array(rows))
    return table["prompt"].to_pylist(), table["response"].to_pylist()
