"""Mappings that cannot be used are refused with file, key, what was found and what was expected."""

import pytest

from test_mappings import ONE, mapping
from unskew import mappings

SCHEMA, PROMPT = 'schemas = ["1"]', 'prompt = "p"'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('title = "one"', ""), "title is None; expected a text"),
        ((SCHEMA, "schemas = []\nschemes = 1"), "the file has no key 'schemes'; there are source"),
        ((SCHEMA, SCHEMA + '\ntime = "min"'), "time is 'min'; expected rfc3339, or a unit since 1970"),
        ((SCHEMA, SCHEMA + '\nzone = "CET"'), "zone is 'CET'; expected Z or hours and minutes"),
        ((SCHEMA, SCHEMA + '\nlost = ["a//b"]'), "lost is 'a//b'; expected names between slashes"),
        ((SCHEMA, SCHEMA + '\nkinds = { a = "like" }'), "kinds is 'like'; expected one of thumbs"),
        (('type = "impression"', 'type = "shown"'), "record shown: type is 'shown'; expected one of impre"),
        (('type = "impression"', 'type = "impression"\nskip = "x"'), "record shown: type is 'impression';"),
        (('shown_at = "t"', ""), "record shown has no column shown_at, which impression needs"),
        ((PROMPT, ""), "record shown has no column prompt or messages, which impression needs"),
        ((PROMPT, 'promt = "p"'), "record shown: columns has no key 'promt'; there are id, shown_at"),
        ((PROMPT, 'prompt = "../p"'), "record shown: prompt is '../p'; expected at most 0 `..`"),
        ((PROMPT, 'prompt = "a/../p"'), "record shown: prompt is 'a/../p'; expected names between slashes"),
        ((PROMPT, 'prompt = "(jsn)"'), "record shown: prompt is '(jsn)'; (jsn) is no step"),
        ((PROMPT, 'prompt = "{a"'), "record shown: prompt is '{a'; expected a closing brace"),
        ((PROMPT, 'prompt = { path = "p" }'), "record shown: prompt has no key 'path'; there are from"),
        ((PROMPT, 'prompt = { from = "p", is = "q" }'), "record shown: prompt is ['from', 'is']; expected"),
        ((PROMPT, 'prompt = { from = "p", else = "q" }'), "record shown: prompt: else is 'q'; expected a"),
        ((PROMPT, 'prompt = { from = "p", as = "int" }'), "record shown: prompt: as is 'int'; expected nu"),
        ((PROMPT, 'prompt = { from = "p", time = "s" }'), "record shown: prompt: time is 's'; expected it"),
        ((PROMPT, 'prompt = { join = "p" }'), "record shown: prompt is 'p'; expected a text with at least"),
        ((PROMPT, 'prompt = { messages = "p/*" }'), "record shown: prompt is 'p/*'; expected `messages` i"),
        ((PROMPT, 'messages = { messages = "p" }'), "record shown: messages is 'p'; expected a path that"),
        ((PROMPT, 'prompt = "p"\noffered = { is = ["like"] }'), "record shown: offered is 'like'; expecte"),
        (('has = ["id"]', 'each = "a"'), "record shown: each is 'a'; expected a path that ends with `*`"),
        (('has = ["id"]', "when = { a = [] }"), "record shown: when is []; expected at least one value"),
        (('has = ["id"]', "when = { a = { b = 1 } }"), "record shown: when is {'b': 1}; expected a text,"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_used_is_refused_with_its_place(tmp_path, change, message):
    assert change[0] in ONE
    path = mapping(tmp_path, ONE.replace(*change, 1))
    with pytest.raises(mappings.MappingError) as caught:
        mappings.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_files_that_are_no_mappings_are_named(tmp_path):
    with pytest.raises(mappings.MappingError, match=r"one\.toml: not TOML: "):
        mappings.load(mapping(tmp_path, "title ="))
    with pytest.raises(mappings.MappingError, match=r"one\.toml: extends itself"):
        mappings.load(mapping(tmp_path, 'extends = "one.toml"'))
    with pytest.raises(ValueError, match="no mapping is named 'langfues'; there are arena, argilla"):
        mappings.load("langfues")
    with pytest.raises(FileNotFoundError):
        mappings.load(tmp_path / "none.toml")
