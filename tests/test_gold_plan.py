"""The gold plan: which rows are worth a label, with what probability, and what they will show."""

import json

import numpy as np
import pytest

from audited import log, simulated
from unskew import audit, noise
from unskew.data import RANDOM


@pytest.fixture(scope="module")
def healthy():
    return log()[0]


def test_gold_plan_has_two_parts_with_probabilities_that_add_up_to_the_log():
    drawn, examples = simulated("label", 16_000, gold=False)
    plan = audit.gold_plan(examples, 600, seed=1)
    random = plan.design == RANDOM
    assert (len(plan), int(random.sum())) == (600, 400)
    assert len(set(plan.index.tolist())) == 600
    assert np.allclose(plan.prob[random], 400 / 16_000)
    counts = {name: plan.stratum.count(name) for name in set(plan.stratum)}
    assert set(counts) == {
        "random", "thumbs up", "thumbs down", "rating up", "rating down", "copy happened", "regenerate "
        "happened",
        "silent",
    }  # fmt: skip
    for name in set(counts) - {"random"}:
        rows = np.array([stratum == name for stratum in plan.stratum])
        at = plan.index[rows]
        if name == "thumbs down":
            assert (examples.observed[at, 0] & ~examples.positive[at, 0]).all()
            size = (examples.observed[:, 0] & ~examples.positive[:, 0]).sum()
            assert 1 / plan.prob[rows][0] == pytest.approx(size / rows.sum(), rel=0.02)
    # Both parts, each weighted by 1 / prob, stand for the log.
    truth = drawn.label.mean()
    for part in (random, ~random):
        weight = 1 / plan.prob[part]
        assert weight.sum() == pytest.approx(16_000, rel=0.01)
        assert (weight * drawn.label[plan.index[part]]).sum() / weight.sum() == pytest.approx(truth, abs=0.15)


def test_planned_widths_are_those_of_the_labelled_log():
    drawn, examples = simulated("u", 16_000, gold=False)
    plan = audit.gold_plan(examples, 600, seed=1)
    label, design, prob = np.full(16_000, np.nan), np.zeros(16_000, np.int8), np.full(16_000, np.nan)
    label[plan.index], design[plan.index], prob[plan.index] = drawn.label[plan.index], plan.design, plan.prob
    found = noise.by_kind(
        examples.kinds, examples.offered, examples.observed, examples.positive, label, design, prob
    )
    for name in ("thumbs", "rating"):
        for rate in ("fnr", "fpr"):
            low, high = found[name].interval[rate]
            assert 0.4 < plan.widths[name][rate] / (high - low) < 2.5
    assert plan.widths["all"]["base_rate"] == pytest.approx(2 * 0.98 / np.sqrt(400), rel=0.05)
    more = audit.gold_plan(examples, 1200, seed=1)
    assert more.widths["thumbs"]["fpr"] < 0.85 * plan.widths["thumbs"]["fpr"]


def test_gold_plan_leaves_out_rows_with_gold_and_is_decided_by_its_seed(healthy):
    plan = audit.gold_plan(healthy, 100, seed=2)
    assert np.isnan(healthy.gold[plan.index]).all()
    assert plan.index.tolist() == audit.gold_plan(healthy, 100, seed=2).index.tolist()
    assert plan.index.tolist() != audit.gold_plan(healthy, 100, seed=3).index.tolist()


def test_gold_plan_lines_are_a_template_that_hides_the_record(healthy):
    plan = audit.gold_plan(healthy, 30)
    lines = [json.loads(line) for line in plan.lines(["Why?"] * 30, ["Because."] * 30)]
    assert lines[0] == {
        "type": "gold",
        "response": plan.response_id[0],
        "label": None,
        "design": "random",
        "prob": plan.prob[0],
        "annotator": None,
        "prompt": "Why?",
        "text": "Because.",
    }
    assert {line["design"] for line in lines} == {"random", "stratified"}
    with pytest.raises(ValueError, match="one of each is needed") as error:
        plan.lines(["Why?"], ["Because."] * 30)
    assert str(error.value) == "1 prompts and 30 responses for 30 planned rows; one of each is needed"


def test_gold_plan_larger_than_the_log_is_an_error(healthy):
    with pytest.raises(ValueError, match="gold labels are asked for") as error:
        audit.gold_plan(healthy, 5000)
    assert str(error.value) == (
        "5000 gold labels are asked for; it must be between 10 and 3600, the responses without gold whose "
        "window for feedback is closed"
    )
