"""What kinds of feedback share: heads that lean on each other, and the habits of users."""

import importlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evident import KINDS, sigmoid
from unskew import evidence
from unskew.evidence import descent
from unskew.evidence.descent import Descent
from unskew.evidence.likelihood import contrast, record_of
from unskew.evidence.tables import mean_rate
from unskew.features.axes import axes
from unskew.simulate import World
from unskew.simulate.world import chances

pytestmark = pytest.mark.usefixtures("one_thread")

fitting = importlib.import_module("unskew.evidence.fit")  # the name is taken by the function


def product(world, n, users, *, columns=12, tone_of_one_sided=1.0):
    """(label, arguments of a fit) of a log on Gaussian features; the sixth is the tone."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, columns)).astype(np.float32)
    z = 1.95 * X[:, :4] @ [0.63, -0.53, 0.47, 0.32]
    label = rng.random(n) < sigmoid(z)
    user = rng.integers(0, users, n)
    habit, tone, slot = rng.standard_normal(users)[user], X[:, 5].astype(float), np.ones(n, int)
    two, one = (chances(world, z, side * tone, slot, habit, np.zeros(n)) for side in (1.0, tone_of_one_sided))
    p1, p0 = (np.column_stack([getattr(two, p)[:, :2], getattr(one, p)[:, 2:]]) for p in ("p1", "p0"))
    observed = rng.random((n, 4)) < np.where(label[:, None], p1, p0)
    says = rng.random((n, 4)) < np.where(label[:, None], 1 - two.fnr, two.fpr)
    one_sided = np.array([kind.one_sided for kind in KINDS])
    gold = np.full(n, np.nan)
    gold[:200] = label[:200]
    return label, {
        "X": X,
        "kinds": KINDS,
        "usable": np.ones((n, 4), bool),
        "observed": observed,
        "positive": observed & (says | one_sided),
        "fold_key": np.arange(n) // 2,
        "gold": gold,
        "user": user + 1,
    }


def brier(found, label):
    rest = np.isnan(found.gold)
    return float(np.mean((found.q - label)[rest] ** 2))


# --- heads -------------------------------------------------------------------------------------------------


def solver(n, columns, kinds, users, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, columns)).astype(np.float32)
    seen = torch.from_numpy(rng.random((n, kinds)) < 0.3)
    gold = torch.full((n,), np.nan, dtype=torch.float64)
    user = torch.from_numpy(rng.integers(-1, users, n))
    record = record_of(KINDS[:kinds], torch.ones_like(seen), seen, seen, gold, user)
    return Descent(torch.from_numpy(X), record, axes(X), users)


@given(st.integers(1, 4), st.floats(1e-5, 1e-1), st.integers(0, 2**32 - 1))
def test_decay_of_turned_heads_is_the_penalty_with_what_is_shared_at_its_best(kinds, own, seed):
    solve = solver(8, 3, kinds, 2)
    w = torch.from_numpy(np.random.default_rng(seed).standard_normal((kinds, 3)).astype(np.float32))
    u = (solve.turn @ w).double()
    shared = descent.SHARED_DECAY
    best = own * u.sum(0) / (shared + kinds * own)  # where the slope by s is nothing
    literal = 0.5 * shared * best.square().sum() + 0.5 * own * (u - best).square().sum()
    turned = 0.5 * (own * w[1:].double().square().sum() + solve.decay_of_shared(own) * w[0].square().sum())
    assert float(turned) == pytest.approx(float(literal), rel=1e-4)


def test_habit_moves_every_kind_of_its_user_alone_and_nobody_unknown():
    solve = solver(20, 3, 3, 4)
    point = solve.start()
    calm = solve.line(solve.X, solve.record.user, point)
    habit = torch.tensor([0.0, 0.5, 0.0, -1.0, 0.0], dtype=torch.float64)
    moved = solve.line(solve.X, solve.record.user, point._replace(habit=habit[:4]))
    expected = habit[solve.record.user]
    assert torch.equal(moved[:, 0], calm[:, 0])
    assert moved[:, 1:].numpy() == pytest.approx((calm[:, 1:] + expected[:, None]).numpy(), abs=1e-12)


def test_tone_that_scales_all_kinds_is_learned_from_all_of_them(monkeypatch):
    label, given = product(World(nuisance=0.8), 2400, 100, columns=150)
    ours = brier(evidence.fit(**given), label)
    monkeypatch.setattr(descent, "SHARED_DECAY", 1e3)  # nothing is shared
    monkeypatch.setattr(fitting, "OWN_DECAYS", (3e-3,))
    assert ours < brier(evidence.fit(**given), label) - 0.004


def test_tone_that_moves_kinds_apart_is_found_by_the_held_out_likelihood(monkeypatch):
    world = World(selection="random", nuisance=1.6)
    label, given = product(world, 2400, 100, columns=150, tone_of_one_sided=-1.0)
    monkeypatch.setattr(fitting, "DECAYS", (1e-4,))
    found = evidence.fit(**given)
    strong, weak, grown = found.history
    assert grown == {"decay": 1e-4, "own": weak["own"], "grows": True, "held_out": grown["held_out"]}
    assert weak["held_out"] < strong["held_out"] - 0.05
    monkeypatch.setattr(fitting, "OWN_DECAYS", (strong["own"],))
    assert brier(found, label) < brier(evidence.fit(**given), label) - 0.04


def test_rates_are_read_beside_heads_that_have_not_seen_the_records(monkeypatch):
    # fnr .10, fpr .20: a head of 150 features explains part of the errors in the votes that it was fitted to.
    monkeypatch.setattr(fitting, "DECAYS", (1e-4,))
    monkeypatch.setattr(fitting, "OWN_DECAYS", (3e-3,))
    _, given = product(World(selection="random"), 2400, 100, columns=150)
    found = evidence.fit(**given)
    columns = (given[name] for name in ("usable", "observed", "positive", "gold", "user"))
    record = record_of(KINDS, *(torch.from_numpy(column) for column in columns))
    X = torch.from_numpy(given["X"])
    _, tables = fitting._fit(X, record, axes(given["X"]), torch.arange(len(X)), (1e-4, 3e-3, False))
    half = contrast(tables) / 2
    beside = torch.sigmoid(-tables.level - half) + torch.sigmoid(tables.level - half)
    apart = sum(mean_rate(found.tables, "thumbs", name) for name in ("fnr", "fpr"))
    assert float(beside[0]) < apart
    assert abs(apart - 0.3) < 0.1


# --- habits ------------------------------------------------------------------------------------------------


def test_habits_of_users_are_not_taken_for_liking():
    label, given = product(World(selection="features", activity=1.0), 2400, 80)
    known, unknown = evidence.fit(**given), evidence.fit(**given | {"user": None})
    assert brier(known, label) < brier(unknown, label) - 0.005
    assert abs((known.q - label).mean()) < abs((unknown.q - label).mean())


def test_names_of_users_do_not_matter_and_an_unknown_user_is_no_user(monkeypatch):
    monkeypatch.setattr(fitting, "DECAYS", (1e-3,))
    monkeypatch.setattr(fitting, "OWN_DECAYS", (3e-3,))
    _, given = product(World(activity=0.8), 300, 10)
    given["folds"] = 2
    found = evidence.fit(**given)
    renamed = evidence.fit(**given | {"user": 1000 + 7 * given["user"]})
    assert np.array_equal(found.d_by, renamed.d_by)
    nobody, absent = (evidence.fit(**given | {"user": user}) for user in (np.zeros(300, int), None))
    assert np.array_equal(nobody.d_by, absent.d_by)
    assert not np.array_equal(nobody.d_by, found.d_by)
    with pytest.raises(ValueError, match="user has shape"):
        evidence.fit(**given | {"user": [1]})


def test_habits_known_to_a_fold_leave_no_trace_of_its_own_records(monkeypatch):
    monkeypatch.setattr(fitting, "DECAYS", (1e-3,))
    monkeypatch.setattr(fitting, "OWN_DECAYS", (3e-3,))
    _, given = product(World(activity=0.8), 300, 10)
    given["folds"] = 2
    found = evidence.fit(**given)
    own = found.fold == 0
    turned = np.where(own[:, None], ~given["observed"], given["observed"])
    other = evidence.fit(**given | {"observed": turned, "positive": given["positive"] & turned})
    assert np.array_equal(other.q_by[0], found.q_by[0])
    assert np.array_equal(other.d_by[0, ~own], found.d_by[0, ~own])
    assert not np.array_equal(other.q_by[1], found.q_by[1])
