"""Training transformers as reward models: losses, weights, ranks, checkpoints."""

import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("peft", reason="peft is not installed")


import tiny  # noqa: E402
from tiny import config, pairs, parameters, trainer  # noqa: E402
from unskew.reward import NumericError, RewardTrainer  # noqa: E402
from unskew.reward.tokens import Tokens  # noqa: E402
from unskew.reward.trainer import held_out  # noqa: E402


def test_loss_and_metrics_are_those_of_trl(tmp_path):
    """-log sigmoid(r_chosen - r_rejected - margin), the mean; accuracy, margin and rewards of the batch."""
    data = pairs(8, margin=list(np.linspace(-1, 1, 8)))
    run = trainer(tmp_path, data, logging_steps=1, center_rewards_coefficient=0.01, learning_rate=0.0)
    run.train()
    (logged,) = [entry for entry in run.state.log_history if "loss" in entry]
    tokens = Tokens(tiny.tokenizer())
    reward = [
        [
            run.model(input_ids=torch.tensor([tokens(row["prompt"], row[name])[0]])).logits.item()
            for row in data
        ]
        for name in ("chosen", "rejected")
    ]
    chosen, rejected = torch.tensor(reward)
    z = chosen - rejected - torch.tensor(data["margin"])
    wanted = -torch.nn.functional.logsigmoid(z).mean() + 0.01 * (chosen + rejected).square().mean()
    assert logged["loss"] == pytest.approx(wanted.item(), abs=1e-5)
    assert logged["accuracy"] == pytest.approx((chosen > rejected).float().mean().item(), abs=1e-6)
    assert logged["margin"] == pytest.approx((chosen - rejected).mean().item(), abs=1e-5)
    both = torch.cat([chosen, rejected])
    for name, value in (("mean", both.mean()), ("min", both.min()), ("max", both.max())):
        assert logged[f"{name}_reward"] == pytest.approx(value.item(), abs=1e-5)
    lengths = [len(tokens(row["prompt"], row[name])[0]) for row in data for name in ("chosen", "rejected")]
    assert logged["num_tokens"] == sum(lengths)


def test_it_learns_and_the_held_out_measures_show_it(tmp_path):
    run = trainer(
        tmp_path, pairs(128), held=pairs(64, seed=5), num_train_epochs=6, eval_strategy="epoch", loss="brier"
    )
    run.train()
    found = [entry for entry in run.state.log_history if "eval_brier" in entry]
    assert found[-1]["eval_accuracy"] > 0.95
    assert found[-1]["eval_brier"] < 0.05
    assert found[-1]["eval_brier"] < found[0]["eval_brier"]
    assert {"eval_loss", "eval_margin", "eval_mean_reward", "eval_min_reward", "eval_max_reward"} <= set(
        found[0]
    )


def test_held_out_measures_are_self_normalised_and_unbiased_in_form():
    rows = torch.tensor(
        [[0, 0.3, -0.2, 0, 1.5, 1.2, 0.1], [1, -0.4, 0, 1, -0.2, 0.1, 0]], dtype=torch.float64
    )
    s = torch.sigmoid(torch.tensor([0.3 + 0.2 - 0.1, -0.4], dtype=torch.float64))
    a, b = torch.tensor([1.5, -0.2]), torch.tensor([1.2, 0.1])
    found = held_out(rows, "logistic")
    assert found["brier"] == pytest.approx(((a * s**2 - 2 * b * s + b).sum() / a.sum()).item(), rel=1e-6)
    z = torch.logit(s)
    wanted = (a * torch.nn.functional.softplus(z) - b * z).sum() / a.sum()
    assert found["loss"] == pytest.approx(wanted.item(), rel=1e-6)
    with pytest.raises(ValueError, match="held-out weights add up to 0"):
        held_out(torch.zeros(1, 7, dtype=torch.float64), "brier")


