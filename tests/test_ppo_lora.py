"""One copy of the base for policy, value function and reference, by LoRA adapters."""

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("peft", reason="peft is not installed")

import torch
from peft import LoraConfig, get_peft_model

import toys
from unskew import ppo
from unskew.ppo.actor import ActorCritic


def lora():
    return LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


@pytest.fixture
def actor():
    torch.manual_seed(0)
    made = ActorCritic(get_peft_model(toys.policy(), lora()), "adapter")
    for name, parameter in made.policy.named_parameters():
        if "lora_B" in name:  # zero at first: then an adapter is the base
            torch.nn.init.normal_(parameter)
    torch.nn.init.normal_(made.value_head.weight)
    return made


IDS = torch.tensor([[5, 6, 7, 8, 9], [0, 2, 3, 4, 1]])
REAL = IDS != 0
MASK = torch.ones(2, 3, dtype=torch.bool)


def grads(actor):
    return {
        name: None if p.grad is None else float(p.grad.abs().sum()) for name, p in actor.named_parameters()
    }


def test_each_loss_reaches_its_own_adapter(actor):
    seen = actor(IDS, REAL, MASK)
    seen.logprobs.sum().backward(retain_graph=True)
    found = grads(actor)
    assert all(value for name, value in found.items() if ".default." in name)
    assert not any(value for name, value in found.items() if ".default." not in name)
    actor.zero_grad()
    seen.values.sum().backward()
    found = grads(actor)
    assert all(value for name, value in found.items() if ".value." in name or name == "value_head.weight")
    assert not any(value for name, value in found.items() if ".default." in name or "base_layer" in name)


def test_the_reference_is_the_base(actor):
    base = ActorCritic(toys.policy(), None)
    with torch.no_grad():
        wanted, now = base(IDS, REAL, MASK), actor(IDS, REAL, MASK)
    found = actor.reference(IDS, REAL, MASK)
    assert torch.equal(found.logprobs, wanted.logprobs)
    assert not torch.allclose(now.logprobs, wanted.logprobs, atol=1e-3)
    with torch.no_grad():
        assert torch.equal(actor(IDS, REAL, MASK).logprobs, now.logprobs)


def test_both_adapters_learn_after_the_reference_and_values_were_asked(actor):
    learns = [name for name, parameter in actor.named_parameters() if parameter.requires_grad]
    actor.reference(IDS, REAL, MASK)
    actor(IDS, REAL, MASK)
    assert [name for name, parameter in actor.named_parameters() if parameter.requires_grad] == learns
    assert any(".value." in name for name in learns)
    assert any(".default." in name for name in learns)
    assert not any("base_layer" in name or "embed" in name for name in learns)


def trainer(home, **settings):
    small = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_mini_batches": 2}
    args = ppo.PPOConfig(
        str(home), **toys.settings(**small | {"num_ppo_epochs": 2, "kl_coef": 0.05} | settings)
    )
    return ppo.OnPolicyTrainer(
        toys.policy(), toys.share, args, toys.PROMPTS, processing_class=toys.tokenizer(), peft_config=lora()
    )


def adapters(run):
    return {
        name: value.detach().clone() for name, value in run.actor.named_parameters() if value.requires_grad
    }


def test_a_lora_run_keeps_its_base_and_resumes_to_the_last_bit(tmp_path):
    torch.set_num_threads(1)
    whole = trainer(tmp_path / "whole", max_steps=9)
    before = adapters(whole)
    whole.train()
    after = adapters(whole)
    assert all(not torch.equal(before[name], value) for name, value in after.items())
    base, start = whole.actor.model.state_dict(), toys.policy().state_dict()
    assert torch.equal(base["model.embed_tokens.weight"], start["model.embed_tokens.weight"])
    name = "model.layers.0.self_attn.q_proj"
    assert torch.equal(base[f"{name}.base_layer.weight"], start[f"{name}.weight"])

    saving = {"save_strategy": "steps", "save_steps": 6}
    trainer(tmp_path / "cut", max_steps=6, **saving).train()
    again = trainer(tmp_path / "cut", max_steps=9, **saving)
    again.train(resume_from_checkpoint=True)
    found = adapters(again)
    assert set(found) == set(after)
    assert all(torch.equal(found[name], value) for name, value in after.items())


def test_recomputed_activations_and_a_value_adapter_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="value is 'adapter' and activations are to be recomputed"):
        trainer(tmp_path, max_steps=1, gradient_checkpointing=True).train()
    trainer(tmp_path, max_steps=1, gradient_checkpointing=True, value="shared").train()


def test_adapters_are_asked_of_a_policy_that_has_them():
    with pytest.raises(ValueError, match="value is 'adapter' and the policy has no LoRA; give a peft_config"):
        ActorCritic(toys.policy(), "adapter")
    with pytest.raises(
        ValueError, match="value is 'separate' and the policy has adapters; set value='adapter'"
    ):
        ActorCritic(get_peft_model(toys.policy(), lora()), "separate")
