"""The HTML report: whole, self-contained, safe with any text, and honest about what is missing."""

import copy
import json
import math
import random

import pytest

from pages import Page, checked, everywhere, sample_run
from unskew import report
from unskew.report import charts, values
from unskew.report.markup import Html, el, join
from unskew.report.models import points


@pytest.fixture(scope="module")
def run() -> dict:
    return sample_run()


@pytest.fixture(scope="module")
def page(run) -> Page:
    return checked(run)


# ------------------------------------------------------------------------------------------ the page


def test_page_forbids_loading_and_running_anything(page):
    policies = [a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_finding_is_computed_from_the_numbers(run, page):
    naive, ours = (abs(run["arms"][k]["metrics"]["mean_error"]["value"]) * 100 for k in (0, 1))
    assert (
        f"The naive model misjudges the share of liked responses by {naive:.1f} points, the corrected one by "
        f"{ours:.1f}; response by response, the correction recovers 91 % of the gap to a model trained on "
        "every true label."
    ) in page.text
    assert "naive 0.217, corrected 0.176, a model trained on every true label 0.172" in page.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recovered": None}, "its error is 19 % smaller (Brier score 0.176 against 0.217)"),
        ({"truth": "gold"}, "Measured on gold labels."),
        ({"truth": None}, "What it is measured against is not recorded."),
        ({"arms": []}, "This run does not say how right its models are"),
        ({"arms": sample_run()["arms"][:1]}, "measures 1 of its models, but not a corrected one"),
    ],
)
def test_finding_says_no_more_than_the_run_holds(run, change, says):
    assert says in checked({**run, **change}).text


def test_finding_admits_a_correction_that_made_things_worse(run):
    naive, ours, *_ = run["arms"]
    worse = {**ours, "metrics": {**ours["metrics"], "brier": {"value": 0.25, "low": 0.21, "high": 0.29}}}
    text = checked({**run, "arms": [naive, worse], "recovered": -0.4}).text
    assert "the corrected model is worse here (Brier score 0.250 against 0.217)" in text
    assert "The 95 % intervals of the two overlap" in text
    assert "recovers" not in text


@pytest.mark.parametrize(("colour", "symbol"), [("green", "✓"), ("amber", "!"), ("red", "✕")])
def test_verdict_is_a_word_and_a_symbol_besides_a_colour(run, colour, symbol):
    page = checked({**run, "verdict": {**run["verdict"], "colour": colour}})
    assert f"{symbol} Audit: {colour}, " in page.sections["verdict"]
    assert run["verdict"]["sentences"][0] in page.sections["verdict"]
    assert ("The audit of this log is red" in page.text) == (colour == "red")


def test_gates_stand_worst_first_with_value_and_limit(page):
    text = page.sections["verdict"]
    order = [
        text.index(name) for name in ("equal class propensities", "clipped mass", "effective sample size")
    ]
    assert order == sorted(order)
    assert "found 0.228; rule: at most 0.2; concerns ips, doubly robust" in text
    assert "found 1.03; rule: 0.8 to 1.25" in text
    assert "5 gates, 2 not green" in text


def test_a_red_audit_that_was_overruled_shows_the_reason(run):
    text = checked({**run, "provenance": {"accept_red": "only a trial"}}).sections["verdict"]
    assert "Trained in spite of the audit. Reason given: only a trial" in text


def test_what_the_counts_say_stands_beside_the_verdict(run, page):
    assert "beside it" not in page.sections["verdict"]
    assert "say beside it:Young [x]." in checked({**run, "notes": ["Young [x]."]}).sections["verdict"]


def test_refutations_stand_with_the_failed_ones_first(run, page):
    text = page.sections["refutations"]
    assert text.index("added noise") < text.index("permuted labels")
    assert "thumbsfailed0.0000.021[0.011, 0.031]The correction of flips does not hold here." in text
    assert "refutations" not in checked({**run, "refutations": None}).sections


def test_table_marks_the_best_that_can_be_had_and_the_unsafe(page):
    text = page.sections["models"]
    assert "★\u00a00.176" in text
    assert "★\u00a00.172" not in text
    assert "⚠ unsafe" in text
    assert "[0.170, 0.182]" in text


def test_signed_mean_errors_are_compared_by_size():
    arms = [
        {"role": "naive", "metrics": {"mean_error": {"value": -0.2, "low": -0.25, "high": -0.15}}},
        {"role": "ours", "metrics": {"mean_error": 0.1}},
    ]
    text = checked({"arms": arms}).sections["models"]
    assert "★\u00a00.100" in text
    assert "0.200[0.150, 0.250]" in text


