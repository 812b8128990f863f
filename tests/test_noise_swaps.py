"""Pairs shown in both orders: exact on enumerated readings, bounds under any dependence, real judges."""

import csv
import gzip
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew import noise
from unskew.noise import NoiseRefused

RATES = [Fraction(n, 20) for n in range(1, 10)]


def readings(fnr, fpr, prior):
    """(truth of the first order, label, label swapped, exact probability) of independent readings."""
    rows = []
    for truth, u, v in itertools.product((1, 0), repeat=3):
        says = (1 - fnr) if truth else fpr  # P(slot A) in the first order
        back = fpr if truth else (1 - fnr)  # the better response is in the other slot now
        chance = (prior if truth else 1 - prior) * (says if u else 1 - says) * (back if v else 1 - back)
        rows.append((truth, u, v, chance))
    return rows


@given(st.sampled_from(RATES), st.sampled_from(RATES), st.sampled_from(RATES))
def test_rates_of_the_exact_population_are_the_true_ones(fnr, fpr, prior):
    rows = readings(fnr, fpr, prior)
    first = sum((c for _, u, v, c in rows if u == v == 1), Fraction(0))
    second = sum((c for _, u, v, c in rows if u == v == 0), Fraction(0))
    assert first - second == fpr - fnr
    assert 1 - 2 * (first + second) + (first - second) ** 2 == (1 - fnr - fpr) ** 2
    counts = [int(c * 8000) for *_, c in rows]
    assert sum(counts) == 8000
    u, v = (np.repeat([row[k] for row in rows], counts) for k in (1, 2))
    found = noise.from_swaps(u, v)
    assert found.noise.fnr == pytest.approx(float(fnr), abs=1e-12)
    assert found.noise.fpr == pytest.approx(float(fpr), abs=1e-12)
    assert found.bias == pytest.approx(float(fpr - fnr), abs=1e-12)
    assert found.noise.source == "swaps"


@given(
    st.lists(st.integers(0, 400), min_size=8, max_size=8).filter(lambda counts: sum(counts) > 0),
)
def test_bias_and_bounds_hold_for_any_dependence_of_the_readings(counts):
    cells = np.array(list(itertools.product((1, 0), repeat=3)))
    truth, u, v = np.repeat(cells, counts, axis=0).T
    # Each pair is read once with the better response in slot A and once with it in slot B.
    up, liked = np.concatenate([u, v]), np.concatenate([truth, 1 - truth]) == 1
    fnr, fpr = 1 - up[liked].mean(), up[~liked].mean()
    try:
        found = noise.from_swaps(u, v)
    except NoiseRefused:
        return
    near = 0.5 / (len(u) + 1.5)  # an outcome that never occurs counts as half a pair
    assert found.bias == pytest.approx(fpr - fnr, abs=near + 1e-12)
    if fnr + fpr <= 1:
        for name, rate in (("fnr", fnr), ("fpr", fpr), ("D", 1 - fnr - fpr)):
            low, high = found.bounds[name]
            assert low - 2 * near <= rate <= high + 2 * near


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_exchanging_the_slots_exchanges_the_rates(pairs):
    u, v = np.array(pairs, float).T
    try:
        one = noise.from_swaps(u, v)
    except NoiseRefused:
        with pytest.raises(NoiseRefused):
            noise.from_swaps(1 - u, 1 - v)
        return
    two, three = noise.from_swaps(1 - u, 1 - v), noise.from_swaps(v, u)
    assert (one.noise.fnr, one.noise.fpr) == pytest.approx((two.noise.fpr, two.noise.fnr), abs=1e-12)
    assert np.allclose(one.noise.covariance, two.noise.covariance[::-1, ::-1], atol=1e-12)
    assert (one.noise.fnr, one.noise.fpr) == (three.noise.fnr, three.noise.fpr)


def test_covariance_is_that_of_repeated_draws():
    truth = np.random.default_rng(0).random(400) < 0.5
    found, told, hits, runs = [], [], 0, 300
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        u = rng.random(400) < np.where(truth, 0.9, 0.25)
        v = rng.random(400) < np.where(truth, 0.25, 0.9)
        rates = noise.from_swaps(u, v).noise
        found.append((rates.fnr, rates.fpr))
        told.append(rates.covariance)
        hits += rates.interval["fnr"][0] <= 0.1 <= rates.interval["fnr"][1]
    spread, expected = np.cov(np.transpose(found)), np.mean(told, 0)
    assert np.allclose(np.diag(spread), np.diag(expected), rtol=0.25)
    assert spread[0, 1] == pytest.approx(expected[0, 1], abs=0.25 * np.sqrt(spread[0, 0] * spread[1, 1]))
    assert 0.91 <= hits / runs <= 0.99


