"""From the document of a mapping to the table of the core, with every key checked on the way."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from unskew import _rust
from unskew.mappings.paths import Way, absolute, parse

SHOWN = (
    *("id", "shown_at", "response", "prompt", "messages", "request", "session", "turn", "user", "model"),
    *("surface", "lang", "slot", "n_slots", "policy_id", "policy_prob", "offered", "parent", "received_at"),
)
EVENT = ("id", "at", "user", "actor", "version", "op", "comment", "received_at", "request")
COLUMNS = {
    "impression": SHOWN,
    "feedback": (*EVENT, "response", "session", "kind", "value"),
    "choice": (*EVENT, "winner"),
}
"""Canonical fields of a type of row."""

NEEDED = {
    "impression": (("id",), ("shown_at",), ("response",), ("prompt", "messages")),
    "feedback": (("id",), ("kind",), ("at",), ("response", "request", "session")),
    "choice": (("id",), ("request",), ("winner",), ("at",)),
}
"""Of each of these one must be given."""

TIMES = {"s": 6, "ms": 3, "us": 0, "ns": -3}
WHEN = ("shown_at", "at", "received_at")
KINDS = tuple(name for name, _, _ in _rust.kinds())
WORDS = {
    "kind": tuple(kind for kind in KINDS if kind != "choice"),
    "actor": ("user", "annotator", "judge", "system"),
    "op": ("upsert", "retract"),
}
"""Fields with a closed list of words."""

TOP = ["source", "title", "schemas", "time", "zone", "lost", "kinds", "record"]
RULE = ["name", "type", "skip", "each", "when", "has", "lacks", "columns", "extra"]
CHAT = ["role", "content", "roles", "last", "parent", "drop"]
PLACE = re.compile(r"(?:\.\./)*#")
SPEC = ["from", "is", "join", "messages", *CHAT, "map", "else", "keep", "as", "time"]
ZONE = re.compile(r"Z|[+-]\d\d:\d\d")


class MappingError(ValueError):
    """A mapping that cannot be used; the message says which file and key, what was found and expected."""


class Compiler:
    """Checks one document.

    Args:
        file: its name, for messages.
        document: what TOML gave.
    """

    def __init__(self, file: str, document: dict[str, Any]) -> None:
        self.file = file
        self.document = document
        self.used: list[str] = []
        self.each: tuple[tuple[Any, ...], ...] = ()

    def fail(self, where: str, found: Any, expected: str) -> NoReturn:
        """Raise with the place, the value and what it should be."""
        raise MappingError(f"{self.file}: {where} is {found!r}; expected {expected}")

    def keys(self, where: str, table: Any, known: Iterable[str]) -> None:
        """Refuse keys that the format does not have."""
        if not isinstance(table, dict):
            self.fail(where, table, "a table")
        known = list(known)
        for name in table:
            if name not in known:
                raise MappingError(f"{self.file}: {where} has no key {name!r}; there are {', '.join(known)}")

    def text(self, where: str, value: Any, expected: str = "a text") -> str:
        """A text that is not empty."""
        if not isinstance(value, str) or not value:
            self.fail(where, value, expected)
        return str(value)

    def texts(self, where: str, value: Any, expected: str) -> list[str]:
        """One text or a list of them."""
        items = value if isinstance(value, list) else [value]
        return [self.text(where, item, expected) for item in items]

    def compile(self) -> dict[str, Any]:
        """The fields of a `SourceMapping`; its table still an object."""
        self.keys("the file", self.document, TOP)
        title = self.text("title", self.document.get("title"))
        source = self.text("source", self.document.get("source"))
        schemas = self.texts("schemas", self.document.get("schemas"), "a list of versions of the export")
        lost = self.texts("lost", self.document.get("lost", []), "a list of paths")
        lost = [absolute(self.way("lost", path), ()) for path in lost]
        self.form("time", self.document.get("time", "rfc3339"))
        zone = self.document.get("zone")
        if zone is not None and not (isinstance(zone, str) and ZONE.fullmatch(zone)):
            self.fail("zone", zone, "Z or hours and minutes from UTC, such as +02:00")
        kinds = self.document.get("kinds", {})
        self.words("kinds", kinds, "kind")
        rules = self.document.get("record")
        if not isinstance(rules, list) or not rules:
            self.fail("record", rules, "at least one [[record]]")
        groups: list[dict[str, Any]] = []
        names: list[str] = []
        carried: dict[str, list[str]] = {}
        for number, rule in enumerate(rules):
            made = self.rule(rule, names)
            steps = [list(level) for level in self.each]
            if not groups or groups[-1]["each"] != steps:
                if any(group["each"] == steps for group in groups):
                    name = names[number]
                    self.fail(
                        f"record {name}: each", rule.get("each"), "records over one list to stand together"
                    )
                groups.append({"each": steps, "rules": []})
            groups[-1]["rules"].append(made)
            if made["make"]:
                carried.setdefault(made["make"], []).extend(column["field"] for column in made["columns"])
        return {
            "name": source,
            "title": title,
            "schemas": tuple(schemas),
            "lost": tuple(lost),
            "used": tuple(dict.fromkeys(self.used)),
            "records": tuple(names),
            "carried": {make: tuple(dict.fromkeys(fields)) for make, fields in carried.items()},
            "table": {"names": names, "groups": groups},
        }

    def rule(self, rule: Any, names: list[str]) -> dict[str, Any]:
        """One [[record]]."""
        self.keys("[[record]]", rule, RULE)
        name = self.text("the name of a record", rule.get("name"))
        if name in names:
            self.fail("the name of a record", name, "a name that no other record has")
        names.append(name)
        where = f"record {name}"
        self.each = self.levels(f"{where}: each", rule.get("each"))
        made: dict[str, Any] = {
            "name": len(names) - 1,
            "make": None,
            "when": [
                {"from": [self.path(f"{where}: when", path)], "any": self.literals(f"{where}: when", values)}
                for path, values in self.table(f"{where}: when", rule.get("when", {})).items()
            ],
            "columns": [],
            "extra": [],
        }
        for key in ("has", "lacks"):
            paths = self.texts(f"{where}: {key}", rule.get(key, []), "a path or a list of paths")
            made[key] = [self.path(f"{where}: {key}", path) for path in paths]
        if "skip" in rule:
            self.text(f"{where}: skip", rule["skip"], "a sentence that says why it is not carried")
            for key in ("type", "columns", "extra"):
                if key in rule:
                    self.fail(f"{where}: {key}", rule[key], "nothing beside `skip`")
            return made
        make = rule.get("type")
        if make not in COLUMNS:
            self.fail(f"{where}: type", make, f"one of {', '.join(COLUMNS)}, or `skip` with the reason")
        made["make"] = make
        columns = self.table(f"{where}: columns", rule.get("columns", {}))
        self.keys(f"{where}: columns", columns, COLUMNS[make])
        for choices in NEEDED[make]:
            if not any(name in columns for name in choices):
                raise MappingError(
                    f"{self.file}: {where} has no column {' or '.join(choices)}, which {make} needs"
                )
        # messages come first: where there are any, the prompt follows from them
        for field in sorted(columns, key=lambda name: name != "messages"):
            specs = columns[field] if isinstance(columns[field], list) else [columns[field]]
            made["columns"].append(
                {"field": field, "specs": [self.spec(f"{where}: {field}", field, spec) for spec in specs]}
            )
        extra = self.table(f"{where}: extra", rule.get("extra", {}))
        made["extra"] = [[name, self.path(f"{where}: extra", path)] for name, path in extra.items()]
        return made

    def table(self, where: str, value: Any) -> dict[str, Any]:
        """A table with text keys, as every table of TOML has."""
        if not isinstance(value, dict):
            self.fail(where, value, "a table")
        return dict(value)

    def path(self, where: str, text: Any) -> dict[str, Any]:
        """A path, noted as used."""
        way = self.way(where, text)
        self.used.append(absolute(way, self.each))
        return way.to_json()

    def way(self, where: str, text: Any) -> Way:
        """A path."""
        text = self.text(where, text, "a path such as meta/message_id")
        try:
            way = parse(text)
        except ValueError as error:
            raise MappingError(f"{self.file}: {where} is {text!r}; {error}") from None
        if (way.up or 0) > len(self.each):
            self.fail(where, text, f"at most {len(self.each)} `..`, one for each `*` of `each`")
        return way

    def levels(self, where: str, each: Any) -> tuple[tuple[Any, ...], ...]:
        """The lists that an `each` goes through."""
        self.each = ()
        if each is None:
            return ()
        steps = self.way(where, each).steps
        if steps[-1:] != ("each",):
            self.fail(where, each, "a path that ends with `*`, such as responses/*")
        levels: list[tuple[Any, ...]] = []
        level: list[Any] = []
        for step in steps:
            level.append(step)
            if step == "each":
                levels.append(tuple(level))
                level = []
        return tuple(levels)

    def spec(self, where: str, field: str, spec: Any) -> dict[str, Any]:
        """One way to a column."""
        if isinstance(spec, str):
            spec = {"from": spec}
        self.keys(where, spec, SPEC)
        sources = [key for key in ("from", "is", "join", "messages") if key in spec]
        if len(sources) != 1:
            self.fail(where, sources or spec, "one of from, is, join, messages")
        made: dict[str, Any] = {"source": self.source(where, field, spec, sources[0]), "keep": False}
        if "map" in spec:
            mapped = self.document.get("kinds", {}) if spec["map"] == "kinds" else spec["map"]
            if not isinstance(mapped, dict):
                self.fail(f"{where}: map", mapped, "a table from word to value, or `kinds`")
            self.words(f"{where}: map", mapped, field)
            made["map"] = {name: self.literal(f"{where}: map", value) for name, value in mapped.items()}
        for key in ("else", "keep"):
            if key in spec and "map" not in spec:
                self.fail(f"{where}: {key}", spec[key], "a `map` beside it")
        if "else" in spec:
            self.words(f"{where}: else", {"": spec["else"]}, field)
            made["else"] = self.literal(f"{where}: else", spec["else"])
        if "keep" in spec:
            if not isinstance(spec["keep"], bool):
                self.fail(f"{where}: keep", spec["keep"], "true or false")
            made["keep"] = spec["keep"]
        if "as" in spec:
            if spec["as"] not in ("number", "text"):
                self.fail(f"{where}: as", spec["as"], "number or text")
            made["as"] = spec["as"]
        if "time" in spec or field in WHEN:
            if field not in (*WHEN, "version"):
                self.fail(f"{where}: time", spec["time"], f"it on {', '.join(WHEN)} or version only")
            form = spec.get("time", self.document.get("time", "rfc3339"))
            made["time"] = self.form(f"{where}: time", form)
        return made

    def source(self, where: str, field: str, spec: dict[str, Any], key: str) -> dict[str, Any]:
        """Where the value comes from."""
        value = spec[key]
        if key != "messages" and (stray := [name for name in CHAT if name in spec]):
            self.fail(f"{where}: {stray[0]}", spec[stray[0]], "`messages` beside it")
        if key == "is":
            self.words(where, {"": value}, field)
            return {"is": self.literal(where, value)}
        if key == "from":
            paths = self.texts(where, value, "a path or a list of paths")
            return {"from": [self.path(where, path) for path in paths]}
        if key == "join":
            return {"join": self.pieces(where, self.text(where, value, "a text such as {id}-{#}"))}
        if field != "messages":
            self.fail(where, value, "`messages` in the column messages only")
        return {"messages": self.chat(where, spec)}

    def pieces(self, where: str, text: str) -> list[Any]:
        """The pieces of a joined text."""
        found = re.split(r"\{([^{}]*)\}", text)
        if len(found) < 2 or any("{" in piece or "}" in piece for piece in found):
            self.fail(where, text, "a text with at least one path in braces, such as {id}-{#}")
        pieces: list[Any] = []
        for number, piece in enumerate(found):
            if number % 2 == 0:
                pieces += [{"text": piece}] if piece else []
            else:
                pieces.append(self.piece(where, piece))
        return pieces

    def piece(self, where: str, piece: str) -> Any:
        """What stands in braces."""
        if piece == "(hash)":
            return "hash"
        if PLACE.fullmatch(piece):
            if piece.count("../") > len(self.each):
                self.fail(where, piece, f"at most {len(self.each)} `..`, one for each `*` of `each`")
            return {"place": piece.count("../")}
        return {"path": self.path(where, piece)}

    def chat(self, where: str, spec: dict[str, Any]) -> dict[str, Any]:
        """A list of messages."""
        made: dict[str, Any] = {"each": [], "role": [], "content": [], "last": None, "parent": None}
        if ("last" in spec) != ("parent" in spec):
            self.fail(where, spec, "`last` and `parent` together, or neither")
        if "last" in spec:
            made["last"] = self.path(f"{where}: last", spec["last"])
            made["parent"] = self.text(f"{where}: parent", spec["parent"], "the name of a member")
        for text in self.texts(where, spec["messages"], "a path, or a list of paths"):
            way = self.way(where, text)
            if "last" not in spec and way.steps[-1:] != ("each",):
                self.fail(where, text, "a path that ends with `*`, such as input/*")
            made["each"].append(way.to_json())
            self.used.append(absolute(way, self.each))
        drop = spec.get("drop", 0)
        if not isinstance(drop, int) or isinstance(drop, bool) or drop < 0:
            self.fail(
                f"{where}: drop", drop, "a number of messages at the end that are not part of the prompt"
            )
        made["drop"] = drop
        for part in ("role", "content"):
            for text in self.texts(f"{where}: {part}", spec.get(part, part), "a path or a list of paths"):
                way = self.way(f"{where}: {part}", text)
                if way.up != 0:
                    self.fail(f"{where}: {part}", text, "a path from the message")
                made[part].append(way.to_json())
        roles = self.table(f"{where}: roles", spec.get("roles", {}))
        made["roles"] = {name: self.text(f"{where}: roles", role) for name, role in roles.items()}
        return made

    def form(self, where: str, form: Any) -> dict[str, Any]:
        """How a time is written."""
        if form == "rfc3339":
            return {"text": self.document.get("zone")}
        if form not in TIMES:
            self.fail(where, form, f"rfc3339, or a unit since 1970: {', '.join(TIMES)}")
        return {"units": TIMES[form]}

    def words(self, where: str, words: Mapping[str, Any], field: str) -> None:
        """Refuse words that a field does not know."""
        if not isinstance(words, dict):
            self.fail(where, words, "a table")
        for value in words.values():
            if field in WORDS and value not in WORDS[field]:
                self.fail(where, value, f"one of {', '.join(WORDS[field])}")
            known = KINDS if field == "offered" and isinstance(value, list) else ()
            if known and (wrong := [name for name in value if name not in known]):
                self.fail(where, wrong[0], f"kinds among {', '.join(known)}")

    def literals(self, where: str, values: Any) -> list[Any]:
        """One value or a list of them."""
        items = values if isinstance(values, list) else [values]
        if not items:
            self.fail(where, values, "at least one value")
        return [self.literal(where, item) for item in items]

    def literal(self, where: str, value: Any) -> Any:
        """A value that a field can have."""
        sound = isinstance(value, (str, bool, int, float))
        if not sound and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            self.fail(where, value, "a text, a number, true or false")
        return value
