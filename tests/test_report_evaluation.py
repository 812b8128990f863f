"""The page of an evaluation: which ways are valid, who is better, where that flips, what changed."""

import math
import random

import pytest

from pages import Page, checked, evaluation_run, everywhere, sample_run
from unskew.report import charts
from unskew.report.doubt import day


@pytest.fixture(scope="module")
def run() -> dict:
    return evaluation_run()


@pytest.fixture(scope="module")
def page(run) -> Page:
    return checked(run)


def test_page_of_an_evaluation_has_its_sections_and_none_of_a_training(page):
    assert list(page.sections) == [
        "", "verdict", "compared", "evaluation", "sensitivity", "drift", "overlap", "propensity", "noise",
        "counts", "limits", "provenance",
    ]  # fmt: skip
    assert page.text.index("new beats old: Brier score differs by -0.120.") < page.text.index(
        "What is estimated"
    )


def test_what_the_model_has_seen_comes_first_only_when_it_spoils_the_rest(run):
    def top(in_sample):
        found = {**run["evaluation"], "in_sample": in_sample}
        return checked({**run, "against": None, "evaluation": found}).sections[""]

    for in_sample in (True, None, False):
        text = top(in_sample)
        seen, said = text.index("The card names another log."), text.index("Brier score 0.180")
        assert (seen < said) is (in_sample is not False)


def test_every_way_stands_with_its_verdict_its_reason_and_its_figures(run, page):
    text = page.sections["evaluation"]
    for way in run["evaluation"]["ways"]:
        sign = {True: "✓ valid", False: "✕ not valid", None: "? unchecked"}[way["valid"]]
        assert f"{way['label']} {sign}" in text
        assert way["why"] in text
        for name in ("brier", "auc"):
            assert f"{way['metrics'][name]['value']:.3f}" in text
    assert "★ gold and log (PPI) ✓ valid" in text
    assert "Not to be had here. doubly robust: no kind speaks" in text
    labels = [a["aria-label"] for a in page.named("svg") if "aria-label" in a]
    for start in ("Brier score, ", "AUC, ", "difference of Brier score, ", "difference of AUC, "):
        assert sum(label.startswith(start) for label in labels) == 5, start
    assert "Brier score, propensity weights (SNIPS) (✕ not valid): 0.219 [0.206, 0.232]" in labels
    assert sum(label.startswith("calibration, ") for label in labels) == 2


def test_the_point_at_which_the_order_flips_is_marked_or_said_to_lie_beyond(page):
    text = page.sections["compared"]
    assert "flips at 1.61" in text
    assert "gold sees 4.1" in text
    assert "First minus second: new minus old." in text
    run = evaluation_run()
    run["against"]["tipping"]["tips"]["brier"]["gamma"] = 9.0
    assert "difference of Brier score; flips only beyond the chart" in checked(run).sections["compared"]


def test_what_changed_over_time_is_said_drawn_and_tested(page):
    text = page.sections["drift"]
    assert "How often thumbs is answered changed over time (p value 0.004)." in text
    assert "5 Jan5 Feb5 Mar5 Apr" in text
    assert "fnr of thumbs, two halves" in text
    quiet = evaluation_run()
    quiet["evaluation"]["drift"]["changed"] = []
    assert "No figure here changed by more than chance" in checked(quiet).sections["drift"]
    quiet["evaluation"]["drift"] = None
    assert "Too few answers to be split into windows" in checked(quiet).sections["drift"]


def test_one_model_has_no_comparison_and_a_training_keeps_its_own_sections(run):
    alone = {**run, "against": None}
    assert "compared" not in checked(alone).sections
    trained = {
        **sample_run(),
        "estimator": "evidence",
        "evaluation": {**run["evaluation"], "truth": {"brier": 0.19}},
    }
    page = checked(trained)
    assert {"models", "evaluation", "sensitivity", "drift"} <= set(page.sections)
    assert "one interval in twenty misses it" in page.sections["evaluation"]
    assert {"evaluation", "drift"}.isdisjoint(checked(sample_run()).sections)


def test_pairs_are_measured_by_accuracy(run):
    ways = [
        {**way, "metrics": {"brier": way["metrics"]["brier"], "accuracy": 0.7}}
        for way in run["evaluation"]["ways"]
    ]
    text = checked({**run, "unit": "pair", "evaluation": {**run["evaluation"], "ways": ways}}).sections[
        "evaluation"
    ]
    assert "Accuracy with 95 % interval" in text
    assert "predicted chance that A is better" in text


@pytest.mark.parametrize("instead", [None, {}, "text", [None, 3, {}]])
def test_any_part_may_be_missing_or_odd(run, instead):
    for part in ("evaluation", "against"):
        checked({**run, part: instead})
        for key in run[part]:
            checked({**run, part: {**run[part], key: instead}})
    odd = dict.fromkeys(run["evaluation"]["drift"], instead)
    checked({**run, "evaluation": {**run["evaluation"], "drift": {**run["evaluation"]["drift"], **odd}}})


@pytest.mark.parametrize("bad", [math.nan, None, 0, -1, 1e300, 10**400])
def test_no_number_breaks_the_page(run, bad):
    checked(everywhere(run, lambda v: bad if isinstance(v, (int, float)) else v))


def test_any_mixture_of_odd_values_makes_a_page(run):
    draw = random.Random(0)
    odd = [None, math.nan, -3, 0, "x", [], {}, True, 1e9]
    for _ in range(20):
        checked(everywhere(run, lambda v: draw.choice(odd) if draw.random() < 0.2 else v))


def test_no_string_becomes_markup(run):
    text = '"><img src=x onerror=alert(1)>'
    hostile = everywhere(run, lambda v: text if isinstance(v, str) else v)
    hostile["evaluation"]["missing"] = {text: text}
    hostile["evaluation"]["drift"]["kinds"] = {text: run["evaluation"]["drift"]["kinds"]["thumbs"]}
    assert text in checked(hostile).sections["evaluation"]


def test_days_of_windows():
    assert day("2026-01-05T00:18") == "5 Jan"
    assert day("2026-13-05") == "2026-1"
    assert day("") == ""


def test_band_stands_on_its_points_and_marks():
    drawn = charts.band(
        [(1, 0.1, 0.2, 0.3), (2, -0.1, 0.2, 0.5)],
        label="l",
        x_label="x",
        y_label="y",
        marks=[("m", "flip", 1.5)],
    )
    assert drawn.count("<polyline") == 3
    assert 'class="truth"' in drawn  # the line at zero
    assert ">m</text>" in drawn
