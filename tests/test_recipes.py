"""Every recipe that is not chosen by itself: its columns, its settings, its gates, and the way to a model."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from typer.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from unskew import audit, cli, estimators, events, pipeline, simulate
from unskew.audit import one_sided
from unskew.data import Store
from unskew.estimators import CAP, Columns, Mixture
from unskew.features import Hashing
from unskew.pipeline.arms import LABELS
from unskew.pipeline.auto import choose
from unskew.pipeline.material import Material, judge
from unskew.pipeline.recipes import FAMILY, RECIPES, UNCORRECTED, UNSAFE, columns_inside, recipe_of
from unskew.pipeline.recipes.corrected import SHRINKAGE
from unskew.pipeline.recipes.parts import cross_fitted, inside, predicted
from unskew.pipeline.recipes.published import CORRECTIONS
from unskew.pipeline.store import keep_gold, open_material

SIZE = 1500


@pytest.fixture(scope="module")
def small():
    """Features of 65 columns, so that a fit takes hundredths of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unskew.pipeline.config.Hashing", partial(Hashing, 64))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory, small) -> Path:
    """A store of thumbs, ratings, copies and regenerations; gold.jsonl beside it, not in it."""
    home = tmp_path_factory.mktemp("recipes")
    simulate.simulate(home / "log", SIZE, simulate.WORLDS["features"], seed=0)
    (home / "key").write_text("a key that only this test knows")
    events.ingest([home / "log" / "events"], home / "store", key_file=home / "key")
    return home


@pytest.fixture(scope="module")
def bare(home) -> Material:
    """Without gold."""
    return open_material(Store.open(home / "store"), pipeline.TrainConfig())[0]


@pytest.fixture(scope="module")
def material(home, bare) -> Material:
    keep_gold(Store.open(home / "store"), home / "log" / "gold.jsonl")
    return open_material(Store.open(home / "store"), pipeline.TrainConfig())[0]


@pytest.fixture(scope="module")
def thumbs(material) -> Material:
    """Thumbs alone may be used, so that columns are those of one kind."""
    families = ("ips", "snips", "doubly_robust", "noise_corrected", "causalrm")
    return replace(material, kinds=dict.fromkeys(families, ("thumbs",)))


def record(m: Material, name: str = "thumbs"):
    """Label, observed, propensity, fnr, fpr of a kind on its usable rows, and those rows."""
    k = m.examples.kind(name)
    usable = m.usable[:, k]
    label, observed = m.examples.positive[:, k].astype(float), m.examples.observed[:, k] & usable
    rate = m.rates[name]
    return (label, observed, m.propensities[name].raw, rate.fnr, rate.fpr), usable


def same(found: Columns, wanted: Columns, rows) -> None:
    assert_allclose(found.a[rows], wanted.a[rows], rtol=1e-12)
    assert_allclose(found.b[rows], wanted.b[rows], rtol=1e-12)
    assert not found.a[~rows].any()
    assert not found.b[~rows].any()


# --- columns -----------------------------------------------------------------------------------------------


def test_shrunk_weights_are_those_of_the_library(thumbs):
    (y, o, p, fnr, fpr), rows = record(thumbs)
    for L in (1e4, 50.0):
        settings = {} if L == 1e4 else {"shrinkage": L}
        ips = estimators.shrunk_ips(y, o, p, fnr, fpr, shrinkage=L)
        same(recipe_of("shrunk_ips", settings)(thumbs).columns, ips, rows)
        q = thumbs.evidence.q
        dr = estimators.shrunk_doubly_robust(y, o, p, q, fnr, fpr, shrinkage=L)
        same(recipe_of("shrunk_dr", settings)(thumbs).columns, dr, rows)


def test_cap_on_the_weights_is_a_floor_under_the_propensity(thumbs):
    (y, o, p, fnr, fpr), rows = record(thumbs)
    settings = {"floor": 0.2}
    ips, dr = (recipe_of(name, settings)(thumbs).columns for name in ("ips", "doubly_robust"))
    clipped = estimators.clipped_ips(y, o, p, fnr, fpr, cap=5)
    same(ips, clipped, rows)
    assert ips.counts.clipped == clipped.counts.clipped > 0
    same(dr, estimators.clipped_doubly_robust(y, o, p, thumbs.evidence.q, fnr, fpr, cap=5), rows)
    with pytest.raises(ValueError, match=r"clipped_dr with a cap c is doubly_robust with a floor of 1 / c"):
        recipe_of("clipped_dr")


