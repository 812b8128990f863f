"""A language task small enough for a test: thirty words, two layers, a reward that has a best policy."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

WORDS = ["<pad>", "<eos>", *(f"w{number}" for number in range(30))]
TARGET = "w7"
PROMPTS = [{"prompt": f"w{number} w{3 * number % 30}", "number": number} for number in range(30)]
CHAT = "{% for m in messages %}w1 {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}w2{% endif %}"


def tokenizer():
    """Splits at blanks; knows the words above."""
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    made.chat_template = CHAT
    return made


def policy(seed=0, **settings):
    """Two layers of width 32, random."""
    torch.manual_seed(seed)
    config = {
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "bos_token_id": None,
    }
    return Qwen2ForCausalLM(Qwen2Config(**config | settings))


def share(completions, **_):
    """Share of the target word in each completion: best is 1, chance is 1 in 32."""
    words = [completion.split() for completion in completions]
    return [found.count(TARGET) / max(1, len(found)) for found in words]


def settings(**more):
    """What every run here has in common."""
    return {
        "per_device_train_batch_size": 32,
        "response_length": 8,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 10,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        **more,
    }
