"""Policy optimisation on a language task whose best reward is known, beside TRL at equal samples.

The task: prompts of two words from thirty, completions of at most 8, reward = share of one word among those
written; a random policy earns about 1 / 32, the best one 1. The policy: Qwen2, 2 layers of width 32, random.
Each arm writes the same number of completions, 64 a round; the same model, prompts, step size and schedule.
After it, every prompt is answered 8 times by one and the same sampler, whose mean reward is the result. Arms
of one seed run after each other, and seeds in turn, on one thread.

A second table times what a step is made of: GAE as a scan beside a loop backwards through time, and
log-probabilities by chunks beside those of full logits (forward and backward, float32). Seconds are CPU
seconds: the machine is shared.

    python benches/bench_ppo_toy.py [--seeds 5] [--rounds 60] [--write benches/RESULTS.md]

TRL's arms run where `trl` can be imported: `pip install --target DIR --no-deps trl`, then PYTHONPATH=DIR.
"""

import argparse
import contextlib
import io
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # TRL reports its use otherwise

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import toys
from unskew import ppo
from unskew.ppo.advantage import Rewarded, gae
from unskew.ppo.generate import HuggingFace
from unskew.ppo.logprob import logprobs, logprobs_of_logits
from unskew.ppo.rollout import Vocabulary, write

ROUND = 64
"""Completions of a round."""

Run = Callable[[int, int, str], Any]
"""(seed, rounds, folder) -> a trainer that has trained."""


def ours(config: type, *, epochs: int = 1, **settings: Any) -> Run:
    def run(seed: int, rounds: int, folder: str) -> Any:
        steps = 2 * epochs
        common = toys.settings(max_steps=steps * rounds, logging_steps=steps, seed=seed, num_mini_batches=2)
        args = config(folder, **common | {"num_ppo_epochs": epochs, "kl_coef": 0.0} | settings)
        trainer = ppo.OnPolicyTrainer(
            toys.policy(seed), toys.share, args, toys.PROMPTS, processing_class=toys.tokenizer()
        )
        trainer.train()
        return trainer

    return run


def theirs(name: str, **settings: Any) -> Run:
    def run(seed: int, rounds: int, folder: str) -> Any:
        import datasets
        import trl

        common = toys.settings(max_steps=2 * rounds, logging_steps=2, seed=seed)
        del common["response_length"]
        args = getattr(trl, f"{name}Config")(
            folder, max_completion_length=8, steps_per_generation=2, beta=0.0, **common | settings
        )
        data = datasets.Dataset.from_list(toys.PROMPTS)
        trainer = getattr(trl, f"{name}Trainer")(
            toys.policy(seed), toys.share, args, data, processing_class=toys.tokenizer()
        )
        trainer.train()
        return trainer

    return run


PLAIN = {"gradient_checkpointing": False, "bf16": False}
ARMS: dict[str, Run] = {
    "unskew PPO": ours(ppo.PPOConfig, epochs=2),
    "unskew GRPO": ours(ppo.GRPOConfig, num_generations=8),
    "unskew RLOO": ours(ppo.RLOOConfig, num_generations=8),
    "TRL GRPO": theirs("GRPO", num_generations=8, loss_type="grpo", **PLAIN),
    "TRL RLOO": theirs("RLOO", num_generations=8, **PLAIN),
}


def final(policy: Any) -> float:
    """Mean reward of 8 completions a prompt, by our sampler and one seed."""
    vocabulary = Vocabulary.of(toys.tokenizer(), policy)
    sampler = HuggingFace(pad=0, ends=vocabulary.ends, longest=8, batch=256, temperature=1.0, top_k=0)
    seen = write(
        policy.eval(),
        sampler,
        vocabulary,
        toys.PROMPTS,
        group=8,
        longest_prompt=None,
        seed=7,
        device=torch.device("cpu"),
    )
    return mean(toys.share(seen.written.completions))


