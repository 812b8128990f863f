"""The 63 logs of `fault_logs`: nothing wrong in silence, no crash, no valid one refused, faults contained."""

import contextlib
import json
import re
import subprocess
import sys

import pytest

import fault_logs
from logs import table

MEMORY = 256  # MiB, resident, over all of them

CODE = """
import json, resource, sys
from pathlib import Path
from unskew import events
if sys.platform == "linux":
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
for path in sorted(Path(sys.argv[1]).iterdir()):
    said = {"case": path.name.split(".")[0]}
    try:
        report = events.ingest(path, Path(sys.argv[2]) / said["case"])
        said["books"], said["quarantine"] = dict(report.balance), dict(report.quarantine)
    except Exception as error:
        said["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(said), flush=True)
status = Path("/proc/self/status")
peak = next(line for line in status.open() if "VmHWM" in line) if status.exists() else "0 0"
print(json.dumps({"case": "memory", "peak": int(peak.split()[1]) / 1024}))
"""


def run(cases, logs, stores):
    """What became of each, in one process with two gigabytes."""
    for case in cases:
        (logs / f"{case.name}.{case.ending}").write_bytes(case.content)
    command = [sys.executable, "-c", CODE, str(logs), str(stores)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lines[-1:], done.stderr)
    return {line["case"]: line for line in lines}


def check(case, said, store):
    """The file is refused whole, by name, or every good row is exact and every fault is in the quarantine."""
    if case.error:
        pattern = f"OSError: .*{case.name}.*: {case.error} .*nothing of this run was committed"
        assert re.match(pattern, said["error"])
        assert not list(store.rglob("*.arrow"))
        return
    assert "error" not in said
    books = said["books"]
    assert books["lines"] == sum(count for part, count in books.items() if part != "lines")
    names = ("response_id", "prompt", "response", "request_id")
    kept = [
        (*(row[name] for name in names), json.loads(row["extra"] or "{}"))
        for row in table(store, "impressions").to_pylist()
    ]
    assert kept == [fault_logs.delivered(row) for row in case.kept]
    refused = table(store, "quarantine").to_pylist()
    assert sorted((row["line"], row["reason"]) for row in refused) == case.refused
    assert all(row["file"].endswith(f"{case.name}.{case.ending}") for row in refused)


@contextlib.contextmanager
def collected(name, wrong):
    """What is wrong with a case, so that all are seen at once."""
    try:
        yield
    except AssertionError as error:
        wrong[name] = str(error)


def test_of_63_logs_nothing_is_wrong_refused_or_lost_and_every_fault_is_contained(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSKEW_KEY", "a key for these tests only")
    logs, stores = tmp_path / "logs", tmp_path / "stores"
    logs.mkdir()
    cases = fault_logs.cases()
    assert len({case.name for case in cases}) == 63
    assert sum(case.faulty for case in cases) == 40
    said = run(cases, logs, stores)
    wrong = {}
    for case in cases:
        with collected(case.name, wrong):
            check(case, said[case.name], stores / case.name)
    assert wrong == {}
    assert said["memory"]["peak"] < MEMORY


def test_the_generators_of_broken_text_do_what_they_say():
    sequences = fault_logs.invalid_utf8()
    assert len(set(sequences)) == 138
    for one in sequences:
        with pytest.raises(UnicodeDecodeError):
            one.decode()
    assert len(set(fault_logs.not_json(185))) == 185
