"""Which of two replies is less harmful: a linear Bradley-Terry head on frozen sentence embeddings.

    python examples/hh_harmless.py DATA --model MODEL [--cache DIR]

DATA is the folder of `dev_even.jsonl.gz` (pairs of dialogues that share a beginning, one of them `chosen` by
a person), MODEL a sentence encoder such as MiniLM-L6. Every pair is scored by a head trained on the other
folds; the folds are drawn again for each seed. Beside the head stands the rule "take the shorter reply",
which a harmlessness model has to beat to be worth anything.
"""

import argparse
import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unskew.estimators import Columns
from unskew.features import Encoder, cached
from unskew.reward import fit_head

FOLDS = 5
SEEDS = 10


@dataclass(frozen=True)
class Result:
    """Share of pairs in which the chosen reply is preferred.

    Args:
        accuracy: of the head, one number a seed. Shape [seeds].
        shorter: of the rule that takes the shorter reply; replies of equal length count as wrong.
        pairs: how many.
        truncated: dialogues that lost their beginning to the encoder's limit.
    """

    accuracy: NDArray[np.float64]
    shorter: float
    pairs: int
    truncated: int


def load(folder: Path) -> tuple[list[str], list[str]]:
    """Prompts and replies, the chosen one of each pair first."""
    prompts, replies = [], []
    with gzip.open(folder / "dev_even.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            pair = json.loads(line)
            for side in ("chosen", "rejected"):
                prompt, _, reply = pair[side].rpartition("\n\nAssistant:")
                prompts.append(prompt.strip())
                replies.append(reply.strip())
    return prompts, replies


def run(folder: Path, model: str, cache: Path, seeds: int = SEEDS) -> Result:
    """Accuracy of the head out of fold, and of the rule."""
    prompts, replies = load(folder)
    # 128 tokens are what MiniLM was trained on; bfloat16 is slow where the processor has to emulate it.
    encode = Encoder(model, template="{prompt}\n\nAssistant: {response}", max_length=128, batch_tokens=2048)
    X = cached(encode, prompts, replies, cache)
    torch.set_num_threads(1)  # the matrices are small: more threads would only wait for each other
    chosen, rejected = np.arange(0, len(X), 2), np.arange(1, len(X), 2)
    margin = np.stack([out_of_fold(X, chosen, rejected, seed) for seed in range(seeds)])
    size = np.array([len(reply) for reply in replies])
    return Result(
        accuracy=(margin > 0).mean(1),
        shorter=float((size[chosen] < size[rejected]).mean()),
        pairs=len(chosen),
        truncated=encode.counts["truncated"],
    )


def out_of_fold(
    X: NDArray[np.float32], chosen: NDArray[np.int64], rejected: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Score of the chosen minus score of the rejected reply, by a head that has not seen the pair."""
    pairs = len(chosen)
    fold = np.random.default_rng(seed).permutation(np.arange(pairs) % FOLDS)
    group = np.repeat(np.arange(pairs), 2)  # both replies of a pair stay on one side of every split
    margin = np.empty(pairs)
    for number in range(FOLDS):
        inside = fold != number
        ones = np.ones(int(inside.sum()))
        head = fit_head(
            X,
            Columns(a=ones, b=ones, m=0 * ones),  # the first reply of each pair won
            groups=group,
            pairs=(chosen[inside], rejected[inside]),
            loss="logistic",
            metric="logistic",
            seed=seed,
        ).head
        margin[~inside] = head(X[chosen[~inside]]) - head(X[rejected[~inside]])
    return margin


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of dev_even.jsonl.gz")
    parser.add_argument("--model", required=True, help="directory or hub name of a sentence encoder")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unskew"
    parser.add_argument("--cache", type=Path, default=home, help=f"where features are kept ({home})")
    options = parser.parse_args()
    result = run(options.data, options.model, options.cache)
    low, high = result.accuracy.min(), result.accuracy.max()
    print(f"{result.pairs} pairs, {FOLDS} folds, {len(result.accuracy)} seeds of the folds")
    print(f"linear Bradley-Terry head   {result.accuracy.mean():.4f}   (seeds {low:.4f} to {high:.4f})")
    print(f"take the shorter reply      {result.shorter:.4f}")
    print(f"dialogues cut at their beginning: {result.truncated}")


if __name__ == "__main__":
    main()
