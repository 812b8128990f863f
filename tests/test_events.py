"""The kinds of feedback and the front door of ingestion."""

import subprocess
import sys

import pytest

from unskew import _rust, events
from unskew.events import KIND, KINDS, Kind


def test_kinds_equal_the_table_of_the_core():
    assert [(kind.name, kind.bit, kind.side) for kind in KINDS] == _rust.kinds()
    assert [kind.bit for kind in KINDS] == list(range(16))
    assert list(KIND.values()) == list(KINDS)


def test_a_kind_is_two_sided_one_sided_or_no_evidence():
    assert KIND["thumbs"].two_sided
    assert not KIND["thumbs"].one_sided
    assert KIND["regenerate"].one_sided
    assert not KIND["regenerate"].two_sided
    assert not KIND["dwell"].one_sided
    assert not KIND["dwell"].two_sided
    assert KIND["copy"].mask == 8


def test_a_kind_cannot_be_changed():
    with pytest.raises(AttributeError):
        KINDS[0].name = "smile"  # type: ignore[misc]
    assert Kind("thumbs", 0, "two") == KINDS[0]


def test_inputs_are_files_globs_directories_and_standard_input(tmp_path):
    for name in (
        "b.jsonl",
        "a.jsonl.gz",
        "deep/c.ndjson.zst",
        "notes.txt",
        "deep/d.json",
        "e.csv.gz",
        "f.parquet",
        "f.parquet.gz",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def names(inputs):
        return [path.removeprefix(f"{tmp_path}/") for path in events.expand(inputs)]

    logs = ["a.jsonl.gz", "b.jsonl", "deep/c.ndjson.zst", "deep/d.json", "e.csv.gz", "f.parquet"]
    assert names(tmp_path) == logs
    assert names(f"{tmp_path}/*.jsonl*") == ["a.jsonl.gz", "b.jsonl"]
    assert names(["-", tmp_path / "notes.txt"]) == ["-", "notes.txt"]


def test_an_input_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        events.expand(tmp_path / "none*.jsonl")
    assert str(caught.value) == (
        f"{tmp_path}/none*.jsonl: no such file, and no log file "
        "(.jsonl, .ndjson, .json, .csv, .tsv, .parquet) matches it"
    )


def test_importing_events_loads_nothing_heavy():
    code = (
        "import sys, unskew.events; print(sorted({'numpy', 'pyarrow', 'torch', 'pandas'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
