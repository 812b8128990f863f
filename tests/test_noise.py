"""Error rates: equal to counting by hand, covered by their intervals, refused where they carry too little."""

import math

import numpy as np
import pytest

from unskew import noise, rates, simulate
from unskew.events import KIND
from unskew.noise import Noise, NoiseRefused
from unskew.rates import RANDOM, STRATIFIED, Liked, Share, design_weight, wilson


def world(n, seed, *, fnr=0.1, fpr=0.2, liked=0.6, p1=0.5, p0=0.2):
    """(truth, observed, positive) of a log with selection by label."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < liked
    observed = rng.random(n) < np.where(truth, p1, p0)
    positive = observed & (rng.random(n) < np.where(truth, 1 - fnr, fpr))
    return truth, observed, positive


def stratified(truth, observed, positive, each, seed):
    """Gold of `each` rows a record: (label, design, prob)."""
    rng = np.random.default_rng(seed)
    gold, design, prob = (
        np.full(len(truth), np.nan),
        np.zeros(len(truth), np.int8),
        np.full(len(truth), np.nan),
    )
    for record in (observed & positive, observed & ~positive, ~observed):
        rows = np.flatnonzero(record)
        take = rng.permutation(rows)[:each]
        gold[take], design[take], prob[take] = truth[take], STRATIFIED, len(take) / max(len(rows), 1)
    return gold, design, prob


# --- shares ------------------------------------------------------------------------------------------------


def test_wilson_interval_solves_its_quadratic_equation():
    for share, n in ((0.0, 7), (0.3, 20), (0.95, 400), (1.0, 3.5)):
        for end in wilson(share, n):
            assert (share - end) ** 2 == pytest.approx(rates.Z**2 * end * (1 - end) / n, abs=1e-12)
    assert wilson(0.4, 0) == (0.0, 1.0)


def test_share_without_variance_is_known_and_with_binomial_variance_has_its_trials():
    assert Share(0.3, 0.0).interval == (0.3, 0.3)
    assert Share(0.3, 0.0).n == math.inf
    share = Share(0.3, 0.3 * 0.7 / 50)
    assert share.n == pytest.approx(50)
    assert share.interval == wilson(0.3, share.n)


def test_design_weights_are_inverse_probabilities_within_a_part_and_effective_sizes_between_them():
    design = np.array([RANDOM, RANDOM, STRATIFIED, STRATIFIED, STRATIFIED])
    weight = design_weight(design, np.array([np.nan, np.nan, 0.5, 0.25, 0.25]))
    assert weight[:2].tolist() == [1.0, 1.0]
    assert weight[3] == pytest.approx(2 * weight[2])
    assert weight[2:].sum() == pytest.approx(100 / 36)  # (2 + 4 + 4)^2 / (4 + 16 + 16)


def test_stratified_gold_without_its_probability_is_an_error():
    with pytest.raises(ValueError, match="prob of stratified gold row") as error:
        design_weight(np.array([RANDOM, STRATIFIED]), np.array([np.nan, 0.0]))
    assert str(error.value) == (
        "prob of stratified gold row 1 is 0.0; it must be in (0, 1]: the probability with which the row was "
        "chosen for labelling"
    )


def test_beta_strength_is_large_for_equal_cells_and_small_for_different_ones():
    rng = np.random.default_rng(0)
    trials = np.full(200, 50.0)
    alike = rates.beta_strength(rng.binomial(50, 0.3, 200).astype(float), trials, 0.3)
    apart = rates.beta_strength(rng.binomial(50, rng.beta(3, 7, 200)).astype(float), trials, 0.3)
    assert alike > 150
    assert 6 < apart < 16


def test_ratio_and_covariance_are_those_of_resampled_gold():
    truth, observed, positive = world(6000, 0)
    record = np.where(observed, np.where(positive, 0, 1), 2)
    up, down, silent = np.eye(3, dtype=bool)
    ratios = ((down, up | down, True), (up, up | down, False), (up | down, up | down | silent, False))
    found, told = [], []
    for seed in range(300):
        gold, design, prob = stratified(truth, observed, positive, 60, seed)
        liked = Liked.of(record, 3, gold, design, prob)
        found.append([liked.ratio(*ratio).value for ratio in ratios])
        # The same log every time: only the gold varies.
        told.append(Liked(liked.rows * 1e9, liked.share, liked.variance, liked.n).covariance(*ratios))
    spread, expected = np.cov(np.transpose(found)), np.mean(told, axis=0)
    assert np.allclose(np.sqrt(np.diag(spread)), np.sqrt(np.diag(expected)), rtol=0.15)
    assert spread[0, 1] * expected[0, 1] > 0
    truths = [
        (~positive)[observed & truth].mean(),
        positive[observed & ~truth].mean(),
        observed[~truth].mean(),
    ]
    assert np.abs(np.mean(found, axis=0) - truths).max() < 0.01


# --- two-sided kinds ---------------------------------------------------------------------------------------


def test_rates_from_complete_gold_are_the_counted_ones():
    truth, observed, positive = world(20_000, 1)
    found = noise.from_gold(positive, truth.astype(float), observed=observed)
    assert found.fnr == pytest.approx((~positive)[observed & truth].mean(), abs=2e-3)
    assert found.fpr == pytest.approx(positive[observed & ~truth].mean(), abs=2e-3)
    assert found.source == "gold"
    assert pytest.approx(1 - found.fnr - found.fpr) == found.D


def test_rates_of_a_small_log_by_hand():
    # 8 recorded up: 3 of 4 gold liked; 4 recorded down: 1 of 2 gold liked. Jeffreys: 3.5 / 5 and 1.5 / 3.
    positive = np.repeat([True, False], [8, 4])
    gold = np.array([1, 1, 1, 0, *[np.nan] * 4, 1, 0, np.nan, np.nan])
    found = noise.from_gold(positive, gold)
    up, down = 8 * 0.7, 4 * 0.5
    assert found.fnr == pytest.approx(down / (up + down))
    assert found.fpr == pytest.approx(8 * 0.3 / (8 * 0.3 + 4 * 0.5))


def test_rows_that_are_not_usable_play_no_part():
    truth, observed, positive = world(4000, 2)
    usable = np.arange(4000) % 2 == 0
    scrambled = np.where(usable, positive, ~positive)
    one = noise.from_gold(positive, truth.astype(float), observed=observed, usable=usable)
    two = noise.from_gold(scrambled, truth.astype(float), observed=observed, usable=usable)
    assert one.fnr == two.fnr
    assert one.fpr == two.fpr


def test_intervals_from_gold_chosen_by_record_hold_the_truth():
    hits = np.zeros(3)
    for seed in range(250):
        truth, observed, positive = world(6000, seed)
        found = noise.from_gold(
            positive,
            (made := stratified(truth, observed, positive, 60, seed))[0],
            observed=observed,
            design=made[1],
            prob=made[2],
        )
        for number, (name, rate) in enumerate((("fnr", 0.1), ("fpr", 0.2), ("D", 0.7))):
            low, high = found.interval[name]
            hits[number] += low <= rate <= high
    assert (hits / 250 >= 0.91).all()


def test_gold_chosen_by_record_beats_random_gold_of_the_same_size():
    widths = {"random": [], "stratified": []}
    for seed in range(20):
        truth, observed, positive = world(6000, seed, p1=0.3, p0=0.1)
        gold, design, prob = stratified(truth, observed, positive, 60, seed)
        drawn = np.where(np.random.default_rng(seed).permutation(6000) < 180, truth, np.nan)
        one = noise.from_gold(positive, gold, observed=observed, design=design, prob=prob)
        two = noise.from_gold(positive, drawn, observed=observed)
        for name, found in (("stratified", one), ("random", two)):
            low, high = found.interval["fpr"]
            widths[name].append(high - low)
    assert np.mean(widths["stratified"]) < 0.8 * np.mean(widths["random"])


def test_gold_of_one_class_only_is_an_error():
    with pytest.raises(ValueError, match="rates need both classes") as error:
        noise.from_gold([True, False, True], [1.0, 1.0, np.nan], kind="thumbs")
    assert str(error.value) == (
        "thumbs: 2 gold rows carry a record, 2 of them liked; rates need both classes. Label more rows of "
        "each record (`unskew audit --gold-plan`)"
    )


def test_columns_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="has shape") as error:
        noise.from_gold([True, False], [1.0])
    assert str(error.value) == "gold has shape (1,), the record (2,); the same is needed"


# --- the rule ----------------------------------------------------------------------------------------------


def test_known_rates_have_no_spread_and_pass():
    found = noise.known(0.1, 0.2, kind="thumbs")
    assert found.checked() is found
    assert found.interval == {"fnr": (0.1, 0.1), "fpr": (0.2, 0.2), "D": (found.D, found.D)}
    with pytest.raises(ValueError, match="fpr of thumbs") as error:
        noise.known(0.1, 1.2, kind="thumbs")
    assert str(error.value) == "fpr of thumbs is 1.2; it must be in [0, 1]: it is a probability"


def test_d_at_the_limit_is_refused_and_just_above_it_is_not():
    assert noise.known(0.5, 0.29).checked().D > 0.2
    with pytest.raises(NoiseRefused) as error:
        noise.known(0.5, 0.3, kind="rating").checked()
    assert str(error.value) == (
        "the record of rating has fnr 0.500 and fpr 0.300, so D = 1 - fnr - fpr is 0.200; it must be above "
        "0.2. Label more gold rows of this kind, leave it out, or use evidence, which does not divide by D"
    )


def test_d_that_may_be_small_is_refused_by_its_lower_bound():
    wide, narrow = noise.known(0.3, 0.3, sd=(0.15, 0.15)), noise.known(0.3, 0.3, sd=(0.02, 0.02))
    assert narrow.checked() is narrow
    assert wide.interval["D"][0] < 0.15 < wide.D
    with pytest.raises(NoiseRefused, match=r"its lower 95 % bound must be at least 0\.15"):
        wide.checked()


def test_correlated_rates_move_the_bound_of_d():
    spread = np.array([[1.0, 0.9], [0.9, 1.0]]) * 0.1**2
    together, apart = (Noise(0.2, 0.2, c) for c in (spread, spread * np.array([[1, -1], [-1, 1]])))
    assert together.interval["D"][0] < Noise(0.2, 0.2, np.diag([0.01, 0.01])).interval["D"][0]
    assert together.interval["D"][0] < apart.interval["D"][0]


def test_anchors_are_the_quantiles_are_marked_and_are_never_refused():
    posterior = np.linspace(0.4, 0.5, 101)
    found = noise.quantile_anchors(posterior, 0.97)
    assert found.fnr == pytest.approx(1 - 0.497)
    assert found.fpr == pytest.approx(0.403)
    assert found.unsafe
    assert found.source == "anchors"
    assert found.D < 0.2
    assert found.checked() is found
    with pytest.raises(ValueError, match="quantile") as error:
        noise.quantile_anchors(posterior, 0.3)
    assert str(error.value) == "quantile is 0.3; it must be in (0.5, 1]"
    with pytest.raises(ValueError, match="probabilities"):
        noise.quantile_anchors([0.1, 1.2])


# --- one-sided kinds, all kinds ----------------------------------------------------------------------------


def test_one_sided_rates_are_the_counted_ones_and_their_intervals_hold_the_truth():
    hits = np.zeros(2)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = rng.random(4000) < 0.5
        happened = rng.random(4000) < np.where(truth, 0.15, 0.02)
        gold, design, prob = stratified(truth, happened, happened, 80, seed)
        found = noise.happening_from_gold(happened, gold, design=design, prob=prob)
        for number, (name, rate) in enumerate((("liked", 0.15), ("disliked", 0.02))):
            low, high = found.interval[name]
            hits[number] += low <= rate <= high
    assert (hits / 200 >= 0.91).all()
    every = noise.happening_from_gold(happened, truth.astype(float))
    assert every.liked == pytest.approx(happened[truth].mean(), abs=2e-3)
    assert [row["parameter"] for row in every.rows()] == ["P(happened|liked)", "P(happened|not)"]


def test_one_sided_kind_without_gold_is_an_error():
    with pytest.raises(ValueError, match="no gold row") as error:
        noise.happening_from_gold([True, False], [np.nan, np.nan], kind="copy")
    assert (
        str(error.value) == "copy: no gold row among the rows on which it was offered and closed; label some"
    )


def test_sparse_kinds_lean_on_the_pooled_rate_and_rich_ones_do_not():
    rich = Noise(0.1, 0.2, np.diag([0.1 * 0.9 / 1000, 0.2 * 0.8 / 1000]), "gold", "thumbs")
    poor = Noise(0.5, 0.2, np.diag([0.5 * 0.5 / 10, 0.2 * 0.8 / 10]), "gold", "rating")
    one, two = noise.shrink([rich, poor], prior=10)
    pooled = (1000 * 0.1 + 10 * 0.5) / 1010
    assert two.fnr == pytest.approx((0.5 + pooled) / 2)
    assert two.shrunk[0] == pytest.approx(0.5)
    assert abs(one.fnr - 0.1) < 1e-4
    assert np.array_equal(two.covariance, poor.covariance)
    assert noise.shrink([poor]) == [poor]
    assert noise.shrink([rich, poor], prior=0) == [rich, poor]


def test_every_kind_of_a_simulated_log_gets_rates_near_the_truth():
    drawn = simulate.draw(simulate.WORLDS["label"], 16_000, seed=4)
    chosen = simulate.choose(drawn, 400, 200, seed=4)
    gold, design, prob = np.full(16_000, np.nan), np.zeros(16_000, np.int8), np.full(16_000, np.nan)
    gold[chosen.row], prob[chosen.row] = drawn.label[chosen.row], chosen.prob
    design[chosen.row] = np.where(chosen.stratified, STRATIFIED, RANDOM)
    kinds = [KIND[name] for name in drawn.kinds]
    found = noise.by_kind(kinds, drawn.offered, drawn.observed, drawn.positive, gold, design, prob)
    assert set(found) == {"thumbs", "rating", "copy", "regenerate"}
    for name, fnr, fpr in (("thumbs", 0.10, 0.20), ("rating", 0.15, 0.10)):
        low, high = zip(*(found[name].interval[rate] for rate in ("fnr", "fpr")), strict=True)
        assert low[0] < fnr < high[0]
        assert low[1] < fpr < high[1]
        found[name].checked()
    assert found["copy"].liked > 4 * found["copy"].disliked
    assert found["regenerate"].disliked > 2 * found["regenerate"].liked
    parameters = [(row["kind"], row["parameter"]) for rate in found.values() for row in rate.rows()]
    assert len(set(parameters)) == 8


def test_kinds_without_gold_are_left_out():
    kinds = [KIND["thumbs"], KIND["copy"], KIND["choice"], KIND["edit"]]
    shape = (6, 4)
    yes, gold = np.ones(shape, bool), np.array([1.0, 0, 1, 0, np.nan, np.nan])
    assert noise.by_kind(kinds, yes, yes, yes, np.full(6, np.nan)) == {}
    assert set(noise.by_kind(kinds, yes, yes, yes, gold)) == {"thumbs", "copy"}
