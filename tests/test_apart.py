"""Kinds parted by surface: a partition of the record, with nuisances of their own."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("torch", reason="torch is not installed")

import stored
from unskew import data, noise, pipeline
from unskew.audit import audit
from unskew.pipeline.apply import _with_gold
from unskew.pipeline.store import keep_gold, open_material

pytestmark = pytest.mark.usefixtures("keyed")
MASKS = ("offered", "closed", "observed", "positive")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, keyed):
    found, gold = stored.product(tmp_path_factory.mktemp("apart"))
    keep_gold(found, gold)
    return found, gold


@pytest.fixture(scope="module")
def store(labelled):
    return labelled[0]


@pytest.fixture(scope="module")
def rows(store):
    return data.examples(store)


@pytest.fixture(autouse=True)
def without_evidence(monkeypatch):
    monkeypatch.setattr("unskew.pipeline.material.evidence.fit", lambda *_, **__: None)  # not asked here


def surfaces(store, rows):
    names = store.table("cells", ["surface"])["surface"].to_pylist()
    return np.array(names, str)[rows.cell]


def test_parts_are_the_record_of_each_surface_and_together_the_whole(store, rows):
    found, where = data.apart(store, rows, ["thumbs"]), surfaces(store, rows)
    names = data.parts_of(found, "thumbs")
    assert names == [f"thumbs in {place}" for place in np.unique(where)]
    assert len(names) > 1
    assert [kind.name for kind in found.kinds] == names + [
        kind.name for kind in rows.kinds if kind.name != "thumbs"
    ]
    k = rows.kind("thumbs")
    for mask in MASKS:
        whole, parts = getattr(rows, mask), getattr(found, mask)
        for j, name in enumerate(names):
            here = where == name.removeprefix("thumbs in ")
            assert_array_equal(parts[:, j], whole[:, k] & here)
        assert_array_equal(parts[:, len(names) :], np.delete(whole, k, axis=1))


def test_kind_of_one_surface_stays_as_it_is_and_an_unknown_one_is_named(store, rows):
    first = np.flatnonzero(surfaces(store, rows) == surfaces(store, rows)[0])
    one = replace(rows, cell=np.full(len(rows), rows.cell[first[0]]))
    assert data.apart(store, one, ["thumbs"]).kinds == rows.kinds
    assert data.parts_of(rows, "thumbs") == ["thumbs"]
    with pytest.raises(ValueError, match=r"apart: .*no 'stars' feedback in this store; it has thumbs, "):
        open_material(store, pipeline.TrainConfig(apart=("stars",)))


def test_every_part_has_rates_and_propensities_of_its_own(store, rows):
    settings = pipeline.TrainConfig(apart=("thumbs",), propensity="cells", user_cap=None)
    made, identity = open_material(store, settings)
    assert open_material(store, settings)[1] == identity
    assert open_material(store, replace(settings, apart=()))[1] != identity
    names = data.parts_of(made.examples, "thumbs")
    assert set(names) <= set(made.rates) & set(made.propensities)
    assert "thumbs" not in made.rates
    cells = noise.by_cell(
        rows.positive[:, 0],
        rows.gold,
        surfaces(store, rows),
        observed=rows.observed[:, 0],
        usable=rows.offered[:, 0] & rows.closed[:, 0],
        design=rows.gold_design,
        prob=rows.gold_prob,
    )
    for name in names:
        own, expected = made.rates[name], cells.rates[name.removeprefix("thumbs in ")]
        assert (own.fnr, own.fpr, own.kind) == (expected.fnr, expected.fpr, name)
        assert_array_equal(own.covariance, expected.covariance)


def test_other_gold_is_read_by_the_same_parts(labelled):
    store, gold = labelled
    made = open_material(store, pipeline.TrainConfig(apart=("thumbs",), propensity="cells", user_cap=None))[0]
    found = _with_gold(made, store, gold)
    assert found.examples.kinds == made.examples.kinds
    assert {name: rate.rows() for name, rate in found.rates.items()} == {
        name: rate.rows() for name, rate in made.rates.items()
    }


def test_what_is_known_of_a_kind_holds_for_its_parts(store):
    settings = pipeline.TrainConfig(apart=("thumbs",), propensity="cells", user_cap=None)
    made = open_material(store, replace(settings, noise={"thumbs": (0.1, 0.2)}))[0]
    for name in data.parts_of(made.examples, "thumbs"):
        assert (made.rates[name].fnr, made.rates[name].fpr, made.rates[name].source) == (0.1, 0.2, "known")


def test_surfaces_are_no_second_voice(store, rows):
    thumbs = rows.kind("thumbs")
    masks = {mask: getattr(rows, mask)[:, [thumbs]] for mask in MASKS}
    alone = replace(rows, kinds=(rows.kinds[thumbs],), gold=np.full(len(rows), np.nan), **masks)
    for found in (alone, data.apart(store, alone, ["thumbs"])):
        (gate,) = [gate for gate in audit(found).gates if gate.name == "kinds without gold"]
        assert (gate.value, gate.colour) == (1, "red")
