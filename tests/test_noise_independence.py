"""Conditional independence on gold: exact laws in fractions, level, power, tables of one sign and of two."""

import csv
import gzip
import itertools
import math
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew import noise
from unskew.noise.dependence import associate

TABLE = st.lists(st.integers(0, 9), min_size=4, max_size=4)


def exact(tables):
    """P(sum of a = s) under independence given the margins, as fractions."""
    law = {0: Fraction(1)}
    for (a, b), (c, d) in tables:
        n1, n2, m = a + b, c + d, a + c
        one = {
            i: Fraction(comb(n1, i) * comb(n2, m - i), comb(n1 + n2, m))
            for i in range(max(0, m - n2), min(n1, m) + 1)
        }
        joined = {}
        for s, p in law.items():
            for i, q in one.items():
                joined[s + i] = joined.get(s + i, Fraction(0)) + p * q
        law = joined
    assert sum(law.values()) == 1
    return law


def tilted(law, ratio):
    """The same law at another odds ratio."""
    mass = {s: float(p) * ratio**s for s, p in law.items()}
    total = sum(mass.values())
    return {s: p / total for s, p in mass.items()}


@settings(max_examples=60)
@given(st.lists(TABLE, min_size=1, max_size=2))
def test_p_estimate_and_interval_are_those_of_the_exact_conditional_law(flat):
    tables = [[t[:2], t[2:]] for t in flat]
    law, seen, found = exact(tables), sum(t[0] for t in flat), associate(tables)
    assert found.rows == sum(map(sum, flat))
    below = sum((p for s, p in law.items() if s <= seen), Fraction(0))
    above = sum((p for s, p in law.items() if s >= seen), Fraction(0))
    assert found.p == pytest.approx(float(min(Fraction(1), 2 * min(below, above))), rel=1e-9)
    if len(law) == 1:
        assert math.isnan(found.odds_ratio)
        assert found.interval == (0, math.inf)
        return
    low, high = found.interval
    if seen > min(law):
        assert sum(p for s, p in tilted(law, low).items() if s >= seen) == pytest.approx(0.025, rel=1e-6)
    else:
        assert (found.odds_ratio, low) == (0, 0)
    if seen < max(law):
        assert sum(p for s, p in tilted(law, high).items() if s <= seen) == pytest.approx(0.025, rel=1e-6)
    else:
        assert (found.odds_ratio, high) == (math.inf, math.inf)
    if min(law) < seen < max(law):
        assert sum(s * p for s, p in tilted(law, found.odds_ratio).items()) == pytest.approx(seen, rel=1e-9)
    assert (found.p < 0.05) == (not low <= 1 <= high)


@settings(max_examples=30)
@given(st.lists(TABLE, min_size=2, max_size=2))
def test_exchanging_kinds_tables_or_codes_keeps_the_test(flat):
    tables = np.array(flat).reshape(2, 2, 2)
    one = associate(tables)
    for other in (
        associate(tables[::-1]),
        associate(tables.transpose(0, 2, 1)),
        associate(tables[:, ::-1, ::-1]),
    ):
        assert other.p == pytest.approx(one.p, rel=1e-9)
        assert other.interval == pytest.approx(one.interval, rel=1e-6)
    turned = associate(tables[:, ::-1])  # one record coded the other way round
    assert turned.p == pytest.approx(one.p, rel=1e-9)
    if one.interval[0] > 0:
        assert turned.interval[1] == pytest.approx(1 / one.interval[0], rel=1e-6)


def test_the_tea_test_of_fisher():
    found = associate([[[3, 1], [1, 3]]])
    assert found.p == pytest.approx(2 * 17 / 70)
    assert found.odds_ratio == pytest.approx(6.408, abs=1e-3)  # the conditional estimate that R prints
    low, high = found.interval
    assert low == pytest.approx(0.21173, rel=1e-4)
    assert 1 - high**4 / (1 + 16 * high + 36 * high**2 + 16 * high**3 + high**4) == pytest.approx(0.025)


def log(n, seed, *, shared=0.0, opposite=False):
    """(first, second, gold): two records that copy each other with probability `shared`, within a class."""
    rng = np.random.default_rng(seed)
    gold = rng.random(n) < 0.5
    x, y = (rng.random(n) < np.where(gold, 0.7, 0.3) for _ in range(2))
    copied = rng.random(n) < shared
    y = np.where(copied, np.where(gold & opposite, ~x, x), y)
    return x.astype(float), y.astype(float), gold.astype(float)


