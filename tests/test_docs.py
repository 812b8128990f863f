"""The pages of docs/ are true: commands run, figures are in the results, the audit says what a table says."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from unskew import cli, events, pipeline, simulate
from unskew.audit import gates
from unskew.features import Hashing

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "which-situation.md"
TEXT = PAGE.read_text("utf-8")
GATES = (ROOT / "docs" / "gates.md").read_text("utf-8")
RESULTS = (ROOT / "benches" / "RESULTS.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def small_features(monkeypatch):
    """Hashing into 64 columns: the commands are under test, not the models."""
    _, *rest = Hashing.__init__.__defaults__
    monkeypatch.setattr(Hashing.__init__, "__defaults__", (64, *rest))


@pytest.fixture
def home(tmp_path, monkeypatch, small_features):
    """A working directory with a key of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNSKEW_KEY", "a key that only this test knows")
    return tmp_path


def test_every_command_runs_in_order_on_a_small_log(home):
    commands = [shlex.split(line) for line in "".join(blocks("sh")).splitlines()]
    assert len(commands) >= 8
    for command in commands:
        assert command[0] == "unskew"
        small = ["1000" if word == "2000" else word for word in command[1:]]
        if small[0] == "train":
            small += ["--accept-red", "a log of 1000 answers"]
        done = CliRunner().invoke(cli.app, small)
        red = done.exit_code == 8 and small[0] == "audit"
        assert done.exit_code == 0 or red, (command, done.output, done.exception)
    planned = [json.loads(line) for line in Path("gold-plan.jsonl").read_text("utf-8").splitlines()]
    assert len(planned) == 600
    assert all(row["label"] is None for row in planned)
    assert Path("run/report.html").is_file()


def test_every_flag_and_setting_that_is_named_exists():
    flags = set(re.findall(r"--[a-z][a-z-]+", TEXT))
    shown = "".join(
        CliRunner().invoke(cli.app, [name, "--help"]).output for name in ("audit", "ingest", "train")
    )
    shown += CliRunner().invoke(cli.app, ["simulate", "--help"]).output
    shown += CliRunner().invoke(cli.app, ["evaluate", "--help"]).output
    assert flags - set(re.findall(r"--[a-z][a-z-]+", shown)) == set()
    (settings,) = blocks("yaml")
    known = {field.name for field in fields(pipeline.TrainConfig)}
    assert set(re.findall(r"^(\w+):", settings, re.MULTILINE)) <= known


