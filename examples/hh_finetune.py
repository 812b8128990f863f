"""Which of two replies is less harmful: a small transformer, fine-tuned; then clicks in the place of labels.

    python examples/hh_finetune.py DATA --model MODEL [--cache DIR]

First MiniLM with one label is trained on whole pairs by `RewardTrainer`, one model a fold, beside the linear
head on its frozen features (`hh_harmless.py`) on the same folds and the rule "take the shorter reply".

Then every pair is shown to 20 simulated users who agree with the person (y = 1: A is better). The longer
reply stands first, in slot A. Whether a user chooses at all depends on the label, or on how much longer A is;
which choice is recorded is flipped at rates that favour the first slot. The estimators know all of it:

    by label       P(choice | y = 1) = .8,  P(choice | y = 0) = .3
    by features    P(choice) = .05 + .9 sigmoid(-2 (g - median) / s.d.),  g = log(length of A / length of B)
    flips          fnr = P(recorded B | y = 1) = .1,  fpr = P(recorded A | y = 0) = .3

Heads on the frozen features learn from what was recorded (naive), from it with flips undone, with selection
undone, with both undone (corrected), and from y itself (clean). They are compared by the Brier score of their
predictions out of fold, sigmoid(r_A - r_B), against y.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, BertForSequenceClassification

from hh_harmless import FOLDS, load, out_of_fold
from unskew.estimators import Columns, classwise_ips, naive, noise_corrected
from unskew.features import Encoder, cached
from unskew.reward import RewardConfig, RewardTrainer, TransformerReward, fit_head

TEMPLATE = "{prompt}\n\nAssistant: {response}"
SEPARATOR = "\n\nAssistant: "

MAX_LENGTH, BATCH, EPOCHS, RATE = 128, 16, 1, 5e-5
"""Tokens of a dialogue, pairs a step, passes over the data, step of AdamW: usual ones, not searched."""

USERS, CHOICE, FNR, FPR = 20, (0.8, 0.3), 0.1, 0.3
SEEDS = 5
WORLDS = ("by label", "by features")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Dialogues; the chosen reply of pair i is row 2 i, the rejected one row 2 i + 1.

    Args:
        prompts: what was said before. Length 2 N.
        replies: the last turn. Length 2 N.
        X: frozen features. Shape [2 N, D].
    """

    prompts: list[str]
    replies: list[str]
    X: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.prompts) // 2

    @property
    def size(self) -> Ints:
        """Characters of each reply. Shape [2 N]."""
        return np.array([len(reply) for reply in self.replies])


@dataclass(frozen=True)
class Compared:
    """Share of pairs in which the chosen reply is preferred, out of fold.

    Args:
        tuned: by the fine-tuned transformers.
        frozen: by the head on frozen features, on the same folds.
        shorter: by the rule that takes the shorter reply.
        won: pairs that the transformer has right and the head wrong.
        lost: the reverse.
        pairs: how many were predicted.
        seconds: that training and scoring the transformers took.
    """

    tuned: float
    frozen: float
    shorter: float
    won: int
    lost: int
    pairs: int
    seconds: float


def read(folder: Path, model: str, cache: Path, limit: int | None = None) -> Pairs:
    """The pairs, or the first `limit` of them, and their features."""
    prompts, replies = (texts[: 2 * limit if limit else None] for texts in load(folder))
    encode = Encoder(model, template=TEMPLATE, max_length=128, batch_tokens=2048)
    return Pairs(prompts, replies, cached(encode, prompts, replies, cache))


def folds(pairs: int, seed: int) -> Ints:
    """Fold of each pair, as `hh_harmless.out_of_fold` draws it."""
    return np.random.default_rng(seed).permutation(np.arange(pairs) % FOLDS)


def finetune(data: Pairs, model: str, rows: Ints, seed: int) -> TransformerReward:
    """A sequence classifier that starts from the sentence encoder and learns from these pairs."""
    torch.manual_seed(seed)
    trunk = BertForSequenceClassification.from_pretrained(model, num_labels=1)
    columns = {
        "prompt": [data.prompts[2 * k] for k in rows],
        "chosen": [data.replies[2 * k] for k in rows],
        "rejected": [data.replies[2 * k + 1] for k in rows],
    }
    with tempfile.TemporaryDirectory() as directory:
        settings = RewardConfig(
            directory,
            per_device_train_batch_size=BATCH,
            num_train_epochs=EPOCHS,
            learning_rate=RATE,
            warmup_steps=0.1,
            max_length=MAX_LENGTH,
            separator=SEPARATOR,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=seed,
        )
        trainer = RewardTrainer(
            trunk,
            settings,
            train_dataset=datasets.Dataset.from_dict(columns),
            processing_class=AutoTokenizer.from_pretrained(model),
        )
        trainer.train()
    return TransformerReward(trainer.model, trainer.tokens)


