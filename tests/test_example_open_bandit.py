"""The example on a real click log: nothing lost on the way to the store, and the value NumPy gives."""

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "open_bandit.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("open_bandit", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain(folder, policy):
    """(item, position, click, propensity) straight from the file."""
    with (folder / policy / "men" / "men.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = ("item_id", "position", "click", "propensity_score")
    return [np.array([float(row[name]) for row in rows]) for name in names]


def test_value_of_bts_from_the_random_log_is_the_one_numpy_gives(example, real_data, tmp_path):
    folder = real_data("openbandit")
    result = example.run(folder, tmp_path)
    random, bts = plain(folder, "random"), plain(folder, "bts")

    assert result.balance == {
        "lines": 20_115,
        "committed": 20_115,
        "duplicate": 0,
        "quarantined": 0,
        "blank": 0,
    }
    assert sum(len(log.click) for log in result.logs.values()) == 20_000
    assert {policy: int(log.click.sum()) for policy, log in result.logs.items()} == {"random": 46, "bts": 69}
    assert result.clicks == {"random": int(random[2].sum()), "bts": int(bts[2].sum())}

    item, position, click, propensity = random
    target = np.array(
        [
            ((bts[0] == i) & (bts[1] == at)).sum() / (bts[1] == at).sum()
            for i, at in zip(item, position, strict=True)
        ]
    )
    weight = target / propensity
    value, size = (weight * click).sum() / weight.sum(), weight.sum() ** 2 / (weight**2).sum()
    assert round(value, 5) == 0.00574
    assert round(size) == 2869
    # The store keeps probabilities in single precision.
    assert result.snips.value == pytest.approx(value, rel=1e-6)
    assert result.snips.ess == pytest.approx(size, rel=1e-6)
    assert result.ips.value == pytest.approx((weight * click).mean(), rel=1e-6)
    assert result.snips.low < result.logs["bts"].click.mean() < result.snips.high


def test_table_says_what_was_read_and_what_came_out(example, real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["open_bandit", str(real_data("openbandit")), "--store", str(tmp_path)])
    example.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "books: lines 20,115, committed 20,115, duplicate 0, quarantined 0, blank 0"
    assert [line.split()[:4] for line in lines[3:5]] == [
        ["random", "10,000", "46", "46"],
        ["bts", "10,000", "69", "69"],
    ]
    assert "0.00574" in lines[7]
    assert "ESS 2,869 of 10,000" in lines[7]
    assert lines[10] == (
        "The weights leave an effective 2,869 of 10,000 rows: the log says as much about this policy as "
        "2,869 rows of its own would."
    )
