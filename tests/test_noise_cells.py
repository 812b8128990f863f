"""Rates by cell: counted by hand, between own and parent, better than either, refused cell by cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew import noise
from unskew.noise import NoiseRefused
from unskew.rates import RANDOM, STRATIFIED


def world(sizes, fnr, fpr, seed=0, liked=0.5):
    """(record, truth, cell) of cells with rates of their own; `sizes` rows each."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(len(sizes)), sizes)
    truth = rng.random(len(cell)) < liked
    up = np.where(
        truth, rng.random(len(cell)) >= np.asarray(fnr)[cell], rng.random(len(cell)) < np.asarray(fpr)[cell]
    )
    return up, truth, cell


def test_rates_of_a_small_log_by_hand():
    # a: 4 true 1, one of them flipped, 2 true 0; b: 2 true 1, both flipped, 2 true 0, one of them flipped.
    cell = np.array(list("aaaaaabbbb"))
    gold = np.array([1, 1, 1, 1, 0, 0, 1, 1, 0, 0.0])
    up = np.array([1, 1, 1, 0, 0, 0, 0, 0, 1, 0])
    found = noise.by_cell(up, gold, cell, prior=3, kind="thumbs")
    fnr, fpr = 3.5 / 7, 1.5 / 5
    assert found.pooled.fnr == pytest.approx(fnr)
    assert found.pooled.fpr == pytest.approx(fpr)
    assert found.rates["a"].fnr == pytest.approx((1 + 3 * fnr) / 7)
    assert found.rates["b"].fnr == pytest.approx((2 + 3 * fnr) / 5)
    assert found.rates["b"].fpr == pytest.approx((1 + 3 * fpr) / 5)
    assert found.rates["a"].shrunk == pytest.approx((3 / 7, 3 / 5))
    assert found.fnr.tolist() == pytest.approx([found.rates[name].fnr for name in cell])
    m = found.rates["a"].fnr
    spread = m * (1 - m) / (4 + 3 + 1) + (3 / 7) ** 2 * fnr * (1 - fnr) / (6 + 2)
    assert found.rates["a"].covariance[0, 0] == pytest.approx(spread)
    assert found.rates["a"].kind == "thumbs in a"


@given(st.integers(0, 10**6), st.floats(0.5, 50))
def test_shrunk_rates_lie_between_own_and_pooled_and_order_plays_no_part(seed, prior):
    up, truth, cell = world([3, 30, 12, 1, 8], [0.1, 0.4, 0.2, 0.3, 0.2], [0.1, 0.2, 0.3, 0.1, 0.4], seed)
    gold = np.append(truth, [1, 0]).astype(float)  # both classes, whatever was drawn
    up, cell = np.append(up, [True, False]), np.append(cell, [1, 1])
    found = noise.by_cell(up, gold, cell, prior=prior)
    for name, rate in found.rates.items():
        here = (cell == name) & (gold == 1)
        if not here.any():
            assert rate.fnr == found.pooled.fnr
            assert rate.shrunk[0] == 1
            continue
        ends = sorted([(~up)[here].mean(), found.pooled.fnr])
        assert ends[0] - 1e-12 <= rate.fnr <= ends[1] + 1e-12
    order = np.random.default_rng(seed).permutation(len(up))
    again = noise.by_cell(up[order], gold[order], cell[order], prior=prior)
    assert np.allclose(again.fnr, found.fnr[order], atol=1e-12)
    none, full = (noise.by_cell(up, gold, cell, prior=p) for p in (0.0, 1e12))
    assert np.allclose(full.fpr, full.pooled.fpr, atol=1e-9)
    assert none.rates[1].fnr == pytest.approx((~up)[(cell == 1) & (gold == 1)].mean())


def test_cells_that_differ_keep_their_rate_and_cells_that_do_not_share_it():
    cells = 40
    rng = np.random.default_rng(0)
    apart = rng.beta(2, 6, cells)
    for fnr, more in ((apart, False), (np.full(cells, 0.25), True)):
        up, truth, cell = world([40] * cells, fnr, np.full(cells, 0.1), seed=1)
        found = noise.by_cell(up, truth.astype(float), cell)
        assert (found.strength[0][0] > 50) == more
        own = np.array([(~up)[(cell == c) & truth].mean() for c in range(cells)])
        shrunk = np.array([found.rates[c].fnr for c in range(cells)])
        error = [np.square(rates - fnr).mean() for rates in (shrunk, own, np.full(cells, found.pooled.fnr))]
        assert error[0] < error[1]
        assert error[0] < error[2] * 1.05


