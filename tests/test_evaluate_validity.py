"""Which intervals may be believed: every case of a pure function."""

from itertools import product

import pytest

from unskew.evaluate import WAYS, validity

SELECTIONS = ("features", "label", "designed", "unknown")
WEIGHTS = ("snips", "doubly_robust")


def cases():
    names = ("way", "selection", "gold", "in_sample", "random", "refused", "disagrees")
    grid = product(
        WAYS, SELECTIONS, (0, 200), (False, True, None), (True, False), ("", "No."), (None, 0.3, 1e-4)
    )
    return [dict(zip(names, case, strict=True)) for case in grid]


def wanted(way, selection, gold, in_sample, random, refused, disagrees):
    """The table of the module, written once more."""
    if in_sample or way == "naive":
        return False
    if way in ("powered", "gold"):
        found = True if gold and random else None
    elif way == "corrected":
        found = False if refused else None
    elif refused or (way in WEIGHTS and selection == "label") or disagrees == 1e-4:
        found = False
    elif way == "classwise_ips":
        found = True if selection == "label" else None
    else:
        found = None if selection == "unknown" else True
    return None if found and in_sample is None else found


def test_every_case_is_as_the_table_says_and_has_its_sentence():
    every = cases()
    assert len(every) == 7 * 4 * 2 * 3 * 2 * 2 * 3
    for case in every:
        way = case["way"]
        found = validity(way, **{k: v for k, v in case.items() if k != "way"})
        assert found.valid is wanted(**case), case
        assert found.why.endswith(".")
        assert found.why[0].isupper()


@pytest.mark.parametrize("way", WAYS)
def test_under_selection_by_label_only_class_wise_powered_and_gold_hold(way):
    found = validity(way, selection="label", gold=200)
    assert found.valid is (
        True if way in ("classwise_ips", "powered", "gold") else None if way == "corrected" else False
    )


def test_words_of_the_cases_that_matter_most():
    assert "feedback depends on the label itself" in validity("snips", selection="label", gold=200).why
    assert "Without gold nothing tells" in validity("doubly_robust", selection="unknown", gold=0).why
    assert "Only 12 gold labels" in validity("powered", selection="label", gold=12).why
    assert "trained on these rows" in validity("gold", selection="label", gold=200, in_sample=True).why
    assert "Nothing tells whether" in validity("gold", selection="label", gold=200, in_sample=None).why
    assert validity("snips", selection="features", gold=99, refused="Why not.").why == "Why not."


def test_an_unknown_way_is_named():
    with pytest.raises(ValueError, match="way is 'ips'; it must be one of naive, snips"):
        validity("ips", selection="label", gold=0)
