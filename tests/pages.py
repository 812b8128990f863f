"""A realistic run for the report, and a reader of its page; shared by the tests of the report."""

import math
import random
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

from unskew import report
from unskew.report.page import chosen

VOID = {"meta", "br", "hr", "img", "input", "link"}


def around(value: float, half: float) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def mean(values: list) -> float:
    return sum(values) / len(values)


def edges_to(steps: int, end: float = 1.0) -> list[float]:
    return [round(end * k / steps, 6) for k in range(steps + 1)]


def counted(edges: list[float], drawn: list[float]) -> list[int]:
    return [sum(a <= v < b or (v == b == edges[-1]) for v in drawn) for a, b in pairwise(edges)]


def curve(edges: list[float], pairs: list[tuple[float, bool]]) -> list[dict]:
    """Reliability bins; one without rows has no rates."""
    cells = [[pair for pair in pairs if a <= pair[0] < b] for a, b in pairwise(edges)]
    return [
        {"predicted": mean([p for p, _ in c]), "observed": mean([r for _, r in c]), "n": len(c)}
        if c
        else {"predicted": None, "observed": None, "n": 0}
        for c in cells
    ]


def arm(role: str, name: str, *, shift: float, slope: float, brier: float, auc: float, seed: int) -> dict:
    """A model whose log-odds are shift + slope * true log-odds + noise."""
    draw = random.Random(seed)
    truth = [draw.gauss(0.3, 1.9) for _ in range(3000)]
    pairs = [(sigmoid(shift + slope * z + draw.gauss(0, 0.4)), draw.random() < sigmoid(z)) for z in truth]
    predicted, liked = mean([p for p, _ in pairs]), mean([r for _, r in pairs])
    return {
        "name": name.split(":")[0],
        "label": name,
        "role": role,
        "metrics": {
            "auc": around(auc, 0.012),
            "accuracy": around(0.23 + 0.62 * auc, 0.013),
            "brier": around(brier, 0.006),
            "r2": around(1 - brier / 0.245, 0.02),
            "mean_prediction": around(predicted, 0.008),
            "mean_truth": liked,
            "mean_error": around(predicted - liked, 0.009),
            "ece": around(0.9 * abs(predicted - liked) + 0.012, 0.007),
            "best_of_n": around(auc - 0.05, 0.02),
        },
        "reliability": curve(edges_to(10), pairs),
        "histogram": {"edges": edges_to(20), "counts": counted(edges_to(20), [p for p, _ in pairs])},
    }


def propensity(rate: float, end: float, seed: int) -> dict:
    draw = random.Random(seed)
    drawn = [min(draw.betavariate(1.6, 1.6 * (1 / rate - 1)), end) for _ in range(16_000)]
    pairs = [(p, draw.random() < p) for p in drawn]
    edges = edges_to(20, end)
    return {
        "histogram": {
            "edges": edges,
            "observed": counted(edges, [p for p, seen in pairs if seen]),
            "silent": counted(edges, [p for p, seen in pairs if not seen]),
        },
        "calibration": [bin_ for bin_ in curve(edges, pairs) if bin_["n"] > 30],
        "mean_o_over_p": 1.03,
        "ess": 1284.6,
        "clipped_mass": {"1": 0.041, "0": 0.228},
    }


def rows(names: str, *found: tuple) -> list[dict]:
    """Rows of a table, their fields in the order of `names`."""
    return [dict(zip(names.split(), row, strict=True)) for row in found]


GATES = rows(
    "colour name value limit binds sentence",
    (
        "green",
        "thumbs: effective_sample_size",
        1284.6,
        "200 (amber below 1000)",
        ["ips"],
        "The weighted thumbs are worth 1,285 equal ones.",
    ),
    (
        "red",
        "thumbs: equal class propensities",
        0.0004,
        "p-value at least 0.01",
        ["ips", "doubly_robust"],
        "Gold labels show that people answer thumbs more often about one class.",
    ),
    (
        "amber",
        "rating: clipped mass",
        0.228,
        "at most 0.2",
        ["ips", "doubly_robust"],
        "Raising small propensities to the floor takes away 23 % of the weight of disliked responses.",
    ),
    (
        "green",
        "thumbs: mean o/p",
        1.03,
        [0.8, 1.25],
        [],
        "The propensity gives a mean weight of 1.03; right is 1.",
    ),
    ("green", "silent responses", 13053, "at least 1", ["evidence"], "13,053 responses got no answer."),
)


