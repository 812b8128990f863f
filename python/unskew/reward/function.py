"""A reward model as the trainers of policies call it.

    TRL       GRPOTrainer(reward_funcs=RewardFunction("model"), ...)
    verl      custom_reward_function.path=<this file>, .name=compute_score, .reward_kwargs.model=model
    OpenRLHF  --reward.model_name_or_path model: the directory itself

Text arrives as those trainers have it, without special tokens, and leaves tokenised as in training: with the
EOS or by the chat template, in evaluation mode, in batches by length.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from unskew.reward.model import RewardModel, Scorer
from unskew.reward.tokens import Text


class RewardFunction:
    """Rewards of completions: a callable with the signature of TRL's reward functions.

    Args:
        model: reward model, or the directory of one.
        scale: factor on the reward.
        shift: added after it.

    Example:
        GRPOTrainer(model=policy, reward_funcs=RewardFunction("run/model"), train_dataset=prompts)
    """

    def __init__(
        self, model: "Scorer | str | os.PathLike[str]", *, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        named = isinstance(model, (str, os.PathLike))
        self.model: Scorer = RewardModel.load(model) if named else model  # type: ignore[arg-type,assignment]
        self.scale, self.shift = scale, shift
        self.__name__ = Path(model).name if named else "unskew"  # type: ignore[arg-type]

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        """Reward of each completion.

        Args:
            prompts: text, or turns, one for each completion. Length N.
            completions: of the same kind. Length N.
            columns: what else the trainer passes; `tools`, when it is the same for all, goes to the template.
        """
        tools = columns.get("tools")
        options = {} if not tools or any(each != tools[0] for each in tools) else {"tools": tools[0]}
        if options.get("tools") is None:
            options = {}
        found = self.model.score(prompts, completions, **options)  # type: ignore[arg-type]
        return [float(self.scale * each + self.shift) for each in found]

    def compute_score(
        self,
        data_source: str,
        solution_str: str,
        ground_truth: Any = None,
        extra_info: "Mapping[str, Any] | None" = None,
    ) -> float:
        """Reward of one completion, with the signature of verl's reward functions.

        Args:
            data_source: name of the data set; not read.
            solution_str: the completion.
            ground_truth: not read.
            extra_info: with `prompt`, text or turns.

        Raises:
            ValueError: no prompt.
        """
        prompt = (extra_info or {}).get("prompt")
        if prompt is None:
            raise ValueError("extra_info has no 'prompt'; add the prompt to the data set's extra_info")
        answer: Text = solution_str if isinstance(prompt, str) else [_answer(solution_str)]
        return self([prompt], [answer])[0]


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any = None,
    extra_info: "Mapping[str, Any] | None" = None,
    *,
    model: "str | None" = None,
) -> float:
    """`RewardFunction.compute_score` of the directory `model`, or of the variable UNSKEW_REWARD_MODEL.

    Raises:
        ValueError: neither is given.
    """
    directory = model or os.environ.get("UNSKEW_REWARD_MODEL")
    if not directory:
        raise ValueError(
            "no reward model: pass reward_kwargs.model, or set UNSKEW_REWARD_MODEL to a directory"
        )
    return _loaded(directory).compute_score(data_source, solution_str, ground_truth, extra_info)


@cache
def _loaded(directory: str) -> RewardFunction:
    return RewardFunction(directory)
