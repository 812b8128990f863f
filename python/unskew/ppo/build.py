"""The parts of a trainer, from its arguments."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from unskew.ppo.actor import ActorCritic, Evaluated
from unskew.ppo.config import PPOConfig
from unskew.ppo.generate import Generator, HuggingFace
from unskew.ppo.modules import fingerprint
from unskew.ppo.rollout import Vocabulary


def policy_of(model: Any, tokenizer: Any, peft_config: Any) -> tuple[Any, Any]:
    """The policy and its tokenizer, loaded where they are named.

    Raises:
        FileNotFoundError: the name leads to no model.
        ValueError: a model comes without its tokenizer.
    """
    if isinstance(model, str):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        name = model
        try:
            tokenizer = tokenizer or AutoTokenizer.from_pretrained(name)
            model = AutoModelForCausalLM.from_pretrained(name)
        except OSError as error:
            raise FileNotFoundError(
                f"{name} could not be loaded as a causal language model with a tokenizer ({error})"
            ) from None
    if tokenizer is None:
        raise ValueError("processing_class is absent; the policy's tokenizer is needed")
    if peft_config is not None:
        from peft import get_peft_model

        model = get_peft_model(model, peft_config)
    return model, tokenizer


def value_of(kind: str, policy: Any, model: nn.Module | None) -> "str | nn.Module":
    """What the value function is made of: a given model, what the settings say, or what fits the policy."""
    if model is not None:
        return model
    if kind == "auto":
        return "adapter" if hasattr(policy, "peft_config") else "separate"
    return kind


def huggingface(args: PPOConfig, vocabulary: Vocabulary) -> Generator:
    """Sampling as the settings say."""
    return HuggingFace(
        pad=vocabulary.pad,
        ends=vocabulary.ends,
        longest=args.response_length,
        batch=args.local_rollout_forward_batch_size,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
    )


def reference_of(
    args: PPOConfig, actor: ActorCritic, given: Any
) -> tuple[Callable[..., Evaluated] | None, str]:
    """What log-probabilities are compared with, None where nothing asks; and a digest of its parameters."""
    if not args.kl_coef and args.max_kl is None:
        return None, ""
    if given is None and actor.is_peft:
        base = {name: value for name, value in actor.policy.named_parameters() if "lora_" not in name}
        return actor.reference, fingerprint(base)
    frozen = copy.deepcopy(actor.policy) if given is None else given
    frozen.requires_grad_(False)
    frozen.eval().to(args.device)
    model = ActorCritic(frozen, None, temperature=args.temperature, chunk=args.logprob_chunk)
    return model, fingerprint(dict(frozen.named_parameters()))
