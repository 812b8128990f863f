"""Evidence: out of fold bit by bit, what comes out, what is doubted and what is refused."""

import importlib
import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from evident import THUMBS, brier, linear
from unskew import evidence
from unskew.estimators import CAP
from unskew.events import KIND
from unskew.evidence import descent
from unskew.evidence import tables as reports
from unskew.evidence.likelihood import Tables, record_of
from unskew.evidence.result import Evidence, doubts
from unskew.losses.numeric import NumericError

pytestmark = pytest.mark.usefixtures("one_thread")

fitting = importlib.import_module("unskew.evidence.fit")  # the name is taken by the function

WORDS = ("positive", "negative")


@pytest.fixture(scope="module")
def log():
    """1,500 responses, 150 of them with gold, 20 more of which nothing is known."""
    made = linear(1500, 0, 150)
    silent = np.flatnonzero(np.isnan(made.gold))[:20]
    for column in (made.usable, made.observed, made.positive):
        column[silent] = False
    return made


@pytest.fixture(scope="module")
def found(log):
    return log.fit(random=~np.isnan(log.gold))


def altered(log, rows, seed=5):
    """The log with other records and opposite gold labels on some rows, usable as before."""
    rng = np.random.default_rng(seed)
    observed, positive, gold = log.observed.copy(), log.positive.copy(), log.gold.copy()
    observed[rows] = log.usable[rows] & (rng.random(log.usable[rows].shape) < 0.5)
    positive[rows] = observed[rows] & (rng.random(log.usable[rows].shape) < [0.5, 1, 1])
    gold[rows] = 1 - gold[rows]
    return replace(log, observed=observed, positive=positive, gold=gold)


def test_intervals_of_the_tables_hold_the_truth_when_there_is_gold():
    # Eight tables of eight seeds. A 95 % interval misses 3 of 64, more than 8 with probability below 1 %;
    # tables of one seed hang together, hence 9.
    hits, names = [], set()
    for seed in range(8):
        log = linear(2000, seed, 300)
        record = record_of(
            log.kinds, *(torch.from_numpy(c) for c in (log.usable, log.observed, log.positive, log.gold))
        )
        rows = torch.arange(len(log.X))
        line, tables = fitting._fit(
            torch.from_numpy(log.X), record, fitting.axes(log.X), rows, (1e-4, 3e-3, False)
        )
        for row in reports.rows(line, tables, record, log.kinds):
            assert row["low"] <= row["estimate"] <= row["high"]
            hits.append(row["low"] <= log.truth[row["kind"], row["parameter"]] <= row["high"])
            names.add((row["kind"], row["parameter"]))
        assert names == set(log.truth)
    assert len(hits) == 64
    assert hits.count(False) <= 9


@pytest.mark.parametrize("way", ["along", "growth", "lent"])
def test_error_rates_do_not_make_up_for_answers_that_follow_quality(way):
    """Heads that decay has kept from saying so, g is flat, or that were drawn to what another kind does."""
    hits, n = [], 16000 if way == "lent" else 6000
    for seed in range(8):
        rng = np.random.default_rng((way == "growth", seed))
        z = 2 * rng.standard_normal(n)
        liked = rng.random(n) < 1 / (1 + np.exp(-z))
        tilt = 0.6 * z * (np.where(liked, 1, -1) if way == "growth" else 1)
        answered = rng.random(n) < 1 / (1 + np.exp(1 - tilt))
        up = answered & (rng.random(n) < np.where(liked, 0.9, 0.2))
        tone = rng.standard_normal(n) * (way == "lent")
        copied = rng.random(n) < 1 / (1 + np.exp(np.where(liked, 0.85, 2.9) - tone))
        usable = np.ones((n, 2), bool)
        gold = np.where(np.arange(n) < (0 if way == "lent" else 300), liked, np.nan)
        columns = (usable, np.stack([answered, copied], 1), np.stack([up, copied], 1), gold)
        record = record_of((KIND["thumbs"], KIND["copy"]), *map(torch.from_numpy, columns))
        lent = z * (way == "lent")
        line = torch.from_numpy(np.stack([z, 0.6 * lent - 1, 0.4 * lent + tone - 2], 1))
        found = reports.rows(line, Tables.start(record.sign), record, (KIND["thumbs"], KIND["copy"]))
        rates = {row["parameter"]: row for row in found if row["kind"] == "thumbs"}
        hits += [
            rates[name]["low"] <= true <= rates[name]["high"] for name, true in (("fnr", 0.1), ("fpr", 0.2))
        ]
    assert hits.count(False) <= 3, hits  # of 16, 95 % intervals miss more with probability below 1 %


