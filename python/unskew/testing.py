"""Exact tests of unbiasedness, for our estimators and for a loss of your own.

A row of a log has three outcomes: nothing recorded, 0 recorded, 1 recorded. A problem of a few rows has a few
dozen, and the expectation of an estimate is a finite sum: no sampling, no seed, no tolerance for luck.
Hypothesis draws the problem (true probabilities, propensities, flip rates), and shrinks it when it fails.

    from torch.nn.functional import softplus
    from unskew.testing import assert_unbiased

    def my_loss(scores, label, observed, propensity, fnr, fpr):
        target = (label - fpr) / (1 - fnr - fpr)
        weight = observed / propensity
        return weight * (softplus(scores) - target * scores)

    assert_unbiased(my_loss)  # feedback depends on features: passes
    assert_unbiased(my_loss, selection="label")  # on the label: AssertionError, with a problem as numbers

A function with a parameter `scores` is a loss: torch differentiates it, and its expected value and gradient
must be the clean ones to rounding error. Without `scores` it is an estimator that returns `Columns`: it gets
exact fractions, and the expected columns must *equal* a = 1 and b = P(true label = 1). Since
L = b l1 + (a - b) l0, that is the clean loss and its gradient at every score.

Needs hypothesis: pip install 'unskew[testing]'.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unskew.estimators import Columns

Array = NDArray[Any]
Selection = Literal["features", "label"]

TRUTHS = ("propensity", "p1", "p0", "fnr", "fpr")
"""Nuisances that are told rightly unless a check says otherwise; an imputation is arbitrary."""

_ROUNDING = {"float64": 1e-12, "float32": 2e-5}


@dataclass(frozen=True, eq=False)
class Problem:
    """What is true of a few rows, and what the estimator is told. Every array is of Fractions, shape [N].

    Args:
        liked: P(true label = 1).
        p1: P(observed | true label 1).
        p0: P(observed | true label 0); equal to p1 when selection is by features.
        fnr: P(recorded 0 | true 1).
        fpr: P(recorded 1 | true 0).
        given: propensity, p1, p0, fnr, fpr and imputation as the estimator gets them.
        scores: where a loss is evaluated, in logits.
    """

    liked: Array
    p1: Array
    p0: Array
    fnr: Array
    fpr: Array
    given: Mapping[str, Array]
    scores: Array

    def chances(self) -> Array:
        """P(nothing recorded), P(0 recorded), P(1 recorded) of each row. Shape [N, 3]."""
        liked, disliked = self.liked * self.p1, (1 - self.liked) * self.p0
        zero = liked * self.fnr + disliked * (1 - self.fpr)
        one = liked * (1 - self.fnr) + disliked * self.fpr
        return np.stack([1 - zero - one, zero, one], axis=1)

    def outcomes(self) -> Iterator[tuple[Fraction, Array, Array]]:
        """Every log that can be recorded: (probability, label, observed), 3^N of them less the impossible."""
        chances = self.chances()
        for kinds in product(range(3), repeat=len(self.liked)):
            probability = Fraction(1)
            for row, kind in enumerate(kinds):
                probability *= chances[row, kind]
            if probability:
                recorded = np.array(kinds)
                yield probability, _fractions(recorded == 2), _fractions(recorded > 0)

    def __str__(self) -> str:
        truth = {name: getattr(self, name) for name in ("liked", "p1", "p0", "fnr", "fpr")}
        told = {f"given {name}": values for name, values in self.given.items()}
        columns = {**truth, **told, "scores": self.scores}
        return "\n".join(f"  {name:<17}" + "".join(f"{v!s:>8}" for v in columns[name]) for name in columns)


def problems(
    *,
    rows: int = 2,
    selection: Selection = "features",
    right: Collection[str] = TRUTHS,
    zero: Collection[str] = (),
) -> Any:
    """Hypothesis strategy of `Problem`: probabilities on a grid of twentieths, 0 and 1 included.

    Args:
        rows: how many; 3^rows outcomes are summed.
        selection: `features` (whether feedback is given does not depend on the true label) or `label`.
        right: nuisances told as they are, among `propensity`, `p1`, `p0`, `fnr`, `fpr`, `imputation`; the
            others are arbitrary. The right propensity is P(observed), the right imputation P(true label = 1).
        zero: truths that are 0, among `fnr`, `fpr`, and `p0` under selection by `label`. Feedback that never
            comes from disliked responses has p0 = 0.

    Raises:
        ImportError: hypothesis is not installed.
        ValueError: an unknown selection or nuisance, or a truth that cannot be 0.
    """
    unknown = sorted(set(right) - {*TRUTHS, "imputation"})
    if unknown:
        raise ValueError(f"right names {unknown}; the nuisances are {[*TRUTHS, 'imputation']}")
    if selection not in ("features", "label"):
        raise ValueError(f"selection is {selection!r}; it must be 'features' or 'label'")
    possible = {"fnr", "fpr"} | ({"p0"} if selection == "label" else set())
    if not set(zero) <= possible:
        raise ValueError(
            f"zero names {sorted(set(zero) - possible)}; under selection by {selection} it can name "
            f"{sorted(possible)}"
        )
    st = _hypothesis().strategies

    def each(values: Sequence[int]) -> Any:
        """A value for every row, in twentieths; the first is the one that failures shrink to."""
        drawn = st.sampled_from([Fraction(value, 20) for value in values])
        return st.lists(drawn, min_size=rows, max_size=rows).map(_fractions)

    probability, chance, rate = each(range(21)), each(range(20, 0, -1)), each(range(8))
    names = dict.fromkeys(("propensity", "p1", "p0"), chance) | dict.fromkeys(("fnr", "fpr"), rate)
    names["imputation"] = probability
    arbitrary = {name: strategy for name, strategy in names.items() if name not in right}

    def problem(
        liked: Array, p1: Array, p0: Array, fnr: Array, fpr: Array, wrong: Mapping[str, Array], scores: Array
    ) -> Problem:
        truths = {"fnr": fnr, "fpr": fpr, "p0": p0}
        fnr, fpr, p0 = (0 * truth if name in zero else truth for name, truth in truths.items())
        p0 = p1 if selection == "features" else p0
        told = {"propensity": liked * p1 + (1 - liked) * p0, "p1": p1, "p0": p0, "fnr": fnr, "fpr": fpr}
        given = {**told, "imputation": liked, **wrong}
        return Problem(liked, p1, p0, fnr, fpr, given, scores)

    scores = each(sorted(range(-80, 81), key=abs))
    wrong = st.fixed_dictionaries(arbitrary)
    return st.builds(problem, probability, chance, chance, rate, rate, wrong, scores)


def logs(*, rows: int = 8, selection: Selection = "features", right: Collection[str] = TRUTHS) -> Any:
    """Hypothesis strategy of one recorded log: the keyword arguments of an estimator, as float64 columns.

    The label of an unobserved row is nan, observed is bool; the rest is as in `problems`.

    Args:
        rows: how many.
        selection: as in `problems`.
        right: as in `problems`.

    Raises:
        ImportError: hypothesis is not installed.
    """
    st = _hypothesis().strategies

    def record(problem: Problem, draws: list[float]) -> dict[str, Array]:
        nothing, zero, _ = problem.chances().astype(float).T
        observed = np.array(draws) >= nothing
        label = np.where(observed, np.array(draws) >= nothing + zero, np.nan)
        given = {name: values.astype(np.float64) for name, values in problem.given.items()}
        return {"label": label, "observed": observed, **given}

    draws = st.lists(st.floats(0, 1, exclude_max=True), min_size=rows, max_size=rows)
    return st.builds(record, problems(rows=rows, selection=selection, right=right), draws)


def expected(estimator: Callable[..., Columns], problem: Problem) -> Columns:
    """Expected a and b of an estimator, exactly: the sum of probability x column over all outcomes.

    Args:
        estimator: takes any of label, observed, propensity, p1, p0, fnr, fpr, imputation by name.
        problem: what is true, and what the estimator is told.

    Raises:
        AssertionError: the margin depends on what was recorded.
        TypeError: the estimator asks for something else.
    """
    a, b, margins = Fraction(0), Fraction(0), []
    for probability, label, observed in problem.outcomes():
        columns = _call(estimator, {"label": label, "observed": observed, **problem.given})
        a = a + probability * np.asarray(columns.a, object)
        b = b + probability * np.asarray(columns.b, object)
        margins.append(np.asarray(columns.m, object))
    if any(not np.array_equal(m, margins[0]) for m in margins):
        raise AssertionError(f"the margin m of {_name(estimator)} depends on what was recorded")
    return Columns(np.asarray(a), np.asarray(b), margins[0])


def assert_unbiased(
    estimator: Callable[..., Any],
    *,
    selection: Selection = "features",
    right: Collection[str] = TRUTHS,
    zero: Collection[str] = (),
    target: Callable[[Array], Array] = lambda liked: liked,
    clean: "Literal['logistic', 'brier'] | Callable[[Any, Any], Any]" = "logistic",
    dtype: Literal["float64", "float32"] = "float64",
    rows: int = 2,
    examples: int = 100,
) -> None:
    """Check, by summing over everything that can be recorded, that an estimator or a loss is unbiased.

        sum over outcomes of P(outcome) x estimate(outcome)  =  clean value, and the same for the gradient

    Estimators (no parameter `scores`) are held to equality of fractions, or to 1e-12 when they leave rational
    arithmetic. Losses are held to 1e-12 (float64) or 2e-5 (float32) of the sum of probability x |term|.

    Args:
        estimator: takes any of label (0 where nothing was recorded), observed, propensity, p1, p0, fnr, fpr,
            imputation by name, and returns `Columns`; or takes scores besides, torch tensors all, and returns
            the loss of each row or their mean.
        selection: `features` or `label`: what decides whether feedback is given.
        right: nuisances told as they are; the others are arbitrary, so the check asks for robustness to them.
        zero: truths that are 0, as in `problems`.
        target: P(true label = 1) of the rows [N] to the clean target of what is returned, for estimators that
            return something else than rows, such as pairs.
        clean: the clean loss a loss is compared with, or a function (scores, target) -> loss of each row.
        dtype: precision of a loss.
        rows: rows of a problem; 3^rows outcomes are summed.
        examples: problems to try.

    Raises:
        AssertionError: it is biased; the message holds the simplest failing problem as numbers.
        ImportError: hypothesis, or torch for a loss, is not installed.
        TypeError: the estimator asks for something else.

    Example:
        >>> from unskew.estimators import doubly_robust
        >>> assert_unbiased(doubly_robust)  # any imputation will do
        >>> assert_unbiased(doubly_robust, right=("fnr", "fpr", "imputation"))  # any propensity will do
    """
    hypothesis = _hypothesis()
    asked = inspect.signature(estimator).parameters

    def check(problem: Problem) -> None:
        if "scores" in asked:
            errors = _loss_errors(estimator, problem, target(problem.liked), clean, dtype)
        else:
            errors = _column_errors(estimator, problem, target(problem.liked))
        if errors:
            told = {name: values for name, values in problem.given.items() if name in asked}
            raise AssertionError(
                f"{_name(estimator)} is biased under selection by {selection}\n"
                + "\n".join(f"  {error}" for error in errors)
                + f"\nproblem, one column a row\n{replace(problem, given=told)}"
            )

    once = hypothesis.settings(
        max_examples=examples,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        derandomize=True,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run = once(hypothesis.given(problems(rows=rows, selection=selection, right=right, zero=zero))(check))
    try:
        run()
    except AssertionError as error:
        getattr(error, "__notes__", []).clear()  # the message holds the problem; the notes would repeat it
        raise


def _column_errors(estimator: Callable[..., Columns], problem: Problem, target: Array) -> list[str]:
    """Where the expected columns differ from a = 1, b = target."""
    mean = expected(estimator, problem)
    errors = []
    for name, found, wanted in (("a", mean.a, target * 0 + 1), ("b", mean.b, target)):
        if found.shape != wanted.shape:
            return [f"column {name} has shape {found.shape}; {wanted.shape} is needed"]
        for row, (left, right) in enumerate(zip(found, wanted, strict=True)):
            rational = isinstance(left, (int, Fraction))
            if left != right if rational else not abs(left - right) <= _ROUNDING["float64"] * (1 + abs(left)):
                errors.append(f"expected {name} of row {row} is {left}, the clean one {right}")
    return errors


def _loss_errors(
    loss: Callable[..., Any], problem: Problem, target: Array, clean: Any, dtype: str
) -> list[str]:
    """Where the expected loss and its gradient differ from the clean ones."""
    torch = _torch()
    clean = {"logistic": _logistic, "brier": _brier}.get(clean, clean) if isinstance(clean, str) else clean

    def tensor(values: Array, kind: str) -> Any:
        return torch.tensor(values.astype(float), dtype=getattr(torch, kind))

    def differentiated(function: Callable[[Any], Any], kind: str) -> Array:
        """Mean loss and its gradient as one vector. Shape [1 + N], float64."""
        scores = tensor(problem.scores[: len(target)], kind).requires_grad_()
        value = function(scores).mean()
        (slope,) = torch.autograd.grad(value, scores)
        return np.concatenate([[value.item()], slope.double().numpy()])

    def ideal(values: Array) -> Array:
        return differentiated(lambda scores: clean(scores, tensor(values, "float64")), "float64")

    def recorded(told: Mapping[str, Any], scores: Any) -> Any:
        return _call(loss, {"scores": scores, **told})

    wanted = ideal(target)
    mean = 0 * wanted
    scale = np.abs(ideal(target * 0)) + np.abs(ideal(target * 0 + 1))
    for probability, label, observed in problem.outcomes():
        columns = {"label": label, "observed": observed, **problem.given}
        told = {name: tensor(values, dtype) for name, values in columns.items()}
        term = differentiated(partial(recorded, told), dtype)
        mean = mean + float(probability) * term
        scale = scale + float(probability) * np.abs(term)
    wrong = np.flatnonzero(~(np.abs(mean - wanted) <= _ROUNDING[dtype] * scale))
    names = ["loss", *(f"gradient of row {row}" for row in range(len(target)))]
    return [f"expected {names[i]} is {mean[i]:.9g}, the clean one {wanted[i]:.9g}" for i in wrong]


def _logistic(scores: Any, target: Any) -> Any:
    return _torch().nn.functional.softplus(scores) - target * scores


def _brier(scores: Any, target: Any) -> Any:
    s = _torch().sigmoid(scores)
    return s * s - 2 * target * s + target


def _call(function: Callable[..., Any], known: Mapping[str, Any]) -> Any:
    """The function with those of its parameters that are known, by name."""
    parameters = inspect.signature(function).parameters.values()
    strange = [p.name for p in parameters if p.default is p.empty and p.name not in known]
    if strange:
        raise TypeError(f"{_name(function)} asks for {', '.join(strange)}; a check knows {', '.join(known)}")
    return function(**{p.name: known[p.name] for p in parameters if p.name in known})


def _fractions(values: Any) -> Array:
    return np.array([Fraction(value) for value in np.asarray(values, object)], object)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))


def _hypothesis() -> Any:
    try:
        import hypothesis
        import hypothesis.strategies
    except ImportError as error:
        raise ImportError("unskew.testing needs hypothesis: pip install 'unskew[testing]'") from error
    return hypothesis


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError("checking a loss needs torch: pip install 'unskew[train]'") from error
    return torch
