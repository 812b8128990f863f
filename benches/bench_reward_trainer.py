"""Training a reward model: unskew's `RewardTrainer` beside TRL's, one process, in turns; peak memory apart.

Both arms train the same random Llama (float32, no dropout, no gradient checkpointing, AdamW at a constant
rate) on the same token ids in the same order with the same arguments. First the losses of all steps, which
both log, have to agree to 1e-4. Then the seconds of `train()` are taken in rounds, an arm after the other,
and the ratio of every round counts. Tokens a second are those of the data; padding earns nothing.

    skewed     lengths log-normal, median 40, at most 512
    equal      every sequence 64 tokens
    groups     eight responses a prompt, skewed: each scored once, beside the same 28 comparisons as pairs

Peak memory is the high-water mark of the resident memory (VmHWM, Linux) of a process that trains one arm and
does nothing else, less what it held before `train()` (model, data, imports; TRL imports more). `ru_maxrss`
would be that of the process that started it, where that is larger.

    python benches/bench_reward_trainer.py [--rounds 7] [--steps 6] [--threads 1] [--write benches/RESULTS.md]
"""

import argparse
import gc
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    PrinterCallback,
)

from unskew.reward import RewardConfig, RewardTrainer

VOCABULARY, WIDTH, LAYERS, LONGEST = 16_384, 256, 4, 512

PAIRS, RESPONSES = 16, 8
"""Pairs a step; responses of a group, which are 28 comparisons; a step is one group."""

COMPARISONS = RESPONSES * (RESPONSES - 1) // 2

ALIKE = 1e-4
"""What the losses of a step may differ by."""

Make = Callable[[Path, int], Any]
"""A trainer that writes to this folder and takes this many steps."""


