"""From rows to tensors: tokens, packing, comparisons."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import tiny  # noqa: E402
from tiny import CHAT, answer, pairs, parameters, trainer  # noqa: E402
from unskew.reward.batches import Batches, batches_for, pack, scores  # noqa: E402
from unskew.reward.comparisons import prepare  # noqa: E402
from unskew.reward.tokens import PAD, Tokens, pad_apart  # noqa: E402
from unskew.reward.trainer import head_of  # noqa: E402


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
