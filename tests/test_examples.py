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
