"""Reward heads: they find the model behind their columns and hold whole prompts out."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from unskew.estimators import Columns, Mixture, swap
from unskew.reward import Head, HeadClassifier, NumericError, fit_head, heads
from unskew.reward.fit import DECAYS, GIVE_UP
from unskew.reward.problem import pose

TRUE, BIAS = np.array([1.0, -2.0, 0.5]), 0.3
PLAIN = {"decays": (1e-8,)}
"""Next to no decay: the head is the minimiser of the loss."""
BRIEF = {"linear": {}, "mlp": {"head": "mlp", "hidden": (8,), "epochs": 4, "lr": 0.01, "batch": 64}}
KINDS = sorted(BRIEF)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def columns(target, weight=1.0, margin=0.0):
    a = weight * np.ones(len(target))
    return Columns(a, a * target, margin * np.ones(len(target)))


def same(left, right):
    """Equal to the last bit."""
    return all(
        np.array_equal(x, y)
        for one, two in zip(left, right, strict=True)
        for x, y in zip(one, two, strict=True)
    )


def close(head, weight, bias, tolerance):
    found = head.layers[0]
    assert found[0][:, 0] == pytest.approx(np.asarray(weight), abs=tolerance)
    assert found[1][0] == pytest.approx(bias, abs=tolerance)


@pytest.fixture(scope="module")
def world():
    """(X, P(liked), liked, prompt) with two responses a prompt."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((240, 3)).astype(np.float32)
    p = sigmoid(X @ TRUE + BIAS)
    return X, p, (rng.random(240) < p).astype(float), np.arange(240) // 2


# --- head --------------------------------------------------------------------------------------------------


def test_linear_head_is_a_weighted_sum():
    head = Head.linear([2.0, -1.0], 0.5)
    assert head(np.array([[1.0, 1.0], [0.0, 3.0]])).tolist() == [1.5, -2.5]
    assert (head.kind, head.sizes) == ("linear", [2, 1])


def test_mlp_cuts_its_hidden_units_at_zero():
    hidden = (np.array([[1.0, -1.0], [2.0, 1.0]]), np.array([0.0, 1.0]))
    head = Head((hidden, (np.array([[3.0], [-2.0]]), np.array([0.5]))))
    # [1, 1]: max(0, [3, 1]) -> 9 - 2 + 0.5;  [-1, 0]: max(0, [-1, 2]) -> 0 - 4 + 0.5
    assert head(np.array([[1.0, 1.0], [-1.0, 0.0]])).tolist() == [7.5, -3.5]
    assert (head.kind, head.sizes) == ("mlp", [2, 2, 1])


def test_rows_scored_in_chunks_get_the_logits_of_rows_scored_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((23, 4)).astype(np.float32)
    layers = ((rng.standard_normal((4, 5)), np.ones(5)), (rng.standard_normal((5, 1)), np.ones(1)))
    whole = Head(layers)(X)
    monkeypatch.setattr(heads, "CHUNK", 7)
    assert Head(layers)(X) == pytest.approx(whole, abs=1e-5)
    assert Head(layers)(X[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], "the layers have shapes []; [inputs, outputs] and [outputs] are needed"),
        (
            [((3,), (1,))],
            "the layers have shapes [((3,), (1,))]; [inputs, outputs] and [outputs] are needed",
        ),
        (
            [((3, 2), (1,))],
            "the layers have shapes [((3, 2), (1,))]; [inputs, outputs] and [outputs] are needed",
        ),
        (
            [((3, 2), (2,)), ((4, 1), (1,))],
            "the layers have sizes [3, 2, 1], which do not follow each other",
        ),
        ([((3, 2), (2,))], "the head ends in 2 numbers; one logit is needed"),
    ],
)
def test_layers_that_make_no_logit_are_an_error(shapes, message):
    with pytest.raises(ValueError, match="the ") as error:
        Head(tuple((np.zeros(weight), np.zeros(bias)) for weight, bias in shapes))
    assert str(error.value) == message


