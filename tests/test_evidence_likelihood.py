"""The likelihood of evidence against a literal sum over the hidden label."""

import importlib
import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evident import COPY, KINDS, RATING, THUMBS, product_log, sigmoid
from unskew import estimators
from unskew.evidence.likelihood import (
    WORD,
    Tables,
    contrast,
    effect,
    losses,
    record_given_label,
    record_of,
    voices,
)

pytestmark = pytest.mark.usefixtures("one_thread")

fitting = importlib.import_module("unskew.evidence.fit")  # the name is taken by the function

WORDS = ("positive", "negative")


def outcomes(kinds):
    """Everything that can be recorded about one response: (happened, sign of the label) a kind."""
    return list(product(*(((0, 0), (1, 1), (1, -1)) if k.two_sided else ((0, 0), (1, 0)) for k in kinds)))


def recorded(kinds, cells, gold=None, usable=None):
    """The record of one row for each of `cells`."""
    happened = torch.tensor([[bool(h) for h, _ in row] for row in cells])
    positive = torch.tensor(
        [[h and (s > 0 or k.one_sided) for (h, s), k in zip(row, kinds, strict=True)] for row in cells]
    ).bool()
    usable = torch.ones_like(happened) if usable is None else torch.tensor(usable)
    gold = [None] * len(cells) if gold is None else gold
    label = torch.tensor([math.nan if y is None else y for y in gold], dtype=torch.float64)
    return record_of(kinds, usable, happened, positive, label)


def slow(line, tables, kinds, usable, cells, gold):
    """-log of the sum over r of P(r | x) P(record | x, r), by the letter."""

    def s(t):
        return 1 / (1 + math.exp(-t))

    joint = []
    for r in (0, 1):
        p = s(line[0]) if r else 1 - s(line[0])
        for k, kind in enumerate(kinds):
            if not usable[k]:
                continue
            happened, sign = cells[k]
            moves = tables[0][k]
            if kind.side in WORDS:
                moves = math.log(1 + math.exp(moves)) * (1 if kind.side == "positive" else -1)
            else:
                moves += tables[3][k] * line[0]
            rate = s(line[1 + k] + (r - 0.5) * moves)
            p *= rate if happened else 1 - rate
            if happened and kind.two_sided:
                up = s(tables[1][k] + (r - 0.5) * math.log(1 + math.exp(tables[2][k])))
                p *= up if sign > 0 else 1 - up
        joint.append(p)
    if gold is None:
        return -math.log(joint[0] + joint[1])
    return -gold * math.log(joint[1]) - (1 - gold) * math.log(joint[0])


@dataclass
class Problem:
    """Kinds, the line of two rows and tables, as plain numbers."""

    kinds: tuple
    line: list
    tables: list

    def torch(self):
        *parts, growth = (torch.tensor(part, dtype=torch.float64) for part in self.tables)
        return torch.tensor(self.line, dtype=torch.float64), Tables(*parts, growth=growth)


@st.composite
def problems(draw):
    kinds = tuple(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3)))
    number = st.floats(-3, 3)
    row = st.lists(number, min_size=1 + len(kinds), max_size=1 + len(kinds))
    part = st.lists(number, min_size=len(kinds), max_size=len(kinds))
    return Problem(kinds, [draw(row), draw(row)], [draw(part) for _ in range(4)])


@given(problems(), st.data())
def test_losses_are_the_literal_sum_over_the_hidden_label(problem, data):
    cells = outcomes(problem.kinds)
    picked = [data.draw(st.sampled_from(cells)) for _ in problem.line]
    usable = [[data.draw(st.booleans()) for _ in problem.kinds] for _ in problem.line]
    gold = [data.draw(st.sampled_from([None, 0.0, 1.0, 0.3, 0.5])) for _ in problem.line]
    line, tables = problem.torch()
    found = losses(line, tables, recorded(problem.kinds, picked, gold, usable))
    for number, row in enumerate(problem.line):
        literal = slow(row, problem.tables, problem.kinds, usable[number], picked[number], gold[number])
        assert float(found[number]) == pytest.approx(literal, rel=1e-12, abs=1e-12)


@given(problems())
def test_probabilities_of_all_records_add_up_to_one(problem):
    cells = outcomes(problem.kinds)
    line, tables = problem.torch()
    for row in line:
        rows = row.expand(len(cells), -1)
        assert float(torch.exp(-losses(rows, tables, recorded(problem.kinds, cells))).sum()) == pytest.approx(
            1, abs=1e-12
        )
        by_label = [
            losses(rows, tables, recorded(problem.kinds, cells, [y] * len(cells))) for y in (0.0, 1.0)
        ]
        assert float(torch.exp(-torch.cat(by_label)).sum()) == pytest.approx(1, abs=1e-12)