def policy_run() -> dict:
    """Policies on a naive reward, which is hacked, on ours, and on the truth."""
    start = {"final": {"true": around(0.1, 0.12), "liked": around(0.52, 0.03), "proxy": 0.0, "kl": 0.0}}
    arms = []
    for role, name, end in (("naive", "naive", -0.2), ("ours", "evidence", 1.1), ("ideal", "true", 1.6)):
        draw = random.Random(len(name))
        history = [
            {
                "step": 4 * k,
                "kl": 0.3 * k,
                "reward": 0.2 * k + draw.gauss(0, 0.1),
                "gold": 0.1 + end * math.sin(k / 13) + draw.gauss(0, 0.05),
                "entropy": 2.1 - 0.05 * k,
                "mean_length": 50 + draw.gauss(0, 2),
            }
            for k in range(1, 21)
        ]
        final = {
            "true": around(0.1 + end, 0.1),
            "liked": around(0.52 + end / 5, 0.03),
            "proxy": around(4, 0.2),
            "kl": 6.0,
            "win_rate": around(0.5 + end / 5, 0.05),
        }
        said = [
            {"prompt": "How do I bake?", "completion": f"First, measure. {name}", "reward": 1.2, "gold": 0.4}
        ]
        arms.append(
            {"name": name, "label": f"{name} reward", "role": role, "history": history, "final": final,
             "samples": said}
        )  # fmt: skip
    return {"start": start, "arms": arms, "seconds": 61.0}


WAYS = (
    (
        "naive",
        "feedback as it comes",
        False,
        "Who answers is part of this figure.",
        2102,
        1875.0,
        0.206,
        0.008,
    ),
    (
        "snips",
        "propensity weights (SNIPS)",
        False,
        "Feedback depends on the label.",
        2102,
        1334.0,
        0.219,
        0.013,
    ),
    ("classwise_ips", "class weights", None, "It holds when only the label counts.", 1378, 339.0, 0.2, 0.036),
    ("powered", "gold and log (PPI)", True, "It rests on random gold.", 200, 305.0, 0.18, 0.016),
    ("gold", "gold alone", True, "It rests on random gold.", 200, 200.0, 0.177, 0.019),
)


def evaluation_of(shift: float = 0.0) -> list[dict]:
    """A model in five ways of measuring."""
    found = []
    for way, label, valid, why, n, ess, brier, half in WAYS:
        metrics = {"brier": around(brier - shift, half), "auc": around(0.8 - brier, 2 * half)}
        if way == "snips":
            metrics["pair_accuracy"] = around(0.6, 0.04)
        bins = [
            {"predicted": k / 10, "observed": k / 11, "low": k / 11 - 0.05, "high": k / 11 + 0.05, "n": 20}
            for k in range(1, 10)
        ]
        size = {"n": n, "ess": ess, "differs": None}
        words = {"way": way, "label": label, "valid": valid, "why": why}
        found.append({**words, **size, "metrics": metrics, "calibration": bins})
    return found


def drift_of(level: float, p: float) -> dict:
    windows = [{"window": k, "n": 900, **around(level + k / 100, 0.02)} for k in range(4)]
    return {"value": level, "chi2": 3.1, "df": 3.0, "p": p, "windows": windows}