def test_every_figure_of_the_run_appears(run, page):
    for row in run["noise"]:
        assert f"{row['estimate']:.3f}[{row['low']:.3f}, {row['high']:.3f}]" in page.sections["noise"]
    for row in run["weights"]:
        assert f"{row['ess']:,.0f}" in page.sections["weights"]
    for one in run["arms"]:
        assert f"{one['metrics']['auc']['value']:.3f}" in page.sections["models"]
    assert "1,285 independent labels" in page.sections["overlap"]
    assert "4 % of the liked class and 23 % of the disliked class" in page.sections["overlap"]
    assert run["provenance"]["store"]["digest"] in page.sections["provenance"]
    assert "20260" in page.sections["provenance"]


def test_there_is_one_panel_per_arm_and_per_kind(page):
    labels = [a["aria-label"] for a in page.named("svg") if "aria-label" in a]
    starts = {"reliability of": 6, "rewards of": 6, "propensity of": 2, "propensity calibration": 2}
    for start, expected in starts.items():
        assert sum(label.startswith(start) for label in labels) == expected, start


def test_books_that_do_not_balance_are_called_so(run, page):
    assert "The books balance: 38,412 lines = 37,602 committed" in page.sections["counts"]
    broken = {**run["counts"]["balance"], "duplicate": 769}
    text = checked({**run, "counts": {"balance": broken}}).sections["counts"]
    assert "The books do not balance: 38,412 lines" in text


# -------------------------------------------------------------------------------------- missing parts


def test_empty_run_still_makes_every_section():
    page = checked({})
    assert "Reward model report" in page.text
    assert "No audit is recorded" in page.sections["verdict"]
    assert "No gold labels" in page.sections["limits"]


def test_policies_and_transformers_have_sections_where_there_are_any(run):
    page = checked(run)
    ours = "A policy trained on the corrected reward is truly worth"
    assert f"{ours} 0.74 in P(liked) (before training 0.52); trained on the naive reward 0.48" in page.text
    assert page.text.count(ours) == 1, "one sentence, both units"
    assert "of the gap (72 % in the reward's own units)." in page.text
    policies = copy.deepcopy(run["policy"])
    for arm in (policies["start"], *policies["arms"]):
        arm["final"]["liked"] = None
    text = checked({**run, "policy": policies}).text
    assert f"{ours} 1.20 in true reward (before training 0.10)" in text
    assert "trained on the naive reward −0.10, on the true reward 1.70: 72 % of the gap." in text
    for said in ("held-out mixture loss", "Reward over distance", "First, measure. evidence", "won"):
        assert said in page.sections["policy"] + page.sections["learning"]
    without = {key: value for key, value in run.items() if key not in ("policy", "transformer")}
    assert {"policy", "learning"}.isdisjoint(checked(without).sections)


def test_a_run_of_a_policy_alone_shows_nothing_else(run):
    page = checked({"title": "A policy", "policy": run["policy"], "provenance": run["provenance"]})
    assert list(page.sections) == ["", "policy", "provenance"]
    assert "truly worth 0.74 in P(liked)" in page.text


def test_without_an_oracle_no_share_of_the_gap_is_claimed(run):
    page = checked({**run, "truth": "gold", "recovered": None})
    assert "recovers" not in page.text
    assert "The share of the gap to an ideal model that is recovered is unknown" in page.sections["limits"]


@pytest.mark.parametrize("key", sorted(sample_run()))
def test_any_part_may_be_missing_or_odd(run, key):
    checked({k: v for k, v in run.items() if k != key})
    for instead in (None, [], {}, "text", 7, math.nan, [None, 3, {}]):
        checked({**run, key: instead})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_missing_numbers_are_dashes(run, bad):
    page = checked(everywhere(run, lambda v: bad if isinstance(v, (int, float)) else v))
    assert values.DASH in page.sections["weights"]
    assert values.DASH in page.sections["noise"]


@pytest.mark.parametrize("number", [0, -1, 1e300, -1e-300, 10**400])
def test_no_number_breaks_a_chart(run, number):
    checked(everywhere(run, lambda v: number if isinstance(v, (int, float)) else v))


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_odd_values_makes_a_page(run, seed):
    draw = random.Random(seed)
    odd = [None, math.nan, -3, 0, "x", [], {}, True, 1e9]
    for _ in range(20):
        checked(everywhere(run, lambda v: draw.choice(odd) if draw.random() < 0.2 else v))


