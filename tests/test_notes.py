"""Notes of the audit: what counts say of a log beside its verdict, and nothing where nothing is to say."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from logs import write
from unskew import data, events
from unskew.data import Examples
from unskew.events import KIND
from unskew.pipeline.notes import notes, together
from unskew.terminal import verdict_text

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
HOURS = 400

pytestmark = pytest.mark.usefixtures("keyed")


def product(*, answered=lambda i: i % 4 == 0, delay=lambda i: i // 4 % 10 * 15, **columns):
    """A response every 2 hours; `answered` ones get a thumb after `delay` hours, if the log lasts so long."""
    lines, end = [], START + timedelta(hours=2 * HOURS)
    for i in range(HOURS):
        at = START + timedelta(hours=2 * i)
        shown = {name: value(i) for name, value in columns.items()}
        shown |= {"type": "impression", "id": f"r{i}", "shown_at": at.isoformat(), "prompt": f"p{i}"}
        lines.append({**shown, "response": "text", "offered": ["thumbs"]})
        given = at + timedelta(hours=delay(i))
        if answered(i) and given < end:
            thumb = {"type": "feedback", "id": f"f{i}", "response": f"r{i}", "kind": "thumbs", "value": "up"}
            lines.append({**thumb, "at": given.isoformat()})
    lines.append({**lines[-1], "id": "f", "response": "gone", "type": "feedback", "kind": "copy"})
    lines[-1] |= {"at": end.isoformat(), "value": True}
    return "".join(json.dumps(line) + "\n" for line in lines)


def said(tmp_path, text, **options):
    events.ingest(write(tmp_path / "log.jsonl", text), tmp_path / "store", **options)
    store = data.Store.open(tmp_path / "store")
    return notes(store, data.examples(store))


def test_a_log_in_which_nothing_is_amiss_has_no_notes(tmp_path):
    told = product(
        delay=lambda i: 0,
        model=lambda i: "ab"[i % 2],
        policy_id=lambda i: "even",
        policy_prob=lambda i: 0.5,
    )
    assert said(tmp_path, told) == []


def test_answers_still_to_come_are_told(tmp_path):
    # Answers take 0, 15, ..., 135 hours, one in four is answered; the last 95 responses are open.
    (sentence,) = said(tmp_path, product())
    start, rest = sentence.split("have an answer so far")
    came = sum(8 * j + 15 * (j % 10) < 2 * HOURS for j in range(HOURS // 4)) / HOURS
    assert start == (
        f"95 of 400 responses that offered thumbs are still open, which is not silence: {came:.1%} "
    )
    assert came < 0.23
    rate = float(rest.split("answers take ")[1].split("%")[0])
    assert rate == pytest.approx(25, abs=0.5)


def test_responses_after_the_watermark_are_no_young_ones(tmp_path):
    until = (START + timedelta(hours=600)).isoformat()
    (sentence,) = said(tmp_path, product(), until=until)
    assert sentence.startswith("96 of 301 responses that offered thumbs are still open")


def test_probabilities_that_cannot_be_right_are_told(tmp_path):
    # Three models in turn; every probability says a half.
    told = said(
        tmp_path,
        product(
            delay=lambda i: 0,
            model=lambda i: "abc"[i % 3],
            policy_id=lambda i: "thirds",
            policy_prob=lambda i: 0.5 if i else 0.0001,
        ),
    )
    assert told[0] == (
        "Policy thirds: The smallest logged probability of showing a response is 0.0001; a weight 1 / p "
        "makes that one row count 10,000 times."
    )
    told = said(
        tmp_path / "..",
        product(delay=lambda i: 0, model=lambda i: "abc"[i % 3], policy_prob=lambda i: 0.5),
    )
    assert told == [
        "The logged probabilities behave like a draw among 2.0 [2.0, 2.0], and 3 models were shown: they are "
        "wrong, not every model could always be drawn, or it was not the model that was drawn."
    ]


def test_change_of_what_is_shown_and_of_who_answers_is_told(tmp_path):
    told = said(
        tmp_path,
        product(
            delay=lambda i: 0,
            answered=lambda i: i % (2 if i >= 200 else 20) == 0,
            model=lambda i: "new" if i >= 200 and i % 2 else "old",
        ),
    )
    assert told == [
        "The mix of models changed in part 3 of 4 of the log: new went from 0% to 50% of the responses (PSI "
        "2.63).",
        "How often thumbs is answered went up around 2026-03-17T16 UTC.",
    ]


def habits(seed: int, share: float) -> Examples:
    """A log of copies and regenerations with random gold; one hand gives both on a share of them."""
    rng, n = np.random.default_rng(seed), 600
    liked, busy = rng.random(n) < 0.6, rng.random(n) < share
    chance = np.stack([np.where(liked, 0.4, 0.1), np.where(liked, 0.1, 0.4)], axis=1)
    happened = np.where(busy[:, None], rng.random(n)[:, None], rng.random((n, 2))) < chance
    every = np.ones((n, 2), bool)
    nan = np.full(n, np.nan)
    return Examples(
        row=np.arange(n),
        response_id=[str(i) for i in range(n)],
        prompt_hash=np.arange(n, dtype=np.uint64),
        group=np.arange(n),
        user=np.zeros(n, np.uint64),
        kinds=(KIND["copy"], KIND["regenerate"]),
        offered=every,
        closed=every,
        observed=happened,
        positive=happened,
        cell=np.zeros(n, np.uint32),
        policy_prob=nan,
        gold=liked.astype(float),
        gold_design=np.full(n, data.RANDOM, np.int8),
        gold_prob=np.full(n, 0.1),
    )


def test_kinds_that_come_together_are_told():
    (sentence,) = together(habits(0, 0.5))
    assert sentence.startswith(
        "Of 600 random gold labels, regenerate comes more often where copy does, among responses that are "
        "liked alike (odds ratio "
    )
    for seed in range(20):
        assert list(together(habits(seed, 0))) == []
    chosen = replace(habits(0, 0.5), gold_design=np.full(600, data.STRATIFIED, np.int8))
    assert list(together(chosen)) == []


def test_notes_are_shown_under_the_verdict():
    verdict = {
        "colour": "green",
        "sentences": ["Fine."],
        "gates": [],
        "allowed": ["ips"],
        "notes": ["Young [x]."],
    }
    assert verdict_text(verdict).splitlines()[2] == "[dim]note[/] Young \\[x]."
    assert "note" not in verdict_text({**verdict, "notes": []})