@pytest.mark.parametrize("shape", [(3,), (3, 3)])
def test_features_of_another_width_are_an_error(shape):
    with pytest.raises(ValueError, match="X has shape") as error:
        Head.linear([1.0, 2.0], 0.0)(np.zeros(shape))
    assert str(error.value) == f"X has shape {shape}; [rows, 2] is needed"


def test_parameters_that_are_not_finite_are_an_error():
    with pytest.raises(NumericError) as error:
        Head.linear([1.0, np.nan], np.inf)
    assert str(error.value) == (
        "2 parameters of the head are not finite; check the columns, or lower the step"
    )


def test_parameters_cannot_change_after_they_were_checked():
    weight = np.ones((2, 1), np.float32)
    head = Head(((weight, np.zeros(1, np.float32)),))
    weight[0] = np.nan
    assert head.layers[0][0].tolist() == [[1.0], [1.0]]
    with pytest.raises(ValueError, match="read-only"):
        head.layers[0][0][0] = np.nan


# --- what a head finds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["logistic", "brier"])
def test_linear_head_recovers_the_logistic_model_behind_its_targets(world, loss):
    X, p, _, prompt = world
    fit = fit_head(X, columns(p), groups=prompt, loss=loss, **PLAIN)
    close(fit.head, TRUE, BIAS, 0.02)
    assert fit.metric == "brier"
    assert fit.held_out == pytest.approx((p * (1 - p)).mean(), abs=0.05)


def test_mixture_recovers_the_model_from_evidence_that_is_right(world):
    X, p, _, prompt = world
    fnr, fpr = 0.1, 0.2
    record = (
        p * (1 - fnr) + (1 - p) * fpr
    )  # both records of a row, each with its probability: no sampling error
    d = np.repeat(np.log([(1 - fnr) / fpr, fnr / (1 - fpr)]), 240)
    evidence = Mixture(np.concatenate([record, 1 - record]), d, 0 * d)
    fit = fit_head(np.tile(X, (2, 1)), evidence, groups=np.tile(prompt, 2), loss="mixture", **PLAIN)
    close(fit.head, TRUE, BIAS, 0.05)
    assert fit.metric == "mixture"


def test_rows_without_evidence_say_nothing_and_only_share_the_weight(world):
    X, _, liked, prompt = world
    d = np.where(liked, 1.5, -1.0)
    some = Mixture(np.ones(240), d, 0 * d)
    more = Mixture(np.ones(480), np.append(d, 0 * d), np.append(0 * d, 5 + 0 * d))
    twice, both = np.tile(X, (2, 1)), np.tile(prompt, 2)
    one = fit_head(X, some, groups=prompt, loss="mixture", decays=(2e-3,))
    two = fit_head(twice, more, groups=both, loss="mixture", decays=(1e-3,))  # half the mean, half the decay
    close(two.head, one.head.layers[0][0][:, 0], one.head.layers[0][1][0], 5e-3)
    assert two.held_out == pytest.approx(one.held_out / 2, rel=1e-3)


def test_pairs_tell_the_weights_and_exchanging_the_slots_changes_nothing(world):
    X, _, _, prompt = world
    ahead, behind = np.arange(0, 240, 2), np.arange(1, 240, 2)
    target = columns(sigmoid((X[ahead] - X[behind]) @ TRUE))
    options = {"groups": prompt, "loss": "logistic", **PLAIN}
    one = fit_head(X, target, pairs=(ahead, behind), **options).head
    two = fit_head(X, swap(target), pairs=(behind, ahead), **options).head
    assert one.layers[0][0][:, 0] == pytest.approx(TRUE, abs=0.02)
    assert two.layers[0][0] == pytest.approx(one.layers[0][0], abs=5e-3)
    scores = one(X)
    assert scores[ahead] - scores[behind] == pytest.approx((X[ahead] - X[behind]) @ TRUE, abs=0.1)


