"""Policy optimisation as a whole: it learns, it resumes to the last bit, it stops where it must."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

import torch

import toys
from unskew import ppo
from unskew.ppo import state
from unskew.ppo.actor import ActorCritic
from unskew.ppo.generate import HuggingFace, finish
from unskew.ppo.logprob import logprobs_of_logits
from unskew.ppo.prompts import Rounds

pytestmark = pytest.mark.usefixtures("one_thread")


def trainer(
    home, config=ppo.PPOConfig, *, reward=toys.share, model=None, data=toys.PROMPTS, more=None, **settings
):
    args = config(str(home), **toys.settings(**settings))
    return ppo.OnPolicyTrainer(
        model or toys.policy(), reward, args, data, processing_class=toys.tokenizer(), **more or {}
    )


SMALL = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_mini_batches": 2}
"""Rounds of 16 completions, in micro-batches of 4."""
RUNS = {
    "ppo": (
        ppo.PPOConfig,
        {
            "num_ppo_epochs": 2,
            "kl_target": 1.0,
            "kl_horizon": 100.0,
            "use_score_scaling": True,
            "score_clip": 2.0,
        },
    ),
    "grpo": (ppo.GRPOConfig, {"num_generations": 4, "num_iterations": 2, "beta": 0.05}),
    "rloo": (ppo.RLOOConfig, {"num_generations": 4, "num_iterations": 2, "beta": 0.05}),
}


def parameters(run):
    return {name: value.detach().clone() for name, value in run.actor.named_parameters()}


# --- learning ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (ppo.PPOConfig, {"num_ppo_epochs": 2, "num_mini_batches": 2, "kl_coef": 0.0}),
        (ppo.GRPOConfig, {"num_generations": 8, "num_mini_batches": 2}),
    ],
    ids=["ppo", "grpo"],
)
def test_a_policy_reaches_95_percent_of_the_best_reward(tmp_path, config, settings):
    run = trainer(tmp_path, config, max_steps=120, **settings)
    run.train()
    rewards = [line["reward"] for line in run.state.log_history if "reward" in line]
    assert rewards[0] < 0.1
    assert rewards[-1] >= 0.95
    assert run.evaluate(toys.PROMPTS)["eval_reward"] >= 0.95
    assert run.counts["completions"] == (120 // (4 if config is ppo.PPOConfig else 2)) * 64


# --- resuming ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_run_resumed_inside_a_buffer_ends_in_the_same_bits(tmp_path, name):
    config, settings = RUNS[name]
    settings = SMALL | settings | {"max_steps": 11, "logging_steps": 1}
    whole = trainer(tmp_path / "whole", config, **settings)
    whole.train()

    saving = settings | {"save_strategy": "steps", "save_steps": 6}
    first = trainer(tmp_path / "cut", config, **saving | {"max_steps": 6})
    first.train()
    assert not first.buffer.used_up
    assert 0 < first.buffer.position < first.args.ticks
    again = trainer(tmp_path / "cut", config, **saving)
    torch.manual_seed(99)
    again.train(resume_from_checkpoint=True)

    left, right = parameters(whole), parameters(again)
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert again.controller == whole.controller
    assert again.counts == whole.counts
    figures = [
        {k: v for k, v in line.items() if k in ("reward", "kl", "loss", "kl_coef")}
        for line in whole.state.log_history[:11]
    ]
    assert [
        {k: line[k] for k in was} for line, was in zip(again.state.log_history[:11], figures, strict=True)
    ] == figures


def test_the_policy_of_a_checkpoint_is_a_model_of_its_own(tmp_path):
    from transformers import AutoModelForCausalLM

    run = trainer(tmp_path, max_steps=3, num_ppo_epochs=2, save_strategy="steps", save_steps=3, **SMALL)
    run.train()
    home = tmp_path / "checkpoint-3"
    found = AutoModelForCausalLM.from_pretrained(home).state_dict()
    assert all(torch.equal(found[name], value) for name, value in run.actor.policy.state_dict().items())
    names = {path.name for path in home.iterdir()}
    assert {"ppo_state.safetensors", "ppo_state.json", "value.safetensors", "tokenizer.json"} <= names
    assert "training_args.bin" not in names
    assert json.loads((home / "ppo_state.json").read_text())["position"] == 6


def test_other_rounds_and_another_reference_are_refused(tmp_path):
    settings = SMALL | {"num_ppo_epochs": 2, "save_strategy": "steps", "save_steps": 2}
    trainer(tmp_path, max_steps=2, **settings).train()
    with pytest.raises(ValueError, match=r"the checkpoint has rounds of .* resume with the same batch size"):
        trainer(tmp_path, max_steps=4, **settings | {"num_ppo_epochs": 3}).train(resume_from_checkpoint=True)
    with pytest.raises(
        ValueError, match="the reference is not the one that the checkpoint was trained against"
    ):
        trainer(tmp_path, model=toys.policy(5), max_steps=4, **settings).train(resume_from_checkpoint=True)
    (tmp_path / "checkpoint-2" / "ppo_state.json").write_text("{")
    with pytest.raises(ValueError, match="damaged run state"):
        state.load(str(tmp_path / "checkpoint-2"), 0, 1)
    with pytest.raises(FileNotFoundError, match=r"ppo_state_1.safetensors does not exist; .* on 2 processes"):
        state.load(str(tmp_path / "checkpoint-2"), 1, 2)


# --- the loss of a step ------------------------------------------------------------------------------------


def test_accumulated_micro_batches_are_one_large_batch(tmp_path):
    """Completions of unequal length: means of micro-batches would differ."""
    ends = {}
    for name, size, accumulate in (("whole", 16, 1), ("parts", 4, 4)):
        run = trainer(
            tmp_path / name,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulate,
            num_ppo_epochs=1,
            max_steps=1,
            optim="sgd",
            learning_rate=1.0,
            max_grad_norm=0.0,
        )
        run.train()
        ends[name] = parameters(run)
    before = dict(ActorCritic(toys.policy(), "separate").named_parameters())
    for name, value in ends["whole"].items():
        assert torch.allclose(value, ends["parts"][name], rtol=0, atol=1e-6)
        assert name.startswith("value_trunk") or not torch.equal(value, before[name])


def test_full_logits_and_chunks_train_alike(tmp_path):
    ends = []
    for chunk in (0, 8):
        run = trainer(tmp_path, logprob_chunk=chunk, max_steps=2, **SMALL)
        run.train()
        ends.append(parameters(run))
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=2e-4) for name in ends[0])


def test_the_actor_sees_what_the_model_sees_without_padding():
    model = toys.policy().double().eval()
    actor = ActorCritic(model, "shared", temperature=0.5)
    torch.nn.init.normal_(actor.value_head.weight)
    tokens = torch.tensor([[0, 0, 5, 6, 7, 8, 1, 0], [9, 4, 3, 2, 11, 12, 13, 14]])
    real = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 0], [1] * 8])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    with torch.no_grad():
        seen = actor(tokens, real, mask)
        alone = model(tokens[:1, 2:7], output_hidden_states=True)
    chosen, entropy = logprobs_of_logits(alone.logits[0, 1:4], tokens[0, 4:7], temperature=0.5)
    assert torch.allclose(seen.logprobs[0, :3], chosen, atol=1e-12)
    assert torch.allclose(seen.entropy[0, :3], entropy, atol=1e-12)
    values = actor.value_head(alone.hidden_states[-1][0, 1:4].float())[:, 0]
    assert torch.allclose(seen.values[0, :3], values, atol=1e-5)
    assert float(seen.logprobs[0, 3]) == float(seen.values[0, 3]) == 0.0


def test_a_head_that_is_not_linear_is_refused():
    model = toys.policy()
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(
        ValueError, match=r"the output head is a Sequential; a plain nn.Linear is needed, or set logp"
    ):
        ActorCritic(model, None)


def test_logits_that_are_bent_after_the_head_are_refused_or_taken_from_the_model(tmp_path):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    more = {"num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 0.05, "pad_token_id": 0}
    config = Gemma2Config(vocab_size=32, eos_token_id=1, bos_token_id=None, **sizes, **more)
    model = Gemma2ForCausalLM(config)
    with pytest.raises(
        ValueError, match=r"the logits of Gemma2ForCausalLM are not its output head .* logprob_ch"
    ):
        trainer(tmp_path, model=model)
    run = trainer(tmp_path, model=model, logprob_chunk=0, num_ppo_epochs=1, max_steps=1)
    run.train()
    assert run.state.log_history[-1]["ratio"] == pytest.approx(1, abs=1e-5)


def test_a_value_model_brings_its_trunk_and_head(tmp_path):
    from transformers import Qwen2ForSequenceClassification

    judge = Qwen2ForSequenceClassification(toys.policy(3).config)
    judge.score = torch.nn.Linear(32, 1, bias=False)
    run = trainer(tmp_path, num_ppo_epochs=1, max_steps=1, more={"value_model": judge})
    assert torch.equal(run.actor.value_head.weight, judge.score.weight)
    assert torch.equal(run.actor.value_trunk.embed_tokens.weight, judge.model.embed_tokens.weight)
    run.train()
    assert not torch.equal(run.actor.value_head.weight, judge.score.weight)


def test_in_half_precision_the_reference_is_seen_as_the_policy_is(tmp_path):
    run = trainer(tmp_path, bf16=True, num_ppo_epochs=1, max_steps=1)
    run.train()
    line = run.state.log_history[-1]
    assert line["kl"] == 0.0
    assert all(parameter.dtype == torch.float32 for parameter in run.actor.parameters())


def test_the_best_model_comes_back_at_the_end(tmp_path):
    steps = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    best = {
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_reward",
        "greater_is_better": False,
    }
    run = trainer(
        tmp_path, max_steps=8, num_ppo_epochs=2, **steps, **best, more={"eval_dataset": toys.PROMPTS}
    )
    run.train()
    lines = [line["eval_reward"] for line in run.state.log_history if "eval_reward" in line]
    assert run.evaluate()["eval_reward"] == min(lines)


def test_without_dropout_the_policy_that_learns_is_the_one_that_wrote(tmp_path):
    model = toys.policy(attention_dropout=0.5)
    run = trainer(tmp_path, model=model, max_steps=1, num_ppo_epochs=1)
    run.train()
    assert run.state.log_history[-1]["ratio"] == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_two_ranks_train_one_model_and_resume_it(tmp_path):
    """Processes of their own, over gloo; each has half of a round and keeps its own buffer."""
    program = tmp_path / "run.py"
    program.write_text(f"""