def measure(run: Run, seed: int, rounds: int) -> dict[str, float]:
    """Final reward, completions until a round reached 95 %, seconds."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        start = time.process_time()
        trainer = run(seed, rounds, folder)
        seconds = time.process_time() - start
    rewards = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    reached = next((number for number, reward in enumerate(rewards, 1) if reward >= 0.95), len(rewards) + 1)
    policy = trainer.actor.policy if hasattr(trainer, "actor") else trainer.model
    return {"final": final(policy), "until": reached * ROUND, "seconds": seconds}


def task(seeds: int, rounds: int) -> str:
    names = [name for name in ARMS if not name.startswith("TRL") or find_spec("trl")]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in range(seeds):
        for name in names:
            found[name].append(measure(ARMS[name], seed, rounds))
            print(f"seed {seed} {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    lines = [
        f"| {seeds} seeds, {ROUND * rounds:,} completions each | final reward, mean (least) | at 95 % | "
        "completions until a round earned 95 % | CPU s |",
        "|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        final, until, seconds = ([run[key] for run in runs] for key in ("final", "until", "seconds"))
        spread = f" (s.d. {stdev(until):,.0f})" if len(until) > 1 else ""
        lines.append(
            f"| {name} | {mean(final):.3f} ({min(final):.3f}) | {sum(x >= 0.95 for x in final)}/{seeds} "
            f"| {mean(until):,.0f}{spread} | {median(seconds):.1f} |"
        )
    return "\n".join(lines)


def loop(given: Rewarded) -> torch.Tensor:
    """GAE backwards through time, one step of the whole batch after the other."""
    values, ahead, found = given.values * given.mask, 0.0, []
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    delta = (given.rewards + given.gamma * following - values) * given.mask
    for t in reversed(range(delta.shape[1])):
        ahead = delta[:, t] + given.gamma * given.lam * ahead
        found.append(ahead)
    return torch.stack(found[::-1], 1) * given.mask


def clock(job: Callable[[], object], rounds: int = 7) -> float:
    """Median milliseconds of CPU, after one call that does not count."""
    job()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return 1e3 * median(times)


def parts() -> str:
    """What a step is made of."""
    lines = ["| part | size | plain, CPU ms | ours, CPU ms | ours / plain |", "|---|---|---|---|---|"]
    for batch, longest in ((64, 512), (512, 1024)):
        chance = torch.Generator().manual_seed(0)
        rewards, values = torch.randn(2, batch, longest, generator=chance)
        lengths = torch.randint(1, longest + 1, (batch, 1), generator=chance)
        mask = torch.arange(longest)[None] < lengths
        given = Rewarded(rewards * mask, mask, values, gamma=0.99, lam=0.95)
        assert torch.allclose(gae(given)[0], loop(given), atol=1e-4)
        plain, scan = clock(lambda g=given: loop(g)), clock(lambda g=given: gae(g))
        lines.append(f"| GAE | {batch} x {longest} | {plain:.2f} | {scan:.2f} | {scan / plain:.2f} |")
    tokens, width, words = 512, 512, 32_768
    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = (torch.randn(words, width) / width**0.5).requires_grad_()
    targets = torch.randint(0, words, (tokens,))

    def backward(both: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        return [
            both[0].detach(),
            *torch.autograd.grad(both[0].sum() + 0.01 * both[1].sum(), (hidden, weight)),
        ]

    def full() -> list[torch.Tensor]:
        return backward(logprobs_of_logits(hidden @ weight.t(), targets))

    def chunked() -> list[torch.Tensor]:
        return backward(logprobs(hidden, weight, targets, chunk=64))

    assert all(torch.allclose(one, other, atol=1e-3) for one, other in zip(full(), chunked(), strict=True))
    plain, mine = clock(full, 3), clock(chunked, 3)
    size = f"{tokens} tokens, width {width}, {words:,} words, chunks of 64"
    lines.append(f"| log-probabilities | {size} | {plain:.0f} | {mine:.0f} | {mine / plain:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--write", type=Path, help="append the section to this file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    load = os.getloadavg()[0]
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    if find_spec("trl"):
        from importlib.metadata import version

        versions += f", trl {version('trl')}"
    section = (
        "## Policy optimisation on a toy language task\n\n"
        f"`python benches/bench_ppo_toy.py --seeds {given.seeds} --rounds {given.rounds}`: the reward is the "
        "share of one word among\nat most 8 written; a random policy earns 1 / 32, the best one 1. Rounds of "
        f"{ROUND} completions; PPO goes over\neach round twice, the others once. One thread of a "
        f"{os.cpu_count()}-core machine, load average {load:.1f} at the start;\n{versions}, Python "
        f"{platform.python_version()}.\n\n{task(given.seeds, given.rounds)}\n\n"
        "What a step is made of, on one thread, equal results asserted first:\n\n" + parts() + "\n"
    )
    print(section)
    if given.write:
        given.write.write_text(given.write.read_text("utf-8").rstrip() + "\n\n" + section, "utf-8")


if __name__ == "__main__":
    main()