def test_kinds_keep_the_sign_that_they_declare():
    sign = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)
    for value in (-3.0, 0.0, 3.0):
        tables = Tables(*(torch.full((3,), value, dtype=torch.float64) for _ in range(3)))
        for z in (-4.0, 0.0, 4.0):
            grown = tables._replace(growth=torch.full((3,), 0.5, dtype=torch.float64))
            free, positive, negative = effect(grown, sign, torch.tensor([z]))[0]
            assert free == value + z / 2
            assert positive > 0 > negative
        assert (contrast(tables) > 0).all()
    start = Tables.start(sign)
    assert float(torch.sigmoid(-contrast(start)[0] / 2)) == pytest.approx(0.18, abs=0.01)
    at_once = effect(start, sign, torch.tensor([2.0]))[0]
    assert torch.exp(at_once).tolist() == pytest.approx([1, 3, 1 / 3], rel=0.02)


def evidence_of(problem, cells, usable=None):
    """d of the first row of a problem for each of `cells`."""
    line, tables = problem.torch()
    record = recorded(problem.kinds, cells, usable=None if usable is None else [usable] * len(cells))
    liked, disliked = record_given_label(line[:1].expand(len(cells), -1), tables, record)
    return (liked - disliked).numpy()


@given(problems())
def test_evidence_of_a_kind_is_that_of_the_mixture_estimator(problem):
    problem.kinds, problem.tables = problem.kinds[:1], [part[:1] for part in problem.tables]
    problem.line = [row[:2] for row in problem.line]
    kind, cells = problem.kinds[0], outcomes(problem.kinds[:1])
    line, tables = problem.torch()
    move = float(effect(tables, recorded(problem.kinds, cells).sign, line[:1, 0])[0, 0])
    p1, p0 = (float(torch.sigmoid(line[0, 1] + side * move / 2)) for side in (1, -1))
    level, gap = float(tables.level[0]), float(contrast(tables)[0])
    fnr, fpr = (0, 1) if kind.one_sided else (sigmoid(-level - gap / 2), sigmoid(level - gap / 2))
    seen = [cell[0][0] for cell in cells]
    label = [float(cell[0][1] > 0 or kind.one_sided) for cell in cells]
    known = estimators.mixture(label, seen, fnr, fpr, p1, p0)
    found = evidence_of(problem, cells)
    assert found == pytest.approx(known.d, rel=1e-11, abs=1e-12)
    assert found[0] == pytest.approx(math.log((1 - p1) / (1 - p0)), rel=1e-11, abs=1e-12)  # silence


@given(problems())
def test_evidence_of_kinds_adds_up_and_kinds_that_are_not_usable_add_nothing(problem):
    cells = outcomes(problem.kinds)
    whole = evidence_of(problem, cells)
    alone = [
        evidence_of(problem, cells, [number == k for number in range(len(problem.kinds))])
        for k in range(len(problem.kinds))
    ]
    assert whole == pytest.approx(np.sum(alone, axis=0), abs=1e-12)
    assert not evidence_of(problem, cells, [False] * len(problem.kinds)).any()


def test_what_is_recorded_where_a_kind_is_not_usable_is_not_read():
    usable = torch.tensor([[True, False, False]])
    kinds = (THUMBS, RATING, COPY)
    yes, no, gold = torch.ones(1, 3).bool(), torch.zeros(1, 3).bool(), torch.tensor([math.nan])
    full = record_of(kinds, usable, yes, yes, gold)
    assert full.happened.tolist() == [[True, False, False]]
    assert full.up.tolist() == [[1.0, 0.0, 0.0]]
    # A one-sided kind happened when it is positive; its observed flag is not read.
    assert not record_of((COPY,), yes[:, :1], yes[:, :1], no[:, :1], gold).happened.any()