def test_tables_name_every_rate_and_leave_out_a_kind_that_is_usable_nowhere(log, found):
    assert [(row["kind"], row["parameter"]) for row in found.tables] == [
        ("thumbs", "P(answered|liked)"),
        ("thumbs", "P(answered|not)"),
        ("thumbs", "fnr"),
        ("thumbs", "fpr"),
        ("copy", "P(happened|liked)"),
        ("copy", "P(happened|not)"),
        ("regenerate", "P(happened|liked)"),
        ("regenerate", "P(happened|not)"),
    ]
    assert {row["source"] for row in found.tables} == {"evidence"}
    for row in found.tables:
        assert abs(row["estimate"] - log.truth[row["kind"], row["parameter"]]) < 0.15
    usable = log.usable & [True, False, True]
    tables = log.fit(usable=usable, folds=2).tables
    assert {row["kind"] for row in tables} == {"thumbs", "regenerate"}
    assert math.isnan(reports.mean_rate(tables, "copy", "P(happened|liked)"))


def test_equal_prompts_share_a_fold_and_folds_are_of_equal_size(found):
    assert np.array_equal(found.fold[::2], found.fold[1::2])
    prompts = [len(np.unique(np.flatnonzero(found.speaks & (found.fold == fold)) // 2)) for fold in range(3)]
    assert np.ptp(prompts) <= 1


def test_decays_are_the_best_of_their_paths(found):
    strongest, weaker = fitting.OWN_DECAYS
    path = [step for step in found.history if step["own"] == strongest and not step["grows"]]
    values = [step["held_out"] for step in path]
    assert [step["decay"] for step in path] == list(fitting.DECAYS[: len(values)])
    assert found.decay == path[int(np.argmin(values))]["decay"]
    assert all(later < earlier for earlier, later in pairwise(values[:-1]))
    other, last = found.history[len(path) :]
    assert (other["decay"], other["own"], other["grows"]) == (found.decay, weaker, False)
    assert (last["decay"], last["grows"]) == (found.decay, True)
    assert last["own"] == min((path[-1], other), key=lambda step: step["held_out"])["own"]


def test_what_is_said_about_fold_0_does_not_depend_on_its_records(log, found):
    # The decay is chosen on the training rows of fold 0, so that fold sees nothing of itself, decay included.
    own = found.fold == 0
    other = altered(log, own).fit()
    assert other.history == found.history
    assert np.array_equal(other.q_by[0], found.q_by[0])
    assert np.array_equal(other.q[own], found.q[own])
    assert np.array_equal(other.d_by[0, ~own], found.d_by[0, ~own])
    assert not np.array_equal(other.q[~own], found.q[~own])
    unlabelled = own & np.isnan(log.gold)
    assert not np.array_equal(other.d[unlabelled], found.d[unlabelled])  # d is about the record
    for name in ("w", "d", "m"):
        assert np.array_equal(
            getattr(other.columns(without=0), name), getattr(found.columns(without=0), name)
        )


def test_what_is_said_about_any_other_fold_does_not_either_but_for_the_chosen_decay(log, found, monkeypatch):
    # Other folds took part in choosing the decay, one number; here it is given.
    monkeypatch.setattr(fitting, "DECAYS", (found.decay,))
    best = min(found.history, key=lambda step: step["held_out"])
    monkeypatch.setattr(fitting, "OWN_DECAYS", (best["own"],))
    own = found.fold == 1
    other = altered(log, own).fit()
    assert np.array_equal(other.q_by[1], found.q_by[1])
    assert np.array_equal(other.q[own], found.q[own])
    assert np.array_equal(other.d_by[1, ~own], found.d_by[1, ~own])
    for name in ("w", "d", "m"):
        assert np.array_equal(
            getattr(other.columns(without=1), name), getattr(found.columns(without=1), name)
        )


def test_same_arguments_and_keys_that_keep_their_order_give_the_same_bits(log, found):
    again = log.fit(fold_key=7 * log.prompt - 10_000, random=~np.isnan(log.gold))
    assert np.array_equal(again.d_by, found.d_by)
    assert np.array_equal(again.q_by, found.q_by)
    assert np.array_equal(again.fold, found.fold)
    assert again.tables == found.tables
    assert again.warnings == found.warnings


def test_order_of_kinds_does_not_matter(log, monkeypatch):
    # Rounding differs, and may tip a choice between decays that are as good as each other: here there is one.
    # Where the likelihood is flat the end depends on the path, unless the descent goes to the bottom.
    monkeypatch.setattr(descent, "TOLERANCE", 1e-8)
    monkeypatch.setattr(fitting, "DECAYS", (1e-4,))
    monkeypatch.setattr(fitting, "OWN_DECAYS", (3e-3,))
    found, order = log.fit(), [2, 0, 1]
    other = log.fit(
        kinds=[log.kinds[k] for k in order],
        usable=log.usable[:, order],
        observed=log.observed[:, order],
        positive=log.positive[:, order],
    )
    assert other.q == pytest.approx(found.q, abs=2e-3)
    assert other.posterior == pytest.approx(found.posterior, abs=3e-2)  # d has no end where fpr is 0
    one, two = ({(row["kind"], row["parameter"]): row for row in fit.tables} for fit in (found, other))
    assert one.keys() == two.keys()
    for key in one:
        assert two[key]["estimate"] == pytest.approx(one[key]["estimate"], abs=1e-3)


# --- what comes out ----------------------------------------------------------------------------------------


def test_columns_weigh_rows_that_say_anything_and_gold_is_certain(log, found):
    columns = found.columns()
    says = log.usable.any(1) | ~np.isnan(log.gold)
    assert (~says).sum() == 20
    assert columns.w.tolist() == says.astype(float).tolist()
    assert not columns.d[~says].any()
    assert not columns.m.any()
    assert np.abs(columns.d).max() <= CAP
    assert columns.d[log.gold == 1].tolist() == [CAP] * int((log.gold == 1).sum())
    assert columns.d[log.gold == 0].tolist() == [-CAP] * int((log.gold == 0).sum())
    assert columns.counts.capped == 0
    assert (columns.d[np.isnan(log.gold)] == found.d[np.isnan(log.gold)]).all()


def test_columns_without_a_fold_weigh_nothing_in_it(log, found):
    for fold in range(3):
        columns, inside = found.columns(without=fold), found.fold != fold
        assert columns.w.tolist() == (inside & found.speaks).astype(float).tolist()
        assert not columns.d[~inside].any()
        unlabelled = inside & np.isnan(log.gold)
        assert np.array_equal(columns.d[unlabelled], found.d_by[fold, unlabelled])
        assert (np.abs(columns.d[inside & ~np.isnan(log.gold)]) == CAP).all()


def test_posterior_is_the_head_and_the_evidence_by_the_formula_of_bayes(log, found):
    posterior, unlabelled = found.posterior, np.isnan(log.gold)
    assert ((posterior > 0) & (posterior < 1)).all()
    odds = found.q / (1 - found.q) * np.exp(found.d)
    assert posterior[unlabelled] == pytest.approx((odds / (1 + odds))[unlabelled], abs=1e-12)
    assert posterior[~unlabelled] == pytest.approx(log.gold[~unlabelled], abs=1e-9)
    truth = log.label[unlabelled]
    assert brier(posterior[unlabelled], truth) < brier(found.q[unlabelled], truth)


def test_evidence_beyond_the_cap_is_cut_and_counted_and_a_graded_label_counts_as_its_log_odds():
    d = np.array([[40.0, -31.0, 2.0, 5.0, 5.0]])
    made = Evidence(
        d_by=d,
        q_by=np.full((1, 5), 0.5),
        fold=np.zeros(5, int),
        gold=np.array([np.nan, np.nan, np.nan, 0.8, 1.0]),
        speaks=np.ones(5, bool),
        tables=[],
        decay=1e-3,
        history=[],
        warnings=(),
    )
    columns = made.columns()
    assert columns.d == pytest.approx([30, -30, 2, math.log(4), 30], abs=1e-12)
    assert columns.counts.capped == 2


# --- doubts ------------------------------------------------------------------------------------------------


def test_healthy_log_raises_no_doubt(found):
    assert found.warnings == ()


def test_kind_that_happens_on_the_wrong_side_is_named(log):
    # Regenerations, sent as copies: declared positive, happening on disliked responses.
    turned = log.positive[:, [0, 2, 2]]
    found = log.fit(observed=log.observed[:, [0, 2, 2]], positive=turned)
    liked, other = (
        reports.mean_rate(found.tables, "copy", f"P(happened|{word})") for word in ("liked", "not")
    )
    assert liked < other
    said, contradicted = found.warnings
    assert said == (
        f"copy is declared positive, but it happens on {liked:.1%} of liked and {other:.1%} of other "
        "responses: it says next to nothing here, or means the opposite."
    )
    assert "most of all copy and regenerate together" in contradicted  # they are the same records


def test_random_gold_that_contradicts_other_gold_is_reported():
    log = linear(1500, 1, 400)
    drawn = np.cumsum(~np.isnan(log.gold)) <= 60
    drawn &= ~np.isnan(log.gold)
    gold = np.where(drawn, 1.0, log.gold)
    found = log.fit(gold=gold, random=drawn)
    assert found.warnings == (
        f"On 60 random gold labels 100% are liked where evidence predicts {found.q[drawn].mean():.0%}: kinds "
        "may not be independent, or their rates depend on more than the model allows. Label more rows at "
        "random.",
    )


@pytest.mark.parametrize(
    ("size", "liked", "doubted"), [(100, 62, False), (100, 63, True), (100, 37, True), (49, 49, False)]
)
def test_random_gold_is_doubted_beyond_2_576_standard_errors_and_from_50_labels(size, liked, doubted):
    # q = .5 on 100 rows: the standard error is .05, the limit .129.
    assert bool(doubts([], [], np.full(size, 0.5), np.arange(size) < liked)) == doubted


@pytest.mark.parametrize(
    ("side", "liked", "doubted"),
    [("copy", 0.109, True), ("copy", 0.111, False), ("regenerate", 0.1, True), ("regenerate", 0.05, False)],
)
def test_one_sided_kind_is_doubted_within_a_tenth(side, liked, doubted):
    rates = {"liked": liked, "not": 0.1}
    tables = [{"kind": side, "parameter": f"P(happened|{word})", "estimate": rates[word]} for word in rates]
    assert bool(doubts([KIND[side]], tables, np.zeros(0), np.zeros(0))) == doubted


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"usable": np.ones((6, 2), bool)}, "usable has shape (6, 2); (6, 1) is needed: rows of X, kinds"),
        ({"observed": np.ones(6, bool)}, "observed has shape (6,); (6, 1) is needed: rows of X, kinds"),
        ({"positive": np.ones((5, 1))}, "positive has shape (5, 1); (6, 1) is needed: rows of X, kinds"),
        ({"gold": [1.0, 0.0]}, "gold has shape (2,); (6,) is needed: rows of X, kinds"),
        ({"random": [True]}, "random has shape (1,); (6,) is needed: rows of X, kinds"),
        (
            {"gold": [np.nan, 0, 1, 2, 5, 0]},
            "gold of row 3 (and of 1 more) is 2.0; it must be in [0, 1]. NaN stands for no label",
        ),
        (
            {"kinds": [KIND["choice"]]},
            "'choice' says nothing about one response; pass two-sided and one-sided kinds alone",
        ),
        (
            {"kinds": [KIND["edit"]]},
            "'edit' says nothing about one response; pass two-sided and one-sided kinds alone",
        ),
        (
            {"usable": np.zeros((6, 1))},
            "no kind was offered on a row whose window is closed; there is no evidence to weigh",
        ),
        ({"fold_key": [1, 2]}, "fold_key has shape (2,); (6,) is needed, one key a row"),
        ({"folds": 1}, "folds is 1; it must be between 2 and the number of prompts, 3"),
        ({"folds": 4}, "folds is 4; it must be between 2 and the number of prompts, 3"),
        (
            {"fold_key": [1, 1, 1, 2, 2, 2], "folds": 2},
            "a fold has too few prompts to hold one out; more prompts or fewer folds are needed",
        ),
        (
            {"X": np.array([[1.0], [2.0], [np.nan], [0.0], [1.0], [2.0]])},
            "X holds a value that is not finite; repair the features or drop the row",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_a_sentence(changes, sentence):
    six = np.ones((6, 1))
    given = {"X": six, "kinds": [THUMBS], "usable": six, "observed": six, "positive": six}
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        evidence.fit(**(given | {"fold_key": [1, 1, 2, 2, 3, 3]} | changes))
    assert str(error.value) == sentence


def test_fit_that_stops_being_finite_is_an_error(log, monkeypatch):
    monkeypatch.setattr(fitting, "DECAYS", (math.nan,))
    with pytest.raises(NumericError) as error:
        log.fit()
    assert str(error.value) == "the evidence became non-finite at decay nan; check the features"
