"""`unskew train -c reward.yaml`: the settings of `trl reward`."""

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("peft", reason="peft is not installed")


import tiny  # noqa: E402
from tiny import PROMPTS, REPLIES, pairs  # noqa: E402


@pytest.fixture
def script(tmp_path):
    """A model, rows and settings on disk."""
    model, tokenizer = tiny.classifier(layers=1), tiny.tokenizer()
    model.save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    pairs(48).to_json(tmp_path / "rows.jsonl")
    return {
        "model_name_or_path": str(tmp_path / "start"),
        "dataset_name": str(tmp_path / "rows.jsonl"),
        "output_dir": str(tmp_path / "out"),
        "use_peft": True,
        "lora_r": 2,
        "lora_target_modules": "all-linear",
        "lora_task_type": "CAUSAL_LM",
        "per_device_train_batch_size": 8,
        "num_train_epochs": 1,
        "learning_rate": 1.0e-2,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "report_to": "none",
        "max_length": 512,
        "logging_steps": 2,
    }


def test_settings_of_trl_reward_run(script, tmp_path):
    from typer.testing import CliRunner

    from unskew.cli import app
    from unskew.reward import RewardModel

    (tmp_path / "reward.yaml").write_text(json.dumps(script))
    done = CliRunner().invoke(app, ["train", "-c", str(tmp_path / "reward.yaml"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rows"] == 48
    assert [entry["step"] for entry in found["history"] if "loss" in entry] == [2, 4, 6]
    assert len(RewardModel.load(found["model"]).score(PROMPTS, REPLIES)) == 4


def test_data_sets_of_trl_are_mixed_cut_and_held_out(script):
    from unskew.reward.script import read, rows

    one = {"path": script.pop("dataset_name"), "columns": ["chosen", "rejected"], "fraction": 0.5}
    chosen, args = read({**script, "datasets": [one, one], "test_split_size": 0.25, "eval_strategy": "epoch"})
    train, held = rows(chosen, args.eval_strategy != "no")
    assert (len(train), len(held)) == (36, 12)
    assert train.column_names == ["chosen", "rejected"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"trust_remote_code": True}, "trust_remote_code is True, which is not supported: code of a model"),
        ({"load_in_4bit": True}, "load_in_4bit is True, which is not supported: quantised"),
        ({"learning_rte": 1}, "'learning_rte' is neither a setting of `trl reward` nor of RewardConfig"),
        ({"model_name_or_path": None}, "model_name_or_path is missing"),
        ({"dataset_name": None}, "neither dataset_name nor datasets is given"),
        ({"eval_strategy": "epoch"}, "has splits train; 'test' is needed"),
        ({"dataset_name": "nothing.jsonl"}, "nothing.jsonl could not be loaded as a data set"),
    ],
)
def test_settings_that_cannot_run_say_why(script, change, says):
    from unskew.reward.script import run

    with pytest.raises((ValueError, FileNotFoundError), match=says.replace(".", r"\.")):
        run({**script, **change}, quiet=True)
