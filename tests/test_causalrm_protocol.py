"""The protocol of CausalRM: the three layouts, the law of the record by enumeration, and one small cell."""

import importlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

BENCHES = str(Path(__file__).resolve().parents[1] / "benches")
sys.path.insert(0, BENCHES)  # the benches import each other by name
try:
    protocol, rated, teacher = map(
        importlib.import_module, ("causalrm_protocol", "rated", "causalrm_teacher")
    )
finally:
    sys.path.remove(BENCHES)

HELPSTEER = [
    {"prompt": "Why?", "response": f"because {n}", "helpfulness": n, "correctness": 4 - n, "verbosity": 2}
    for n in range(5)
]


def said(prompt, answer):
    return [{"content": prompt, "role": "user"}, {"content": answer, "role": "assistant"}]


ULTRAFEEDBACK = [
    {
        "prompt": prompt,
        "prompt_id": prompt,
        "chosen": said(prompt, f"good {prompt}"),
        "rejected": said(prompt, f"bad {prompt}"),
        "messages": said(prompt, f"good {prompt}"),
        "score_chosen": high,
        "score_rejected": low,
    }
    for prompt, high, low in (("a", 8.5, 6.5), ("b", 10.0, 1.0), ("c", 7.0, 6.0))
]

SAFERLHF = [
    {
        "prompt": prompt,
        "response_0": f"{prompt} 0",
        "response_1": f"{prompt} 1",
        "response_0_severity_level": first,
        "response_1_severity_level": second,
        "is_response_0_safe": first == 0,
        "is_response_1_safe": second == 0,
        "better_response_id": 0,
        "safer_response_id": int(second < first),
    }
    for prompt, first, second in (("a", 0, 3), ("b", 2, 1), ("c", 3, 0))
]


def kept(folder, rows, form="jsonl"):
    """The rows as a file that `datasets` reads."""
    path = folder / f"rows.{form}"
    if form == "parquet":
        datasets.Dataset.from_list(rows).to_parquet(str(path))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def read(folder, rows, layout, form="jsonl"):
    return rated.read(kept(folder, rows, form), rated.LAYOUTS[layout], cache=folder / "cache")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_helpsteer_is_good_above_helpfulness_two(tmp_path, form):
    data = read(tmp_path, HELPSTEER, "helpsteer", form)
    assert data.prompts == ["Why?"] * 5
    assert data.responses == [f"because {n}" for n in range(5)]
    assert data.level.tolist() == [0, 1, 2, 3, 4]
    assert data.label.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_ultrafeedback_gives_the_last_message_of_each_side_and_is_good_above_six_and_a_half(tmp_path, form):
    data = read(tmp_path, ULTRAFEEDBACK, "ultrafeedback", form)
    assert data.prompts == ["a", "a", "b", "b", "c", "c"]
    assert data.responses == ["good a", "bad a", "good b", "bad b", "good c", "bad c"]
    assert data.level.tolist() == [8.5, 6.5, 10, 1, 7, 6]
    assert data.label.tolist() == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_severity_is_negated_so_that_harmless_is_good_and_seen_most(tmp_path, form):
    data = read(tmp_path, SAFERLHF, "saferlhf", form)
    assert data.responses == ["a 0", "a 1", "b 0", "b 1", "c 0", "c 1"]
    assert data.level.tolist() == [0, -3, -2, -1, -3, 0]
    assert data.label.tolist() == [1, 0, 0, 1, 0, 1]  # severity below 1.5
    p = protocol.propensities(data.level, 0.5)
    assert p[0] == p[5] == p.max()
    assert p[1] == p[4] == p.min()


def test_rows_without_a_level_are_left_out_and_counted(tmp_path):
    rows = [*HELPSTEER, {"prompt": "Why?", "response": "x", "helpfulness": None}]
    data = read(tmp_path, rows, "helpsteer")
    assert (len(data), data.dropped) == (5, 1)


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(ValueError, match="score_chosen, rejected, score_rejected is missing"):
        read(tmp_path, [{"prompt": "a", "chosen": "b"}], "ultrafeedback")


def test_levels_on_one_side_of_the_median_are_refused(tmp_path):
    with pytest.raises(ValueError, match="every level is on one side of 2"):
        read(tmp_path, HELPSTEER[3:], "helpsteer")


