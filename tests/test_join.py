"""The join against a slow one in plain Python, and its independence of order, split and number of runs."""

import re
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logs
from logs import table
from unskew import events

CONFLICT = "content [0-9a-f]{8} loses to content [0-9a-f]{8} under the same id"


pytestmark = pytest.mark.usefixtures("keyed")


def ingest(
    folder: Path, lines: str, name: str = "log.jsonl", store: str = "store", **options
) -> events.Report:
    path = folder / name
    path.write_text(lines)
    return events.ingest(path, folder / store, **options)


def said(store: Path) -> dict:
    """Observations of the live rows by response id, and pairs by response ids."""
    rows = table(store, "observations").to_pylist()
    names = table(store, "impressions")["response_id"].to_pylist()
    pairs = set()
    for pair in table(store, "pairs").to_pylist():
        a, b = names[pair["row_a"]], names[pair["row_b"]]
        assert pair["o"] == (pair["winner"] is not None)
        pairs.add((frozenset((a, b)), {"a": a, "b": b}.get(pair["winner"], pair["winner"]), pair["source"]))
    return {
        "observations": {name: row for name, row in zip(names, rows, strict=True) if row["live"]},
        "pairs": pairs,
    }


def check_join(random):
    """What the store says of a random log is what the slow join says."""
    log = logs.random_log(random)
    expected = logs.meaning(log)
    with tempfile.TemporaryDirectory() as folder:
        report = ingest(Path(folder), logs.lines(log))
        found = said(Path(folder) / "store")
        cells = table(Path(folder) / "store", "cells").to_pylist()
    assert report.states == expected["states"]
    assert found["pairs"] == expected["pairs"]
    assert found["observations"].keys() == expected["observations"].keys()
    for name, row in expected["observations"].items():
        have = found["observations"][name]
        assert {column: have[column] for column in row} == row, name
        assert have["closed_kinds"] == (logs.ALL_BITS if row["closed"] else 0)
    assert report.raw["notes"].get("offered_unknown", 0) == expected["offered_unknown"]
    live = list(found["observations"].values())
    closed = [row for row in live if row["closed"]]
    assert sum(cell["n_exp"] for cell in cells) == len(live)
    assert sum(cell["n_closed"] for cell in cells) == len(closed)
    assert sum(cell["n_obs"] for cell in cells) == sum(row["o"] for row in closed)
    for bit in range(16):
        for counter, mask in (("n_obs", "o_kinds"), ("n_pos", "pos_kinds"), ("n_neg", "neg_kinds")):
            counted = sum(cell[f"{counter}_by_kind"][bit] for cell in cells)
            assert counted == sum(row[mask] >> bit & 1 for row in closed)
    for row in live:
        assert cells[row["cell"]]["offered"] == row["offered"]
        assert cells[row["cell"]]["len_bucket"] == row["len_bucket"]


