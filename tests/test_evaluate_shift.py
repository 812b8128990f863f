"""Distances between windows and the running alarm: exact as formulas, and as seldom wrong as they say."""

import numpy as np
import pytest

from unskew.evaluate import Alarm, distances, mix_drift, page_hinkley


def test_distances_by_hand():
    found = distances([30, 10], [10, 30])
    p, q = 30.5 / 41, 10.5 / 41
    assert found["psi"] == pytest.approx(2 * (p - q) * np.log(p / q))
    assert found["js"] == pytest.approx(0.75 * np.log2(1.5) + 0.25 * np.log2(0.5))
    assert found["p"] < 1e-4
    assert distances([5, 7], [5, 7]) == {"psi": 0.0, "js": 0.0, "p": 1.0}
    assert distances([9, 0], [0, 9])["js"] == 1.0
    assert np.isfinite(distances([9, 0], [0, 9])["psi"])
    assert distances([4], [8]) == {"psi": 0.0, "js": 0.0, "p": 1.0}


def test_both_ways_are_the_same_distance_and_values_nobody_has_do_not_matter():
    rng = np.random.default_rng(0)
    one, two = rng.integers(1, 50, (2, 6))
    there, back, padded = distances(one, two), distances(two, one), distances([*one, 0], [*two, 0])
    assert there["psi"] == pytest.approx(back["psi"])
    assert there["js"] == pytest.approx(back["js"])
    assert padded == pytest.approx(there)


def test_p_of_windows_without_change_is_uniform():
    rng = np.random.default_rng(1)
    share = [0.4, 0.3, 0.2, 0.1]
    p = [distances(rng.multinomial(600, share), rng.multinomial(900, share))["p"] for _ in range(600)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)


def test_mix_drift_names_the_window_and_the_value_that_moved():
    surface = np.array(["chat"] * 80 + ["mail"] * 20 + ["chat"] * 82 + ["mail"] * 18 + ["mail"] * 50)
    day = np.repeat([1, 2, 3], [100, 100, 50])
    quiet, moved = mix_drift(surface, day)
    assert (quiet["window"], quiet["n"], moved["window"], moved["n"]) == (2, 100, 3, 50)
    assert quiet["p"] > 0.5
    assert moved["p"] < 1e-9
    assert {name: moved[name] for name in ("psi", "js", "p")} == distances([82, 18], [0, 50])
    assert (moved["most"], moved["share"], moved["before"]) == ("mail", 1.0, 0.18)


def test_page_hinkley_finds_a_change_soon_after_it_and_says_where_it_began():
    rng = np.random.default_rng(0)
    rate = np.where(np.arange(6000) < 3000, 0.1, 0.2)
    for values, direction in ((rng.random(6000) < rate, "up"), (rng.random(6000) < 0.3 - rate, "down")):
        found = page_hinkley(values, change=0.05)
        assert isinstance(found, Alarm)
        assert found.direction == direction
        assert 3000 < found.row < 4200
        assert abs(found.since - 3000) < 300


def test_page_hinkley_by_hand():
    # mean so far 0, 0, 1/3, 1/2; x - mean - 1/8 sums to -1/8, -1/4, 7/24, 2/3; above its minimum 13/24, 11/12
    h = 0.25 * np.log(2 * 4 / 0.9) / 0.25
    assert 2.1 < h < 2.2
    assert page_hinkley([0, 0, 1, 1], change=0.25, level=0.9) is None
    many = [0] * 20 + [1] * 20
    walk = np.cumsum(many - np.cumsum(many) / np.arange(1, 41) - 0.125)
    height = 0.25 * np.log(2 * 40 / 0.9) / 0.25
    first = int(np.flatnonzero(walk - np.minimum.accumulate(walk) > height)[0])
    assert page_hinkley(many, change=0.25, level=0.9) == Alarm(first, 20, "up")


@pytest.mark.parametrize("rate", [0.03, 0.3])
def test_page_hinkley_is_quiet_where_nothing_changes(rate):
    rng = np.random.default_rng(7)
    alarms = sum(page_hinkley(rng.random(4000) < rate, change=rate / 3) is not None for _ in range(400))
    assert alarms <= 12  # level 0.01


def test_one_window_and_bad_arguments_are_errors():
    with pytest.raises(ValueError, match="at least 2 windows"):
        mix_drift([1, 2], [1, 1])
    with pytest.raises(ValueError, match="one window a row"):
        mix_drift([1, 2], [1])
    with pytest.raises(ValueError, match="not all 0"):
        distances([0, 0], [1, 2])
    with pytest.raises(ValueError, match="change > 0"):
        page_hinkley([1, 2], change=0)
    assert page_hinkley([1.0], change=0.1) is None
