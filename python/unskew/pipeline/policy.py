"""One policy for each reward, all else equal: what a reward is worth is what it teaches.

    run["policy"] = train_policies(start, tokenizer, rewards, prompts, held_out, gold=truth)

Every policy starts from the same parameters, sees the same prompts in the same order and has the same
settings. A reward is divided by its standard deviation over completions of the start, so that beta weighs the
distance from the start alike whatever the scale of a reward: policies maximise

    E r / s  -  beta KL(pi, pi_start)          s = deviation of r under pi_start

until a budget of KL is spent: rewards are compared at the same distance, since any reward is hacked at some
distance. A completion that is cut off loses one deviation, since an answer has to end. `gold` is watched in
every round and never trained on, unless it is also a reward.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, TrainerCallback

from unskew import ppo
from unskew.pipeline.arms import fit_arm
from unskew.pipeline.config import TrainConfig, featurizer
from unskew.pipeline.held_out import Judge, Start
from unskew.pipeline.material import Material, Stage
from unskew.pipeline.recipes import recipe_of
from unskew.pipeline.store import quiet
from unskew.pipeline.transformer import bars
from unskew.ppo.rewards import Rewards
from unskew.rates import Floats
from unskew.reward import RewardModel

SHOWN = {
    "step": "step",
    "gold": "gold",
    "kl": "kl",
    "entropy": "entropy",
    "mean_length": "completions/mean_length",
    "ended": "completions/ended",
}
"""Figure of a round -> its name in the log of the trainer."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: the matrices are small, and figures must not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Reward:
    """What a policy is paid for.

    Args:
        name, label, role: as of an arm; roles are `naive`, `ours`, `baseline`, `ideal`.
        source: anything that `ppo.Rewards` takes.
    """

    name: str
    label: str
    role: str
    source: Any = field(repr=False)


@dataclass(frozen=True)
class PolicyConfig:
    """Settings of all policies of a comparison.

    Args:
        imitated: rows of the log at most that the start learns to write from. A start that writes unlike the
            log is scored on texts that no reward was trained on.
        held_out: prompts that policies are measured on, and that neither start nor policies learn from.
        rounds: roll-outs at most.
        kl: budget of a policy: training ends when its completions are about that many nats from the start on
            average; None for all rounds.
        completions: completions of a round.
        group: completions of a prompt in a round.
        longest: tokens of a completion at most.
        seed: every random choice follows from it.
        trainer: further settings of `PPOConfig`.
    """

    imitated: int = 16_000
    held_out: int = 256
    rounds: int = 40
    kl: float | None = 12.0
    completions: int = 128
    group: int = 4
    longest: int = 48
    seed: int = 0
    trainer: dict[str, Any] = field(default_factory=dict)

    def of_trainer(self, directory: Path, weight: float = 1.0) -> ppo.PPOConfig:
        """Settings of a trainer that writes to a directory, and weighs its reward."""
        common: dict[str, Any] = {
            "num_mini_batches": 4,
            "num_ppo_epochs": 2,
            "num_generations": self.group,
            "advantage": "rloo",
            "learning_rate": 2.5e-4,
            "lr_scheduler_type": "constant",
            "kl_coef": 0.05,
            "missing_eos_penalty": 1.0,
            "logprob_chunk": 0,
            "max_grad_norm": 1.0,
            **self.trainer,
        }
        steps = common["num_mini_batches"] * common["num_ppo_epochs"]
        return ppo.PPOConfig(
            str(directory),
            per_device_train_batch_size=self.completions // common["num_mini_batches"],
            response_length=self.longest,
            local_rollout_forward_batch_size=self.completions,
            reward_weights=[weight],
            max_steps=steps * self.rounds,
            logging_steps=steps,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            seed=self.seed,
            **common,
        )


def heads(
    material: Material,
    names: Sequence[str],
    settings: TrainConfig = TrainConfig(),  # noqa: B008 (frozen)
) -> dict[str, RewardModel]:
    """Reward models of recipes, trained on all prompts of a store as `pipeline.train` trains them.

    Args:
        material: rows and nuisances, with the kinds that the audit allows.
        names: recipes.
        settings: features, head and seed.

    Raises:
        ValueError: no recipe has such a name, or its columns cannot be trained on.
        Refused: what a recipe needs is not there.
    """
    features = featurizer(settings.features)
    made = {name: recipe_of(name, settings.recipes.get(name))(material) for name in names}
    return {name: RewardModel(features, fit_arm(material, made[name], settings).head) for name in names}


