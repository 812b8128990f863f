"""Checks of a fit: counts against enumeration, uniform where it is right, loud where tables are constant."""

import importlib
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evident import product_log
from unskew.events import KIND
from unskew.evidence import descent
from unskew.evidence.checks import LEVEL, checks, failures
from unskew.evidence.result import doubts

pytestmark = pytest.mark.usefixtures("one_thread")

fitting = importlib.import_module("unskew.evidence.fit")  # the name is taken by the function
KINDS = tuple(KIND[name] for name in ("thumbs", "copy", "regenerate"))


def drawn(n, seed, *, moved=0.0):
    """Arguments of `checks` for a log that the fit describes, up to `moved` log-odds of copies."""
    rng = np.random.default_rng(seed)
    q = rng.uniform(0.05, 0.95, n)
    p1, p0 = rng.uniform(0.1, 0.6, (2, n, 3))
    label = rng.random(n) < q
    p = np.where(label[:, None], p1, p0)
    p[:, 1] = 1 / (1 + np.exp(-np.log(p[:, 1] / (1 - p[:, 1])) - moved))
    happened = rng.random((n, 3)) < p
    usable = rng.random((n, 3)) < 0.8
    given = [
        np.where(usable, np.where(happened, part, 1 - part), 1.0).prod(1) * weight
        for part, weight in ((p1, q), (p0, 1 - q))
    ]
    posterior = given[0] / (given[0] + given[1])
    gold = np.where(rng.random(n) < np.where(happened[:, 0], 0.3, 0.1), label, np.nan)  # chosen by the record
    return q, p1, p0, usable, happened & usable, posterior, gold


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_moments_are_those_of_all_outcomes(seed):
    # Two rows, two kinds: the count of rows on which both happened, over every outcome of label and kinds.
    rng = np.random.default_rng(seed)
    q = rng.uniform(0.2, 0.8, 2)
    p = rng.uniform(0.2, 0.8, (2, 2, 2))  # label, row, kind
    mean = square = 0.0
    for label in product((0, 1), repeat=2):
        for cell in product((0, 1), repeat=4):
            happened = np.reshape(cell, (2, 2))
            rate = np.stack([p[r, row] for row, r in enumerate(label)])
            chance = np.prod(np.where(label, q, 1 - q)) * np.prod(np.where(happened, rate, 1 - rate))
            count = happened.all(1).sum()
            mean, square = mean + chance * count, square + chance * count**2
    times = 100  # the same two rows, often enough to be judged
    everywhere = np.ones((2 * times, 2), bool)
    found = checks(
        KINDS[:2],
        np.tile(q, times),
        np.tile(p[1], (times, 1)),
        np.tile(p[0], (times, 1)),
        everywhere,
        everywhere,
        np.tile(q, times),
        np.full(2 * times, np.nan),
    )
    both = found[0]
    assert both["check"] == "thumbs and copy together"
    assert both["expected"] == pytest.approx(times * mean, rel=1e-12)
    z = (2 * times - times * mean) / math.sqrt(times * (square - mean**2))
    assert both["z"] == pytest.approx(z, rel=1e-9)
    assert both["p"] == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), rel=1e-9, abs=1e-300)


def test_p_values_are_uniform_where_the_fit_is_right_whatever_gold_was_chosen_by():
    found = [check for seed in range(40) for check in checks(KINDS, *drawn(1000, seed))]
    assert {check["check"] for check in found} >= {
        "thumbs and copy together",
        "copy in fifth 5 of quality",
        "liked when thumbs did happen",
        "liked when regenerate did not happen",
        "liked in third 1 of what evidence says",
    }
    p = np.array([check["p"] for check in found])
    # Figures of one log hang together: the standard error allows for 40 logs alone, not for 1,000 figures.
    for level in (0.05, 0.5):
        assert abs(np.mean(p < level) - level) < 4 * math.sqrt(level * (1 - level) / len(found)) + 0.02
    assert sum(bool(failures(checks(KINDS, *drawn(1000, seed)))) for seed in range(40)) <= 1


def test_a_kind_that_happens_more_often_than_the_fit_says_is_named_first():
    failed = failures(checks(KINDS, *drawn(4000, 0, moved=0.5)))
    assert failed
    assert failed[0]["check"].startswith("copy in fifth")
    assert failed[0]["observed"] > failed[0]["expected"]
    assert [check["p"] for check in failed] == sorted(check["p"] for check in failed)


def test_counts_of_too_few_rows_are_not_judged():
    q, p1, p0, usable, happened, posterior, _ = drawn(200, 0)
    few = np.full(200, np.nan)
    few[:4] = 1
    found = checks(KINDS, q, p1, p0, usable, happened, posterior, few)
    assert found
    assert not [check for check in found if check["check"].startswith("liked")]
    assert checks(KINDS, q, 0 * p1, 0 * p0, usable, happened, posterior, few * np.nan) == []


@pytest.mark.parametrize(("p", "doubted"), [(0.4 * LEVEL, True), (0.6 * LEVEL, False)])
def test_fit_is_doubted_when_one_of_its_figures_fails_all_counted(p, doubted):
    found = [{"check": name, "observed": 170.0, "expected": 110.2, "z": 5.0, "p": p} for name in "ab"]
    found[1]["p"] = 0.5
    said = doubts([], [], np.zeros(0), np.zeros(0), found)
    assert bool(said) == doubted
    if doubted:
        assert said[0].startswith(
            "1 of 2 counts contradict the fit, most of all a: 170 where 110 are expected."
        )


@pytest.mark.parametrize("gold", [True, False])
def test_constant_tables_are_caught_where_a_tone_scales_feedback_and_the_full_model_passes(gold, monkeypatch):
    log = product_log("nuisance", 0)
    changes = {} if gold else {"gold": None}
    assert failures(log.fit(**changes).checks) == []
    monkeypatch.setattr(descent, "SHARED_DECAY", 1e6)
    monkeypatch.setattr(fitting, "OWN_DECAYS", (1e6,))
    constant = log.fit(**changes)
    assert failures(constant.checks)
    assert "counts contradict the fit" in constant.warnings[-1]
