"""Logs as the audit reads them, made from columns, and the parts of a verdict."""

from dataclasses import replace

import numpy as np

from unskew import propensity, simulate
from unskew.data import RANDOM, STRATIFIED, Examples
from unskew.events import KIND

N = 4000


def columns(n, kinds, offered, observed, positive, gold=None, design=None, prob=None):
    nan = np.full(n, np.nan)
    return Examples(
        row=np.arange(n),
        response_id=[f"r{row}" for row in range(n)],
        prompt_hash=(np.arange(n) // 2).astype(np.uint64),
        group=np.arange(n) // 2,
        user=np.zeros(n, np.uint64),
        kinds=tuple(KIND[name] for name in kinds),
        offered=offered,
        closed=np.ones_like(offered),
        observed=observed,
        positive=positive,
        cell=np.zeros(n, np.uint32),
        policy_prob=nan,
        gold=nan if gold is None else gold,
        gold_design=np.zeros(n, np.int8) if design is None else design,
        gold_prob=nan if prob is None else prob,
    )


def log(n=N, *, p1=0.4, p0=0.4, fnr=0.1, fpr=0.1, gold=400, seed=0):
    """(examples, truth) of a healthy log: thumbs and copies, random gold. Selection by label when p1 != "
    "p0."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    thumbs = rng.random(n) < np.where(truth, p1, p0)
    up = thumbs & (rng.random(n) < np.where(truth, 1 - fnr, fpr))
    copied = rng.random(n) < np.where(truth, 0.2, 0.05)
    label = np.where(rng.permutation(n) < gold, truth, np.nan)
    offered = np.ones((n, 2), bool)
    design = np.where(np.isnan(label), 0, RANDOM).astype(np.int8)
    observed, positive = np.column_stack([thumbs, copied]), np.column_stack([up, copied])
    return columns(n, ("thumbs", "copy"), offered, observed, positive, label, design), truth


def constant(examples, p=0.4, source="features"):
    """Propensities of thumbs that are one number."""
    found = propensity.logged(np.full(len(examples), p), examples.observed[:, 0])
    return {"thumbs": replace(found, source=source)}


def gate(verdict, name):
    """The one gate of that name."""
    [found] = [gate for gate in verdict.gates if gate.name == name]
    return found


def simulated(name, n, gold, seed=0):
    drawn = simulate.draw(simulate.WORLDS[name], n, seed)
    label, design, prob = np.full(n, np.nan), np.zeros(n, np.int8), np.full(n, np.nan)
    if gold:
        chosen = simulate.choose(drawn, 400, 200, seed)
        label[chosen.row], prob[chosen.row] = drawn.label[chosen.row], chosen.prob
        design[chosen.row] = np.where(chosen.stratified, STRATIFIED, RANDOM)
    return drawn, columns(n, drawn.kinds, drawn.offered, drawn.observed, drawn.positive, label, design, prob)
