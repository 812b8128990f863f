"""Choices between responses shown side by side, as NumPy columns, with gold pairs joined to them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unskew.data.rows import DESIGNS, NO_GOLD, Bools, Examples, Floats, Ints
from unskew.data.store import Store, as_numpy

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Choices:
    """Pairs of responses between which people could choose: P pairs, A in the slot before B.

    Labels are coded by slot, never as chosen and rejected: a habit of the slot then is a pair of error rates
    (fnr: B was chosen though A is better; fpr: A was chosen though B is better), which can be undone.

    A tie, or that both are bad, does not say which response is better: such a pair has no label, in the log
    and in gold alike, and is counted. So are pairs that are left out altogether.

    Args:
        a, b: responses in slots A and B, positions in `Examples`; both answer one prompt. Shape [P].
        label: 1 where A was chosen, 0 where B was, NaN where nothing says which. Shape [P].
        ordered: both slots are logged and differ; elsewhere which response is A is arbitrary, independent of
            what was shown where. Shape [P].
        gold: share of labellers to whom A is better, in [0, 1], NaN where there is none. Shape [P].
        gold_design: `NO_GOLD`, `RANDOM` or `STRATIFIED`. Shape [P].
        gold_prob: probability with which the pair was chosen for labelling, NaN without gold. Shape [P].
        counts: pairs without a label (`no_choice`, `tie`, `both_bad`), left out (`dead` response, `open`
            window, `two_prompts`), without slots (`no_slots`), of requests that showed more than two
            responses (`of_more`), gold pairs that say tie (`gold_ties`), are not among the pairs
            (`gold_unknown`), or are labelled under two designs (`gold_designs`, the first is used).
    """

    a: Ints
    b: Ints
    label: Floats
    ordered: Bools
    gold: Floats
    gold_design: NDArray[np.int8]
    gold_prob: Floats
    counts: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.a)

    @property
    def seen(self) -> Bools:
        """A choice says which is better. Shape [P]."""
        return ~np.isnan(self.label)

    @property
    def labelled(self) -> Bools:
        """Gold says which is better. Shape [P]."""
        return ~np.isnan(self.gold)


def choices(store: Store, rows: Examples, gold: "pa.Table | None" = None) -> Choices:
    """Pairs with `choice` events of a store, or on which a choice was offered, with gold pairs joined.

    Only pairs whose responses stand, answer one prompt, and have a closed window are kept. Gold pairs are
    joined in either order; several votes about a pair become their mean.

    Args:
        store: an open store.
        rows: its live rows.
        gold: table of `read_gold`; the newest kept in the store when absent.
    """
    import pyarrow.compute as pc

    table = store.table("pairs", ["row_a", "row_b", "slot_a", "slot_b", "winner", "source"])
    if not table.num_rows:
        none = np.zeros(0)
        empty = np.zeros(0, np.int64)
        return Choices(empty, empty, none, none.astype(bool), none, none.astype(np.int8), none)
    table = table.filter(pc.equal(table["source"], "choice"))
    count: Counter[str] = Counter()
    seen = store.table("observations", ["closed"])
    position = np.full(seen.num_rows, -1)
    position[rows.row] = np.arange(len(rows))
    row_a, row_b = as_numpy(table["row_a"]), as_numpy(table["row_b"])
    a, b, closed = position[row_a], position[row_b], as_numpy(seen["closed"])
    keep = np.ones(len(a), bool)
    for why, fine in (
        ("dead", (a >= 0) & (b >= 0)),
        ("two_prompts", rows.prompt_hash[a] == rows.prompt_hash[b]),
        ("open", closed[row_a] & closed[row_b]),
    ):
        count[why] = int((keep & ~fine).sum())
        keep &= fine
    slot_a, slot_b = (as_numpy(pc.fill_null(table[name], -1)) for name in ("slot_a", "slot_b"))
    ordered = ((slot_a >= 0) & (slot_a < slot_b))[keep]
    a, b, said = a[keep], b[keep], np.array(table["winner"].to_pylist(), object)[keep]
    label = np.select([said == "a", said == "b"], [1.0, 0.0], np.nan)
    count["no_slots"] = int((~ordered).sum())
    for why, mask in (
        ("no_choice", said == None),  # noqa: E711 (elementwise)
        ("tie", said == "tie"),
        ("both_bad", said == "both_bad"),
    ):
        count[why] = int(mask.sum())
    _, request, pairs = np.unique(rows.group[a], return_inverse=True, return_counts=True)
    count["of_more"] = int((pairs[request] > 1).sum())
    if gold is None:
        kept = store.load("gold")
        gold = kept[2] if kept else None
    found = _gold(gold, a, b, position, count)
    return Choices(a, b, label, ordered, *found, {name: n for name, n in count.items() if n})


def _gold(
    gold: "pa.Table | None", a: Ints, b: Ints, position: Ints, count: "Counter[str]"
) -> tuple[Floats, NDArray[np.int8], Floats]:
    """Gold, its design and probability of each pair."""
    label, prob = np.full(len(a), np.nan), np.full(len(a), np.nan)
    design = np.full(len(a), NO_GOLD, np.int8)
    if gold is None:
        return label, design, prob
    pair = {ends: at for at, ends in enumerate(zip(a.tolist(), b.tolist(), strict=True))}
    votes: dict[int, list[float]] = {}
    for vote in gold.to_pylist():
        if vote["winner"] is None:
            continue
        ends = int(position[vote["row_a"]]), int(position[vote["row_b"]])
        at, swapped = pair.get(ends), pair.get(ends[::-1])
        number = swapped if at is None else at
        if number is None:
            count["gold_unknown"] += 1
        elif vote["winner"] not in ("a", "b"):
            count["gold_ties"] += 1
        else:
            chance = np.nan if vote["prob"] is None else vote["prob"]
            drawn = DESIGNS[vote["design"]], chance
            if number not in votes:
                design[number], prob[number] = drawn
            elif not np.array_equal((design[number], prob[number]), drawn, equal_nan=True):
                count["gold_designs"] += 1
            votes.setdefault(number, []).append(float((vote["winner"] == "a") == (at is not None)))
    for number, cast in votes.items():
        label[number] = sum(cast) / len(cast)
    return label, design, prob
