"""Kinds that mean something else on each surface: a column of their own there."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unskew.data.rows import Examples
from unskew.data.store import Store

MASKS = ("offered", "closed", "observed", "positive")
"""Columns of `Examples` that hold one number a kind."""


def apart(store: Store, rows: Examples, names: Sequence[str]) -> Examples:
    """The rows with some kinds parted by surface: `thumbs` becomes `thumbs in chat`, `thumbs in workspace`.

    A part was offered, closed and recorded on its surface alone, so it has its own error rates, propensities,
    class propensities and tables, and its own place in the audit. That is right where one button means
    different things, and wasteful where it does not: each part has the gold of its surface only. Responses
    without a surface are `elsewhere`; a kind that was seen on one surface alone stays as it is.

    Args:
        store: the store of the rows.
        rows: its live rows. N rows, K kinds.
        names: kinds to part.

    Returns:
        The same N rows, with the parts of a kind in its place, by name of the surface.

    Raises:
        KeyError: the store has no such kind.
    """
    words = store.table("cells", ["surface"])["surface"].to_pylist()
    surface = np.array([word or "elsewhere" for word in words], str)[rows.cell]
    parted, found = {rows.kind(name) for name in names}, []
    for k, kind in enumerate(rows.kinds):
        seen = np.unique(surface[rows.offered[:, k] | rows.observed[:, k]]).tolist()
        if k in parted and len(seen) > 1:
            found += [(k, replace(kind, name=f"{kind.name} in {place}"), surface == place) for place in seen]
        else:
            found.append((k, kind, np.ones(len(rows), bool)))
    column, kinds, here = zip(*found, strict=True)
    inside = np.stack(here, axis=1)
    masks = {name: getattr(rows, name)[:, column] & inside for name in MASKS}
    return replace(rows, kinds=kinds, **masks)


def parts_of(rows: Examples, name: str) -> list[str]:
    """Kinds of the rows that are `name`, or parts of it; `name` itself where there are none."""
    own = [kind.name for kind in rows.kinds if kind.name == name or kind.name.startswith(f"{name} in ")]
    return own or [name]
