"""Users who flood a log: capped, found by what they contradict, named, and no harm to what is learned."""

from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")

from audited import columns
from unskew import audit, data, events, simulate
from unskew.audit import users
from unskew.audit.users import Users, weigh_users, without
from unskew.data import Choices, Store
from unskew.pipeline import TrainConfig
from unskew.pipeline.arms import fit_arm
from unskew.pipeline.material import Material, estimate
from unskew.pipeline.recipes import RECIPES
from unskew.pipeline.store import _read, _write
from unskew.rates import binomial_tail

PEOPLE, EACH = 60, 40
BOT = PEOPLE  # its number; pseudonyms are one more


def crowd(seed=0, fnr=0.2, fpr=0.1, bot=None, records=EACH):
    """(rows, q) of users who answer alike, the last of whom does as `bot(truth, rng)` says."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(PEOPLE), EACH)
    user = np.concatenate([user, np.full(records, BOT)]) if bot else user
    n = len(user)
    q = 1 / (1 + np.exp(-1.5 * rng.standard_normal(n)))
    truth = rng.random(n) < q
    up = np.where(truth, rng.random(n) >= fnr, rng.random(n) < fpr)
    if bot:
        up[user == BOT] = bot(truth[user == BOT], rng)
    seen = np.ones((n, 1), bool)
    rows = columns(n, ("thumbs",), seen, seen, up[:, None])
    return replace(rows, user=(user + 1).astype(np.uint64)), q


# --- the cap -----------------------------------------------------------------------------------------------


def test_cap_thins_the_heavy_user_alone_and_says_so():
    rows, _ = crowd(bot=lambda truth, _: truth, records=4000)
    found = weigh_users(rows, 10)
    assert (found.users, found.limit, found.capped, found.left_out) == (PEOPLE + 1, 400, 1, 0)
    heavy = rows.user == BOT + 1
    assert not found.aside[~heavy].any()
    assert (~found.aside[heavy]).sum() == pytest.approx(400, abs=4 * np.sqrt(4000 * 0.1 * 0.9))
    assert found.share == found.aside.sum() / len(rows)
    first = found.top[0]
    assert (first.user, first.rule, first.records) == (f"{BOT + 1:016x}", "capped", 4000)
    assert len(found.top) == users.TOP


def test_ordinary_users_and_a_log_without_users_are_left_alone():
    rows, q = crowd()
    found = weigh_users(rows, users.CAP, scores=[{"thumbs": q}])
    assert not found.aside.any()
    assert {user.rule for user in found.top} == {"counted"}
    assert weigh_users(replace(rows, user=np.zeros(len(rows), np.uint64)), users.CAP) is None
    with pytest.raises(ValueError, match="must be positive"):
        weigh_users(rows, 0)


def test_rows_without_a_user_are_many_people():
    rows, q = crowd(bot=lambda truth, _: ~truth, records=4000)
    unnamed = replace(rows, user=np.where(rows.user == BOT + 1, 0, rows.user).astype(np.uint64))
    found = weigh_users(unnamed, 1, scores=[{"thumbs": q}])
    assert not found.aside[unnamed.user == 0].any()
    assert found.users == PEOPLE


# --- contradiction -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bot", "rule"),
    [
        (lambda truth, rng: ~truth, "left out"),
        (lambda truth, rng: rng.random(len(truth)) < 0.5, "left out"),
        (lambda truth, rng: np.zeros(len(truth), bool), "left out"),
        (lambda truth, rng: truth, "counted"),
        (lambda truth, rng: truth & (rng.random(len(truth)) < 0.6), "counted"),  # harsh
        (lambda truth, rng: truth | (rng.random(len(truth)) < 0.4), "counted"),  # mild
    ],
    ids=["reverse", "coin", "always down", "exact", "harsh", "mild"],
)
def test_who_contradicts_everybody_is_left_out_and_who_is_harsh_stays(bot, rule):
    rows, q = crowd(bot=bot, records=1500)
    found = weigh_users(rows, 40, scores=[{"thumbs": q}])
    first = next(user for user in found.top if user.user == f"{BOT + 1:016x}")
    assert first.rule == rule
    assert found.aside[rows.user == BOT + 1].all() == (rule == "left out")
    assert not found.aside[rows.user != BOT + 1].any()
    assert (first.disagree > first.allowed) == (rule == "left out")


def test_nobody_is_left_out_of_honest_logs():
    assert (
        sum(
            weigh_users(*crowd(seed)[:1], 20, scores=[{"thumbs": crowd(seed)[1]}]).left_out
            for seed in range(60)
        )
        == 0
    )


def test_a_second_score_finds_whom_the_first_does_not_and_counts_twice():
    rows, q = crowd(bot=lambda truth, _: ~truth, records=400)
    blind = {"thumbs": np.random.default_rng(5).random(len(rows))}
    assert weigh_users(rows, users.CAP, scores=[blind]).left_out == 0
    both = weigh_users(rows, users.CAP, scores=[blind, {"thumbs": q}])
    alone = weigh_users(rows, users.CAP, scores=[{"thumbs": q}])
    assert both.left_out == 1
    assert both.top[0] == alone.top[0]  # what is told is what the sharper score says


@given(st.integers(0, 12), st.integers(0, 12), st.fractions(0, 1, max_denominator=20))
def test_binomial_tail_is_the_sum(k, n, p):
    exact = sum(comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1))
    assert binomial_tail(k, n, float(p)) == pytest.approx(float(exact), abs=1e-12)


@given(st.lists(st.fractions(0, 1, max_denominator=12), min_size=1, max_size=9))
def test_binomial_tail_bounds_unequal_chances_from_one_above_the_mean(chances):
    """Hoeffding (1956), theorem 4, by exact convolution."""
    law = [Fraction(1)]
    for p in chances:
        law = [
            (law[j] if j < len(law) else 0) * (1 - p) + (law[j - 1] if j else 0) * p
            for j in range(len(law) + 1)
        ]
    n, mean = len(chances), sum(chances, Fraction(0))
    for k in range(n + 1):
        if k >= mean + 1:
            assert float(sum(law[k:])) <= binomial_tail(k, n, float(mean / n)) + 1e-12


# --- what follows ------------------------------------------------------------------------------------------


def test_set_aside_rows_offer_nothing_and_their_choices_say_nothing():
    rows, _ = crowd()
    a, b = np.arange(0, len(rows), 2), np.arange(1, len(rows), 2)
    label, nan = (a // 2 % 2).astype(float), np.full(len(a), np.nan)
    none = np.zeros(len(a), np.int8)
    pairs = Choices(a, b, label, none == 0, nan, none, nan)
    aside = rows.user == 1
    kept, choices = without(rows, pairs, aside)
    for name in ("offered", "observed", "positive"):
        column, before = getattr(kept, name), getattr(rows, name)
        assert not column[aside].any()
        assert np.array_equal(column[~aside], before[~aside])
    assert np.array_equal(np.isnan(choices.label), aside[a])
    assert choices.counts == {"set_aside": int(aside[a].sum())}
    assert without(rows, pairs, aside & False) == (rows, pairs)


def test_users_are_read_back_as_they_were_kept():
    rows, q = crowd(bot=lambda truth, _: ~truth, records=400)
    found = weigh_users(rows, users.CAP, scores=[{"thumbs": q}])
    again = Users.of(found.to_dict(), found.aside)
    assert again.to_dict() == found.to_dict()
    assert np.array_equal(again.aside, found.aside)


def test_verdict_names_who_is_left_out():
    rows, q = crowd(bot=lambda truth, _: ~truth, records=400)
    found = weigh_users(rows, users.CAP, scores=[{"thumbs": q}])
    verdict = audit.audit(without(rows, None, found.aside)[0], users=found)
    [gate] = [gate for gate in verdict.gates if gate.name == "users who contradict all others"]
    assert (gate.colour, gate.value) == ("amber", 400 / len(rows))
    assert f"{BOT + 1:016x}" in gate.sentence
    assert verdict.figures["users"]["left_out"] == 1


# --- the whole road ----------------------------------------------------------------------------------------


HONEST = 6000


def rows_of(drawn):
    """A draw as the rows of a store, without gold."""
    every = np.ones(len(drawn), bool)[:, None]
    found = columns(len(drawn), drawn.kinds, drawn.offered, drawn.observed & every, drawn.positive)
    key = {text: number for number, text in enumerate(dict.fromkeys(drawn.prompt))}
    prompt = np.array([key[text] for text in drawn.prompt], np.uint64)
    return replace(found, prompt_hash=prompt, user=(drawn.user + 1).astype(np.uint64))


def features_of(drawn):
    """Four numbers that say much about a response, and nothing about who gave feedback."""
    noise = np.random.default_rng(0).standard_normal(len(drawn))
    return np.column_stack([drawn.quality + noise, drawn.tone, drawn.slot, noise]).astype(np.float32)


def estimated(drawn, cap=users.CAP):
    options = {"known": {}, "given": {}, "seed": 0, "stage": lambda _: nullcontext(), "user_cap": cap}
    return estimate(rows_of(drawn), features_of(drawn), **options)


@pytest.fixture(scope="module")
def honest():
    return simulate.draw(n=HONEST, seed=1)


@pytest.fixture(scope="module")
def flooded(honest):
    return simulate.flood(honest, 3, 0.3)


@pytest.fixture(scope="module")
def guarded(flooded):
    return estimated(flooded)


@pytest.fixture(scope="module")
def clean(honest):
    return estimated(honest)


def test_bots_make_their_share_of_events_and_change_nobody_else(honest, flooded):
    assert flooded.response_id[:HONEST] == honest.response_id
    assert np.array_equal(flooded.observed[:HONEST], honest.observed)
    assert len(np.unique(flooded.user[HONEST:])) == 3
    assert flooded.observed[HONEST:].sum() / flooded.observed.sum() == pytest.approx(0.3, abs=0.005)
    thumbs = flooded.observed[HONEST:, 0]
    assert np.array_equal(flooded.positive[HONEST:, 0][thumbs], flooded.label[HONEST:][thumbs] == 0)


def test_flood_is_found_set_aside_and_does_a_tenth_of_the_harm(honest, flooded, guarded):
    assert guarded.users.left_out == 3
    assert guarded.users.aside[HONEST:].all()
    assert not guarded.users.aside[:HONEST].any()
    assert not guarded.examples.offered[HONEST:].any()
    assert guarded.as_logged().examples.observed[HONEST:].any()


def test_flood_does_less_than_a_tenth_of_the_harm_that_it_does_to_naive(honest, guarded, clean):
    truth, X = honest.label == 1, guarded.X[:HONEST]

    def loss(material, name):
        """1 - AUC of a head on what honest people saw."""
        score = fit_arm(material, RECIPES[name](material), TrainConfig()).head(X)
        return 1 - float(np.mean([(score[truth] > value).mean() for value in score[~truth]]))

    harm = {name: loss(guarded, name) - loss(clean, name) for name in ("naive", "evidence")}
    assert harm["naive"] > 0.1
    assert harm["evidence"] < harm["naive"] / 10


def test_users_are_kept_beside_the_nuisances(guarded, flooded):
    document, table = _write(guarded, {})
    rows = rows_of(flooded)
    again = _read(document, table, rows, guarded.X, {}, None)
    assert again.users.to_dict() == guarded.users.to_dict()
    assert np.array_equal(again.examples.observed, guarded.examples.observed)
    assert np.array_equal(again.as_logged().examples.observed, rows.observed)


def test_naive_reads_what_was_logged_and_ours_what_was_kept(guarded, flooded):
    assert RECIPES["naive"](guarded).columns.a[HONEST:].any()
    assert not RECIPES["evidence"](guarded).columns.w[HONEST:].any()
    plain = Material(rows_of(flooded), guarded.X)
    assert np.array_equal(RECIPES["naive"](guarded).columns.b, RECIPES["naive"](plain).columns.b)


def test_an_honest_log_gives_the_same_numbers_with_and_without_the_rules(honest, clean):
    plain = estimated(honest, None)
    assert (clean.users.left_out, clean.users.capped) == (0, 0)
    assert plain.users is None
    assert clean.logged is None
    assert np.array_equal(clean.evidence.d, plain.evidence.d)


def test_user_key_of_the_store_is_the_user(tmp_path):
    made = simulate.simulate(tmp_path / "log", 200, seed=1, gold=(5, 5))
    (tmp_path / "key").write_text("a key for tests and nothing else")
    events.ingest([tmp_path / "log" / "events"], tmp_path / "store", key_file=tmp_path / "key")
    store = Store.open(tmp_path / "store")
    rows = data.examples(store)
    keys = store.table("impressions", ["user_key"])["user_key"].to_pylist()
    assert [f"{user:016x}" for user in rows.user.tolist()] == [keys[row].hex()[:16] for row in rows.row]
    assert len(np.unique(rows.user)) == made.users