def test_cautious_gives_all_silence_the_weight_of_all_answers(bare):
    m = replace(bare, kinds={"naive": ("thumbs",)})
    found, k = RECIPES["cautious"](m), m.examples.kind("thumbs")
    rows, seen = m.usable[:, k], m.examples.observed[:, k] & m.usable[:, k]
    assert_array_equal(found.columns.a[seen], 1)
    assert_array_equal(found.columns.b[seen], m.examples.positive[seen, k])
    assert_allclose(found.columns.a[rows & ~seen].sum(), seen.sum())
    assert_allclose(found.columns.b[rows & ~seen], found.columns.a[rows & ~seen] / 2)
    assert "lean towards 50 %" in found.warnings[0]


def test_cautious_is_naive_where_nobody_is_silent(bare):
    closed = bare.examples.closed & bare.examples.observed
    m = replace(bare, examples=replace(bare.examples, closed=closed), kinds={"naive": ("thumbs",)})
    found, plain = RECIPES["cautious"](m), RECIPES["naive"](m)
    assert_array_equal(found.columns.b, plain.columns.b)
    assert_array_equal(found.columns.a, plain.columns.a)
    assert found.warnings == ()


def test_imputation_is_the_head_of_evidence_on_every_row(material):
    columns = RECIPES["imputation"](material).columns
    assert_array_equal(columns.a, np.ones(SIZE))
    assert_array_equal(columns.b, material.evidence.q)
    assert_array_equal(RECIPES["imputation"](material.without(1)).columns.b, material.evidence.q_by[1])


def test_mrdr_is_doubly_robust_with_an_imputation_that_has_not_seen_its_fold(thumbs):
    (y, o, p, fnr, fpr), rows = record(thumbs)
    part = estimators.mrdr_fit(y, o, p, fnr, fpr)
    q = cross_fitted(thumbs, part, loss="brier")
    same(RECIPES["mrdr"](thumbs).columns, estimators.doubly_robust(y, o, p, q, fnr, fpr), rows)
    own, quick = thumbs.fold == 1, {"loss": "brier", "decays": (1e-3,)}
    turned = replace(part, b=np.where(own, part.a - part.b, part.b))
    before, after = (cross_fitted(thumbs, columns, **quick) for columns in (part, turned))
    assert_allclose(before[own], predicted(replace(thumbs, hidden=1), part, **quick)[own])
    assert_array_equal(after[own], before[own])
    assert (after[~own] != before[~own]).any()


def test_imputation_of_a_refused_evidence_is_not_used(thumbs):
    (y, o, p, fnr, fpr), rows = record(thumbs)
    refused = replace(thumbs, kinds={**thumbs.kinds, "evidence": ()})
    q = cross_fitted(thumbs, estimators.ips(y, o, p, fnr, fpr), loss="brier")
    same(RECIPES["doubly_robust"](refused).columns, estimators.doubly_robust(y, o, p, q, fnr, fpr), rows)
    shrunk = estimators.shrunk_doubly_robust(y, o, p, q, fnr, fpr, shrinkage=SHRINKAGE)
    same(RECIPES["shrunk_dr"](refused).columns, shrunk, rows)
    allowed = replace(thumbs, kinds={**thumbs.kinds, "evidence": ("thumbs",)})
    before, after = (RECIPES["doubly_robust"](m).columns for m in (thumbs, allowed))
    assert_array_equal(before.b, after.b)


def test_positive_unlabelled_recipes_are_those_of_the_library(material):
    k = material.examples.kind("copy")
    rows = material.usable[:, k]
    o = (material.examples.observed[:, k] & rows).astype(float)
    p1 = material.rates["copy"].liked
    same(RECIPES["positive_unlabelled"](material).columns, estimators.positive_unlabelled(o, p1), rows)
    target = recipe_of("nnpu", {"prior": 0.6})(material)
    wanted = np.zeros(SIZE)
    wanted[rows] = estimators.nnpu(o[rows], 0.6).b
    assert_allclose(target.columns.b, wanted)
    assert target.fit == {"non_negative": True}
    gold = material.examples.gold[rows & ~np.isnan(material.examples.gold)]
    own = RECIPES["nnpu"](material).columns.b.sum() / rows.sum()
    assert abs(own - gold.mean()) < 0.15  # the share of liked responses, by design of the gold


