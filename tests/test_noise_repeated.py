"""Repeated labels: EM on exact populations, named classes, real judges that outvote the one that is right."""

import csv
import gzip
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew import noise
from unskew.noise import NoiseRefused, NoiseWarning, em
from unskew.noise.em import Confusion, Patterns

pytestmark = pytest.mark.filterwarnings("ignore::unskew.noise.NoiseWarning")

RATE = st.floats(0.02, 0.48)


@st.composite
def models(draw, least=2, most=4):
    size = draw(st.integers(least, most))
    fnr, fpr = (np.array(draw(st.lists(RATE, min_size=size, max_size=size))) for _ in range(2))
    return Confusion(draw(st.floats(0.1, 0.9)), fnr, fpr)


def population(at, shown=1.0):
    """Every pattern of labels (1, 0, missing), with its exact probability under the model."""
    options = (1.0, 0.0) if shown == 1 else (1.0, 0.0, np.nan)
    labels = np.array(list(itertools.product(options, repeat=len(at.fnr))))
    given_class = []
    for one in (1 - at.fnr, at.fpr):  # P(says 1 | true 1), P(says 1 | true 0)
        cell = np.where(np.isnan(labels), 1 - shown, shown * np.where(labels == 1, one, 1 - one))
        given_class.append(cell.prod(1))
    mass = at.prior * given_class[0] + (1 - at.prior) * given_class[1]
    return Patterns.of(labels, np.full(len(labels), np.nan), mass), at.prior * given_class[0] / mass


