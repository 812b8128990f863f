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


def coats(folder, coat, **options):
    """What the arms reach, by name: AUC, MSE, mean prediction; and the result."""
    result = coat.run(folder, **options)
    figures = (result.auc, result.mse, result.mean)
    return *(dict(zip(result.arms, values.T, strict=True)) for values in figures), result


def test_corrections_beat_naive_on_coats_drawn_at_random(real_data):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    folder, arms = real_data("coat"), ("naive", "IPS", "doubly robust")
    auc, mse, mean, result = coats(folder, load("coat"), seeds=2, arms=arms)
    assert result.auc.shape == (2, 3)
    assert auc["doubly robust"].mean() >= 0.782 - 0.004
    assert mse["doubly robust"].mean() <= 0.186 + 0.004
    assert (auc["doubly robust"] > np.maximum(auc["naive"], auc["IPS"])).all()
    assert (mse["doubly robust"] < mse["IPS"]).all()
    assert (mse["IPS"] < mse["naive"]).all()
    assert mean["naive"].mean() > mean["IPS"].mean() > mean["doubly robust"].mean() > result.truth
    assert not result.settled


@pytest.mark.slow
def test_coats_reach_the_references_and_auto_beats_naive_on_every_seed(real_data, monkeypatch, capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    coat, folder = load("coat"), real_data("coat")
    auc, mse, _, result = coats(folder, coat)
    for arm, least, most in (("doubly robust", 0.782, 0.186), ("MRDR", 0.786, 0.184)):
        assert auc[arm].mean() >= least - 0.004
        assert mse[arm].mean() <= most + 0.004
    assert (auc["auto"] > auc["naive"]).sum() == 5
    assert (mse["auto"] < mse["naive"]).sum() == 5
    assert result.settled[0].chosen == "doubly_robust"  # one kind without gold: no evidence
    monkeypatch.setattr(coat, "run", lambda data: result)
    printed = table(coat, folder, monkeypatch, capsys)
    assert [line.split("  ")[0] for line in printed.splitlines()[4:10]] == list(coat.ARMS)
    assert "auto, estimator of the whole log: doubly_robust." in printed
