"""Paths of a mapping: names between slashes, from an item (`a/b`), the record (`/a/b`), or above (`../a`).

Between the names: `0` and `-1` (items of a list), `*` (all of them), `(json)` (the JSON in a string),
`(pairs)` (a list of key and value as an object), `(name=text)` (only where a member is this text), `{path}`
(the member whose name stands at another path). In a name `~1` is a slash, `~0` a tilde, and `~2` alone is
the empty name.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

STEPS = {"*": "each", "(json)": "json", "(pairs)": "pairs"}


@dataclass(frozen=True)
class Way:
    """A path as the core takes it.

    Args:
        up: levels of nesting above the item; None = from the record itself.
        steps: keys, numbers of items, and `each`, `json`, `pairs`.
    """

    up: int | None
    steps: tuple[Any, ...]

    def to_json(self) -> dict[str, Any]:
        """The path in the table."""
        return {"up": self.up, "steps": list(self.steps)}


def parse(text: str) -> Way:
    """The steps of a path.

    Raises:
        ValueError: the path is empty, a brace is left open, or `..` stands anywhere but at its beginning.
    """
    up: int | None = 0
    rest = text
    if text.startswith("/"):
        up, rest = None, text[1:]
    parts = [part for part in split(rest) if part != "."]
    while up is not None and parts and parts[0] == "..":
        up, parts = up + 1, parts[1:]
    if not text or ("" in parts and rest) or ".." in parts:
        raise ValueError("expected names between slashes, `..` at the beginning only")
    return Way(up, tuple(_step(part) for part in parts if part))


def split(text: str) -> list[str]:
    """The parts between slashes; a slash in braces is none."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "/" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
        if depth < 0:
            break
    if depth:
        raise ValueError("expected a closing brace for each opening one")
    return parts


def _step(part: str) -> Any:
    if part in STEPS:
        return STEPS[part]
    if part.startswith("{") and part.endswith("}"):
        return {"of": parse(part[1:-1]).to_json()}
    if part.startswith("(") and part.endswith(")"):
        name, equal, text = part[1:-1].partition("=")
        if not equal or not name:
            raise ValueError(f"{part} is no step; there are (json), (pairs) and (name=text)")
        return {"where": [name, text]}
    if part.lstrip("-").isdecimal() and part.isascii() and part.count("-") <= 1:
        return {"at": int(part)}
    return {"key": part.replace("~2", "").replace("~1", "/").replace("~0", "~")}


def absolute(way: Way, each: tuple[tuple[Any, ...], ...]) -> str:
    """The path from the record, for reports: items of lists are `*`, and it ends where a string is opened."""
    levels = () if way.up is None else each[: len(each) - way.up]
    names: list[str] = []
    for step in [*(step for level in levels for step in level), *way.steps]:
        if step == "json":
            break
        if step != "pairs" and not (isinstance(step, dict) and "where" in step):
            names.append(step["key"].replace("/", "~1") if isinstance(step, dict) and "key" in step else "*")
    return "/".join(names)


def covers(above: str, path: str) -> bool:
    """Whether `path` is `above` or lies inside it; `*` in a name of `above` stands for any text."""
    known, names = above.split("/"), path.split("/")
    inside = len(names) >= len(known)
    return inside and all(fnmatchcase(name, one) for one, name in zip(known, names, strict=False))