def evaluation_run() -> dict:
    """Two models measured on a log, as `evaluate --out` keeps it."""
    gammas = (1, 1.5, 2, 3, 5)
    curve = {
        name: [
            {"gamma": g, "value": value, "low": value - (g - 1) / 10, "high": value + (g - 1) / 10}
            for g in gammas
        ]
        for name, value in (("brier", 0.06), ("accuracy", -0.1))
    }
    tips = {name: {"value": 0.06, "gamma": g, "fnr": None, "fpr": 0.3, "distance": 3.8}
            for name, g in (("brier", 1.61), ("accuracy", None))}  # fmt: skip
    doubt = {"kind": "thumbs", "odds": 4.1, "curve": curve}
    kinds = {
        "answered": drift_of(0.2, 0.004),
        "fit": drift_of(-0.01, 0.3),
        "positive": drift_of(0.7, 0.5),
        "rates": {"fnr": drift_of(0.1, 0.4)},
    }
    gaps = [{k: v for k, v in way.items() if k not in ("ess", "calibration")} for way in evaluation_of(0.3)]
    measured = {
        "n": 7837, "unit": "response", "labels": 200, "clusters": "prompt", "in_sample": False,
        "best": "powered", "metric": "brier", "missing": {"doubly_robust": "no kind speaks"},
        "ways": evaluation_of(),
        "sensitivity": {**doubt, "rates": {"brier": around(0.06, 0.02)}},
        "drift": {
            "windows": [{"from": f"2026-0{1 + k}-05T00:18", "n": 1960} for k in range(4)],
            "model": {"way": "snips", "brier": drift_of(0.2, 0.51), "auc": drift_of(0.8, 0.2)},
            "kinds": {"thumbs": kinds},
            "changed": ["How often thumbs is answered changed over time (p value 0.004)."],
        },
        "sentences": ["The card names another log.", "Brier score 0.180 [0.164, 0.196], by gold and log."],
    }  # fmt: skip
    said = [
        "new beats old: Brier score differs by -0.120.",
        "By the weights of thumbs the order flips at 1.61.",
    ]
    against = {
        "names": ["new", "old"],
        "ways": gaps,
        "best": "powered",
        "metric": "brier",
        "decision": said[0],
        "tipping": {**doubt, "used": {"fnr": 0.1, "fpr": 0.1}, "tips": tips},
        "sentences": said,
    }
    kept = (
        "created",
        "estimand",
        "population",
        "counts",
        "verdict",
        "propensity",
        "noise",
        "limits",
        "provenance",
    )
    about = {key: value for key, value in sample_run().items() if key in kept}
    return {
        **about,
        "title": "new against old",
        "unit": "response",
        "evaluation": measured,
        "against": against,
    }


