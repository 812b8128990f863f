"""Connections to databases through ADBC, and their addresses without what is secret in them."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

SHIPPED = ("postgresql", "sqlite")
"""Databases whose drivers come with `unskew[sql]`."""

PLACE = {"host", "hostaddr", "port", "dbname", "database", "schema"}
"""Options of an address that say which database it is; the others are written nowhere."""

UNTYPED = {"adbc.sqlite.query.batch_rows": 1 << 16}
"""SQLite has no types of columns; its driver takes them from so many rows, a batch at a time."""

_SECRET = re.compile("pass|secret|token|key|cred|auth", re.IGNORECASE)
_HOST = re.compile(r"(\[[^]]*]|[^:\[\]]*)(:\d*)?")


def taken_apart(address: str) -> tuple[str, list[str]]:
    """An address without user, password and most options, and what is secret in it.

    Raises:
        ValueError: it cannot be taken apart with certainty; the message does not show it.
    """
    scheme, found, rest = address.partition("://")
    if scheme == "sqlite":
        root = "/" * rest.startswith("/")  # others write an absolute path with one slash more
        return f"sqlite://{Path(root + rest.lstrip('/')).absolute()}", []
    rest, _, tail = rest.partition("?")
    authority, slash, path = rest.partition("/")
    person, _, hosts = authority.rpartition("@")
    sound = found and not any(sign in person + path + tail for sign in "@#") and "#" not in hosts
    if not sound or not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        raise ValueError(
            "the address of a database must be NAME://user@host:port/database, with @ : / ? # of a user or "
            "password written as %40 %3A %2F %3F %23; better leave the password to ~/.pgpass or PGPASSWORD"
        )
    options = parse_qsl(tail)
    kept = "&".join(f"{name}={value}" for name, value in options if name in PLACE)
    place = f"{_named(scheme)}://{hosts}{slash}{path}" + (f"?{kept}" if kept else "")
    secrets = [person.partition(":")[2], *(value for name, value in options if _SECRET.search(name))]
    return place, [form for secret in secrets for form in (secret, unquote(secret), quote(secret)) if secret]


def _named(scheme: str) -> str:
    return "postgresql" if scheme == "postgres" else scheme


@contextmanager
def connection(address: str) -> Iterator[Any]:
    """An open connection, closed at the end; nothing is ever committed by it.

    Raises:
        ModuleNotFoundError: the driver is not installed.
        OSError: the database cannot be reached.
        ValueError: there is no such driver.
    """
    place, _ = taken_apart(address)
    scheme = _named(address.partition("://")[0])
    try:
        driver = import_module(f"adbc_driver_{scheme}.dbapi")
    except ModuleNotFoundError:
        if scheme in SHIPPED:
            raise
        raise ValueError(
            f"{place}: no driver adbc_driver_{scheme} is installed; {' and '.join(SHIPPED)} come with "
            "unskew[sql], and an open connection to any other database can be given to unskew.events.Query"
        ) from None
    if scheme == "sqlite":
        path = Path(place.removeprefix("sqlite://"))
        if not path.is_file():
            raise FileNotFoundError(f"{place}: no such file")
        address = f"file:{quote(str(path))}?mode=ro"
    with plainly(address, place, connecting=True):
        opened = driver.connect(address)
    with closing(opened):
        yield opened


@contextmanager
def plainly(address: Any, place: str, *, connecting: bool = False) -> Iterator[None]:
    """Errors of a driver as ours, without secrets and without the driver's error behind them."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("adbc_driver"):
            raise
        said = str(error).split("\n")[0].strip()
        secrets = taken_apart(address)[1] if isinstance(address, str) and "://" in address else []
        if any(secret in str(error) for secret in secrets):
            said = "what the driver said is left out, for it holds the password"
        is_away = connecting or type(error).__name__ in ("OperationalError", "InternalError")
        raise (OSError if is_away else ValueError)(f"{place}: {said}. Nothing was read") from None
