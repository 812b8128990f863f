"""Counts: shrunk cells, what comes together, logged probabilities, and sums that add up to the bit."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.audit import measure
from unskew.propensity import check_policy, crossed, joint, nested, report, shrunk, sums
from unskew.propensity.delay import corrected, delays

# --- shrunk cells ------------------------------------------------------------------------------------------


def test_shrunk_cells_follow_the_formula_level_by_level():
    levels = nested([["a", "a", "a", "b"], [0, 0, 1, 0]])
    assert [level.tolist() for level in levels] == [[0, 0, 0, 1], [0, 0, 1, 2]]
    k, n = np.array([3.0, 1, 9, 2]), np.array([10.0, 5, 12, 30])
    found = shrunk(levels, k, n)
    rate, spread = 15.5 / 58, 15.5 / 58 * 42.5 / 58 / 59
    mean, variance = [rate] * 2, [spread] * 2
    for level, s in zip(([0, 1], [0, 0, 1]), found.strength, strict=True):
        of, out_of = ([13, 2], [27, 30]) if len(level) == 2 else ([4, 9, 2], [15, 12, 30])
        parent = [mean[0]] * 2 if len(level) == 2 else [mean[p] for p in level]
        before = [variance[0]] * 2 if len(level) == 2 else [variance[p] for p in level]
        mean = [(a + s * m) / (b + s) for a, b, m in zip(of, out_of, parent, strict=True)]
        variance = [
            m * (1 - m) / (b + s + 1) + (s / (b + s)) ** 2 * v
            for m, b, v in zip(mean, out_of, before, strict=True)
        ]
    assert found.mean.tolist() == pytest.approx([mean[c] for c in (0, 0, 1, 2)], rel=1e-12)
    assert found.variance.tolist() == pytest.approx([variance[c] for c in (0, 0, 1, 2)], rel=1e-12)


def test_cells_already_counted_shrink_as_their_rows_do():
    rng = np.random.default_rng(0)
    surface, slot = rng.integers(0, 3, 2000), rng.integers(0, 4, 2000)
    o = rng.random(2000) < 0.1 + 0.1 * surface
    rows = shrunk(nested([surface, slot]), o, np.ones(2000))
    cell = surface * 4 + slot
    k, n = np.bincount(cell, o), np.bincount(cell)
    cells = shrunk(nested([np.arange(12) // 4, np.arange(12) % 4]), k, n)
    assert rows.strength == pytest.approx(cells.strength)
    assert rows.mean == pytest.approx(cells.mean[cell])
    assert rows.variance == pytest.approx(cells.variance[cell])


def test_the_variance_of_shrunk_rates_is_the_error_that_is_seen():
    error, said = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        surface = np.repeat(np.arange(4), 40)
        true = rng.beta(20 * 0.2, 20 * 0.8, 160)
        n = rng.integers(3, 60, 160)
        found = shrunk(nested([surface, np.arange(160)]), rng.binomial(n, true), n)
        error.append((found.mean - true) ** 2)
        said.append(found.variance)
    assert np.mean(error) / np.mean(said) == pytest.approx(1, abs=0.12)
    assert np.mean(error) < 0.8 * np.mean(0.2 * 0.8 / n)  # noisy cells gain


def test_young_responses_shrink_by_what_they_stand_for():
    rng = np.random.default_rng(3)
    age = np.where(rng.random(4000) < 0.5, 10 * rng.random(4000), 10.0)
    delay = np.where(rng.random(4000) < 0.3, 10 * rng.random(4000), np.nan)
    F, cell = delays(delay, age), rng.integers(0, 20, 4000)
    found = shrunk(nested([cell]), delay <= age, F.at(age))
    assert found.mean.mean() == pytest.approx(corrected(delay, age, F).rate[0], abs=0.005)
    assert found.mean.mean() == pytest.approx(0.3, abs=0.04)
    tiny = shrunk(nested([[0, 1]]), [1, 0], [0.2, 50])  # one answer to a response of an hour
    assert ((tiny.mean > 0) & (tiny.mean < 1)).all()


def test_trials_of_another_length_are_an_error():
    with pytest.raises(ValueError, match="trials has shape") as error:
        shrunk([], [1, 2], [1])
    assert str(error.value) == "trials has shape (1,), successes (2,); the same is needed"


# --- what comes together -----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=25))
def test_pairs_within_sessions_are_counted_as_if_one_by_one(rows):
    session, observed, usable = (np.array(c) for c in zip(*rows, strict=True)) if rows else ([], [], [])
    found = joint(observed, session, usable=usable)
    pairs = [
        int(observed[i]) + int(observed[j])
        for i in range(len(rows))
        for j in range(i)
        if session[i] == session[j] and usable[i] and usable[j]
    ]
    assert found.pairs == len(pairs)
    assert (found.neither, found.one, found.both) == tuple(pairs.count(k) for k in (0, 1, 2))
    assert found.both / found.pairs == found.p if pairs else math.isnan(found.p)


def test_independent_answers_have_an_odds_ratio_of_one_and_moods_do_not():
    sessions = list(product([False, True], repeat=3))
    for chances, ratio in (([0.25], 1.0), ([0.1, 0.6], None)):
        both = one = neither = Fraction(0)
        for answers in sessions:  # every outcome of three answers, weighted by its probability
            chance = sum(
                Fraction(math.prod(Fraction(c) if a else 1 - Fraction(c) for a in answers)) for c in chances
            )
            found = joint(answers, [0, 0, 0])
            both, one, neither = (
                total + chance * count
                for total, count in (
                    (both, found.both),
                    (one, found.one),
                    (neither, found.neither),
                )
            )
        odds = float(both * neither * 4 / one**2)
        assert odds == pytest.approx(1, abs=1e-12) if ratio else odds > 2
    assert joint([1, 1, 0, 0], [0, 0, 1, 1]).odds_ratio == math.inf
    assert joint([1, 0, 0, 1, 1, 0, 0], [0, 0, 1, 2, 2, 3, 3]).odds_ratio == 4 * 1 * 1 / 1**2


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_kinds_are_crossed_as_if_one_by_one(seed):
    rng = np.random.default_rng(seed)
    observed, positive, usable = rng.random((3, 20, 3)) < np.array([0.6, 0.5, 0.8])[:, None, None]
    found = crossed(observed, positive, usable)
    assert found.dtype == np.int64
    state = np.where(observed, np.where(positive, 0, 1), 2)
    for i, j, s, t in product(range(3), range(3), range(3), range(3)):
        rows = usable[:, i] & usable[:, j] & (state[:, i] == s) & (state[:, j] == t)
        assert found[i, j, s, t] == rows.sum()


# --- logged probabilities ----------------------------------------------------------------------------------


def test_the_mean_of_one_over_p_is_the_number_of_arms():
    p = {"large": 0.5, "small": 0.3, "old": 0.2}
    rows = [name for name, share in p.items() for _ in range(round(1000 * share))]
    found = check_policy([p[name] for name in rows], arm=rows)
    assert found.arms["value"] == pytest.approx(3, abs=1e-9)
    assert (found.rows, found.missing, found.least, found.too_small) == (1000, 0, 0.2, ())
    assert found.warnings() == ()


def test_an_arm_that_is_shown_more_often_than_logged_is_named():
    p = {"large": 0.5, "small": 0.2, "new": 0.3, "old": 0.0005}
    rows = ["large"] * 450 + ["small"] * 300 + ["new"] * 249 + ["old"]
    found = check_policy([*(p[name] for name in rows), np.nan], arm=[*rows, "old"])
    assert found.too_small == ("small",)
    assert found.missing == 1
    assert found.warnings() == (
        "The smallest logged probability of showing a response is 0.0005; a weight 1 / p makes that one row "
        "count 2,000 times.",
        "small: shown more often than the logged probabilities allow, beyond chance. They do not describe "
        "what the product drew.",
    )


def test_right_probabilities_are_seldom_doubted():
    doubted = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        share = rng.dirichlet(np.ones(5), 400)  # a context a row
        arm = (rng.random(400)[:, None] > share.cumsum(1)).sum(1)
        doubted += bool(check_policy(np.maximum(share[np.arange(400), arm], 1e-12), arm=arm).too_small)
    assert doubted <= 15


def test_requests_whose_candidates_do_not_sum_to_one_are_counted():
    prob, request = [0.25, 0.75, 0.5, 0.5, 0.5, 0.3, 0.9, np.nan, 1.0], [1, 1, 2, 2, 3, 3, 4, 4, 5]
    found = check_policy(prob, request=request)
    assert (found.requests, found.off) == (3, 1)
    assert found.warnings() == (
        "In 1 of 3 requests the logged probabilities of the candidates do not sum to 1, in the others they "
        "do; a candidate or its probability is missing there.",
    )
    together = check_policy([0.9, 0.9, 0.8, 0.7], request=[1, 1, 2, 2])  # shown side by side, drawn apart
    assert (together.off, together.warnings()) == (2, ())


def test_probability_zero_is_an_error():
    with pytest.raises(ValueError, match="prob of row 1") as error:
        check_policy([0.5, 0.0])
    assert str(error.value) == "prob of row 1 is 0.0; it must be in (0, 1], or nan where it was not logged"


# --- sums --------------------------------------------------------------------------------------------------


numbers = st.floats(-1e6, 1e6) | st.floats(-1e-9, 1e-9) | st.floats(-1e30, 1e30)


@given(st.lists(numbers, max_size=30))
def test_sums_are_exact_after_one_rounding_of_each_value(values):
    true = sum(round(Fraction(v) * 2**40) for v in values)
    assert sums.exact_sum(np.array(values, float)) == true


def log(seed, n=400):
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 4, n).clip(0.001, 1)
    o = rng.random(n) < p
    return p, o, rng.normal(0.5, 1, n), {"length": rng.normal(30, 9, n), "flat": np.ones(n)}


def everything(p, o, r, x):
    return sums.weights(o / p, r) + sums.calibration(p, o) + sums.balance(o, p, x)


@given(st.integers(0, 1000), st.lists(st.integers(0, 400), max_size=4))
@settings(max_examples=20)
def test_any_order_and_any_split_give_the_same_bytes_and_rows_can_be_taken_back(seed, cuts):
    p, o, r, x = log(seed)
    whole = everything(p, o, r, x)
    order = np.random.default_rng(seed).permutation(len(p))
    parts = np.split(order, sorted(cuts))
    pieces = [everything(p[at], o[at], r[at], {name: v[at] for name, v in x.items()}) for at in parts]
    merged = sum(pieces[1:], pieces[0])
    assert repr(merged.total) == repr(whole.total)
    assert repr((merged - pieces[-1] + pieces[-1]).total) == repr(whole.total)
    assert (whole - whole).total == {}


def test_weight_figures_are_those_of_numpy():
    p, o, r, _ = log(1)
    w, n = o / p, len(p)
    found = sums.weight_figures(sums.weights(w, r))
    ips, snips = (w * r).mean(), (w * r).sum() / w.sum()
    close = {"rel": 1e-12, "abs": 1e-12}
    assert found["n"] == n
    assert found["ips"] == pytest.approx(ips, **close)
    assert found["ips_error"] == pytest.approx((w * r).std() / np.sqrt(n), rel=1e-9)
    assert found["snips"] == pytest.approx(snips, **close)
    assert found["snips_error"] == pytest.approx(np.sqrt((w**2 * (r - snips) ** 2).sum()) / w.sum(), rel=1e-9)
    assert found["ess"] == pytest.approx(w.sum() ** 2 / (w**2).sum(), **close)
    assert found["ess"] == pytest.approx(report(p, o, np.ones(n, bool), floor=1e-9).ess, rel=1e-9)
    assert w.max() < found["largest"] <= 2 * w.max()
    for part in found["clips"]:
        cut = np.minimum(w, part["clip"])
        assert part["mass"] == pytest.approx(1 - cut.sum() / w.sum(), **close)
        assert part["ips"] == pytest.approx((cut * r).mean(), **close)
        assert part["bias"] == pytest.approx((cut * r).mean() - ips, **close)
        assert part["error"] == pytest.approx((cut * r).std() / np.sqrt(n), rel=1e-9)


def test_calibration_and_balance_are_those_of_numpy_and_of_the_audit():
    p, o, _, x = log(2)
    found = sums.calibration_figures(sums.calibration(p, o))
    at = np.minimum((p * 50).astype(int), 49)
    away = [abs(o[at == b].sum() - p[at == b].sum()) for b in range(50)]
    assert found["ece"] == pytest.approx(sum(away) / len(p), abs=1e-12)
    assert [part["n"] for part in found["bins"]] == [n for n in np.bincount(at, minlength=50) if n]
    means = [p[at == b].mean() for b in np.unique(at)]
    assert [part["predicted"] for part in found["bins"]] == pytest.approx(means, abs=1e-11)
    column = measure.Column("thumbs", np.ones(len(p), bool), o, o)
    audited = measure.balance(column, p, x)
    read = sums.balance_figures(sums.balance(o, p, x), list(x))
    assert read.keys() == audited.keys() == {"length"}
    assert read["length"] == pytest.approx(audited["length"], abs=1e-12)


def test_nothing_at_all_has_no_figures():
    nothing = sums.weights([], [])
    assert nothing.total == {}
    assert math.isnan(sums.weight_figures(nothing)["ips"])
    assert sums.weight_figures(nothing)["ess"] == 0
    assert sums.calibration_figures(nothing)["bins"] == []
    assert sums.balance_figures(nothing, ["length"]) == {}


def test_a_weight_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="value of row 1 is inf; sums need finite numbers"):
        sums.weights([1.0, np.inf], [1.0, 1.0])