def test_bins_without_rows_are_counted_not_dropped_silently():
    good, bad = {"predicted": 0.1, "observed": 0.2, "n": 9}, {"predicted": None, "observed": None, "n": 0}
    kept, empty = points([good, bad])
    assert (len(kept), empty) == (1, 1)
    arms = [{"label": "m", "role": "ours", "reliability": [good, bad]}]
    assert "(1 of 2 bins without rows)" in checked({"arms": arms}).sections["reliability"]


def test_bins_and_counts_that_do_not_fit_are_not_drawn():
    arms = [{"label": "m", "histogram": {"edges": [0, 0.5, 1], "counts": [1, 2, 3]}}]
    assert "No reward histogram was recorded." in checked({"arms": arms}).sections["rewards"]


# --------------------------------------------------------------------------------------- hostile text

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</title></style><script>alert(1)</script>",
    "<!-- & ]]> &lt;",
    "\ud800 \x00 \x1b[31m",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_string_of_the_run_becomes_markup(run, text):
    hostile = everywhere(run, lambda v: text if isinstance(v, str) and v != "amber" else v)
    hostile["propensity"] = {text: run["propensity"]["thumbs"]}
    hostile["counts"] = {text: 3, "kinds": {text: 4}}
    hostile["provenance"] = {text: {text: text}}
    page = checked(hostile)
    page.text.encode("utf-8")
    if "\x00" not in text:
        assert text in page.sections["models"]
        assert text in page.sections["verdict"]


def test_only_markup_is_not_escaped():
    assert el("p", "a < b", el("b", "&"), title='"') == '<p title="&quot;">a &lt; b<b>&amp;</b></p>'
    assert join(["<", Html("<br>"), None, 1234]) == "&lt;<br>–1,234"
    assert el("line", class_="x", x1=1 / 3, text_anchor=None) == '<line class="x" x1="0.33"></line>'


# --------------------------------------------------------------------------------- charts and numbers


def test_ticks_are_round_and_inside():
    assert charts.ticks((0, 1)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert charts.ticks((0.172, 0.219)) == pytest.approx([0.18, 0.19, 0.2, 0.21])
    assert charts.ticks((-0.3, 0.3), 5) == pytest.approx([-0.2, 0, 0.2])


def test_ticks_share_their_decimals():
    assert [text for _, text in charts.named([0, 0.25, 0.5])] == ["0.00", "0.25", "0.50"]
    assert [text for _, text in charts.named([-0.2, -0.0, 0.2])] == ["−0.2", "0.0", "0.2"]


def test_ceiling_is_the_next_round_number():
    assert [charts.ceiling(v) for v in (0.23, 0.6, 0.61, 1, 0)] == pytest.approx([0.25, 0.6, 0.8, 1, 1])


def test_numbers_read_as_a_person_writes_them():
    shown = [values.short(v) for v in (1284.6, 0.7112, 3.0, None, -2.5)]
    assert shown == ["1,285", "0.711", "3", "–", "−2.5"]
    assert [values.percent(v) for v in (0.911, 0.004, 1.0, 0.0, None)] == [
        "91 %",
        "0.4 %",
        "100 %",
        "0 %",
        "–",
    ]


def test_best_of_several_n_is_that_of_the_largest():
    assert values.estimate({"2": 0.6, "10": {"value": 0.8, "low": 0.7, "high": 0.9}, "4": 0.7}) == (
        0.8,
        0.7,
        0.9,
    )
    assert values.estimate({}) == (None, None, None)


# ---------------------------------------------------------------------------------------------- files


def test_write_takes_a_run_directory_or_its_file(run, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(run))
    first = report.write(tmp_path, tmp_path / "deep" / "report.html")
    second = report.write(tmp_path / "run.json", tmp_path / "again.html")
    assert first.read_text("utf-8") == second.read_text("utf-8") == report.render(run)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.html", "deep", "run.json"]


def test_a_run_without_its_file_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        report.write(tmp_path, tmp_path / "report.html")
    assert str(error.value) == (
        f"{tmp_path / 'run.json'} does not exist; expected a run directory written by `unskew train` or "
        "`unskew quickstart`, or its run.json"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "[1,",
            "is not JSON (Expecting value: line 1 column 4 (char 3)); run `unskew train` again to write it",
        ),
        ("[1]", "holds a JSON list; expected an object as `unskew train` writes it"),
    ],
)
def test_a_broken_run_file_is_named_and_writes_nothing(tmp_path, content, says):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"run\.json") as error:
        report.write(path, tmp_path / "report.html")
    assert str(error.value) == f"{path} {says}"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