def test_rows_as_they_are_can_be_evaluated_and_measured_by_the_users_own_function(tmp_path):
    seen = []

    def share(found):
        seen.append(found)
        return {"right": float((found.predictions[:, 0] > found.predictions[:, 1]).mean())}

    run = trainer(tmp_path, pairs(32), held=pairs(16, seed=5))
    run.compute_metrics = share
    prepared, raw = run.evaluate(), run.evaluate(pairs(16, seed=5))
    assert {name: prepared[name] for name in ("eval_loss", "eval_brier", "eval_right")} == {
        name: raw[name] for name in ("eval_loss", "eval_brier", "eval_right")
    }
    assert prepared["eval_right"] == prepared["eval_accuracy"]
    assert seen[0].predictions.shape == (16, 2)
    assert (seen[0].label_ids == 1).all()
    with pytest.raises(ValueError, match="a reward is one number, use compute_metrics"):
        RewardTrainer(tiny.classifier(), config(tmp_path), preprocess_logits_for_metrics=lambda *_: None)


def test_kept_checkpoint_has_the_lowest_held_out_measure(tmp_path):
    flipped = [0.0] * 64  # the held-out pairs say the opposite, so the first checkpoint is the best
    run = trainer(
        tmp_path, pairs(64), held=pairs(64, seed=5, label_prob=flipped), num_train_epochs=4, patience=2,
        eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
    )  # fmt: skip
    run.train()
    values = [entry["eval_brier"] for entry in run.state.log_history if "eval_brier" in entry]
    assert len(values) == 3  # patience
    assert values[0] == min(values)
    assert run.state.best_model_checkpoint.endswith("checkpoint-8")
    assert run.evaluate()["eval_brier"] == pytest.approx(values[0], rel=1e-6)
    with pytest.raises(ValueError, match="patience is set, which needs load_best_model_at_end"):
        config(tmp_path, patience=2)


WEIGHTS = [0.0, 3.0, 0.5, 1.0] * 8


def one_step(directory, **options):
    """Parameters after an epoch of plain gradient descent on weighted rows of many lengths."""
    data = pairs(32, weight=WEIGHTS, label_prob=[0.9, 0.4] * 16)
    given = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    run = trainer(directory, data, **{**given, "per_device_train_batch_size": 32, **options})
    run.train()
    return parameters(run.model), run


def test_accumulation_equals_one_big_batch(tmp_path):
    whole, run = one_step(tmp_path)
    assert run.mean_weight == pytest.approx(np.mean(WEIGHTS))
    for size in (16, 8, 4, 3):
        steps = -(-32 // size)
        parts, _ = one_step(tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=steps)
        assert torch.allclose(parts, whole, atol=1e-6)
    assert not torch.allclose(whole, parameters(tiny.classifier()), atol=1e-4)


RANKS = """
import sys
sys.path.insert(0, {tests!r})
from test_reward_trainer import *
found, run = one_step({directory!r}, per_device_train_batch_size=16, num_train_epochs=2, logging_steps=1,
                      seed=4, ddp_backend="gloo")
log = list(run.state.log_history)
held = run.evaluate(run.train_dataset.select(range(31)))
if run.is_world_process_zero():
    torch.save({{"parameters": found, "log": log, "held": held}}, {out!r})
"""


def test_two_ranks_equal_one(tmp_path):
    text = RANKS.format(tests=os.path.dirname(__file__), directory=str(tmp_path), out=str(tmp_path / "two"))
    (tmp_path / "ranks.py").write_text(text)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "ranks.py")], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = torch.load(tmp_path / "two", weights_only=True)
    one, run = one_step(tmp_path, num_train_epochs=2, logging_steps=1, seed=4)
    assert torch.allclose(two["parameters"], one, atol=1e-6)
    for ours, theirs in zip(two["log"], run.state.log_history, strict=True):
        for name in ("loss", "accuracy", "margin", "mean_reward", "min_reward", "max_reward", "num_tokens"):
            assert ours.get(name) == pytest.approx(theirs.get(name), abs=1e-5), name
    held = run.evaluate(run.train_dataset.select(range(31)))
    for name in ("eval_loss", "eval_brier", "eval_accuracy", "eval_mean_reward"):
        assert two["held"][name] == pytest.approx(held[name], abs=1e-5)


