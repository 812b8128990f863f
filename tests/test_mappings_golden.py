"""Every shipped mapping on a few records of each documented schema: rows, books, join, losses.

A folder below `tests/fixtures/PRODUCT` is one version of its export; `expected.json` holds
what must come out.
After a change that is meant, `UNSKEW_WRITE_EXPECTED=1 pytest tests/test_mappings_golden.py` writes it anew.
"""

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from unskew import _rust, events, mappings
from unskew.events import KINDS

FIXTURES = Path(__file__).parent / "fixtures"
CASES = sorted(path.parent for path in FIXTURES.glob("*/*/expected.json"))
HASHES = {"event_key", "response_key", "prompt_hash", "text_hash", "content_hash"}
HIDDEN = HASHES | {"src", "off", "len", "source"}
PEOPLE = {"session_key": "session", "user_key": "user", "parent_response_key": "parent"}


def table(store: Path, name: str) -> list[dict]:
    parts = json.loads(_rust.open_store(str(store)))["parts"][name]
    tables = [pa.ipc.open_stream((store / part["path"]).read_bytes()).read_all() for part in parts]
    return pa.concat_tables(tables).to_pylist()


def words(mask: int) -> list[str]:
    return [kind.name for kind in KINDS if mask & kind.mask]


def rows(store: Path, name: str) -> list[dict]:
    """The rows of a table without hashes and empty fields; people by number, in order of appearance."""
    known: dict[bytes, str] = {}
    found = []
    for row in table(store, name):
        kept = {}
        for field, value in row.items():
            if value is None or field in HIDDEN:
                continue
            if field in PEOPLE:
                name = PEOPLE[field]
                number = 1 + sum(other.startswith(name) for other in known.values())
                value = known.setdefault(value, f"{name} {number}")
            elif field == "offered":
                value = words(value)
            elif hasattr(value, "isoformat"):
                value = value.isoformat()
            kept[PEOPLE.get(field, field)] = value
        found.append(kept)
    return found


def outcome(folder: Path, store: Path, source: str) -> dict:
    inputs = sorted(path for path in folder.iterdir() if path.name != "expected.json")
    report = events.ingest(inputs, store, source=source)
    assert events.verify(store)["digest"] == report.digest
    shown = rows(store, "impressions")
    for row, seen in zip(shown, table(store, "observations"), strict=True):
        row |= {"recorded for": words(seen["pos_kinds"]), "recorded against": words(seen["neg_kinds"])}
    coverage = events.dry_run(inputs, source=source)
    assert {name: count for name, count in coverage.balance.items() if count} == {
        name: count for name, count in report.balance.items() if count
    }
    assert (coverage.live, coverage.kinds, coverage.states) == (report.live, report.kinds, report.states)
    return {
        "balance": dict(report.balance),
        "records": dict(coverage.rules),
        "quarantine": {s["line"]: [s["reason"], s["field"], s["message"]] for s in report.samples},
        "states": dict(report.states),
        "unknown": list(coverage.unknown),
        "impressions": shown,
        "feedback": rows(store, "feedback"),
    }


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_records_become_the_rows_that_are_written_down(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSKEW_KEY", "a key that only this test knows")
    found = json.loads(json.dumps(outcome(folder, tmp_path / "store", folder.parent.name)))
    expected = folder / "expected.json"
    if os.environ.get("UNSKEW_WRITE_EXPECTED"):
        expected.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert found == json.loads(expected.read_text("utf-8"))
    assert found["unknown"] == [], "a field of the fixture is neither carried nor declared lost"


@pytest.mark.parametrize("policy", ["random", "bts"])
def test_the_real_open_bandit_log_is_read_whole(tmp_path, monkeypatch, real_data, policy):
    monkeypatch.setenv("UNSKEW_KEY", "a key that only this test knows")
    path = real_data("openbandit") / policy / "men" / "men.csv"
    with path.open(encoding="utf-8", newline="") as logged:
        raw = list(csv.DictReader(logged))
    log = tmp_path / "men.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in raw), "utf-8")
    report = events.ingest(log, tmp_path / "store", source="open_bandit")
    clicks = sum(row["click"] == "1" for row in raw)
    assert report.live == {"impressions": len(raw), "silent": len(raw) - clicks, "feedback": clicks}
    assert report.states == {"attributed": clicks}
    assert (clicks > 40, report.quarantine) == (True, {})
    kept = table(tmp_path / "store", "impressions")
    assert [row["policy_prob"] for row in kept] == [
        pytest.approx(float(row["propensity_score"]), rel=1e-6) for row in raw
    ]
    assert [row["slot"] for row in kept] == [int(row["position"]) for row in raw]


def test_every_shipped_mapping_has_a_fixture_of_each_schema():
    for name in mappings.shipped():
        folders = [path for path in CASES if path.parent.name == name]
        assert len(folders) >= 1, name
        assert len(folders) >= len(mappings.load(name).schemas), name


def test_no_person_session_or_address_is_written_down(tmp_path, monkeypatch):
    monkeypatch.setenv("UNSKEW_KEY", "a key that only this test knows")
    met = 0
    for folder in CASES:
        inputs = sorted(path for path in folder.iterdir() if path.name != "expected.json")
        met += any(b"canary-person" in path.read_bytes() for path in inputs)
        store = tmp_path / f"{folder.parent.name}-{folder.name}"
        events.ingest(inputs, store, source=folder.parent.name)
        for path in store.rglob("*"):
            assert not path.is_file() or b"canary-" not in path.read_bytes(), path
    assert met > 10
