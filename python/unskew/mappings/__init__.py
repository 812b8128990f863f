"""Records of other products as canonical rows, by a TOML file a product: read, checked, compiled.

A file names the record types of a product's export, the condition on which a record is one, and the path of
every canonical field; see `docs/mappings.md`. The core applies the compiled table to each line, so a mapped
source is read by the same code as canonical lines: same checks, same reasons to refuse, same books.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unskew.mappings.paths import covers
from unskew.mappings.table import Compiler, MappingError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["MappingError", "SourceMapping", "load", "shipped"]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class SourceMapping:
    """A mapping, ready for the core.

    Args:
        name: namespace of the ids when none is given.
        title: the product and the export, for people.
        schemas: documented versions of the export that it reads.
        lost: paths of fields that are not carried, from the record; `*` stands for every item of a list.
        used: paths of the fields that are.
        records: names of its rules, in order.
        carried: canonical fields that it can fill, by type of row.
        table: JSON for the core.
    """

    name: str
    title: str
    schemas: tuple[str, ...]
    lost: tuple[str, ...]
    used: tuple[str, ...]
    records: tuple[str, ...]
    carried: Mapping[str, tuple[str, ...]]
    table: str

    def unknown(self, fields: "Mapping[str, int] | Iterator[str]") -> list[str]:
        """The paths among `fields` that are neither carried nor declared lost."""
        known = (*self.used, *self.lost)
        return sorted(path for path in fields if not any(covers(above, path) for above in known))


def shipped() -> list[str]:
    """Names of the mappings that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(mapping: str | os.PathLike[str]) -> SourceMapping:
    """A mapping by the name of a shipped one, or from a file.

    Raises:
        MappingError: the file is not TOML, or a key is not what it must be; the message says where.
        FileNotFoundError: there is no such file.
        ValueError: no mapping of that name is shipped.
    """
    document, path = _read(mapping)
    compiled = Compiler(str(path), document).compile()
    return SourceMapping(**{**compiled, "table": json.dumps(compiled["table"], sort_keys=True)})


def _read(mapping: str | os.PathLike[str], below: tuple[Path, ...] = ()) -> tuple[dict[str, Any], Path]:
    """The document of a file, on top of the one it extends."""
    text = os.fspath(mapping)
    path = Path(text)
    if not text.endswith(".toml"):
        path = FOLDER / f"{text}.toml"
        if text not in shipped():
            raise ValueError(
                f"no mapping is named {text!r}; there are {', '.join(shipped())}. "
                "A file of your own ends with .toml and goes to `--mapping`"
            )
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: not TOML: {error}") from error
    base = document.pop("extends", None)
    if base is None:
        return document, path
    if not isinstance(base, str) or not base:
        raise MappingError(f"{path}: extends is {base!r}; expected the name of a mapping, or a .toml file")
    if path in below:
        raise MappingError(f"{path}: extends itself")
    beside = path.parent / base
    base = beside if base.endswith(".toml") else base
    under, _ = _read(base, (*below, path))
    for name, value in document.items():
        old = under.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            under[name] = {**old, **value}
        elif name == "lost" and isinstance(value, list):
            under[name] = [*(old or []), *value]
        else:
            under[name] = value
    return under, path
