"""Gold labels of responses and of pairs, checked against a store."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unskew.data.rows import DESIGNS
from unskew.data.store import Store, as_numpy

if TYPE_CHECKING:
    import pyarrow as pa


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
    for row in np.flatnonzero(as_numpy(store.table("observations", ["live"])["live"])).tolist():
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
    if design not in tuple(DESIGNS):
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