def test_implicit_is_the_mixture_where_gold_tells_the_rate(material):
    k = material.examples.kind("copy")
    rows, target = material.usable[:, k], RECIPES["implicit"](material)
    happened = material.examples.observed[:, k] & rows
    assert target.loss == "mixture"
    assert isinstance(target.columns, Mixture)
    assert_array_equal(target.columns.w, rows)
    assert_array_equal(target.columns.d[happened], CAP)
    assert_allclose(target.columns.d[rows & ~happened], np.log1p(-material.rates["copy"].liked))
    assert target.columns.counts.capped == happened.sum()


def test_slope_of_that_mixture_is_the_posterior_of_em():
    """s - sigmoid(z + d) against s - b: what `implicit` trains on, and the M-step of the library."""
    z, p1 = np.array([-2.0, 0.3, 1.0]), 0.4
    s = 1 / (1 + np.exp(-z))
    b = estimators.implicit_posterior(np.zeros(3), s, p1).liked.b
    d = estimators.mixture(np.ones(3), np.zeros(3), 0, 1, p1, 0).d
    assert_allclose(1 / (1 + np.exp(-z - d)), b, rtol=1e-12)


def test_implicit_without_a_rate_asks_what_tells_liking_from_activity_and_carries_the_warning(bare):
    with pytest.raises(
        pipeline.Refused, match=r"P\(copy \| liked\) is unknown, and .* only as their product"
    ):
        RECIPES["implicit"](bare)
    said = {"restriction": "activity depends on the length alone", "rounds": 2}
    target = recipe_of("implicit", said)(bare)
    columns = target.columns
    rows = bare.usable[:, bare.examples.kind("copy")]
    assert isinstance(columns, Columns)
    assert_array_equal(columns.a, rows)
    assert ((columns.b >= 0) & (columns.b <= columns.a)).all()
    assert any("only as their product" in w and "activity depends" in w for w in target.warnings)
    assert any("stopped after 2 rounds" in warning for warning in target.warnings)


def test_one_sided_recipes_without_gold_name_what_is_missing(bare):
    with pytest.raises(pipeline.Refused, match=r"P\(copy \| liked\) is unknown"):
        RECIPES["positive_unlabelled"](bare)
    with pytest.raises(pipeline.Refused, match="the share of liked responses is unknown"):
        RECIPES["nnpu"](bare)
    deaf = replace(bare, examples=replace(bare.examples, offered=np.zeros_like(bare.examples.offered)))
    with pytest.raises(pipeline.Refused, match="nnpu needs clicks, copies or shares"):
        RECIPES["nnpu"](deaf)


# --- the published algorithm -------------------------------------------------------------------------------


def test_every_correction_of_causalrm_changes_what_it_says(thumbs):
    (y, o, _, _, _), rows = record(thumbs)
    plain = RECIPES["causalrm-dr"](thumbs)
    clean = recipe_of("causalrm-dr", {"clean_imputation": True})(thumbs)
    assert (plain.loss, plain.fit) == ("logistic", {"select": "training"})
    proxy = predicted(
        thumbs,
        Columns(o * 1.0, o * y, 0.0 * y),
        loss="logistic",
        metric="logistic",
        decays=(1e-3, 3e-4, 1e-4),
    )
    unseen = rows & ~o
    assert_allclose(plain.columns.b[unseen], proxy[unseen])
    fpr, high = np.quantile(proxy[rows], [0.03, 0.97])
    assert_allclose(clean.columns.b[unseen], np.clip((proxy - fpr) / (high - fpr), 0, 1)[unseen])
    p = thumbs.propensities["thumbs"].raw
    fitted = {"calibrated_propensity": True, "clip_min": 0.15}
    ips = recipe_of("causalrm-ips", fitted)(thumbs).columns
    assert_allclose(ips.a[o], 1 / np.maximum(p, 0.15)[o])
    assert recipe_of("causalrm-ips", {"bounded_loss": True})(thumbs).loss == "brier"
    assert recipe_of("causalrm-ips", {"held_out": True})(thumbs).fit == {}
    moved = recipe_of("causalrm-dr", {"weighted_anchors": True})(thumbs)
    assert (moved.columns.b != plain.columns.b).any()
    assert not np.array_equal(
        recipe_of("causalrm-dr", {"quant": 0.9})(thumbs).columns.b[o], plain.columns.b[o]
    )


