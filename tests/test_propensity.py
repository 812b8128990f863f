"""Propensities: out of fold, calibrated, floored with a count, and by class where the class decides."""

import numpy as np
import pytest

from unskew import propensity, simulate
from unskew.propensity import classwise_from_base_rate, classwise_from_gold, platt
from unskew.rates import RANDOM, STRATIFIED, Share


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Logistic:
    """Logistic regression by Newton's method, `slope` times too steep."""

    def __init__(self, slope=1.0):
        self.slope = slope
        self.seen = None

    def fit(self, X, y):
        self.seen = X
        design = np.column_stack([np.ones(len(X)), X])
        self.beta = np.zeros(design.shape[1])
        for _ in range(15):
            s = sigmoid(design @ self.beta)
            curvature = (design * (s * (1 - s))[:, None]).T @ design + 1e-6 * np.eye(len(self.beta))
            self.beta += np.linalg.solve(curvature, design.T @ (y - s))
        return self

    def predict_proba(self, X):
        assert not any(np.array_equal(row, seen) for row in X[:3] for seen in self.seen), "a training row"
        p = sigmoid(self.slope * np.column_stack([np.ones(len(X)), X]) @ self.beta)
        return np.column_stack([1 - p, p])


class Memory:
    """Knows the training rows by heart."""

    def fit(self, X, y):
        self.known = dict(zip(X[:, 0].tolist(), y.tolist(), strict=True))

    def predict_proba(self, X):
        p = np.array([self.known.get(x, 0.5) for x in X[:, 0].tolist()]) * 0.98 + 0.01
        return np.column_stack([1 - p, p])


