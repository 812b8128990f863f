"""Power before labelling: closed formulas against exact enumeration of every outcome."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audited import log
from unskew import audit
from unskew.audit.power import class_power, gap_power, least, log_power
from unskew.rates import wilson

Z = {0.01: 2.5758293035489004, 0.05: 1.959963984540054}


def law(n, p):
    """Binomial probabilities of 0 .. n."""
    return np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])


def exact_class_power(n, pi, p1, p0, level):
    """Over all counts of liked, answered and liked, answered and not: the test of `measure.label_test`."""
    total = 0.0
    for liked, weight in enumerate(law(n, pi)):
        if weight < 1e-7:
            continue
        a, b = np.arange(liked + 1)[:, None], np.arange(n - liked + 1)[None, :]
        o, r = (a + b) / n, liked / n
        cells = (
            (a, (1 - o) * (1 - r)),
            (liked - a, -o * (1 - r)),
            (b, -(1 - o) * r),
            (n - liked - b, o * r),
        )
        top = sum(count * term for count, term in cells)
        square = sum(count * term**2 for count, term in cells)
        rejects = np.abs(top) > Z[level] * np.sqrt(square)
        total += weight * float(law(liked, p1) @ (rejects & (square > 0)) @ law(n - liked, p0))
    return total


@pytest.mark.parametrize(
    ("n", "pi", "p1", "p0", "level"),
    [
        (120, 0.5, 0.4, 0.2, 0.05),
        (120, 0.5, 0.5, 0.2, 0.01),
        (150, 0.35, 0.3, 0.3, 0.05),
        (200, 0.6, 0.35, 0.15, 0.01),
        (200, 0.5, 0.2, 0.4, 0.05),
    ],
)
def test_class_power_is_that_of_enumeration(n, pi, p1, p0, level):
    assert class_power(n, pi, p1, p0, level) == pytest.approx(
        exact_class_power(n, pi, p1, p0, level), abs=0.04
    )


@pytest.mark.parametrize(("n", "pi", "p1", "p0"), list(product((200, 1000), (0.3, 0.5), (0.3,), (0.22, 0.3))))
def test_log_power_is_that_of_enumeration(n, pi, p1, p0):
    told = pi * p1 / (pi * p1 + (1 - pi) * p0)
    share = np.arange(n + 1) / n
    rejects = np.abs(share - told) > Z[0.05] * np.sqrt(share * (1 - share) / n)
    with np.errstate(under="ignore"):
        chance = np.exp(
            [
                math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
                + k * math.log(pi) + (n - k) * math.log(1 - pi)
                for k in range(n + 1)
            ]
        )  # fmt: skip
    assert log_power(n, pi, p1, p0) == pytest.approx(float(chance @ rejects), abs=0.04)


def test_six_points_of_bias_are_found_as_often_as_they_were_in_simulation():
    """34 % of runs with 200 gold labels and 94 % with 1000, where gold alone has s.d. .034 at 200."""
    sd = 0.034 * math.sqrt(200)
    assert gap_power(200, 0.056, sd) == pytest.approx(0.34, abs=0.05)
    assert gap_power(1000, 0.056, sd) == pytest.approx(0.94, abs=0.05)


@given(
    st.integers(10, 5000),
    st.floats(0.1, 0.9),
    st.floats(0.05, 0.9),
    st.floats(0.05, 0.9),
    st.sampled_from([0.01, 0.05]),
)
def test_power_grows_with_labels_and_is_the_level_without_an_effect(n, pi, p1, p0, level):
    for power in (class_power, log_power):
        assert power(n, pi, p1, p1, level) == pytest.approx(level, abs=1e-6)
        some, more = power(n, pi, p1, p0, level), power(4 * n, pi, p1, p0, level)
        assert level - 1e-3 <= some <= more + 1e-9 <= 1 + 2e-9


def test_the_least_number_is_the_least():
    for goal in (0.5, 0.8, 0.95):
        n = least(lambda n, goal=goal: class_power(n, 0.5, 0.4, 0.2) >= goal)
        assert class_power(n, 0.5, 0.4, 0.2) >= goal > class_power(n - 1, 0.5, 0.4, 0.2)
    n = least(lambda n: np.diff(wilson(0.15, n))[0] <= 0.1)
    assert np.diff(wilson(0.15, n))[0] <= 0.1 < np.diff(wilson(0.15, n - 1))[0]
    assert least(lambda n: True) == 1
    assert least(lambda n: class_power(n, 0.5, 0.2, 0.2) >= 0.8) is None


def test_outlook_halves_and_doubles_the_plan_and_says_how_many_are_enough():
    examples, _ = log(gold=0)
    half, whole, twice = audit.outlook(examples, 300)
    assert [look.labels for look in (half, whole, twice)] == [150, 300, 600]
    assert whole.widths == audit.gold_plan(examples, 300).widths
    for kind, names in whole.widths.items():
        for name in names:
            assert twice.widths[kind][name] < whole.widths[kind][name] < half.widths[kind][name]
    assert whole.widths["all"]["accuracy"] < whole.widths["all"]["base_rate"]
    p0 = 2 * examples.observed[:, 0].mean() / 3
    assert whole.power["thumbs"]["p1 = p0"] == pytest.approx(class_power(200, 0.5, 2 * p0, p0))
    assert whole.power["thumbs"]["log against gold"] == pytest.approx(log_power(200, 0.5, 2 * p0, p0))
    enough = audit.enough(examples)["thumbs"]["p1 = p0"]
    now, one_less = (class_power(2 * n / 3, 0.5, 2 * p0, p0) for n in (enough, enough - 1))
    assert now >= 0.8 > one_less


def test_random_labels_that_are_there_count_and_may_be_enough_already():
    none, some, many = (audit.enough(log(gold=n)[0])["thumbs"]["p1 = p0"] for n in (0, 40, 1500))
    assert some == pytest.approx(none - 1.5 * 40, abs=2)
    assert many == 0


def test_outlook_ends_where_the_rows_do_and_plans_pairs_too():
    examples, _ = log(400, gold=0)
    looks = audit.outlook(examples, 300, pairs=100)
    assert [look.labels for look in looks] == [150, 300]
    low, high = wilson(0.15, 50)
    assert looks[0].widths["choice"] == {"fnr": high - low, "fpr": high - low}
    with pytest.raises(ValueError, match="must be between 10 and 400"):
        audit.outlook(examples, 500)


def test_impossible_questions_say_why():
    for call, says in (
        (lambda: class_power(0, 0.5, 0.4, 0.2), "n is 0; at least one gold label"),
        (lambda: class_power(10, 1.0, 0.4, 0.2), r"base_rate is 1.0; it must be in \(0, 1\)"),
        (lambda: log_power(10, 0.5, 1.4, 0.2), "p1 is 1.4"),
        (lambda: log_power(10, 0.5, 0.0, 0.0), "nobody answers"),
        (lambda: gap_power(10, 0.1, 0.0), "sd is 0.0"),
    ):
        with pytest.raises(ValueError, match=says):
            call()
    assert class_power(100, 0.5, 1.0, 1.0) == 0