import sys
sys.path.insert(0, {str(Path(toys.__file__).parent)!r})
import toys, torch
from unskew import ppo
settings = toys.settings(per_device_train_batch_size=4, gradient_accumulation_steps=2, num_mini_batches=2,
    num_ppo_epochs=2, save_strategy="steps", save_steps=3, max_steps=5, kl_target=1.0, use_score_scaling=True)
args = ppo.PPOConfig({str(tmp_path / "run")!r}, **settings)
run = ppo.OnPolicyTrainer(toys.policy(), toys.share, args, toys.PROMPTS, processing_class=toys.tokenizer())
run.train(resume_from_checkpoint=sys.argv[1] == "resume" and {str(tmp_path / "run" / "checkpoint-3")!r})
total = sum(float(parameter.detach().double().sum()) for parameter in run.actor.parameters())
end = f"{{total}} {{run.controller.beta}} {{run.moments.mean}}"
open({str(tmp_path)!r} + f"/{{sys.argv[1]}}_{{args.process_index}}", "w").write(end)
""")
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        str(program),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    for how in ("start", "resume"):
        done = subprocess.run(
            [*launch, how], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    ends = [(tmp_path / f"{how}_{rank}").read_text() for how in ("start", "resume") for rank in (0, 1)]
    assert len(set(ends)) == 1


# --- rounds ------------------------------------------------------------------------------------------------


def test_every_prompt_is_taken_once_an_epoch_and_ranks_share_rounds():
    rounds = Rounds(10, prompts=2, ticks=3, ranks=2, seed=0, epoch=lambda: 0)
    batches = list(rounds)
    assert len(batches) == len(rounds) == 3 * 3 * 2
    for number in range(3):
        here = batches[6 * number : 6 * number + 6]
        assert here[0::2] == [here[0]] * 3
        assert here[1::2] == [here[1]] * 3
        assert not set(here[0]) & set(here[1])
    taken = [prompt for batch in batches[::6] + batches[1::6] for prompt in batch]
    assert set(taken) == set(range(10))
    assert len(taken) == 12  # the last round is filled up


def test_epochs_have_orders_of_their_own_that_repeat():
    order = {
        epoch: list(Rounds(8, prompts=2, ticks=1, ranks=1, seed=3, epoch=lambda e=epoch: e))
        for epoch in (0, 1)
    }
    assert order[0] != order[1]
    assert order[1] == list(Rounds(8, prompts=2, ticks=1, ranks=1, seed=3, epoch=lambda: 1))


def test_no_prompts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train_dataset is empty"):
        trainer(tmp_path, data=[], max_steps=1).train()
    with pytest.raises(ValueError, match="a row has the columns question; a column `prompt` is needed"):
        trainer(tmp_path, data=[{"question": "w1"}], max_steps=1).train()
    with pytest.raises(ValueError, match="prompt is ''; a text or a list of messages"):
        trainer(tmp_path, data=[{"prompt": ""}], max_steps=1).train()


@pytest.mark.parametrize(
    "own",
    [{"top_k": 1}, {"min_p": 0.9}, {"num_beams": 2}, {"suppress_tokens": [5]}, {"repetition_penalty": 9.0}],
)
def test_a_policy_s_own_sampling_settings_do_not_reach_a_roll_out(own):
    sampler = HuggingFace(pad=0, ends=[1], longest=6, batch=3, temperature=1.0, top_k=0, top_p=1.0)
    ids, real = torch.full((8, 2), 5), torch.ones(8, 2, dtype=torch.long)
    model = toys.policy()
    plain = sampler(model, ids, real, 3)
    for name, value in own.items():
        setattr(model.generation_config, name, value)
    torch.manual_seed(1)
    assert torch.equal(sampler(model, ids, real, 3), plain)
    assert getattr(model.generation_config, name) == value
    assert not torch.equal(sampler(model, ids, real, 4), plain)


def test_a_completion_ends_with_its_first_end():
    tokens, mask, ended = finish(torch.tensor([[4, 1, 5, 1], [1, 1, 1, 1], [4, 5, 6, 7]]), [1, 9], 0)
    assert tokens.tolist() == [[4, 1, 0, 0], [1, 0, 0, 0], [4, 5, 6, 7]]
    assert mask.sum(1).tolist() == [2, 1, 4]
    assert ended.tolist() == [True, True, False]


# --- rewards in a run --------------------------------------------------------------------------------------


def test_columns_and_conversations_reach_the_reward(tmp_path):
    seen = []

    def reward(prompts, completions, completion_ids, number, trainer_state):
        seen.append((prompts, completions, completion_ids, number, trainer_state.global_step))
        return [0.0] * len(prompts)

    data = [{"prompt": [{"role": "user", "content": "w3"}], "number": 7}]
    trainer(
        tmp_path, reward=reward, data=data, num_ppo_epochs=1, max_steps=1, per_device_train_batch_size=2
    ).train()
    prompts, completions, ids, number, step = seen[0]
    assert prompts == [data[0]["prompt"]] * 2
    assert all(answer[0]["role"] == "assistant" for answer in completions)
    assert [len(one) for one in ids] == [min(8, len(one)) for one in ids]
    assert (number, step) == ([7, 7], 0)


def test_completions_without_reward_teach_nothing_and_are_counted(tmp_path):
    def holes(completions, **_):
        return [None if number % 4 == 0 else score for number, score in enumerate(toys.share(completions))]

    run = trainer(tmp_path, reward=holes, num_ppo_epochs=1, max_steps=1, max_missing_reward=0.5)
    run.train()
    lost = ~run.buffer.rows["mask"].any(1)
    assert lost.tolist() == [number % 4 == 0 for number in range(32)]
    assert float(run.buffer.rows["advantages"][lost].abs().max()) == 0.0
    assert run.counts["left_out"] == 8
    assert run.state.log_history[-1]["left_out"] == 0.25


def test_too_many_completions_without_reward_stop_the_run(tmp_path):
    def broken(completions, **_):
        return [float("nan")] * (len(completions) // 2) + [0.0] * (len(completions) // 2)

    with pytest.raises(
        ArithmeticError, match=r"16 of 32 completions have no finite reward \(broken: 16 NaN or inf"
    ):
        trainer(tmp_path, reward=broken, max_steps=1).train()


def test_a_completion_that_was_cut_off_pays_for_it(tmp_path):
    zero = {"reward": lambda completions: [0.0] * len(completions), "kl_coef": 0.0, "gamma": 1.0, "lam": 1.0}
    run = trainer(
        tmp_path, missing_eos_penalty=1.0, num_ppo_epochs=1, max_steps=1, whiten_advantages=False, **zero
    )
    run.train()
    rows = run.buffer.rows
    cut = rows["ids"][:, -8:].ne(1).all(1)
    assert 0 < int(cut.sum()) < 32
    assert torch.equal(rows["returns"][:, 0], -cut.float())
    assert run.counts["truncated"] == int(cut.sum())

    masked = trainer(tmp_path, mask_truncated_completions=True, num_ppo_epochs=1, max_steps=1, **zero)
    masked.train()
    assert torch.equal(~masked.buffer.rows["mask"].any(1), cut)


def test_prompts_that_are_too_long_lose_their_beginning_and_are_counted(tmp_path):
    data = [{"prompt": "w1 w2 w3 w4"}]
    run = trainer(tmp_path, data=data, max_prompt_length=2, num_ppo_epochs=1, max_steps=1)
    run.train()
    assert run.buffer.rows["ids"][0, :2].tolist() == [5, 6]
    assert run.counts["prompts_cut"] == 32


# --- limits ------------------------------------------------------------------------------------------------


def test_a_policy_that_runs_away_is_stopped_with_a_report(tmp_path):
    run = trainer(tmp_path, max_steps=100, kl_coef=0.0, max_kl=2.0, num_ppo_epochs=2)
    with pytest.raises(ppo.Diverged) as caught:
        run.train()
    text = str(caught.value)
    assert "KL is" in text
    assert "it must be at most 2; raise kl_coef, set kl_target, or lower learning_rate" in text
    assert "reward_std" in text.splitlines()[1]
    assert caught.value.exit_code == 7


def test_a_huge_step_is_stopped_before_its_ratio_is_used(tmp_path):
    with pytest.raises(ppo.Diverged, match="ratio is"):
        trainer(tmp_path, learning_rate=1.0, ratio_threshold=0.99, num_ppo_epochs=4, max_steps=20).train()


def test_gold_is_watched_and_never_trained_on(tmp_path):
    run = trainer(
        tmp_path,
        ppo.GRPOConfig,
        max_steps=60,
        more={"gold": lambda completions: [-s for s in toys.share(completions)]},
    )
    run.train()
    lines = [line for line in run.state.log_history if "gold" in line]
    assert lines[-1]["gold"] == pytest.approx(-lines[-1]["reward"], abs=1e-6)
    assert lines[-1]["reward"] > 0.5
    assert "the reward rose from" in run.monitor.warnings[-1]
    with pytest.raises(ppo.Diverged, match=r"gold is .* debias the reward"):
        trainer(
            tmp_path,
            ppo.GRPOConfig,
            max_steps=60,
            max_gold_drop=0.2,
            more={"gold": lambda completions: [-s for s in toys.share(completions)]},
        ).train()


# --- settings ----------------------------------------------------------------------------------------------


def test_names_of_trl_mean_the_same():
    config = ppo.GRPOConfig(
        "x", beta=0.04, epsilon=0.1, num_iterations=3, max_completion_length=9, report_to=[]
    )
    assert (config.kl_coef, config.cliprange, config.num_ppo_epochs, config.response_length) == (
        0.04,
        0.1,
        3,
        9,
    )
    assert ppo.RLOOConfig("x", rloo_k=4, report_to=[]).num_generations == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"advantage": "vtrace"}, "advantage is 'vtrace'; it must be one of gae, rloo, grpo, dr_grpo"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be > 0"),
        ({"kl_form": "mixture", "kl_coef": 1.0}, "kl_coef is 1.0; it must be < 1 in the mixture form"),
        (
            {"kl_in_loss": True},
            "kl_estimator is k1; it must be k2 or k3 in the loss: k1 has no gradient there",
        ),
        ({"num_generations": 3}, "a round has 8 completions on a device"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ppo.PPOConfig("x", report_to=[], **settings)


def test_trl_s_old_arguments_still_fit(tmp_path):
    args = ppo.PPOConfig(str(tmp_path), **toys.settings(max_steps=1, num_ppo_epochs=1))
    run = ppo.PPOTrainer(args, toys.tokenizer(), toys.policy(), None, toys.share, toys.PROMPTS)
    run.train()
    assert run.state.global_step == 1
