"""What scikit-learn asks of an estimator, asked of every object that fits and predicts; weights as rows."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from unskew import evaluate, losses, propensity
from unskew.features.axes import axes
from unskew.reward import HeadClassifier

PACKAGE = Path(__file__).resolve().parents[1] / "python" / "unskew"

CHECKED = {"HeadClassifier"}
"""Classes with `fit` and `predict` or `predict_proba`; `propensity.Model` says what such a class is."""

ORDER = "a float32 product of matrices may round by where a row lies in memory"


def test_every_class_that_fits_and_predicts_is_checked():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not any("Protocol" in ast.unparse(b) for b in node.bases):
                methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
                if "fit" in methods and methods & {"predict", "predict_proba"}:
                    found.add(node.name)
    assert found == CHECKED


KNOWN_TO_FAIL = dict.fromkeys(
    ("check_methods_sample_order_invariance", "check_methods_subset_invariance"), ORDER
)
"""Checks that do not always pass, and why."""


@parametrize_with_checks(
    [HeadClassifier(), HeadClassifier("mlp", lr=0.01, hidden=(8,), epochs=60)],
    expected_failed_checks=lambda _: KNOWN_TO_FAIL,
)
def test_estimator_keeps_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


# --- weight is repetition ----------------------------------------------------------------------------------


def drawn(seed: int, rows: int, columns: int = 3):
    """Features, labels, and how often each row is there; both classes and two rows at least."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, columns))
    y = (X[:, 0] + rng.standard_normal(rows) > 0).astype(float)
    y[:2] = 0, 1
    often = rng.integers(0, 4, rows)
    often[:2] = 1
    return X, y, often, np.repeat(np.arange(rows), often)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("options", [{}, {"head": "mlp", "hidden": (4,), "epochs": 5, "batch": 16}])
def test_classifier_takes_a_weight_for_repeated_rows_in_any_order(seed, soft, grouped, options):
    X, y, often, rows = drawn(seed, 60)
    y = 0.1 + 0.7 * y if soft else y
    group = np.arange(60) // 3 + 2**60 if grouped else None
    rows = np.random.default_rng(seed).permutation(rows)
    weighted = HeadClassifier(**options).fit(X, y, often, group)
    repeated = HeadClassifier(**options).fit(X[rows], y[rows], groups=None if group is None else group[rows])
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-12, atol=0)
    assert weighted.fitted_.best_epoch == repeated.fitted_.best_epoch


def test_rows_that_no_column_tells_apart_are_told_apart_by_label_and_group():
    X, y, _, _ = drawn(0, 60)
    twice = np.concatenate([X, X])
    found = HeadClassifier().fit(twice, np.concatenate([y, 1 - y]), groups=np.arange(120) % 7)
    assert found.fitted_.counts["entries"] == 120
    assert_allclose(found.predict_proba(X), 0.5, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([losses.logistic, losses.brier, losses.mixture]))
def test_objective_and_slope_of_a_full_batch_take_a_weight_for_repeated_rows(seed, loss):
    X, y, often, rows = (torch.from_numpy(part) for part in drawn(seed, 20))

    def objective(keep, weight):
        u = torch.linspace(-1, 1, X.shape[1], dtype=torch.float64).requires_grad_()
        second = weight * y[keep] if loss is not losses.mixture else 3 * y[keep] - 1
        value = loss(X[keep] @ u, weight, second).sum() / weight.sum()
        (slope,) = torch.autograd.grad(value, u)
        return np.append(slope.numpy(), value.item())

    whole = objective(torch.arange(len(X)), often.double())
    assert_allclose(
        objective(rows, torch.ones(len(rows), dtype=torch.float64)), whole, rtol=1e-12, atol=1e-12
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_axes_of_features_take_a_weight_for_repeated_rows(seed):
    X, _, often, rows = drawn(seed, 20)
    one, two = axes(X, often), axes(X[rows])
    assert_allclose(one.centre, two.centre, atol=1e-6)
    assert_allclose(one.scale, two.scale, rtol=1e-6)
    assert_allclose(one.variance, two.variance, atol=1e-6)
    assert_allclose(axes(X, np.full(20, 0.3)).variance, axes(X).variance, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_measures_in_closed_form_take_a_weight_for_repeated_rows(seed):
    X, y, often, rows = drawn(seed, 30)
    p = 1 / (1 + np.exp(-X[:, 0]))
    one = evaluate.metrics(p, y, weight=often, bootstrap=2)
    two = evaluate.metrics(p[rows], y[rows], bootstrap=2)
    for name in ("accuracy", "auc", "brier", "r2", "mean_prediction", "mean_truth", "mean_error"):
        assert_allclose(one[name]["value"], two[name]["value"], rtol=1e-12, atol=1e-12)


# --- any classifier will do --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [LogisticRegression, HeadClassifier])
def test_propensities_come_from_any_classifier(model):
    X, _, _, _ = drawn(0, 600)
    p = 1 / (1 + np.exp(1 - X[:, 0]))
    observed = np.random.default_rng(1).random(600) < p
    found = propensity.fit(X, observed, np.arange(600) // 2, model=model)
    assert np.corrcoef(found.p, p)[0, 1] > 0.9
    assert abs(found.report.mean_o_over_p - 1) < 0.2
