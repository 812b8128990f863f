"""The example that fine-tunes on real preferences: its users, a small run, the order of its arms."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLES))  # it takes the folds and the head of hh_harmless.py
    try:
        spec = importlib.util.spec_from_file_location("hh_finetune", EXAMPLES / "hh_finetune.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["hh_finetune"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(EXAMPLES))


def made_up(example, pairs=400, seed=0):
    """Pairs whose features say which reply is chosen, and whose chosen reply is mostly the shorter one."""
    chance = np.random.default_rng(seed)
    size = chance.integers(20, 200, 2 * pairs)
    X = chance.normal(size=(2 * pairs, 4)).astype(np.float32)
    X[:, 3] = size / 60
    better = X @ np.array([1.0, -0.5, 0.0, -1.0]) + chance.logistic(size=2 * pairs)
    order = np.where(better[::2] > better[1::2], 0, 1)
    rows = np.ravel(2 * np.arange(pairs)[:, None] + np.stack([order, 1 - order], 1))
    replies = ["x" * size[row] for row in rows]
    return example.Pairs([f"prompt {k // 2}" for k in range(2 * pairs)], replies, X[rows])


@pytest.mark.parametrize("world", ["by label", "by features"])
def test_users_choose_and_are_recorded_at_the_rates_that_are_known(example, world):
    seen = example.show(made_up(example), world, 0)
    y = seen.label[seen.pair]
    assert len(y) == 400 * example.USERS
    for label, rate, p in ((1, example.FNR, seen.p1), (0, example.FPR, seen.p0)):
        rows = y == label
        assert seen.observed[rows].mean() == pytest.approx(p[rows].mean(), abs=0.03)
        assert (seen.recorded[rows] != label).mean() == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize("world", ["by label", "by features"])
def test_corrected_columns_are_better_than_naive_ones(example, world):
    found = {name: values.mean() for name, values in example.simulate(made_up(example), world, 1).items()}
    assert list(found) == ["naive", "flips undone", "selection undone", "corrected", "clean"]
    assert found["naive"] > found["corrected"] + 0.01
    assert found["corrected"] > found["clean"] - 0.005


def test_small_model_is_fine_tuned_and_compared_on_the_same_pairs(example, minilm, real_data, tmp_path):
    data = example.read(real_data("hh_harmless"), minilm, tmp_path, limit=20)
    assert len(data) == 20
    found = example.compare(data, minilm, some=1)
    fold = example.folds(20, 0)
    held = np.flatnonzero(fold == 0)
    assert found.pairs == len(held) == 4
    assert found.won - found.lost == pytest.approx(4 * (found.tuned - found.frozen))
    reward = example.finetune(data, minilm, np.flatnonzero(fold != 0), 0)
    chosen, rejected = (
        reward.score([data.prompts[k] for k in rows], [data.replies[k] for k in rows])
        for rows in (2 * held, 2 * held + 1)
    )
    assert (chosen > rejected).mean() == found.tuned  # the same again


@pytest.mark.slow
def test_brier_falls_from_naive_to_corrected_to_clean_on_harmless_pairs(example, minilm, real_data, features):
    data = example.read(real_data("hh_harmless"), minilm, features)
    found = example.simulate(data, "by label")
    naive, corrected, clean = (found[name] for name in ("naive", "corrected", "clean"))
    assert ((naive > corrected) & (corrected > clean)).sum() >= 4
    assert naive.mean() > corrected.mean() > clean.mean()
