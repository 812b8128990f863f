"""What TRL does with our models, and whether its scripts work with our trainer; TRL itself, where it is."""

import dataclasses
import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
trl = pytest.importorskip("trl", reason="TRL is not installed; it is no dependency")

import tiny  # noqa: E402
from unskew.reward import RewardConfig, RewardFunction, RewardModel, RewardTrainer  # noqa: E402

PROMPTS = ["tell me about it", "why is the question vague", "how", "what is the answer"]
REPLIES = ["good", "the answer is very bad", "nice and clear", "it is quite weak"]


def asked(text):
    return [{"role": "user", "content": text}]


def answered(text):
    return [{"role": "assistant", "content": text}]


def trained(directory, rows):
    """A reward model of ours in a directory."""
    settings = {
        "num_train_epochs": 4, "learning_rate": 3e-3, "save_strategy": "no", "report_to": [],
        "use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    run = RewardTrainer(
        tiny.classifier(), RewardConfig(str(directory / "run"), **settings),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tiny.tokenizer(template=tiny.TEMPLATE),
    )  # fmt: skip
    run.train()
    return run.export(directory / "model")


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    rows = [
        {"prompt": asked(p), "chosen": answered("good"), "rejected": answered("bad and weak")}
        for p in PROMPTS
    ]
    return trained(tmp_path_factory.mktemp("chat"), rows * 4)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    rows = [{"prompt": f"{p} ", "chosen": "good", "rejected": "bad and weak"} for p in PROMPTS]
    return trained(tmp_path_factory.mktemp("plain"), rows * 4)


def policy():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=512, bos_token_id=None, eos_token_id=0, **shape))


def grpo(directory, reward, prompts, **options):
    """TRL's GRPO with a tiny policy."""
    settings = {
        "per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 6, "max_steps": 2,
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "save_strategy": "no",
        "report_to": [], "disable_tqdm": True, "logging_steps": 1, "dataloader_pin_memory": False,
    }  # fmt: skip
    return trl.GRPOTrainer(
        model=policy(), reward_funcs=reward, args=trl.GRPOConfig(str(directory), **{**settings, **options}),
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=tiny.tokenizer(template=tiny.TEMPLATE),
    )  # fmt: skip


def rewards(trainer, prompts, completions):
    """What GRPO takes for the rewards of completions."""
    rows = [{"prompt": prompt} for prompt in prompts]
    found = trainer._calculate_rewards(rows, prompts, completions, [[0]] * len(prompts))
    return found[:, 0].numpy()


def test_grpo_loads_our_directory_and_scores_conversations_as_we_do(chat, tmp_path):
    prompts, completions = [asked(p) for p in PROMPTS], [answered(r) for r in REPLIES]
    wanted = RewardModel.load(chat).score(prompts, completions)
    by_name = rewards(grpo(tmp_path, str(chat), prompts), prompts, completions)
    by_function = rewards(grpo(tmp_path, RewardFunction(chat), prompts), prompts, completions)
    assert np.ptp(wanted) > 0.01
    assert np.abs(by_name - wanted).max() < 1e-5
    assert np.abs(by_function - wanted).max() < 1e-5


def test_grpo_scores_plain_text_without_the_eos_of_training_and_our_function_does_not(plain, tmp_path):
    """Known skew of TRL (ecosystem.md 5.5): `RewardTrainer` appends EOS to plain text, GRPO scores prompt +
    completion without it. The reward is then read at a token that never held one in training. Our function
    tokenises as in training; a directory alone cannot mend this, because TRL tokenises.
    """
    prompts = [f"{p} " for p in PROMPTS]
    loaded = RewardModel.load(plain)
    wanted = loaded.score(prompts, REPLIES)
    by_function = rewards(grpo(tmp_path, RewardFunction(plain), prompts), prompts, REPLIES)
    by_name = rewards(grpo(tmp_path, str(plain), prompts), prompts, REPLIES)
    ids = [loaded.tokens(p, r)[0] for p, r in zip(prompts, REPLIES, strict=True)]
    assert all(each[-1] == loaded.tokens.tokenizer.eos_token_id for each in ids)
    assert np.abs(by_function - wanted).max() < 1e-5
    assert np.abs(by_name - loaded.score_ids([each[:-1] for each in ids])).max() < 1e-5
    assert np.abs(by_name - wanted).max() > 0.05


