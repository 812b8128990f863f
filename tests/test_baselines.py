"""The published methods of the benches: each formula by hand or by enumeration, then all of them at work."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benches.baselines import (
    BASELINES,
    GRIDS,
    Logged,
    Tuning,
    causalrm,
    co_teaching,
    codis,
    cvib,
    dr_jl,
    eps_softmax,
    f_correction,
    label_wave,
    loop,
    mt_ips,
    robust_dividemix,
    sdr,
    stable_dr,
    ubpr,
)

N = 4
chance = st.floats(0.05, 0.95)
score = st.floats(-4, 4)
several = {"p": st.lists(chance, min_size=N, max_size=N), "z": st.lists(score, min_size=N, max_size=N)}


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def outcomes(p):
    """(o, probability) of every way in which rows may be observed."""
    for o in itertools.product((0.0, 1.0), repeat=len(p)):
        o = tensor(o)
        yield o, float(torch.where(o == 1, p, 1 - p).prod())


def expected(p, value):
    return sum(chance * value(o) for o, chance in outcomes(p))


# --- weights and imputations -------------------------------------------------------------------------------

Y = tensor([1.0, 0.0, 0.0, 1.0])


@given(**several)
def test_inverse_propensities_are_unbiased_for_the_loss_of_all_rows(p, z):
    p, z = tensor(p), tensor(z)
    found = expected(p, lambda o: mt_ips.ips(z, Y, o, p).mean())
    assert float(found) == pytest.approx(float(loop.bce(z, Y).mean()), abs=1e-9)


@given(**several, q=st.lists(chance, min_size=N, max_size=N))
def test_doubly_robust_loss_is_unbiased_when_either_side_is_right(p, z, q):
    p, z, q = tensor(p), tensor(z), tensor(q)
    ideal = float(loop.bce(z, Y).mean())
    for imputed, assumed in ((q, p), (Y, p * 0.5 + 0.3)):
        found = expected(p, lambda o, i=imputed, a=assumed: dr_jl.doubly_robust(z, Y, i, o, a).mean())
        assert float(found) == pytest.approx(ideal, abs=1e-9)


def test_imputation_error_is_weighted_and_counts_observed_rows_alone():
    z, q, p = tensor([1.0, 2, 3, 4]), tensor([0.5, 0.5, 0.5, 0.5]), tensor([0.5, 0.5, 0.25, 0.5])
    found = dr_jl.imputation(z, Y, q, tensor([1.0, 0, 1, 0]), p)
    assert found.tolist() == pytest.approx([2 * (0.5 * 1) ** 2, 0, 4 * (0.5 * 3) ** 2, 0])


@given(p=chance, c=chance, r=st.sampled_from([0.0, 1.0]), fnr=st.floats(0, 0.35), fpr=st.floats(0, 0.35))
def test_causalrm_target_is_the_clean_label_on_average(p, c, r, fnr, fpr):
    up = r * (1 - fnr) + (1 - r) * fpr
    args = tensor([p]), tensor([c]), fnr, fpr
    found = (1 - p) * causalrm.target(tensor([0.0]), tensor([0.0]), *args)
    for y, probability in ((1.0, up), (0.0, 1 - up)):
        found = found + p * probability * causalrm.target(tensor([y]), tensor([1.0]), *args)
    assert float(found) == pytest.approx(r, abs=1e-9)


def test_causalrm_needs_the_clean_imputation_when_the_propensity_is_wrong():
    p, assumed, eta, fnr, fpr = 0.3, 0.6, 0.7, 0.2, 0.1
    noisy = fpr + (1 - fnr - fpr) * eta

    def mean(c):
        args = tensor([assumed]), tensor([c]), fnr, fpr
        one, zero, silent = (
            float(causalrm.target(tensor([y]), tensor([o]), *args)) for y, o in ((1.0, 1), (0.0, 1), (0.0, 0))
        )
        return p * (noisy * one + (1 - noisy) * zero) + (1 - p) * silent

    assert mean(eta) == pytest.approx(eta)
    assert abs(mean(noisy) - eta) > 0.01


# --- stabilised weights ------------------------------------------------------------------------------------


@given(**several)
def test_balance_of_sdr_is_zero_on_average_under_the_true_propensity(p, z):
    p, e = tensor(p), loop.bce(tensor(z), 0.3)
    assert float(expected(p, lambda o: sdr.balance(e, o, p))) == pytest.approx(0, abs=1e-9)


def test_balance_of_sdr_divides_by_the_propensity():
    e, o, p = tensor([1.0, 3.0]), tensor([1.0, 0.0]), tensor([0.25, 0.5])
    assert float(sdr.balance(e, o, p)) == pytest.approx(((1 - 4) * -1 + 1 * 1) / 2)


def test_square_of_sdr_is_around_the_balance_alone():
    u, e, o = tensor([0.3, -1.0]), tensor([1.0, 3.0]), tensor([1.0, 0.0])
    plain = float(loop.bce(u, o).mean())
    extra = float(sdr.balance(e, o, torch.sigmoid(u))) ** 2
    assert float(sdr.propensity_loss(u, e, o, 0.0)) == pytest.approx(plain)
    assert float(sdr.propensity_loss(u, e, o, 7.0)) == pytest.approx(plain + 7 * extra)


def test_reward_of_sdr_is_divided_by_the_sum_of_weights():
    o, p = tensor([1.0, 1.0, 0.0]), tensor([0.5, 0.25, 0.1])
    assert float(sdr.self_normalised(tensor([3.0, 6.0, 100.0]), o, p)) == pytest.approx((2 * 3 + 4 * 6) / 6)
    assert float(sdr.self_normalised(tensor([3.0, 3.0, 9.0]), o, p * 0.1)) == pytest.approx(3)


@given(
    p=st.lists(st.floats(0.1, 0.9), min_size=6, max_size=6),
    e=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_stable_weights_make_the_estimate_exact_when_the_imputation_is(p, e):
    e = tensor([-1.0, 2.0, *e])  # the two outside the mean are observed, so a balance exists
    o, p = tensor([1.0, 1, 1, 0, 1, 0]), tensor(p)
    w = stable_dr.balanced(p, e, o)
    assert w[o == 0].tolist() == [0, 0]
    assert (w[o == 1] >= 1).all()
    assert float((w * e).sum() / w.sum()) == pytest.approx(float(e.mean()), abs=1e-6)


def test_stable_weights_are_inverse_propensities_where_those_balance_already():
    e, o, p = tensor([0.0, 1, 0, 1]), tensor([1.0, 1, 0, 0]), tensor([0.5, 0.5, 0.5, 0.5])
    assert stable_dr.balanced(p, e, o).tolist() == pytest.approx([2, 2, 0, 0])


# --- information, forward correction, ranking --------------------------------------------------------------


@given(z=st.floats(-30, 30))
def test_entropy_of_cvib_has_both_halves(z):
    q = 1 / (1 + np.exp(-z))
    whole = -q * np.log(q) - (1 - q) * np.log1p(-q)
    assert float(cvib.entropy(tensor(z))) == pytest.approx(whole, abs=1e-9)
    assert float(cvib.entropy(tensor(z))) <= np.log(2) + 1e-12


def test_entropy_of_cvib_is_finite_where_predictions_saturate():
    assert cvib.entropy(tensor([-1e4, 0.0, 1e4])).tolist() == pytest.approx([0, np.log(2), 0])


def test_contrast_of_cvib_compares_means_with_and_without_feedback():
    z, o = torch.logit(tensor([0.6, 0.8, 0.1, 0.3])), tensor([1.0, 1, 0, 0])
    assert float(cvib.contrast(z, o)) == pytest.approx(-0.7 * np.log(0.2) - 0.3 * np.log(0.8))
    assert float(cvib.contrast(z, 0 * o)) == 0


@given(eta=chance, fnr=st.floats(0, 0.4), fpr=st.floats(0, 0.4))
def test_forward_correction_is_stationary_at_the_truth(eta, fnr, fpr):
    z = torch.logit(tensor(eta)).requires_grad_()
    up = fpr + (1 - fnr - fpr) * eta
    one, zero = (f_correction.forward(z, tensor(y), fnr, fpr) for y in (1.0, 0.0))
    (slope,) = torch.autograd.grad(up * one + (1 - up) * zero, z)
    assert abs(float(slope)) < 1e-9


def test_rates_that_leave_nothing_to_divide_by_are_refused():
    log, _ = logged_rows()
    with pytest.raises(ValueError, match=r"fnr 0.45 and fpr 0.40 leave D = 0.15; at least 0.2 is needed"):
        f_correction.rates(replace(log, fnr=0.45, fpr=0.4), Tuning(knob=0.97))


def test_anchors_beyond_the_limit_are_lowered_with_a_warning():
    log, _ = logged_rows()
    posterior = np.linspace(0.7, 0.9, len(log.X))
    with pytest.warns(UserWarning, match=r"anchors give fnr 0.10, fpr 0.70; lowered to 0.45"):
        assert f_correction.rates(log, Tuning(knob=1.0), posterior) == pytest.approx((0.1, 0.45))


@given(p=st.tuples(chance, chance), liked=st.tuples(chance, chance))
def test_weight_of_ubpr_is_unbiased_for_liked_against_not_liked(p, liked):
    total = 0.0
    for i, j in itertools.product((0.0, 1.0), repeat=2):
        seen = [p[k] * liked[k] for k in (0, 1)]
        probability = (seen[0] if i else 1 - seen[0]) * (seen[1] if j else 1 - seen[1])
        total += probability * float(ubpr.weight(tensor(i), tensor(p[0]), tensor(j), tensor(p[1])))
    assert total == pytest.approx(liked[0] * (1 - liked[1]), abs=1e-9)


def test_pairs_of_ubpr_do_not_pay_below_zero():
    margin = tensor([0.0, -5.0]).requires_grad_()
    loss = ubpr.non_negative(tensor([1.0, -9.0]), margin)
    loss.backward()
    assert float(loss.detach()) == 0
    assert margin.grad.tolist() == [0, 0]


def test_calibration_of_ubpr_finds_scale_and_offset():
    s = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    a, b = ubpr.platt(s, torch.sigmoid(1.7 * s - 0.4), torch.ones_like(s))
    assert (a, b) == pytest.approx((1.7, -0.4), abs=0.01)


# --- selection of samples ----------------------------------------------------------------------------------


def test_small_losses_are_counted_among_observed_rows():
    losses, o = torch.arange(50.0), (torch.arange(50) % 5 == 0).float()  # ten observed
    assert co_teaching.kept(losses, o, 0.2).tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    assert co_teaching.kept(losses, 0 * o, 0.2).tolist() == []


@given(a=chance, b=chance)
def test_discrepancy_of_codis_is_the_jensen_shannon_divergence(a, b):
    m = (a + b) / 2
    kl = sum(x * np.log(x / m) + (1 - x) * np.log((1 - x) / (1 - m)) for x in (a, b)) / 2
    found = float(codis.jensen_shannon(torch.logit(tensor(a)), torch.logit(tensor(b))))
    assert found == pytest.approx(kl, abs=1e-6)


def test_waves_are_the_mean_of_the_last_changes():
    waves = label_wave.Waves(2)
    epochs = ([1.0, 1, 1], [1, -1, -1], [1, -1, 1], [1, -1, 1])
    assert [waves(tensor(z)) for z in epochs] == [np.inf, np.inf, 1.5, 0.5]


@given(z=st.floats(-8, 8).filter(lambda z: abs(z) > 1e-6), y=st.sampled_from([0.0, 1.0]), m=st.floats(0, 1e4))
def test_eps_softmax_moves_the_predicted_class_towards_one(z, y, m):
    q = np.array([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))])
    pushed = (q + m * (np.arange(2) == q.argmax())) / (1 + m)
    by_hand = -0.05 * np.log(pushed[int(y)]) + 2 * (1 - q[int(y)])
    assert float(eps_softmax.loss(tensor(z), tensor(y), m)) == pytest.approx(by_hand, rel=1e-5, abs=1e-6)


@given(z=score.filter(lambda z: z != 0), y=st.sampled_from([0.0, 1.0]))
def test_perturbed_label_hurts_most_among_those_near(z, y):
    z = tensor(z)
    worst = float(loop.bce(z, robust_dividemix.perturbed(z, tensor(y))))
    near = np.clip(np.linspace(y - 0.1, y + 0.1, 21), 0, 1)
    assert worst >= max(float(loop.bce(z, label)) for label in near) - 1e-9


def test_losses_of_two_sizes_are_told_apart():
    rng = np.random.default_rng(0)
    losses = torch.from_numpy(np.r_[rng.normal(0.2, 0.05, 80), rng.normal(2.0, 0.3, 20)])
    w = robust_dividemix.clean(losses, seed=0)
    assert (w[:80] > 0.5).all()
    assert (w[80:] < 0.5).all()


def test_sharpening_keeps_sides_and_squares_odds():
    t = tensor([0.2, 0.5, 0.8])
    assert robust_dividemix.sharpen(t).tolist() == pytest.approx([1 / 17, 0.5, 16 / 17])


# --- all of them -------------------------------------------------------------------------------------------


def logged_rows(n=400, d=4, seed=0):
    """A log with half of the rows observed, by features, and a tenth of the labels flipped; the truth."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(np.float32)
    truth = X[:, 0] + 0.5 * X[:, 1] > 0
    observed = rng.random(n) < 0.35 + 0.3 * (X[:, 1] > 0)
    recorded = np.where(rng.random(n) < 0.1, ~truth, truth).astype(float)
    return Logged(X, recorded, observed, np.repeat(np.arange(n // 2), 2)), truth


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(loop, "EPOCHS", 14)


@pytest.mark.parametrize("name", BASELINES)
def test_method_learns_repeats_itself_and_reads_no_unobserved_label(name, short):
    log, truth = logged_rows()
    log = replace(log, p=np.full(len(log.X), 0.5) + 0.15 * np.sign(log.X[:, 1]))
    tuning = replace(GRIDS[name][2], lr=1e-2)
    rng = torch.get_rng_state()
    q = BASELINES[name](log, tuning)(log.X)
    assert torch.equal(torch.get_rng_state(), rng)
    assert ((q >= 0) & (q <= 1)).all()
    assert ((q > np.median(q)) == truth).mean() > 0.75
    garbage = np.where(log.observed, log.y, np.nan)
    assert np.array_equal(BASELINES[name](replace(log, y=garbage), tuning)(log.X), q)


def test_every_method_has_six_settings():
    assert {name: len(set(grid)) for name, grid in GRIDS.items()} == dict.fromkeys(BASELINES, 6)


def test_prompts_are_never_parted_and_every_row_has_a_side():
    problem = loop.pose(logged_rows()[0], weighted=False)
    training, held = (set((side // 2).tolist()) for side in (problem.training, problem.held))
    assert not training & held
    assert len(problem.training) + len(problem.held) == 400
    assert len(held) == 40


def test_held_out_value_is_self_normalised_and_reads_recorded_labels():
    log, _ = logged_rows()
    p = np.where(log.X[:, 1] > 0, 0.65, 0.01)  # the floor is .02
    problem = loop.pose(replace(log, p=p), weighted=True)
    q = torch.full((len(problem.held),), 0.3)
    rows = problem.held.numpy()
    w = log.observed[rows] / np.maximum(p[rows], 0.02)
    assert problem.score(q) == pytest.approx((w * (0.3 - log.y[rows]) ** 2).sum() / w.sum(), rel=1e-5)


def test_fitted_propensity_follows_who_is_observed():
    log, _ = logged_rows(2000)
    truth = 0.5 + 0.4 * np.tanh(log.X[:, 1])
    observed = np.random.default_rng(1).random(2000) < truth
    p = loop.propensity(replace(log, observed=observed))
    assert p.min() >= loop.FLOOR
    assert np.abs(p - truth).mean() < 0.3 * np.abs(truth.mean() - truth).mean()


def test_log_without_feedback_on_one_side_is_refused():
    log, _ = logged_rows()
    with pytest.raises(ValueError, match="no feedback on one side of the split"):
        loop.pose(replace(log, observed=np.zeros(400, bool)), weighted=False)


def test_label_that_is_neither_zero_nor_one_is_refused():
    log, _ = logged_rows()
    with pytest.raises(ValueError, match="y holds a label that is neither 0 nor 1 on a row with feedback"):
        replace(log, y=log.y + 0.5)


def test_column_of_another_length_is_refused():
    log, _ = logged_rows()
    with pytest.raises(ValueError, match=r"group has shape \(399,\); \(400,\) is needed, one a row"):
        replace(log, group=log.group[1:])


# --- the protocol ------------------------------------------------------------------------------------------


def test_a_fifth_is_observed_whatever_the_shape():
    from benches.protocol_worlds import scaled

    shape = 0.2 ** (4 * (1 - np.arange(1000) / 1000))
    p = scaled(shape)
    assert p.mean() == pytest.approx(0.2, abs=1e-9)
    assert p.max() <= 1
    uncut = p < 1
    assert np.ptp(p[uncut] / shape[uncut]) < 1e-9 * p[0] / shape[0]


def test_real_text_keeps_prompts_whole_and_its_reward_standard():
    from benches.protocol_worlds import texts

    rng = np.random.default_rng(0)
    group = rng.integers(0, 40, 300)
    found = texts(rng.standard_normal((300, 70)), group, 200, seed=1)
    assert found.X.shape == (300, 70)
    assert not set(found.group[: found.rows]) & set(found.group[found.rows :])
    assert 180 <= found.rows <= 200
    assert (found.reward.mean(), found.reward.std()) == pytest.approx((0, 1), abs=1e-9)


def test_holm_by_hand():
    from benches.protocol_tables import holm

    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])


@settings(max_examples=20)
@given(q=st.lists(st.sampled_from([0.1, 0.4, 0.4, 0.9]), min_size=6, max_size=6))
def test_auc_counts_pairs_and_half_of_the_ties(q):
    from benches.protocol_tables import metrics

    q, y = np.array(q), np.array([0.0, 1, 1, 0, 1, 0])
    pairs = [(a > b) + 0.5 * (a == b) for a in q[y == 1] for b in q[y == 0]]
    found = metrics(q, y)
    assert found["auc"] == pytest.approx(np.mean(pairs))
    assert found["r2"] == pytest.approx(1 - found["brier"] / 0.25)
