"""Levels that a fixed teacher gives to real texts: a rated data set where no rated one is at hand.

    python benches/causalrm_teacher.py OUT.jsonl --encoder MODEL [--data FOLDER] [--seed 0]

The texts are those of hh_harmless, pandalm, llmbar and winogenerated in $UNSKEW_DATA (or ../shared/data).
The levels are no person's. With c the leading principal components, scaled to variance 1, of the encoder's
reading of the response alone,

    quality = w . c + (c_1 c_2) / 2 + noise        |w| = 1,  s.d. of the noise .6

and the level, 0 to 4, is the band of quality in which a response falls; the bands hold about the shares of
HelpSteer's helpfulness, 69 % above 2. One JSON line a response: prompt, response, level.
"""

import argparse
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unskew.features import Encoder, cached

SHARES = (0.05, 0.06, 0.20, 0.40, 0.29)
"""Share of each level, 0 to 4."""

COMPONENTS = 64
NOISE = 0.6

Floats = NDArray[np.float64]


def texts(folder: Path) -> list[tuple[str, str]]:
    """(prompt, response) of every source, each once."""
    found = [*harmless(folder), *pandalm(folder), *llmbar(folder), *winogenerated(folder)]
    return list(dict.fromkeys(found))


def harmless(folder: Path) -> Iterator[tuple[str, str]]:
    """Two dialogues a pair, cut before the last reply."""
    with gzip.open(folder / "hh_harmless" / "dev_even.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            pair = json.loads(line)
            for side in ("chosen", "rejected"):
                prompt, _, reply = pair[side].rpartition("\n\nAssistant:")
                yield prompt.strip(), reply.strip()


def pandalm(folder: Path) -> Iterator[tuple[str, str]]:
    """Two responses an instruction."""
    for row in json.loads((folder / "pandalm" / "testset-v1.json").read_text("utf-8")):
        prompt = f"{row['instruction']}\n\n{row['input']}".strip()
        for name in ("response1", "response2"):
            yield prompt, str(row[name])  # six are JSON booleans


def llmbar(folder: Path) -> Iterator[tuple[str, str]]:
    """Two outputs an input."""
    for path in sorted((folder / "llmbar" / "datasets").glob("*.json")):
        for row in json.loads(path.read_text("utf-8")):
            for name in ("output_1", "output_2"):
                yield row["input"], row[name]


def winogenerated(folder: Path) -> Iterator[tuple[str, str]]:
    """Ten sentences about each of 299 occupations."""
    with (folder / "winogenerated" / "winogenerated_examples.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            sentence = row["sentence_with_blank"].replace("_", row["pronoun_options"][2])
            yield f"Write a sentence about this occupation: {row['occupation']}.", sentence


def quality(X: NDArray[np.float32], seed: int) -> Floats:
    """What the teacher thinks of each response, noise included. Shape [N].

    Args:
        X: the encoder's reading of the responses. Shape [N, D].
        seed: of the weights and the noise.
    """
    chance = np.random.default_rng(seed)
    centred = np.asarray(X, np.float64) - X.mean(0)
    c = np.linalg.svd(centred, full_matrices=False)[0][:, :COMPONENTS] * np.sqrt(len(X))
    w = chance.normal(size=c.shape[1])
    noise = NOISE * chance.normal(size=len(X))
    return np.asarray(c @ w / np.linalg.norm(w) + c[:, 0] * c[:, 1] / 2 + noise)


def banded(quality: Floats) -> NDArray[np.int64]:
    """Level of each response: its band of quality. Shape [N]."""
    return np.digitize(quality, np.quantile(quality, np.cumsum(SHARES)[:-1]))


def main() -> None:
    """Write the data set."""
    here = Path(os.environ.get("UNSKEW_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unskew"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="JSON lines to write")
    parser.add_argument("--encoder", required=True, help="path of a Hugging Face encoder")
    parser.add_argument("--data", type=Path, default=here, help=f"folder of the sources ({here})")
    parser.add_argument("--cache", type=Path, default=home, help=f"where features are kept ({home})")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    prompts, responses = zip(*texts(given.data), strict=True)
    read = Encoder(given.encoder, template="{response}", max_length=128, batch_tokens=2048)
    levels = banded(quality(cached(read, prompts, responses, given.cache), given.seed))
    with given.out.open("w", encoding="utf-8") as out:
        for prompt, response, level in zip(prompts, responses, levels.tolist(), strict=True):
            row = {"prompt": prompt, "response": response, "level": level}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(levels):,} responses to {len(set(prompts)):,} prompts in {given.out}")


if __name__ == "__main__":
    main()
