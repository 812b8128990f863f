"""Fifty wrong estimators of single responses, each killed, and controls that survive with the same options.

Those of test_unbiased.py are not repeated; pairs and positive-unlabelled are in test_mutants_of_pairs.py,
losses in test_nonnegative.py. A mutant is a mistake that somebody makes, or has made in public code.
"""

from fractions import Fraction

import numpy as np
import pytest

from unskew.estimators import (
    Columns,
    clipped_ips,
    doubly_robust,
    flip,
    imputation,
    ips,
    shrunk_ips,
    smooth,
)
from unskew.testing import assert_unbiased

HALF = Fraction(1, 2)
RIGHT_Q = {"right": ("fnr", "fpr", "imputation")}
LABEL = {"selection": "label"}
TWO = {"rows": 2}


def t(label, fnr, fpr):
    return (label - fpr) / (1 - fnr - fpr)


def weighted(weight, target):
    return Columns(weight, weight * target, 0 * weight)


def one(target):
    return Columns(0 * target + 1, target, 0 * target)


# flips undone wrongly (control: ips)


def rate_of_one_class_for_both(label, observed, propensity, fnr):
    return weighted(observed / propensity, t(label, fnr, fnr))


def rates_averaged(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, t(label, (fnr + fpr) / 2, (fnr + fpr) / 2))


def d_with_a_wrong_sign(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, (label - fpr) / (1 - fnr + fpr))


def d_as_a_product(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, (label - fpr) / ((1 - fnr) * (1 - fpr)))


def no_shift(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, label / (1 - fnr - fpr))


def shift_of_the_other_class(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, (label - fnr) / (1 - fnr - fpr))


def noise_added_again(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, fpr + (1 - fnr - fpr) * label)


def corrected_twice(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, t(t(label, fnr, fpr), fnr, fpr))


def only_likes_corrected(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, np.where(label == 1, t(label, fnr, fpr), label))


def only_dislikes_corrected(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, np.where(label == 0, t(label, fnr, fpr), label))


def corrected_target_above_one_cut(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, np.minimum(t(label, fnr, fpr), 1))


def weight_of_smoothing(label, observed, propensity, fnr, fpr):
    """Smoothing where correction is wanted: its inverse."""
    return smooth(weighted(observed / propensity, label), Fraction(1, 10))


def flipped_by_the_heads(label, observed, propensity, fnr, fpr):
    return flip(ips(label, observed, propensity, fnr, fpr), True)


def rates_of_the_first_row(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, t(label, fnr[0], fpr[0]))


# weights (control: ips)


def weight_on_the_target_only(label, observed, propensity, fnr, fpr):
    return Columns(observed, observed * t(label, fnr, fpr) / propensity, 0 * observed)


def weight_on_the_weight_only(label, observed, propensity, fnr, fpr):
    return Columns(observed / propensity, observed * t(label, fnr, fpr), 0 * observed)


def target_divided_by_the_weight_again(label, observed, propensity, fnr, fpr):
    return Columns(observed / propensity, observed * t(label, fnr, fpr) / propensity**2, 0 * observed)


def weights_of_silence_added(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity + (1 - observed), t(label, fnr, fpr))


def propensity_with_a_constant_added(label, observed, propensity, fnr, fpr):
    return weighted(observed / (propensity + Fraction(1, 100)), t(label, fnr, fpr))


def capped_weights(label, observed, propensity, fnr, fpr):
    return clipped_ips(label, observed, propensity, fnr, fpr, cap=5)


def shrunk_weights(label, observed, propensity, fnr, fpr):
    return shrunk_ips(label, observed, propensity, fnr, fpr, shrinkage=100)


def silence_as_a_tie(label, observed, fnr, fpr):
    return one(np.where(observed == 1, t(label, fnr, fpr), HALF))


def answered_read_as_liked(observed, propensity, fnr, fpr):
    return weighted(observed / propensity, t(observed, fnr, fpr))


def mean_propensity_for_all(label, observed, propensity, fnr, fpr):
    return weighted(observed / (sum(propensity) / len(propensity)), t(label, fnr, fpr))


