"""The confident joint: exact where probabilities are perfect, marked unsafe, and biased as its page says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew import noise

TENTHS = st.integers(1, 4)


def population(fnr, fpr, ones, zeros):
    """(probability, recorded) of rows whose probabilities are those of their class; rates in tenths."""
    truth = np.repeat([1, 0], [10 * ones, 10 * zeros])
    flipped = np.concatenate([np.arange(10 * ones) % 10 < fnr, np.arange(10 * zeros) % 10 < fpr])
    return np.where(truth, 1 - fnr / 10, fpr / 10), np.where(flipped, 1 - truth, truth).astype(float)


@given(TENTHS, TENTHS, st.integers(1, 9), st.integers(1, 9))
def test_perfect_probabilities_give_the_rates_exactly(fnr, fpr, ones, zeros):
    probability, recorded = population(fnr, fpr, ones, zeros)
    found = noise.confident_joint(probability, recorded)
    assert found.fnr == pytest.approx(fnr / 10, abs=1e-12)
    assert found.fpr == pytest.approx(fpr / 10, abs=1e-12)
    turned = noise.confident_joint(1 - probability, 1 - recorded)
    assert (turned.fnr, turned.fpr) == pytest.approx((found.fpr, found.fnr), abs=1e-12)
    silent = np.append(recorded, np.nan), np.append(probability, np.nan)
    assert noise.confident_joint(silent[1], silent[0]).fnr == found.fnr


def test_rows_between_the_thresholds_are_left_out_and_the_joint_is_scaled_up_again():
    # t_1 = mean(.9 .9 .9 .6 .5 .2) = 2/3, t_0 = mean(.9 .9 .6 .5 .1) = .6; three rows are neither.
    probability = np.array([0.9, 0.9, 0.9, 0.6, 0.5, 0.2, 0.1, 0.1, 0.4, 0.5, 0.9])
    recorded = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0.0])
    found = noise.confident_joint(probability, recorded)
    joint = np.array([[6 * 3 / 4, 6 * 1 / 4], [5 * 1 / 4, 5 * 3 / 4]])  # recorded by class, (1, 0) each
    assert found.fnr == pytest.approx(joint[1, 0] / joint[:, 0].sum())
    assert found.fpr == pytest.approx(joint[0, 1] / joint[:, 1].sum())


def test_rows_over_both_thresholds_go_to_the_likelier_class():
    # Low thresholds: everything recorded 1 has .45 or .55, everything recorded 0 too.
    probability, recorded = np.array([0.45, 0.55, 0.45, 0.55, 0.3]), np.array([1, 1, 0, 0, 1.0])
    # t_1 = .433, t_0 = .5: .45 is over both and counts as 0, .55 over t_1 only, .3 over t_0 only.
    found = noise.confident_joint(probability, recorded)
    joint = np.array([[3 * 1 / 3, 3 * 2 / 3], [2 * 1 / 2, 2 * 1 / 2]])
    assert found.fnr == pytest.approx(joint[1, 0] / joint[:, 0].sum())
    assert found.fpr == pytest.approx(joint[0, 1] / joint[:, 1].sum())


def test_rates_are_unsafe_unless_the_record_is_declared_complete():
    columns = population(2, 1, 5, 5)
    assert noise.confident_joint(*columns).unsafe
    safe = noise.confident_joint(*columns, complete=True)
    assert not safe.unsafe
    assert safe.source == "confident joint"
    assert safe.interval["fnr"][0] < 0.2 < safe.interval["fnr"][1]


def test_graded_truth_and_selection_shift_it_the_way_its_page_says():
    rng = np.random.default_rng(0)
    liking = 1 / (1 + np.exp(-1.5 * rng.standard_normal(40_000)))
    truth = rng.random(40_000) < liking
    recorded = np.where(truth, rng.random(40_000) >= 0.2, rng.random(40_000) < 0.1).astype(float)
    probability = 0.1 + 0.7 * liking  # P(recorded 1 | x), the best model there is
    plain = noise.confident_joint(probability, recorded, complete=True)
    assert plain.fnr > 0.25
    assert plain.fpr > 0.15
    seen = rng.random(40_000) < np.where(truth, 0.5, 0.1)
    odds = 0.5 * liking + 0.1 * (1 - liking)
    selected = (0.8 * 0.5 * liking + 0.1 * 0.1 * (1 - liking)) / odds  # P(recorded 1 | x, seen)
    worse = noise.confident_joint(selected, np.where(seen, recorded, np.nan))
    assert worse.unsafe
    assert worse.fpr > plain.fpr + 0.1


def test_perfect_separation_is_not_taken_for_certain():
    found = noise.confident_joint([0.9] * 20 + [0.1] * 20, [1.0] * 20 + [0.0] * 20)
    assert 0 < found.fnr < 0.05
    assert 0.05 < found.interval["fnr"][1] < 0.3


@pytest.mark.parametrize(
    ("probability", "recorded", "message"),
    [
        (
            [0.5, 1.2],
            [1, 0],
            "probability of thumbs leaves [0, 1] or is NaN; one is needed for every recorded row",
        ),
        ([0.5, 0.5], [1, 1], "thumbs: 2 of 2 rows are recorded 1; both records are needed"),
        ([0.5], [1, 0], "probability has shape (1,); (2,) is needed, one entry a row"),
        ([0.5, 0.5], [1, 0.5], "recorded[1] is 0.5; it must be 0, 1 or NaN, where there is no label"),
        (
            [0.5, 0.5],
            [1, 0],
            "thumbs: confident rows, by record (1, 0) and class (1, 0), are [[1, 0], [1, 0]]; every record "
            "and every class needs some. The probabilities part the classes too little: use gold labels",
        ),
    ],
)
def test_errors_say_what_was_found(probability, recorded, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        noise.confident_joint(probability, recorded, kind="thumbs")
    assert str(error.value) == message
