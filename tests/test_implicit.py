"""EM of the product model: the likelihood never falls, and only the product is found."""

import numpy as np
import pytest

from unskew.estimators import implicit_em
from unskew.estimators.implicit import PRODUCT


def cell_means(cell):
    """An exact M-step: the mean target of each cell."""
    count = np.bincount(cell)

    def fit(columns):
        return (np.bincount(cell, columns.b) / count)[cell]

    return fit


LIKED, ACTIVE = np.array([0.8, 0.4]), np.array([0.5, 0.25])


def log_of(cell_liked, cell_active, n=400):
    """A log in which the share of happening of every cell is its probability exactly."""
    happened = []
    for i, j in zip(cell_liked, cell_active, strict=True):
        count = round(n * LIKED[i] * ACTIVE[j])
        happened.append(np.arange(n) < count)
    return np.concatenate(happened), np.repeat(cell_liked, n), np.repeat(cell_active, n)


def grid():
    return log_of([0, 0, 1, 1], [0, 1, 0, 1])


def test_em_with_known_activity_finds_who_is_liked():
    happened, i, j = grid()
    found = implicit_em(happened, cell_means(i), p1=ACTIVE[j], rounds=3000, tolerance=1e-15)
    assert found.converged
    assert found.warning == ""
    assert found.liked == pytest.approx(LIKED[i], abs=1e-5)
    assert np.array_equal(found.p1, ACTIVE[j])


def test_em_never_loses_likelihood_and_tells_the_product():
    happened, i, j = grid()
    options = {"restriction": "activity depends on the surface only", "rounds": 3000, "tolerance": 1e-15}
    found = implicit_em(happened, cell_means(i), cell_means(j), liked=0.7, p1=0.6, **options)
    assert (np.diff(found.likelihood) > -1e-14).all()
    assert found.likelihood[-1] > found.likelihood[0] + 0.01
    assert found.product == pytest.approx(LIKED[i] * ACTIVE[j], abs=1e-4)
    assert found.columns.b.mean() == pytest.approx(found.liked.mean(), abs=1e-4)


def test_em_from_another_start_finds_other_factors_of_one_product():
    """Disjoint features are not enough: one factor stays free, and the likelihood does not mind."""
    happened, i, j = grid()
    options = {"restriction": "disjoint features", "rounds": 3000, "tolerance": 1e-15}
    one, two = (
        implicit_em(happened, cell_means(i), cell_means(j), liked=liked, p1=p1, **options)
        for liked, p1 in ((0.9, 0.3), (0.45, 0.6))
    )
    assert one.product == pytest.approx(two.product, abs=1e-4)
    assert one.likelihood[-1] == pytest.approx(two.likelihood[-1], abs=1e-8)
    assert np.abs(one.liked - two.liked).max() > 0.2
    assert one.warning == f"{PRODUCT}. Told apart, it was said, by: disjoint features"


def test_em_says_when_it_was_stopped():
    happened, i, _ = grid()
    found = implicit_em(happened, cell_means(i), p1=0.5, rounds=2, tolerance=0)
    assert not found.converged
    assert len(found.likelihood) == 3


# refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: implicit_em([1, 0], None, lambda c: c.b, p1=0.5),
            f"{PRODUCT}. Leave out `fit_active` and give the true p1, or say in `restriction` what tells "
            "the two apart, such as 'p1 depends on the surface only, and is 0.4 on the forced-ask subset'",
        ),
        (
            lambda: implicit_em([1, 0], lambda c: c.b[:1], p1=0.5),
            "fit_liked returned shape (1,); (2,) is needed, a probability a row",
        ),
        (
            lambda: implicit_em([1, 0], lambda c: c.b + 1, p1=0.5),
            "result of fit_liked of row 0 (and of 1 more) is 2.0; it must be in [0, 1]. "
            "it is a probability, not a logit",
        ),
        (lambda: implicit_em([1, 0], lambda c: c.b, p1=0.5, rounds=0), "rounds is 0; at least 1 is needed"),
        (
            lambda: implicit_em([1, 2], lambda c: c.b, p1=0.5),
            "observed of row 1 is 2; it must be 0 or 1. 1 where feedback was given",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        wrong()
    assert str(caught.value) == message
