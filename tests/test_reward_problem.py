"""What a head is trained on enters the shipped losses."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from unskew.losses.reference import LOSSES  # noqa: E402
from unskew.reward.fit import fit_head  # noqa: E402
from unskew.reward.problem import pose  # noqa: E402


def log(loss):
    """Features of 400 pairs' responses, their columns and their prompts."""
    rng = np.random.default_rng(0)
    X, pairs = rng.standard_normal((300, 4)), tuple(rng.integers(0, 300, (2, 400)))
    won = rng.random(400) < 1 / (1 + np.exp(-(X[pairs[0]] - X[pairs[1]])[:, 0]))
    weight = rng.choice([0, 1, 2.5], 400)
    second = np.where(won, 2.0, -2.0) if loss == "mixture" else weight * (1.2 * won - 0.1)
    first = "w" if loss == "mixture" else "a"
    columns = SimpleNamespace(**{first: weight, "d" if first == "w" else "b": second, "m": 0.1})
    return X, columns, np.arange(300) // 2, pairs


@pytest.mark.parametrize("loss", LOSSES)
def test_means_are_those_of_the_reference(loss):
    X, columns, groups, pairs = log(loss)
    problem = pose(X, columns, groups, pairs, loss, None, 1.0, 0.2, 0)
    z = problem.z(lambda rows: rows[:, 0] - rows[:, 1])
    rows = LOSSES[problem.metric][0](z, problem.weight, problem.second)[problem.held]
    wanted = rows.sum() / problem.weight[problem.held].sum()
    assert problem.mean(problem.metric, z, problem.held) == pytest.approx(wanted.item(), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_linear_head_ends_where_the_reference_is_level(loss):
    X, columns, groups, pairs = log(loss)
    decay = 1e-4
    head = fit_head(X, columns, groups=groups, pairs=pairs, loss=loss, decays=(decay,)).head
    problem = pose(X, columns, groups, pairs, loss, None, 1.0, 0.2, 0)
    weight = torch.tensor(head.layers[0][0][:, 0], dtype=torch.float64, requires_grad=True)
    z = problem.z(lambda rows: rows.double() @ weight)
    mean = LOSSES[loss][0](z, problem.weight, problem.second).sum() / problem.weight.sum()
    (slope,) = torch.autograd.grad(mean, weight)
    assert slope.abs().max() < 10 * decay * weight.abs().max()


@pytest.mark.parametrize("loss", LOSSES)
def test_mlp_learns_from_the_same_columns(loss):
    X, columns, groups, pairs = log(loss)
    fit = fit_head(X, columns, groups=groups, pairs=pairs, loss=loss, head="mlp", epochs=8, lr=1e-2)
    assert fit.history[-1]["training"] < fit.history[0]["training"]