levels = st.lists(st.integers(0, 4), min_size=5, max_size=40).filter(lambda values: len(set(values)) > 1)
alphas = st.sampled_from(protocol.ALPHAS)


@given(levels, alphas)
def test_a_fifth_is_expected_to_be_observed_and_no_propensity_exceeds_one(level, alpha):
    level = np.array(level, float)
    p = protocol.propensities(level, alpha)
    assert p.mean() == pytest.approx(0.2, rel=1e-12)
    assert (p > 0).all()
    assert (p <= 1).all()
    free, r = p < 1, 1 + 4 * (level - level.min()) / (level.max() - level.min())
    assert r.min() == 1
    assert r.max() == 5
    k = p[free] / alpha ** (5 - r[free])  # below one p follows the published power, with one factor
    assert np.allclose(k, k[0], rtol=1e-9)
    assert (p[~free] >= p[free].max()).all()


def test_published_formula_leaves_the_unit_interval_where_ours_stays_at_one():
    level = np.repeat([0.0, 4.0], [95, 5])  # 5 % at the top, so a fifth cannot be observed there
    free = protocol.SHARE * protocol.wanted(level, 0.005) / protocol.wanted(level, 0.005).mean()
    assert free.max() == pytest.approx(4, rel=1e-6)
    p = protocol.propensities(level, 0.005)
    assert p[-1] == 1
    assert p[0] == pytest.approx(15 / 95)


@given(levels, alphas, st.floats(0, 0.45), st.floats(0, 0.45))
def test_the_law_of_the_record_gives_the_stated_rates_by_enumeration(level, alpha, fnr, fpr):
    """Sums over row, true label, and what is recorded: nothing is sampled."""
    level = np.array(level, float)
    label = (level > np.median(np.unique(level))).astype(float)
    p = protocol.propensities(level, alpha)
    chances = protocol.law(p, label, fnr, fpr)
    joint = dict.fromkeys(itertools.product((0, 1), range(3)), 0.0)
    for row, y in enumerate(label):
        for outcome in range(3):
            joint[int(y), outcome] += chances[row, outcome] / len(label)
    assert sum(joint.values()) == pytest.approx(1, rel=1e-12)
    assert sum(joint[y, o] for y in (0, 1) for o in (1, 2)) == pytest.approx(0.2, rel=1e-12)
    for y, wrong, rate in ((1, 1, fnr), (0, 2, fpr)):
        seen, all_ = joint[y, 1] + joint[y, 2], sum(joint[y, o] for o in range(3))
        assert seen / all_ == pytest.approx(p[label == y].mean(), rel=1e-12)  # p1, p0
        assert joint[y, wrong] / seen == pytest.approx(rate, rel=1e-9, abs=1e-15)


def test_draws_follow_their_law():
    chances = np.tile([0.5, 0.2, 0.3], (100_000, 1))
    observed, up = protocol.draw(chances, 0)
    assert not (up & ~observed).any()
    for share, mean in ((0.5, observed.mean()), (0.3, up.mean())):
        assert abs(mean - share) < 5 * np.sqrt(share * (1 - share) / len(chances))


def test_a_certain_outcome_is_always_drawn():
    observed, up = protocol.draw(np.eye(3)[[0, 1, 2] * 50], 1)
    assert observed.tolist() == [False, True, True] * 50
    assert up.tolist() == [False, False, True] * 50


def test_a_split_by_prompt_never_parts_siblings_and_one_by_rows_does():
    prompts = [str(number // 2) for number in range(1000)]
    by_prompt = protocol.held_out(prompts, 0)
    assert by_prompt.sum() == 200
    assert (by_prompt[::2] == by_prompt[1::2]).all()
    by_row = protocol.held_out(prompts, 0, "rows")
    assert by_row.sum() == 200
    assert (by_row[::2] != by_row[1::2]).any()
    assert (protocol.held_out(prompts, 1) != by_prompt).any()


def test_the_metrics_are_those_of_the_paper():
    found = protocol.measured(np.array([0.9, 0.2, 0.6, 0.4]), np.array([1.0, 0, 0, 1]))
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.36 + 0.36) / 4)
    assert found["rmse"] == pytest.approx(found["brier"] ** 0.5)
    assert found["mae"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.6) / 4)
    assert found["r2"] == pytest.approx(1 - found["brier"] / 0.25)
    assert found["auc"] == 0.75