def test_group_is_scored_once_per_response_and_equals_its_pairs(tmp_path):
    texts = ["good", "bad", "the answer", "very nice"]
    group = {"prompt": ["tell "], "completions": [texts], "labels": [[3, 0, 1, 2]]}
    order = [0, 3, 2, 1]
    rows = [
        {"prompt": "tell ", "chosen": texts[i], "rejected": texts[j]}
        for k, i in enumerate(order)
        for j in order[k + 1 :]
    ]
    seen, found = [], []
    for data in (datasets.Dataset.from_dict(group), datasets.Dataset.from_list(rows)):
        run = trainer(tmp_path, data, per_device_train_batch_size=6, optim="sgd", learning_rate=0.1)
        handle = run.score.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:2].numel()))
        run.train()
        handle.remove()
        found.append(parameters(run.model))
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert seen[0] * 2.5 < seen[1]


@pytest.mark.parametrize("loss", ["logistic", "brier", "mixture"])
def test_single_responses_with_target_columns(tmp_path, loss):
    good = [k % 2 for k in range(64)]
    rows = {"prompt": ["tell me: "] * 64, "completion": [("bad", "good")[g] for g in good]}
    if loss == "mixture":
        rows |= {"w": [1.0] * 64, "d": [(-30.0, 2.0)[g] for g in good]}
    else:
        rows |= {"a": [1.1] * 64, "b": [(-0.1, 1.2)[g] for g in good], "m": [0.1] * 64}
    run = trainer(tmp_path, datasets.Dataset.from_dict(rows), loss=loss, num_train_epochs=4)
    run.train()
    assert [entry for entry in run.state.log_history if "loss" in entry][-1]["accuracy"] > 0.9


def test_weights_that_add_up_to_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="weights of the data set have mean 0; something must weigh more"):
        trainer(tmp_path, pairs(4, weight=[0.0] * 4))
    with pytest.raises(ValueError, match="the model has 2 labels; a reward has num_labels=1"):
        RewardTrainer(tiny.classifier(num_labels=2), config(tmp_path), processing_class=tiny.tokenizer())
    with pytest.raises(ValueError, match="loss is 'hinge'; it must be one of logistic, brier, mixture"):
        config(tmp_path, loss="hinge")


def test_named_model_trains_in_float32_however_it_was_saved(tmp_path):
    """As TRL loads it: steps of 1e-4 are lost in the rounding of bfloat16 parameters."""
    tiny.classifier().to(torch.bfloat16).save_pretrained(tmp_path / "half")
    tiny.tokenizer().save_pretrained(tmp_path / "half")
    for options, wanted in ((None, torch.float32), ({"dtype": "bfloat16"}, torch.bfloat16)):
        run = RewardTrainer(
            str(tmp_path / "half"), config(tmp_path, model_init_kwargs=options), train_dataset=pairs(4)
        )
        assert {parameter.dtype for parameter in run.model.parameters()} == {wanted}


def test_frozen_trunk_trains_the_head_alone(tmp_path):
    run = trainer(tmp_path, freeze_trunk=True)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.train()
    changed = {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"score.weight"}


def test_bf16_and_gradient_checkpointing_train(tmp_path):
    run = trainer(tmp_path, pairs(64), bf16=True, gradient_checkpointing=True, num_train_epochs=4)
    run.train()
    assert [entry for entry in run.state.log_history if "loss" in entry][-1]["accuracy"] > 0.9


def test_resumed_run_repeats_the_undisturbed_one(tmp_path):
    options = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 5, "logging_steps": 1}
    whole = trainer(tmp_path / "whole", **options)
    whole.train()
    part = trainer(tmp_path / "part", **options)

    def stop(*_):
        if part.state.global_step == 7:
            raise KeyboardInterrupt

    part.before_step = stop
    with pytest.raises(KeyboardInterrupt):
        part.train()
    again = trainer(tmp_path / "part", **options)
    again.train(resume_from_checkpoint=True)
    assert torch.equal(parameters(whole.model), parameters(again.model))
    assert whole.state.log_history[-2]["num_tokens"] == again.state.log_history[-2]["num_tokens"]


def test_huge_learning_rate_stops_the_run(tmp_path):
    run = trainer(tmp_path, learning_rate=1e20, num_train_epochs=10, loss="logistic")
    with pytest.raises(NumericError, match="Lower learning_rate"):
        run.train()
    assert torch.isfinite(parameters(run.model)).all()
