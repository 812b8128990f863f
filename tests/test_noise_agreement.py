"""Agreement of repeated labels: exact inversion in fractions, intervals, three real votes a pair."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew import noise
from unskew.noise import NoiseRefused
from unskew.noise.agreement import disagreement


def enumerated(e, prior, votes):
    """Every pattern of votes, as often as an exact population of flip rate e has it."""
    patterns = list(itertools.product((1, 0), repeat=votes))
    mass = []
    for pattern in patterns:
        one = Fraction(1)
        zero = Fraction(1)
        for vote in pattern:
            one *= (1 - e) if vote else e
            zero *= e if vote else (1 - e)
        mass.append(prior * one + (1 - prior) * zero)
    scale = np.lcm.reduce([int(m.denominator) for m in mass])
    counts = [int(m * int(scale)) for m in mass]
    assert sum(mass) == 1
    return np.repeat(np.array(patterns, float), counts, axis=0), dict(zip(patterns, mass, strict=True))


@pytest.mark.parametrize("votes", [2, 3, 4])
@pytest.mark.parametrize("e", [Fraction(1, 10), Fraction(1, 4), Fraction(2, 5)])
@pytest.mark.parametrize("prior", [Fraction(1, 2), Fraction(1, 5)])
def test_inversion_of_the_exact_population_is_the_flip_rate(votes, e, prior):
    labels, mass = enumerated(e, prior, votes)
    agree = sum((m for pattern, m in mass.items() if pattern[0] == pattern[1]), Fraction(0))
    assert agree == (1 - e) ** 2 + e**2
    assert (2 * agree - 1) == (1 - 2 * e) ** 2
    found = noise.from_agreement(labels)
    assert found.fnr == pytest.approx(float(e), abs=1e-12)
    assert found.fpr == found.fnr
    assert found.source == "agreement"
    assert noise.leave_one_out(labels).error == pytest.approx(float(e), abs=1e-12)


@pytest.mark.parametrize("e", [Fraction(1, 10), Fraction(1, 3)])
@pytest.mark.parametrize("others", [1, 2, 3])
def test_a_label_goes_against_the_unanimous_rest_as_often_as_enumerated(e, others):
    _, mass = enumerated(e, Fraction(1, 3), others + 1)
    rest = {pattern: m for pattern, m in mass.items() if len(set(pattern[1:])) == 1}
    against = sum((m for pattern, m in rest.items() if pattern[0] != pattern[1]), Fraction(0))
    told = disagreement(float(e), np.array([float(others)]))[0]
    assert told == pytest.approx(float(against / sum(rest.values(), Fraction(0))), rel=1e-12)


@given(st.floats(0, 0.49), st.floats(0.001, 0.01), st.integers(1, 9))
def test_going_against_the_rest_grows_with_the_flip_rate(e, more, others):
    size = np.array([float(others)])
    assert disagreement(e + more, size)[0] > disagreement(e, size)[0]


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, np.nan])] * 3), min_size=4, max_size=30), st.randoms())
def test_order_coding_and_single_labels_play_no_part(rows, random):
    labels = np.array([(1.0, 1.0, 1.0), (0.0, 0.0, 1.0), *rows])
    try:
        found = noise.from_agreement(labels)
    except NoiseRefused:
        return
    items, sources = list(range(len(labels))), [0, 1, 2]
    random.shuffle(items)
    random.shuffle(sources)
    for other in (
        labels[items][:, sources],
        1 - labels,
        np.vstack([labels, [[1, np.nan, np.nan], [np.nan] * 3]]),
    ):
        again = noise.from_agreement(other)
        assert again.fnr == pytest.approx(found.fnr, abs=1e-12)
        assert np.allclose(again.covariance, found.covariance, rtol=1e-9)


def test_intervals_hold_the_flip_rate_where_labels_are_missing():
    hits, widths, runs = 0, [], 200
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        truth = rng.random((250, 1)) < 0.6
        labels = np.where(rng.random((250, 4)) < 0.15, ~truth, truth).astype(float)
        labels[rng.random((250, 4)) < 0.3] = np.nan
        found = noise.from_agreement(labels)
        low, high = found.interval["fnr"]
        hits += low <= 0.15 <= high
        widths.append(high - low)
    assert 0.91 <= hits / runs <= 0.99
    assert np.mean(widths) < 0.1


def test_variance_of_two_labels_an_item_is_binomial():
    n, k = 100, 82  # items, of which agree; half an item of each outcome is added
    found = noise.from_agreement([[1, 1]] * 40 + [[0, 0]] * 42 + [[1, 0]] * 18)
    share = (k + 0.5) / (n + 1)
    spread = share * (1 - share) / (n + 1)
    assert np.allclose(found.covariance, spread / (4 * (2 * 0.82 - 1)), rtol=1e-12)


def test_agreement_without_exception_is_not_called_perfect():
    found = noise.from_agreement(np.ones((20, 2)))
    assert 0 < found.fnr < 0.02
    assert 0.02 < found.interval["fnr"][1] < 0.2


def test_labels_that_agree_like_coins_are_refused():
    labels = [[1, 0], [0, 1], [1, 1], [0, 0]]
    with pytest.raises(NoiseRefused) as error:
        noise.from_agreement(labels, kind="thumbs")
    assert str(error.value) == (
        "thumbs: labels of one item agree in 50.0% of cases; it must be more than half, since two coins do "
        "as well. Look whether one source is coded the other way round, or label gold"
    )
    with pytest.raises(NoiseRefused, match="2 of 4 labels go against"):
        noise.leave_one_out([[1, 0], [1, 1]], kind="thumbs")
    with pytest.raises(ValueError, match="no item has two labels") as error:
        noise.from_agreement([[1, np.nan], [np.nan, 0]])
    with pytest.raises(ValueError, match="say 1 together 6 times and 0 together 0 times"):
        noise.leave_one_out([[1, 1, 1], [1, 1, 1]])


# --- three people a pair -----------------------------------------------------------------------------------


def votes(folder):
    """1 where the annotator prefers the first response, NaN for a tie. Shape [999, 3]."""
    rows = json.loads((folder / "testset-v1.json").read_text(encoding="utf-8"))
    cast = np.array([[row[f"annotator{k}"] for k in (1, 2, 3)] for row in rows])
    return np.where(cast == 0, np.nan, cast == 1)


def test_people_flip_about_three_votes_in_a_hundred(real_data):
    labels = votes(real_data("pandalm"))
    alone = noise.leave_one_out(labels)
    whole = labels[~np.isnan(labels).any(1)]
    unanimous = noise.leave_one_out(whole)
    assert unanimous.down.value == pytest.approx(0.0285, abs=0.002)
    assert unanimous.up.value == pytest.approx(0.0272, abs=0.002)
    assert unanimous.down.interval[0] < 0.0285 < unanimous.down.interval[1]
    found = noise.from_agreement(labels)
    assert found.fnr == pytest.approx(0.027, abs=0.003)
    assert found.checked().interval["fnr"][0] < unanimous.error < found.interval["fnr"][1]
    assert alone.error == pytest.approx(unanimous.error, abs=0.003)


def test_people_come_out_alike_by_agreement_and_by_dawid_skene(real_data):
    labels = votes(real_data("pandalm"))
    fitted = noise.dawid_skene(labels, trusted=[True] * 3).checked()
    mean = np.mean([(rate.fnr + rate.fpr) / 2 for rate in fitted.rates])
    assert mean == pytest.approx(noise.from_agreement(labels).fnr, abs=0.004)