def propensity_of_the_next_row(label, observed, propensity, fnr, fpr):
    return weighted(observed / np.roll(propensity, 1), t(label, fnr, fpr))


def label_of_the_next_row(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, t(np.roll(label, 1), fnr, fpr))


def last_row_left_out(label, observed, propensity, fnr, fpr):
    columns = ips(label, observed, propensity, fnr, fpr)
    return Columns(*(column * np.array([1, 0]) for column in (columns.a, columns.b, columns.m)))


def divided_by_one_row_less(label, observed, propensity, fnr, fpr):
    columns = ips(label, observed, propensity, fnr, fpr)
    return weighted(columns.a * len(label) / (len(label) - 1), t(label, fnr, fpr))


def normalised_target_only(label, observed, propensity, fnr, fpr):
    columns = ips(label, observed, propensity, fnr, fpr)
    return Columns(columns.a, columns.b * len(label) / max(sum(columns.a), Fraction(1)), columns.m)


# selection by label (control: classwise_ips, in test_unbiased.py)


def average_propensity(label, observed, propensity, fnr, fpr):
    return ips(label, observed, propensity, fnr, fpr)


def propensity_of_the_liked_for_all(label, observed, p1, fnr, fpr):
    return weighted(observed / p1, t(label, fnr, fpr))


def classes_averaged(label, observed, p1, p0, fnr, fpr):
    return weighted(observed * 2 / (p1 + p0), t(label, fnr, fpr))


def classwise_on_raw_labels(label, observed, p1, p0):
    return Columns(observed * (label / p1 + (1 - label) / p0), observed * label / p1, 0 * observed)


def classwise_with_swapped_rates(label, observed, p1, p0, fnr, fpr):
    target = t(label, fpr, fnr)
    return Columns(observed * (target / p1 + (1 - target) / p0), observed * target / p1, 0 * observed)


def classwise_weight_cut_at_zero(label, observed, p1, p0, fnr, fpr):
    target = t(label, fnr, fpr)
    a = observed * (target / p1 + (1 - target) / p0)
    return Columns(np.maximum(a, 0), observed * target / p1, 0 * observed)


def classwise_target_by_the_other_class(label, observed, p1, p0, fnr, fpr):
    target = t(label, fnr, fpr)
    return Columns(observed * (target / p1 + (1 - target) / p0), observed * target / p0, 0 * observed)


def robust_under_selection_by_label(label, observed, propensity, imputation, fnr, fpr):
    return doubly_robust(label, observed, propensity, imputation, fnr, fpr)


# doubly robust (control: doubly_robust)


def dr_with_squared_weight(label, observed, propensity, imputation, fnr, fpr):
    return one(imputation + observed / propensity**2 * (t(label, fnr, fpr) - imputation))


def dr_on_observed_rows_only(label, observed, propensity, imputation, fnr, fpr):
    return weighted(observed, imputation + (t(label, fnr, fpr) - imputation) / propensity)


def dr_with_half_the_correction(label, observed, propensity, imputation, fnr, fpr):
    return one(imputation + observed / propensity * (t(label, fnr, fpr) - imputation) / 2)


def dr_with_swapped_rates(label, observed, propensity, imputation, fnr, fpr):
    return doubly_robust(label, observed, propensity, imputation, fpr, fnr)


def dr_with_the_residual_cut(label, observed, propensity, imputation, fnr, fpr):
    return one(imputation + observed / propensity * np.clip(t(label, fnr, fpr) - imputation, -1, 1))


def dr_with_the_target_cut(label, observed, propensity, imputation, fnr, fpr):
    return one(np.clip(imputation + observed / propensity * (t(label, fnr, fpr) - imputation), 0, 1))


def dr_of_likes_only(label, observed, propensity, imputation, fnr, fpr):
    return one(imputation + observed * label / propensity * (t(label, fnr, fpr) - imputation))


def dr_without_an_average_correction(label, observed, propensity, imputation, fnr, fpr):
    """The correction divided by the sum of its weights, as if it were a mean."""
    weight = observed / propensity
    total = max(sum(weight), Fraction(1))
    return one(imputation + weight * len(label) / total * (t(label, fnr, fpr) - imputation))


