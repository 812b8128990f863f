"""`unskew ppo`: from a file of settings to a policy, its run and its report."""

import json
import signal

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import toys  # noqa: E402
from unskew import pipeline  # noqa: E402
from unskew.cli import app  # noqa: E402
from unskew.pipeline.transformer import Interrupted  # noqa: E402

TRAINER = {
    "max_steps": 8,
    "per_device_train_batch_size": 8,
    "num_ppo_epochs": 2,
    "response_length": 6,
    "learning_rate": 0.01,
    "use_cpu": True,
    "save_steps": 3,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A small policy, prompts and a reward on disk."""
    where = tmp_path_factory.mktemp("ppo")
    small = {
        "vocab_size": len(toys.WORDS),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
    }
    torch.manual_seed(0)
    config = LlamaConfig(**small, num_attention_heads=4, eos_token_id=1, pad_token_id=0, bos_token_id=None)
    LlamaForCausalLM(config).save_pretrained(where / "start")
    toys.tokenizer().save_pretrained(where / "start")
    prompts = [{"prompt": f"{a} {b}"} for a in toys.WORDS[2:8] for b in toys.WORDS[2:7]]
    (where / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    (where / "reward.py").write_text(
        "def share(prompts, completions, **columns):\n"
        f"    return [text.split().count({toys.TARGET!r}) / 6 for text in completions]\n"
        "def length(completions, **columns):\n"
        "    return [len(text.split()) / 6 for text in completions]\n"
    )
    settings = {
        "model": str(where / "start"),
        "reward": f"{where / 'reward.py'}:share",
        "gold": f"{where / 'reward.py'}:length",
        "prompts": str(where / "prompts.jsonl"),
        "trainer": TRAINER,
    }
    (where / "run.yaml").write_text(json.dumps(settings))
    return where


def test_command_trains_a_policy_and_reports_it(home):
    out = home / "run"
    done = CliRunner().invoke(app, ["ppo", "-c", str(home / "run.yaml"), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    run = json.loads(done.stdout)
    assert run == json.loads((out / "run.json").read_text())
    (arm,) = run["policy"]["arms"]
    assert [entry["step"] for entry in arm["history"]] == [2, 4, 6, 8]
    assert {"reward", "gold", "kl", "entropy", "mean_length"} <= set(arm["history"][0])
    assert 0 <= arm["final"]["win_rate"]["value"] <= 1
    assert arm["final"]["proxy"]["low"] <= arm["final"]["proxy"]["value"]
    assert {"prompt", "completion", "reward", "gold"} == set(arm["samples"][0])
    assert "Policies trained" in (out / "report.html").read_text()
    assert not (out / "checkpoints").exists()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(out / "policy")
    AutoTokenizer.from_pretrained(out / "policy")


def test_interrupted_command_goes_on_to_the_same_policy(home, monkeypatch):
    from unskew.ppo import OnPolicyTrainer

    settings = pipeline.OptimiseConfig.load(home / "run.yaml")
    step = OnPolicyTrainer.before_step

    def interrupt(self, model):
        step(self, model)
        if self.state.global_step == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(OnPolicyTrainer, "before_step", interrupt)
        with pytest.raises(Interrupted) as caught:
            pipeline.optimise(settings, home / "stopped")
    assert caught.value.exit_code == 143
    assert (home / "stopped" / "checkpoints" / "checkpoint-5").is_dir()
    runs = [pipeline.optimise(settings, home / name) for name in ("stopped", "whole")]
    both = [(home / name / "policy" / "model.safetensors").read_bytes() for name in ("stopped", "whole")]
    assert both[0] == both[1]
    assert runs[0]["policy"]["arms"][0]["final"] == runs[1]["policy"]["arms"][0]["final"]


@pytest.mark.parametrize(
    ("flags", "says", "code"),
    [
        (["--algorithm", "dpo"], "algorithm is 'dpo'; it must be one of ppo, rloo, grpo", 2),
        (["--prompts", "nothing.jsonl"], "nothing.jsonl does not exist; JSON lines with `prompt`", 4),
        (["--reward", "nothing.py:f"], "nothing.py does not exist; `file.py:function` is needed", 4),
        (["--model", "nothing"], "nothing", 4),
    ],
)
def test_wrong_settings_say_what_is_needed(home, flags, says, code, capfd):
    from unskew.cli import explain

    done = CliRunner().invoke(
        app, ["ppo", "-c", str(home / "run.yaml"), "--out", str(home / f"no{code}{says[:9]}"), *flags]
    )
    assert done.exception is not None
    assert explain(done.exception) == code
    assert says in " ".join(capfd.readouterr().err.split())


def test_bad_line_of_the_prompts_is_named(home, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a"}\n{"text": "b"}\n')
    settings = pipeline.OptimiseConfig(model="m", reward=("r",), prompts=str(tmp_path / "bad.jsonl"))
    with pytest.raises(ValueError, match=r"bad\.jsonl line 2: an object with `prompt`"):
        pipeline.tuning.prompts(settings)
    for missing in ({"model": ""}, {"reward": ()}, {"prompts": None}):
        with pytest.raises(ValueError, match=r"no (model|reward|prompts): "):
            pipeline.OptimiseConfig(**{"model": "m", "reward": ("r",), "prompts": "p", **missing})


def test_reward_of_all_nan_stops_with_a_numeric_error(home):
    (home / "nan.py").write_text(
        "def nan(completions, **columns):\n    return [float('nan')] * len(completions)\n"
    )
    settings = pipeline.OptimiseConfig.load(home / "run.yaml", reward=f"{home / 'nan.py'}:nan")
    from unskew.losses.numeric import NumericError

    with pytest.raises(NumericError, match="have no finite reward"):
        pipeline.optimise(settings, home / "bad")
