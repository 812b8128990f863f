"""A head in the shape that scikit-learn gave classifiers, for the nuisance models."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unskew.estimators import Columns
from unskew.reward.fit import HeadFit, fit_head


class HeadClassifier:
    """P(y = 1 | x) = sigmoid(r(x)), the cross-entropy of held-out prompts deciding when to stop.

    Args:
        head: `linear` or `mlp`.
        seed: see `fit_head`.
        options: further arguments of `fit_head`.

    Example:
        >>> X = np.random.default_rng(0).standard_normal((200, 3))
        >>> HeadClassifier().fit(X, X[:, 0] > 0).predict_proba(X).shape
        (200, 2)
    """

    def __init__(self, head: Literal["linear", "mlp"] = "linear", *, seed: int = 0, **options: Any) -> None:
        self.head, self.seed, self.options = head, seed, options
        self.fitted: HeadFit | None = None

    def fit(
        self,
        X: NDArray[Any],
        y: NDArray[Any],
        sample_weight: NDArray[Any] | None = None,
        groups: NDArray[Any] | None = None,
    ) -> "HeadClassifier":
        """Fit to labels in [0, 1].

        Args:
            X: features. Shape [N, D].
            y: label, or probability of it. Shape [N].
            sample_weight: weight >= 0; 1 when absent. Shape [N].
            groups: fold key of each row; every row a group of its own when absent. Shape [N].

        Raises:
            ValueError: as `fit_head`.
        """
        label = np.asarray(y, np.float64)
        weight = np.ones(len(label)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        self.fitted = fit_head(
            X,
            Columns(weight, weight * label, 0 * weight),
            groups=np.arange(len(label)) if groups is None else groups,
            head=self.head,
            loss="logistic",
            metric="logistic",
            seed=self.seed,
            **self.options,
        )
        return self

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities of y = 0 and y = 1. Shape [N, 2].

        Raises:
            ValueError: `fit` has not been called.
        """
        if self.fitted is None:
            raise ValueError("this classifier has not been fitted; call fit first")
        positive = 0.5 * (1 + np.tanh(0.5 * self.fitted.head(X)))
        return np.stack([1 - positive, positive], axis=1)
