"""Policies of the quickstart: the stage, what it keeps, and that the same seed gives the same figures."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerControl
from typer.testing import CliRunner

from unskew import cli, pipeline, quickstart, simulate, terminal
from unskew.pipeline.policy import Budget, PolicyConfig, history, imitation
from unskew.pipeline.run import plain

CONFIG = PolicyConfig(imitated=800, held_out=48, rounds=3, completions=32, longest=48)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("policy") / "run"


@pytest.fixture(scope="module")
def run(home):
    return quickstart.quickstart(home, responses=1500, compare=(), policy=CONFIG)


def test_every_reward_has_a_policy_with_its_figures(run):
    policy = run["policy"]
    roles = {arm["name"]: arm["role"] for arm in policy["arms"]}
    assert roles == {"naive": "naive", run["estimator"]: "ours", "true": "ideal"}
    assert policy["seconds"] > 0
    assert policy["start"]["final"]["kl"] == 0
    for arm in policy["arms"]:
        assert [line["step"] for line in arm["history"]] == [8, 16, 24]  # optimiser steps
        for line in arm["history"]:
            assert {"reward", "gold", "kl", "entropy", "mean_length"} <= line.keys()
        assert abs(arm["history"][0]["kl"]) < 1e-3
        assert arm["history"][0]["gold"] == policy["arms"][0]["history"][0]["gold"]
        assert arm["final"]["true"]["low"] <= arm["final"]["true"]["value"] <= arm["final"]["true"]["high"]
        assert 0 <= arm["final"]["win_rate"] <= 1
        assert arm["final"]["kl"] > 0
        assert {"prompt", "completion", "reward", "gold"} == arm["samples"][0].keys()


def test_gold_is_the_true_quality_and_what_the_true_arm_is_paid(run):
    true = run["policy"]["arms"][-1]
    for sample in true["samples"]:
        assert sample["gold"] == simulate.quality(sample["prompt"], sample["completion"]) == sample["reward"]
    assert true["final"]["true"]["value"] == true["final"]["proxy"]
    assert true["history"][-1]["gold"] == pytest.approx(true["history"][-1]["reward"], abs=1e-4)
    assert true["final"]["true"]["value"] > run["policy"]["start"]["final"]["true"]["value"]


def test_run_page_and_policies_are_on_disk(run, home):
    assert json.loads((home / "run.json").read_text("utf-8")) == run
    assert (home / "report.html").is_file()
    for arm in run["policy"]["arms"]:
        folder = home / "policies" / arm["name"]
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
        ids = tokenizer(arm["samples"][0]["prompt"], return_tensors="pt")["input_ids"]
        assert model(ids).logits.shape[-1] == len(tokenizer)


def test_second_run_ends_in_the_same_figures(run, home):
    again = quickstart.train_policies(home, run["estimator"], CONFIG, pipeline.TrainConfig())
    assert plain(again["arms"]) == run["policy"]["arms"]
    assert plain(again["start"]) == run["policy"]["start"]


def test_terminal_shows_the_true_reward_of_each_policy(run):
    table = terminal.policies_table(run["policy"])
    assert table.row_count == 1 + len(run["policy"]["arms"])
    true = run["policy"]["arms"][-1]["final"]["true"]["value"]
    assert list(table.columns[0].cells) == ["nothing", "naive", run["estimator"], "true"]
    assert list(table.columns[1].cells)[-1].startswith(f"{true:.2f} ± ")


def test_the_option_of_the_command_asks_for_policies(run, home, monkeypatch):
    asked = {}
    monkeypatch.setattr("unskew.quickstart.quickstart", lambda *_, **given: asked.update(given) or run)
    for options, policy in (([], None), (["--policy", "--seed", "3"], PolicyConfig(seed=3))):
        done = CliRunner().invoke(cli.app, ["quickstart", "--out", str(home), *options])
        assert done.exit_code == 0, done.output
        assert asked["policy"] == policy
        assert ("policies trained on these rewards" in done.output) == (policy is not None)


def test_prompts_held_out_are_not_trained_on():
    log = simulate.draw(n=300, seed=1)
    config = PolicyConfig(imitated=32, held_out=20)
    start = imitation(log.prompt, log.response, config)
    assert len(start.held_out) == 20
    assert not set(start.held_out) & set(start.prompts)
    assert {*start.held_out, *start.prompts} == set(log.prompt)
    with pytest.raises(ValueError, match="held_out is 500; it must be below"):
        imitation(log.prompt, log.response, PolicyConfig(held_out=500))


def test_history_reads_the_log_of_a_trainer():
    round_ = {
        "step": 8,
        "rewards/model/mean": 2.0,
        "rewards/model/std": 1.0,
        "reward": 4.0,
        "kl": 0.5,
        "gold": 1.0,
    }
    log = [round_, {"train_runtime": 3.0}, {**round_, "step": 16, "rewards/model/mean": 3.0}]
    assert history(log) == [
        {"step": 8, "reward": 2.0, "gold": 1.0, "kl": 0.5},
        {"step": 16, "reward": 3.0, "gold": 1.0, "kl": 0.5},
    ]


@pytest.mark.parametrize(("budget", "stops"), [(4.0, 2), (5.0, 3), (None, None)])
def test_training_ends_when_the_next_round_would_be_beyond_the_budget(budget, stops):
    callback, control = Budget(budget), TrainerControl()
    ended = []
    for number, kl in enumerate((0.0, 1.0, 2.5, 4.5)):
        callback.on_log(None, None, control, {"kl": kl})
        callback.on_log(None, None, control, {"train_runtime": 1.0})
        ended += [number] if control.should_training_stop else []
    assert next(iter(ended), None) == stops
