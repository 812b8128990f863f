"""Folds by prompt: siblings never part, so that nothing estimated has seen a sibling of what it speaks of."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def assign(fold_key: ArrayLike, folds: int, usable: ArrayLike) -> NDArray[np.int64]:
    """Fold of each row: equal keys share one, folds hold about equally many usable keys. Shape [N].

    A function of the keys present, so that the same rows always fall into the same folds.

    Args:
        fold_key: rows with one key share a fold (prompt hash). Shape [N], integers.
        folds: how many, at least 2.
        usable: rows whose keys are spread evenly. Shape [N].

    Raises:
        ValueError: the shapes differ, fewer than 2 folds, or fewer usable keys than folds.
    """
    keys, count = np.asarray(fold_key), np.asarray(usable).astype(bool)
    if keys.shape != count.shape:
        raise ValueError(f"fold_key has shape {keys.shape}; {count.shape} is needed, one key a row")
    code = np.unique(keys, return_inverse=True)[1]
    present = np.unique(code[count])
    if not 2 <= folds <= len(present):
        raise ValueError(f"folds is {folds}; it must be between 2 and the number of prompts, {len(present)}")
    order = np.random.default_rng(0).permutation(len(present))
    fold = np.zeros(int(code.max()) + 1, np.int64)
    fold[present[order]] = np.arange(len(present)) % folds
    return np.asarray(fold[code])
