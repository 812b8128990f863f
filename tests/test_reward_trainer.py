"""Transformers as reward models: tokens, packing, comparisons, training, and a directory that others load."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from peft import LoraConfig  # noqa: E402

import tiny  # noqa: E402
from unskew.reward import NumericError, RewardConfig, RewardTrainer  # noqa: E402
from unskew.reward.batches import Batches, batches_for, pack, scores  # noqa: E402
from unskew.reward.comparisons import prepare  # noqa: E402
from unskew.reward.tokens import PAD, Tokens, pad_apart  # noqa: E402
from unskew.reward.trainer import head_of, held_out  # noqa: E402

CHAT = [{"role": "user", "content": "tell me"}]


def answer(text):
    return [{"role": "assistant", "content": text}]


def pairs(count=32, seed=0, **columns):
    """Pairs in which the good word wins, of very different lengths."""
    rng = np.random.default_rng(seed)
    good, bad = ["good", "great", "nice", "fine", "clear"], ["bad", "awful", "poor", "weak", "vague"]
    filler = ["the", "answer", "is", "very", "quite"]

    def say(words):
        return " ".join([*rng.choice(filler, rng.integers(1, 12)), str(rng.choice(words))])

    rows = {
        "prompt": ["tell me about it: "] * count,
        "chosen": [say(good) for _ in range(count)],
        "rejected": [say(bad) for _ in range(count)],
    }
    return datasets.Dataset.from_dict({**rows, **columns})


def config(directory, **options):
    defaults = {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "learning_rate": 3e-3,
        "seed": 1,
    }
    return RewardConfig(str(directory), **{**defaults, **options})


def trainer(directory, data=None, *, kind="llama", held=None, peft_config=None, callbacks=None, **options):
    return RewardTrainer(
        tiny.classifier(kind),
        config(directory, **options),
        train_dataset=pairs() if data is None else data,
        eval_dataset=held,
        processing_class=tiny.tokenizer(),
        peft_config=peft_config,
        callbacks=callbacks,
    )


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# tokens


def test_text_has_one_bos_and_one_eos():
    tokenizer = tiny.tokenizer(bos=True)
    tokens = Tokens(tokenizer)
    ids, cut = tokens("tell me ", "the answer")
    assert not cut
    assert ids == [1, *tokenizer("tell me the answer", add_special_tokens=False)["input_ids"], 0]
    assert tokens("tell me ", "the answer<|eos|>")[0] == ids
    assert tokens(None, "tell me the answer")[0] == ids


def test_conversation_is_the_rendered_template_without_a_second_bos():
    template = "{{ bos_token }}" + tiny.TEMPLATE
    tokenizer = tiny.tokenizer(bos=True, template=template)
    ids, _ = Tokens(tokenizer)(CHAT, answer("good"))
    text = tokenizer.apply_chat_template([*CHAT, *answer("good")], tokenize=False)
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == tokenizer.apply_chat_template([*CHAT, *answer("good")], return_dict=False)
    assert ids.count(1) == 1
    assert Tokens(tokenizer, turns=True)("tell me", "good")[0] == ids
    assert Tokens(tokenizer)(None, [*CHAT, *answer("good")])[0] == ids


def test_long_sequence_keeps_its_bos_and_its_end():
    tokens = Tokens(tiny.tokenizer(bos=True), max_length=4)
    whole = Tokens(tiny.tokenizer(bos=True), max_length=None)("tell me about it ", "very good")[0]
    ids, cut = tokens("tell me about it ", "very good")
    assert cut
    assert ids == [whole[0], *whole[-3:]]
    assert Tokens(tiny.tokenizer(), max_length=4)("tell me about it ", "very good")[0] == whole[-4:]


def test_what_cannot_be_tokenised_says_so():
    with pytest.raises(ValueError, match="the tokenizer has no chat template; set"):
        Tokens(tiny.tokenizer())(CHAT, answer("good"))
    with pytest.raises(TypeError, match="found a int; text, or a list of"):
        Tokens(tiny.tokenizer(template=tiny.TEMPLATE))("a", 3)
    with pytest.raises(ValueError, match="max_length is 1; at least 2 is needed"):
        Tokens(tiny.tokenizer(), max_length=1)


@pytest.mark.parametrize("pad", [None, "<|eos|>", "<|pad|>"])
def test_pad_token_ends_no_sequence(pad):
    tokenizer = tiny.tokenizer(pad=None)
    tokenizer.pad_token = pad if pad != "<|pad|>" else None
    if pad == "<|pad|>":
        tokenizer = tiny.tokenizer()
    model = tiny.classifier(vocabulary=len(tokenizer))
    before = parameters(model)
    pad_apart(tokenizer, model)
    assert tokenizer.pad_token == PAD
    assert tokenizer.pad_token_id == model.config.pad_token_id != tokenizer.eos_token_id
    assert model.get_input_embeddings().num_embeddings >= len(tokenizer)
    assert tokenizer.padding_side == "right"
    if pad == "<|pad|>":
        assert torch.equal(parameters(model), before)


# packing


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(20, 40))
def test_packed_sequences_never_overlap(lengths, width):
    place, rows = pack(lengths, width)
    taken = np.zeros((rows, width), int)
    for size, (row, column) in zip(lengths, place, strict=True):
        taken[row, column : column + size] += 1
        assert column + size <= width
    assert taken.max() == 1
    assert taken.sum() == sum(lengths)
    assert taken.any(1).all()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_packed_scores_and_gradients_equal_padded_ones(kind, attention):
    model = tiny.classifier(kind).double().eval()
    model.set_attn_implementation(attention)
    tokenizer = tiny.tokenizer()
    pad_apart(tokenizer, model)
    sequences = [list(range(10, 10 + size)) for size in (3, 17, 5, 9, 1, 30, 12)]
    assert batches_for(model, tokenizer.pad_token_id).packed
    found = []
    for packed, whole in ((False, False), (True, False), (True, True)):
        batch = Batches(tokenizer.pad_token_id, packed, whole, multiple=8).sequences(sequences)
        model.zero_grad()
        reward = scores(model, batch, head_of(model))
        (reward * torch.arange(1, 8)).sum().backward()
        found.append((reward, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    for reward, gradients in found[1:]:
        assert torch.allclose(reward, found[0][0], atol=1e-6)
        assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(gradients, found[0][1], strict=True))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_sequences_of_which_no_two_fit_a_row_need_one_row_of_positions_and_no_mask(kind):
    model = tiny.classifier(kind).double().eval()
    pad_apart(tiny.tokenizer(), model)
    sequences = [[10 + k % 400 for k in range(size)] for size in (512, 310, 400, 301)]
    found = []
    for packed, multiple in ((False, 1), (True, 1), (True, 100)):  # 600 tokens, but positions below 512
        batch = Batches(5, packed, multiple=multiple).sequences(sequences)
        if packed:
            assert batch["position_ids"].shape == (1, batch["input_ids"].shape[1])
            assert batch["position_ids"].max() == 511
        found.append(scores(model, batch, head_of(model)))
    assert torch.allclose(found[1], found[0], atol=1e-6)
    assert torch.allclose(found[2], found[0], atol=1e-6)


def test_packing_wastes_less_than_padding():
    sequences = [list(range(size)) for size in [100, *[5] * 40]]
    packed = Batches(0).sequences(sequences)["input_ids"]
    assert packed.shape == (3, 100)
    assert Batches(0, packed=False).sequences(sequences)["input_ids"].shape == (41, 100)


def test_encoders_are_padded():
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=99, num_labels=1, **shape)
    ).eval()
    collate = batches_for(model, 0)
    assert not collate.packed
    sequences = [[5, 6, 7], [8]]
    alone = [model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in sequences]
    found = scores(model, collate.sequences(sequences), head_of(model))
    assert torch.allclose(found, torch.stack(alone), atol=1e-6)


# rows


def made(rows, loss="logistic", **options):
    data = datasets.Dataset.from_list(rows)
    return prepare(data, Tokens(tiny.tokenizer(template=tiny.TEMPLATE), **options), loss)


@pytest.mark.parametrize(
    ("row", "loss", "ahead", "behind", "a", "b", "m"),
    [
        ({"chosen": "good", "rejected": "bad"}, "logistic", [0], [1], [1], [1], [0]),
        ({"chosen": CHAT + answer("good"), "rejected": CHAT + answer("bad"), "margin": 0.5},
         "logistic", [0], [1], [1], [1], [0.5]),
        ({"prompt": CHAT, "chosen": answer("good"), "rejected": answer("bad"), "weight": 2.0,
          "label_prob": 0.75}, "logistic", [0], [1], [2], [1.5], [0]),
        ({"chosen": "good", "rejected": "bad", "a": 1.2, "b": -0.3, "m": 0.1}, "brier",
         [0], [1], [1.2], [-0.3], [0.1]),
        ({"chosen": "good", "rejected": "bad", "w": 1.0, "d": -3.0}, "mixture", [0], [1], [1], [-3], [0]),
        ({"chosen_ids": [5, 6], "rejected_ids": [7]}, "logistic", [0], [1], [1], [1], [0]),
        ({"prompt": "tell ", "completion": "good", "label": True}, "logistic", [0], [-1], [1], [1], [0]),
        ({"prompt": "tell ", "completion": "good", "label": 0.3, "weight": 2.0}, "brier",
         [0], [-1], [2], [0.6], [0]),
        ({"prompt": "tell ", "completion": "good", "w": 1.0, "d": 9.0}, "mixture", [0], [-1], [1], [9], [0]),
        ({"prompt": "tell ", "completions": ["a", "b", "c"], "labels": [1, 3, 3]}, "logistic",
         [0, 0, 1], [1, 2, 2], [0.5] * 3, [0, 0, 0.25], [0] * 3),
        ({"prompt": "tell ", "completions": [{"completion": "a", "rank": 1}, {"completion": "b", "rank": 0}]},
         "logistic", [0], [1], [1], [0], [0]),
        ({"prompt": "tell ", "completions": ["a", "b"], "ahead": [1], "behind": [0], "a": [2.0], "b": [1.0],
          "m": [0.5]}, "brier", [1], [0], [2], [1], [0.5]),
    ],
)  # fmt: skip
def test_rows_of_every_shape(row, loss, ahead, behind, a, b, m):
    (found,) = made([row], loss)[0]
    assert (found["ahead"], found["behind"]) == (ahead, behind)
    assert (found["a"], found["b"], found["m"]) == (a, pytest.approx(b), m)
    assert len(found["input_ids"]) == max([*ahead, *behind]) + 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "good", "rejected": "bad", "margin": math.nan}, "row 1: margin is nan; a finite number"),
        ({"chosen": "good", "rejected": "bad", "weight": math.inf}, "row 1: weight is inf"),
        (
            {"chosen": "good", "rejected": "bad", "label_prob": None, "a": 1.0, "b": math.nan},
            "row 1: b is nan",
        ),
        ({"prompt": "x", "completion": "good", "label": None}, "row 1: there is neither a label nor columns"),
        ({"chosen": "good", "rejected": None}, "row 1: rejected: found nothing; text, or a list"),
        (
            {"prompt": "x", "completions": ["a", "b"], "labels": [1]},
            "row 1: 2 completions need as many labels",
        ),
        ({"prompt": "x", "completions": ["a"], "labels": [1]}, "row 1: 1 completions make no comparison"),
        ({"chosen_ids": [], "rejected_ids": [4]}, "row 1: chosen_ids or rejected_ids is empty"),
    ],
)
def test_bad_row_is_named(row, message):
    good = dict(row)
    good |= {key: 1.0 for key in ("margin", "weight", "b", "label") if key in row}
    good |= {"labels": [1, 2], "completions": ["a", "b"]} if "labels" in row else {}
    good |= {"rejected": "bad"} if "rejected" in row else {}
    good |= {"chosen_ids": [3]} if "chosen_ids" in row else {}
    with pytest.raises(ValueError, match=message):
        made([good, row])


def test_unknown_columns_and_no_rows_say_what_is_needed():
    with pytest.raises(
        ValueError, match="columns text; one of these sets is needed: chosen_ids, rejected_ids;"
    ):
        made([{"text": "a"}])
    with pytest.raises(ValueError, match="the data set has no row"):
        prepare(datasets.Dataset.from_dict({"chosen": [], "rejected": []}), Tokens(tiny.tokenizer()), "brier")


def test_truncated_sequences_are_counted(tmp_path):
    run = trainer(tmp_path, pairs(16), held=pairs(8, seed=1), max_length=5)
    assert run.truncated["train"] > 16
    assert run.truncated["eval"] > 0
    assert all(len(ids) <= 5 for row in run.train_dataset["input_ids"] for ids in row)


# training


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


# the directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    run = trainer(home / "run", pairs(64), num_train_epochs=2, turns=False)
    run.train()
    run.export(home / "model", {"estimator": "ips", "scale": "log-odds that a user likes the response"})
    return run, home / "model"


PROMPTS = ["tell me about it: "] * 4
REPLIES = ["good", "the answer is very bad", "nice", "quite vague and the answer is weak"]


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


def test_writing_over_a_model_replaces_it_whole(trained):
    run, directory = trained
    (directory / "stale.txt").write_text("old")
    before = (directory / "model.safetensors").read_bytes()
    run.export(directory, {"estimator": "ips"})
    assert (directory / "model.safetensors").read_bytes() == before
    assert not (directory / "stale.txt").exists()


# the reward as trainers of policies call it


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