def world(n=3000, seed=0):
    """Ratings that three features explain; two responses a prompt."""
    chance = np.random.default_rng(seed)
    X = chance.normal(size=(n, 3)).astype(np.float32)
    level = teacher.banded(X @ np.array([1.0, 0.5, 0]) + 0.5 * chance.normal(size=n)).astype(float)
    prompts = [str(number // 2) for number in range(n)]
    return rated.Rated(prompts, prompts, level, (level > 2).astype(float), 0), X


def test_the_bands_of_the_teacher_hold_their_shares():
    data, _ = world()
    assert np.bincount(data.level.astype(int)) / len(data) == pytest.approx(teacher.SHARES, abs=1e-3)


@pytest.fixture(scope="module")
def cell():
    data, X = world()
    return protocol.run(data, X, 0.5, (0.2, 0.1), 0, "prompt", "linear")


def test_one_cell_trains_every_arm_and_orders_them(cell):
    r2 = {name: figures["r2"] for name, figures in cell["arms"].items()}
    assert len(r2) == 10
    assert r2["ideal"] > max(r2.values()) - 0.01  # evidence with 600 labels may tie with it
    assert r2["evidence, 600 gold"] > r2["naive"]
    assert cell["train"] + cell["test"] == 3000
    assert cell["p1"] > 2 * cell["p0"]
    assert set(cell["audit"]) == {"no gold", "600 gold"}
    assert cell["audit"]["no gold"]["evidence"] != "green"
    told = cell["evidence"]["600 gold"]
    assert {rate["parameter"] for rate in told["rates"]} >= {"fnr", "fpr"}
    assert abs(told["good"] - 0.69) < 0.1
    assert "no gold" in cell["evidence"]["no gold"]["gates"]


def test_the_tables_show_every_arm_and_say_who_was_refused(cell):
    refused = {**cell, "alpha": 0.1, "arms": {**cell["arms"], "naive": {"refused": "because"}}}
    lines = protocol.table([cell, refused]).splitlines()
    figures = cell["arms"]["naive"]
    assert f"| naive | {figures['r2']:.3f} ({figures['auc']:.3f}) | refused 1/1 |" in lines
    assert lines[0] == "| fnr 0.2, fpr 0.1: R2 (AUC) | alpha 0.5 | alpha 0.1 |"
    assert all(sum(line.startswith(f"| {name} |") for line in lines) == 2 for name in cell["arms"])


def test_the_command_runs_the_grid_and_keeps_every_figure(tmp_path, monkeypatch, capsys, cell):
    asked = []

    def run(data, X, alpha, noise, *rest):
        asked.append((X.shape, alpha, noise, *rest))
        return {**cell, "alpha": alpha, "fnr": noise[0], "fpr": noise[1]}

    monkeypatch.setattr(protocol, "run", run)
    rows = kept(tmp_path, HELPSTEER)
    options = ["--alphas", "0.5", "0.2", "--seeds", "1", "--split", "rows", "--head", "mlp"]
    places = ["--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "all.json")]
    monkeypatch.setattr(sys, "argv", ["bench", rows, "--layout", "helpsteer", *options, *places])
    protocol.main()
    shape = (5, 1025)
    assert asked == [
        (shape, alpha, noise, 0, "rows", "mlp") for noise in protocol.NOISES for alpha in (0.5, 0.2)
    ]
    printed = capsys.readouterr().out
    assert "5 responses to 1 prompts, 40.0% good" in printed
    assert printed.count("| ideal |") == 4
    assert len(json.loads((tmp_path / "all.json").read_text("utf-8"))["hashing"]) == 4


def test_a_model_reads_as_it_is_told():
    found = protocol.encoder("folder", pooling="last", max_length=64, template="{response}")
    settings = (found.name, found.pooling, found.max_length, found.template)
    assert settings == ("folder", "last", 64, "{response}")
    assert protocol.encoder("hashing", pooling="mean") == protocol.Hashing()


def test_the_texts_of_the_teacher_are_each_taken_once(real_data):
    found = teacher.texts(real_data("hh_harmless").parent)
    assert len(found) == len(set(found))
    assert len(found) > 5000