@one_thread()
def imitation(prompts: Sequence[str], responses: Sequence[str], config: PolicyConfig) -> Start:
    """A small model built in code that writes as the log does.

    Args:
        prompts: what was asked, row by row of the log. Length N.
        responses: what was answered. Length N.
        config: sizes and seed.

    Raises:
        ValueError: no prompt is left to train on once some are held out.
    """
    rng = np.random.default_rng(config.seed)
    distinct = sorted(set(prompts))
    if len(distinct) <= config.held_out:
        raise ValueError(
            f"held_out is {config.held_out}; it must be below the log's {len(distinct)} different prompts"
        )
    order = [distinct[number] for number in rng.permutation(len(distinct))]
    held = set(order[: config.held_out])
    rows = [int(row) for row in rng.permutation(len(prompts)) if prompts[row] not in held][: config.imitated]
    asked, answered = [prompts[row] for row in rows], [responses[row] for row in rows]
    tokenizer = ppo.phrases([*distinct, *answered])
    model = ppo.smallest(tokenizer, seed=config.seed)
    ppo.imitate(model, tokenizer, asked, answered, seed=config.seed)
    return Start(model, tokenizer, order[config.held_out :], order[: config.held_out])


@one_thread()
def train_policies(
    start: Start,
    rewards: Sequence[Reward],
    directory: "str | Path",
    *,
    gold: Any,
    liked: "Callable[[Floats], Floats] | None" = None,
    config: PolicyConfig = PolicyConfig(),
    stage: Stage = quiet,
) -> dict[str, Any]:
    """Train one policy for each reward, and measure all of them and their start on the prompts held out.

    Args:
        start: the model that every policy starts from; stays as it is.
        rewards: one a policy.
        directory: each policy goes to a folder of its name in it, loadable by Hugging Face.
        gold: the reward that tells how good a completion is; for simulated products and for tests.
        liked: gold rewards to the probability that a completion is liked, where there is such a thing.
        config: settings.
        stage: shows what is under way.

    Returns:
        `start` (`final`, `samples`), `arms` (name, label, role, `history` of rounds, `samples`, `final`),
        `settings` and `seconds`. `final` has `true` (mean gold reward with its 95 % interval), `liked` (the
        same of P(liked)), `proxy` (mean of the reward it was paid), `kl` (nats a completion, from the start),
        `mean_length` and `win_rate` (share of prompts on which its gold reward is above the start's, ties
        half).

    Raises:
        NumericError: a policy diverged.
    """
    begun = time.perf_counter()
    judge = Judge(start, Rewards(gold, limit=0.0), liked, config.of_trainer(Path(directory)))
    first = judge(start.model, None)
    found: dict[str, Any] = {"start": {name: first[name] for name in ("final", "samples")}, "arms": []}
    for reward in rewards:
        with stage(f"policy: {reward.name.replace('_', ' ')}"), bars(True):
            home = Path(directory) / reward.name
            trainer = ppo.OnPolicyTrainer(
                copy.deepcopy(start.model),
                reward.source,
                config.of_trainer(home, 1 / judge.deviation(reward.source)),
                [{"prompt": prompt} for prompt in start.prompts],
                processing_class=start.tokenizer,
                gold=gold,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(Budget(config.kl))
            trainer.train()
            trainer.save_model(str(home))
            judged = judge(trainer.actor.policy, reward.source, first["gold"])
        found["arms"].append(
            {
                "name": reward.name,
                "label": reward.label,
                "role": reward.role,
                "history": history(trainer.state.log_history),
                "samples": judged["samples"],
                "final": judged["final"],
            }
        )
    return {**found, "settings": asdict(config), "seconds": time.perf_counter() - begun}


def history(log: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Figures of each round, from the log of a trainer, in the units of the reward before it is weighed."""
    found = []
    for line in log:
        paid = [line[name] for name in line if name.startswith("rewards/") and name.endswith("/mean")]
        if paid:
            found.append(
                {"reward": paid[0], **{name: line[key] for name, key in SHOWN.items() if key in line}}
            )
    return found


class Budget(TrainerCallback):  # type: ignore[misc]
    """Ends training with the round whose steps are expected to spend the budget.

    A round is measured before its steps, which move the policy about as far as those of the round before did.
    """

    def __init__(self, kl: float | None) -> None:
        self.kl, self.before = math.inf if kl is None else kl, 0.0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "kl" in logs:
            if 2 * logs["kl"] - self.before >= self.kl:
                control.should_training_stop = True
            self.before = logs["kl"]
