"""Ratings of coats that people picked themselves, tested on coats picked at random.

    python examples/coat.py [DATA]

290 people rated 24 of 300 coats they chose, and 16 more that were drawn for them. Who chooses what is not
random: a coat is chosen because it may please. Factor models of one shape, tuned in the same way, learn
P(rating >= 3) from the chosen coats:

    naive            the ratings as they are
    IPS              each weighted by 1 / P(this person chooses this coat)
    doubly robust    an imputation for every cell, corrected by the weighted ratings
    MRDR             the same with the propensities of the data set's authors, the imputation fitted for the
                     least variance
    auto             what the pipeline settles on by itself: a cell is a response that offered a rating, a
                     rating has no errors, no label is gold

The propensities are fitted to what was chosen, never to a rating. The imputation is out of fold and knows
the features of people and coats; the last row, a naive model with the same features, shows how much of the
gain is theirs. No row reaches the true mean: choices depend on the rating itself, which propensities of
features cannot undo. Weight decay is chosen by AUC on a tenth of the random ratings, the test is on the
rest; a tenth is few, so every seed averages over ten draws of it.

Reference for the same split: naive .771 AUC and .205 MSE, doubly robust with exposure-only propensities .782
and .186, MRDR with the authors' .786 and .184 (s.d. over seeds .004).
"""

import argparse
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unskew import noise
from unskew.data import Examples
from unskew.estimators import Columns, doubly_robust, ips, mrdr_fit, naive
from unskew.events import KIND
from unskew.losses import brier
from unskew.pipeline.auto import Decision, choose, decisions
from unskew.pipeline.config import TrainConfig
from unskew.pipeline.material import estimate, judge
from unskew.pipeline.recipes import recipe_of

Matrix = NDArray[np.float64]  # one number a person and coat. Shape [290, 300]

SEEDS = 5
DRAWS = 10  # of the tenth to tune on
FOLDS = 5
FACTORS = 8
DECAYS = (3e-4, 1e-3, 3e-3)
EXPOSURE_DECAYS = (1e-4, 3e-4, 1e-3)
ARMS = ("naive", "IPS", "doubly robust", "MRDR", "auto", "naive with features")


@dataclass(frozen=True)
class Coat:
    """The data set.

    Args:
        chosen: ratings 1 to 5 of coats that people picked, 0 where there is none. Shape [290, 300].
        random: ratings of coats drawn at random, 0 where there is none. Shape [290, 300].
        people: features of people. Shape [290, 14].
        coats: features of coats. Shape [300, 33].
        propensity: P(chosen) as the authors of the data set give it. Shape [290, 300].
    """

    chosen: Matrix
    random: Matrix
    people: Matrix
    coats: Matrix
    propensity: Matrix

    @classmethod
    def read(cls, folder: Path) -> "Coat":
        names = ("train", "test", "user_features", "item_features", "propensities")
        return cls(*(np.loadtxt(folder / f"{name}.ascii") for name in names))


@dataclass(frozen=True)
class Result:
    """What the arms reach on the random ratings; one row a seed, one column an arm.

    Args:
        arms: their names, of `ARMS`.
        auc: area under the ROC curve. Shape [seeds, arms].
        mse: mean squared error of the probability. Shape [seeds, arms].
        mean: mean prediction. Shape [seeds, arms].
        truth: share of random ratings >= 3.
        clipped: chosen coats whose propensity was raised to the floor.
        settled: what `auto` settled, when it is among the arms.
    """

    arms: tuple[str, ...]
    auc: Matrix
    mse: Matrix
    mean: Matrix
    truth: float
    clipped: int
    settled: tuple[Decision, ...] = ()


def run(folder: Path, seeds: int = SEEDS, arms: tuple[str, ...] = ARMS) -> Result:
    """Train and test the arms with every seed."""
    torch.set_num_threads(1)  # the matrices are small: more threads would only wait for each other
    data = Coat.read(folder)
    observed, label = data.chosen > 0, data.chosen >= 3
    p = exposure(data)
    weighted = on_cells(ips, label, observed, p)
    settled: list[Decision] = []

    def columns(arm: str) -> Columns:
        if arm == "auto":
            found, told = auto(data)
            settled.extend(told)
            return found
        if arm == "doubly robust":
            return on_cells(doubly_robust, label, observed, p, imputation(data, weighted))
        if arm == "MRDR":
            given = (label, observed, data.propensity)
            return on_cells(doubly_robust, *given, imputation(data, on_cells(mrdr_fit, *given)))
        return weighted if arm == "IPS" else on_cells(naive, label, observed)

    figures = np.zeros((3, seeds, len(arms)))
    for number, arm in enumerate(arms):
        learned, features = columns(arm), arm == "naive with features"
        for seed in range(seeds):
            fits = [factor_model(data, learned, decay, seed, features=features) for decay in DECAYS]
            figures[:, seed, number] = np.mean(
                [best(data, fits, seed * DRAWS + d) for d in range(DRAWS)], axis=0
            )
    truth = (data.random[data.random > 0] >= 3).mean()
    return Result(arms, *figures, float(truth), weighted.counts.clipped, tuple(settled))


