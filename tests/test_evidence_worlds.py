"""Evidence in simulated worlds: beside naive and gold alone, and no collapse."""

import importlib
from functools import lru_cache

import numpy as np
import pytest

from evident import auc, brier, product_log, sigmoid
from unskew import estimators, reward
from unskew.evidence import descent

pytestmark = pytest.mark.usefixtures("one_thread")

fitting = importlib.import_module("unskew.evidence.fit")  # the name is taken by the function


@lru_cache
def scores(name, seed):
    """(Brier, AUC) by method, against the true labels of the rows without gold."""
    log = product_log(name, seed)
    rest = np.isnan(log.gold)

    def head(label, seen):
        columns = estimators.naive(np.where(seen, label, 0.0), seen)
        return sigmoid(reward.fit_head(log.X, columns, groups=log.prompt, loss="logistic").head(log.X))

    q = {
        "ideal": sigmoid(log.z),
        "naive": head(log.positive[:, 0], log.observed[:, 0]),
        "gold alone": head(log.gold, ~rest),
        "no gold": log.fit(gold=None).q,
        "gold": log.fit().q,
    }
    return {key: (brier(p[rest], log.label[rest]), auc(p[rest], log.label[rest])) for key, p in q.items()}


def means(name, method):
    """(Brier, AUC), mean of two seeds."""
    return np.mean([scores(name, seed)[method] for seed in (0, 1)], axis=0)


@pytest.mark.parametrize("name", ["label", "features"])
def test_evidence_beats_the_naive_head_and_is_no_worse_than_gold_alone(name):
    naive, alone = means(name, "naive"), means(name, "gold alone")
    without, inside = means(name, "no gold"), means(name, "gold")
    assert inside[0] < naive[0] - 0.01
    assert inside[0] < alone[0] + 0.001
    assert inside[1] > alone[1]
    assert without[0] < naive[0] - 0.005


def test_constant_tables_collapse_when_a_feature_scales_all_feedback_and_heads_for_the_rates_do_not():
    log = product_log("nuisance", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descent, "SHARED_DECAY", 1e6)  # g keeps its offsets and loses its slopes
        patch.setattr(fitting, "OWN_DECAYS", (1e6,))
        constant = log.fit(gold=None).q
    rest = np.isnan(log.gold)
    collapsed = brier(constant[rest], log.label[rest]), auc(constant[rest], log.label[rest])
    ours, naive = scores("nuisance", 0)["no gold"], scores("nuisance", 0)["naive"]
    assert collapsed[0] > naive[0] + 0.08
    assert collapsed[1] < naive[1] - 0.1
    assert ours[0] < naive[0]
    assert ours[1] > naive[1] - 0.01


def test_people_who_answer_at_both_extremes_are_not_taken_for_errors():
    log = product_log("u", 0)
    rest = np.isnan(log.gold)
    found = log.fit(gold=None)
    assert found.history[-1]["grows"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "GROWTH", np.inf)
        flat = log.fit(gold=None)
    assert brier(found.q[rest], log.label[rest]) < brier(flat.q[rest], log.label[rest]) - 0.01


def test_effects_grow_only_where_held_out_prompts_say_so_and_never_of_one_kind_alone():
    log = product_log("features", 0)
    alone = {name: getattr(log, name)[:, :1] for name in ("usable", "observed", "positive")}
    assert not any(step["grows"] for step in log.fit(kinds=log.kinds[:1], **alone).history)
    found = log.fit()
    *others, last = found.history
    assert last["grows"]
    assert last["held_out"] > min(step["held_out"] for step in others) - fitting.GROWTH
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "GROWTH", np.inf)
        assert np.array_equal(found.q, log.fit().q)