def sample(n, fnr, fpr, prior=0.5, seed=0):
    """(truth, labels) of independent sources. Shapes [n], [n, K]."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < prior
    says = np.where(truth[:, None], 1 - np.asarray(fnr), np.asarray(fpr))
    return truth, (rng.random(says.shape) < says).astype(float)


# --- the EM map --------------------------------------------------------------------------------------------


@given(models(), st.sampled_from([1.0, 0.7]))
def test_the_truth_is_a_fixed_point_of_em_on_the_exact_population(at, shown):
    patterns, posterior = population(at, shown)
    assert np.abs(em.posterior(patterns, at) - posterior).max() < 1e-12
    assert np.abs(em.step(patterns, at, 0.0).vector() - at.vector()).max() < 1e-12


@given(models(), models(2, 4), st.floats(0, 2))
def test_a_step_never_lowers_the_objective(truth, start, smooth):
    patterns, _ = population(truth)
    size = min(len(truth.fnr), len(start.fnr))
    at = Confusion(
        start.prior, np.resize(start.fnr[:size], len(truth.fnr)), np.resize(start.fpr, len(truth.fpr))
    )
    before = em.objective(patterns, at, smooth)
    for _ in range(4):
        at = em.step(patterns, at, smooth)
        after = em.objective(patterns, at, smooth)
        assert after >= before - 1e-12 * abs(before)
        before = after


@given(models())
def test_exchanging_the_classes_changes_no_probability_but_every_sign(at):
    patterns, _ = population(at)
    turned = at.swapped()
    assert em.loglik(patterns, at) == pytest.approx(em.loglik(patterns, turned), abs=1e-12)
    assert np.allclose(em.posterior(patterns, turned), 1 - em.posterior(patterns, at), atol=1e-12)
    assert np.allclose(turned.D, -at.D, atol=1e-15)
    assert np.allclose(turned.swapped().vector(), at.vector(), atol=1e-15)


@settings(max_examples=25)
@given(models(2, 3), st.floats(0, 1), st.booleans())
def test_information_is_the_negative_second_derivative(at, smooth, with_gold):
    patterns, _ = population(at)
    if with_gold:
        gold = patterns.gold.copy()
        gold[0], gold[-1] = 1, 0
        patterns = Patterns(patterns.up, patterns.down, gold, patterns.weight * 10)
    size = len(at.fnr)

    def value(x):
        return em.objective(patterns, Confusion(x[0], x[1 : 1 + size], x[1 + size :]), smooth)

    x, h, told = at.vector(), 1e-4, em.information(patterns, at, smooth)
    unit = np.eye(len(x)) * h
    for i, j in itertools.product(range(len(x)), repeat=2):
        a, b = unit[i], unit[j]
        second = value(x + a + b) - value(x + a - b) - value(x - a + b) + value(x - a - b)
        assert -second / (4 * h * h) == pytest.approx(told[i, j], rel=2e-2, abs=2e-3 * np.abs(told).max())


@given(models(3, 4))
def test_gold_of_every_item_leaves_counting(at):
    patterns, _ = population(at)
    both = [
        Patterns(patterns.up, patterns.down, np.full(len(patterns.weight), z), w)
        for z, w in (
            (1.0, patterns.weight * em.posterior(patterns, at)),
            (0.0, patterns.weight * (1 - em.posterior(patterns, at))),
        )
    ]
    whole = Patterns(
        *(np.concatenate([getattr(p, name) for p in both]) for name in ("up", "down", "gold", "weight"))
    )
    wild = Confusion(0.9, 1 - at.fnr, 1 - at.fpr)
    assert np.abs(em.step(whole, wild, 0.0).vector() - at.vector()).max() < 1e-12


# --- rates -------------------------------------------------------------------------------------------------

FNR, FPR = (0.1, 0.2, 0.3, 0.25), (0.2, 0.1, 0.15, 0.3)


def test_rates_are_found_without_gold_and_intervals_hold_them():
    hits, runs = np.zeros((2, 4)), 60
    for seed in range(runs):
        _, labels = sample(800, FNR, FPR, 0.6, seed)
        labels[np.random.default_rng(seed).random(labels.shape) < 0.2] = np.nan
        found = noise.dawid_skene(labels, trusted=[True, False, False, False])
        for k, rate in enumerate(found.rates):
            for row, (name, truth) in enumerate((("fnr", FNR[k]), ("fpr", FPR[k]))):
                low, high = rate.interval[name]
                hits[row, k] += low <= truth <= high
    assert found.settled
    assert found.margin == 0.0
    assert {rate.source for rate in found.rates} == {"dawid-skene"}
    assert (hits >= 0.85 * runs).all()  # 95 % of 60 with three standard errors
    assert hits.mean() / runs > 0.92


def test_order_of_items_and_sources_plays_no_part():
    truth, labels = sample(300, FNR, FPR)
    gold = np.where(np.arange(300) < 20, truth, np.nan)
    one = noise.dawid_skene(labels, trusted=[True, False, True, False], gold=gold)
    items, sources = np.random.default_rng(1).permutation(300), [2, 0, 3, 1]
    two = noise.dawid_skene(labels[items][:, sources], trusted=[True, True, False, False], gold=gold[items])
    assert np.allclose(one.posterior[items], two.posterior, atol=1e-5)
    for k, source in enumerate(sources):
        assert np.allclose(one.rates[source].covariance, two.rates[k].covariance, atol=1e-6)
        assert one.rates[source].fnr == pytest.approx(two.rates[k].fnr, abs=1e-5)
    assert one.loglik == pytest.approx(two.loglik, abs=1e-6)


def test_flipping_every_label_exchanges_the_rates():
    _, labels = sample(500, FNR, FPR, 0.3)
    one, two = (noise.dawid_skene(x, trusted=[True] * 4) for x in (labels, 1 - labels))
    for a, b in zip(one.rates, two.rates, strict=True):
        assert (a.fnr, a.fpr) == pytest.approx((b.fpr, b.fnr), abs=1e-5)
    assert one.prior.value == pytest.approx(1 - two.prior.value, abs=1e-5)


def test_a_declaration_names_the_classes_even_against_the_majority():
    # One judge is right, three are usually wrong together.
    fnr, fpr = (0.1, 0.75, 0.8, 0.7), (0.1, 0.8, 0.7, 0.75)
    truth, labels = sample(2000, fnr, fpr)
    found = noise.dawid_skene(labels, trusted=[True, False, False, False]).checked()
    assert [rate.fnr for rate in found.rates] == pytest.approx(fnr, abs=0.06)
    assert ((found.posterior > 0.5) == truth).mean() > 0.9
    with pytest.warns(NoiseWarning, match="1 of 4 sources declared better than chance"):
        fooled = noise.dawid_skene(labels, trusted=[True] * 4, names=["right", "a", "b", "c"])
    assert fooled["right"].D < 0
    assert "right (D -0.79, at most -0.7" in fooled.warnings[0]
    with pytest.raises(NoiseRefused, match="labels cannot tell which: label gold rows"):
        fooled.checked()


def test_a_few_gold_rows_name_the_classes_and_overrule_the_declaration():
    fnr, fpr = (0.1, 0.75, 0.8, 0.7), (0.1, 0.8, 0.7, 0.75)
    truth, labels = sample(2000, fnr, fpr)
    gold = np.where(np.arange(2000) < 12, truth, np.nan)
    quiet = noise.dawid_skene(labels, gold=gold).checked()
    assert quiet.margin > 10
    assert ((quiet.posterior > 0.5) == truth).mean() > 0.9
    with pytest.warns(NoiseWarning, match="3 of 4 sources .* so the declaration is wrong for them"):
        noise.dawid_skene(labels, gold=gold, trusted=[True] * 4)


def test_one_gold_row_that_hardly_decides_is_reported():
    _, labels = sample(400, (0.3, 0.3, 0.3), (0.3, 0.3, 0.3), seed=2)
    first = np.flatnonzero((labels == [1, 1, 0]).all(1))[0]
    gold = np.where(np.arange(400) == first, 1.0, np.nan)
    with pytest.warns(NoiseWarning, match="gold hardly decides which class is which") as told:
        found = noise.dawid_skene(labels, gold=gold)
    assert 0 < found.margin < 3
    assert len(told) == 1


def test_both_namings_of_every_start_are_tried_where_gold_is_scarce():
    truth, labels = sample(300, (0.3,) * 4, (0.3,) * 4, seed=13)
    found = noise.dawid_skene(labels, gold=np.where(np.arange(300) < 1, truth, np.nan))
    assert found.loglik == pytest.approx(-813.17, abs=0.02)  # the starts alone end at -813.27


def test_sources_that_share_errors_are_reported_with_and_without_gold():
    truth, labels = sample(3000, FNR, FPR)
    copies = np.column_stack([labels, labels[:, 2], labels[:, 2]])  # three of the same weak source
    with pytest.warns(NoiseWarning, match=r"agree on \d+% of the items that both label"):
        noise.dawid_skene(copies, trusted=[True] * 6)
    with pytest.warns(NoiseWarning, match=r"the labels name the wrong class of \d+ of 200 gold rows"):
        noise.dawid_skene(copies, gold=np.where(np.arange(3000) < 200, truth, np.nan))


def test_independent_sources_are_seldom_accused():
    told = 0
    for seed in range(60):
        truth, labels = sample(300, FNR, FPR, seed=seed)
        gold = np.where(np.arange(300) < 60, truth, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told += bool(noise.dawid_skene(labels, gold=gold, trusted=[True] * 4).warnings)
    assert told <= 3


def test_gold_of_both_classes_makes_one_source_enough():
    truth, labels = sample(1000, (0.2,), (0.1,))
    gold = np.where(np.arange(1000) < 400, truth, np.nan)
    found, counted = noise.dawid_skene(labels, gold=gold).rates[0], noise.from_gold(labels[:, 0], gold)
    assert found.fnr == pytest.approx(counted.fnr, abs=0.01)
    assert found.fpr == pytest.approx(counted.fpr, abs=0.01)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(np.sqrt(counted.covariance[0, 0]), rel=0.1)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (
            [[1, 0, 1]],
            {},
            "nothing says which class is which: labels are as likely with true and false exchanged. Declare "
            "sources that are better than chance (`trusted`), or give gold labels of some items",
        ),
        (
            [[1, 0]],
            {"trusted": [1, 1]},
            "no item has labels of more than 2 sources, and gold has 0 rows of 0 classes; three sources on "
            "the same items or gold of both classes are needed, else many rates explain the labels equally "
            "well",
        ),
        (
            [[1, 0, 2]],
            {"trusted": [1, 1, 1]},
            "labels[(0, 2)] is 2; it must be 0, 1 or NaN, where there is no label",
        ),
        (
            [1, 0],
            {"trusted": [1]},
            "labels has shape (2,); [N items, K sources] is needed, with at least 1 sources",
        ),
        ([[1, 0, 1]], {"gold": [1, 0]}, "gold has shape (2,); (1,) is needed, one entry a row"),
        (
            [[1, 0, 1]],
            {"trusted": [1]},
            "trusted has shape (1,) and names has 3; 3 of each are needed, one a source",
        ),
        ([[1, 0, 1, np.nan]], {"trusted": [1] * 4}, "column 3 of labels is all NaN; leave the source out"),
    ],
)
def test_what_cannot_be_told_is_an_error_that_says_what_to_do(labels, options, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        noise.dawid_skene(labels, **options)
    assert str(error.value) == message


def test_labels_that_determine_nothing_are_an_error():
    # Three sources that say everything equally often: any prior explains it.
    labels = np.array(list(itertools.product([0.0, 1.0], repeat=3)) * 40)
    with pytest.raises(ValueError, match="undetermined"):
        noise.dawid_skene(labels, trusted=[True] * 3, smooth=0.0)


# --- real judges -------------------------------------------------------------------------------------------


def judges(folder, part, method="Metrics_Reference"):
    """(labels in the given order, gold, names of judges) of one part of LLMBar; 1 is the first response."""
    with gzip.open(folder / "judgments_dev.csv.gz", "rt", encoding="utf-8") as lines:
        rows = [r for r in csv.DictReader(lines) if part in r["dataset"] and r["method"] == method]
    items = {key: n for n, key in enumerate(sorted({(r["dataset"], int(r["idx"])) for r in rows}))}
    names = sorted({r["evaluator"] for r in rows})
    labels, gold = np.full((len(items), len(names)), np.nan), np.full(len(items), np.nan)
    for r in rows:
        place = items[r["dataset"], int(r["idx"])]
        gold[place] = r["label"] == "1"
        if r["first_noswap"]:
            labels[place, names.index(r["evaluator"])] = r["first_noswap"] == "1"
    return labels, gold, names


def test_judges_of_natural_pairs_keep_their_classes(real_data):
    labels, gold, names = judges(real_data("llmbar"), "Natural")
    found = noise.dawid_skene(labels, trusted=[True] * 6, names=names).checked()
    assert labels.shape == (100, 6)
    assert min(rate.D for rate in found.rates) > 0.3
    assert ((found.posterior > 0.5) == gold).mean() >= 0.8
    wrong = [np.abs(labels[:, k] - gold).mean() for k in range(6)]
    assert found["GPT-4"].D > 0.7
    assert max(wrong) == wrong[names.index("Falcon")]
    assert min(found.rates, key=lambda rate: rate.D).kind == "Falcon"


@pytest.mark.parametrize("method", ["Metrics_Reference", "Vanilla_NoRules"])
def test_judges_of_adversarial_pairs_swap_the_classes_and_it_is_said(real_data, method):
    labels, gold, names = judges(real_data("llmbar"), "Adversarial", method)
    with pytest.warns(
        NoiseWarning, match="declared better than chance come out at chance or below it"
    ) as told:
        found = noise.dawid_skene(labels, trusted=[True] * 6, names=names)
    assert ((found.posterior > 0.5) == gold).mean() < 0.4  # the trap: the best judge is outvoted
    assert any("GPT-4" in str(one.message) for one in told)
    assert any("standard errors" in str(one.message) for one in told)
    with pytest.raises(NoiseRefused):
        found.checked()


def test_sixty_gold_rows_turn_the_adversarial_judges_round(real_data):
    labels, gold, names = judges(real_data("llmbar"), "Adversarial")
    some = np.where(np.random.default_rng(0).permutation(len(gold)) < 60, gold, np.nan)
    with pytest.warns(NoiseWarning, match="ChatGPT .*the declaration is wrong for them"):
        found = noise.dawid_skene(labels, trusted=[True] * 6, names=names, gold=some)
    right = (found.posterior > 0.5) == gold
    assert right[np.isnan(some)].mean() > 0.75
    assert found.margin > 50
    assert found["GPT-4"].D > 0.5
