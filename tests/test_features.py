"""Features: the same for a text wherever it stands, length apart, and cached by what decides them."""

import json
import warnings

import numpy as np
import pytest

from unskew import features
from unskew.features import Encoder, Hashing, cached, from_dict
from unskew.simulate import draw

PROMPTS = ["Why is the sky blue?", "How do I bake?", "Why is the sky blue?", "Help!"]
RESPONSES = ["Because light scatters.", "Slowly, and twice.", "Nobody knows, trust me.", ""]


class Counting:
    """Hashing that counts its calls."""

    def __init__(self, dim=64):
        self.inner, self.calls, self.counts = Hashing(dim), 0, {}

    def __call__(self, prompts, responses):
        self.calls += 1
        self.counts = {"truncated": 3}
        return self.inner(prompts, responses)

    def to_dict(self):
        return self.inner.to_dict()


def test_hashing_is_the_same_in_any_batch():
    drawn = draw(n=60)
    whole = Hashing(256)(drawn.prompt, drawn.response)
    parts = [Hashing(256)(drawn.prompt[i : i + 7], drawn.response[i : i + 7]) for i in range(0, 60, 7)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.dtype == np.float32
    assert whole.shape == (60, 257)


def test_blocks_grow_with_the_root_of_the_text_and_length_stands_apart():
    rows = Hashing(128)(PROMPTS, RESPONSES)
    assert not rows[3, :-1].any()
    assert np.allclose(rows[:, -1], [np.log1p(len(text)) - 5.5 for text in RESPONSES], atol=1e-6)
    words = Hashing(128, words=(1, 1), characters=None)
    again = [f"{text} " * 9 for text in RESPONSES]
    assert np.allclose(words(PROMPTS, again)[:, :-1], 3 * words(PROMPTS, RESPONSES)[:, :-1], rtol=1e-5)


def test_counts_are_whole_behind_the_root():
    values = Hashing(128, characters=None)(PROMPTS, RESPONSES)[:3, :-1].astype(np.float64)
    counts = values * np.linalg.norm(values, axis=1, keepdims=True)  # ||phi|| = sqrt(||c||)
    assert np.allclose(counts, counts.round(), atol=1e-4)
    assert np.abs(counts).max() >= 1


def test_different_words_give_different_features():
    one, other = Hashing(256)(["q", "q"], ["never ignore the oven", "ignore never the oven"])[:, :-1]
    assert not np.allclose(one, other)


def test_no_rows_give_an_empty_matrix():
    assert Hashing(16)([], []).shape == (0, 17)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 2}, "dim is 2; at least 8 hashed columns are needed"),
        ({"words": (2, 1)}, "words is (2, 1); it must be (smallest, largest) with 1 <= smallest <= largest"),
        ({"character_share": 1.0}, "character_share is 1.0; it must be in (0, 1)"),
    ],
)
def test_hashing_refuses_impossible_settings(settings, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        Hashing(**settings)
    assert str(error.value) == message


def test_every_prompt_needs_a_response():
    with pytest.raises(ValueError, match=r"^there are 1 prompts and 2 responses; one of each is needed$"):
        Hashing(16)(["q"], ["a", "b"])


def test_settings_survive_json():
    for made in (Hashing(64, characters=None), Hashing(words=(1, 3))):
        assert from_dict(json.loads(json.dumps(made.to_dict()))) == made
    with pytest.raises(ValueError, match=r"^featurizer is 'word2vec'; it must be 'hashing' or 'encoder'$"):
        from_dict({"featurizer": "word2vec"})
    with pytest.raises(ValueError, match=r"^the settings of featurizer 'hashing' do not fit this version: "):
        from_dict({"featurizer": "hashing", "colour": "red"})


def test_cache_hit_does_not_compute_again(tmp_path):
    made = Counting()
    first = np.array(cached(made, PROMPTS, RESPONSES, tmp_path))
    made.counts = {}
    second = cached(made, PROMPTS, RESPONSES, tmp_path)
    assert made.calls == 1
    assert isinstance(second, np.memmap)
    assert not second.flags.writeable
    assert np.array_equal(first, second)
    assert np.array_equal(first, Hashing(64)(PROMPTS, RESPONSES))
    assert made.counts == {"truncated": 3}
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_cache_key_is_every_text_and_every_setting(tmp_path):
    made = Counting()
    cached(made, PROMPTS, RESPONSES, tmp_path)
    for prompts, responses in (
        (PROMPTS, ["Because light scatters!", *RESPONSES[1:]]),
        (["Why is the sea blue?", *PROMPTS[1:]], RESPONSES),
        (PROMPTS[::-1], RESPONSES[::-1]),
        (PROMPTS[:3], RESPONSES[:3]),
        (["ab", "c"], ["x", "y"]),
        (["a", "bc"], ["x", "y"]),
    ):
        calls = made.calls
        cached(made, prompts, responses, tmp_path)
        assert made.calls == calls + 1
    assert cached(Hashing(32), PROMPTS, RESPONSES, tmp_path).shape == (4, 33)


@pytest.mark.parametrize("damage", ["flip", "cut", "no facts", "facts cut"])
def test_damaged_cache_is_computed_again(tmp_path, damage):
    made = Counting()
    good = np.array(cached(made, PROMPTS, RESPONSES, tmp_path))
    [values], [facts] = tmp_path.glob("*.npy"), tmp_path.glob("*.json")
    raw = bytearray(values.read_bytes())
    if damage == "flip":
        raw[-5] ^= 1
        values.write_bytes(raw)
    elif damage == "cut":
        values.write_bytes(raw[:-8])
    elif damage == "no facts":
        facts.unlink()
    else:
        facts.write_text(facts.read_text()[:20])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = cached(made, PROMPTS, RESPONSES, tmp_path)
    assert made.calls == 2
    assert np.array_equal(good, again)
    said = [str(warning.message) for warning in caught]
    expected = f"{values} does not match its checksum; it is computed again"
    assert said == ([] if damage == "no facts" else [expected])


def test_computation_that_fails_leaves_no_cache_file(tmp_path):
    class Broken(Counting):
        def __call__(self, prompts, responses):
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        cached(Broken(), PROMPTS, RESPONSES, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cache_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^there are no rows; at least one prompt and response is needed$"):
        cached(Hashing(16), [], [], tmp_path)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_encoder_is_the_same_in_any_batch(minilm, pooling):
    drawn = draw(n=12)
    whole = Encoder(minilm, pooling=pooling)(drawn.prompt, drawn.response)
    alone = Encoder(minilm, pooling=pooling, batch_tokens=1)(drawn.prompt, drawn.response)
    assert whole.shape == (12, 385)
    assert whole.dtype == np.float32
    assert np.allclose(whole, alone, atol=1e-5)
    assert np.allclose(whole[:, -1:], features.length(drawn.response))


def test_encoder_agrees_with_the_model_by_hand(minilm):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    made = Encoder(minilm, template="{response}", unit=True)(PROMPTS[:3], RESPONSES[:3])
    for row, text in enumerate(RESPONSES[:3]):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        expected = (hidden / hidden.norm()).numpy()
        assert np.allclose(made[row, :-1], expected, atol=1e-5)


def test_encoder_keeps_the_end_of_long_texts_and_counts_them(minilm):
    encode = Encoder(minilm, max_length=16, template="{prompt} {response}")
    long = "word " * 100
    values = encode([long, long, "short"], ["a good end", "a bad end", "text"])
    assert encode.counts == {"truncated": 2}
    assert not np.allclose(values[0, :-1], values[1, :-1])


def test_encoder_in_half_precision_points_the_same_way(minilm):
    drawn = draw(n=8)
    full, half = (
        Encoder(minilm, dtype=d)(drawn.prompt, drawn.response)[:, :-1] for d in ("float32", "bfloat16")
    )
    cosine = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.999


def test_saved_encoder_refuses_another_model(minilm):
    made = Encoder(minilm)
    settings = json.loads(json.dumps(made.to_dict()))
    assert from_dict(settings).to_dict() == settings
    other = from_dict({**settings, "fingerprint": "0" * 32})
    with pytest.raises(ValueError, match=r"has fingerprint [0-9a-f]{32}; the features were made by 0{32}"):
        other(["q"], ["a"])


def test_encoder_that_is_not_there_says_so(tmp_path):
    pytest.importorskip("transformers", reason="transformers is not installed")
    with pytest.raises(FileNotFoundError) as error:
        Encoder(str(tmp_path))(["q"], ["a"])
    assert str(error.value) == (
        f"{tmp_path} holds no config.json; expected a model directory with safetensors weights, "
        "or the name of one on the hub"
    )


def test_causal_model_is_read_at_its_last_token(tmp_path):
    """A tiny causal model made here, without a padding token, whose state of the last token is known."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["<end>", "a", "b", "c", "d"])}
    tokens = Tokenizer(models.WordLevel(words, unk_token="<end>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<end>").save_pretrained(tmp_path)
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=5, **shape, num_key_value_heads=2)
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    values = Encoder(str(tmp_path), pooling="last")(["a", "a b c d"], ["b", "c"])
    with torch.no_grad():
        for row, text in enumerate(([1, 2], [1, 2, 3, 4, 3])):
            expected = model.model(torch.tensor([text])).last_hidden_state[0, -1].numpy()
            assert np.allclose(values[row, :-1], expected, atol=1e-5)
