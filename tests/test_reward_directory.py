"""A reward model's directory as other stacks load it, and the reward as they call it."""

import json
import math
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from peft import LoraConfig  # noqa: E402

import tiny  # noqa: E402
import toys  # noqa: E402
from tiny import CHAT, PROMPTS, REPLIES, answer, config, pairs, trainer  # noqa: E402
from unskew.reward import NumericError, RewardTrainer  # noqa: E402
from unskew.reward.tokens import Tokens  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    run = trainer(home / "run", pairs(64), num_train_epochs=2, turns=False)
    run.train()
    run.export(home / "model", {"estimator": "ips", "scale": "log-odds that a user likes the response"})
    return run, home / "model"


def test_loaded_model_scores_as_the_trained_one(trained):
    from unskew.reward import RewardModel, TransformerReward

    run, directory = trained
    loaded = RewardModel.load(directory)
    tokens = Tokens(tiny.tokenizer())
    ids = [tokens(p, r)[0] for p, r in zip(PROMPTS, REPLIES, strict=True)]
    wanted = [run.model(input_ids=torch.tensor([each])).logits.item() for each in ids]
    found = loaded.score(PROMPTS, REPLIES)
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(loaded.score(PROMPTS[:1], REPLIES[:1]) - found[:1]).max() < 1e-5  # batches do not matter
    assert np.allclose(loaded.probability(PROMPTS, REPLIES), 1 / (1 + np.exp(-found)))
    assert loaded.card["estimator"] == "ips"
    assert isinstance(loaded, TransformerReward)
    assert not loaded.model.training
    loaded.model.train()
    assert np.array_equal(loaded.score(PROMPTS, REPLIES), found)  # scored in evaluation mode all the same
    assert loaded.model.training
    with pytest.raises(ValueError, match="1 prompts and 4 responses"):
        loaded.score(PROMPTS[:1], REPLIES)


def test_directory_keeps_the_contract(trained):
    _, directory = trained
    settings = json.loads((directory / "config.json").read_text())
    assert settings["architectures"] == ["LlamaForSequenceClassification"]
    assert settings["id2label"] == {"0": "reward"}
    assert "auto_map" not in settings
    assert settings["pad_token_id"] not in (None, settings["eos_token_id"])
    assert settings["value_head_prefix"] == "score"
    assert settings["std"] > 0
    names = {path.name for path in directory.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "README.md", "reward_card.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pth"))]
    from safetensors.torch import load_file

    state = load_file(directory / "model.safetensors")
    assert state["score.weight"].shape == (1, 32)
    assert all(name.startswith("model.") or name == "score.weight" for name in state)
    assert 'function_to_apply="none"' in (directory / "README.md").read_text()


