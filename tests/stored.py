"""Small stores to read from and write to."""

from logs import good, write
from unskew import events, simulate
from unskew.data import Store


def made(folder, text, name="log.jsonl", **options):
    """A store with the events of `text`."""
    events.ingest(write(folder / name, text), folder / "store", **options)
    return Store.open(folder / "store")


def product(home):
    """(store, gold file) of a simulated product."""
    found = simulate.simulate(home / "log", 1500, simulate.WORLDS["label"], seed=4, gold=(120, 60))
    events.ingest(home / "log" / "events", home / "store")
    return Store.open(home / "store"), found.gold


def small(folder):
    """A store of six silent responses, r0 to r5."""
    return made(folder, good(6))