def best(data: Coat, fits: list[Matrix], draw: int) -> tuple[float, float, float]:
    """AUC, MSE and mean prediction, on the other cells, of the fit with the highest AUC on a tenth."""
    tuning, test = split(data, draw)
    predicted = max(fits, key=lambda fit: auc(data, fit, tuning))
    error = predicted[test] - (data.random[test] >= 3)
    return auc(data, predicted, test), float((error**2).mean()), float(predicted[test].mean())


def on_cells(estimator: Callable[..., Columns], *matrices: NDArray) -> Columns:
    """Columns of an estimator on every cell of the matrix."""
    return estimator(*(matrix.ravel() for matrix in matrices))


def exposure(data: Coat) -> Matrix:
    """P(a person chooses a coat), from features of both and the popularity of the coat; no rating is read.

    Out of fold by cell, with the weight decay that predicts held-out choices best.
    """
    chosen = data.chosen > 0

    def surprise(p: Matrix) -> float:
        return float(-np.log(np.where(chosen, p, 1 - p)).mean())

    return min((out_of_fold(data, decay) for decay in EXPOSURE_DECAYS), key=surprise)


def out_of_fold(data: Coat, decay: float) -> Matrix:
    """P(chosen) of every cell by a model that has not seen the cell."""
    people, coats = (torch.tensor(side, dtype=torch.float32) for side in (data.people, data.coats))
    chosen = torch.tensor(data.chosen > 0, dtype=torch.float32)
    fold = np.random.default_rng(0).integers(0, FOLDS, data.chosen.shape)
    p = np.empty(data.chosen.shape)
    for number in range(FOLDS):
        held = fold == number
        p[held] = choice_model(people, coats, chosen, torch.tensor(~held).float(), decay)[held]
    return p


def choice_model(
    people: torch.Tensor, coats: torch.Tensor, chosen: torch.Tensor, weight: torch.Tensor, decay: float
) -> Matrix:
    """P(chosen) = sigmoid(people . taste . coats + popularity + base), fitted where weight is 1."""
    taste = torch.zeros(people.shape[1], coats.shape[1], requires_grad=True)
    popularity = torch.zeros(len(coats), requires_grad=True)
    base = torch.logit(chosen.mean()).requires_grad_()

    def z() -> torch.Tensor:
        return people @ taste @ coats.T + popularity + base

    def loss() -> torch.Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(z(), chosen, weight) / weight.mean()

    minimise(loss, [{"params": [taste, popularity], "weight_decay": decay}, {"params": [base]}], steps=300)
    return torch.sigmoid(z()).detach().double().numpy()


def imputation(data: Coat, part: Columns) -> Matrix:
    """P(rating >= 3) of every cell, by models that have not seen the rating of the cell.

    The weights are scaled to sum to the number of ratings, so that a weight decay is the same prior under any
    weights, and the decay is the one with the best corrected Brier score: no random rating is read.
    """
    scale = (data.chosen > 0).sum() / part.a.sum()
    scaled = Columns(scale * part.a, scale * part.b, part.m)
    tried = [imputed(data, scaled, decay) for decay in DECAYS]
    return min(tried, key=lambda q: corrected_brier(q, scaled))


def imputed(data: Coat, part: Columns, decay: float) -> Matrix:
    """The imputation at one weight decay."""
    fold = np.random.default_rng(0).integers(0, FOLDS, data.chosen.shape)
    q = np.empty(data.chosen.shape)
    for number in range(FOLDS):
        others = (fold != number).ravel()
        columns = Columns(part.a * others, part.b * others, part.m)
        inside = fold == number
        q[inside] = factor_model(data, columns, decay, seed=0, features=True)[inside]
    return q


def corrected_brier(q: Matrix, weighted: Columns) -> float:
    """Self-normalised unbiased Brier score of out-of-fold predictions: it needs no random rating."""
    s = q.ravel()
    return float((weighted.a * s * s - 2 * weighted.b * s + weighted.b).sum() / weighted.a.sum())


def auto(data: Coat) -> tuple[Columns, list[Decision]]:
    """Columns of the estimator that the pipeline settles on, and what it settled.

    Every cell is a response, its features who and what it is and the products of both sides' features.
    """
    rows, settings = log(data), TrainConfig()
    people, coats = data.chosen.shape
    crossed = np.einsum("pa,cb->pcab", data.people, data.coats).reshape(people * coats, -1)
    who, what = np.repeat(np.eye(people), coats, axis=0), np.tile(np.eye(coats), (people, 1))
    X = np.concatenate([crossed, who, what], axis=1).astype(np.float32)
    right = {"rating": noise.known(0, 0, kind="rating")}
    material = estimate(rows, X, known=right, given={}, seed=0, stage=lambda _: nullcontext())
    verdict = judge(material)
    material = replace(material, kinds=verdict.kinds)
    name = choose(settings, verdict)
    target = recipe_of(name)(material)
    if not isinstance(target.columns, Columns):
        raise TypeError(f"{name} is trained by the {target.loss} loss; the factor model knows the Brier loss")
    return target.columns, decisions(material, verdict, settings, name, target.loss)


