"""The model that a policy starts from: its tokenizer, and that it learns to write as it was shown."""

import pytest
import torch

from unskew import ppo, simulate
from unskew.ppo.generate import HuggingFace
from unskew.ppo.rollout import Vocabulary, write


@pytest.fixture(scope="module")
def log():
    return simulate.draw(n=800, seed=3)


@pytest.fixture(scope="module")
def tokenizer(log):
    return ppo.phrases([*log.prompt, *log.response])


def test_texts_of_the_log_come_back_as_they_were(log, tokenizer):
    for text in [*log.prompt, *log.response]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


def test_tokenizer_comes_back_from_disk(log, tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in log.response[:20]:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert again.decode(again(text)["input_ids"]) == text


def test_words_that_always_stand_together_are_one_token(tokenizer):
    text = "Sure. First, measure the dough step by step. That is all."
    assert "".join(tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])) == text
    assert len(tokenizer(text)["input_ids"]) < len(text.split())
    assert any(" step by step" in token for token in tokenizer.get_vocab())


def test_new_word_is_unknown_and_no_phrase_ends_inside_a_word():
    tokenizer = ppo.phrases(["Now open the door.", "Now open the window."])
    known, new = ("Now open the door.", "Now open the doors.")
    assert tokenizer.decode(tokenizer(known)["input_ids"]) == known
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(new)["input_ids"])
    assert tokens[-2:] == ["<unknown>", "."]
    assert not any("door" in token for token in tokens)


def test_no_texts_are_refused():
    with pytest.raises(ValueError, match="texts is empty"):
        ppo.phrases([])


def test_model_learns_to_write_in_the_language_of_the_log(log, tokenizer):
    torch.manual_seed(0)
    model = ppo.smallest(tokenizer, width=64)
    losses = ppo.imitate(model, tokenizer, log.prompt, log.response, epochs=3, learning_rate=8e-3)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    vocabulary = Vocabulary.of(tokenizer, model)
    sampler = HuggingFace(pad=0, ends=vocabulary.ends, longest=64, batch=64, temperature=1.0, top_k=0)
    rows = [{"prompt": prompt} for prompt in log.prompt[:64]]
    device = torch.device("cpu")
    seen = write(model, sampler, vocabulary, rows, group=1, longest_prompt=None, seed=1, device=device)
    assert seen.ended.float().mean() > 0.8
    assert sum("First," in text for text in seen.written.completions) > 32


def test_same_seed_gives_the_same_parameters(log, tokenizer):
    found = []
    for _ in range(2):
        model = ppo.smallest(tokenizer, width=32, seed=5)
        ppo.imitate(model, tokenizer, log.prompt[:64], log.response[:64], seed=5)
        found.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert torch.equal(*found)


def test_one_response_a_prompt_is_needed(log, tokenizer):
    model = ppo.smallest(tokenizer, width=32)
    with pytest.raises(ValueError, match="prompts has length 2, responses 1; one response a prompt"):
        ppo.imitate(model, tokenizer, log.prompt[:2], log.response[:1])
