"""Refutations: each comes to nothing where its assumption holds, and fails in a world built to break it."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")

from audited import columns
from unskew import estimators, noise, simulate
from unskew.audit.measure import two_sided
from unskew.pipeline import refute
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material, answering
from unskew.pipeline.one_kind import Log

N, D = 3000, 6
FNR, FPR = 0.15, 0.1


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def world(n=N, seed=0, p=None, p0=None):
    """(log, truth): labels and answers depend on the text; `p0` is P(answered) when it is not liked."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, D))
    truth = rng.random(n) < sigmoid(1.5 * X[:, 0] - X[:, 1])
    chance = 0.15 + 0.5 * sigmoid(X[:, 2] + X[:, 0]) if p is None else np.broadcast_to(p, n)
    chance = chance if p0 is None else np.where(truth, chance, p0)
    seen = rng.random(n) < chance
    up = rng.random(n) < np.where(truth, 1 - FNR, FPR)
    return Log(X, np.arange(n) // 2, seen, up, noise.known(FNR, FPR)), truth


@pytest.fixture(scope="module")
def log():
    return world()[0]


def test_every_attempt_comes_to_nothing_on_a_log_that_is_what_it_seems(log):
    for attempt in (
        refute.permuted_labels,
        refute.dummy_label,
        refute.random_feature,
        refute.added_noise,
        refute.added_selection,
    ):
        found = attempt(log)
        assert found.passed, found
        assert found.low <= found.expected <= found.high
        assert found.low < found.figure < found.high


def test_false_alarms_are_as_rare_as_the_interval_says():
    """Of 5 attempts on each of 8 logs, at 1 % each: more than 3 has probability below 1e-3."""
    attempts = (refute.permuted_labels, refute.dummy_label, refute.added_noise, refute.added_selection)
    failed = [
        attempt(world(1000, seed)[0], seed).passed is False for seed in range(8) for attempt in attempts
    ]
    assert sum(failed) <= 3


# --- permuted labels ---------------------------------------------------------------------------------------


def test_repeats_of_a_text_on_both_sides_of_the_folds_are_found(log):
    few = np.random.default_rng(1).standard_normal((12, 40))
    text = np.random.default_rng(2).integers(0, 12, N)
    up = np.arange(12) % 2 == 0
    repeated = replace(log, X=few[text], up=up[text])
    assert not refute.permuted_labels(repeated).passed
    assert refute.permuted_labels(replace(repeated, prompt=text)).passed  # a text has one prompt


def test_labels_that_all_say_the_same_cannot_be_shuffled(log):
    with pytest.raises(Refused, match="cannot be shuffled"):
        refute.permuted_labels(replace(log, up=np.ones(N, bool)))


# --- dummy label -------------------------------------------------------------------------------------------


def test_weights_that_do_not_add_up_bring_back_another_share(log):
    found = refute.dummy_label(replace(log, designed=np.minimum(1, 1.3 * log.p)))
    assert not found.passed
    assert found.figure < refute.COIN
    assert "mean of o / p" in found.sentence


# --- random feature ----------------------------------------------------------------------------------------


def test_a_log_too_short_for_its_model_learns_from_noise():
    short = replace(world(1000, seed=3)[0], decay=1e-6)
    found = refute.random_feature(short, count=300)
    assert not found.passed
    assert found.figure > 0
    assert refute.random_feature(replace(short, decay=1e-1), count=1).passed


# --- added noise -------------------------------------------------------------------------------------------

rate = st.fractions(0, 1, max_denominator=30)


@given(fnr=rate, fpr=rate, miss=rate, false=rate)
def test_composed_rates_are_those_of_flipping_twice(fnr, fpr, miss, false):
    """By enumeration of both flips; and D' = D (1 - miss - false)."""
    twice = {}
    for truth in (0, 1):
        first = {1: 1 - fnr if truth else fpr, 0: fnr if truth else 1 - fpr}
        twice[truth] = first[1] * (1 - miss) + first[0] * false
    found = refute.compose(noise.Noise(fnr, fpr), miss, false)
    assert isinstance(found.fnr, Fraction)
    assert (found.fnr, found.fpr) == (1 - twice[1], twice[0])
    assert (1 - fnr - fpr) * (1 - miss - false) == found.D


def test_a_loss_that_is_not_corrected_moves(log):
    def as_they_are(label, observed, p, _fnr, _fpr):
        return estimators.ips(label, observed, p)

    found = refute.added_noise(replace(log, estimator=as_they_are))
    assert not found.passed
    right = refute.added_noise(log)
    assert right.passed
    assert f"{found.figure:+.3f}"[:4] in right.sentence  # what labels taken as they are do


def test_a_record_that_says_nothing_takes_no_more_noise(log):
    with pytest.raises(Refused, match="too noisy"):
        refute.added_noise(replace(log, rates=noise.known(0.5, 0.3)))


# --- added selection ---------------------------------------------------------------------------------------


def test_answers_so_rare_that_the_floor_bites_are_not_brought_back():
    rare, _ = world(40_000, seed=5, p=0.021)
    first = np.array([2.0, 1, 1, 1, 1, 1])  # the leading axis is what people like
    found = refute.added_selection(replace(rare, X=rare.X * first, designed=np.full(len(rare), 0.021)))
    assert not found.passed
    assert "below the floor" in found.sentence


# --- negative control --------------------------------------------------------------------------------------


def test_a_control_that_goes_with_the_label_is_found(log):
    rng = np.random.default_rng(7)
    _, truth = world()
    apart = rng.random(N) < sigmoid(log.X[:, 0])  # depends on the text alone, as the label does
    along = rng.random(N) < np.where(truth, 0.4, 0.2)
    fine = refute.negative_control(log, apart, "share")
    assert fine.passed
    assert "share has nothing to do" in fine.sentence
    found = refute.negative_control(log, along, "share")
    assert not found.passed
    assert found.low > 0


# --- forced ask --------------------------------------------------------------------------------------------


def half_asked(p0=None):
    """A log in which half the responses carry a request that a coin sends and everybody answers."""
    given, truth = world(6000, seed=9, p0=p0)
    rng = np.random.default_rng(10)
    asked = rng.random(len(given)) < 0.5
    sent = rng.random(len(given)) < 0.4
    seen = np.where(asked, sent, given.seen)
    return replace(given, seen=seen, designed=np.where(asked, 0.4, np.nan)), truth


def test_forced_ask_agrees_with_the_rest_unless_people_answer_by_label():
    log, truth = half_asked()
    found = refute.forced_ask(log)
    assert found.passed
    value, _ = log.value(~np.isnan(log.designed))
    assert value == pytest.approx(truth.mean(), abs=0.05)
    by_label, _ = half_asked(p0=0.05)
    found = refute.forced_ask(by_label)
    assert not found.passed
    assert found.figure > 0  # the rest says that more is liked
    assert "who answers depends on more than the text" in found.sentence


def test_forced_ask_needs_both_sides(log):
    with pytest.raises(Refused, match="forced ask"):
        refute.forced_ask(log)


# --- from a store's rows -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def material():
    """A log of thumbs and copies with known error rates, and thumbs that were half asked for by a coin."""
    drawn = simulate.draw(simulate.WORLDS["random"], 6000, seed=2)
    rows = columns(len(drawn), drawn.kinds, drawn.offered, drawn.observed.copy(), drawn.positive.copy())
    rng = np.random.default_rng(3)
    X = np.column_stack([drawn.quality, drawn.tone, rng.standard_normal(len(drawn))]).astype(np.float32)
    p = np.where((rng.random(len(drawn)) < 0.5) & drawn.offered[:, 0], drawn.propensity[:, 0], np.nan)
    [thumbs] = [column for column in two_sided(rows) if column.name == "thumbs"]
    fitted = answering(thumbs, X, rows.prompt_hash, p, seed=0)
    rates = {"thumbs": noise.known(0.1, 0.2, kind="thumbs")}
    return Material(rows, X, {"thumbs": fitted}, rates, given={"thumbs": p})


def test_given_propensities_stay_and_the_others_are_fitted(material):
    given = material.given["thumbs"]
    known = ~np.isnan(given)
    found = material.propensities["thumbs"]
    assert np.array_equal(found.raw[known], given[known])
    assert 0 < known.sum() < len(given)
    assert found.source == "features"
    assert found.report.mean_o_over_p == pytest.approx(1, abs=0.1)


def test_all_attempts_that_apply_are_made_on_the_kind_with_most_answers(material):
    found = refute.refute(material, control="regenerate", seed=1)
    assert [attempt.name for attempt in found] == [
        "permuted labels",
        "dummy label",
        "random feature",
        "added noise",
        "added selection",
        "negative control",
        "forced ask",
    ]
    assert {attempt.kind for attempt in found} == {"thumbs"}
    passed = {attempt.name: attempt.passed for attempt in found}
    assert [name for name, fine in passed.items() if not fine] == ["negative control"]  # it is no control
    without = refute.refute(replace(material, given={}), seed=1)
    assert [attempt.name for attempt in without] == [attempt.name for attempt in found[:5]]


def test_what_a_refutation_needs_is_said_when_it_is_not_there(material):
    with pytest.raises(ValueError, match="negative control is 'share'; it must be one of thumbs, rating"):
        refute.refute(material, control="share")
    for rates in ({}, {"thumbs": noise.known(0.5, 0.4)}):
        with pytest.raises(Refused, match="refutations need thumbs or ratings"):
            refute.refute(replace(material, rates=rates))
