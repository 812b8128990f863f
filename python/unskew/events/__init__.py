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

`kinds` are the kinds of feedback, `runs` reads logs, `queries` databases, `reports` is what comes of it.
"""

from unskew.events.kinds import KIND, KINDS, Kind, Side
from unskew.events.queries import Query
from unskew.events.reports import Coverage, Report
from unskew.events.runs import ENDINGS, Inputs, compact, dry_run, erase, expand, ingest, verify

__all__ = [
    "ENDINGS",
    "KIND",
    "KINDS",
    "Coverage",
    "Inputs",
    "Kind",
    "Query",
    "Report",
    "Side",
    "compact",
    "dry_run",
    "erase",
    "expand",
    "ingest",
    "verify",
]
