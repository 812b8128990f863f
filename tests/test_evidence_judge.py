"""An AI judge as one more kind: its labels lie on every row, with error rates of its own."""

import numpy as np
import pytest

from evident import brier, product_log, sigmoid
from unskew import evidence
from unskew.events import Kind
from unskew.evidence.tables import mean_rate

pytestmark = pytest.mark.usefixtures("one_thread")

JUDGE = Kind("judge", 16, "two")
FNR, FPR = 0.15, 0.3


def judged(log, share=1.0):
    """Arguments of a fit with a judge beside the kinds of a log, on a random share of the rows."""
    rng = np.random.default_rng(7)
    n = len(log.X)
    asked = rng.random(n) < share
    says = asked & (rng.random(n) < np.where(log.label, 1 - FNR, FPR))
    return {
        "X": log.X,
        "kinds": (*log.kinds, JUDGE),
        "usable": np.column_stack([log.usable, asked]),
        "observed": np.column_stack([log.observed, asked]),
        "positive": np.column_stack([log.positive, says]),
        "fold_key": log.prompt,
        "gold": log.gold,
    }


def alone(given):
    """The judge without the other kinds."""
    last = {name: given[name][:, -1:] for name in ("usable", "observed", "positive")}
    return given | last | {"kinds": (JUDGE,)}


@pytest.fixture(scope="module")
def log():
    return product_log("label", 0, 3000)


def test_rates_of_a_judge_are_found_and_its_labels_help(log):
    found = evidence.fit(**judged(log))
    for parameter, truth in (("fnr", FNR), ("fpr", FPR)):
        row = next(r for r in found.tables if (r["kind"], r["parameter"]) == ("judge", parameter))
        assert row["low"] < truth < row["high"]
        assert row["high"] - row["low"] < 0.12
    assert mean_rate(found.tables, "judge", "P(answered|liked)") > 0.99
    rest = np.isnan(log.gold)
    assert brier(found.q[rest], log.label[rest]) < brier(log.fit().q[rest], log.label[rest]) - 0.001
    assert found.warnings == ()


def test_evidence_of_a_judge_alone_is_the_log_odds_of_its_error_rates(log):
    found = evidence.fit(**alone(judged(log)))
    rest = np.isnan(log.gold)
    fnr, fpr = (mean_rate(found.tables, "judge", parameter) for parameter in ("fnr", "fpr"))
    says = judged(log)["positive"][:, -1]
    literal = np.where(says, np.log((1 - fnr) / fpr), np.log(fnr / (1 - fpr)))
    assert found.d[rest] == pytest.approx(literal[rest], abs=0.35)  # of the whole fit, beside that of folds
    assert np.abs(found.q - sigmoid(log.z))[rest].mean() < 0.06


def test_judge_of_some_rows_says_nothing_about_the_others(log):
    given = alone(judged(log, share=0.5))
    found = evidence.fit(**given)
    silent = ~given["usable"][:, 0] & np.isnan(log.gold)
    assert silent.sum() > 1000
    assert not found.d[silent].any()
    assert found.columns().w[silent].sum() == 0