def log(data: Coat) -> Examples:
    """The choices as a log: every coat was shown to everybody, with a rating to give."""
    chosen, n = (data.chosen > 0).reshape(-1, 1), data.chosen.size
    every, nothing = np.ones((n, 1), bool), np.full(n, np.nan)
    return Examples(
        row=np.arange(n),
        response_id=[str(cell) for cell in range(n)],
        prompt_hash=np.arange(n, dtype=np.uint64),
        group=np.arange(n),
        user=np.zeros(n, np.uint64),
        kinds=(KIND["rating"],),
        offered=every,
        closed=every,
        observed=chosen,
        positive=(data.chosen >= 3).reshape(-1, 1),
        cell=np.zeros(n, np.uint32),
        policy_prob=nothing,
        gold=nothing,
        gold_design=np.zeros(n, np.int8),
        gold_prob=nothing,
    )


def factor_model(data: Coat, columns: Columns, decay: float, seed: int, *, features: bool) -> Matrix:
    """P(rating >= 3) = sigmoid(u_person . v_coat + biases [+ features of both]), by the Brier loss.

    The loss is the sum over cells divided by the number of ratings, so that a weight decay is the same prior
    in every arm, whatever its weights sum to. Biases are decayed ten times less than factors, the overall
    level not at all.
    """
    noise = torch.Generator().manual_seed(seed)
    people, coats = (
        torch.cat([torch.tensor(side, dtype=torch.float32), torch.ones(len(side), 1)], dim=1)
        for side in (data.people, data.coats)
    )
    u = (0.1 * torch.randn(len(people), FACTORS, generator=noise)).requires_grad_()
    v = (0.1 * torch.randn(len(coats), FACTORS, generator=noise)).requires_grad_()
    taste = torch.zeros(people.shape[1], coats.shape[1], requires_grad=features)
    person = torch.zeros(len(people), 1, requires_grad=True)
    coat = torch.zeros(len(coats), requires_grad=True)
    base = torch.zeros(1, requires_grad=True)
    cells = np.flatnonzero((columns.a != 0) | (columns.b != 0))  # the others add nothing
    a, b = (torch.tensor(x[cells], dtype=torch.float32) for x in (columns.a, columns.b))
    kept, ratings = torch.from_numpy(cells), int((data.chosen.ravel()[cells] > 0).sum())

    def z() -> torch.Tensor:
        known = people @ taste @ coats.T if features else 0.0
        return u @ v.T + known + person + coat + base

    groups = [
        {"params": [u, v, *([taste] if features else [])], "weight_decay": decay},
        {"params": [person, coat], "weight_decay": decay / 10},
        {"params": [base]},
    ]
    minimise(lambda: brier(z().ravel()[kept], a, b).sum() / ratings, groups, steps=200)
    return torch.sigmoid(z()).detach().double().numpy()


def minimise(loss: Callable[[], torch.Tensor], groups: list[dict], steps: int) -> None:
    """Adam on the whole matrix."""
    descent = torch.optim.Adam(groups, lr=0.03, fused=True)
    for _ in range(steps):
        descent.zero_grad()
        loss().backward()
        descent.step()


def split(data: Coat, seed: int) -> tuple[tuple, tuple]:
    """Cells of the random ratings: a tenth to tune on, the rest to test on."""
    cells = np.random.default_rng(seed).permutation(np.argwhere(data.random > 0))
    tenth = len(cells) // 10
    return tuple(cells[:tenth].T), tuple(cells[tenth:].T)


def auc(data: Coat, predicted: Matrix, cells: tuple) -> float:
    """P(a liked coat is predicted above a disliked one)."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(data.random[cells] >= 3, predicted[cells]))


def main() -> None:
    """Print the table."""
    home = Path(os.environ.get("UNSKEW_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=home / "coat", help="with train.ascii")
    result = run(parser.parse_args().data)
    print(f"{len(result.auc)} seeds; {result.truth:.3f} of the random ratings are >= 3")
    print(f"{result.clipped} of the chosen coats have a propensity below the floor\n")
    print(f"{'':<22}{'AUC':>7}{'MSE':>7}{'mean':>7}")
    for arm, name in enumerate(result.arms):
        figures = (result.auc[:, arm], result.mse[:, arm], result.mean[:, arm])
        print(f"{name:<22}" + "".join(f"{values.mean():>7.3f}" for values in figures))
    print()
    for told in result.settled:
        print(f"auto, {told.part} of {told.of}: {told.chosen}. {told.why}")
        for other, why in told.passed:
            print(f"  not {other}: {why}")


if __name__ == "__main__":
    main()
