"""Wrong pairs, exchanges, margins and positive-unlabelled targets, each killed, and controls that survive."""

from fractions import Fraction

import numpy as np
import pytest

from unskew.estimators import (
    Columns,
    adaptive_margin,
    implicit_posterior,
    ips,
    naive,
    nnpu,
    pairs_from_items,
    positive_unlabelled,
    swap,
)
from unskew.testing import assert_unbiased

HALF = Fraction(1, 2)
PAIR = {"rows": 2, "target": lambda liked: (1 + liked[:1] - liked[1:]) / 2}
EXCHANGED = {"rows": 1, "target": lambda liked: 1 - liked}
ONE_SIDED = {"rows": 1, "selection": "label", "zero": ("p0",)}
BOTH_FACTORS = {**ONE_SIDED, "right": ("p1", "imputation")}


def t(label, fnr, fpr):
    return (label - fpr) / (1 - fnr - fpr)


def weighted(weight, target):
    return Columns(weight, weight * target, 0 * weight)


def one(target):
    return Columns(0 * target + 1, target, 0 * target)


# pairs (controls: pairs_control, pairs_of_both_observed, swap_control, exchange_control)


def items(label, observed, propensity, fnr, fpr):
    return ips(label, observed, propensity, fnr, fpr).b


def pairs_control(label, observed, propensity, fnr, fpr):
    return pairs_from_items(ips(label, observed, propensity, fnr, fpr), [0], [1])


def pairs_of_both_observed(label, observed, propensity, fnr, fpr):
    weight = observed[:1] * observed[1:] / (propensity[:1] * propensity[1:])
    target = t(label, fnr, fpr)
    return weighted(weight, (1 + target[:1] - target[1:]) / 2)


def pairs_in_the_other_order(label, observed, propensity, fnr, fpr):
    return pairs_from_items(ips(label, observed, propensity, fnr, fpr), [1], [0])


def pairs_not_halved(label, observed, propensity, fnr, fpr):
    y = items(label, observed, propensity, fnr, fpr)
    return one(1 + y[:1] - y[1:])


def pairs_without_ties(label, observed, propensity, fnr, fpr):
    y = items(label, observed, propensity, fnr, fpr)
    return one(y[:1] * (1 - y[1:]))


def pairs_of_raw_labels(label, observed, propensity):
    return pairs_from_items(ips(label, observed, propensity), [0], [1])


def pairs_with_the_propensity_of_one(label, observed, propensity, fnr, fpr):
    weight = observed[:1] * observed[1:] / propensity[:1]
    target = t(label, fnr, fpr)
    return weighted(weight, (1 + target[:1] - target[1:]) / 2)


def pairs_with_an_observed_winner(label, observed, propensity, fnr, fpr):
    target = t(label, fnr, fpr)
    return weighted(observed[:1] / propensity[:1], (1 + target[:1] - target[1:]) / 2)


def swap_control(label, observed, propensity, fnr, fpr):
    return swap(ips(label, observed, propensity, fnr, fpr))


def exchange_control(label, observed, propensity, fnr, fpr):
    return ips(1 - label, observed, propensity, fpr, fnr)


def swap_that_forgets_the_target(label, observed, propensity, fnr, fpr):
    columns = ips(label, observed, propensity, fnr, fpr)
    return Columns(columns.a, columns.b, -columns.m)


def swap_that_forgets_the_weight(label, observed, propensity, fnr, fpr):
    columns = ips(label, observed, propensity, fnr, fpr)
    return Columns(columns.a, observed - columns.b, -columns.m)


def swap_of_the_sign(label, observed, propensity, fnr, fpr):
    columns = ips(label, observed, propensity, fnr, fpr)
    return Columns(columns.a, -columns.b, -columns.m)


def exchange_that_keeps_the_rates(label, observed, propensity, fnr, fpr):
    return ips(1 - label, observed, propensity, fnr, fpr)


# positive and unlabelled (controls: positive_unlabelled, liked_posterior)


def liked_posterior(observed, imputation, p1):
    return implicit_posterior(observed, imputation, p1).liked


def silence_read_as_dislike(observed):
    return naive(observed, 0 * observed + 1)


def pu_weight_not_inverted(observed, p1):
    return one(observed * p1)


def pu_of_positives_only(observed, p1):
    return weighted(observed / p1, 1)


def pu_without_the_positives_among_the_unlabelled(observed, p1):
    """U holds the silent rows only, as in public code: the positives are not taken back."""
    return Columns(1 - observed + observed / p1, observed / p1, 0 * observed)


def pu_with_weighted_silence(observed, p1):
    return Columns(observed / p1 + (1 - observed) / (2 - p1), observed / p1, 0 * observed)


def pu_of_a_guessed_prior(observed):
    return nnpu(observed, 1) if sum(observed) else one(0 * observed)


def posterior_of_the_inactive(observed, imputation, p1):
    """The strata NA and PP exchanged, as in a printed equation of ImplicitRM."""
    return implicit_posterior(observed, imputation, p1).active


def posterior_that_ignores_silence(observed, imputation):
    return one(np.where(observed == 1, 1, imputation))


def posterior_of_the_product(observed, imputation, p1):
    return one(np.where(observed == 1, 1, imputation * p1))


CONTROLS = [
    (pairs_control, PAIR),
    (pairs_of_both_observed, PAIR),
    (swap_control, EXCHANGED),
    (exchange_control, EXCHANGED),
    (positive_unlabelled, ONE_SIDED),
    (liked_posterior, BOTH_FACTORS),
]

MUTANTS = [
    *((mutant, PAIR) for mutant in (
        pairs_in_the_other_order, pairs_not_halved, pairs_without_ties, pairs_of_raw_labels,
        pairs_with_the_propensity_of_one, pairs_with_an_observed_winner,
    )),
    *((mutant, EXCHANGED) for mutant in (
        swap_that_forgets_the_target, swap_that_forgets_the_weight, swap_of_the_sign,
        exchange_that_keeps_the_rates,
    )),
    *((mutant, ONE_SIDED) for mutant in (
        silence_read_as_dislike, pu_weight_not_inverted, pu_of_positives_only,
        pu_without_the_positives_among_the_unlabelled, pu_with_weighted_silence, pu_of_a_guessed_prior,
    )),
    *((mutant, BOTH_FACTORS) for mutant in (
        posterior_of_the_inactive, posterior_that_ignores_silence, posterior_of_the_product,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("control", "options"), CONTROLS)
def test_control_survives(control, options):
    assert_unbiased(control, **options, examples=50)


@pytest.mark.parametrize(("mutant", "options"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
def test_mutant_is_killed(mutant, options):
    with pytest.raises(AssertionError, match=f"^{mutant.__name__} is biased under selection by "):
        assert_unbiased(mutant, **options)


def test_margin_signed_by_the_label_is_killed():
    def margin_signed_by_the_label(label, observed, propensity):
        return adaptive_margin(ips(label, observed, propensity), (2 * label - 1) * HALF)

    with pytest.raises(AssertionError, match="the margin m of margin_signed_by_the_label depends on"):
        assert_unbiased(margin_signed_by_the_label, rows=1)
