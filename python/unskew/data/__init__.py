"""The store as a reader sees it: tables, live rows and choices as columns, gold, files kept beside.

Rust writes the facts (`unskew.events.ingest`); this package opens the newest commit, joins the observations
to the impressions (they are row-aligned, so the join is a concatenation), and is the only place where
estimated columns meet examples.
"""

from unskew.data.apart import apart, parts_of
from unskew.data.gold import read_gold
from unskew.data.pairs import Choices, choices
from unskew.data.rows import (
    NO_GOLD,
    RANDOM,
    STRATIFIED,
    Examples,
    cells,
    delays,
    examples,
    shown_at,
    texts,
    users,
)
from unskew.data.store import Store, read_arrow, write_arrow

__all__ = [
    "NO_GOLD",
    "RANDOM",
    "STRATIFIED",
    "Choices",
    "Examples",
    "Store",
    "apart",
    "cells",
    "choices",
    "delays",
    "examples",
    "parts_of",
    "read_arrow",
    "read_gold",
    "shown_at",
    "texts",
    "users",
    "write_arrow",
]