@pytest.mark.parametrize("paired", [False, True])
def test_z_is_temperature_times_score_minus_margin(world, paired):
    X, p, _, prompt = world
    pairs = (np.array([4, 0, 9]), np.array([5, 1, 8])) if paired else None
    margin = np.array([0.5, -1.0, 2.0]) if paired else np.linspace(-1, 1, 240)
    target = replace(columns(p[: len(margin)]), m=margin)
    problem = pose(X, target, prompt, pairs, "brier", None, 2.0, 0.2, 0)
    score = X @ TRUE.astype(np.float32)
    expected = 2 * (score[pairs[0]] - score[pairs[1]] if paired else score) - margin
    read = {"score": lambda rows: rows @ rows.new_tensor(TRUE)}
    assert problem.z(**read).numpy() == pytest.approx(expected, abs=1e-5)
    some = problem.ahead.new_tensor([2, 0])
    assert problem.z(**read, entries=some).numpy() == pytest.approx(expected[[2, 0]], abs=1e-5)


def test_margin_moves_the_bias_and_temperature_divides_the_head(world):
    X, _, liked, prompt = world
    options = {"groups": prompt, "loss": "logistic"}
    plain = fit_head(X, columns(liked), decays=(1e-3,), **options).head
    weight, bias = plain.layers[0][0][:, 0], plain.layers[0][1][0]
    moved = fit_head(X, columns(liked, margin=1.0), decays=(1e-3,), **options).head
    close(moved, weight, bias + 1, 5e-3)
    warm = fit_head(X, columns(liked), temperature=2.0, decays=(4e-3,), **options).head
    close(warm, weight / 2, bias / 2, 5e-3)  # u is half as long, so four times the decay weighs the same


def test_weights_matter_up_to_a_constant(world):
    X, _, liked, prompt = world
    weight = np.random.default_rng(1).choice([0.5, 1.0, 4.0], 240)
    one, two = (fit_head(X, columns(liked, c * weight), groups=prompt) for c in (1.0, 300.0))
    close(two.head, one.head.layers[0][0][:, 0], one.head.layers[0][1][0], 5e-3)
    assert two.held_out == pytest.approx(one.held_out, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_weigh_nothing_change_nothing(world, kind):
    X, _, liked, prompt = world
    silent = np.full((60, 3), np.nan, np.float32)  # nothing of them is read
    weight = np.append(np.ones(240), np.zeros(60))
    more = columns(np.append(liked, np.ones(60)), weight)
    one = fit_head(X, columns(liked), groups=prompt, **BRIEF[kind])
    two = fit_head(np.vstack([X, silent]), more, groups=np.append(prompt, np.arange(900, 960)), **BRIEF[kind])
    assert same(one.head.layers, two.head.layers)
    assert two.counts == {**one.counts, "entries": 300, "silent": 60}


@pytest.mark.parametrize("kind", KINDS)
def test_same_arguments_give_the_same_bits(world, kind):
    X, _, liked, prompt = world
    one, two = (fit_head(X, columns(liked), groups=prompt, **BRIEF[kind]) for _ in range(2))
    assert same(one.head.layers, two.head.layers)
    assert (one.history, one.best_epoch, one.held_out) == (two.history, two.best_epoch, two.held_out)
    other = fit_head(X, columns(liked), groups=prompt, seed=1, **BRIEF[kind])
    assert other.history != one.history


# --- what is held out --------------------------------------------------------------------------------------


def test_siblings_are_held_out_together_whatever_the_order_of_rows():
    rng = np.random.default_rng(0)
    names = np.repeat([f"prompt {number}" for number in range(60)], rng.integers(1, 6, 60))
    order = rng.permutation(len(names))
    X, target = rng.standard_normal((len(names), 2)), columns(np.full(len(names), 0.5))

    def held(groups, seed=0):
        mask = pose(X, target, groups, None, "brier", None, 1.0, 0.2, seed).held.numpy()
        assert not set(groups[mask]) & set(groups[~mask])
        return set(groups[mask])

    assert len(held(names)) == 12
    assert held(names[order]) == held(names)
    assert held(names, seed=1) != held(names)


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.99, 2)])
def test_either_side_of_the_split_has_a_prompt(share, count):
    target = columns(np.full(3, 0.5))
    problem = pose(np.eye(3), target, np.arange(3), None, "brier", None, 1.0, share, 0)
    assert int(problem.held.sum()) == count


