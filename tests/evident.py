"""Logs on which evidence is right, and what is measured on them."""

from dataclasses import dataclass

import numpy as np

from unskew import evidence
from unskew.events import KIND
from unskew.simulate import WORLDS
from unskew.simulate.world import chances

THUMBS, RATING, COPY, REGENERATE = KINDS = tuple(
    KIND[name] for name in ("thumbs", "rating", "copy", "regenerate")
)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@dataclass
class Log:
    """Columns of a drawn log; `truth` holds the population value of each table."""

    kinds: tuple
    X: np.ndarray
    z: np.ndarray
    label: np.ndarray
    usable: np.ndarray
    observed: np.ndarray
    positive: np.ndarray
    gold: np.ndarray
    truth: dict

    @property
    def prompt(self):
        return np.arange(len(self.X)) // 2

    def fit(self, **changes):
        given = {"X": self.X, "kinds": self.kinds, "usable": self.usable, "observed": self.observed}
        given |= {"positive": self.positive, "fold_key": self.prompt, "gold": self.gold} | changes
        return evidence.fit(**given)


def linear(n, seed, gold):
    """Everything linear in six features: the fifth scales all feedback, the sixth does nothing."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 6)).astype(np.float32)
    z = 0.2 + X @ [1.2, -1.0, 0.7, 0.5, 0.0, 0.0]
    label = rng.random(n) < sigmoid(z)
    g = np.array([-1.5, -2.2, -2.2]) + 0.6 * X[:, 4:5] + 0.3 * X[:, :3] * [1, 0, -1]
    p1, p0 = (sigmoid(g + side * np.array([0.8, 2.2, -1.8]) / 2) for side in (1, -1))
    usable = np.ones((n, 3), bool)
    usable[:, 0] = rng.random(n) < 0.7
    observed = usable & (rng.random((n, 3)) < np.where(label[:, None], p1, p0))
    positive = observed.copy()
    positive[:, 0] &= rng.random(n) < np.where(label, 0.9, 0.2)
    q, truth = sigmoid(z), {("thumbs", "fnr"): 0.1, ("thumbs", "fpr"): 0.2}
    for k, (name, verb) in enumerate(
        (("thumbs", "answered"), ("copy", "happened"), ("regenerate", "happened"))
    ):
        for word, weight, p in (("liked", q, p1), ("not", 1 - q, p0)):
            truth[name, f"P({verb}|{word})"] = np.average(p[usable[:, k], k], weights=weight[usable[:, k]])
    known = np.full(n, np.nan)
    known[rng.permutation(n)[:gold]] = 1
    return Log((THUMBS, COPY, REGENERATE), X, z, label, usable, observed, positive, known * label, truth)


def brier(q, label):
    return float(np.mean((q - label) ** 2))


def auc(q, label):
    rank = np.argsort(np.argsort(q)) + 1.0
    positives = label.sum()
    return float(
        (rank[label].sum() - positives * (positives + 1) / 2) / (positives * (len(label) - positives))
    )


def product_log(name, seed, n=4000):
    """A log of a named world of the simulator on twelve Gaussian features; the sixth is the tone."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 12)).astype(np.float32)
    z = 1.95 * X[:, :4] @ [0.63, -0.53, 0.47, 0.32]
    label = rng.random(n) < sigmoid(z)
    chance = chances(WORLDS[name], z, X[:, 5].astype(float), np.ones(n, int), np.zeros(n), np.zeros(n))
    usable = np.ones((n, 4), bool)
    usable[:, 1] = rng.random(n) < 0.4
    observed = usable & (rng.random((n, 4)) < np.where(label[:, None], chance.p1, chance.p0))
    says = rng.random((n, 4)) < np.where(label[:, None], 1 - chance.fnr, chance.fpr)
    gold = np.full(n, np.nan)
    gold[rng.permutation(n)[:600]] = 1
    one_sided = np.array([kind.one_sided for kind in KINDS])
    return Log(KINDS, X, z, label, usable, observed, observed & (says | one_sided), gold * label, {})
