"""Models and tokenizers of a few thousand parameters, built in code, and the runs that train them."""

import datasets
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from unskew.reward import RewardConfig, RewardTrainer

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


PROMPTS = ["tell me about it: "] * 4
REPLIES = ["good", "the answer is very bad", "nice", "quite vague and the answer is weak"]
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
        classifier(kind),
        config(directory, **options),
        train_dataset=pairs() if data is None else data,
        eval_dataset=held,
        processing_class=tokenizer(),
        peft_config=peft_config,
        callbacks=callbacks,
    )


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])