@pytest.mark.parametrize("kind", KINDS)
def test_kept_step_has_the_least_held_out_value(world, kind):
    X, _, liked, prompt = world
    fit = fit_head(X, columns(liked), groups=prompt, loss="logistic", **BRIEF[kind])
    values = [step["held_out"] for step in fit.history]
    assert fit.best_epoch == int(np.argmin(values))
    assert fit.held_out == min(values)
    if kind == "linear":
        assert [step["step"] for step in fit.history] == list(DECAYS[: len(values)])
        assert len(values) == min(fit.best_epoch + 1 + GIVE_UP, len(DECAYS))
        again = fit_head(X, columns(liked), groups=prompt, loss="logistic", decays=(DECAYS[fit.best_epoch],))
        close(fit.head, again.head.layers[0][0][:, 0], again.head.layers[0][1][0], 5e-3)
    else:
        held = pose(X, columns(liked), prompt, None, "logistic", None, 1.0, 0.2, 0).held.numpy()
        brier = (sigmoid(fit.head(X[held])) - liked[held]) ** 2
        assert fit.held_out == pytest.approx(brier.mean(), rel=1e-4)


# --- odd columns -------------------------------------------------------------------------------------------


def test_odd_entries_are_counted(world):
    X, _, _, prompt = world
    target = columns(np.full(240, 0.5))
    target.a[:2], target.b[:4] = [0, -1], [0, -0.5, 1.5, -0.1]
    counts = fit_head(X, target, groups=prompt, decays=(1e-2,)).counts
    sides = counts.pop("training"), counts.pop("validation")
    assert counts == {"entries": 240, "silent": 1, "negative": 1, "outside": 2}
    assert sum(sides) == 239
    assert sides[1] in (47, 48)  # 24 of 120 prompts


@pytest.mark.parametrize("loss", ["logistic", "brier"])
@pytest.mark.parametrize("kind", KINDS)
def test_wild_targets_and_negative_weights_leave_the_head_finite(world, kind, loss):
    X, _, _, prompt = world
    rng = np.random.default_rng(2)
    a = np.where(rng.random(240) < 0.15, -1.0, 2.0)
    fit = fit_head(X, Columns(a, rng.uniform(-3, 5, 240), 0 * a), groups=prompt, loss=loss, **BRIEF[kind])
    assert np.isfinite(fit.head(X)).all()
    assert np.isfinite([list(step.values()) for step in fit.history]).all()
    assert fit.counts["negative"] == (a < 0).sum() > 10
    assert fit.counts["outside"] > 50


# --- MLP ---------------------------------------------------------------------------------------------------


def test_mlp_learns_what_no_linear_head_can():
    rng = np.random.default_rng(0)
    corner = rng.choice([-1.0, 1.0], (400, 2))
    X, target = corner + 0.1 * rng.standard_normal((400, 2)), columns((corner.prod(1) > 0) * 1.0)
    options = {"groups": np.arange(400), "loss": "logistic"}
    line = fit_head(X, target, **options)
    bent = fit_head(X, target, head="mlp", hidden=(16,), epochs=30, lr=0.02, batch=32, **options)
    assert line.held_out > 0.23
    assert bent.held_out < 0.05
    assert bent.head.sizes == [2, 16, 1]


def test_mlp_stops_when_prompts_it_has_not_seen_gain_no_more(world):
    X, _, _, prompt = world
    coin = np.random.default_rng(3).integers(0, 2, 240)
    options = {"hidden": (16,), "lr": 0.05, "batch": 64, "epochs": 100, "patience": 3}
    fit = fit_head(X, columns(coin), groups=prompt, head="mlp", **options)
    assert len(fit.history) == fit.best_epoch + 1 + 3 < 100


