"""Models and tokenizers of a few thousand parameters, built in code."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = (
    *("good", "bad", "great", "awful", "nice", "poor", "fine", "weak", "clear", "vague", "the", "answer"),
    *("question", "tell", "me", "about", "how", "why", "what", "is", "it", "and", "not", "very", "quite"),
)

TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"


def tokenizer(*, bos=False, pad="<|pad|>", template=None):
    """Whole words and single bytes, an EOS, perhaps a BOS that is put before every text."""
    special = ["<|eos|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|unk|>", *([pad] if pad else [])]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["Ġ" + word for word in WORDS]
    vocabulary = {token: k for k, token in enumerate([*special, *alphabet, *words])}
    merges = []
    for word in words:
        for end in range(1, len(word)):
            pair = (word[:end], word[end])
            if pair not in merges:
                merges.append(pair)
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    found = Tokenizer(models.BPE(vocabulary, merges, unk_token=None))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    if bos:
        found.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", vocabulary["<|bos|>"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=found,
        eos_token="<|eos|>",
        bos_token="<|bos|>" if bos else None,
        unk_token="<|unk|>",
        pad_token=pad,
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template=template,
    )


def classifier(kind="llama", *, vocabulary=512, width=32, layers=2, seed=0, **options):
    """A causal sequence classifier with one label."""
    from transformers import (
        GPT2Config,
        GPT2ForSequenceClassification,
        LlamaConfig,
        LlamaForSequenceClassification,
        Qwen2Config,
        Qwen2ForSequenceClassification,
    )

    torch.manual_seed(seed)
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "num_labels": 1,
        "bos_token_id": None,
        "eos_token_id": 0,
        **options,
    }
    if kind == "gpt2":
        names = {
            "n_embd": width,
            "n_layer": layers,
            "n_head": 4,
            "n_positions": 512,
            "vocab_size": vocabulary,
        }
        return GPT2ForSequenceClassification(
            GPT2Config(**names, num_labels=1, bos_token_id=None, eos_token_id=0)
        )
    if kind == "qwen2":
        return Qwen2ForSequenceClassification(Qwen2Config(**sizes))
    return LlamaForSequenceClassification(LlamaConfig(**sizes))
