"""What a disk may hold after the power went: a file system replayed from a record of changes.

Of a file only what was synced is safe, of a folder only the names that were there when it was synced; of all
else any part may be there. Written from what POSIX promises, not from what one file system does.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random


@dataclass
class File:
    """Bytes now, and bytes when it was last synced."""

    bytes: bytearray = field(default_factory=bytearray)
    safe: bytes = b""


@dataclass
class Folder:
    """Names now, and names when it was last synced."""

    names: "dict[str, File | Folder]" = field(default_factory=dict)
    safe: "dict[str, File | Folder]" = field(default_factory=dict)


Change = tuple[str, str, str, bytes]
Content = dict[str, bytes | None]


def changes(record: bytes) -> Iterator[Change]:
    """The record of `faults.c`: call, path, second path, bytes."""
    while record:
        line, _, record = record.partition(b"\n")
        call, one, two, length = line.decode().split("\t")
        yield call, one, two, record[: int(length)]
        record = record[int(length) :]


class Disk:
    """A folder `top` as a disk without power holds it."""

    def __init__(self, top: str) -> None:
        self.top, self.root = top, Folder()

    def _find(self, path: str) -> "tuple[Folder, str]":
        *folders, name = [part for part in path.removeprefix(self.top).split("/") if part]
        here = self.root
        for part in folders:
            found = here.names[part]
            assert isinstance(found, Folder)
            here = found
        return here, name

    def change(self, call: str, one: str, two: str, content: bytes) -> None:
        """Replays one change."""
        if one == self.top:
            if call == "fsync":
                self.root.safe = dict(self.root.names)
            return
        folder, name = self._find(one)
        if call == "mkdir":
            folder.names[name] = Folder()
        elif call == "create":
            folder.names.setdefault(name, File())
        elif call == "unlink":
            del folder.names[name]
        elif call in ("link", "rename"):
            target, new = self._find(two)
            target.names[new] = folder.names[name]
            if call == "rename":
                del folder.names[name]
        else:
            found = folder.names[name]
            if call == "write":
                assert isinstance(found, File)
                found.bytes += content
            elif isinstance(found, File):
                found.safe = bytes(found.bytes)
            else:
                found.safe = dict(found.names)

    def after(self, kept: Callable[[], bool]) -> Content:
        """Files (folders: None) after the power went; `kept` says of each unsafe thing if it is there."""
        found: Content = {}

        def walk(folder: Folder, at: str) -> None:
            for name in sorted(folder.names | folder.safe):
                now, safe = folder.names.get(name), folder.safe.get(name)
                there = now if now is safe or kept() else safe
                if isinstance(there, Folder):
                    found[f"{at}{name}"] = None
                    walk(there, f"{at}{name}/")
                elif there is not None:
                    whole = bytes(there.bytes)
                    found[f"{at}{name}"] = whole if whole == there.safe or kept() else there.safe

        walk(self.root, "")
        return found


def end(top: str, record: bytes) -> Content:
    """What is safe after all changes."""
    disk = Disk(top)
    for change in changes(record):
        disk.change(*change)
    return disk.after(lambda: False)


def states(top: str, record: bytes, *, without: str | None = None, draws: int = 2) -> Iterator[Content]:
    """Every different content after a cut at every change: nothing unsafe kept, all of it, and random parts.

    Syncs of files and folders whose path matches `without` are left out of the record.
    """
    random, disk = Random(7), Disk(top)
    seen: set[int] = set()
    choices: list[Callable[[], bool]] = [lambda: False, lambda: True]
    choices += [lambda: random.random() < 0.5] * draws
    for change in changes(record):
        if change[0] == "fsync" and without and re.search(without, change[1]):
            continue
        disk.change(*change)
        for kept in choices:
            content = disk.after(kept)
            mark = hash(frozenset(content.items()))
            if mark not in seen:
                seen.add(mark)
                yield content


def lay(content: Content, folder: Path) -> None:
    """Writes a content out."""
    for name, data in sorted(content.items()):
        if data is None:
            (folder / name).mkdir(mode=0o700)
        else:
            (folder / name).write_bytes(data)
