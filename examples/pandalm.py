"""How often one annotator goes against the majority, from 200 of 890 judged pairs.

    python examples/pandalm.py [DATA]

Three people say which of two responses is better; response 1 is slot A. The majority stands for the truth,
one annotator for the feedback of a product. Pairs on which either calls a tie are left out. (Six responses
are JSON booleans instead of text; the votes about them are as good as the others.) The flip rates

    fnr = P(annotator says B | majority says A)        fpr = P(annotator says A | majority says B)

are estimated from the majority on 200 pairs drawn at random, 20 times. A 95 % interval should contain the
rate of all pairs in all but one or two of the twenty.
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unskew.noise import Noise, from_gold

ANNOTATORS = ("annotator1", "annotator2", "annotator3")
TIE, A = 0, 1
DRAWS = 20
GOLD = 200


@dataclass(frozen=True)
class Result:
    """Flip rates of one annotator.

    Args:
        pairs: decisive pairs.
        truth: fnr and fpr of all of them.
        draws: the estimate of each draw.
    """

    pairs: int
    truth: dict[str, float]
    draws: list[Noise]

    def covered(self, rate: str) -> int:
        """Draws whose 95 % interval of the rate contains the truth."""
        intervals = [draw.interval[rate] for draw in self.draws]
        return sum(low <= self.truth[rate] <= high for low, high in intervals)


def votes(folder: Path) -> NDArray[np.int64]:
    """0 tie, 1 or 2 the better response. Shape [pairs, annotators]."""
    rows = json.loads((folder / "testset-v1.json").read_text(encoding="utf-8"))
    return np.array([[row[name] for name in ANNOTATORS] for row in rows])


def majority(cast: NDArray[np.int64]) -> NDArray[np.int64]:
    """What at least two of three say; a tie when all differ."""
    ahead = [(cast == choice).sum(axis=1) >= 2 for choice in (1, 2)]
    return np.select(ahead, [1, 2], TIE)


def run(folder: Path, annotator: int = 0, draws: int = DRAWS) -> Result:
    """Estimate the rates of one annotator from each draw of gold rows."""
    cast = votes(folder)
    vote, truth = cast[:, annotator], majority(cast)
    decisive = (vote != TIE) & (truth != TIE)
    recorded, liked = vote[decisive] == A, truth[decisive] == A
    rates = {"fnr": float((~recorded[liked]).mean()), "fpr": float(recorded[~liked].mean())}
    found = []
    for seed in range(draws):
        drawn = np.random.default_rng(seed).permutation(len(liked)) < GOLD
        found.append(from_gold(recorded, np.where(drawn, liked, np.nan), kind=ANNOTATORS[annotator]))
    return Result(len(liked), rates, found)


def main() -> None:
    """Print the table."""
    home = Path(os.environ.get("UNSKEW_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=home / "pandalm", help="with testset-v1.json")
    folder = parser.parse_args().data
    print(f"{DRAWS} draws of {GOLD} gold pairs\n")
    print(f"{'':<12}{'pairs':>6}{'rate':>6}{'all':>8}{'mean':>8}{'covered':>9}   first interval")
    for annotator, name in enumerate(ANNOTATORS):
        result = run(folder, annotator)
        for rate, truth in result.truth.items():
            mean = np.mean([getattr(draw, rate) for draw in result.draws])
            low, high = result.draws[0].interval[rate]
            line = f"{name:<12}{result.pairs:>6}{rate:>6}{truth:>8.4f}{mean:>8.4f}"
            print(line + f"{result.covered(rate):>6}/{DRAWS}   {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
