"""The columns that an estimator left in a store, as a data set to train a transformer on.

    rows, loss = targets.dataset(store)                   # the newest of STORE/targets
    RewardTrainer(model, RewardConfig(out, loss=loss), train_dataset=rows)

Texts stay in the store's files, memory-mapped, until they are tokenised. Rows that weigh nothing are left out
and counted. Pairs come as groups: each response of a request once, with all its comparisons.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unskew.data import Store, examples

if TYPE_CHECKING:
    import pyarrow as pa

Bools = NDArray[np.bool_]


def dataset(
    store: "str | Store",
    target: "str | pa.Table | None" = None,
    *,
    loss: str | None = None,
    keep: Bools | None = None,
) -> tuple[Any, str]:
    """Rows for `RewardTrainer`, and the loss that their columns enter.

    Args:
        store: store, or its directory.
        target: id in `STORE/targets` or its beginning; or a table with columns a, b, m (w, d, m), one entry a
            live row, or with `row_a`, `row_b` one a pair. The newest kept in the store when absent.
        loss: of the table; known of what the store keeps.
        keep: entries to use, all when absent. Shape of the table.

    Returns:
        (data set, loss): columns `prompt`, `completion`, a, b, m; or `prompt`, `completions`, `ahead`,
        `behind`, a, b, m of groups.

    Raises:
        ValueError: the store keeps no such target, it does not fit the store, or nothing weighs anything.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    if target is None or isinstance(target, str):
        kept = opened.load("targets", target)
        if kept is None or kept[2] is None:
            raise ValueError(f"{opened.path} keeps no target {target or ''}; run `unskew train` on it first")
        if kept[1]["generation"] != opened.generation:
            raise ValueError(
                f"target {kept[0]} was made from generation {kept[1]['generation']} of {opened.path}, now "
                f"at {opened.generation}; run `unskew train` again"
            )
        table, loss = kept[2], str(kept[1]["loss"])
    else:
        table = target
    if loss is None:
        raise ValueError("loss is needed beside a table: logistic, brier or mixture")
    names = [name for name in ("a", "b", "w", "d", "m") if name in table.column_names]
    columns = {name: np.asarray(table[name].to_numpy(), np.float64) for name in names}
    used = np.any([columns[name] != 0 for name in names[:2]], axis=0)
    used = used if keep is None else used & keep
    if not used.any():
        raise ValueError("no entry of the target weighs anything: nothing to train on")
    if "row_a" in table.column_names:
        sides = [np.asarray(table[name].to_numpy())[used] for name in ("row_a", "row_b")]
        return _groups(opened, sides, {k: v[used] for k, v in columns.items()}), loss
    rows = examples(opened).row
    if len(rows) != len(used):
        raise ValueError(f"the target has {len(used)} entries, the store {len(rows)} live rows: one each")
    return _singles(opened, rows[used], {k: v[used] for k, v in columns.items()}), loss


def _singles(store: Store, rows: NDArray[Any], columns: dict[str, NDArray[Any]]) -> Any:
    """Responses with their columns: the store's own text, beside a table of numbers."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    shown = store.table("impressions", ["prompt", "response"]).rename_columns(["prompt", "completion"])
    for name, column in columns.items():
        whole = np.zeros(shown.num_rows)
        whole[rows] = column
        shown = shown.append_column(name, pa.array(whole))
    return Dataset(InMemoryTable(shown)).select(rows)


def _groups(store: Store, sides: list[NDArray[Any]], columns: dict[str, NDArray[Any]]) -> Any:
    """Comparisons by request: every response once."""
    from datasets import Dataset

    from unskew.data import texts

    held = examples(store)
    ahead, behind = sides
    order = np.argsort(held.group[ahead], kind="stable")
    edges = np.flatnonzero(np.diff(held.group[ahead][order])) + 1

    def generate() -> Any:
        for entries in np.split(order, edges):
            members, place = np.unique(np.stack([ahead[entries], behind[entries]]), return_inverse=True)
            prompts, completions = texts(store, held.row[members])
            place = place.reshape(2, -1)
            yield {
                "prompt": prompts[0],
                "completions": completions,
                "ahead": place[0].tolist(),
                "behind": place[1].tolist(),
                **{name: column[entries].tolist() for name, column in columns.items()},
            }

    return Dataset.from_list(list(generate()))
