"""Columns of known numbers, what is counted, what is refused, and what slots mean."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew.estimators import (
    Columns,
    Counts,
    cautious,
    classwise_ips,
    combine,
    doubly_robust,
    ess,
    ips,
    mixture,
    naive,
    noise_corrected,
    pairs_from_items,
    silence_weight,
    snips,
    swap,
)
from unskew.testing import logs

LABEL, OBSERVED = [1, 0, np.nan], [True, True, False]


def same(found, a, b):
    assert found.a == pytest.approx(a)
    assert found.b == pytest.approx(b)
    assert (found.m == 0).all()


def test_naive_keeps_what_was_recorded():
    same(naive(LABEL, OBSERVED), [1, 1, 0], [1, 0, 0])


def test_cautious_hears_half_a_like_in_silence():
    same(cautious(LABEL, OBSERVED, 0.25), [1, 1, 0.25], [1, 0, 0.125])
    same(cautious(LABEL, OBSERVED, 0), [1, 1, 0], [1, 0, 0])


def test_all_silence_weighs_as_much_as_all_answers_at_most():
    assert silence_weight([1, 0, 0, 0, 0]) == 0.25
    assert silence_weight([1, 1, 0]) == 1
    assert silence_weight([1, 1]) == silence_weight([]) == 1
    assert silence_weight([0, 0]) == 0
    with pytest.raises(ValueError, match="observed of row 0 is 2; it must be 0 or 1"):
        silence_weight([2])


def test_noise_corrected_targets_leave_the_unit_interval():
    columns = noise_corrected(LABEL, OBSERVED, 0.1, 0.2)
    same(columns, [1, 1, 0], [0.8 / 0.7, -0.2 / 0.7, 0])
    assert columns.counts == Counts(outside=2)


def test_ips_divides_by_the_propensity():
    same(ips(LABEL, OBSERVED, [0.5, 0.25, 0.1]), [2, 4, 0], [2, 0, 0])


def test_snips_averages_one():
    same(snips(LABEL, OBSERVED, [0.5, 0.25, 0.1]), [1, 2, 0], [1, 0, 0])


def test_snips_of_nothing_observed_weighs_nothing():
    same(snips([np.nan, np.nan], [0, 0], 0.5), [0, 0], [0, 0])
    assert snips([], [], 0.5).a.shape == (0,)


def test_classwise_weight_may_be_negative():
    columns = classwise_ips([1.0], [1], 0.5, 0.05, 0.1, 0.2)
    target = 0.8 / 0.7
    same(columns, [target / 0.5 + (1 - target) / 0.05], [target / 0.5])
    assert columns.a[0] < 0


def test_doubly_robust_is_the_imputation_where_nothing_was_observed():
    columns = doubly_robust(LABEL, OBSERVED, 0.5, [0.3, 0.6, 0.9])
    same(columns, [1, 1, 1], [0.3 + 2 * 0.7, 0.6 - 2 * 0.6, 0.9])
    assert columns.counts == Counts(outside=2)


def test_mixture_is_the_log_likelihood_ratio_of_the_record():
    d = mixture(LABEL, OBSERVED, 0.1, 0.2, 0.5, 0.3).d
    assert d == pytest.approx(np.log([0.5 * 0.9 / (0.3 * 0.2), 0.5 * 0.1 / (0.3 * 0.8), 0.5 / 0.7]))


def test_mixture_of_clean_labels_is_capped_and_counted():
    columns = mixture(LABEL, OBSERVED)
    assert columns.d.tolist() == [30, -30, 0]
    assert columns.counts == Counts(capped=2)


def test_mixture_takes_a_kind_that_never_happens_to_disliked_responses():
    copied = mixture([1, np.nan], [1, 0], p1=0.3, p0=0)
    assert copied.d == pytest.approx([30, np.log(0.7)])


def test_mixture_takes_a_weak_kind_that_corrected_targets_refuse():
    assert mixture([1.0], [1], 0.45, 0.45).d == pytest.approx([np.log(0.55 / 0.45)])


def test_graded_labels_pass_through_the_linear_estimators():
    same(ips([0.25], [1], 0.5), [2], [0.5])


def test_propensities_below_the_floor_are_raised_and_counted_where_they_weigh():
    columns = ips([1, 1, np.nan], [1, 1, 0], [0.001, 0.5, 0.001])
    same(columns, [50, 2, 0], [50, 2, 0])
    assert columns.counts == Counts(clipped=1)
    assert doubly_robust([1.0], [1], 0.01, 0.5).counts.clipped == 1
    assert classwise_ips([1.0, 1.0], [1, 1], [0.01, 0.5], [0.5, 0.01]).counts.clipped == 2
    assert snips([1.0], [1], 0.01).counts.clipped == 1


def test_floor_itself_is_not_clipped_and_may_be_moved():
    assert ips([1.0], [1], 0.02).counts.clipped == 0
    same(ips([1.0], [1], 0.05, floor=0.1), [10], [10])
    same(ips([1.0], [1], 0.001, floor=0), [1000], [1000])


def test_unsafe_accepts_any_rates_and_counts_the_raised_d():
    columns = ips([1.0, 0.0], [1, 1], 0.5, 0.5, 0.5, unsafe=True)
    same(columns, [2, 2], [1e6, -1e6])
    assert columns.counts == Counts(outside=2, raised=2)
    assert noise_corrected([1.0], [1], 0.45, 0.45, unsafe=True).counts.raised == 0
    same(noise_corrected([1.0], [1], 0.75, 0.75, unsafe=True), [1], [0.25e6])


@given(logs())
def test_arithmetic_is_exact_in_fractions(log):
    names = ("propensity", "imputation", "fnr", "fpr")
    told = {name: np.array([Fraction(str(value)) for value in log[name]], object) for name in names}
    exact = doubly_robust(log["label"], log["observed"], **told)
    rounded = doubly_robust(log["label"], log["observed"], **{name: log[name] for name in names})
    assert {type(value) for value in [*exact.a, *exact.b, *exact.m]} == {Fraction}
    assert rounded.b == pytest.approx(exact.b.astype(float), abs=1e-12)


@given(logs())
def test_label_of_an_unobserved_row_is_ignored(log):
    told = [log[name] for name in ("propensity", "imputation", "fnr", "fpr")]
    filled = np.where(log["observed"], log["label"], 7)
    assert (
        doubly_robust(filled, log["observed"], *told).b
        == doubly_robust(log["label"], log["observed"], *told).b
    ).all()


def exchange(log):
    """The same pairs with the slots exchanged."""
    complement = {"label": 1 - log["label"], "imputation": 1 - log["imputation"]}
    return {**log, **complement, "fnr": log["fpr"], "fpr": log["fnr"], "p1": log["p0"], "p0": log["p1"]}


def call(estimator, log):
    names = {
        naive: (),
        cautious: ("silence",),
        noise_corrected: ("fnr", "fpr"),
        ips: ("propensity", "fnr", "fpr"),
        snips: ("propensity", "fnr", "fpr"),
        classwise_ips: ("p1", "p0", "fnr", "fpr"),
        doubly_robust: ("propensity", "imputation", "fnr", "fpr"),
        mixture: ("fnr", "fpr", "p1", "p0"),
    }
    log = {**log, "silence": log["propensity"]}  # any number in [0, 1]
    return estimator(log["label"], log["observed"], **{name: log[name] for name in names[estimator]})


SWAPPED = [naive, cautious, noise_corrected, ips, snips, classwise_ips, doubly_robust]


@pytest.mark.parametrize("estimator", SWAPPED)
@given(log=logs(selection="label"))
def test_exchanging_the_slots_of_pairs_swaps_the_columns(estimator, log):
    log = {**log, "p1": np.clip(log["p1"], 0.1, 1), "p0": np.clip(log["p0"], 0.1, 1)}
    exchanged, swapped = call(estimator, exchange(log)), swap(call(estimator, log))
    assert exchanged.a == pytest.approx(swapped.a, abs=1e-12)
    assert exchanged.b == pytest.approx(swapped.b, abs=1e-12)


@given(log=logs(selection="label"))
def test_exchanging_the_slots_of_pairs_turns_the_evidence_round(log):
    log = {
        name: np.clip(values, 0.1, 0.9) if name in ("p1", "p0") else values for name, values in log.items()
    }
    assert call(mixture, exchange(log)).d == pytest.approx(-call(mixture, log).d, abs=1e-12)


def test_swapped_columns_have_the_same_loss_at_the_opposite_margin():
    columns = Columns(np.array([2.0]), np.array([0.5]), np.array([0.3]))
    other, score = swap(columns), 1.7
    z, back = score - columns.m, -score - other.m
    assert back == pytest.approx(-z)
    loss = columns.a * np.logaddexp(0, z) - columns.b * z
    assert other.a * np.logaddexp(0, back) - other.b * back == pytest.approx(loss)


@pytest.mark.parametrize("estimator", SWAPPED)
@given(log=logs(), seed=st.integers(0, 99))
def test_order_of_rows_does_not_matter(estimator, log, seed):
    order = np.random.default_rng(seed).permutation(len(log["label"]))
    shuffled = call(estimator, {name: values[order] for name, values in log.items()})
    assert shuffled.b == pytest.approx(call(estimator, log).b[order], rel=1e-12, abs=1e-12)


def test_one_number_serves_every_row():
    label, observed = [1.0, 0.0], [1, 1]
    one, many = ips(label, observed, 0.5, 0.1, 0.2), ips(label, observed, [0.5] * 2, [0.1] * 2, [0.2] * 2)
    assert (one.b == many.b).all()


def test_kinds_share_what_was_offered():
    thumbs, rating = naive([1, 1, 0, 1], [1, 1, 1, 1]), ips([0, 0, 0, 0], [1, 1, 1, 1], 0.5)
    both = combine([thumbs, rating], [3, 1], [[1, 1], [1, 0], [0, 1], [0, 0]])
    same(both, [0.75 + 0.25 * 2, 1, 2, 0], [0.75, 1, 0, 0])
    assert both.counts == Counts(unoffered=1)


def test_sums_and_pairs_keep_the_counts_of_what_they_are_made_of():
    changed = ips([1.0], [1], 0.01, 0.5, 0.5, unsafe=True)
    both = combine([changed, changed], [1, 1], [[1, 1]])
    assert (both.counts.clipped, both.counts.raised) == (2, 2)
    pair = pairs_from_items(changed, [0], [0])
    assert (pair.counts.clipped, pair.counts.raised) == (1, 1)


def test_pairs_are_half_the_difference_of_the_items_above_a_tie():
    items = doubly_robust([1, 0, np.nan], [1, 1, 0], 0.5, 0.5)  # Y = 1.5, -0.5, 0.5
    pairs = pairs_from_items(items, [0, 0, 1], [1, 2, 2])
    same(pairs, [1, 1, 1], [1.5, 1, 0])
    assert pairs.counts == Counts(outside=1)


def test_item_wise_aipw_varies_least():
    """Var(b) at p .2, fnr .1, fpr .2, P(liked) .6: product weights 12.01, item IPS 1.92, AIPW 1.20."""
    p, fnr, fpr, liked = 0.2, 0.1, 0.2, 0.6
    one = liked * (1 - fnr) + (1 - liked) * fpr
    chance = np.array([1 - p, p * (1 - one), p * one])
    both = np.outer(chance, chance)
    label, observed = [np.nan, 0, 1], [0, 1, 1]
    target = noise_corrected(label, observed, fnr, fpr).b
    product = np.outer(observed, observed) / p**2 * (1 + target[:, None] - target) / 2

    def by_items(items):
        first, second = np.divmod(np.arange(9), 3)
        return pairs_from_items(items, first, second).b.reshape(3, 3)

    single = by_items(ips(label, observed, p, fnr, fpr))
    robust = by_items(doubly_robust(label, observed, p, liked, fnr, fpr))

    def variance(b):
        return (both * b**2).sum() - (both * b).sum() ** 2

    assert [variance(b) for b in (product, single, robust)] == pytest.approx([12.01, 1.92, 1.20], abs=0.006)


def test_effective_sample_size():
    assert ess(np.ones(7)) == 7
    assert ess([3, 1]) == pytest.approx(1.6)
    assert ess([0, 0]) == 0


def test_margins_are_added_by_hand_and_survive_a_sum_of_kinds():
    shifted = replace(naive([1], [1]), m=np.array([0.5]))
    assert combine([shifted, shifted], [1, 1], [[1, 1]]).m == [0.5]


NOISE = "labels this noisy carry next to nothing: leave the kind out, or use `mixture`"
NEVER = "drop the row: nothing stands for it when it can never be observed"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: ips([1, 1], [1, 1], [0.5, 0]),
            f"propensity of row 1 is 0.0; it must be in (0, 1]. {NEVER}",
        ),
        (
            lambda: ips([1, 1, 1], [1, 1, 1], [1.5, 0.1, np.nan]),
            f"propensity of row 0 (and of 1 more) is 1.5; it must be in (0, 1]. {NEVER}",
        ),
        (lambda: classwise_ips([1], [1], 0.5, -0.1), f"p0 of row 0 is -0.1; it must be in (0, 1]. {NEVER}"),
        (
            lambda: noise_corrected([1], [1], Fraction(2, 5), Fraction(2, 5)),
            f"1 - fnr - fpr of row 0 is 1/5; it must be above 0.2. {NOISE}",
        ),
        (
            lambda: ips([1], [1], 0.5, 0.75, 0.5),
            f"1 - fnr - fpr of row 0 is -0.25; it must be above 0.2. {NOISE}",
        ),
        (
            lambda: ips([1], [1], 0.5, -0.25, unsafe=True),
            "fnr of row 0 is -0.25; it must be in [0, 1]. it is a probability",
        ),
        (
            lambda: doubly_robust([1], [1], 0.5, 2.5),
            "imputation of row 0 is 2.5; it must be in [0, 1]. it is a probability, not a logit",
        ),
        (
            lambda: naive([np.nan, -1], [1, 1]),
            "label of row 0 (and of 1 more) is nan; it must be in [0, 1] where observed. "
            "1 is liked, or A won; 0 is not",
        ),
        (
            lambda: cautious([1], [1], 2),
            "silence of row 0 is 2.0; it must be in [0, 1]. "
            "it is the weight of a silent row beside an answer",
        ),
        (
            lambda: naive([1], [2]),
            "observed of row 0 is 2; it must be 0 or 1. 1 where feedback was given",
        ),
        (
            lambda: ips([1, 1], [1, 1], [0.5, 0.5, 0.5]),
            "propensity has shape (3,), observed (2,); the same is needed",
        ),
        (
            lambda: naive(1, 1),
            "observed has shape (); one dimension is needed, a number for each row",
        ),
        (
            lambda: mixture([1], [1], p1=0.5),
            "mixture got one of p1 and p0; give both, or neither when silence says nothing",
        ),
        (
            lambda: mixture([0.5], [1]),
            "label of row 0 is 0.5; it must be 0 or 1. a graded label needs its own table of rates",
        ),
        (
            lambda: mixture([1], [1], p1=0, p0=0),
            "likelihood of the record of row 0 is 0.0; it must be positive. its rates rule it out",
        ),
        (
            lambda: combine([naive([1], [1])], [1, 1], [[1]]),
            "1 kinds of 1 rows: weight has shape (2,), offered (1, 1); (1,) and (1, 1) are needed",
        ),
        (
            lambda: combine([naive([1], [1]), naive([1, 1], [1, 1])], [1, 1], [[1, 1]]),
            "the kinds have [1, 2] rows; one number is needed",
        ),
        (
            lambda: combine([naive([1], [1])], [0], [[1]]),
            "weight of kind 0 is 0; it must be positive. leave out a kind that counts for nothing",
        ),
        (
            lambda: combine([naive([1], [1])], [1], [[3]]),
            "offered of row 0 is [3]; it must be 0 or 1. 1 where the kind could have been used",
        ),
        (
            lambda: combine(
                [naive([1], [1]), swap(replace(naive([1], [1]), m=np.ones(1)))], [1, 1], [[1, 1]]
            ),
            "the kinds have different margins; one margin per row is needed",
        ),
        (
            lambda: pairs_from_items(naive([1, 0], [1, 1]), [0, 1], [1, 2]),
            "row_b of pair 1 is 2; it must be in [0, 2). it numbers the items",
        ),
        (
            lambda: pairs_from_items(naive([1, 0], [1, 1]), [-1], [1]),
            "row_a of pair 0 is -1; it must be in [0, 2). it numbers the items",
        ),
        (
            lambda: pairs_from_items(naive([1, 0], [1, 1]), [0, 1], [1]),
            "row_a has shape (2,), row_b (1,); one of each a pair is needed",
        ),
        (
            lambda: pairs_from_items(replace(naive([1, 0], [1, 1]), m=np.array([0, 0.5])), [0], [1]),
            "margin of the items of row 1 is 0.5; it must be 0. a pair has a margin, its items do not",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        wrong()
    assert str(caught.value) == message