@given(st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_the_join_equals_a_slow_one_in_python(random):
    check_join(random)


@pytest.mark.exhaustive
def test_the_join_equals_a_slow_one_in_python_on_ten_thousand_logs():
    for seed in range(10_000):
        check_join(Random(seed))


@given(st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=60)
def test_the_digest_does_not_depend_on_order_split_or_number_of_runs(random, runs):
    log = logs.random_log(random)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        once = ingest(folder, logs.lines(log))
        shuffled = random.sample(log, len(log)) + random.choices(log, k=3)
        cuts = sorted(random.randint(0, len(shuffled)) for _ in range(runs - 1))
        pieces = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
        for number, piece in enumerate(pieces):
            last = ingest(folder, logs.lines(piece), f"{number}.jsonl", "other")
            balance = last.total
            assert balance["lines"] == sum(v for k, v in balance.items() if k != "lines")
        assert last.digest == once.digest
        assert last.states == once.states
        assert last.live == once.live
        one, other = (said(folder / store) for store in ("store", "other"))
        assert one == other
        assert events.verify(folder / "other")["digest"] == once.digest


def test_two_rows_with_one_id_and_no_arrival_time_are_decided_by_content_not_by_order(tmp_path):
    rows = [
        {"type": "impression", "id": "r", "shown_at": "2026-03-02T00:00:00Z", "prompt": "p", "response": text}
        for text in "abcd"
    ]
    winners, digests = set(), set()
    for seed in range(8):
        order = Random(seed).sample(rows, 4)
        report = ingest(tmp_path, logs.lines(order), f"{seed}.jsonl", f"store{seed}")
        store = tmp_path / f"store{seed}"
        kept = zip(table(store, "impressions")["response"], table(store, "observations")["live"], strict=True)
        winners.add(tuple(text.as_py() for text, live in kept if live.as_py()))
        digests.add(report.digest)
        assert report.quarantine == {"conflict": 3}
        assert all(re.fullmatch(CONFLICT, sample["message"]) for sample in report.samples)
        assert report.balance == {"lines": 4, "committed": 1, "duplicate": 0, "quarantined": 3, "blank": 0}
        assert {sample["line"] for sample in report.samples} | {losing_line(order, winners)} == {1, 2, 3, 4}
    assert len(winners) == len(digests) == 1


def losing_line(order, winners):
    return next(i for i, row in enumerate(order, 1) if (row["response"],) in winners)


def test_an_impression_that_loses_later_is_masked_and_its_line_is_reported(tmp_path):
    row = {
        "type": "impression",
        "id": "r",
        "shown_at": "2026-03-02T00:00:00Z",
        "prompt": "p",
        "response": "late",
    }
    ingest(tmp_path, "\n" + logs.lines([{**row, "received_at": "2026-03-03T00:00:00Z"}]), "1.jsonl")
    early = {**row, "response": "early", "received_at": "2026-03-02T00:00:00Z"}
    report = ingest(tmp_path, logs.lines([early]), "2.jsonl")
    assert table(tmp_path / "store", "observations")["live"].to_pylist() == [False, True]
    refused = table(tmp_path / "store", "quarantine").to_pylist()
    assert [(q["file"], q["line"], q["off"], q["reason"]) for q in refused] == [
        (str(tmp_path / "1.jsonl"), 2, 1, "conflict")
    ]
    assert report.total == {"lines": 3, "committed": 1, "duplicate": 0, "quarantined": 1, "blank": 1}
    assert events.verify(tmp_path / "store")["impressions"] == 1


def test_feedback_that_comes_first_waits_for_its_response(tmp_path):
    feedback = {
        "type": "feedback",
        "id": "f",
        "response": "r",
        "kind": "thumbs",
        "value": "up",
        "at": "2026-03-02T01:00:00Z",
    }
    row = {
        "type": "impression",
        "id": "r",
        "shown_at": "2026-03-02T00:00:00Z",
        "prompt": "p",
        "response": "x",
    }
    assert ingest(tmp_path, logs.lines([feedback]), "1.jsonl").states == {"pending": 1}
    late = {
        "type": "impression",
        "id": "s",
        "shown_at": "2026-04-02T00:00:00Z",
        "prompt": "p",
        "response": "x",
    }
    assert ingest(tmp_path, logs.lines([late]), "2.jsonl").states == {"orphan": 1}
    report = ingest(tmp_path, logs.lines([row]), "3.jsonl")
    assert report.states == {"attributed": 1}
    assert report.silent_share == 0.5


def test_feedback_long_before_its_response_is_refused_by_its_clock_until_the_response_is_known_better(
    tmp_path,
):
    feedback = {"type": "feedback", "id": "f", "response": "r", "kind": "copy", "at": "2026-03-01T00:00:00Z"}
    row = {
        "type": "impression",
        "id": "r",
        "shown_at": "2026-03-02T00:00:00Z",
        "prompt": "p",
        "response": "x",
    }
    first = ingest(
        tmp_path, logs.lines([feedback, {**row, "received_at": "2026-03-05T00:00:00Z"}]), "1.jsonl"
    )
    assert first.quarantine == {"skew": 1}
    assert first.balance == {"lines": 2, "committed": 1, "duplicate": 0, "quarantined": 1, "blank": 0}
    assert first.samples[0]["line"] == 1
    better = {**row, "shown_at": "2026-02-28T23:00:00Z", "received_at": "2026-03-01T00:00:00Z"}
    second = ingest(tmp_path, logs.lines([better]), "2.jsonl")
    assert second.states == {"attributed": 1}
    assert second.total == {"lines": 3, "committed": 2, "duplicate": 0, "quarantined": 1, "blank": 0}
    assert [q["reason"] for q in table(tmp_path / "store", "quarantine").to_pylist()] == ["conflict"]


def test_the_watermark_is_the_largest_time_or_what_the_caller_says(tmp_path):
    row = {
        "type": "impression",
        "id": "r",
        "shown_at": "2026-03-02T00:00:00Z",
        "prompt": "p",
        "response": "x",
    }
    report = ingest(tmp_path, logs.lines([row]))
    assert report.raw["watermark"] == "2026-03-02T00:00:00Z"
    path = tmp_path / "log.jsonl"
    later = events.ingest(path, tmp_path / "store", until="2026-03-10T00:00:00Z")
    assert later.committed
    assert later.generation == 2
    assert table(tmp_path / "store", "observations")["closed"].to_pylist() == [True]
    again = events.ingest(path, tmp_path / "store", until="2026-03-10T00:00:00Z")
    assert not again.committed
    assert again.digest == later.digest
    with pytest.raises(ValueError, match="until: not an RFC 3339 time with a zone"):
        events.ingest(path, tmp_path / "store", until="2026-03-10")


def test_times_do_not_come_from_the_clock_of_the_machine(tmp_path):
    now = datetime.now(timezone.utc)
    row = {
        "type": "impression",
        "id": "r",
        "shown_at": "2001-03-02T00:00:00Z",
        "prompt": "p",
        "response": "x",
    }
    report = ingest(tmp_path, logs.lines([row]))
    assert str(now.year) not in report.raw["watermark"]
    assert table(tmp_path / "store", "observations")["age_ms"].to_pylist() == [0]
