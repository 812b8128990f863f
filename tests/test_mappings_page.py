"""docs/mappings.md is true: its example runs, and it names every key, step and product there is."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from test_mappings_golden import rows, table
from unskew import cli, events, mappings
from unskew.mappings.table import CHAT, RULE, SPEC, TIMES, TOP

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "mappings.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return TEXT.split(f"## {title}\n")[1].split("\n## ")[0]


def named(text: str) -> set[str]:
    """The first cell of every row of the tables of a section."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """The example in a working directory with a key of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNSKEW_KEY", "a key that only this test knows")
    (log,), (mapping,) = blocks("json"), blocks("toml")
    Path("chat.jsonl").write_text(log, "utf-8")
    Path("acme.toml").write_text(mapping, "utf-8")
    return tmp_path


def test_the_example_is_read_as_the_page_says(acme):
    commands = [shlex.split(line) for line in "".join(blocks("sh")).splitlines()]
    assert [command[0] for command in commands] == ["unskew", "unskew"]
    told, done = (CliRunner().invoke(cli.app, [*command[1:], "--json"]) for command in commands)
    assert (told.exit_code, done.exit_code) == (0, 0), (told.exception, done.exception)
    coverage, report = json.loads(told.stdout), json.loads(done.stdout)
    assert coverage["live"] == {"impressions": 2, "silent": 1, "feedback": 2}
    assert coverage["unknown"] == []
    assert report["balance"]["skipped"] == 1
    one, other = rows(acme / "store", "impressions")
    assert (one["prompt"], one["response"], one["policy_prob"]) == ("user: Capital of Peru?", "Lima.", 0.25)
    assert other["response"] == "Santiago."
    assert [(row["kind"], row["value"]) for row in table(acme / "store", "feedback")] == [
        ("thumbs", 1.0),
        ("rating", 5.0),
    ]


def test_the_three_lines_for_a_score_of_ones_own_are_enough(acme):
    (sentence,) = [line for line in TEXT.splitlines() if "takes three lines" in line]
    Path("mine.toml").write_text("\n".join(re.findall(r"`([^`]*)`", sentence)), "utf-8")
    assert '"helpful": "thumbs"' in mappings.load("mine.toml").table


def test_the_page_names_every_key_and_no_other():
    assert named(section("Top of the file")) == {*TOP, "extends"}
    assert named(section("A record type")) == set(RULE)
    assert named(section("A column")) == set(SPEC) - set(CHAT)
    assert set(CHAT) <= set(re.findall(r"`(\w+)`", section("A column")))
    assert set(TIMES) <= set(re.findall(r"`(\w+)`", section("Top of the file")))


def test_the_page_names_every_product():
    (sentence,) = [line for line in TEXT.splitlines() if line.startswith("These come with the package")]
    assert re.findall(r"`(\w+)`", sentence) == mappings.shipped()


def test_every_step_of_the_page_is_one(acme):
    for step in named(section("A path")):
        text = Path("acme.toml").read_text("utf-8").replace('"engine/name"', f'"engine/{step}"')
        Path("step.toml").write_text(text, "utf-8")
        assert events.dry_run("chat.jsonl", mapping="step.toml").balance["lines"] == 3, step
