"""A small language model built in code, and taught to write as a log does: where a policy starts from.

    tokenizer = phrases(prompts + responses)                # a fixed phrase is one token
    policy = smallest(tokenizer, seed=0)                    # two layers, a third of a million parameters
    history = imitate(policy, tokenizer, prompts, responses)

Nothing is downloaded. Where there is a language model to start from, this is not needed: `imitate` is plain
supervised fine-tuning, loss = - mean over the tokens of responses of log pi(token | what stands before it).
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import cross_entropy

PAD, END, UNKNOWN = "<pad>", "<end>", "<unknown>"
WORD = re.compile(r" ?\w+| ?[^\w\s]|\s")
SENTENCE = re.compile(r"[^.!?]+[.!?]*|[.!?]+")
IGNORED = -100
"""Target of a token that is not learned (that of `cross_entropy`)."""


def phrases(texts: Sequence[str], *, tied: float = 0.9, rounds: int = 6) -> Any:
    """A tokenizer of words and of fixed phrases: words that nearly always stand together are one token.

        merge a, b   when max(P(b follows | a), P(a precedes | b)) >= tied, in a sentence; again on the result

    So "step by step" is one token and the texts of a narrow product become two to three times shorter. A word
    carries the blank before it. Texts come back as they were, `decode(encode(text)) == text`; a word that was
    never seen becomes `<unknown>`.

    Args:
        texts: all that must be written or read.
        tied: share from which two tokens are one, in (0.5, 1].
        rounds: times that neighbours are merged; a phrase has at most 2^rounds words.

    Returns:
        A `PreTrainedTokenizerFast` with an end and a padding token.

    Raises:
        ValueError: there are no texts.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    sentences = [WORD.findall(sentence) for text in set(texts) for sentence in SENTENCE.findall(text)]
    if not sentences:
        raise ValueError("texts is empty; the words of at least one text are needed")
    found = {word for words in sentences for word in words}
    for _ in range(rounds):
        sentences = _merged(sentences, tied)
    found |= {phrase for words in sentences for phrase in words}
    longest = sorted((phrase for phrase in found if len(WORD.findall(phrase)) > 1), key=len, reverse=True)
    whole = "|".join(re.escape(phrase) + r"(?!\w)" for phrase in longest)
    core = Tokenizer(
        models.WordLevel(
            {token: number for number, token in enumerate([PAD, END, UNKNOWN, *sorted(found)])},
            unk_token=UNKNOWN,
        )
    )
    core.pre_tokenizer = pre_tokenizers.Split(
        Regex("|".join(filter(None, (whole, WORD.pattern)))), "isolated"
    )
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )


def _merged(sentences: list[list[str]], tied: float) -> list[list[str]]:
    """Sentences with tied neighbours as one, from left to right."""
    pairs = Counter(pair for words in sentences for pair in pairwise(words))
    alone = Counter(word for words in sentences for word in words)
    one = {pair for pair, n in pairs.items() if n >= tied * min(alone[pair[0]], alone[pair[1]])}
    merged = []
    for words in sentences:
        kept: list[str] = []
        free = False
        for word in words:
            if free and (kept[-1], word) in one:
                kept[-1] += word
                free = False
            else:
                kept.append(word)
                free = True
        merged.append(kept)
    return merged


def smallest(tokenizer: Any, *, width: int = 96, layers: int = 2, longest: int = 256, seed: int = 0) -> Any:
    """A Llama with random parameters that reads the tokens of a tokenizer.

    Args:
        tokenizer: with an end and a padding token.
        width: of the hidden states, a multiple of 8.
        layers: of the model.
        longest: tokens of prompt and completion at most.
        seed: of the parameters.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=longest,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def imitate(
    policy: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    responses: Sequence[str],
    *,
    epochs: int = 1,
    batch: int = 16,
    learning_rate: float = 4e-3,
    seed: int = 0,
) -> list[float]:
    """Teach a policy to answer as the log does; in place.

    Rows of similar length share a batch. AdamW; the step size rises over a tenth of the steps, then falls to
    zero.

    Args:
        policy: a causal language model.
        tokenizer: the policy's.
        prompts: what was asked. Length N.
        responses: what was answered. Length N.
        epochs: passes over the rows.
        batch: rows of a step.
        learning_rate: the largest step.
        seed: of the order.

    Returns:
        The loss of each step, in nats a token.

    Raises:
        ValueError: the lengths differ, or there is nothing to learn from.
    """
    if len(prompts) != len(responses) or not prompts:
        raise ValueError(
            f"prompts has length {len(prompts)}, responses {len(responses)}; one response a prompt is "
            "needed, and at least one"
        )
    asked = tokenizer(list(prompts))["input_ids"]
    answered = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(list(responses))["input_ids"]]
    order = sorted(range(len(asked)), key=lambda row: len(asked[row]) + len(answered[row]))
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    chance, steps = random.Random(seed), epochs * len(batches)
    adam = torch.optim.AdamW(policy.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    warm = max(1, steps // 10)
    rate = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    history = []
    policy.train()
    for _ in range(epochs):
        for rows in chance.sample(batches, len(batches)):
            ids, targets = _padded(
                [asked[row] for row in rows], [answered[row] for row in rows], tokenizer.pad_token_id
            )
            logits = policy(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long()).logits
            loss = cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            adam.step()
            rate.step()
            adam.zero_grad()
            history.append(float(loss.detach()))
    policy.eval()
    return history


def _padded(
    asked: Sequence[list[int]], answered: Sequence[list[int]], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens, tokens that are learned), padded on the right. Shapes [N, T]."""
    width = max(len(one) + len(other) for one, other in zip(asked, answered, strict=True))
    ids, targets = torch.full((len(asked), width), pad), torch.full((len(asked), width), IGNORED)
    for row, (prompt, answer) in enumerate(zip(asked, answered, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor([*prompt, *answer])
        targets[row, len(prompt) : end] = torch.tensor(answer)
    return ids, targets