def log(home, name, change, *, gold=None):
    """Colour and estimators that the audit gives to a simulated log of which `change` keeps a part."""
    made = home / "logs"
    if not made.exists():
        simulate.simulate(made, 500, simulate.WORLDS["label"], 0, gold=(100, 60))
    lines = (made / "events" / "part-00000.jsonl").read_text("utf-8").splitlines()
    rows = change([json.loads(line) for line in lines])
    (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    events.ingest([home / f"{name}.jsonl"], home / name)
    return pipeline.audit_store(home / name, gold=gold and made / "gold.jsonl")


def voted(rows):
    said = {row["response"] for row in rows if row["type"] == "feedback"}
    return [row for row in rows if row["type"] == "feedback" or row["id"] in said]


def unoffered(rows):
    return [{name: value for name, value in row.items() if name != "offered"} for row in rows]


def implicit(rows):
    votes = ("thumbs", "rating")
    kept = [row for row in rows if row.get("kind") not in votes]
    return [
        {**row, "offered": [kind for kind in row["offered"] if kind not in votes]}
        if "offered" in row
        else row
        for row in kept
    ]


def thumbs_alone(rows):
    kept = [row for row in rows if row.get("kind", "thumbs") == "thumbs"]
    return [{**row, "offered": ["thumbs"]} if "offered" in row else row for row in kept]


def test_the_audit_says_what_the_table_says(home):
    """Each colour of the table that does not depend on how long the log is."""
    assert log(home, "whole", list)["colour"] != "green"  # no gold
    assert log(home, "voted", voted)["colour"] == "red"
    assert log(home, "unoffered", unoffered)["colour"] == "red"
    assert log(home, "implicit", implicit)["colour"] == "red"
    assert log(home, "thumbs", thumbs_alone)["estimators"]["evidence"] == "red"
    assert log(home, "labelled", implicit, gold=True)["estimators"]["evidence"] != "red"
    run = pipeline.train(home / "labelled", home / "run", bootstrap=2)
    assert [arm["name"] for arm in run["arms"]] == ["evidence"]  # clicks have no naive reading
    told = log(home, "told", voted, gold=True)["estimators"]
    speak = {name for name, colour in told.items() if colour != "red"}
    assert speak <= {"noise_corrected"}  # for voters alone


def figures(text):
    """Shares and decimal fractions of a text, as they are written, percentages as such."""
    return set(re.findall(r"(?<![\w.])\.?\d+(?:,\d{3})*(?:\.\d+)?(?: %|%)?", text))


def unmeasured(page, limits):
    """Shares and decimal fractions of a page that are neither limits nor in the results."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    measured = {f for f in figures(prose) if "." in f or "%" in f}
    assert len(measured) > 10
    known = {f.replace(" ", "").lstrip("0") for f in figures(RESULTS)}
    return {f for f in measured - limits if f.replace(" ", "").lstrip("0") not in known}


def test_every_measured_figure_stands_in_the_results():
    assert unmeasured(TEXT, {f"{gates.SHARE:.0%}".replace("%", " %")}) == set()
    limits = {f"{value:g}" for value in vars(gates).values() if isinstance(value, float)}
    shares = {f"{value:.0%}".replace("%", " %") for value in (gates.SHARE, gates.CLIPPED)} | {"95 %"}
    world = {"0.1", "0.2", "0.3", "0.5", "0.002"}  # errors and strengths that the bench sets, its tolerance
    assert unmeasured(GATES, limits | shares | world) == set()


def test_the_limits_of_the_gates_are_those_of_the_code():
    assert f"fewer than {gates.EXAMPLES}, or under {gates.SHARE:.0%}".replace("%", " %") in TEXT
    assert f"Under {gates.GOLD} labels count as none" in TEXT


def test_the_table_of_gates_is_that_of_the_code():
    rows = [line.split(" | ") for line in GATES.splitlines() if line.startswith("| `")]
    limits = {cells[0].split("`")[1]: cells[1] for cells in rows}
    said = {
        "error rates": f"above {gates.MIN_D}, {gates.MIN_D_LOW} at the bound; amber below {gates.D_AMBER}",
        gates.LABEL_TEST: f"p value {gates.SIGNIFICANCE}",
        gates.FEATURE_TEST: f"p value {gates.SIGNIFICANCE}",
        "smaller class propensity": f"{gates.CLASS_LOW}",
        "no gold": f"{gates.SHARE:.0%}".replace("%", " %"),
        "mean of o / p": f"{gates.MEAN_LOW} to {gates.MEAN_HIGH}",
        "clipped mass of a class": f"{gates.CLIPPED:.0%}".replace("%", " %"),
        "balance after weighting": f"{gates.DIFFERENCE}",
        "balance without weights": f"{gates.DIFFERENCE}",
        "effective sample size": f"{gates.ESS_RED}; amber below {gates.ESS_AMBER}",
        "class-wise effective sample size": f"{gates.ESS_RED}; amber below {gates.ESS_AMBER}",
        "observed examples of a class": f"{gates.EXAMPLES}",
        "gold labels": f"{gates.GOLD}",
    }
    assert {name: limits[name] for name in said} == said
    assert f"| {gates.REACH} standard errors if one class answered twice as often |" in GATES
    code = "".join(
        (Path(gates.__file__).parent / name).read_text("utf-8") for name in ("gates.py", "whole.py")
    )
    named = {gates.LABEL_TEST, gates.FEATURE_TEST}
    assert {name for name in limits if name not in named and f'"{name}"' not in code} == set()
