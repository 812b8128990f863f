"""The examples on real data reach their bars; each is skipped where its data is absent."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(example, folder, monkeypatch, capsys):
    """What `python examples/NAME.py FOLDER` prints."""
    monkeypatch.setattr(sys, "argv", ["example", str(folder)])
    example.main()
    return capsys.readouterr().out


def test_intervals_from_200_gold_votes_hold_the_rates_of_all(real_data):
    pandalm = load("pandalm")
    for annotator in range(3):
        result = pandalm.run(real_data("pandalm"), annotator)
        assert len(result.draws) == 20
        assert result.covered("fnr") >= 18
        assert result.covered("fpr") >= 18


def test_votes_about_boolean_responses_are_kept_and_the_table_is_printed(real_data, monkeypatch, capsys):
    pandalm = load("pandalm")
    cast = pandalm.votes(real_data("pandalm"))
    assert cast.shape == (999, 3)
    assert np.bincount(pandalm.majority(cast)).tolist() == [105, 422, 472]
    lines = table(pandalm, real_data("pandalm"), monkeypatch, capsys).splitlines()
    assert lines[3].split()[:4] == ["annotator1", "890", "fnr", "0.0261"]
    assert len(lines) == 9


def test_majority_of_three_is_what_two_say():
    pandalm = load("pandalm")
    cast = np.array([[1, 1, 2], [2, 0, 2], [0, 1, 2], [0, 0, 1]])
    assert pandalm.majority(cast).tolist() == [1, 2, 0, 0]


def test_doubly_robust_beats_naive_on_coats_drawn_at_random(real_data, monkeypatch, capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    coat = load("coat")
    folder, results = real_data("coat"), []
    run = coat.run
    monkeypatch.setattr(coat, "run", lambda data: results.append(run(data)) or results[0])
    printed = table(coat, folder, monkeypatch, capsys)
    auc, mse, mean = (values.mean(0) for values in (results[0].auc, results[0].mse, results[0].mean))
    plain, weighted, robust = range(3)
    assert results[0].auc.shape == (5, 4)
    assert auc[robust] >= 0.782 - 0.004
    assert mse[robust] <= 0.186 + 0.004
    assert auc[robust] > max(auc[plain], auc[weighted])
    assert mse[robust] < mse[weighted] < mse[plain]
    assert mean[plain] > mean[weighted] > mean[robust] > results[0].truth
    assert [line.split("  ")[0] for line in printed.splitlines()[4:]] == list(coat.ARMS)
