"""Wrong estimators, each killed by the exact tests of unbiasedness, and controls that survive."""

from fractions import Fraction

import numpy as np
import pytest

from unskew.estimators import Columns, naive, noise_corrected, snips
from unskew.testing import assert_unbiased

RATES_AND_IMPUTATION = ("fnr", "fpr", "imputation")


def t(label, fnr, fpr):
    return (label - fpr) / (1 - fnr - fpr)


def weighted(weight, target):
    return Columns(weight, weight * target, 0)


def control_ips(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, t(label, fnr, fpr))


def control_dr(label, observed, propensity, imputation, fnr, fpr):
    return weighted(1 + 0 * observed, imputation + observed / propensity * (t(label, fnr, fpr) - imputation))


def control_classwise(label, observed, p1, p0, fnr, fpr):
    target = t(label, fnr, fpr)
    return Columns(observed * (target / p1 + (1 - target) / p0), observed * target / p1, 0)


def swapped_rates(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, t(label, fpr, fnr))


def no_division_by_d(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, label - fpr)


def one_sided_d(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, (label - fpr) / (1 - fpr))


def clamped_target(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, np.clip(t(label, fnr, fpr), 0, 1))


def squared_propensity(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity**2, t(label, fnr, fpr))


def propensity_of_silence(label, observed, propensity, fnr, fpr):
    return weighted(observed / (Fraction(21, 20) - propensity), t(label, fnr, fpr))


def no_weight(label, observed, fnr, fpr):
    return weighted(observed, t(label, fnr, fpr))


def silent_clip(label, observed, propensity, fnr, fpr):
    return weighted(observed / np.maximum(propensity, Fraction(1, 10)), t(label, fnr, fpr))


def divided_by_the_observed_count(label, observed, fnr, fpr):
    return weighted(observed * len(observed) / max(sum(observed), Fraction(1)), t(label, fnr, fpr))


def raw_labels(label, observed, propensity):
    return weighted(observed / propensity, label)


def losses_exchanged(label, observed, propensity, fnr, fpr):
    return weighted(observed / propensity, 1 - t(label, fnr, fpr))


def label_as_mask(label, observed, propensity, fnr, fpr):
    return weighted(observed * label / propensity, t(label, fnr, fpr))


def only_positives(label, observed, propensity):
    return weighted(observed * label / propensity, 1)


def negative_part_dropped(label, observed, propensity, fnr, fpr):
    columns = control_ips(label, observed, propensity, fnr, fpr)
    return Columns(columns.a, np.maximum(columns.b, 0), 0)


def unseen_read_as_zero(label, observed, fnr, fpr):
    return weighted(1 + 0 * observed, t(label, fnr, fpr))


def dr_without_the_minus(label, observed, propensity, imputation, fnr, fpr):
    return weighted(1 + 0 * observed, imputation + observed / propensity * t(label, fnr, fpr))


def dr_with_masked_imputation(label, observed, propensity, imputation, fnr, fpr):
    target = t(label, fnr, fpr)
    return weighted(1 + 0 * observed, observed * imputation + observed / propensity * (target - imputation))


def dr_on_raw_labels(label, observed, propensity, imputation):
    return weighted(1 + 0 * observed, imputation + observed / propensity * (label - imputation))


def dr_with_the_wrong_sign(label, observed, propensity, imputation, fnr, fpr):
    return weighted(1 + 0 * observed, imputation - observed / propensity * (t(label, fnr, fpr) - imputation))


def dr_without_the_propensity(label, observed, imputation, fnr, fpr):
    return weighted(1 + 0 * observed, imputation + observed * (t(label, fnr, fpr) - imputation))


def dr_with_a_noisy_imputation(label, observed, propensity, imputation, fnr, fpr):
    """As in the public code of CausalRM: the imputation is P(recorded = 1)."""
    return control_dr(label, observed, propensity, fpr + (1 - fnr - fpr) * imputation, fnr, fpr)


def classes_exchanged(label, observed, p1, p0, fnr, fpr):
    return control_classwise(label, observed, p0, p1, fnr, fpr)


def one_class_weighted(label, observed, p1, p0, fnr, fpr):
    target = t(label, fnr, fpr)
    return Columns(observed * (target / p1 + (1 - target)), observed * target / p1, 0)


def classes_of_recorded_labels(label, observed, p1, p0, fnr, fpr):
    return weighted(observed * (label / p1 + (1 - label) / p0), t(label, fnr, fpr))


CONTROLS = [
    (control_ips, {}),
    (control_dr, {}),
    (control_dr, {"right": RATES_AND_IMPUTATION}),
    (control_classwise, {"selection": "label"}),
]

MUTANTS = [
    (swapped_rates, {}),
    (no_division_by_d, {}),
    (one_sided_d, {}),
    (clamped_target, {}),
    (squared_propensity, {}),
    (propensity_of_silence, {}),
    (no_weight, {}),
    (silent_clip, {}),
    (divided_by_the_observed_count, {}),
    (raw_labels, {}),
    (losses_exchanged, {}),
    (label_as_mask, {}),
    (only_positives, {}),
    (negative_part_dropped, {}),
    (unseen_read_as_zero, {}),
    (dr_without_the_minus, {}),
    (dr_with_masked_imputation, {}),
    (dr_on_raw_labels, {}),
    (dr_with_the_wrong_sign, {}),
    (dr_without_the_propensity, {}),
    (dr_with_a_noisy_imputation, {"right": RATES_AND_IMPUTATION}),
    (classes_exchanged, {"selection": "label"}),
    (one_class_weighted, {"selection": "label"}),
    (classes_of_recorded_labels, {"selection": "label"}),
    (naive, {}),
    (snips, {}),
    (noise_corrected, {}),
]


@pytest.mark.parametrize(("control", "options"), CONTROLS)
def test_control_survives(control, options):
    assert_unbiased(control, **options)


@pytest.mark.parametrize(("mutant", "options"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
def test_mutant_is_killed(mutant, options):
    with pytest.raises(AssertionError, match=f"^{mutant.__name__} is biased under selection by "):
        assert_unbiased(mutant, **options)


def test_noisy_imputation_is_harmless_while_the_propensity_is_right():
    assert_unbiased(dr_with_a_noisy_imputation)
