"""Choices in the likelihood of evidence, against a literal sum over both hidden labels and who is better."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evident import COPY, THUMBS, brier, linear, sigmoid
from unskew.data import Choices
from unskew.evidence.checks import compare, failures
from unskew.evidence.compared import Compared
from unskew.evidence.likelihood import Tables, record_given_label, record_of, total
from unskew.evidence.likelihood import evidence as evidence_of

pytestmark = pytest.mark.usefixtures("one_thread")

NAN = math.nan


def pair_of(label=NAN, gold=NAN, ordered=True, a=0, b=1):
    """One pair of the rows a and b."""
    return Choices(
        np.array([a]), np.array([b]), np.array([label]), np.array([ordered]), np.array([gold]),
        np.zeros(1, np.int8), np.array([NAN]),
    )  # fmt: skip


def record(cells, gold=(NAN, NAN), choices=None):
    """Two rows, thumbs and copy; a cell is (thumb 1, -1 or 0, copied)."""
    happened = torch.tensor([[thumb != 0, copied] for thumb, copied in cells])
    positive = torch.tensor([[thumb > 0, copied] for thumb, copied in cells])
    label = torch.tensor(gold, dtype=torch.float64)
    pairs = Compared.of(choices)
    return record_of((THUMBS, COPY), torch.ones_like(happened), happened, positive, label, None, pairs)


def slow(line, tables, cells, gold, label, gold_of_pair, ordered=True):
    """-log of the sum over r_A, r_B and t of P(r, t | x) P(everything recorded | r, t), by the letter."""
    rows = record(cells)
    l_1, l_0 = (part.tolist() for part in record_given_label(line, tables, rows))
    z = line[:, 0].tolist()
    level, tilt = float(tables.slots[0]), math.log1p(math.exp(float(tables.slots[1]))) / 2
    fnr, fpr = sigmoid(-level - tilt), sigmoid(level - tilt)
    if not ordered:
        fnr = fpr = (fnr + fpr) / 2
    chosen_if = {1: 1 - fnr, 0: fpr}
    said = {t: 1.0 if math.isnan(label) else (p if label else 1 - p) for t, p in chosen_if.items()}
    q = [sigmoid(value) for value in z]
    given_rows = [[(1 - q[i]) * math.exp(l_0[i]), q[i] * math.exp(l_1[i])] for i in (0, 1)]
    own = 0.0
    pi = []
    for i in (0, 1):
        if math.isnan(gold[i]):
            own -= math.log(sum(given_rows[i]))
            pi.append([part / sum(given_rows[i]) for part in given_rows[i]])
        else:
            own -= gold[i] * math.log(given_rows[i][1]) + (1 - gold[i]) * math.log(given_rows[i][0])
            pi.append([1 - gold[i], gold[i]])
    look = sigmoid(z[0] - z[1])
    if not math.isnan(gold_of_pair):
        y = gold_of_pair
        return own - y * math.log(look * said[1]) - (1 - y) * math.log((1 - look) * said[0])
    whole = 0.0
    for r_a, r_b, t in product((0, 1), repeat=3):
        decided = look if t else 1 - look
        p_t = float(t == r_a) if r_a != r_b else decided
        whole += pi[0][r_a] * pi[1][r_b] * p_t * said[t]
    return own - math.log(whole)


numbers = st.floats(-3, 3)
cells = st.tuples(st.sampled_from([-1, 0, 1]), st.booleans())
rows_of_two = st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=2, max_size=2)
some_tables = st.lists(numbers, min_size=8, max_size=8)
labels = st.sampled_from([NAN, 0.0, 1.0])


def tables_of(values):
    effect, level, contrast, slots = (
        torch.tensor(values[i : i + 2], dtype=torch.float64) for i in (0, 2, 4, 6)
    )
    return Tables(effect, level, contrast, slots)


@given(rows_of_two, some_tables, cells, cells, st.tuples(labels, labels), labels, st.data())
def test_loss_is_the_literal_sum_over_both_labels_and_who_is_better(line, values, a, b, gold, label, data):
    gold_of_pair = data.draw(st.sampled_from([NAN, 0.0, 1.0, 0.3]))
    ordered = data.draw(st.booleans())
    line, tables = torch.tensor(line, dtype=torch.float64), tables_of(values)
    rows = record((a, b), gold, pair_of(label, gold_of_pair, ordered))
    literal = slow(line, tables, (a, b), gold, label, gold_of_pair, ordered)
    assert float(total(line, tables, rows)) == pytest.approx(literal, rel=1e-10, abs=1e-10)


@given(rows_of_two, some_tables, cells, cells, st.sampled_from([0.0, 1.0]), st.booleans())
def test_a_choice_adds_the_literal_ratio_to_the_evidence_on_each_response(line, values, a, b, label, ordered):
    line, tables = torch.tensor(line, dtype=torch.float64), tables_of(values)
    found = evidence_of(line, tables, record((a, b), choices=pair_of(label, ordered=ordered)))

    def joint(gold):
        return slow(line, tables, (a, b), gold, label, NAN, ordered)

    for row, (liked, other) in enumerate((((1.0, NAN), (0.0, NAN)), ((NAN, 1.0), (NAN, 0.0)))):
        # -log P(r = 1, all) and -log P(r = 0, all): their difference is logit q + d
        literal = joint(other) - joint(liked) - float(line[row, 0])
        assert float(found[row]) == pytest.approx(literal, rel=1e-8, abs=1e-8)


@given(rows_of_two, some_tables)
@settings(max_examples=30)
def test_probabilities_of_all_records_and_choices_add_up_to_one(line, values):
    line, tables = torch.tensor(line, dtype=torch.float64), tables_of(values)
    every = list(product((-1, 0, 1), (False, True)))
    p = [
        math.exp(-float(total(line, tables, record((a, b), choices=pair_of(label)))))
        for a, b, label in product(every, every, (0.0, 1.0))
    ]
    assert sum(p) == pytest.approx(1, abs=1e-10)


@given(rows_of_two, some_tables, st.sampled_from([0.0, 1.0]))
def test_choices_alone_give_the_forward_corrected_likelihood_of_bradley_and_terry(line, values, label):
    line, tables = torch.tensor(line, dtype=torch.float64), tables_of(values)
    rows = replace(
        record(((0, False), (0, False)), choices=pair_of(label)), usable=torch.zeros(2, 2, dtype=torch.bool)
    )
    level, tilt = values[6], math.log1p(math.exp(values[7])) / 2
    p = sigmoid(float(line[0, 0] - line[1, 0]))
    chosen = p * sigmoid(level + tilt) + (1 - p) * sigmoid(level - tilt)
    literal = -math.log(chosen if label else 1 - chosen)
    assert float(total(line, tables, rows)) == pytest.approx(literal, rel=1e-10, abs=1e-12)


@given(rows_of_two, some_tables, cells, cells, labels, labels)
def test_naming_the_slots_the_other_way_round_changes_nothing(line, values, a, b, label, gold):
    line, tables = torch.tensor(line, dtype=torch.float64), tables_of(values)
    turned = tables._replace(slots=tables.slots * torch.tensor([-1.0, 1.0]))
    one = record((a, b), choices=pair_of(label, gold))
    two = record((a, b), choices=pair_of(1 - label, 1 - gold, a=1, b=0))
    assert float(total(line, tables, one)) == pytest.approx(float(total(line, turned, two)), rel=1e-12)
    for mine, theirs in zip(evidence_of(line, tables, one), evidence_of(line, turned, two), strict=True):
        assert float(mine) == pytest.approx(float(theirs), rel=1e-9, abs=1e-9)


@given(rows_of_two, some_tables, st.lists(numbers, min_size=14, max_size=14))
@settings(max_examples=20, deadline=None)
def test_expected_loss_is_stationary_at_the_truth_and_larger_elsewhere(line, values, move):
    line, tables = torch.tensor(line, dtype=torch.float64), tables_of(values)
    every = list(product((-1, 0, 1), (False, True)))
    outcomes = list(product(every, every, (0.0, 1.0)))
    many = record(
        [cell for a, b, _ in outcomes for cell in (a, b)],
        [NAN] * (2 * len(outcomes)),
        Choices(
            np.arange(len(outcomes)) * 2, np.arange(len(outcomes)) * 2 + 1,
            np.array([label for *_, label in outcomes]), np.ones(len(outcomes), bool),
            *(np.full(len(outcomes), value) for value in (NAN, 0, NAN)),
        ),
    )  # fmt: skip

    def per_outcome(line, tables):
        """Loss of every outcome, as the slope of their weighted sum: rows and pairs come in order."""
        return torch.stack(
            [total(line, tables, many.at(torch.tensor([2 * i, 2 * i + 1]))) for i in range(len(outcomes))]
        )

    probability = torch.exp(-per_outcome(line, tables)).detach()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-10)
    truth = (line, *tables[:4])
    point = [part.clone().requires_grad_() for part in truth]
    at_truth = (probability * per_outcome(point[0], Tables(*point[1:]))).sum()
    for slope in torch.autograd.grad(at_truth, point):
        assert slope.abs().max() < 1e-10
    moved = torch.split(torch.tensor(move, dtype=torch.float64), [6, 2, 2, 2, 2])
    elsewhere = [part + shift.reshape(part.shape) for part, shift in zip(truth, moved, strict=True)]
    assert (probability * per_outcome(elsewhere[0], Tables(*elsewhere[1:]))).sum() >= at_truth - 1e-12


# --- fitted ------------------------------------------------------------------------------------------------

FNR, FPR = 0.3, 0.1


def chosen(log, seed, share=1.0):
    """Choices between neighbours, drawn as the module says; people prefer the second slot."""
    rng = np.random.default_rng((7, seed))
    a = np.arange(0, len(log.X), 2)
    b, n = a + 1, len(a)
    look = rng.random(n) < sigmoid(log.z[a] - log.z[b])
    better = np.where(log.label[a] != log.label[b], log.label[a], look)
    label = (rng.random(n) < np.where(better, 1 - FNR, FPR)).astype(float)
    label[rng.random(n) >= share] = np.nan
    nan = np.full(n, np.nan)
    return Choices(a, b, label, np.ones(n, bool), nan, np.zeros(n, np.int8), nan)


@pytest.fixture(scope="module")
def log():
    return linear(4000, 1, 0)


@pytest.fixture(scope="module")
def fitted(log):
    """Thumbs alone, without gold, beside choices of every second pair."""
    columns = {name: getattr(log, name)[:, :1] for name in ("usable", "observed", "positive")}
    return log.fit(kinds=log.kinds[:1], **columns, choices=chosen(log, 1, 0.5))


def test_thumbs_and_choices_know_their_errors_without_gold(log, fitted):
    columns = {name: getattr(log, name)[:, :1] for name in ("usable", "observed", "positive")}
    alone = log.fit(kinds=log.kinds[:1], **columns)
    assert brier(fitted.q, log.label) < brier(alone.q, log.label) - 0.01
    assert brier(fitted.posterior, log.label) < brier(fitted.q, log.label) - 0.005
    rates = {row["parameter"]: row for row in fitted.tables if row["kind"] == "choice"}
    for name, true in (("fnr", FNR), ("fpr", FPR)):
        assert rates[name]["low"] < true < rates[name]["high"] < rates[name]["low"] + 0.25
    assert not fitted.warnings


def test_choices_are_counted_beside_what_the_fit_expects(log, fitted):
    mine = [check for check in fitted.checks if check["check"].startswith("first slot chosen")]
    pairs = chosen(log, 1, 0.5)
    assert sum(check["observed"] for check in mine) == np.nansum(pairs.label)
    assert all(check["p"] > 0.001 for check in mine)


def test_choices_that_turn_round_where_responses_differ_most_contradict_the_fit():
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.1, 0.9, 3000)
    first = rng.random(3000) < chance
    assert not failures(compare(first, chance))
    turned = np.where(chance > 0.7, ~first, first)
    assert [check["check"] for check in failures(compare(turned, chance))] == [
        "first slot chosen in third 3 of its chance"
    ]
    assert compare(first[:6], chance[:6]) == []


def test_rows_that_only_a_choice_speaks_of_weigh(log):
    pairs = chosen(log, 0)
    none = np.zeros_like(log.usable)
    none[: len(none) // 2] = log.usable[: len(none) // 2]
    found = log.fit(usable=none, choices=pairs)
    assert found.speaks.all()
    assert (found.columns().w == 1).all()
    assert (found.d[-100:] != 0).all()
    assert not log.fit(usable=none).speaks[-100:].any()


def test_gold_of_a_pair_is_learned_from_and_stays_out_of_the_evidence(log):
    pairs = replace(chosen(log, 0), label=np.full(len(log.X) // 2, np.nan))
    rng = np.random.default_rng(3)
    gold = (rng.random(len(pairs)) < sigmoid(log.z[pairs.a] - log.z[pairs.b])).astype(float)
    usable = log.usable & (np.arange(3) == 0)
    without = log.fit(usable=usable, gold=np.full(len(log.X), np.nan))
    told = log.fit(usable=usable, gold=np.full(len(log.X), np.nan), choices=replace(pairs, gold=gold))
    assert brier(told.q, log.label) < brier(without.q, log.label) - 0.005
    assert not any(row["kind"] == "choice" for row in told.tables)
    turned = gold.copy()
    mine = told.fold[pairs.a] == 0
    turned[mine] = 1 - turned[mine]
    other = log.fit(usable=usable, gold=np.full(len(log.X), np.nan), choices=replace(pairs, gold=turned))
    held = told.fold == 0
    assert np.array_equal(told.d[held], other.d[held])
    assert np.array_equal(told.q[held], other.q[held])


def test_no_choices_is_the_same_as_none(log):
    pairs = chosen(log, 0, 0.0)
    one, two = log.fit(), log.fit(choices=pairs)
    assert np.array_equal(one.d_by, two.d_by)
    assert one.tables == two.tables


def test_pair_across_prompts_is_refused_by_its_rows(log):
    pairs = replace(pair_of(1.0), b=np.array([1999]))
    with pytest.raises(ValueError, match="responses 0 and 1999 are a pair and have two fold keys"):
        log.fit(choices=pairs)
