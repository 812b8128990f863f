"""Corrections of a risk below zero: biased upwards by exactly their formula, and exact in what they keep."""

from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from unskew import estimators, losses  # noqa: E402
from unskew.losses import absolute, class_risks, flooding, non_negative  # noqa: E402
from unskew.testing import assert_unbiased  # noqa: E402

# Every number is a small dyadic fraction, so that float64 is exact and == means equal.
FNR = FPR = 0.25
D = 1 - FNR - FPR
PARTS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])
LIKED = st.sampled_from([0.0, 0.25, 0.5, 1.0])
PROPENSITY = st.sampled_from([0.25, 0.5, 1.0])
ROW = st.tuples(LIKED, PROPENSITY, PARTS, PARTS)
FEW = settings(max_examples=40)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def batches(rows):
    """(probability, R1, R0, clean R1 and R0) of every batch that can be recorded, IPS of denoised labels."""
    liked, p, yes, no = (np.array(values) for values in zip(*rows, strict=True))
    one = liked * (1 - FNR) + (1 - liked) * FPR
    chance = np.stack([1 - p, p * (1 - one), p * one])

    def fixed(z, a, b):  # losses l(z, 1) and l(z, 0) of chosen values, linear in the columns
        return b * tensor(yes) + (a - b) * tensor(no)

    clean = (liked * yes).sum() / len(rows), ((1 - liked) * no).sum() / len(rows)
    for kinds in product(range(3), repeat=len(rows)):
        kinds = np.array(kinds)
        columns = estimators.ips(kinds == 2, kinds > 0, p, FNR, FPR)
        a, b = tensor(columns.a), tensor(columns.b)
        r1, r0 = class_risks(torch.zeros_like(a), a, b, loss=fixed, normalizer=len(rows))
        yield chance[kinds, np.arange(len(rows))].prod(), r1, r0, clean


def expectation(rows, function):
    return sum(probability * float(function(r1, r0)) for probability, r1, r0, _ in batches(rows))


def clean_risks(rows):
    return next(batches(rows))[3]


ROWS = st.lists(ROW, min_size=1, max_size=3).filter(lambda rows: len(rows) != 3)  # thirds are not dyadic


@FEW
@given(ROWS)
def test_class_risks_are_unbiased(rows):
    clean = clean_risks(rows)
    assert expectation(rows, lambda r1, r0: r1) == clean[0]
    assert expectation(rows, lambda r1, r0: r0) == clean[1]


@FEW
@given(ROWS)
def test_corrections_are_biased_upwards_by_what_they_bend(rows):
    clean = sum(clean_risks(rows))
    below = expectation(rows, lambda r1, r0: torch.relu(-r1) + torch.relu(-r0))
    assert below >= 0
    assert expectation(rows, non_negative) == clean + below
    assert expectation(rows, absolute) == clean + 2 * below


@FEW
@given(ROWS, st.sampled_from([0.0, 0.25, 1.0]))
def test_flooding_is_biased_upwards_by_what_it_lifts(rows, level):
    clean = sum(clean_risks(rows))
    below = expectation(rows, lambda r1, r0: torch.relu(level - (r1 + r0)))
    flooded = expectation(rows, lambda r1, r0: flooding(r1 + r0, level))
    assert flooded == clean + 2 * below
    assert flooded >= max(clean, level)


def test_jensen_is_strict_when_a_batch_can_fall_below_zero():
    rows = [(0.5, 0.5, 1.0, 1.0)]  # one row liked by half: a wrong record alone makes a part negative
    assert expectation(rows, lambda r1, r0: r1 + r0) == 1
    assert expectation(rows, non_negative) == 1.5
    assert expectation(rows, absolute) == 2
    assert expectation(rows, lambda r1, r0: flooding(r1 + r0, 0.5)) == 1.5


def test_bias_of_the_clamp_shrinks_with_the_batch():
    row = (0.5, 1.0, 1.0, 1.0)
    excess = [expectation([row] * n, non_negative) - 1 for n in (1, 2, 4)]
    assert excess[0] > excess[1] > excess[2] > 0