def test_stock_classes_load_it_to_the_same_scores(trained):
    """TRL and NeMo RL (sequence classification), verl (token classification), a pipeline without sigmoid."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        pipeline,
    )

    from unskew.reward import RewardModel

    _, directory = trained
    wanted = RewardModel.load(directory).score(PROMPTS, REPLIES)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    texts = [p + r + tokenizer.eos_token for p, r in zip(PROMPTS, REPLIES, strict=True)]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    assert model.config.num_labels == 1
    assert not model.training
    with torch.inference_mode():
        assert np.abs(model(**batch).logits[:, 0].numpy() - wanted).max() < 1e-5
        verl = AutoModelForTokenClassification.from_pretrained(directory, num_labels=1).eval()
        ends = batch["attention_mask"].sum(1) - 1
        found = verl(**batch).logits[torch.arange(4), ends, 0]
    assert np.abs(found.numpy() - wanted).max() < 1e-5
    judge = pipeline("text-classification", model=str(directory), function_to_apply="none", device="cpu")
    assert np.abs([found["score"] for found in judge(texts)] - wanted).max() < 1e-5


class OpenRLHF:
    """How OpenRLHF reads a reward model: the trunk by the base class, the head by `value_head_prefix` in the
    configuration, the reward at the last attended token of left-padded batches, perhaps normalised."""

    def __init__(self, directory):
        from safetensors.torch import load_file
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        self.settings = AutoConfig.from_pretrained(directory)
        self.trunk = AutoModel.from_pretrained(directory).eval()
        self.head = load_file(directory / "model.safetensors")[f"{self.settings.value_head_prefix}.weight"]
        self.tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")

    def __call__(self, texts, normalise=False):
        batch = self.tokenizer(texts, padding=True, return_tensors="pt")
        mask = batch["attention_mask"]
        positions = (mask.cumsum(1) - 1).masked_fill(mask == 0, 1)
        with torch.inference_mode():
            hidden = self.trunk(**{**batch, "position_ids": positions}).last_hidden_state
        reward = (hidden @ self.head.T)[..., 0]
        ends = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        found = reward[torch.arange(len(texts)), ends]
        return (found - self.settings.mean) / self.settings.std if normalise else found


def test_openrlhf_reads_the_same_scores_from_left_padded_batches(trained):
    from unskew.reward import RewardModel

    run, directory = trained
    wanted = RewardModel.load(directory).score(PROMPTS, REPLIES)
    judge = OpenRLHF(directory)
    texts = [p + r + judge.tokenizer.eos_token for p, r in zip(PROMPTS, REPLIES, strict=True)]
    assert np.abs(judge(texts).numpy() - wanted).max() < 1e-5
    unit = run.export(directory.with_name("unit"), unit=True)
    wide = OpenRLHF(unit)
    assert wide.settings.std == 1.0
    assert np.abs(wide(texts, normalise=True).numpy() - judge(texts, normalise=True).numpy()).max() < 1e-4
    assert json.loads((unit / "reward_card.json").read_text())["unit"] is True


@pytest.mark.parametrize(
    "peft_config",
    [
        LoraConfig(task_type="SEQ_CLS", r=4),
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
        LoraConfig(r=4, target_modules="all-linear"),
        LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"]),
    ],
    ids=["seq_cls", "no task", "all-linear", "causal_lm"],
)
def test_lora_trains_and_saves_the_head_and_is_merged(tmp_path, peft_config):
    from unskew.reward import RewardModel

    run = trainer(
        tmp_path / "run", pairs(32), peft_config=peft_config, save_strategy="epoch", learning_rate=0.01
    )
    before = tiny.classifier()
    run.train()
    found = run.model.get_base_model().score.modules_to_save["default"].weight
    assert not torch.equal(found, before.score.weight)
    frozen = run.model.get_base_model().model.embed_tokens.weight
    assert torch.equal(frozen, before.model.embed_tokens.weight)
    run.export(tmp_path / "model")
    loaded = RewardModel.load(tmp_path / "model")
    tokens = Tokens(tiny.tokenizer())
    ids = [tokens(p, r)[0] for p, r in zip(PROMPTS, REPLIES, strict=True)]
    run.model.eval()
    wanted = [run.model(input_ids=torch.tensor([each])).logits.item() for each in ids]
    assert np.abs(loaded.score(PROMPTS, REPLIES) - wanted).max() < 1e-5
    again = trainer(tmp_path / "run", pairs(32), peft_config=LoraConfig(**{
        **peft_config.to_dict(), "modules_to_save": None,
    }), save_strategy="epoch", learning_rate=0.01, num_train_epochs=1)  # fmt: skip
    again.train(resume_from_checkpoint=True)
    assert torch.equal(again.model.get_base_model().score.modules_to_save["default"].weight, found)


def test_model_without_a_trained_head_or_with_a_bad_number_is_refused(trained, tmp_path):
    from safetensors.torch import load_file, save_file

    from unskew.reward import RewardModel

    run, directory = trained
    for name in os.listdir(directory):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    state = load_file(directory / "model.safetensors")
    save_file({k: v for k, v in state.items() if k != "score.weight"}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"has no score\.weight: it would be random"):
        RewardModel.load(tmp_path)
    save_file({**state, "score.weight": state["score.weight"] * math.nan}, tmp_path / "model.safetensors")
    with pytest.raises(NumericError, match=r"parameter score\.weight holds a number that is not finite"):
        RewardModel.load(tmp_path)
    (tmp_path / "reward_card.json").write_text("{")
    with pytest.raises(ValueError, match=r"reward_card\.json is damaged"):
        RewardModel.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        RewardModel.load(tmp_path / "nothing")
    weight = run.model.score.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(math.inf)
    with pytest.raises(NumericError):
        run.export(tmp_path / "bad")
    with torch.no_grad():
        weight.copy_(kept)
    assert not (tmp_path / "bad").exists()
    assert not list(tmp_path.glob(".bad*"))


def test_tokenizer_that_comes_back_changed_is_refused(tmp_path):
    from unskew.reward.directory import write

    model, tokenizer = tiny.classifier("qwen2"), toys.tokenizer()
    with pytest.raises(ValueError, match=r"comes back .* as a Qwen2Tokenizer that gives other tokens"):
        write(tmp_path / "model", model, Tokens(tokenizer), {})
    assert not (tmp_path / "model").exists()


def test_loaded_model_is_saved_as_it_was_and_encoders_have_units_too(trained, tmp_path):
    import transformers

    from unskew.reward import RewardModel
    from unskew.reward.directory import write

    _, directory = trained
    RewardModel.load(directory).save(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=512, num_labels=1, pad_token_id=5, **shape)
    )
    torch.nn.init.constant_(encoder.classifier.bias, 3.0)
    tokens = Tokens(tiny.tokenizer())
    for unit in (False, True):
        write(tmp_path / f"{unit}", encoder, tokens, {}, unit=unit, mean=3.0, std=2.0)
    plain, wide = (RewardModel.load(tmp_path / f"{unit}").score(PROMPTS, REPLIES) for unit in (False, True))
    assert np.abs(wide - plain / 2).max() < 1e-6
    assert json.loads((tmp_path / "True" / "config.json").read_text())["mean"] == 1.5


def test_writing_over_a_model_replaces_it_whole(trained):
    run, directory = trained
    (directory / "stale.txt").write_text("old")
    before = (directory / "model.safetensors").read_bytes()
    run.export(directory, {"estimator": "ips"})
    assert (directory / "model.safetensors").read_bytes() == before
    assert not (directory / "stale.txt").exists()


def test_reward_function_has_the_signatures_of_trl_and_verl(trained, monkeypatch):
    from unskew.reward import RewardFunction, RewardModel
    from unskew.reward.function import compute_score

    _, directory = trained
    reward = RewardFunction(directory, scale=2.0, shift=1.0)
    wanted = RewardModel.load(directory).score(PROMPTS, REPLIES)
    found = reward(prompts=PROMPTS, completions=REPLIES, completion_ids=[[1]] * 4, trainer_state=None)
    assert found == pytest.approx(2 * wanted + 1, abs=1e-5)
    assert reward.__name__ == "model"
    one = {"data_source": "logs", "solution_str": REPLIES[1], "ground_truth": ""}
    info = {"prompt": PROMPTS[1]}
    assert reward.compute_score(**one, extra_info=info) == pytest.approx(2 * wanted[1] + 1, abs=1e-5)
    assert compute_score(**one, extra_info=info, model=str(directory)) == pytest.approx(wanted[1], abs=1e-5)
    monkeypatch.setenv("UNSKEW_REWARD_MODEL", str(directory))
    assert compute_score(**one, extra_info=info) == pytest.approx(wanted[1], abs=1e-5)
    monkeypatch.delenv("UNSKEW_REWARD_MODEL")
    with pytest.raises(ValueError, match="no reward model: pass reward_kwargs"):
        compute_score(**one, extra_info=info)
    with pytest.raises(ValueError, match="extra_info has no 'prompt'"):
        reward.compute_score(**one)


def test_conversations_score_as_they_were_trained(tmp_path):
    from unskew.reward import RewardFunction

    rows = [{"prompt": CHAT, "chosen": answer("good"), "rejected": answer("bad")}] * 8
    run = RewardTrainer(
        tiny.classifier(), config(tmp_path / "run"), train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tiny.tokenizer(template=tiny.TEMPLATE),
    )  # fmt: skip
    run.train()
    run.export(tmp_path / "model")
    assert (tmp_path / "model" / "chat_template.jinja").is_file()
    reward = RewardFunction(tmp_path / "model")
    trained_on = run.train_dataset[0]["input_ids"]
    wanted = [run.model(input_ids=torch.tensor([ids])).logits.item() for ids in trained_on]
    found = reward(prompts=[CHAT, CHAT], completions=[answer("good"), answer("bad")])
    assert found == pytest.approx(wanted, abs=1e-5)