@pytest.mark.parametrize("kind", KINDS)
def test_step_with_the_least_training_loss_is_kept_when_asked_for(world, kind):
    X, _, liked, prompt = world
    fit = fit_head(X, columns(liked), groups=prompt, select="training", **BRIEF[kind])
    assert fit.best_epoch == np.argmin([step["training"] for step in fit.history])
    assert fit.held_out == fit.history[fit.best_epoch]["held_out"]


@pytest.mark.parametrize("kind", KINDS)
def test_non_negative_risk_does_not_pay_for_calling_every_silent_row_disliked(kind):
    """One in five happened, a share of .6 is liked: b = 3, and a - b = -2 pays for a silent row near 0."""
    rng = np.random.default_rng(0)
    X, happened = rng.standard_normal((50, 80)), (np.arange(50) % 5 == 0).astype(float)
    mlp = {"head": "mlp", "epochs": 150, "decay": 0.0, "lr": 0.01, "patience": 150}
    options = {"groups": np.arange(50), **({"decays": (1e-8,)} if kind == "linear" else mlp)}

    def silent(**more):
        fit = fit_head(X, columns(3 * happened), select="training", **options, **more)
        return float(sigmoid(fit.head(X))[happened == 0].mean())

    assert silent() < 0.1
    assert silent(non_negative=True) > silent() + 0.1


# --- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "tree"}, "head is 'tree'; it must be one of linear, mlp"),
        ({"loss": "hinge"}, "loss is 'hinge'; it must be one of brier, logistic, mixture"),
        ({"metric": "auc"}, "metric is 'auc'; it must be one of None, brier, logistic, mixture"),
        (
            {"metric": "mixture"},
            "metric is 'mixture', loss 'brier'; evidence and targets cannot stand for each other",
        ),
        (
            {"loss": "mixture", "metric": "brier"},
            "metric is 'brier', loss 'mixture'; evidence and targets cannot stand for each other",
        ),
        ({"temperature": 0.0}, "temperature is 0.0; it must be > 0"),
        ({"temperature": np.nan}, "temperature is nan; it must be > 0"),
        ({"validation": 0.0}, "validation is 0.0; it is a share and must be in (0, 1)"),
        ({"validation": 1.0}, "validation is 1.0; it is a share and must be in (0, 1)"),
        ({"decays": ()}, "decays is empty; a linear head needs at least one"),
        ({"head": "mlp", "epochs": 0}, "epochs is 0; an MLP needs at least one"),
        ({"groups": [0, 1]}, "groups has 2 entries, X has 4 rows; one of each is needed"),
        (
            {"groups": [7, 7, 7, 7]},
            "groups has 1 distinct values where there is a weight; at least 2 are needed",
        ),
        (
            {"columns": columns(np.ones(3))},
            "column a has shape (3,); [4] is needed, one entry a row or pair",
        ),
        (
            {"columns": columns(np.array([1, np.nan, 0, np.inf]))},
            "column b has 2 entries that are not finite; the estimator must leave none",
        ),
        (
            {"columns": columns(np.ones(4), -1.0), "validation": 0.25},
            "a sums to -3 over the 3 training entries; it must be positive. too few entries have a weight, "
            "or too many weights are negative",
        ),
        ({"select": "test"}, "select is 'test'; it must be one of held_out, training"),
        (
            {"non_negative": True, "loss": "mixture"},
            "non_negative bends the parts of targets; the mixture has none and is bounded",
        ),
        (
            {"weighted_axes": True, "pairs": (np.arange(4), np.roll(np.arange(4), 1))},
            "weighted_axes needs single responses with weights >= 0",
        ),
        (
            {"X": np.array([[1.0], [np.nan], [0.0], [2.0]])},
            "X holds a value that is not finite; repair the features or drop the row",
        ),
        (
            {"pairs": (np.arange(4), np.arange(3))},
            "pairs has shapes (4,) and (3,); [pairs], twice, is needed",
        ),
        (
            {"pairs": (np.arange(4), np.array([1, 2, 4, -1]))},
            "pairs has 2 entries that are not rows of X, which has 4",
        ),
    ],
)
def test_argument_that_does_not_fit_is_an_error(change, message):
    plain = {"X": np.eye(4)[:, :2], "columns": columns(np.full(4, 0.5)), "groups": np.arange(4)}
    arguments = {name: np.asarray(value) if name == "groups" else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message.split()[0]) as error:
        fit_head(**(plain | arguments))
    assert str(error.value) == message


