"""Folds: siblings together, even, the same for the same rows, and refused in words."""

import numpy as np
import pytest

from unskew.folds import assign


def test_folds_keep_prompts_together_and_are_even():
    keys = np.random.default_rng(2).integers(0, 500, 3000)
    fold = assign(keys, 5, np.ones(3000, bool))
    assert all(len(set(fold[keys == key])) == 1 for key in np.unique(keys))
    assert np.bincount([fold[keys == key][0] for key in np.unique(keys)]).min() >= 99
    order = np.random.default_rng(3).permutation(3000)
    assert np.array_equal(assign(keys[order], 5, np.ones(3000, bool)), fold[order])


def test_usable_prompts_are_spread_evenly_whatever_the_others_are():
    keys = np.arange(1000, dtype=np.uint64) * np.uint64(2**60 + 1)
    usable = np.arange(1000) < 30
    assert np.bincount(assign(keys, 3, usable)[usable]).tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("keys", "folds", "says"),
    [
        ([1, 1, 2], 9, "folds is 9; it must be between 2 and the number of prompts, 2"),
        ([1, 2, 3], 1, "folds is 1; it must be between 2 and the number of prompts, 3"),
        ([1, 2], 2, "fold_key has shape (2,); (3,) is needed, one key a row"),
    ],
)
def test_folds_that_cannot_be_are_a_sentence(keys, folds, says):
    with pytest.raises(ValueError, match="is") as error:
        assign(keys, folds, np.ones(3, bool))
    assert str(error.value) == says
