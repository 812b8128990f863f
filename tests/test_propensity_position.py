"""Position and chains: expected counts give the truth back, sampled ones come within their errors."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.propensity import all_pairs, chains, pbm, ratio

THETA = np.array([1.0, 0.7, 0.5, 0.4, 0.3])


def ranked(seed, n, groups=200, chance=0.75):
    """(group, slot, impressions, gamma): better groups stand higher, and each is seen in most slots."""
    rng = np.random.default_rng(seed)
    gamma = rng.beta(2, 3, groups)
    place = np.argsort(np.argsort(-gamma)) / groups * len(THETA)
    share = np.exp(-0.5 * np.abs(place[:, None] - np.arange(len(THETA)))) * (
        rng.random((groups, len(THETA))) < chance
    )
    table = np.round(share / share.sum() * n)
    group, slot = np.nonzero(table)
    return group, slot, table[group, slot], gamma


def clicked(seed, group, slot, n, gamma):
    """Clicks, from random numbers that drew nothing else."""
    return np.random.default_rng([seed, 1]).binomial(n.astype(int), THETA[slot] * gamma[group])


def worst(found):
    return np.abs(found.theta / THETA - 1).max()


# --- slots -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [pbm, all_pairs])
@given(
    theta=st.lists(st.floats(0.05, 1), min_size=1, max_size=5),
    gamma=st.lists(st.floats(0.02, 0.98), min_size=2, max_size=8),
    data=st.data(),
)
@settings(max_examples=40)
def test_expected_clicks_give_every_slot_back(model, theta, gamma, data):
    true, slots = np.array([1.0, *theta]), len(theta) + 1
    n = [[data.draw(st.floats(1, 1000)) for _ in range(slots)] for _ in gamma]
    group, slot = (part.ravel() for part in np.indices((len(gamma), slots)))
    shown = np.array(n).ravel()
    found = model(group, slot, shown, shown * true[slot] * np.array(gamma)[group])
    assert found.theta == pytest.approx(true, abs=1e-9)
    assert found.groups == len(gamma)


@pytest.mark.parametrize("model", [pbm, all_pairs])
def test_better_groups_standing_higher_do_not_move_the_slots(model):
    group, slot, n, gamma = ranked(0, 1e6)
    clicks = n * THETA[slot] * gamma[group]
    assert model(group, slot, n, clicks).theta == pytest.approx(THETA, abs=1e-9)
    assert worst(ratio(slot, n, clicks)) > 0.2


@pytest.mark.parametrize("model", [pbm, all_pairs])
def test_a_million_impressions_find_the_slots_within_two_percent(model):
    errors = []
    for seed in range(20):  # the worst of five slots in each of twenty products
        group, slot, n, gamma = ranked(seed, 1e6)
        errors.append(worst(model(group, slot, n, clicked(seed, group, slot, n, gamma))))
    assert np.median(errors) < 0.012
    assert (np.array(errors) < 0.02).sum() >= 17


def test_standard_errors_are_those_that_are_seen():
    group, slot, n, gamma = ranked(2, 1e5, groups=60)
    runs = []
    for seed in range(100):
        clicks = clicked(seed, group, slot, n, gamma)
        found = pbm(group, slot, n, clicks)
        runs.append((found.theta, found.error))
    theta, error = (np.array(part) for part in zip(*runs, strict=True))
    assert error[:, 0].tolist() == [0.0] * len(runs)
    assert theta.std(0)[1:] / error.mean(0)[1:] == pytest.approx(np.ones(4), abs=0.25)


def test_randomised_slots_are_a_ratio_of_click_rates():
    found = ratio(["left", "right", "right"], [100, 60, 40], [50, 10, 10])
    assert found.slot.tolist() == ["left", "right"]
    assert found.theta.tolist() == pytest.approx([1, 0.4])
    spread = (1 / 50 - 1 / 100) + (1 / 20 - 1 / 100)
    assert found.error.tolist() == pytest.approx([0, 0.4 * np.sqrt(spread)])


def test_rows_of_one_group_and_slot_add_up_and_lone_groups_say_nothing():
    table = ([0, 0, 1, 1], [0, 1, 0, 1], [90, 80, 50, 70], [40, 20, 10, 7])
    halves = tuple(list(column) * 2 for column in table)
    counts = [(np.array(c) / 2).tolist() for c in halves[2:]]
    lone = ([*table[0], 7], [*table[1], 0], [*table[2], 1000], [*table[3], 900])
    found = pbm(*table)
    for same in (pbm(*halves[:2], *counts), pbm(*lone)):
        assert same.theta == pytest.approx(found.theta, abs=1e-9)
        assert same.groups == 2


def test_a_slot_that_is_never_clicked_is_never_examined():
    group, slot = (part.ravel() for part in np.indices((3, 3)))
    clicks = np.array([30, 15, 0, 20, 10, 0, 10, 5, 0])
    found = pbm(group, slot, np.full(9, 100), clicks)
    assert found.theta == pytest.approx([1, 0.5, 0], abs=1e-9)
    assert np.isnan(found.error[2])
    assert np.isfinite(found.error[:2]).all()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            ([0, 0, 1, 1], [0, 1, 2, 3], [9, 9, 9, 9], [1, 1, 1, 1]),
            "no clicked group ties slot 2, 3 to slot 0: nothing that was clicked was seen in both. Let some "
            "responses change places, or leave these slots out",
        ),
        (
            ([0, 1], [0, 1], [9, 9], [1, 1]),
            "slot 0 has no clicks on groups seen in other slots too; the others are measured against it. "
            "Gather more, or leave it out",
        ),
        (
            ([0, 0], [0, 1], [9, 9], [1, 10]),
            "row 1 has 10 clicks on 9 impressions; between none and all of them can be clicked",
        ),
        (([0], [0, 1], [9, 9], [1, 1]), "group has shape (1,), n (2,); the same is needed"),
        (
            ([0, 0], [0, 1], [0, 0], [0, 0]),
            "no row has impressions; a position is measured by what was shown in it",
        ),
    ],
)
def test_tables_that_cannot_tell_are_errors(table, said):
    with pytest.raises(ValueError, match=r"slot|row|group") as error:
        pbm(*table)
    assert str(error.value) == said


def test_a_first_slot_without_clicks_is_no_reference():
    with pytest.raises(ValueError, match="slot 1 has no clicks"):
        ratio([1, 2], [10, 10], [0, 3])


# --- chains ------------------------------------------------------------------------------------------------


def sessions(attraction, goes_on):
    """(session, slot, clicked, count): every outcome of a list read from the top, by its probability.

    `goes_on` is P(reads on | clicked); without a click the next is always read.
    """
    table = []
    for number, pattern in enumerate(product([False, True], repeat=len(attraction))):
        chance, reading = 1.0, 1.0  # P(the clicks so far), P(still reading | those)
        for slot, click in enumerate(pattern):
            a = attraction[slot]
            seen = reading * (a if click else 1 - a) + (1 - reading) * (not click)
            chance *= seen
            reading = reading * (a * goes_on if click else 1 - a) / seen if seen else 0.0
        table += [(number, slot, click, chance) for slot, click in enumerate(pattern)]
    session, slot, clicked, count = zip(*table, strict=True)
    return session, slot, clicked, count


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4))
@settings(max_examples=30)
def test_cascade_finds_attraction_when_people_stop_at_the_first_click(attraction):
    session, slot, clicked, count = sessions(attraction, 0.0)
    found = chains(session, slot, clicked, slot, count=count)
    assert found.cascade == pytest.approx(attraction, abs=1e-9)
    assert found.attraction == pytest.approx(attraction, abs=1e-9)
    assert found.satisfaction == pytest.approx(np.ones(len(attraction)), abs=1e-9)
    assert found.relevance == pytest.approx(attraction, abs=1e-9)


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0, 1))
def test_what_the_closed_form_of_dcm_takes_for_the_end_is_known(a, b, goes_on):
    session, slot, clicked, count = sessions([a, b], goes_on)
    found = chains(session, slot, clicked, slot, count=count)
    # Slot 2 is read by those who did not click, and by those who did and went on; of these only who clicked
    # again are seen to have read it.
    read, seen = 1 - a + a * goes_on, 1 - a + a * goes_on * b
    assert found.attraction == pytest.approx([a, b * read / seen], abs=1e-9)
    assert found.attraction[1] >= b - 1e-12
    assert 1 - found.satisfaction[0] == pytest.approx(goes_on * b, abs=1e-9)  # went on, and it shows
    assert found.cascade == pytest.approx([a, b], abs=1e-9)


def test_chains_by_hand():
    # s: nothing clicked; t: the 2nd and 3rd of three; slots need not be consecutive, rows not in order.
    session = ["t", "s", "t", "t", "s", "t"]
    slot = [4, 1, 9, 2, 2, 7]
    clicked = [True, False, False, False, False, True]
    item = ["b", "a", "d", "a", "b", "c"]
    found = chains(session, slot, clicked, item)
    assert found.name.tolist() == ["a", "b", "c", "d"]
    assert found.to_first.tolist() == [2, 2, 0, 0]
    assert found.to_last.tolist() == [2, 2, 1, 0]
    assert found.clicks.tolist() == [0, 1, 1, 0]
    assert found.first.tolist() == [0, 1, 0, 0]
    assert found.last.tolist() == [0, 0, 1, 0]
    assert found.attraction.tolist()[:3] == [0, 0.5, 1]
    assert np.isnan(found.attraction[3])


def test_chain_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="clicked has shape"):
        chains([0, 0], [0, 1], [True], [0, 1])
