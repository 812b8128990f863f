"""A head in the shape that scikit-learn gave classifiers, for the nuisance models."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from unskew.estimators import Columns
from unskew.reward.fit import DECAYS, fit_head


class HeadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """P(y = 1 | x) = sigmoid(r(x)), the cross-entropy of held-out prompts deciding when to stop.

    Two classes; or probabilities of the second one as soft labels in [0, 1], with classes 0 and 1. Rows alike
    in features, label and group are one row with the sum of their weights, so that a weight and a repetition
    are one problem, and the order of the rows does not matter. Passes the estimator checks of scikit-learn
    but for what its tests list.

    Args:
        head: `linear` or `mlp`.
        seed, validation, decays, hidden, lr, decay, epochs, batch, patience: see `fit_head`.

    Attributes:
        fitted_: the `HeadFit`.
        classes_: the two labels. Shape [2].
        n_features_in_: D.

    Example:
        >>> X = np.random.default_rng(0).standard_normal((200, 3))
        >>> HeadClassifier().fit(X, X[:, 0] > 0).predict_proba(X).shape
        (200, 2)
    """

    def __init__(
        self,
        head: Literal["linear", "mlp"] = "linear",
        *,
        seed: int = 0,
        validation: float = 0.2,
        decays: tuple[float, ...] = DECAYS,
        hidden: tuple[int, ...] = (64,),
        lr: float = 1e-3,
        decay: float = 0.01,
        epochs: int = 200,
        batch: int = 1024,
        patience: int = 10,
    ) -> None:
        self.head = head
        self.seed = seed
        self.validation = validation
        self.decays = decays
        self.hidden = hidden
        self.lr = lr
        self.decay = decay
        self.epochs = epochs
        self.batch = batch
        self.patience = patience

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(
        self,
        X: NDArray[Any],
        y: NDArray[Any],
        sample_weight: NDArray[Any] | None = None,
        groups: NDArray[Any] | None = None,
    ) -> "HeadClassifier":
        """Fit to labels of two classes, or to soft labels in [0, 1].

        Args:
            X: features. Shape [N, D].
            y: label, or probability of the second class. Shape [N].
            sample_weight: weight >= 0; 1 when absent. Shape [N].
            groups: fold key of each row, so that prompts are held out whole; rows with equal features share
                one when absent. Shape [N].

        Raises:
            ValueError: as `fit_head`, or there are not two classes.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        label = self._label(y)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        alike = _equal_rows(X)
        group = alike if groups is None else np.unique(groups, return_inverse=True)[1]
        one = np.stack([alike, group, np.unique(label, return_inverse=True)[1]], axis=1)
        _, first, place = np.unique(one, axis=0, return_index=True, return_inverse=True)
        weight = np.bincount(place.ravel(), weight)  # ravel: NumPy 2.0 returns a column
        self.fitted_ = fit_head(
            X[first],
            Columns(weight, weight * label[first], 0 * weight),
            groups=group[first],
            loss="logistic",
            metric="logistic",
            weighted_axes=True,
            **self.get_params(),
        )
        return self

    def _label(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """Labels as numbers in [0, 1], and `classes_`."""
        if y.dtype.kind == "f" and ((y >= 0) & (y <= 1)).all() and ((y > 0) & (y < 1)).any():
            self.classes_ = np.array([0, 1])
            return np.asarray(y, np.float64)
        check_classification_targets(y)
        self.classes_, code = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {type_of_target(y)}."
            )
        if len(self.classes_) < 2:
            raise ValueError("y has one class; a classifier needs two to tell apart")
        return code.astype(np.float64)

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities of the two classes. Shape [N, 2].

        Raises:
            NotFittedError: `fit` has not been called.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        positive = 0.5 * (1 + np.tanh(0.5 * self.fitted_.head(X)))
        return np.stack([1 - positive, positive], axis=1)

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """The class that is more probable. Shape [N].

        Raises:
            NotFittedError: `fit` has not been called.
        """
        most = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[most])


def _equal_rows(X: NDArray[Any]) -> NDArray[np.int64]:
    """A code that rows with the same features share. Shape [N]."""
    rows = np.ascontiguousarray(X)
    return np.asarray(np.unique(rows.view(np.dtype((np.void, rows[0].nbytes)))[:, 0], return_inverse=True)[1])