def test_nothing_is_bent_while_targets_stay_inside():
    z, a, b = tensor([0.3, -2.0]), tensor([1.0, 2.0]), tensor([1.0, 0.5])
    parts = class_risks(z, a, b)
    plain = losses.brier(z, a, b).mean()
    assert float(non_negative(*parts)) == pytest.approx(float(plain), rel=1e-15)
    assert float(absolute(*parts)) == pytest.approx(float(plain), rel=1e-15)
    assert float(flooding(plain, 0.0)) == float(plain)


@pytest.mark.parametrize("loss", [losses.brier, losses.logistic])
def test_parts_sum_to_the_shipped_loss(loss):
    rng = np.random.default_rng(0)
    z, a, b = (tensor(rng.normal(size=9)) for _ in range(3))
    value, _ = losses.folded(z, None, a, b, loss=loss.__name__, normalizer=9)
    r1, r0 = class_risks(z, a, b, loss=loss)
    assert float(r1 + r0) == pytest.approx(float(value), rel=1e-12)
    yes, no = (loss(z, tensor([1.0]), tensor([label])) for label in (1.0, 0.0))
    assert float(r1) == pytest.approx(float((b * yes).mean()))
    assert float(r0) == pytest.approx(float(((a - b) * no).mean()))


def test_non_negative_pu_risk_is_that_of_the_paper():
    happened, prior = np.array([1, 0, 0, 1, 0, 0]), 0.5
    z = tensor([2.0, -1.0, -1.5, 3.0, -0.5, -2.0])
    yes, no = losses.brier(z, tensor([1.0]), tensor([1.0])), losses.brier(z, tensor([1.0]), tensor([0.0]))
    seen = tensor(happened) == 1
    negative = no.mean() - prior * no[seen].mean()
    wanted = prior * yes[seen].mean() + torch.clamp(negative, min=0)
    assert negative < 0
    columns = estimators.nnpu(happened, prior)
    found = non_negative(*class_risks(z, tensor(columns.a), tensor(columns.b)))
    assert float(found) == pytest.approx(float(wanted), rel=1e-12)


def slope(function, at):
    z = tensor([at]).requires_grad_()
    function(z).backward()
    return float(z.grad)


def test_slopes_of_a_part_below_zero():
    """One row with target -1/2: R1 = -softplus(-z) / 2 is below zero and R0 = 3/2 softplus(z) above."""
    a, b = tensor([1.0]), tensor([-0.5])
    at = 0.7
    s = 1 / (1 + np.exp(-at))

    def corrected(how):
        return lambda z: how(*class_risks(z, a, b, loss=losses.logistic))

    one, zero = 0.5 * (1 - s), 1.5 * s  # slopes of R1 and R0
    assert slope(corrected(non_negative), at) == pytest.approx(zero)
    assert slope(corrected(absolute), at) == pytest.approx(zero - one)
    assert slope(corrected(lambda r1, r0: r1 + r0), at) == pytest.approx(zero + one)


def test_a_flooded_risk_climbs_below_its_level():
    def risk(z):
        return losses.logistic(z, tensor([1.0]), tensor([1.0])).mean()

    plain = slope(risk, 3.0)
    assert slope(lambda z: flooding(risk(z), 0.5), 3.0) == -plain
    assert slope(lambda z: flooding(risk(z), 0.01), 3.0) == plain