def sample_run() -> dict:
    """A run as `quickstart` keeps it, drawn from a simple model."""
    return {
        "title": "Quickstart: a chat product, feedback selected by the label",
        "created": "2026-01-24T09:30:00Z",
        "estimand": "P(liked) of a response, for all responses shown, whether or not anybody gave feedback",
        "population": "15,214 responses with closed windows, 3 models, 4 surfaces",
        "counts": {
            "impressions": 16000,
            "closed": 15214,
            "gold": 600,
            "balance": {"lines": 38412, "committed": 37602, "duplicate": 770, "quarantined": 32, "blank": 8},
            "kinds": {"thumbs": 2803, "rating": 1011, "copy": 1421, "regenerate": 1688},
            "quarantine": {"bad_json": 14, "unknown_kind": 11, "time_out_of_range": 7},
        },
        "verdict": {
            "colour": "amber",
            "sentences": [
                "Feedback depends on whether the response was liked: liked responses get thumbs 2.6 times as "
                "often as disliked ones, so weights from features alone are not enough.",
                "The evidence model carries its own tables and 600 gold labels; it is what was trained.",
            ],
            "allowed": ["evidence", "classwise_ips"],
            "estimators": {"evidence": "amber", "classwise_ips": "amber", "ips": "red"},
            "gates": GATES,
            "figures": {},
        },
        "refutations": rows(
            "name kind figure low high expected passed sentence",
            (
                "permuted labels",
                "thumbs",
                0.503,
                0.482,
                0.524,
                0.5,
                True,
                "A model of shuffled labels finds nothing.",
            ),
            (
                "added noise",
                "thumbs",
                0.021,
                0.011,
                0.031,
                0.0,
                False,
                "The correction of flips does not hold here.",
            ),
        ),
        "propensity": {"thumbs": propensity(0.18, 0.6, 1), "rating": propensity(0.25, 0.8, 2)},
        "noise": rows(
            "kind parameter estimate low high truth source",
            ("thumbs", "fnr", 0.092, 0.061, 0.136, 0.10, "gold"),
            ("thumbs", "fpr", 0.213, 0.149, 0.296, 0.20, "gold"),
            ("rating", "fnr", 0.171, 0.098, 0.280, 0.15, "gold"),
            ("rating", "fpr", 0.088, 0.036, 0.200, 0.10, "gold, shrunk"),
            ("copy", "P(happened|liked)", 0.147, 0.118, 0.181, 0.15, "evidence"),
            ("copy", "P(happened|not)", 0.024, 0.012, 0.047, 0.02, "evidence"),
            ("regenerate", "P(happened|liked)", 0.043, 0.028, 0.066, 0.04, "evidence"),
            ("regenerate", "P(happened|not)", 0.192, 0.157, 0.233, 0.20, "evidence"),
        ),
        "weights": rows(
            "estimator ess n max_weight clipped outside",
            ("evidence mixture", 11210, 15214, 1, 0, 0),
            ("class-wise IPS", 1284.6, 2803, 31.2, 0, 402),
            ("causalrm-ips", 2190.2, 2803, 10, 6021, 2803),
        ),
        "arms": [
            arm("naive", "naive: thumbs as they come", shift=1.05, slope=0.8, brier=0.217, auc=0.797, seed=3),
            arm(
                "ours", "evidence: all kinds and gold", shift=0.05, slope=0.95, brier=0.176, auc=0.811, seed=4
            ),
            arm("ours", "class-wise IPS", shift=-0.1, slope=0.8, brier=0.184, auc=0.800, seed=5),
            arm("baseline", "600 gold labels alone", shift=0.0, slope=0.7, brier=0.179, auc=0.805, seed=6),
            arm("unsafe", "causalrm-ips, as published", shift=0.7, slope=0.7, brier=0.212, auc=0.79, seed=7),
            arm("ideal", "ideal: every true label", shift=0.0, slope=1.0, brier=0.172, auc=0.816, seed=8),
        ],
        "transformer": {
            "history": [
                *({"step": 10 * k, "loss": 0.7 - 0.01 * k} for k in range(1, 12)),
                *({"step": 40 * k, "eval_mixture": -0.2 - 0.01 * k, "eval_accuracy": 0.7} for k in (1, 2, 3)),
            ]
        },
        "policy": policy_run(),
        "truth": "oracle",
        "recovered": 0.911,
        "limits": [
            "Users who never give feedback are represented only by what their responses share with others'.",
            "Best-of-n beyond n = 4 lies outside the log and is not measured.",
        ],
        "provenance": {
            "unskew": "0.1.0",
            "python": "3.11.7",
            "store": {"generation": 3, "ledger": 12, "digest": "9f2c01d3" * 4},
            "seed": 20260,
            "features": {"name": "hashing", "dim": 4096},
        },
    }


def everywhere(found: Any, change: Callable[[Any], Any]) -> Any:
    """`found` with `change` applied to every leaf."""
    if isinstance(found, dict):
        return {key: everywhere(value, change) for key, value in found.items()}
    if isinstance(found, list):
        return [everywhere(value, change) for value in found]
    return change(found)


class Page(HTMLParser):
    """What a parser sees: tags with attributes, the text, that of each section. Tags must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self.text = self.section = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.text += data
            self.sections[self.section] = self.sections.get(self.section, "") + data

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def checked(run: dict) -> Page:
    """Render a run and hold the page against what is true of every page."""
    html = report.render(run)
    page = Page(html)
    assert page.open == []
    assert len(page.named("h1")) == 1
    for outside in ("script", "img", "link", "iframe", "object", "base"):
        assert not page.named(outside)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset"):
            assert attributes.get(name, "#").startswith("#")
    for outside in ("http:", "https:", "url(", "@import"):
        assert outside not in html
    wanted = [name for name, *_ in chosen(run)]
    assert [a["id"] for a in page.named("section")] == wanted
    assert all(page.sections[name].strip() for name in wanted)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert not re.search(r"\b(nan|NaN|None|inf|Infinity|undefined)\b", page.text)
    assert not [v for _, a in page.tags for v in a.values() if re.search(r"\b(nan|inf|None)\b", v or "")]
    for attributes in page.named("svg"):
        assert attributes.get("aria-hidden") or (attributes["role"] == "img" and attributes["aria-label"])
    return page