def compare(data: Pairs, model: str, seed: int = 0, some: int = FOLDS) -> Compared:
    """Fine-tuned transformer, frozen head and the shorter reply on the first `some` folds."""
    began = time.perf_counter()
    fold = folds(len(data), seed)
    margin = np.full(len(data), np.nan)
    for number in range(some):
        reward = finetune(data, model, np.flatnonzero(fold != number), seed)
        held = np.flatnonzero(fold == number)
        rows = np.concatenate([2 * held, 2 * held + 1])
        texts = [data.prompts[k] for k in rows], [data.replies[k] for k in rows]
        chosen, rejected = np.split(reward.score(*texts, batch_tokens=2048), 2)
        margin[held] = chosen - rejected
        right = (margin[held] > 0).mean()
        print(f"fold {number + 1} of {some}: {right:.4f}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - began
    even = 2 * np.arange(len(data))
    inside = fold < some
    tuned = margin[inside] > 0
    frozen = out_of_fold(data.X, even, even + 1, seed)[inside] > 0
    shorter = (data.size[even] < data.size[even + 1])[inside]
    return Compared(
        tuned=float(tuned.mean()),
        frozen=float(frozen.mean()),
        shorter=float(shorter.mean()),
        won=int((tuned & ~frozen).sum()),
        lost=int((~tuned & frozen).sum()),
        pairs=len(tuned),
        seconds=seconds,
    )


@dataclass(frozen=True)
class Clicks:
    """What 20 users a pair left behind, and what is known of it.

    Args:
        first: row of the reply in slot A. Shape [N].
        second: row of the one in slot B. Shape [N].
        label: 1 where the person preferred A. Shape [N].
        pair: pair that a user saw. Shape [20 N].
        recorded: 1 where A was recorded as chosen. Shape [20 N].
        observed: 1 where the user chose. Shape [20 N].
        p1: probability of that where the label is 1. Shape [20 N].
        p0: the same where it is 0. Shape [20 N].
    """

    first: Ints
    second: Ints
    label: Floats
    pair: Ints
    recorded: Floats
    observed: Floats
    p1: Floats
    p0: Floats


def show(data: Pairs, world: str, seed: int) -> Clicks:
    """Show every pair to the users of one of the `WORLDS`."""
    chance = np.random.default_rng(seed)
    even = 2 * np.arange(len(data))
    longer = data.size[even] > data.size[even + 1]
    first, second = np.where(longer, even, even + 1), np.where(longer, even + 1, even)
    label = longer.astype(float)
    pair = np.repeat(np.arange(len(data)), USERS)
    if world == "by label":
        p1, p0 = (np.full(len(pair), p) for p in CHOICE)
    else:
        gap = np.log1p(data.size[first]) - np.log1p(data.size[second])
        p1 = p0 = (0.05 + 0.9 / (1 + np.exp(2 * (gap - np.median(gap)) / gap.std())))[pair]
    y = label[pair]
    observed = (chance.random(len(pair)) < np.where(y == 1, p1, p0)).astype(float)
    flipped = chance.random(len(pair)) < np.where(y == 1, FNR, FPR)
    return Clicks(first, second, label, pair, np.where(flipped, 1 - y, y), observed, p1, p0)


def brier(data: Pairs, clicks: Clicks, columns: Columns, seed: int) -> float:
    """Of the predictions of heads that have not seen the pair, against the person's label.

    Args:
        data: pairs with features.
        clicks: what the users left behind.
        columns: one entry a user, or a pair.
        seed: decides the folds.
    """
    pair = clicks.pair if len(columns.a) == len(clicks.pair) else np.arange(len(data))
    fold, margin = folds(len(data), seed), np.empty(len(data))
    for number in range(FOLDS):
        inside = fold[pair] != number
        head = fit_head(
            data.X,
            Columns(a=columns.a[inside], b=columns.b[inside], m=columns.m[inside]),
            groups=np.repeat(np.arange(len(data)), 2),  # both replies of a pair on one side of every split
            pairs=(clicks.first[pair[inside]], clicks.second[pair[inside]]),
            seed=seed,
        ).head
        held = fold == number
        margin[held] = head(data.X[clicks.first[held]]) - head(data.X[clicks.second[held]])
    return float(np.square(1 / (1 + np.exp(-margin)) - clicks.label).mean())


def simulate(data: Pairs, world: str, seeds: int = SEEDS) -> dict[str, Floats]:
    """Brier score of each arm. Shape [seeds]."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        seen = show(data, world, seed)
        y, o = seen.recorded, seen.observed
        arms = {
            "naive": naive(y, o),
            "flips undone": noise_corrected(y, o, FNR, FPR),
            "selection undone": classwise_ips(y, o, seen.p1, seen.p0),
            "corrected": classwise_ips(y, o, seen.p1, seen.p0, FNR, FPR),
            "clean": naive(seen.label, np.ones(len(data))),
        }
        for name, columns in arms.items():
            found.setdefault(name, []).append(brier(data, seen, columns, seed))
    return {name: np.array(values) for name, values in found.items()}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of dev_even.jsonl.gz")
    parser.add_argument("--model", required=True, help="directory of a BERT sentence encoder")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unskew"
    parser.add_argument("--cache", type=Path, default=home, help=f"where features are kept ({home})")
    parser.add_argument("--folds", type=int, default=FOLDS, help="folds that are fine-tuned")
    options = parser.parse_args()
    datasets.disable_progress_bars()
    data = read(options.data, options.model, options.cache)
    for world in WORLDS:
        print(f"{USERS} users a pair, selected {world}: Brier, mean and by seed")
        for name, values in simulate(data, world).items():
            print(f"{name:18} {values.mean():.4f}   {' '.join(f'{value:.4f}' for value in values)}")
    if options.folds:
        found = compare(data, options.model, some=options.folds)
        print(f"{found.pairs} pairs, out of fold ({found.seconds:.0f} s)")
        print(f"fine-tuned transformer      {found.tuned:.4f}")
        print(f"head on frozen features     {found.frozen:.4f}   (right alone: {found.won} to {found.lost})")
        print(f"take the shorter reply      {found.shorter:.4f}")


if __name__ == "__main__":
    main()
