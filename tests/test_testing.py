"""The checker itself: the snippet of its page runs, failures are numbers, wrong use is said."""

import inspect
import subprocess
import sys
import textwrap
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import find, given, settings

from unskew import testing
from unskew.estimators import Columns, doubly_robust, ips, naive
from unskew.testing import assert_unbiased, expected, logs, problems


def snippet():
    """The indented block of the module's docstring."""
    lines = (testing.__doc__ or "").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("    from torch"))
    last = max(i for i, line in enumerate(lines) if line.startswith("    assert_unbiased"))
    return textwrap.dedent("\n".join(lines[first : last + 1]))


def test_ten_lines_of_the_docstring_pass_and_fail_where_they_say():
    pytest.importorskip("torch", reason="torch is not installed")
    code = snippet()
    assert 8 <= len(code.splitlines()) <= 11
    with pytest.raises(AssertionError, match=r"^my_loss is biased under selection by label"):
        exec(compile(code, "docstring", "exec"), {})
    passing, _, _ = code.rpartition("\n")
    exec(compile(passing, "docstring", "exec"), {})


def weigh(scores, label, observed, propensity, fnr, fpr):
    import torch

    target = (label - fpr) / (1 - fnr - fpr)
    return observed / propensity * (torch.nn.functional.softplus(scores) - target * scores)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_loss_may_return_rows_or_their_mean(dtype):
    pytest.importorskip("torch", reason="torch is not installed")

    def mean(scores, label, observed, propensity, fnr, fpr):
        return weigh(scores, label, observed, propensity, fnr, fpr).mean()

    assert_unbiased(weigh, dtype=dtype, examples=30)
    assert_unbiased(mean, dtype=dtype, examples=30)


def test_loss_of_another_shape_is_compared_with_its_own_clean_loss():
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def brier(scores, label, observed, propensity, fnr, fpr):
        s, target = torch.sigmoid(scores), (label - fpr) / (1 - fnr - fpr)
        return observed / propensity * (s * s - 2 * target * s + target)

    def hinge(scores, label, observed, propensity, fnr, fpr):
        target = (label - fpr) / (1 - fnr - fpr)
        return observed / propensity * clean_hinge(scores, target)

    def clean_hinge(scores, target):
        return target * torch.relu(1 - scores) + (1 - target) * torch.relu(1 + scores)

    assert_unbiased(brier, clean="brier", examples=30)
    assert_unbiased(hinge, clean=clean_hinge, examples=30)
    with pytest.raises(AssertionError, match="brier is biased"):
        assert_unbiased(brier, clean="logistic", examples=30)


def test_loss_with_the_right_value_and_a_wrong_gradient_is_caught():
    pytest.importorskip("torch", reason="torch is not installed")

    def detached(scores, label, observed, propensity, fnr, fpr):
        rows = weigh(scores, label, observed, propensity, fnr, fpr)
        return rows.detach() + 0 * scores

    with pytest.raises(AssertionError) as caught:
        assert_unbiased(detached, examples=30)
    assert "expected gradient of row 0 is 0, the clean one 0.25" in str(caught.value)
    assert "expected loss" not in str(caught.value)


def test_failure_is_the_simplest_problem_as_numbers():
    with pytest.raises(AssertionError) as caught:
        assert_unbiased(naive)
    assert str(caught.value) == "\n".join(
        [
            "naive is biased under selection by features",
            "  expected b of row 1 is 1/20, the clean one 0",
            "problem, one column a row",
            "  liked                   0       0",
            "  p1                      1       1",
            "  p0                      1       1",
            "  fnr                     0       0",
            "  fpr                     0    1/20",
            "  scores                  0       0",
        ]
    )


def test_estimator_that_leaves_rational_arithmetic_is_held_to_rounding_error():
    def rounded(label, observed, propensity, fnr, fpr):
        return ips(
            label.astype(float), observed, propensity.astype(float), fnr.astype(float), fpr.astype(float)
        )

    def nearly(label, observed, propensity, fnr, fpr):
        exact = ips(label, observed, propensity, fnr, fpr)
        return Columns(exact.a, exact.b * (1 + 1e-9), exact.m)

    def not_a_number(label, observed):
        return Columns(np.full(2, np.nan), np.full(2, np.nan), 0)

    assert_unbiased(rounded)
    for mutant in (nearly, not_a_number):
        with pytest.raises(AssertionError, match=f"{mutant.__name__} is biased"):
            assert_unbiased(mutant)