def test_two_surfaces_with_opposite_noise_are_told_apart():
    up, truth, cell = world([4000, 4000], [0.45, 0.05], [0.05, 0.25])
    gold = np.where(np.random.default_rng(1).random(8000) < 0.05, truth, np.nan)
    found = noise.by_cell(up, gold, np.array(["web", "app"])[cell]).checked()
    for name, fnr, fpr in (("web", 0.45, 0.05), ("app", 0.05, 0.25)):
        assert found.rates[name].interval["fnr"][0] < fnr < found.rates[name].interval["fnr"][1]
        assert found.rates[name].interval["fpr"][0] < fpr < found.rates[name].interval["fpr"][1]
    assert found.pooled.fnr == pytest.approx(0.25, abs=0.06)


def test_intervals_of_cells_hold_their_rates():
    hits = runs = 0
    for seed in range(40):
        fnr = np.random.default_rng(seed).beta(4, 12, 25)
        up, truth, cell = world([20] * 25, fnr, np.full(25, 0.1), seed=1000 + seed)
        found = noise.by_cell(up, truth.astype(float), cell)
        for c in range(25):
            low, high = found.rates[c].interval["fnr"]
            hits, runs = hits + (low <= fnr[c] <= high), runs + 1
    assert 0.92 <= hits / runs <= 0.995


def test_gold_chosen_by_record_counts_by_its_inverse_probability():
    up, truth, cell = world([20_000, 20_000], [0.2, 0.4], [0.1, 0.05], seed=3)
    rng = np.random.default_rng(4)
    chance = np.where(up, 0.02, 0.2)
    gold = np.where(rng.random(len(up)) < chance, truth, np.nan)
    design = np.full(len(up), STRATIFIED)
    found = noise.by_cell(up, gold, cell, design=design, prob=chance)
    naive = noise.by_cell(up, gold, cell, design=np.full(len(up), RANDOM))
    for c, fnr in ((0, 0.2), (1, 0.4)):
        assert found.rates[c].fnr == pytest.approx(fnr, abs=0.06)
        assert naive.rates[c].fnr > fnr + 0.2


def test_a_finer_level_leans_on_the_coarser_one():
    up, truth, surface = world([600, 600], [0.45, 0.05], [0.1, 0.1], seed=5)
    country = surface * 100 + np.arange(1200) % 100  # six rows a cell
    found = noise.by_cell(up, truth.astype(float), [surface, country])
    web = np.array([rate.fnr for name, rate in found.rates.items() if name < 100])
    assert np.abs(web - 0.45).max() < 0.15
    assert len(found.strength) == 2
    flat = noise.by_cell(up, truth.astype(float), country)
    assert (
        np.square(found.fnr - np.array([0.45, 0.05])[surface]).mean()
        < 0.5 * np.square(flat.fnr - np.array([0.45, 0.05])[surface]).mean()
    )


def test_refused_cells_are_named_and_errors_say_what_to_do():
    up, truth, cell = world([2000, 2000, 2000], [0.1, 0.5, 0.45], [0.1, 0.45, 0.5])
    found = noise.by_cell(up, truth.astype(float), np.array(["web", "app", "mail"])[cell], kind="thumbs")
    with pytest.raises(
        NoiseRefused, match=r"^2 of 3 cells are refused; the first: the record of thumbs in app "
    ):
        found.checked()
    with pytest.raises(ValueError, match="level 1 of cell is not nested in the one before"):
        noise.by_cell([1, 0], [1, 0], [["a", "b"], ["x", "x"]])
    with pytest.raises(ValueError, match=r"cell has shape \(3,\), the record \(2,\); the same is needed"):
        noise.by_cell([1, 0], [1, 0], ["a", "b", "c"])
    with pytest.raises(ValueError, match="2 gold rows carry a record, none of them counts for fpr"):
        noise.by_cell([1, 0], [1, 1], ["a", "b"])