def error_imputation(label, observed, imputation, fnr, fpr):
    return doubly_robust(label, observed, 1, imputation, fnr, fpr)


def dr_whose_imputation_saw_the_label(label, observed, propensity, imputation, fnr, fpr):
    seen = np.where(observed == 1, label, imputation)
    return doubly_robust(label, observed, propensity, seen, fnr, fpr)


def dr_with_the_complement_imputed(label, observed, propensity, imputation, fnr, fpr):
    return doubly_robust(label, observed, propensity, 1 - imputation, fnr, fpr)


def dr_with_a_clean_imputation_corrected(label, observed, propensity, imputation, fnr, fpr):
    corrected = t(imputation, fnr, fpr)
    return one(corrected + observed / propensity * (t(label, fnr, fpr) - corrected))


def dr_with_the_imputation_rounded(label, observed, propensity, imputation, fnr, fpr):
    return doubly_robust(label, observed, propensity, imputation > HALF, fnr, fpr)


# imputation alone (control: imputation)


def imputation_rounded(imputation):
    return one((imputation > HALF) * Fraction(1))


def imputation_of_recorded_labels(imputation, fnr, fpr):
    return one(fpr + (1 - fnr - fpr) * imputation)


def imputation_of_silent_rows_only(observed, imputation):
    return weighted(1 - observed, imputation)


CONTROLS = [
    (ips, {"rows": 1}),
    (ips, TWO),
    (doubly_robust, {"rows": 1}),
    (doubly_robust, {"rows": 1, **RIGHT_Q}),
    (imputation, {"rows": 1, **RIGHT_Q}),
]

MUTANTS = [
    *((mutant, {}) for mutant in (
        rate_of_one_class_for_both, rates_averaged, d_with_a_wrong_sign, d_as_a_product, no_shift,
        shift_of_the_other_class, noise_added_again, corrected_twice, only_likes_corrected,
        only_dislikes_corrected, corrected_target_above_one_cut, weight_of_smoothing, flipped_by_the_heads,
        weight_on_the_target_only, weight_on_the_weight_only, target_divided_by_the_weight_again,
        weights_of_silence_added, propensity_with_a_constant_added, capped_weights, shrunk_weights,
        silence_as_a_tie, answered_read_as_liked,
        dr_with_squared_weight, dr_on_observed_rows_only, dr_with_half_the_correction, dr_with_swapped_rates,
        dr_with_the_residual_cut, dr_with_the_target_cut, dr_of_likes_only, error_imputation,
        dr_whose_imputation_saw_the_label,
    )),
    *((mutant, TWO) for mutant in (
        rates_of_the_first_row, mean_propensity_for_all, propensity_of_the_next_row, label_of_the_next_row,
        last_row_left_out, divided_by_one_row_less, normalised_target_only, dr_without_an_average_correction,
    )),
    *((mutant, LABEL) for mutant in (
        average_propensity, propensity_of_the_liked_for_all, classes_averaged, classwise_on_raw_labels,
        classwise_with_swapped_rates, classwise_weight_cut_at_zero, classwise_target_by_the_other_class,
        robust_under_selection_by_label,
    )),
    *((mutant, RIGHT_Q) for mutant in (
        dr_with_the_complement_imputed, dr_with_a_clean_imputation_corrected, dr_with_the_imputation_rounded,
        imputation_rounded, imputation_of_recorded_labels, imputation_of_silent_rows_only,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("control", "options"), CONTROLS)
def test_control_survives(control, options):
    assert_unbiased(control, **options, examples=50)


@pytest.mark.parametrize(("mutant", "options"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
def test_mutant_is_killed(mutant, options):
    with pytest.raises(AssertionError, match=f"^{mutant.__name__} is biased under selection by "):
        assert_unbiased(mutant, **{"rows": 1, **options})


def test_mutants_are_many_and_different():
    names = [mutant.__name__ for mutant, _ in MUTANTS]
    assert len(set(names)) == len(names) >= 50