def test_held_out_prompts_that_weigh_nothing_together_are_an_error():
    problem = pose(np.eye(4), columns(np.full(4, 0.5)), np.arange(4), None, "brier", None, 1.0, 0.25, 0)
    weight = np.where(problem.held.numpy(), -1.0, 1.0)
    with pytest.raises(ValueError, match="a sums to") as error:
        fit_head(np.eye(4), columns(np.full(4, 0.5), weight), groups=np.arange(4), validation=0.25)
    assert str(error.value) == (
        "a sums to -1 over the 1 held-out entries; it must be positive. too few entries have a weight, or "
        "too many weights are negative"
    )


def test_linear_head_that_explodes_is_an_error(world):
    X, _, liked, prompt = world
    with pytest.raises(NumericError) as error:
        fit_head(X, columns(liked), groups=prompt, temperature=np.inf)
    assert str(error.value) == "the linear head became non-finite at decay 0.01; check the columns"


def test_mlp_that_explodes_is_an_error(world):
    X, _, liked, prompt = world
    with pytest.raises(NumericError) as error:
        fit_head(X, columns(liked), groups=prompt, **(BRIEF["mlp"] | {"lr": 1e30}))
    assert str(error.value) == "the loss became non-finite in epoch 0; lower the learning rate (1e+30)"


# --- classifier --------------------------------------------------------------------------------------------


def test_classifier_gives_the_probabilities_of_the_model_behind_its_labels(world):
    X, p, _, prompt = world
    model = HeadClassifier(**PLAIN).fit(X, p, groups=prompt)
    found = model.predict_proba(X)
    assert found[:, 1] == pytest.approx(p, abs=0.01)
    assert found.sum(1) == pytest.approx(np.ones(240))
    assert model.fitted_.metric == "logistic"


def test_classifier_takes_a_weight_for_repeated_rows_and_holds_groups_out_together(world):
    X, _, liked, prompt = world
    often = np.random.default_rng(4).integers(0, 3, 240)
    weighted = HeadClassifier(seed=5, decays=(1e-3,)).fit(X, liked > 0, often, groups=prompt)
    rows = np.repeat(np.arange(240), often)
    repeated = HeadClassifier(seed=5, decays=(1e-3,)).fit(X[rows], liked[rows], groups=prompt[rows])
    assert weighted.fitted_.held_out == pytest.approx(repeated.fitted_.held_out, abs=1e-6)
    assert weighted.predict_proba(X) == pytest.approx(repeated.predict_proba(X), abs=2e-5)
    assert weighted.fitted_.counts["silent"] == (often == 0).sum()
    two = HeadClassifier().fit(X, liked, groups=prompt % 2).fitted_.counts
    assert (two["training"], two["validation"]) == (120, 120)


def test_classifier_passes_its_options_on(world):
    X, _, liked, _ = world
    model = HeadClassifier("mlp", hidden=(4,), epochs=1).fit(X, liked)
    assert model.fitted_.head.sizes == [3, 4, 1]
    assert model.fitted_.counts["validation"] == 48  # every row a group of its own


def test_classifier_that_was_not_fitted_is_an_error():
    with pytest.raises(ValueError, match="This HeadClassifier instance is not fitted yet"):
        HeadClassifier().predict_proba(np.zeros((1, 2)))
