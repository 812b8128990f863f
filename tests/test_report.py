"""The HTML report: whole, self-contained, safe with any text, and honest about what is missing."""

import json
import math
import random
import re
from html.parser import HTMLParser

import pytest

from unskew import report
from unskew.report import charts, values
from unskew.report.sections import SECTIONS, points

VOID = {"meta", "br", "hr", "img", "input", "link"}


# ------------------------------------------------------------------------------------------- a realistic run


def interval(value: float, half: float) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def counted(edges: list[float], drawn: list[float]) -> list[int]:
    return [sum(a <= v < b or (v == b == edges[-1]) for v in drawn) for a, b in zip(edges, edges[1:], strict=False)]


def tenths(steps: int, end: float = 1.0) -> list[float]:
    return [round(end * k / steps, 6) for k in range(steps + 1)]


def arm(name, label, role, *, shift, slope, brier, auc, draw) -> dict:
    """A model whose log-odds are shift + slope * true log-odds."""
    truth = [draw.gauss(0.3, 1.9) for _ in range(3000)]
    scores = [(sigmoid(shift + slope * z + draw.gauss(0, 0.4)), draw.random() < sigmoid(z)) for z in truth]
    cells = [[s for s in scores if a <= s[0] < a + 0.1] for a in tenths(10)[:-1]]
    curve = [
        {"predicted": sum(p for p, _ in c) / len(c), "observed": sum(r for _, r in c) / len(c), "n": len(c)}
        if c
        else {"predicted": None, "observed": None, "n": 0}
        for c in cells
    ]
    predicted, mean = sum(p for p, _ in scores) / len(scores), sum(r for _, r in scores) / len(scores)
    return {
        "name": name,
        "label": label,
        "role": role,
        "metrics": {
            "auc": interval(auc, 0.012),
            "accuracy": interval(0.5 + 0.62 * (auc - 0.5) + 0.04, 0.013),
            "brier": interval(brier, 0.006),
            "r2": interval(1 - brier / 0.245, 0.02),
            "mean_prediction": interval(predicted, 0.008),
            "mean_truth": mean,
            "mean_error": interval(predicted - mean, 0.009),
            "ece": interval(abs(predicted - mean) * 0.9 + 0.012, 0.007),
            "best_of_n": interval(0.7 + (auc - 0.75), 0.02),
        },
        "reliability": curve,
        "histogram": {"edges": tenths(20), "counts": counted(tenths(20), [p for p, _ in scores])},
    }