def test_corrected_is_every_correction_that_is_not_set_itself():
    def made(**settings):
        recipe = recipe_of("causalrm-dr", settings)
        return {name: recipe.on(name) for name in CORRECTIONS}

    assert made() == dict.fromkeys(CORRECTIONS, False)
    assert made(corrected=True) == dict.fromkeys(CORRECTIONS, True)
    for name in CORRECTIONS:
        assert made(**{name: True}) == {**made(), name: True}
        assert made(corrected=True, **{name: False}) == {**made(corrected=True), name: False}
    assert CORRECTIONS == (
        "clean_imputation",
        "checked_rates",
        "weighted_anchors",
        "held_out",
        "calibrated_propensity",
        "bounded_loss",
    )


def test_flat_proxy_is_refused_where_rates_are_checked_and_multiplied_by_a_million_where_not(thumbs):
    flat = replace(thumbs, X=np.zeros_like(thumbs.X))
    with pytest.raises(pipeline.Refused, match=r"anchors of thumbs give fnr .* too flat to read rates from"):
        recipe_of("causalrm-ips", {"checked_rates": True})(flat)
    columns = RECIPES["causalrm-ips"](flat).columns
    assert columns.counts.raised == SIZE
    assert np.abs(columns.b).max() > 1e5


def test_published_networks_have_the_settings_of_the_code(thumbs):
    settings = {"head": "mlp", "hidden": [4], "num_epochs": 1, "patience": 1}
    target = recipe_of("causalrm-ips", settings)(thumbs)
    assert target.fit == {
        "head": "mlp",
        "hidden": (4,),
        "lr": 2e-4,
        "decay": 1e-6,
        "batch": 512,
        "epochs": 1,
        "patience": 1,
        "seed": 0,
        "select": "training",
    }


# --- settings ----------------------------------------------------------------------------------------------


def test_setting_that_a_recipe_has_not_is_named():
    with pytest.raises(ValueError, match="ips has no setting 'cap'; it has floor"):
        recipe_of("ips", {"cap": 10})
    with pytest.raises(ValueError, match="naive has no setting 'floor'; it has none"):
        recipe_of("naive", {"floor": 0.1})
    with pytest.raises(ValueError, match="shrunk_ips has no setting 'robust'; it has shrinkage"):
        recipe_of("shrunk_ips", {"robust": True})
    with pytest.raises(ValueError, match=r"recipes: ips is 0\.1; names and values are needed"):
        pipeline.TrainConfig(recipes={"ips": 0.1})
    for change, says in (({"head": "forest"}, "head is 'forest'"), ({"clip_min": 0}, "clip_min is 0")):
        with pytest.raises(ValueError, match=says):
            recipe_of("causalrm-ips", change)


def test_settings_are_checked_before_any_work(home, tmp_path):
    with pytest.raises(ValueError, match="estimator is 'magic'"):
        pipeline.train(home / "store", tmp_path, pipeline.TrainConfig(recipes={"magic": {}}))


# --- the audit ---------------------------------------------------------------------------------------------


def test_estimators_of_one_sided_kinds_are_judged_beside_the_others(material, bare):
    with_gold, without = judge(material), judge(bare)
    names = ("positive_unlabelled", "nnpu", "implicit")
    assert with_gold.others == dict.fromkeys(names, "amber")
    assert without.others == dict.fromkeys(names, "red")
    assert not set(with_gold.allowed) & set(names)
    for name in names:
        assert choose(pipeline.TrainConfig(estimator=name), with_gold) == name
        with pytest.raises(pipeline.Refused, match=f"the audit refuses {name}: "):
            choose(pipeline.TrainConfig(estimator=name), without)
        assert choose(pipeline.TrainConfig(estimator=name, accept_red="a test"), without) == name


