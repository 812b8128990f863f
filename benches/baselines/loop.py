"""The one training loop of all baselines: Adam, mini-batches, early stopping on prompts held out.

    held-out value    sum w (q - y)^2 / sum w      over observed rows of held-out prompts, y as recorded

w = 1, or o / p for methods that weigh. It is bounded, its target is what was recorded, and it is what anybody
could compute: no clean label of a row without feedback, and never the training loss. Propensities are raised
to a floor. A method brings its loss of a batch; networks whose parts must not disturb each other detach what
they borrow, and one Adam then serves them all, since it scales every parameter by itself.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from benches.baselines.logged import Logged, Model, Tuning
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

HIDDEN = 64
STEPS, EPOCHS, PATIENCE = 12, 80, 10
"""Steps of an epoch, whatever the number of rows; epochs at most; epochs without improvement that end it."""
HELD_OUT = 5
"""One prompt in so many is held out."""
FLOOR = 0.02
"""Smallest propensity used as it is."""

Step = Callable[[Tensor, int], Tensor]
Read = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """A log as tensors; labels of unobserved rows are zero, so that nothing can depend on them.

    Args:
        X: features. Shape [N, d].
        y: recorded label, 0 where there is none. Shape [N].
        o: 1 where observed. Shape [N].
        p: propensity, at least the floor; 1 for methods that do not weigh. Shape [N].
        training, held: rows of each side of the split.
    """

    X: Tensor
    y: Tensor
    o: Tensor
    p: Tensor
    training: Tensor
    held: Tensor

    @property
    def seen(self) -> Tensor:
        """Training rows with feedback."""
        return self.training[self.o[self.training] == 1]

    def score(self, q: Tensor) -> float:
        """The held-out value of probabilities of the held rows."""
        w = self.o[self.held] / self.p[self.held]
        return float((w * (q - self.y[self.held]).square()).sum() / w.sum())


def pose(log: Logged, *, weighted: bool) -> Problem:
    """Tensors of a log, prompts split by its seed.

    Args:
        log: the log.
        weighted: whether the method weighs by o / p; if so, and the log has no p, it is fitted.

    Raises:
        ValueError: one side of the split has no feedback.
    """
    code = np.unique(log.group, return_inverse=True)[1]
    order = np.random.default_rng(log.seed).permutation(int(code.max()) + 1)
    held = order[code] % HELD_OUT == 0
    if not log.observed[held].any() or not log.observed[~held].any():
        raise ValueError("no feedback on one side of the split; more feedback is needed")
    p = propensity(log) if weighted else np.ones(len(log.X))
    o = log.observed.astype(np.float32)
    y = np.where(log.observed, log.y, 0).astype(np.float32)
    rows = (torch.from_numpy(np.flatnonzero(side)) for side in (~held, held))
    X = torch.from_numpy(np.array(log.X, np.float32))
    return Problem(X, *(torch.from_numpy(c) for c in (y, o, p.astype(np.float32))), *rows)


def propensity(log: Logged) -> NDArray[np.float64]:
    """P(observed | x) at least the floor: as given, or an MLP stopped by cross-entropy. Shape [N].

    Assumption: feedback does not depend on the hidden label given the features.
    """
    if log.p is not None:
        return np.maximum(log.p, FLOOR)
    every = Logged(log.X, log.observed, np.ones(len(log.X), bool), log.group, seed=log.seed)
    problem = pose(every, weighted=False)
    with seeded(log.seed):
        net = mlp(problem.X.shape[1])
        fitted = train(
            net,
            lambda rows, _: bce(net(problem.X[rows])[:, 0], problem.y[rows]).mean(),
            problem,
            Tuning(),
            rows=problem.training,
            read=lambda X: torch.sigmoid(net(X)[:, 0]),
            value=lambda: float(bce(net(problem.X[problem.held])[:, 0], problem.y[problem.held]).mean()),
        )
    return np.maximum(fitted(log.X), FLOOR)


def bce(z: Tensor, y: Tensor | float) -> Tensor:
    """Logistic loss of each row: softplus(z) - y z, also for y outside [0, 1]."""
    return softplus(z) - y * z


def mlp(d: int, outputs: int = 1) -> nn.Module:
    """One hidden layer, a trunk shared by all outputs."""
    return nn.Sequential(nn.Linear(d, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """One thread and a random state of its own; both are put back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def train(
    network: nn.Module,
    step: Step,
    problem: Problem,
    tuning: Tuning,
    *,
    rows: Tensor,
    read: Read,
    begin: Callable[[int], Any] | None = None,
    value: Callable[[], float] | None = None,
    warm_up: int = 0,
    patience: int = PATIENCE,
) -> Model:
    """Minimise a loss over batches of rows, keep the epoch that held-out prompts liked best.

    Args:
        network: every parameter.
        step: (rows of a batch, epoch) -> loss.
        problem: the log.
        tuning: step and weight decay.
        rows: the rows that batches are drawn from: those on which the loss is not zero.
        read: features -> probabilities, by the network as it is.
        begin: called with the number of every epoch before it starts.
        value: what decides when to stop; the held-out value of the problem when absent.
        warm_up: epochs that are never kept.
        patience: epochs without improvement that end the training.

    Raises:
        FloatingPointError: the loss became non-finite.
    """
    optimiser = torch.optim.Adam(network.parameters(), tuning.lr, weight_decay=tuning.weight_decay)
    best, kept, waited = np.inf, copy.deepcopy(network.state_dict()), 0
    for epoch in range(EPOCHS):
        if begin is not None:
            with torch.no_grad():
                begin(epoch)
        for batch in rows[torch.randperm(len(rows))].split(-(-len(rows) // STEPS)):
            optimiser.zero_grad()
            loss = step(batch, epoch)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss became {float(loss)} in epoch {epoch}; lower the step")
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            now = problem.score(read(problem.X[problem.held])) if value is None else value()
        if epoch < warm_up:
            continue
        if now < best:
            best, kept, waited = now, copy.deepcopy(network.state_dict()), 0
        else:
            waited += 1
            if waited >= patience:
                break
    network.load_state_dict(kept)

    def predict(X: NDArray[Any]) -> NDArray[np.float64]:
        with torch.no_grad():
            return read(torch.from_numpy(np.array(X, np.float32))).double().numpy()

    with torch.no_grad():
        return Model(predict, problem.score(read(problem.X[problem.held])))
