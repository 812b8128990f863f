"""What the README shows is true: its snippets run, its commands and columns exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unskew import events, pipeline

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_first_two_commands_set_up_the_main_job_and_the_tests():
    first, second, *_ = blocks("sh")
    assert first.endswith("unskew quickstart\n")
    assert second.endswith("pytest -q\n")
    assert all(
        block.startswith("python3 -m venv .venv && .venv/bin/pip install '.[") for block in (first, second)
    )


def test_the_loss_of_your_own_is_checked_and_its_comment_is_true():
    pytest.importorskip("torch", reason="torch is not installed")
    (snippet,) = blocks("python")
    names: dict = {}
    exec(compile(snippet, "README.md", "exec"), names)
    with pytest.raises(AssertionError):
        names["assert_unbiased"](names["my_loss"], selection="label")


def test_the_events_of_the_format_are_read(tmp_path):
    (lines,) = blocks("json")
    rows = [json.loads(line) for line in lines.splitlines()]
    other = {**rows[0], "id": "r8"}
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, [*rows, other])) + "\n")
    (tmp_path / "key").write_text("a key that only this test knows")
    report = events.ingest([tmp_path / "log.jsonl"], tmp_path / "store", key_file=tmp_path / "key")
    assert report.balance["committed"] == 4
    assert report.balance["quarantined"] == 0


def test_every_command_and_flag_exists():
    commands = re.findall(r"^unskew (\w+) (.*)$", blocks("sh")[2], re.MULTILINE)
    assert len(commands) == 11
    for command, rest in commands:
        done = subprocess.run(
            [sys.executable, "-m", "unskew.cli", command, "--help"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        shown = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        assert all(flag in shown for flag in re.findall(r"--[a-z-]+", rest.split("#")[0])), (command, shown)


def test_every_part_that_is_named_is_there():
    import unskew

    for name in re.findall(r"`unskew\.(\w+)(?:\.\w+)?`", README):
        assert getattr(unskew, name)
    assert pipeline.train.__doc__