def test_probabilities_count_like_the_labels_that_they_would_draw():
    p, q = np.array([0.9, 0.6, 0.2]), np.array([0.3, 0.4, 0.9])
    found = noise.from_swaps(np.append(p, np.nan), np.append(q, 0.5))
    assert found.first.value == pytest.approx((p * q).mean())
    assert found.second.value == pytest.approx(((1 - p) * (1 - q)).mean())
    assert (found.pairs, found.left_out) == (3, 1)


def test_errors_say_what_to_do():
    with pytest.raises(NoiseRefused) as error:
        noise.from_swaps([1, 1, 0, 0], [1, 1, 0, 0], kind="judge")
    assert str(error.value) == (
        "judge: the two orders contradict each other in 100.0% of pairs (50.0% slot A twice, 50.0% slot B "
        "twice), at least as often as coins do. Nothing is left to correct; leave the judge out"
    )
    with pytest.raises(ValueError, match=r"forward\[1\] is 2; it must be in \[0, 1\], or NaN for no answer"):
        noise.from_swaps([1, 2], [0, 0])
    with pytest.raises(ValueError, match="show some pairs a second time, swapped"):
        noise.from_swaps([1, np.nan], [np.nan, 0])
    with pytest.raises(ValueError, match=r"backward has shape \(1,\); \(2,\) is needed"):
        noise.from_swaps([1, 0], [0])


# --- probabilities of a judge ------------------------------------------------------------------------------


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=20), st.floats(-3, 3))
def test_an_additive_bias_is_removed_exactly(scores, beta):
    s = np.array(scores)
    forward, backward = (1 / (1 + np.exp(-(sign * s + beta))) for sign in (1, -1))
    found = noise.position_bias(forward, backward)
    assert found.offset["value"] == pytest.approx(beta, abs=1e-8)
    assert np.allclose(found.preferred, 1 / (1 + np.exp(-s)), atol=1e-9)
    assert np.allclose(found.preferred + noise.position_bias(backward, forward).preferred, 1, atol=1e-12)
    assert found.clipped == 0
    if abs(beta) > 1:  # averaging probabilities shrinks, so the average of logits is no ornament
        plain = (forward + 1 - backward) / 2
        assert (np.abs(plain - 0.5) <= np.abs(found.preferred - 0.5) + 1e-12).all()


def test_certain_judges_are_clipped_and_counted():
    found = noise.position_bias([1.0, 0.7, np.nan], [0.0, 0.7, 0.5])
    assert found.clipped == 2
    assert found.preferred[1] == pytest.approx(0.5)
    assert np.isnan(found.preferred[2])
    with pytest.raises(ValueError, match="0 pairs have two probabilities"):
        noise.position_bias([np.nan], [0.5])


# --- real judges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["Natural", "Adversarial"])
@pytest.mark.parametrize("judge", ["GPT-4", "ChatGPT", "PaLM2", "LLaMA2"])
def test_bias_of_real_judges_is_that_of_gold_and_the_rates_are_lower_bounds(real_data, part, judge):
    with gzip.open(real_data("llmbar") / "judgments_dev.csv.gz", "rt", encoding="utf-8") as lines:
        rows = [
            r
            for r in csv.DictReader(lines)
            if (r["evaluator"], r["method"]) == (judge, "Vanilla_NoRules")
            and part in r["dataset"]
            and r["first_noswap"]
            and r["first_swap"]
        ]
    # Answers are mapped back to the original order: slot A holds the first response, then the second.
    u = np.array([r["first_noswap"] == "1" for r in rows])
    v = np.array([r["first_swap"] == "2" for r in rows])
    gold = np.array([r["label"] == "1" for r in rows])
    up, liked = np.concatenate([u, v]), np.concatenate([gold, ~gold])
    fnr, fpr = 1 - up[liked].mean(), up[~liked].mean()
    found = noise.from_swaps(u, v)
    assert found.bias == pytest.approx(fpr - fnr, abs=1e-9)
    assert found.noise.fnr < fnr
    assert found.noise.fpr < fpr
    if fnr + fpr < 1:
        assert found.bounds["fnr"][0] <= fnr <= found.bounds["fnr"][1]
    if (part, judge) == ("Adversarial", "GPT-4"):
        assert found.noise.fnr < 0.08
        assert fnr > 0.25
