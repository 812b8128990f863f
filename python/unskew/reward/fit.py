"""Training a head on columns: (a, b, m) for the logistic and Brier losses, (w, d, m) for the mixture.

    minimise   sum of loss(z) / sum of weights + decay / 2 |u|^2

u weighs the features after they are centred and scaled to a mean square length of one, so that `decay` means
the same for every featurizer. Weights are normalised once, before training: dividing by the mean weight and
the number of rows is dividing by the sum. What is kept is decided on prompts that training has not seen:

    Brier, logistic    sum (a s^2 - 2 b s + b) / sum a      unbiased and bounded, s = sigmoid(z)
    mixture            sum of loss / sum w

A linear head is minimised by full-batch L-BFGS along a path of falling decay, and once more on all prompts
with the best one; an MLP by Adam, stopped when the held-out value has not improved for some epochs.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from unskew import losses
from unskew.estimators import Columns, Mixture
from unskew.features.axes import axes
from unskew.reward.heads import Head, NumericError
from unskew.reward.problem import Ints, Loss, Problem, Tensor, pose

DECAYS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)
"""Weight decays that a linear head tries, strongest first."""

GIVE_UP = 2
"""Decays in a row without improvement that end the path."""

Select = Literal["held_out", "training"]
"""Entry of the history that decides which step is kept."""

Steps = tuple[Head, list[dict[str, float]], int]


@dataclass(frozen=True)
class HeadFit:
    """A trained head and how it came about.

    Args:
        head: the head.
        metric: what was measured on held-out prompts: `brier`, `logistic` or `mixture`.
        held_out: its value at the kept step (of a linear head: before the last fit on all prompts).
        history: one entry a step: `step` (decay or epoch), `training`, `held_out`.
        best_epoch: index of the kept step in `history`.
        counts: `entries`, `silent` (no weight, left out), `training`, `validation`, `negative` (a < 0) and
            `outside` (target b / a outside [0, 1]).
    """

    head: Head = field(repr=False)
    metric: str
    held_out: float
    history: list[dict[str, float]] = field(repr=False)
    best_epoch: int
    counts: dict[str, int]


def fit_head(
    X: NDArray[Any],
    columns: Columns | Mixture,
    *,
    groups: NDArray[Any],
    head: Literal["linear", "mlp"] = "linear",
    loss: Loss = "brier",
    pairs: tuple[Ints, Ints] | None = None,
    temperature: float = 1.0,
    metric: Loss | None = None,
    non_negative: bool = False,
    select: Select = "held_out",
    weighted_axes: bool = False,
    validation: float = 0.2,
    decays: tuple[float, ...] = DECAYS,
    hidden: tuple[int, ...] = (64,),
    lr: float = 1e-3,
    decay: float = 0.01,
    epochs: int = 200,
    batch: int = 1024,
    patience: int = 10,
    seed: int = 0,
) -> HeadFit:
    """Train a reward head on columns, keeping the step that is best on prompts it has not seen.

    Assumption: the columns are what their estimator promises; then the training loss and the held-out value
    are unbiased. The same arguments give the same head on the same CPU.

    Args:
        X: features, finite. Shape [N, D].
        columns: `estimators.Columns` (a, b, m) or, with `loss="mixture"`, `estimators.Mixture` (w, d, m); one
            entry a row of X, or a pair.
        groups: fold key (prompt hash) of each row of X. Shape [N].
        head: `linear` or `mlp`.
        loss: the loss that the columns enter.
        pairs: rows (A, B) of X that each entry of `columns` compares; single responses when absent.
        temperature: factor on the score or score difference, > 0.
        metric: held-out value; the corrected Brier score, or the mixture loss for `mixture`, when absent.
        non_negative: train on max(0, R1) + max(0, R0) of the batch, R1 and R0 what liked and disliked
            responses cost (`losses.non_negative`); the held-out value stays plain.
        select: keep the step with the best `held_out` value, or with the best `training` loss: for recipes
            that repeat a paper, since the training loss of corrected targets has no lower bound.
        weighted_axes: centre and scale the features of a linear head over the weights, >= 0 and of single
            responses, so that a weight is a repetition; over rows otherwise.
        validation: share of the prompts held out, in (0, 1).
        decays: weight decays that a linear head tries, falling.
        hidden: hidden sizes of an MLP.
        lr: Adam's step for an MLP.
        decay: decoupled weight decay of an MLP.
        epochs: passes over the data at most, for an MLP.
        batch: entries a step of an MLP.
        patience: epochs without improvement that end the training of an MLP.
        seed: decides the held-out prompts, and the start and order of an MLP.

    Raises:
        ValueError: an argument does not fit, or the weights of either side of the split sum to nothing.
        NumericError: the head became non-finite.

    Source: design of the columns in `unskew.estimators`; selection by a bounded corrected risk instead of the
        training loss because the latter has no lower bound for targets outside [0, 1].
    """
    for name, value, allowed in (
        ("head", head, ("linear", "mlp")),
        ("loss", loss, get_args(Loss)),
        ("metric", metric, (None, *get_args(Loss))),
        ("select", select, get_args(Select)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(str, allowed))}")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be > 0")
    if not 0 < validation < 1:
        raise ValueError(f"validation is {validation}; it is a share and must be in (0, 1)")
    if metric is not None and (metric == "mixture") != (loss == "mixture"):
        raise ValueError(
            f"metric is {metric!r}, loss {loss!r}; evidence and targets cannot stand for each other"
        )
    if non_negative and loss == "mixture":
        raise ValueError("non_negative bends the parts of targets; the mixture has none and is bounded")
    if head == "linear" and not decays:
        raise ValueError("decays is empty; a linear head needs at least one")
    if head == "mlp" and epochs < 1:
        raise ValueError(f"epochs is {epochs}; an MLP needs at least one")
    problem = pose(X, columns, groups, pairs, loss, metric, temperature, validation, seed)
    if weighted_axes and (pairs is not None or bool((problem.weight < 0).any())):
        raise ValueError("weighted_axes needs single responses with weights >= 0")
    if head == "linear":
        fitted, history, best = _linear(problem, decays, non_negative, select, weighted_axes)
    else:
        steps = (lr, decay, epochs, batch, patience, seed)
        fitted, history, best = _mlp(problem, hidden, *steps, non_negative, select)
    return HeadFit(fitted, problem.metric, history[best]["held_out"], history, best, problem.counts)


def _linear(
    problem: Problem, decays: tuple[float, ...], non_negative: bool, select: Select, weighted: bool
) -> Steps:
    """L-BFGS along the path of decays, in the axes of the features, then once more on all prompts."""
    frame = axes(problem.X.numpy(), problem.weight.numpy() if weighted else None)
    centre = torch.from_numpy(frame.centre)
    basis = None if frame.basis is None else torch.from_numpy(frame.basis)
    inside = ~problem.held

    def weigh(found: Tensor) -> Tensor:
        """Weights of the raw features from coordinates along the axes."""
        return (found if basis is None else basis @ found) / frame.scale

    def z(found: Tensor, bias: Tensor) -> Tensor:
        weight = weigh(found)
        return problem.z(lambda X: (X @ weight - centre @ weight).double() + bias)

    def descend(rows: Tensor, start: tuple[Tensor, Tensor], decay: float) -> tuple[Tensor, Tensor]:
        stretch = torch.from_numpy(frame.stretch(decay))
        v, bias = (start[0] / stretch).requires_grad_(), start[1].clone().requires_grad_()
        weight, second = problem.weight * rows, problem.second * rows
        total = float(weight.sum())
        descent = torch.optim.LBFGS(
            [v, bias],
            max_iter=100,
            history_size=20,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-6,
            tolerance_change=1e-8,
        )

        def objective() -> Tensor:
            descent.zero_grad()
            u = stretch * v
            value = _risk(problem.loss, z(u, bias), weight, second, total, non_negative)
            value = value + 0.5 * decay * u.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        descent.step(objective)  # type: ignore[no-untyped-call]
        if not bool(torch.isfinite(v).all() & torch.isfinite(bias).all()):
            raise NumericError(f"the linear head became non-finite at decay {decay:g}; check the columns")
        return (stretch * v).detach(), bias.detach()

    found = (torch.zeros_like(centre), torch.zeros(1, dtype=torch.float64))
    best, kept = 0, found
    history: list[dict[str, float]] = []
    for number, decay in enumerate(decays):
        found = descend(inside, found, decay)
        history.append({"step": decay, **_values(problem, z(*found))})
        if number == 0 or history[number][select] < history[best][select]:
            best, kept = number, found
        if number - best >= GIVE_UP:
            break
    u, bias = descend(torch.ones_like(inside), kept, decays[best])
    weight = weigh(u).numpy()
    return Head.linear(weight, float(bias) - float(frame.centre @ weight)), history, best


def _mlp(
    problem: Problem,
    hidden: tuple[int, ...],
    lr: float,
    decay: float,
    epochs: int,
    batch: int,
    patience: int,
    seed: int,
    non_negative: bool,
    select: Select,
) -> Steps:
    """Adam on batches of entries; the best epoch is kept."""
    centre = problem.X.mean(0)
    scale = float((problem.X - centre).square_().mean().sqrt()) or 1.0
    chance = torch.Generator().manual_seed(seed)
    sizes = [len(centre), *hidden, 1]
    layers = [
        (torch.randn(inputs, outputs, generator=chance) * (2 / inputs) ** 0.5, torch.zeros(outputs))
        for inputs, outputs in pairwise(sizes)
    ]
    parameters = [part.requires_grad_() for layer in layers for part in layer]
    adam = torch.optim.AdamW(parameters, lr=lr, weight_decay=decay)
    inside = torch.nonzero(~problem.held).flatten()
    mean = float(problem.weight[inside].mean())

    def score(rows: Tensor) -> Tensor:
        rows = (rows - centre) / scale
        for number, (weight, bias) in enumerate(layers):
            rows = (torch.relu(rows) if number else rows) @ weight + bias
        return rows[:, 0]

    best, kept = 0, [part.detach().clone() for part in parameters]
    history: list[dict[str, float]] = []
    for epoch in range(epochs):
        for entries in torch.split(inside[torch.randperm(len(inside), generator=chance)], batch):
            z, weight, second = problem.z(score, entries), problem.weight[entries], problem.second[entries]
            size = mean * len(entries)
            value = _risk(problem.loss, z, weight, second, size, non_negative)
            adam.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            adam.step()
        with torch.no_grad():
            history.append({"step": epoch, **_values(problem, problem.z(score))})
        if not np.isfinite(history[epoch]["held_out"]):
            raise NumericError(
                f"the loss became non-finite in epoch {epoch}; lower the learning rate ({lr:g})"
            )
        if epoch == 0 or history[epoch][select] < history[best][select]:
            best, kept = epoch, [part.detach().clone() for part in parameters]
        if epoch - best >= patience:
            break
    arrays = [(weight.numpy(), bias.numpy()) for weight, bias in zip(kept[::2], kept[1::2], strict=True)]
    first = arrays[0][0] / scale
    arrays[0] = (first, arrays[0][1] - centre.numpy() @ first)
    return Head(tuple(arrays)), history, best


def _risk(
    loss: Loss, z: Tensor, weight: Tensor, second: Tensor, normalizer: float, non_negative: bool
) -> Tensor:
    """The loss of a batch, its two parts kept from falling below zero where that is asked for."""
    if non_negative:
        rowwise = losses.brier if loss == "brier" else losses.logistic
        parts = losses.class_risks(z, weight, second, loss=rowwise, normalizer=normalizer)
        return losses.non_negative(*parts)
    return losses.folded(z, None, weight, second, loss=loss, normalizer=normalizer)[0]


def _values(problem: Problem, z: Tensor) -> dict[str, float]:
    """Mean training loss and held-out metric."""
    training = problem.mean(problem.loss, z, ~problem.held)
    return {"training": training, "held_out": problem.mean(problem.metric, z, problem.held)}
