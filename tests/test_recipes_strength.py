"""Preference strength on a log of choices: votes out of fold, the remedies of the library, one road."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from chosen import ingest, product
from unskew import estimators, pipeline
from unskew.data import Store
from unskew.features import Hashing
from unskew.pipeline.auto import choose
from unskew.pipeline.material import Material, judge
from unskew.pipeline.recipes import PAIRWISE, RECIPES, columns_inside, recipe_of
from unskew.pipeline.recipes.strength import votes
from unskew.pipeline.store import open_material

SIZE, HEADS = 600, 3
ARMS = tuple(name for name in RECIPES if name.startswith("strength-"))


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unskew.pipeline.config.Hashing", partial(Hashing, 32))
        yield


@pytest.fixture(scope="module")
def drawn():
    return product(0, SIZE)


@pytest.fixture(scope="module")
def home(tmp_path_factory, small, drawn) -> Path:
    home = tmp_path_factory.mktemp("strength")
    ingest(home, drawn[0])
    return home


@pytest.fixture(scope="module")
def material(home) -> Material:
    return open_material(Store.open(home / "store"), pipeline.TrainConfig())[0]


@pytest.fixture(scope="module")
def naive(material):
    found = material.choices
    return estimators.naive(np.nan_to_num(found.label), found.seen), (found.a, found.b)


@pytest.fixture(scope="module")
def strength(material, naive):
    return estimators.preference_strength(*votes(material, *naive, HEADS, 0))


def few(name: str, **settings):
    return recipe_of(name, {"heads": HEADS, **settings})


def test_every_remedy_is_that_of_the_library(material, naive, strength):
    columns = naive[0]
    agreement = estimators.agreement(columns, strength.mean)
    least = estimators.weakest(agreement, columns.a > 0, 0.1)
    soft = estimators.smooth(columns, 0.1, agreement < 0)
    wanted = {
        "strength-drop": estimators.drop(columns, least),
        "strength-flip": estimators.flip(columns, least),
        "strength-smooth": soft,
        "strength-margin": estimators.adaptive_margin(columns, strength.mean),
        "strength-flip-margin": estimators.adaptive_margin(estimators.flip(columns, least), strength.mean),
        "strength-smooth-margin": estimators.adaptive_margin(soft, strength.mean),
    }
    assert tuple(wanted) == ARMS
    for name, right in wanted.items():
        target = few(name)(material)
        assert target.loss == "logistic"
        for field in ("a", "b", "m"):
            assert_array_equal(getattr(target.columns, field), getattr(right, field))
        assert target.columns.counts == right.counts


def test_choices_that_are_turned_round_are_mostly_wrong(material, drawn, strength, naive):
    better = drawn[2][: len(material.choices)]
    label = material.choices.label
    wrong = label != better
    flipped = few("strength-flip")(material).columns.b != naive[0].b
    assert flipped.sum() == SIZE // 10
    chance = wrong.mean()
    assert wrong[flipped].mean() > chance + 4 * np.sqrt(chance * (1 - chance) / flipped.sum())


def test_heads_vote_on_prompts_that_they_have_not_seen(material, naive):
    columns, pairs = naive
    own = material.fold[pairs[0]] == 1
    turned = replace(columns, b=np.where(own, columns.a - columns.b, columns.b))
    before, after = (np.stack(votes(material, c, pairs, HEADS, 0)) for c in (columns, turned))
    assert_array_equal(before[:, :, own], after[:, :, own])
    assert (before[:, :, ~own] != after[:, :, ~own]).any()
    spread = (before[0] - before[1]).std(0)
    assert (spread > 0).all()


@pytest.mark.parametrize("name", ["strength-flip-margin", "strength-smooth"])
def test_hidden_fold_of_choices_leaves_no_trace(material, name):
    found = material.choices
    own = material.fold[found.a] == 1
    other = replace(material, choices=replace(found, label=np.where(own, 1 - found.label, found.label)))
    one, two = (
        columns_inside(part, few(name)(part)).columns for part in (material.without(1), other.without(1))
    )
    assert not one.a[own].any()
    for field in ("a", "b", "m"):
        assert_array_equal(getattr(one, field)[~own], getattr(two, field)[~own])


def test_smallest_margin_is_a_setting(material, strength):
    columns = few("strength-margin", least=0)(material).columns
    side = 2 * material.choices.label - 1
    assert (side * columns.m >= 0).all()
    assert columns.counts.held == (side * strength.mean < 0).sum() > 0


def test_at_least_one_model_votes():
    with pytest.raises(ValueError, match="heads is 0; at least one model must vote"):
        recipe_of("strength-flip", {"heads": 0})


def test_votes_need_no_rates_and_never_stand_in_for_choices(material):
    verdict = judge(material)
    assert verdict.estimators == {"choices": "red"}
    assert verdict.others == {"strength": "amber"}
    assert verdict.colour == "red"
    assert choose(pipeline.TrainConfig(estimator="strength-flip"), verdict) == "strength-flip"
    with pytest.raises(pipeline.Refused, match="the audit refuses choices"):
        choose(pipeline.TrainConfig(), verdict)
    scarce = replace(material.choices, label=np.where(np.arange(SIZE) < 99, material.choices.label, np.nan))
    assert judge(replace(material, choices=scarce)).others == {"strength": "red"}


def test_log_of_choices_is_trained_on_with_votes_and_says_so(home, tmp_path):
    assert set(ARMS) < set(PAIRWISE)
    settings = pipeline.TrainConfig(
        estimator="strength-flip-margin",
        compare=("strength-smooth-margin", "strength-drop"),
        recipes={name: {"heads": 2} for name in ARMS},
    )
    run = pipeline.train(home / "store", tmp_path, settings, bootstrap=2)
    assert run["unit"] == "pair"
    assert [arm["name"] for arm in run["arms"]] == [
        "naive_choices",
        "strength-flip-margin",
        "strength-smooth-margin",
        "strength-drop",
    ]
    said = " ".join(run["limits"])
    assert "2 models that had not seen a prompt voted on its choices: 60 flipped, margins everywhere." in said
    assert "choices, the least believed dropped (heads: 2): 2 models" in said
