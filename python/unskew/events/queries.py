"""Databases in: rows of a table or a query through ADBC, and where the next run reads on.

A `cursor` is a column that only grows, such as a serial number or the time of the last change. A run reads

    SELECT * FROM (query) WHERE last <= cursor AND cursor <= greatest

with `last` from the ledger of the store and `greatest` the largest value of the moment, which becomes `last`
in the same commit as the rows. The bounds are compared by the database, in its own order. Rows at `last` are
read again, and are repeats by their id: none that came to share it later is lost, none counts twice.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from unskew.events import databases

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Query:
    """What to read of a database.

    Args:
        database: address, `postgresql://user@host/name` or `sqlite:///path/to/file`; of another database that
            has an ADBC driver, `NAME://...` loads `adbc_driver_NAME`. Or an open DB-API connection whose
            cursors have `fetch_record_batch`, as those of ADBC do.
        table: its name, `schema.name` or `name`, as the database writes it.
        query: a SELECT instead.
        cursor: column that only grows and is never null, by which the next run reads on. When absent, all
            rows are read each time.
        name: what books call the database; an address without its secrets when absent.

    Raises:
        ValueError: not one of `table` and `query`, a connection without a name, or an address that cannot be
            taken apart.
    """

    database: Any = field(repr=False)
    table: str | None = None
    query: str | None = None
    cursor: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.database, str) and not self.name:
            raise ValueError(
                "an open connection needs a name, by which the books tell its database from others"
            )
        place = self.place()
        if (self.table is None) == (self.query is None):
            raise ValueError(f"{place}: say what to read of the database, either a table or a query")

    def place(self) -> str:
        """The database without user, password and options, for books and messages."""
        found = databases.taken_apart(self.database)[0] if isinstance(self.database, str) else ""
        return self.name or found

    def path(self) -> str:
        """What books and lineage call it; a query in other words is another one, read from its start."""
        what = self.table or "query-" + sha256((self.query or "").encode()).hexdigest()[:16]
        return f"{self.place()}#{what}" + (f" by {self.cursor}" if self.cursor else "")

    def is_untyped(self) -> bool:
        """Whether types of columns are guesses of the driver from the first rows."""
        return isinstance(self.database, str) and self.database.startswith("sqlite:")

    @contextmanager
    def opened(self, last: str | None = None) -> Iterator[tuple["pa.RecordBatchReader", str | None]]:
        """The rows after `last`, and the `last` of the next run.

        Raises:
            ModuleNotFoundError: the driver is not installed.
            OSError: the database cannot be reached, or what was read before is gone from it.
            ValueError: the query, or the cursor, cannot be used.
        """
        place, given = self.place(), self.database
        inner = _quoted(self.table) if self.table else f"({_bare(self.query)}\n) AS unskew"
        with ExitStack() as until_the_end:
            opened = given
            if isinstance(given, str):
                opened = until_the_end.enter_context(databases.connection(given))

            def run(sql: str) -> Any:
                with databases.plainly(given, place):
                    statement = until_the_end.enter_context(closing(opened.cursor()))
                    if self.is_untyped():
                        statement.adbc_statement.set_options(**databases.UNTYPED)
                    statement.execute(sql)
                    return statement.fetch_record_batch()

            if self.cursor is None:
                yield run(f"SELECT * FROM {inner}"), None
            else:
                where, last = _bounds(run, inner, self.cursor, last, place)
                yield run(f"SELECT * FROM {inner} WHERE {where}"), last


def _bounds(
    run: Callable[[str], Any], inner: str, column: str, last: str | None, place: str
) -> tuple[str, str]:
    """The condition for the rows of this run, and the next `last`."""
    schema, name = run(f"SELECT * FROM {inner} WHERE 1 = 0").schema, _quoted(column)
    if column not in schema.names:
        raise ValueError(f"{place}: no column is named {column!r}; found {', '.join(schema.names)}")
    _check(schema.field(column).type, column, place)

    def one(what: str, where: str) -> Any:
        return run(f"SELECT {what} FROM {inner} WHERE {where}").read_all().column(0)[0]

    if nulls := one("count(*)", f"{name} IS NULL").as_py():
        raise ValueError(
            f"{place}: column {column!r} is null in {nulls} rows, which no run would read; a cursor needs a "
            "value in each: COALESCE it in a query, or leave such rows out"
        )
    greatest = one(f"max({name})", f"{name} >= {last}" if last else "1 = 1")
    if greatest.is_valid:
        _check(greatest.type, column, place)
        until = _literal(greatest, column, place)
        return f"{name} <= {until}" + (f" AND {name} >= {last}" if last else ""), until
    if last and one("count(*)", "1 = 1").as_py():
        raise OSError(
            f"{place}: no row has {column} at or above {last}, which was read before, but there are rows "
            "below: the table was rewritten. Read it into a new store, or without a cursor"
        )
    return "1 = 0", last or ""


def _check(type_: "pa.DataType", column: str, place: str) -> None:
    """Refuse a type whose values do not grow."""
    from pyarrow import types as of

    kinds = (of.is_integer, of.is_floating, of.is_decimal, of.is_date, of.is_timestamp)
    text = of.is_string(type_) or of.is_large_string(type_) or getattr(type_, "type_name", "") == "numeric"
    if not text and not any(is_kind(type_) for is_kind in kinds):
        raise ValueError(
            f"{place}: column {column!r} is {type_}, which has no order to read on by; take a number, "
            "a time or text"
        )


def _literal(value: Any, column: str, place: str) -> str:
    """A value as SQL."""
    import pyarrow as pa
    from pyarrow import types as of

    if isinstance(value.type, pa.BaseExtensionType):
        value = value.value
    text = repr(value.as_py()) if of.is_floating(value.type) else str(value.cast(pa.string()).as_py())
    if "\\" in text or "\0" in text or text.lower() in ("nan", "inf", "infinity", "-inf", "-infinity"):
        raise ValueError(
            f"{place}: the largest value of {column!r} is {text!r}, and nothing can be read on from there"
        )
    is_number = of.is_integer(value.type) or of.is_floating(value.type)
    return text if is_number else "'" + text.replace("'", "''") + "'"


def _quoted(name: str | None) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in (name or "").split("."))


def _bare(query: str | None) -> str:
    return (query or "").strip().rstrip("; \n")