def test_memorising_a_corrected_risk_stops_at_zero():
    """Both records learned by heart: the plain risk falls for ever, the corrected ones never below 0."""
    columns = estimators.noise_corrected([1.0, 0.0], [1, 1], 0.25, 0.25)
    a, b = tensor(columns.a), tensor(columns.b)
    z = torch.tensor([40.0, -40.0], dtype=torch.float64)
    parts = class_risks(z, a, b, loss=losses.logistic)
    assert float(sum(parts)) < -10
    assert float(non_negative(*parts)) == 0
    assert float(absolute(*parts)) == -float(sum(parts))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: class_risks(tensor([0.0, 0.0]), tensor([1.0]), tensor([1.0, 1.0])),
            "z has shape [2], a [1], b [2]; the same is needed",
        ),
        (
            lambda: class_risks(tensor([0.0]), tensor([1.0]), tensor([1.0]), normalizer=0),
            "normalizer is 0; it must be > 0",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        wrong()
    assert str(caught.value) == message


def test_no_rows_cost_nothing():
    empty = tensor([])
    assert [float(part) for part in class_risks(empty, empty, empty)] == [0, 0]


# the same corrections as losses: killed, and their control not


def columns_of(label, observed, propensity, fnr, fpr):
    made = estimators.ips(*(each.numpy() for each in (label, observed, propensity, fnr, fpr)))
    return tensor(made.a), tensor(made.b)


def summed_parts(scores, label, observed, propensity, fnr, fpr):
    return sum(class_risks(scores, *columns_of(label, observed, propensity, fnr, fpr)))


def negative_parts_clamped(scores, label, observed, propensity, fnr, fpr):
    return non_negative(*class_risks(scores, *columns_of(label, observed, propensity, fnr, fpr)))


def negative_parts_turned(scores, label, observed, propensity, fnr, fpr):
    return absolute(*class_risks(scores, *columns_of(label, observed, propensity, fnr, fpr)))


def flooded(scores, label, observed, propensity, fnr, fpr):
    return flooding(summed_parts(scores, label, observed, propensity, fnr, fpr), 0.1)


def rows_clamped(scores, label, observed, propensity, fnr, fpr):
    """The weighted loss of each row cut at zero, as in public code."""
    return losses.brier(scores, *columns_of(label, observed, propensity, fnr, fpr)).clamp(min=0)


def squared_distance_to_the_target(scores, label, observed, propensity, fnr, fpr):
    """w (s - t)^2: the right slope, another value."""
    a, b = columns_of(label, observed, propensity, fnr, fpr)
    return a * (torch.sigmoid(scores) - torch.where(a > 0, b / a, 0)) ** 2


def parts_exchanged(scores, label, observed, propensity, fnr, fpr):
    a, b = columns_of(label, observed, propensity, fnr, fpr)
    return sum(class_risks(scores, a, a - b))


def slope_at_the_opposite_score(scores, label, observed, propensity, fnr, fpr):
    return losses.brier(-scores, *columns_of(label, observed, propensity, fnr, fpr))


LOSS_MUTANTS = [
    negative_parts_clamped,
    negative_parts_turned,
    flooded,
    rows_clamped,
    squared_distance_to_the_target,
    parts_exchanged,
    slope_at_the_opposite_score,
]


def test_sum_of_the_parts_is_unbiased():
    assert_unbiased(summed_parts, clean="brier", examples=20)


@pytest.mark.parametrize("mutant", LOSS_MUTANTS)
def test_loss_mutant_is_killed(mutant):
    with pytest.raises(AssertionError, match=f"^{mutant.__name__} is biased under selection by features"):
        assert_unbiased(mutant, clean="brier", rows=1)


MARGIN = 0.5


def moved(scores, target):
    """The clean logistic loss of a pair at r(A) - r(B) - margin."""
    return losses.logistic(scores - MARGIN, torch.ones_like(target), target)


def margin_subtracted(scores, label, observed, propensity, fnr, fpr):
    return losses.logistic(scores - MARGIN, *columns_of(label, observed, propensity, fnr, fpr))


def margin_added(scores, label, observed, propensity, fnr, fpr):
    return losses.logistic(scores + MARGIN, *columns_of(label, observed, propensity, fnr, fpr))


def margin_outside_the_sigmoid(scores, label, observed, propensity, fnr, fpr):
    return losses.logistic(scores, *columns_of(label, observed, propensity, fnr, fpr)) + MARGIN


def margin_on_the_label(scores, label, observed, propensity, fnr, fpr):
    """t softplus(m - z) + (1 - t) softplus(m + z): a margin on both sides."""
    a, b = columns_of(label, observed, propensity, fnr, fpr)
    softplus = torch.nn.functional.softplus
    return b * softplus(MARGIN - scores) + (a - b) * softplus(MARGIN + scores)


def test_margin_is_subtracted_from_the_difference_of_scores():
    assert_unbiased(margin_subtracted, clean=moved, examples=20)


@pytest.mark.parametrize("mutant", [margin_added, margin_outside_the_sigmoid, margin_on_the_label])
def test_margin_mutant_is_killed(mutant):
    with pytest.raises(AssertionError, match=f"^{mutant.__name__} is biased under selection by features"):
        assert_unbiased(mutant, clean=moved, rows=1)