def sample_run(seed: int = 0) -> dict:
    """A run as `quickstart` keeps it, drawn from a simple model."""
    draw = random.Random(seed)
    propensity = {}
    for kind, mean, end in (("thumbs", 0.18, 0.6), ("rating", 0.25, 0.8)):
        p = [min(draw.betavariate(1.6, 1.6 * (1 / mean - 1)), end) for _ in range(16000)]
        o = [draw.random() < v for v in p]
        edges = tenths(20, end)
        cells = [[(v, s) for v, s in zip(p, o, strict=True) if a <= v < b] for a, b in zip(edges, edges[1:], strict=False)]
        propensity[kind] = {
            "histogram": {
                "edges": edges,
                "observed": counted(edges, [v for v, s in zip(p, o, strict=True) if s]),
                "silent": counted(edges, [v for v, s in zip(p, o, strict=True) if not s]),
            },
            "calibration": [
                {"predicted": sum(v for v, _ in c) / len(c), "observed": sum(s for _, s in c) / len(c), "n": len(c)}
                for c in cells
                if len(c) > 30
            ],
            "mean_o_over_p": 1.03,
            "ess": 1284.6,
            "clipped_mass": {"1": 0.041, "0": 0.228},
        }
    return {
        "title": "Quickstart: a chat product, feedback selected by the label",
        "created": "2026-01-24T09:30:00Z",
        "estimand": "P(liked) of a response, for all responses shown, whether or not anybody gave feedback",
        "population": "15,214 responses with closed windows, 3 models, 4 surfaces",
        "counts": {
            "impressions": 16000, "live": 15921, "closed": 15214, "gold": 600,
            "balance": {"lines": 38412, "committed": 37602, "duplicate": 770, "quarantined": 32, "blank": 8},
            "kinds": {"thumbs": 2803, "rating": 1011, "copy": 1421, "regenerate": 1688},
            "quarantine": {"bad_json": 14, "unknown_kind": 11, "time_out_of_range": 7},
        },
        "verdict": {
            "colour": "amber",
            "sentences": [
                "Feedback depends on whether the response was liked: gold shows that liked responses get thumbs 2.6 times "
                "as often as disliked ones, so weights from features alone are not enough.",
                "The evidence model carries its own tables and 600 gold labels; it is allowed and is what was trained.",
            ],
            "allowed": ["evidence", "classwise-ips"],
            "gates": [
                {"name": "effective_sample_size", "value": 1284.6, "limit": 1000, "colour": "green",
                 "sentence": "The weighted thumbs are worth 1,285 independent labels."},
                {"name": "class propensities equal", "value": 0.0004, "limit": 0.01, "colour": "red",
                 "sentence": "Gold rejects that liked and disliked responses get thumbs equally often (p = .0004): IPS and "
                             "DR on features are refused."},
                {"name": "clipped mass", "value": 0.228, "limit": 0.2, "colour": "amber",
                 "sentence": "22.8 % of the weight of disliked responses sits on propensities clipped at .02."},
                {"name": "mean o/p", "value": 1.03, "limit": [0.8, 1.25], "colour": "green",
                 "sentence": "Held out, the propensities add up: mean(o/p) is 1.03."},
                {"name": "D of thumbs", "value": 0.71, "limit": 0.2, "colour": "green",
                 "sentence": "Thumbs keep 71 % of the signal (95 % interval 64 to 77 %)."},
            ],
            "figures": {},
        },
        "propensity": propensity,
        "noise": [
            {"kind": "thumbs", "parameter": "fnr", "estimate": 0.092, "low": 0.061, "high": 0.136, "source": "gold", "truth": 0.1},
            {"kind": "thumbs", "parameter": "fpr", "estimate": 0.213, "low": 0.149, "high": 0.296, "source": "gold", "truth": 0.2},
            {"kind": "rating", "parameter": "fnr", "estimate": 0.171, "low": 0.098, "high": 0.28, "source": "gold", "truth": 0.15},
            {"kind": "rating", "parameter": "fpr", "estimate": 0.088, "low": 0.036, "high": 0.2, "source": "gold, shrunk", "truth": 0.1},
            {"kind": "copy", "parameter": "P(happened|liked)", "estimate": 0.147, "low": 0.118, "high": 0.181, "source": "evidence", "truth": 0.15},
            {"kind": "copy", "parameter": "P(happened|not)", "estimate": 0.024, "low": 0.012, "high": 0.047, "source": "evidence", "truth": 0.02},
            {"kind": "regenerate", "parameter": "P(happened|liked)", "estimate": 0.043, "low": 0.028, "high": 0.066, "source": "evidence", "truth": 0.04},
            {"kind": "regenerate", "parameter": "P(happened|not)", "estimate": 0.192, "low": 0.157, "high": 0.233, "source": "evidence", "truth": 0.2},
        ],
        "weights": [
            {"estimator": "evidence mixture", "ess": 11210, "n": 15214, "max_weight": 1, "clipped": 0, "outside": 0},
            {"estimator": "class-wise IPS", "ess": 1284.6, "n": 2803, "max_weight": 31.2, "clipped": 0, "outside": 402},
            {"estimator": "causalrm-ips", "ess": 2190.2, "n": 2803, "max_weight": 10, "clipped": 6021, "outside": 2803},
        ],
        "arms": [
            arm("naive", "naive: thumbs as they come", "naive", shift=1.05, slope=0.8, brier=0.217, auc=0.797, draw=draw),
            arm("evidence", "ours: evidence with gold", "ours", shift=0.05, slope=0.95, brier=0.176, auc=0.811, draw=draw),
            arm("classwise", "ours: class-wise IPS", "ours", shift=-0.1, slope=0.8, brier=0.184, auc=0.800, draw=draw),
            arm("gold", "600 gold labels alone", "baseline", shift=0.0, slope=0.7, brier=0.179, auc=0.805, draw=draw),
            arm("causalrm-ips", "causalrm-ips, as published", "unsafe", shift=0.7, slope=0.7, brier=0.212, auc=0.79, draw=draw),
            arm("ideal", "ideal: every true label", "ideal", shift=0.0, slope=1.0, brier=0.172, auc=0.816, draw=draw),
        ],
        "truth": "oracle",
        "recovered": 0.911,
        "limits": [
            "Users who never give any feedback are represented only through what their responses share with others'.",
            "Best-of-n beyond n = 4 lies outside the log and is not measured.",
        ],
        "provenance": {
            "unskew": "0.1.0", "python": "3.11.7", "store": {"generation": 3, "ledger": 12, "digest": "9f2c01d3" * 4},
            "seed": 20260, "estimator": "evidence", "features": {"name": "hashing", "dim": 4096},
        },
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------- reading it


class Page(HTMLParser):
    """What a parser sees: tags, attributes, the text under each section, and tags left open."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self.section = ""
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        if tag == "section":
            self.section = found["id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        if "style" in self.open or "script" in self.open:
            return
        self.text += data
        if self.section:
            self.sections[self.section] = self.sections.get(self.section, "") + data

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def checked(run: dict) -> Page:
    """Render and hold against what is true of every page."""
    html = report.render(run)
    page = Page(html)
    assert page.open == []
    assert len(page.named("h1")) == 1
    assert not page.named("script")
    assert not page.named("img")
    assert not page.named("link")
    assert not [v for _, a in page.tags for k, v in a.items() if k.startswith("on")]
    for _, attributes in page.tags:
        for key in ("src", "href", "xlink:href", "srcset"):
            assert attributes.get(key, "#").startswith("#")
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert [a["id"] for a in page.named("section")] == [id_ for id_, *_ in SECTIONS]
    assert all(page.sections[id_].strip() for id_, *_ in SECTIONS)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert not re.search(r"\b(nan|NaN|None|inf|Infinity|undefined)\b", page.text)
    assert not re.search(r"[\"\s(=](nan|inf)[%\"\s),]", html)
    for attributes in page.named("svg"):
        if "aria-hidden" not in attributes:
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
    return page


@pytest.fixture(scope="module")
def run() -> dict:
    return sample_run()


@pytest.fixture(scope="module")
def page(run) -> Page:
    return checked(run)


# ---------------------------------------------------------------------------------------------------- the page


def test_page_forbids_loading_and_running_anything(page):
    policies = [a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_finding_is_computed_from_the_numbers(run, page):
    naive, ours = (abs(run["arms"][k]["metrics"]["mean_error"]["value"]) * 100 for k in (0, 1))
    assert (
        f"The naive model misjudges the share of liked responses by {naive:.1f} points, the corrected one by {ours:.1f}; "
        "response by response it recovers 91 % of the gap to a model trained on every true label."
    ) in page.text
    assert "naive 0.217, corrected 0.176, a model trained on every true label 0.172" in page.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recovered": None}, "its error is 19 % smaller (Brier score 0.176 against 0.217)"),
        ({"truth": "gold"}, "Measured on gold labels."),
        ({"arms": []}, "This run does not say how right its models are"),
    ],
)
def test_finding_says_no_more_than_the_run_holds(run, change, says):
    assert says in checked({**run, **change}).text


def test_finding_admits_a_correction_that_made_things_worse(run):
    naive, ours, *_ = run["arms"]
    worse = {**ours, "metrics": {**ours["metrics"], "brier": {"value": 0.25, "low": 0.21, "high": 0.29}}}
    text = checked({**run, "arms": [naive, worse], "recovered": -0.4}).text
    assert "the corrected model is worse here (Brier score 0.250 against 0.217)" in text
    assert "the 95 % intervals of the two overlap" in text.lower()
    assert "recovers" not in text


@pytest.mark.parametrize(("colour", "symbol"), [("green", "✓"), ("amber", "!"), ("red", "✕")])
def test_verdict_is_a_word_and_a_symbol_besides_a_colour(run, colour, symbol):
    text = checked({**run, "verdict": {**run["verdict"], "colour": colour}}).sections["verdict"]
    assert f"{symbol} Audit: {colour}, " in text
    assert run["verdict"]["sentences"][0] in text


def test_gates_stand_worst_first_with_value_and_limit(run, page):
    text = page.sections["verdict"]
    order = [text.index(name) for name in ("class propensities equal", "clipped mass", "effective sample size")]
    assert order == sorted(order)
    assert "found 0.228, limit 0.2" in text
    assert "found 1.03, limit 0.8, 1.25" in text
    assert "5 gates, 2 not green" in text


def test_a_red_audit_that_was_overruled_shows_the_reason(run):
    text = checked({**run, "provenance": {"accept_red": "only a trial"}}).sections["verdict"]
    assert "Trained in spite of the audit. Reason given: only a trial" in text


def test_table_marks_the_best_that_can_be_had_and_the_unsafe(page):
    text = page.sections["arms"]
    assert "0.176 ★" in text
    assert "0.172 ★" not in text
    assert "⚠ unsafe" in text
    assert "[0.170, 0.182]" in text


def test_signed_mean_errors_are_compared_by_size(run):
    arms = [
        {"name": "a", "role": "naive", "metrics": {"mean_error": {"value": -0.2, "low": -0.25, "high": -0.15}}},
        {"name": "b", "role": "ours", "metrics": {"mean_error": 0.1}},
    ]
    text = checked({"arms": arms}).sections["arms"]
    assert "0.100 ★" in text
    assert "0.200[0.150, 0.250]" in text


def test_every_figure_of_the_run_appears(run, page):
    for row in run["noise"]:
        assert f"{row['estimate']:.3f}" in page.sections["noise"]
        assert f"[{row['low']:.3f}, {row['high']:.3f}]" in page.sections["noise"]
    for row in run["weights"]:
        assert f"{row['ess']:,.0f}" in page.sections["weights"]
    for one in run["arms"]:
        assert f"{one['metrics']['auc']['value']:.3f}" in page.sections["arms"]
    assert "1,285 independent labels" in page.sections["overlap"]
    assert "22.8 %" not in page.sections["overlap"]
    assert "4 % of the liked class and 23 % of the disliked class" in page.sections["overlap"]
    assert run["provenance"]["store"]["digest"] in page.sections["provenance"]
    assert "20260" in page.sections["provenance"]


def test_one_panel_per_arm_and_per_kind(run, page):
    labels = [a["aria-label"] for a in page.named("svg") if "aria-label" in a]
    for start, expected in (("reliability of", 6), ("rewards of", 6), ("propensity of", 2), ("propensity calibration", 2)):
        assert sum(label.startswith(start) for label in labels) == expected, start


def test_books_that_do_not_balance_are_called_so(run, page):
    assert "The books balance: 38,412 lines = 37,602 committed" in page.sections["counts"]
    broken = {**run["counts"]["balance"], "duplicate": 769}
    text = checked({**run, "counts": {"balance": broken}}).sections["counts"]
    assert "The books do not balance: 38,412 lines" in text


# ------------------------------------------------------------------------------------------------ missing parts


def test_empty_run_still_makes_every_section():
    page = checked({})
    assert "Reward model report" in page.text
    assert "No audit is recorded" in page.sections["verdict"]
    assert "No gold labels" in page.sections["limits"]


@pytest.mark.parametrize("key", sorted(sample_run()))
@pytest.mark.parametrize("instead", [None, [], {}, "text", 7, math.nan, [None, 3, {}]])
def test_any_part_may_be_missing_or_odd(run, key, instead):
    checked({**run, key: instead})
    checked({k: v for k, v in run.items() if k != key})


def everywhere(found, change):
    """The run with `change` applied to every leaf."""
    if isinstance(found, dict):
        return {k: everywhere(v, change) for k, v in found.items()}
    if isinstance(found, list):
        return [everywhere(v, change) for v in found]
    return change(found)


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
    kept, empty = points([{"predicted": 0.1, "observed": 0.2, "n": 9}, {"predicted": None, "observed": None, "n": 0}])
    assert (len(kept), empty) == (1, 1)
    arms = [{"label": "m", "role": "ours", "reliability": [{"predicted": 0.1, "observed": 0.2, "n": 9}, {"n": 0}]}]
    assert "(1 of 2 bins without rows)" in checked({"arms": arms}).sections["reliability"]


def test_bins_and_counts_that_do_not_fit_are_not_drawn():
    arms = [{"label": "m", "histogram": {"edges": [0, 0.5, 1], "counts": [1, 2, 3]}}]
    assert "No reward histogram was recorded." in checked({"arms": arms}).sections["histograms"]


# ----------------------------------------------------------------------------------------------- hostile text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onload='alert(1)",
        "</title></style><script>alert(1)</script>",
        "<!-- & ]]> &lt;",
        "\ud800 \x00 \x1b[31m",
    ],
)  # fmt: skip
def test_no_string_of_the_run_becomes_markup(run, text):
    hostile = everywhere(run, lambda v: text if isinstance(v, str) and v not in ("amber", "red", "green") else v)
    hostile["propensity"] = {text: run["propensity"]["thumbs"]}
    hostile["counts"] = {text: 3, "kinds": {text: 4}}
    hostile["provenance"] = {text: {text: text}}
    page = checked(hostile)
    page.text.encode("utf-8")
    if "\x00" not in text:
        assert text in page.sections["arms"]
        assert text in page.sections["verdict"]


# ------------------------------------------------------------------------------------------------------- charts


def test_ticks_are_round_and_inside():
    assert charts.ticks((0, 1)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert charts.ticks((0.172, 0.219)) == pytest.approx([0.18, 0.19, 0.2, 0.21])
    assert charts.ticks((-0.3, 0.3), 5) == pytest.approx([-0.2, 0, 0.2])


def test_ceiling_is_the_next_round_number():
    assert [charts.ceiling(v) for v in (0.23, 0.6, 0.61, 1, 0)] == pytest.approx([0.25, 0.6, 0.8, 1, 1])


def test_wilson_interval_of_no_success_in_ten():
    low, high = values.wilson(0.0, 10)
    assert low == 0
    assert high == pytest.approx(0.2775, abs=1e-4)


def test_numbers_read_as_a_person_writes_them():
    assert [values.short(v) for v in (1284.6, 0.7112, 3.0, None, -2.5)] == ["1,285", "0.711", "3", "–", "−2.5"]
    assert [values.percent(v) for v in (0.911, 0.004, 1.0, 0.0, None)] == ["91 %", "0.4 %", "100 %", "0 %", "–"]


# -------------------------------------------------------------------------------------------------------- files


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
        ("{", "{path} is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); "
              "run `unskew train` again to write it"),
        ("[1]", "{path} holds a JSON list; expected an object as `unskew train` writes it"),
    ],
)  # fmt: skip
def test_a_broken_run_file_is_named_and_writes_nothing(tmp_path, content, says):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        report.write(path, tmp_path / "report.html")
    assert str(error.value) == says.replace("{path}", str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