def expected_loss(kinds, true_line, true_tables, labelled):
    """E[loss] as a function of (line, tables), over r, every record, and gold that may depend on both."""
    cells = outcomes(kinds)
    everything = [(cell, y) for cell in cells for y in (0.0, 1.0)]
    record = recorded(
        kinds, [cell for cell, _ in everything] * 2, [y for _, y in everything] + [None] * len(everything)
    )
    chosen = torch.tensor([labelled[cells.index(cell) % len(labelled)] for cell, _ in everything]).double()
    share = torch.cat([chosen, 1 - chosen])
    size = len(share)

    def repeat(line):
        return line.repeat_interleave(size, 0)

    many = replace(
        record,
        usable=record.usable.repeat(len(true_line), 1),
        happened=record.happened.repeat(len(true_line), 1),
        up=record.up.repeat(len(true_line), 1),
        gold=record.gold.repeat(len(true_line)),
    )
    complete = replace(
        many, gold=torch.tensor([y for _, y in everything] * 2).double().repeat(len(true_line))
    )
    probability = torch.exp(-losses(repeat(true_line), true_tables, complete)) * share.repeat(len(true_line))
    assert float(probability.sum()) == pytest.approx(len(true_line), abs=1e-11)
    return lambda line, tables: (probability * losses(repeat(line), tables, many)).sum()


@given(problems(), st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_expected_loss_is_stationary_at_the_truth_and_larger_elsewhere(problem, labelled, seed):
    line, tables = problem.torch()
    value = expected_loss(problem.kinds, line, tables, labelled)
    truth = (line, *tables[:3], tables.growth)
    point = [part.clone().requires_grad_() for part in truth]
    at_truth = value(point[0], Tables(*point[1:4], growth=point[4]))
    for slope in torch.autograd.grad(at_truth, point):
        assert slope.abs().max() < 1e-12
    rng = np.random.default_rng(seed)
    moved = [part + torch.from_numpy(rng.standard_normal(tuple(part.shape))) for part in truth]
    assert value(moved[0], Tables(*moved[1:4], growth=moved[4])) >= at_truth - 1e-12
    # With gold on every record nothing but the truth explains it: moving z alone costs.
    whole = expected_loss(problem.kinds, line, tables, [0.5])
    shifted = line + torch.tensor([1.0] + [0.0] * len(problem.kinds))
    assert whole(shifted, tables) > whole(line, tables) + 1e-4


def speaking(made, at, gold):
    """The record of some kinds of a log."""
    columns = (part[:, at] for part in (made.usable, made.observed, made.positive))
    return record_of([KINDS[k] for k in at], *(torch.from_numpy(part) for part in (*columns, gold)))


def test_one_kind_without_gold_is_taken_at_its_word():
    # The loss is that of a logistic regression of the record where there is one, and of a rate apart from it.
    made, nothing = product_log("label", 3, n=1500), np.full(1500, np.nan)
    observed, positive = made.observed[:, 0], made.positive[:, 0]
    found = made.fit(
        kinds=(THUMBS,),
        usable=made.usable[:, :1],
        observed=made.observed[:, :1],
        positive=made.positive[:, :1],
        gold=nothing,
    )
    assert found.d == pytest.approx(np.where(observed, np.where(positive, WORD, -WORD), 0))
    assert found.tables == []
    assert "thumbs alone was recorded" in found.warnings[0]
    record = speaking(made, [0], nothing)
    line = torch.from_numpy(np.column_stack([np.log(found.q / (1 - found.q)), np.full(1500, -1.0)]))
    loss = float(losses(line, Tables.at_its_word(record.sign), record).sum())
    wrong = np.log(np.where(positive, found.q, 1 - found.q)[observed]).sum()
    rate = observed.sum() * np.log(sigmoid(-1.0)) + (~observed).sum() * np.log(sigmoid(1.0))
    assert loss == pytest.approx(-wrong - rate, rel=1e-5)


def test_gold_or_another_kind_that_speaks_ends_that():
    made, nothing = product_log("label", 3, n=600), np.full(600, np.nan)
    assert not speaking(made, [0], made.gold).literal
    assert not speaking(made, [0, 2], nothing).literal
    assert not speaking(made, [2], nothing).literal  # copies alone: that one happened is no label
    made.observed[:, 2] = made.positive[:, 2] = False
    assert speaking(made, [0, 2], nothing).literal  # offered, and nobody copies: thumbs speak alone


def test_one_kind_on_two_surfaces_is_one_voice():
    made, here = product_log("label", 3, n=600), torch.arange(600) % 2 == 0
    parts = [replace(THUMBS, name=f"thumbs in {place}") for place in "ab"]
    masks = [
        torch.from_numpy(mask[:, :1]) & torch.stack([here, ~here], dim=1)
        for mask in (made.usable, made.observed, made.positive)
    ]
    record = record_of(parts, *masks, torch.full((600,), torch.nan))
    assert record.happened.any(0).all()
    assert voices(parts, record.happened) == 1
    assert record.literal