def test_difference_that_only_fractions_see_is_caught():
    def nearly(label, observed, propensity, fnr, fpr):
        exact = ips(label, observed, propensity, fnr, fpr)
        return Columns(exact.a, exact.b + Fraction(1, 10**30), exact.m)

    with pytest.raises(AssertionError, match="nearly is biased"):
        assert_unbiased(nearly)


def test_margin_must_not_depend_on_the_record():
    def moved(label, observed, propensity, fnr, fpr):
        columns = ips(label, observed, propensity, fnr, fpr)
        return Columns(columns.a, columns.b, label)

    with pytest.raises(AssertionError, match="the margin m of moved depends on what was recorded"):
        assert_unbiased(moved)


def test_columns_of_another_shape_are_named():
    def total(label, observed):
        return Columns(observed[:1], label[:1], 0)

    with pytest.raises(AssertionError, match=r"column a has shape \(1,\); \(2,\) is needed"):
        assert_unbiased(total)


def test_unknown_argument_is_named_with_the_known_ones():
    def curious(label, observed, oracle):
        return naive(label, observed)

    known = "label, observed, propensity, p1, p0, fnr, fpr, imputation"
    with pytest.raises(TypeError) as caught:
        assert_unbiased(curious)
    assert str(caught.value) == f"curious asks for oracle; a check knows {known}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"right": ("propensities",)},
            "right names ['propensities']; the nuisances are "
            "['propensity', 'p1', 'p0', 'fnr', 'fpr', 'imputation']",
        ),
        ({"selection": "mnar"}, "selection is 'mnar'; it must be 'features' or 'label'"),
        (
            {"zero": ("fnr", "p0")},
            "zero names ['p0']; under selection by features it can name ['fnr', 'fpr']",
        ),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        assert_unbiased(ips, **options)
    assert str(caught.value) == message


@settings(max_examples=20)
@given(problems(selection="label", zero=("p0", "fpr")))
def test_truths_can_be_zero_and_are_told_so(problem):
    assert not any(problem.p0)
    assert not any(problem.fpr)
    assert any(problem.p1)
    assert np.array_equal(problem.given["p0"], problem.p0)
    assert np.array_equal(problem.given["propensity"], problem.liked * problem.p1)
    assert np.array_equal(problem.chances()[:, 2], problem.liked * problem.p1 * (1 - problem.fnr))


@given(problems(selection="label", right=("propensity", "p1", "imputation")))
def test_problem_tells_what_is_right_and_its_chances_sum_to_one(problem):
    outcomes = list(problem.outcomes())
    assert sum(probability for probability, _, _ in outcomes) == 1
    assert (problem.chances().sum(1) == 1).all()
    seen = sum(probability * observed for probability, _, observed in outcomes)
    assert (problem.given["propensity"] == seen).all()
    assert (problem.given["imputation"] == problem.liked).all()
    assert (problem.given["p1"] == problem.p1).all()


@given(problems())
def test_label_is_zero_where_nothing_was_recorded(problem):
    for _, label, observed in problem.outcomes():
        assert (label[observed == 0] == 0).all()


@given(problems())
def test_expected_weight_of_naive_is_the_propensity(problem):
    assert (expected(naive, problem).a == problem.p1).all()


@given(logs(rows=5))
def test_logs_are_arguments_of_every_estimator(log):
    assert {values.shape for values in log.values()} == {(5,)}
    assert (np.isnan(log["label"]) == ~log["observed"]).all()
    names = inspect.signature(doubly_robust).parameters
    assert doubly_robust(**{name: log[name] for name in names if name in log}).a.tolist() == [1] * 5


@pytest.mark.parametrize("recorded", [0, 1])
def test_logs_hold_both_labels(recorded):
    find(logs(rows=1), lambda log: log["label"][0] == recorded)


@pytest.mark.parametrize(
    ("missing", "use", "message"),
    [
        (
            "hypothesis",
            "assert_unbiased(ips)",
            "unskew.testing needs hypothesis: pip install 'unskew[testing]'",
        ),
        (
            "torch",
            "assert_unbiased(lambda scores: scores)",
            "checking a loss needs torch: pip install 'unskew[train]'",
        ),
    ],
)
def test_missing_package_is_named_with_its_pip_line(missing, use, message):
    code = f"""
import sys
sys.modules[{missing!r}] = None
from unskew.estimators import ips
from unskew.testing import assert_unbiased
try:
    {use}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == message