def test_independent_kinds_are_rejected_no_more_often_than_promised():
    one, two = {"n1": 12, "n2": 9, "m": 10}, {"n1": 7, "n2": 11, "m": 6}
    tables = [
        [
            [[i, f["n1"] - i], [f["m"] - i, f["n2"] - f["m"] + i]]
            for i in range(max(0, f["m"] - f["n2"]), 1 + min(f["n1"], f["m"]))
        ]
        for f in (one, two)
    ]
    rejected = total = Fraction(0)
    for pair in itertools.product(*tables):
        chance = Fraction(1)
        for table, f in zip(pair, (one, two), strict=True):
            i = table[0][0]
            chance *= Fraction(comb(f["n1"], i) * comb(f["n2"], f["m"] - i), comb(f["n1"] + f["n2"], f["m"]))
        total += chance
        rejected += chance * (associate(pair).p < 0.05)
    assert total == 1
    assert Fraction(1, 100) < rejected <= Fraction(1, 20)


def test_kinds_that_both_follow_the_label_are_dependent_only_without_it():
    x, y, gold = log(4000, 7)
    assert noise.independence(x, y, gold).p > 0.05
    assert associate([[[((x == i) & (y == j)).sum() for j in (1, 0)] for i in (1, 0)]]).p < 1e-9


def test_shared_errors_are_found_and_measured():
    found = noise.independence(*log(400, 1, shared=0.4))
    assert found.p < 1e-6
    assert found.pooled.interval[0] > 2
    assert found.verdict().startswith("the two records depend on each other within a class (odds ratio ")
    psi = (0.4 * 0.7 + 0.6 * 0.49) * (0.4 * 0.3 + 0.6 * 0.09) / (0.6 * 0.21) ** 2
    assert found.pooled.interval[0] < psi < found.pooled.interval[1]


def test_dependence_of_opposite_sign_hides_from_the_pooled_test_only():
    found = noise.independence(*log(2000, 2, shared=0.3, opposite=True))
    assert found.liked.odds_ratio < 0.6
    assert found.disliked.odds_ratio > 1.6
    assert abs(math.log(found.pooled.odds_ratio)) < 0.5
    assert found.p < 1e-6


def test_verdicts_say_when_gold_is_too_little():
    assert "are too few to tell" in noise.independence(*log(20, 3)).verdict()
    assert noise.independence(*log(1000, 3)).verdict().startswith("nothing speaks against independence")


def test_rows_without_gold_or_record_play_no_part_and_errors_say_what_to_do():
    x, y, gold = log(200, 4)
    one = noise.independence(x, y, gold)
    lost = np.array([np.nan, 1.0, 1.0]), np.array([1.0, np.nan, 1.0]), np.array([1.0, 1.0, np.nan])
    two = noise.independence(*(np.append(a, b) for a, b in zip((x, y, gold), lost, strict=True)))
    assert one == two
    with pytest.raises(ValueError, match="no gold row has both records") as error:
        noise.independence([1.0], [np.nan], [1.0])
    assert str(error.value) == (
        "no gold row has both records; label rows on which both kinds were offered and closed"
    )
    with pytest.raises(ValueError, match=r"second has shape \(2,\); \(1,\) is needed"):
        noise.independence([1], [1, 0], [1])
    with pytest.raises(ValueError, match=r"gold\[0\] is 0.5; it must be 0, 1 or NaN"):
        noise.independence([1], [1], [0.5])


def test_two_versions_of_a_judge_share_errors_and_two_makers_share_fewer(real_data):
    with gzip.open(real_data("llmbar") / "judgments_dev.csv.gz", "rt", encoding="utf-8") as lines:
        rows = [r for r in csv.DictReader(lines) if r["method"] == "Metrics_Reference"]
    said = {(r["evaluator"], r["dataset"], r["idx"]): r["first_noswap"] for r in rows}
    gold = {(r["dataset"], r["idx"]): r["label"] == "1" for r in rows}

    def column(judge):
        cells = [said.get((judge, *item), "") for item in gold]
        return np.array([np.nan if cell == "" else cell == "1" for cell in cells], float)

    truth = np.array(list(gold.values()), float)
    same = noise.independence(column("ChatGPT"), column("ChatGPT-0301"), truth)
    other = noise.independence(column("GPT-4"), column("Falcon"), truth)
    assert same.pooled.interval[0] > 3
    assert same.p < 1e-9
    assert other.pooled.odds_ratio < same.pooled.odds_ratio / 3
