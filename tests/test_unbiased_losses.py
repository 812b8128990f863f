"""The shipped losses, summed over all that can be recorded: value and gradient of the clean labels."""

import numpy as np
import pytest
from hypothesis import given, settings

torch = pytest.importorskip("torch", reason="torch is not installed")

from unskew import estimators, losses  # noqa: E402
from unskew.losses.reference import LOSSES, target  # noqa: E402
from unskew.testing import assert_unbiased, problems  # noqa: E402

RIGHT = {
    "ips": ("propensity", "fnr", "fpr"),
    "doubly robust by its propensity": ("propensity", "fnr", "fpr"),
    "doubly robust by its imputation": ("imputation", "fnr", "fpr"),
}


def columns(label, observed, propensity, imputation, fnr, fpr, robust):
    """Columns of the estimator, in the precision of the label."""
    told = [each.numpy() for each in (label, observed, propensity)]
    rates = {"fnr": fnr.numpy(), "fpr": fpr.numpy()}
    made = estimators.doubly_robust(*told, imputation.numpy(), **rates) if robust else None
    made = made or estimators.ips(*told, **rates)
    return [torch.as_tensor(column).to(label.dtype).expand(label.shape) for column in (made.a, made.b)]


def slots(scores):
    """Slots A and B whose difference is the score."""
    return scores / 2, -scores / 2


def reference_raw(name, robust):
    def loss(scores, label, observed, propensity, imputation, fnr, fpr):
        imputed = imputation if robust else None
        a, b, *_ = target(label, observed.bool(), propensity, fnr, fpr, imputed)
        return LOSSES[name][0](scores, a, b)

    return loss


def reference_folded(name, robust):
    def loss(scores, label, observed, propensity, imputation, fnr, fpr):
        a, b = columns(label, observed, propensity, imputation, fnr, fpr, robust)
        return LOSSES[name][0](scores, a, b)

    return loss


def rust_raw(name, robust):
    def loss(scores, label, observed, propensity, imputation, fnr, fpr):
        imputed = imputation if robust else None
        told = (label, observed, propensity, fnr, fpr, imputed)
        return losses.raw(*slots(scores), *told, loss=name, normalizer=len(scores))[0]

    return loss


def rust_folded(name, robust):
    def loss(scores, label, observed, propensity, imputation, fnr, fpr):
        a, b = columns(label, observed, propensity, imputation, fnr, fpr, robust)
        return losses.folded(scores, None, a, b, loss=name, normalizer=len(scores))[0]

    return loss


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["logistic", "brier"])
@pytest.mark.parametrize("estimator", RIGHT)
@pytest.mark.parametrize("shipped", [reference_raw, reference_folded, rust_raw, rust_folded])
def test_shipped_loss_is_unbiased(shipped, estimator, name, dtype):
    loss = shipped(name, estimator != "ips")
    assert_unbiased(loss, right=RIGHT[estimator], clean=name, dtype=dtype, examples=10)


def test_batch_of_three_is_unbiased_too():
    assert_unbiased(rust_raw("brier", True), clean="brier", rows=3, examples=5)


@settings(max_examples=20)
@given(problems(rows=3, selection="label"))
def test_shipped_mixture_is_level_at_the_truth(problem):
    """Its expected slope is zero where sigmoid(z) = P(liked), whatever decides who gives feedback."""
    liked, *rates = (
        np.clip(getattr(problem, name).astype(float), 0.05, 0.95)
        for name in ("liked", "fnr", "fpr", "p1", "p0")
    )
    fnr, fpr, p1, p0 = rates
    z = torch.tensor(np.log(liked / (1 - liked)))
    expected = torch.zeros(3, dtype=torch.float64)
    records = [(0, 0, 1 - p1, 1 - p0), (0, 1, p1 * fnr, p0 * (1 - fpr)), (1, 1, p1 * (1 - fnr), p0 * fpr)]
    for label, observed, yes, no in records:
        made = estimators.mixture(np.full(3, label), np.full(3, observed), *rates)
        scores = z.clone().requires_grad_()
        value, _ = losses.folded(scores, None, made.w, made.d, loss="mixture")
        (slope,) = torch.autograd.grad(value, scores)
        expected += torch.tensor(liked * yes + (1 - liked) * no) * slope
    assert expected.abs().max() < 1e-12


# planted mutants


def rates_swapped(scores, label, observed, propensity, fnr, fpr):
    return losses.raw(scores, None, label, observed, propensity, fpr, fnr)[0] / len(scores)


def propensity_not_inverted(scores, label, observed, propensity, fnr, fpr):
    weight = observed * propensity
    return losses.folded(scores, None, weight, weight * (label - fpr) / (1 - fnr - fpr))[0] / len(scores)


def robust_without_the_minus(scores, label, observed, propensity, imputation, fnr, fpr):
    robust = imputation + observed / propensity * (label - fpr) / (1 - fnr - fpr)
    return losses.folded(scores, None, 1.0, robust)[0] / len(scores)


def propensities_clipped(scores, label, observed, propensity, fnr, fpr):
    return losses.raw(scores, None, label, observed, propensity, fnr, fpr, floor=0.3)[0] / len(scores)


def silence_read_as_observed(scores, label, propensity, fnr, fpr):
    return losses.raw(scores, None, label, True, propensity, fnr, fpr)[0] / len(scores)


def slope_of_the_other_loss(scores, label, observed, propensity, fnr, fpr):
    told = (label, observed, propensity, fnr, fpr)
    value, _ = losses.raw(scores.detach(), None, *told)
    slope, _ = losses.raw(scores, None, *told, loss="logistic")
    return (value + slope - slope.detach()) / len(scores)


MUTANTS = [
    rates_swapped,
    propensity_not_inverted,
    robust_without_the_minus,
    propensities_clipped,
    silence_read_as_observed,
    slope_of_the_other_loss,
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_killed(mutant, dtype):
    with pytest.raises(AssertionError, match=f"^{mutant.__name__} is biased under selection by features"):
        assert_unbiased(mutant, clean="brier", dtype=dtype)