def model() -> LlamaForSequenceClassification:
    """The same parameters each time."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=11 * WIDTH // 4,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 64,
        num_key_value_heads=WIDTH // 64,
        max_position_embeddings=LONGEST,
        num_labels=1,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return LlamaForSequenceClassification(shape)


def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token; `w7` is 7."""
    words = {"<pad>": 0, "<end>": 1, **{f"w{k}": k for k in range(2, VOCABULARY)}}
    found = Tokenizer(models.WordLevel(words, "<end>"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=found, pad_token="<pad>", eos_token="<end>")


def lengths(world: str, count: int) -> list[int]:
    """Tokens of each sequence."""
    if world == "equal":
        return [64] * count
    drawn = np.random.default_rng(0).lognormal(np.log(40), 1.0, count)
    return [int(x) for x in np.clip(drawn, 4, LONGEST)]


def sequences(world: str, count: int) -> list[list[int]]:
    """Random token ids, and the end."""
    chance = np.random.default_rng(1)
    return [[*chance.integers(2, VOCABULARY, size - 1).tolist(), 1] for size in lengths(world, count)]


def pairs(world: str, steps: int) -> datasets.Dataset:
    """Pairs, tokenised, as both trainers take them."""
    drawn = sequences(world, 2 * PAIRS * steps)
    return datasets.Dataset.from_dict({"chosen_ids": drawn[::2], "rejected_ids": drawn[1::2]})


def groups(steps: int) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Groups, the first of each the best and the last the worst, and the same comparisons as pairs."""
    drawn = sequences("skewed", RESPONSES * steps)
    each = [drawn[k : k + RESPONSES] for k in range(0, len(drawn), RESPONSES)]
    apart = {
        name: [group[pair[side]] for group in each for pair in combinations(range(RESPONSES), 2)]
        for side, name in enumerate(("chosen_ids", "rejected_ids"))
    }
    texts = [[" ".join(f"w{k}" for k in ids[:-1]) for ids in group] for group in each]
    whole = {"completions": texts, "labels": [list(range(RESPONSES, 0, -1))] * steps}
    return datasets.Dataset.from_dict(whole), datasets.Dataset.from_dict(apart)


def settings(directory: Path, batch: int, steps: int) -> dict[str, Any]:
    """What both configurations are given."""
    return {
        "output_dir": str(directory),
        "per_device_train_batch_size": batch,
        "max_steps": steps,
        "train_sampling_strategy": "sequential",
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "max_length": LONGEST,
        "logging_steps": 1,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": [],
        "seed": 1,
    }


def ours(data: datasets.Dataset, batch: int) -> Make:
    """A trainer of unskew."""

    def make(directory: Path, steps: int) -> Any:
        arguments = RewardConfig(**settings(directory, batch, steps))
        return RewardTrainer(model(), arguments, train_dataset=data, processing_class=tokenizer())

    return make


def theirs(data: datasets.Dataset, batch: int) -> Make:
    """A trainer of TRL."""

    def make(directory: Path, steps: int) -> Any:
        import trl

        arguments = trl.RewardConfig(**settings(directory, batch, steps))
        return trl.RewardTrainer(model(), arguments, train_dataset=data, processing_class=tokenizer())

    return make


def arms(world: str, steps: int) -> tuple[dict[str, Make], int]:
    """Name -> trainer, and how many tokens the data hold; the first is ours."""
    if world != "groups":
        data = pairs(world, steps)
        tokens = sum(map(len, data["chosen_ids"])) + sum(map(len, data["rejected_ids"]))
        return {"unskew": ours(data, PAIRS), "TRL": theirs(data, PAIRS)}, tokens
    whole, apart = groups(steps)
    made = {
        "unskew, groups": ours(whole, 1),
        "unskew, pairs": ours(apart, COMPARISONS),
        "TRL, pairs": theirs(apart, COMPARISONS),
    }
    return made, sum(lengths("skewed", RESPONSES * steps))


def clock(make: Make, steps: int) -> tuple[dict[str, float], list[float]]:
    """CPU and wall seconds of `train()`, and the losses that it logs."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = make(Path(directory), steps)
        trainer.remove_callback(PrinterCallback)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return spent, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def measure(world: str, rounds: int, steps: int) -> dict[str, Any]:
    """Seconds of each arm in each round, after the losses have been compared; peak memory."""
    jobs, tokens = arms(world, steps)
    losses = {name: clock(make, steps)[1] for name, make in jobs.items()}
    first, *others = losses.values()
    assert len(first) == steps, first
    apart = max(abs(a - b) for other in others for a, b in zip(first, other, strict=True))
    assert apart < ALIKE, losses
    times: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for number in range(rounds):
        for name in list(jobs) if number % 2 == 0 else list(jobs)[::-1]:
            times[name].append(clock(jobs[name], steps)[0])
    return {
        "times": times,
        "tokens": tokens,
        "apart": apart,
        "memory": {name: alone(world, name, steps) for name in jobs},
    }


def alone(world: str, name: str, steps: int) -> float:
    """MiB that `train()` of one arm adds, in a process of its own."""
    command = [sys.executable, __file__, "--alone", world, name, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def grow(world: str, name: str, steps: int) -> float:
    """MiB that `train()` adds to this process at its peak."""
    make = arms(world, steps)[0][name]
    with tempfile.TemporaryDirectory() as directory:
        trainer = make(Path(directory), steps)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the mark falls to what is held
        held = resident("VmRSS")
        trainer.train()
    return resident("VmHWM") - held


def resident(name: str) -> float:
    """MiB of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) / 1024


def main() -> None:
    """Measure, print, perhaps write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="+", default=["skewed", "equal", "groups"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--write", type=Path, help="replace the section '## Reward model training' of this file"
    )
    parser.add_argument("--alone", nargs=2, metavar=("WORLD", "ARM"), help="peak memory of one arm, and stop")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
    if arguments.alone:
        print(json.dumps(grow(*arguments.alone, arguments.steps)))
        return
    load = os.getloadavg()[0]
    found = {world: measure(world, arguments.rounds, arguments.steps) for world in arguments.worlds}
    text = table(found, arguments, load)
    print(text)
    if arguments.write:
        write(arguments.write, text)


def table(found: dict[str, dict[str, Any]], arguments: argparse.Namespace, load: float) -> str:
    """The result as Markdown."""
    import trl

    told = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next((line.split(":")[1].strip() for line in told if "model name" in line), "")
    apart = max(its["apart"] for its in found.values())
    given = arguments
    lines = [
        "## Reward model training",
        "",
        f"`python benches/bench_reward_trainer.py`: Llama of {LAYERS} layers, width {WIDTH}, vocabulary",
        f"{VOCABULARY:,}, float32, no dropout, no gradient checkpointing; {PAIRS} pairs a step, or a group",
        f"of {RESPONSES} responses ({COMPARISONS} comparisons). {given.steps} losses agree to {apart:.0e}.",
        f"Median of {given.rounds} interleaved rounds of {given.steps} steps, {given.threads} thread(s) on",
        f"{os.cpu_count()} cores, {processor or platform.machine()}, load average {load:.1f} at the start;",
        f"torch {torch.__version__}, transformers {transformers.__version__}, TRL {trl.__version__},",
        f"Python {platform.python_version()}. Times ours are medians of the ratios of a round; tokens are",
        "those of the data, without padding; a group's count once. Peak: VmHWM of a process with one arm,",
        "less what it held before `train()`.",
        "",
        "| data | arm | tokens / CPU s | CPU time, times ours | wall time, times ours | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    for world, its in found.items():
        ours_, *_ = its["times"].values()
        for name, times in its["times"].items():
            speed = its["tokens"] / median(t["cpu"] for t in times)
            ratio = {
                key: median(t[key] / o[key] for t, o in zip(times, ours_, strict=True))
                for key in ("cpu", "wall")
            }
            lines.append(
                f"| {world} | {name} | {speed:,.0f} | {ratio['cpu']:.2f} | {ratio['wall']:.2f} "
                f"| {its['memory'][name]:,.0f} |"
            )
    return "\n".join([*lines, ""])


def write(path: Path, text: str) -> None:
    """Put the section into the results file, in place of the old one."""
    sections = path.read_text().split("\n## ") if path.exists() else ["# Results\n"]
    kept = [section for section in sections if not section.startswith("Reward model training")]
    path.write_text("\n## ".join([*kept, text.removeprefix("## ")]).rstrip() + "\n")


if __name__ == "__main__":
    main()