@pytest.mark.parametrize("kind", ["conversations", "text"])
def test_our_function_rewards_a_grpo_run(chat, plain, tmp_path, kind):
    reward = RewardFunction(chat if kind == "conversations" else plain)
    seen = []

    class Spy:
        __name__ = "spy"

        def __call__(self, prompts, completions, **columns):
            found = reward(prompts, completions, **columns)
            seen.append((prompts, completions, found))
            return found

    prompts = [asked(p) for p in PROMPTS] if kind == "conversations" else [f"{p} " for p in PROMPTS]
    run = grpo(tmp_path, Spy(), prompts)
    before = [p.detach().clone() for p in run.model.parameters()]
    run.train()
    assert run.state.global_step == 2
    logged = [entry["reward"] for entry in run.state.log_history if "reward" in entry]
    assert logged == pytest.approx([np.mean(found) for _, _, found in seen], abs=1e-5)
    for given, completions, found in seen:
        assert found == pytest.approx(RewardModel.load(reward_directory(reward)).score(given, completions))
    assert any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def reward_directory(reward):
    return reward.model.model.config._name_or_path


# names

NOT_TAKEN = {
    "quantization_config": "an argument of from_pretrained: give it in model_init_kwargs",
    "trust_remote_code": "code of strangers is not run; give a model object that you loaded yourself",
    "activation_offloading": "a technique of GPUs; gradient checkpointing is what we offer",
}
"""What TRL's trainer or configuration takes and ours does not, and why."""

OTHER_DEFAULT = {
    "logging_nan_inf_filter": "a loss that is not finite is shown",
    "pad_to_multiple_of": "'auto' is 128 on Neuron, where we do not run, and None elsewhere",
}
"""Settings whose defaults differ from TRL's, and why."""


def names(function):
    return set(inspect.signature(function).parameters)


def test_trainer_takes_the_arguments_of_trl():
    theirs, ours = names(trl.RewardTrainer), names(RewardTrainer)
    assert theirs - ours <= set(NOT_TAKEN)
    assert not ours - theirs  # what is ours alone is a setting
    positional = list(inspect.signature(trl.RewardTrainer).parameters)
    assert [name for name in positional if name in ours] == list(inspect.signature(RewardTrainer).parameters)


def test_configuration_has_the_settings_of_trl_with_their_defaults():
    theirs = {field.name: field for field in dataclasses.fields(trl.RewardConfig)}
    ours = {field.name: field for field in dataclasses.fields(RewardConfig)}
    assert set(theirs) - set(ours) <= set(NOT_TAKEN)
    for name in set(theirs) & set(ours):
        if theirs[name].default != ours[name].default:
            assert name in OTHER_DEFAULT, name
        assert theirs[name].default_factory == ours[name].default_factory, name


def test_exceptions_are_still_exceptions():
    """The lists above hold nothing that has been mended, or that TRL has dropped."""
    theirs = names(trl.RewardTrainer) | names(trl.RewardConfig)
    ours = names(RewardTrainer) | names(RewardConfig)
    assert set(NOT_TAKEN) <= theirs - ours
    made = {name: dataclasses.fields(kind) for name, kind in (("t", trl.RewardConfig), ("o", RewardConfig))}
    default = {key: {field.name: field.default for field in fields} for key, fields in made.items()}
    assert all(default["t"][name] != default["o"][name] for name in OTHER_DEFAULT)


def test_scripts_arguments_work_in_both(tmp_path):
    """The same settings, tokenizer and rows give the same losses, step by step."""
    rows = [{"prompt": f"{p} ", "chosen": "great", "rejected": r} for p in PROMPTS for r in REPLIES]
    logged = []
    for configuration, trainer in ((RewardConfig, RewardTrainer), (trl.RewardConfig, trl.RewardTrainer)):
        arguments = configuration(
            str(tmp_path), per_device_train_batch_size=4, num_train_epochs=1, logging_steps=1, seed=3,
            center_rewards_coefficient=0.01, max_length=64, eos_token="<|eos|>", pad_token="<|pad|>",
            use_cpu=True, bf16=False, report_to=[], save_strategy="no", dataloader_pin_memory=False,
        )  # fmt: skip
        run = trainer(
            model=tiny.classifier(), args=arguments, train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tiny.tokenizer(),
        )  # fmt: skip
        run.train()
        logged.append([entry for entry in run.state.log_history if "loss" in entry])
    assert len(logged[0]) == 4
    for ours, theirs in zip(*logged, strict=True):
        for name in ("loss", "accuracy", "margin", "mean_reward", "min_reward", "max_reward", "num_tokens"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name