def test_kind_that_happens_to_disliked_responses_is_refused(material):
    often = replace(material.rates["copy"], liked=0.3, disliked=0.2)
    found = judge(replace(material, rates={**material.rates, "copy": often}))
    assert found.others == dict.fromkeys(found.others, "red")
    assert any("a disliked response looks liked by as much" in said for said in found.reasons("nnpu"))
    assert found.colour == judge(material).colour


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("mrdr", "doubly_robust"),
        ("shrunk_dr", "doubly_robust"),
        ("shrunk_ips", "ips"),
        ("imputation", "evidence"),
    ],
)
def test_variants_are_judged_as_what_they_vary(material, name, family):
    verdict = judge(material)
    for colour in ("green", "red"):
        judged = replace(verdict, estimators={**verdict.estimators, family: colour})
        if colour == "green":
            assert choose(pipeline.TrainConfig(estimator=name), judged) == name
        else:
            with pytest.raises(pipeline.Refused, match=f"the audit refuses {name}"):
                choose(pipeline.TrainConfig(estimator=name), judged)


# --- the way to a model ------------------------------------------------------------------------------------

ALL = ("shrunk_ips", "shrunk_dr", "mrdr", "imputation", "positive_unlabelled", "implicit", "causalrm-dr")


def test_command_trains_every_one_and_says_what_it_rests_on(home, material, tmp_path):
    settings = {"compare": list(ALL), "recipes": {"causalrm-dr": {"corrected": True, "checked_rates": False}}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    arguments = ["train", str(home / "store"), "--estimator", "nnpu", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(
        cli.app, [*arguments, "-c", str(tmp_path / "run.yaml"), "--accept-red", "a test"]
    )
    assert done.exit_code == 0, done.exception
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    arms = {arm["name"]: arm for arm in run["arms"]}
    assert set(arms) == {"naive", "nnpu", *ALL}
    assert arms["nnpu"]["role"] == "ours"
    assert arms["causalrm-dr"]["label"] == "CausalRM-DR as published (checked_rates: False, corrected: True)"
    assert all(0 < arm["metrics"]["brier"]["value"] < 0.5 for arm in arms.values())
    assert "It is taken that no copy happens to a response that is not liked" in " ".join(run["limits"])
    assert run["provenance"]["settings"]["recipes"] == settings["recipes"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Only when asked for: positive unlabelled (amber), nnpu (amber), implicit (amber)." in page


@pytest.mark.parametrize("name", [*ALL[:-1], "nnpu"])
def test_hidden_fold_weighs_nothing(thumbs, name):
    part = thumbs.without(1)
    columns = columns_inside(part, RECIPES[name](part)).columns
    weight = columns.w if isinstance(columns, Mixture) else columns.a
    assert not weight[~part.inside].any()
    assert weight[part.inside].any()


def test_hidden_fold_leaves_no_trace_of_its_gold_in_mrdr(thumbs):
    rows, own = thumbs.examples, thumbs.fold == 1
    turned = replace(thumbs, examples=replace(rows, gold=np.where(own, 1 - rows.gold, rows.gold)))
    one, two = (RECIPES["mrdr"](m.without(1)).columns for m in (thumbs, turned))
    assert_array_equal(one.a[~own], two.a[~own])
    assert_array_equal(one.b[~own], two.b[~own])


def test_every_recipe_has_a_name_for_a_person_and_a_family_that_is_judged():
    assert set(LABELS) == set(RECIPES)
    judged = {*audit.FAMILIES, "choices", "strength", *one_sided.BINDS, *UNCORRECTED, *UNSAFE, "gold"}
    assert {FAMILY.get(name, name) for name in RECIPES} == judged


def test_inside_keeps_the_margin():
    columns = Columns(np.ones(2), np.ones(2), np.array([1.0, 2.0]))
    kept = inside(columns, np.array([True, False]))
    assert_array_equal(kept.m, columns.m)
    assert_array_equal(kept.a, [1, 0])