@pytest.fixture(scope="module")
def log():
    """(X, true propensity, observed, prompt) with two responses a prompt."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 3))
    p = sigmoid(-1.5 + X @ [1.0, -0.5, 0.0])
    return X, p, rng.random(6000) < p, np.arange(6000) // 2


# --- logged ------------------------------------------------------------------------------------------------


def test_logged_propensities_are_taken_as_they_are_and_the_report_is_plain_arithmetic():
    p = np.array([0.5, 0.25, 0.01, 0.9])
    observed = np.array([True, True, True, False])
    found = propensity.logged(p, observed, positive=[1, 0, 0, 0])
    report = found.report
    assert found.p.tolist() == [0.5, 0.25, 0.02, 0.9]
    assert found.raw.tolist() == p.tolist()
    weight = np.array([2.0, 4.0, 50.0, 0.0])
    assert report.mean_o_over_p == pytest.approx(weight.sum() / 4)
    assert report.ess == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    assert report.max_weight == 50
    assert report.clipped == 1
    assert report.clipped_mass == pytest.approx({"all": 50 / 106, "1": 0.0, "0": 50 / 104})
    assert (report.n, report.seen) == (4, 3)
    assert sum(part.n for part in report.bins) == 4
    assert report.to_dict()["bins"][0]["n"] == 1


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5, np.nan])
def test_propensity_outside_its_range_is_an_error(value):
    with pytest.raises(ValueError, match="propensity of row 1") as error:
        propensity.logged([0.5, value, value], [1, 0, 1])
    assert str(error.value) == (
        f"propensity of row 1 (and of 1 more) is {value}; it must be in (0, 1]. Drop the row: nothing stands "
        "for it when it can never be observed"
    )


def test_rows_that_are_not_usable_get_one_and_enter_no_figure():
    usable = np.array([True, True, False])
    found = propensity.logged([0.5, 0.5, 0.0], [True, False, True], usable=usable)
    assert found.p.tolist() == [0.5, 0.5, 1.0]
    assert found.report.n == 2
    assert found.report.mean_o_over_p == 1.0


# --- cells -------------------------------------------------------------------------------------------------


def test_cells_find_their_rates_and_noisy_ones_lean_on_their_parent():
    rng = np.random.default_rng(1)
    surface = rng.integers(0, 3, 9000)
    tiny = surface * 1000 + rng.integers(0, 400, 9000)  # cells of about eight rows that do not differ
    true = np.array([0.05, 0.3, 0.6])[surface]
    observed = rng.random(9000) < true
    found = propensity.cells([surface, tiny], observed, np.arange(9000))
    alone = propensity.cells(tiny, observed, np.arange(9000))
    error = np.abs(found.p - true).mean()
    assert error < 0.02
    assert error < 0.3 * np.abs(alone.p - true).mean()
    assert found.settings["strength"][1] > 30
    assert found.report.mean_o_over_p == pytest.approx(1, abs=0.05)


def test_cells_of_a_fold_are_counted_without_that_fold():
    cell = np.zeros(100, int)
    observed = np.arange(100) < 10
    keys = np.arange(100) // 10
    found = propensity.cells(cell, observed, keys, folds=10, floor=0.0)
    assert np.ptp(found.p[keys == 0]) == 0
    assert found.p[0] < 0.02 < found.p[99]  # the ten observed rows do not count for themselves
    assert found.p[99] == pytest.approx(10 / 90, abs=0.01)


def test_cell_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="cell has shape") as error:
        propensity.cells([0, 1], [True, False, True], [0, 1, 2])
    assert str(error.value) == "cell has shape (2,), observed (3,); the same is needed"


# --- features ----------------------------------------------------------------------------------------------


def test_fitted_propensities_are_close_calibrated_and_out_of_fold(log):
    X, true, observed, prompt = log
    found = propensity.fit(X, observed, prompt, model=Logistic)
    assert np.abs(found.p - true).mean() < 0.02
    assert found.report.mean_o_over_p == pytest.approx(1, abs=0.05)
    assert found.report.ece < 0.03
    assert found.report.held_out
    assert found.source == "features"


def test_calibration_undoes_a_model_that_is_too_sure(log):
    X, _, observed, prompt = log
    found = propensity.fit(X, observed, prompt, model=lambda: Logistic(slope=3.0))
    assert found.settings["calibration"][1] == pytest.approx(1 / 3, abs=0.02)
    assert found.report.ece < 0.03


def test_model_that_memorises_is_found_out_because_prompts_are_held_out(log):
    _, _, observed, prompt = log
    shared = np.column_stack([prompt.astype(float)])  # siblings share their only feature
    found = propensity.fit(shared, observed, prompt, model=Memory)
    assert np.abs(found.p - observed.mean()).max() < 0.02


def test_model_that_takes_groups_gets_the_prompts_of_its_rows(log):
    X, _, observed, prompt = log
    given = []

    class Grouped(Logistic):
        def fit(self, X, y, groups=None):
            given.append(groups)
            return super().fit(X, y)

    propensity.fit(X, observed, prompt, model=Grouped, folds=2)
    first, second = (set(groups.tolist()) for groups in given)
    assert not first & second
    assert first | second == set(prompt.tolist())


def test_fit_uses_usable_rows_alone(log):
    X, _, observed, prompt = log
    usable = X[:, 2] > 0
    one = propensity.fit(X, observed, prompt, model=Logistic, usable=usable)
    two = propensity.fit(X, np.where(usable, observed, ~observed), prompt, model=Logistic, usable=usable)
    assert np.array_equal(one.p, two.p)
    assert (one.p[~usable] == 1).all()
    assert one.report.n == usable.sum()


def test_small_propensities_are_raised_to_the_floor_and_counted(log):
    X, _, observed, prompt = log
    found = propensity.fit(X, observed, prompt, model=Logistic, positive=observed, floor=0.1)
    assert found.p.min() == 0.1
    assert found.report.clipped == (found.raw < 0.1).sum() > 100
    seen = observed.astype(float)
    expected = (seen / found.raw - seen / found.p).sum() / (seen / found.raw).sum()
    assert found.report.clipped_mass["all"] == pytest.approx(expected)
    assert found.report.clipped_mass["1"] == pytest.approx(expected)
    assert found.report.clipped_mass["0"] == 0


def test_log_of_voted_rows_alone_cannot_tell_propensities(log):
    X, _, _, prompt = log
    with pytest.raises(ValueError, match="a model needs both outcomes") as error:
        propensity.fit(X[:10], np.ones(10), prompt[:10], model=Logistic, folds=5)
    assert str(error.value) == (
        "feedback was given on 8 of 8 rows outside fold 0; a model needs both outcomes. A log of voted rows "
        "alone cannot tell propensities: log the silent ones too"
    )


def test_platt_is_the_maximum_of_the_likelihood_and_survives_separation():
    rng = np.random.default_rng(3)
    z = rng.standard_normal(2000) * 2
    y = rng.random(2000) < sigmoid(0.5 + 0.7 * z)
    shift, scale = platt(z, y)
    residual = y - sigmoid(shift + scale * z)
    assert abs(residual.mean()) < 1e-5
    assert abs((residual * z).mean()) < 1e-5
    assert np.isfinite(platt(z, z > 0)).all()
    assert np.isfinite(platt(z * 1e3, z > 0)).all()
    assert np.isfinite(platt(np.zeros(50), np.ones(50))).all()


def test_head_classifier_of_the_package_fits_the_propensity_of_a_simulated_log():
    pytest.importorskip("torch", reason="torch is not installed")
    from unskew.reward import HeadClassifier

    drawn = simulate.draw(simulate.World(selection="features"), 4000, seed=1)
    X = np.column_stack([drawn.quality, drawn.tone, drawn.slot]).astype(np.float32)
    found = propensity.fit(X, drawn.observed[:, 0], drawn.request, model=HeadClassifier)
    assert np.corrcoef(found.p, drawn.propensity[:, 0])[0, 1] > 0.9
    assert 0.9 < found.report.mean_o_over_p < 1.1


# --- by class ----------------------------------------------------------------------------------------------


def labelled(seed, n=6000, p1=0.4, p0=0.08, liked=0.5):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < liked
    observed = rng.random(n) < np.where(truth, p1, p0)
    positive = observed & (rng.random(n) < np.where(truth, 0.9, 0.2))
    gold, design, prob = np.full(n, np.nan), np.zeros(n, np.int8), np.full(n, np.nan)
    order = rng.permutation(n)
    gold[order[:150]], design[order[:150]] = truth[order[:150]], RANDOM
    for record in (observed & positive, observed & ~positive):
        rows = order[150:][record[order[150:]]]
        take = rows[:100]
        gold[take], design[take], prob[take] = truth[take], STRATIFIED, 0.97 * len(take) / len(rows)
    return truth, observed, positive, gold, design, prob


def test_class_propensities_from_gold_hold_the_truth():
    hits = np.zeros(3)
    for seed in range(250):
        _, observed, positive, gold, design, prob = labelled(seed)
        found = classwise_from_gold(observed, positive, gold, design=design, prob=prob)
        for number, (name, value) in enumerate((("p1", 0.4), ("p0", 0.08), ("base_rate", 0.5))):
            low, high = found.interval[name]
            hits[number] += low <= value <= high
    assert (hits / 250 >= 0.91).all()


def test_class_propensities_from_complete_gold_are_the_counted_ones():
    truth, observed, positive, *_ = labelled(0)
    found = classwise_from_gold(observed, positive, truth.astype(float))
    assert found.p1 == pytest.approx(observed[truth].mean(), abs=2e-3)
    assert found.p0 == pytest.approx(observed[~truth].mean(), abs=2e-3)
    assert found.examples["1"] == pytest.approx((observed & truth).sum(), abs=3)
    assert found.examples["0"] == pytest.approx((observed & ~truth).sum(), abs=3)
    assert found.rows == 6000


def test_class_propensities_from_a_base_rate_by_hand():
    # 100 rows, 40 answered, 24 up; fnr .1, fpr .2: liked among answered (.6 - .2) / .7 = 4/7; base rate .5.
    observed, positive = np.arange(100) < 40, np.arange(100) < 24
    found = classwise_from_base_rate(observed, positive, 0.5, fnr=0.1, fpr=0.2)
    assert found.p1 == pytest.approx(0.4 * (4 / 7) / 0.5)
    assert found.p0 == pytest.approx(0.4 * (3 / 7) / 0.5)
    assert found.examples == pytest.approx({"1": 160 / 7, "0": 120 / 7})
    assert found.source == "base rate"


def test_class_propensities_from_a_base_rate_hold_the_truth():
    hits = np.zeros(2)
    for seed in range(250):
        rng = np.random.default_rng(seed)
        truth, observed, positive, *_ = labelled(seed)
        base = Share(truth[:200].mean(), 0.25 / 200)
        spread = np.diag([0.02**2, 0.03**2])
        fnr, fpr = 0.1 + 0.02 * rng.standard_normal(), 0.2 + 0.03 * rng.standard_normal()
        found = classwise_from_base_rate(observed, positive, base, fnr=fnr, fpr=fpr, covariance=spread)
        for number, (name, value) in enumerate((("p1", 0.4), ("p0", 0.08))):
            low, high = found.interval[name]
            hits[number] += low <= value <= high
    assert (hits / 250 >= 0.91).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0], [1, 0], 1.0), "base_rate is 1.0; it must be in (0, 1): the share of liked responses"),
        (([0, 0], [0, 0], 0.5), "nothing was observed on a usable row; p1 and p0 need feedback"),
    ],
)
def test_base_rate_that_cannot_be_used_is_an_error(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        classwise_from_base_rate(*arguments)
    assert str(error.value) == message


def test_class_propensities_without_gold_or_information_are_an_error():
    with pytest.raises(ValueError, match="need gold or a base rate") as error:
        classwise_from_gold([1, 0], [1, 0], [np.nan, np.nan])
    assert str(error.value) == "no usable row has a gold label; p1 and p0 need gold or a base rate"
    with pytest.raises(ValueError, match="says nothing") as error:
        classwise_from_base_rate([1, 0], [1, 0], 0.5, fnr=0.5, fpr=0.5)
    assert str(error.value) == "1 - fnr - fpr is 0.000; it must be above 0: such a record says nothing"
