"""The published protocol, played by the published methods and by ours.

    python benches/bench_protocol.py [--seeds 10] [--jobs 2] [--json RUNS] [--cells 0 3] [--methods naive ...]
    python benches/bench_protocol.py --untuned --seeds 2 --rows 4000     a quick look
    python benches/bench_protocol.py --encoder MODEL --texts FOLDER      real text instead of normal features

`protocol_worlds` draws the logs, `baselines` are the published methods. Every method has six settings and
chooses among them by what it sees on held-out prompts, once for each selection, on seed 0 at alpha .5, fnr
.2, fpr .1; the seeds measured are 1 and up. Test labels are clean. Arms beside the baselines:

    ideal                the naive model on true labels of every row
    f_correction_gold    F-correction with the error rates of 600 gold labels
    gold_600             600 random gold labels alone
    ips_gold, dr_gold    corrected targets, Brier loss, error rates from 600 gold labels; evidence imputes
    ours_0, ours_600     evidence, and a head on its column d; no gold, and 600 random gold labels inside
    auto_0               what `auto` trains without gold when a person goes on in spite of the audit: where it
                         allows nothing, `cautious`

Corrected targets and F-correction spend their 600 on 200 random rows and 200 of each record, which is what
error rates need; evidence needs none from outside, and learns more from rows drawn at random. Runs are
appended to RUNS as they end, and what is there already is not run again. Comparisons: paired t over seeds,
two-sided, Holm over cells.
"""

import argparse
import gzip
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.baselines import BASELINES, GRIDS, Logged, Model, Tuning
from benches.protocol_tables import metrics, report
from benches.protocol_worlds import CELLS, Cell, Drawn, Gold, World, draw, gold_of

from unskew import audit, estimators, evidence, noise
from unskew.data import RANDOM, Examples
from unskew.estimators import Columns, Mixture
from unskew.events import KIND
from unskew.evidence import Evidence
from unskew.features import Encoder, cached
from unskew.pipeline import TrainConfig
from unskew.pipeline.auto import choose
from unskew.propensity import Propensity, logged
from unskew.reward import fit_head

THUMBS = KIND["thumbs"]
HEADS = (
    Tuning(knob=0),
    *(Tuning(lr, decay, 64) for lr in (1e-3, 3e-3) for decay in (0.1, 1.0)),
    Tuning(1e-3, 5, 64),
)
"""Six settings of a head of ours: linear, which tunes its own decay, and MLPs of 64 units (step, decay)."""

Trained = Callable[[Tuning], Model]


def ours(log: Logged, gold: Gold | None) -> Evidence:
    """Record and silence as one number a row: the one kind was offered everywhere, its window is closed."""
    return evidence.fit(
        log.X,
        (THUMBS,),
        np.ones((len(log.X), 1), bool),
        log.observed[:, None],
        (log.observed & (log.y == 1))[:, None],
        log.group,
        gold=None if gold is None else gold.label,
        random=None if gold is None else gold.design == RANDOM,
    )


def head(log: Logged, columns: Columns | Mixture, loss: str) -> Trained:
    """A head of ours on columns, for each setting."""

    def fit(tuning: Tuning) -> Model:
        options: dict[str, Any] = {"head": "linear"}
        if tuning.knob:
            options = {
                "head": "mlp",
                "hidden": (int(tuning.knob),),
                "lr": tuning.lr,
                "decay": tuning.weight_decay,
            }
        found = fit_head(log.X, columns, groups=log.group, loss=loss, seed=log.seed, **options)
        return Model(lambda X: 0.5 * (1 + np.tanh(0.5 * found.head(X))), found.held_out)

    return fit


class Arms:
    """Every arm of one log; what several need is made once.

    Args:
        drawn: the log.
    """

    def __init__(self, drawn: Drawn) -> None:
        self.drawn, self.log = drawn, drawn.log
        self.gold, self.random = gold_of(drawn, 200, 400), gold_of(drawn, 600, 0)
        self._found: dict[int, Evidence] = {}
        self._judged: dict[int, audit.Verdict] = {}

    def evidence(self, gold: Gold | None) -> Evidence:
        """That of one way to spend the labels, fitted once."""
        if id(gold) not in self._found:
            self._found[id(gold)] = ours(self.log, gold)
        return self._found[id(gold)]

    def verdict(self, gold: Gold | None) -> audit.Verdict:
        """What the audit says of one way to spend the labels.

        From columns in place of a store; the propensities are those of every arm, which saw the rows on which
        they are judged.
        """
        if id(gold) not in self._judged:
            log, fit = self.log, self.evidence(gold)
            p: Propensity = replace(logged(log.p, log.observed, positive=log.y), source="features")
            self._judged[id(gold)] = audit.audit(
                examples_of(log, gold),
                propensities={"thumbs": p},
                posterior=fit.posterior,
                quality=fit.q,
                warnings=fit.warnings,
            )
        return self._judged[id(gold)]

    def auto(self) -> str:
        """The recipe that `auto` trains without gold, whatever the audit says."""
        return choose(TrainConfig(accept_red="a bench"), self.verdict(None))

    def rates(self) -> noise.Noise:
        """Error rates from gold. Raises NoiseRefused, a ValueError, when nothing can be divided by them."""
        log, gold = self.log, self.gold
        return noise.from_gold(
            log.y, gold.label, observed=log.observed, design=gold.design, prob=gold.prob
        ).checked()

    def named(self, name: str) -> Trained:
        """The arm of a name, ready to be trained with a setting.

        Raises:
            ValueError: the arm refuses this log.
        """
        log = self.log
        if name in BASELINES:
            return partial(BASELINES[name], log)
        if name == "ideal":
            every = np.ones(len(log.X), bool)
            return partial(BASELINES["naive"], replace(log, y=self.drawn.truth.astype(float), observed=every))
        if name == "gold_600":
            weight = (self.random.design == RANDOM).astype(float)
            return head(log, Columns(weight, weight * np.nan_to_num(self.random.label), 0 * weight), "brier")
        if name == "auto_0":
            if (chosen := self.auto()) == "cautious":
                weight = estimators.silence_weight(log.observed)
                return head(log, estimators.cautious(log.y, log.observed, weight), "brier")
            name = {"evidence": "ours_0"}[chosen]
        if name.startswith("ours"):
            return head(log, self.evidence(self.random if name == "ours_600" else None).columns(), "mixture")
        rate = self.rates()
        if name == "f_correction_gold":
            return partial(BASELINES["f_correction"], replace(log, fnr=rate.fnr, fpr=rate.fpr))
        if name == "ips_gold":
            return head(log, estimators.snips(log.y, log.observed, log.p, rate.fnr, rate.fpr), "brier")
        q = self.evidence(self.gold).q
        made = estimators.doubly_robust(log.y, log.observed, log.p, q, rate.fnr, rate.fpr)
        return head(log, made, "brier")

    def colours(self) -> dict[str, str]:
        """What the audit says of evidence without gold, of evidence, IPS and DR with it."""
        found = {}
        for size, gold in ((0, None), (600, self.random)):
            judged = self.verdict(gold).estimators
            for family in ("evidence", *(("ips", "doubly_robust") if size else ())):
                found[f"{family}_{size}"] = str(judged.get(family, "none"))
        return found


ARMS = (
    "ideal",
    *BASELINES,
    "f_correction_gold",
    "gold_600",
    "ips_gold",
    "dr_gold",
    "ours_0",
    "ours_600",
    "auto_0",
)
GRID = {
    name: GRIDS.get({"ideal": "naive", "f_correction_gold": "f_correction"}.get(name, name), HEADS)
    for name in ARMS
}


def examples_of(log: Logged, gold: Gold | None) -> Examples:
    """A log as the audit reads it."""
    n = len(log.X)
    nan, every = np.full(n, np.nan), np.ones((n, 1), bool)
    return Examples(
        row=np.arange(n),
        response_id=[str(row) for row in range(n)],
        prompt_hash=log.group.astype(np.uint64),
        group=log.group.astype(np.int64),
        user=np.zeros(n, np.uint64),
        kinds=(THUMBS,),
        offered=every,
        closed=every,
        observed=log.observed[:, None],
        positive=(log.observed & (log.y == 1))[:, None],
        cell=np.zeros(n, np.uint32),
        policy_prob=nan,
        gold=nan if gold is None else gold.label,
        gold_design=np.zeros(n, np.int8) if gold is None else gold.design,
        gold_prob=nan if gold is None else gold.prob,
    )


# --- running -----------------------------------------------------------------------------------------------


def trained(arms: "Arms", name: str, tuning: Tuning) -> Model | str:
    """The model of an arm, or why it refuses."""
    try:
        return arms.named(name)(tuning)
    except ValueError as error:
        return str(error)


def tune(task: tuple[World, Cell, str]) -> dict[str, Any]:
    """The settings that an arm chooses on seed 0."""
    world, cell, name = task
    start()
    arms = Arms(draw(world, cell, 0))
    models = [trained(arms, name, tuning) for tuning in GRID[name]]
    values = [np.inf if isinstance(model, str) else model.held_out for model in models]
    return {
        "tuned": name,
        "cell": str(cell),
        "values": values,
        "setting": asdict(GRID[name][int(np.argmin(values))]),
    }


def measure(task: tuple[World, Cell, int, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Metrics of every arm on clean labels of other prompts, or why it refuses; what the audit says."""
    world, cell, seed, settings = task
    start()
    drawn = draw(world, cell, seed)
    arms, found = Arms(drawn), {}
    for name, setting in settings.items():
        model = trained(arms, name, Tuning(**setting))
        found[name] = {"refused": model} if isinstance(model, str) else metrics(model(drawn.X), drawn.label)
    seen = {
        "observed": int(drawn.log.observed.sum()),
        "disliked": int((drawn.log.observed & ~drawn.truth).sum()),
    }
    return {"cell": str(cell), "seed": seed, "arms": found, "audit": arms.colours(), **seen}


def start() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")


def embed(encoder: str, folder: Path, cache: Path, most: int) -> Path:
    """Embeddings of every turn of the dialogues in a folder, as one file; a dialogue is a prompt."""
    turns: dict[str, int] = {}
    with gzip.open(folder / "dev_even.jsonl.gz", "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            for side in json.loads(line).values():
                for turn in side.replace("\n\nAssistant:", "\n\nHuman:").split("\n\nHuman:"):
                    if turn.strip():
                        turns.setdefault(turn.strip(), number)
    kept = list(turns)[:most]
    encode = Encoder(encoder, template="{response}", max_length=64)
    X = cached(encode, [""] * len(kept), kept, cache)
    out = cache / f"protocol-{len(kept)}.npz"
    np.savez(out, X=X, group=np.array([turns[turn] for turn in kept]))
    return out


def main() -> None:
    """Tune, measure, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--rows", type=int, default=8000, help="rows to learn from; a fifth of the prompts is held out"
    )
    parser.add_argument("--test", type=int, default=4000)
    parser.add_argument("--methods", nargs="*", default=list(ARMS), choices=ARMS, metavar="METHOD")
    parser.add_argument(
        "--cells", nargs="*", type=int, default=list(range(len(CELLS))), help="numbers of cells"
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a thread each")
    parser.add_argument(
        "--json", type=Path, help="JSON lines of all runs; read first, so that a run can be resumed"
    )
    parser.add_argument(
        "--untuned", action="store_true", help="the third setting of each grid, linear heads of ours"
    )
    parser.add_argument("--encoder", help="directory of a sentence encoder")
    parser.add_argument("--texts", type=Path, help="folder of dev_even.jsonl.gz ($UNSKEW_DATA/hh_harmless)")
    parser.add_argument(
        "--turns", type=int, default=20_000, help="texts at most; 70 %% of them are learned from"
    )
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "unskew")
    given = parser.parse_args()
    began, names = time.time(), list(given.methods)
    cells = [CELLS[number] for number in given.cells]
    if (given.encoder is None) != (given.texts is None):
        parser.error("--encoder and --texts go together")
    kept = None if given.encoder is None else str(embed(given.encoder, given.texts, given.cache, given.turns))
    world = World(given.rows, given.test, kept)
    done: list[dict[str, Any]] = []
    if given.json and given.json.exists():
        done = [json.loads(line) for line in given.json.read_text("utf-8").splitlines()]

    def keep(found: dict[str, Any]) -> None:
        done.append(found)
        if given.json:
            with given.json.open("a", encoding="utf-8") as out:
                out.write(json.dumps(found) + "\n")

    first = {cell: Cell(0.2, 0.1, cell.selection, 0.5) for cell in cells}
    if given.untuned:
        done += [
            {"tuned": name, "cell": str(cell), "setting": asdict(GRID[name][0 if GRID[name] is HEADS else 2])}
            for cell in first.values()
            for name in names
        ]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        known = {(found["cell"], found["tuned"]) for found in done if "tuned" in found}
        wanted = [(world, cell, name) for cell in dict.fromkeys(first.values()) for name in names]
        for found in pool.map(tune, [t for t in wanted if (str(t[1]), t[2]) not in known]):
            keep(found)
        settings: dict[str, dict[str, Any]] = {}
        for found in done:
            if "tuned" in found:
                settings.setdefault(found["cell"], {})[found["tuned"]] = found["setting"]
        ran = {(found["cell"], found["seed"]) for found in done if "seed" in found}
        tasks = [
            (world, cell, seed, {name: settings[str(first[cell])][name] for name in names})
            for seed in range(1, given.seeds + 1)
            for cell in cells
            if (str(cell), seed) not in ran
        ]
        for found in pool.map(measure, tasks):
            keep(found)
            print(found["cell"], found["seed"], f"{time.time() - began:.0f} s", file=sys.stderr)
    runs = [found for found in done if "seed" in found and 1 <= found["seed"] <= given.seeds]
    what = f"real text, at most {given.turns:,} turns" if kept else f"normal features, {given.rows:,} rows"
    print(
        f"{what}, {given.seeds} seeds; "
        f"{os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}.\n\n"
        f"{report(runs, names, [str(cell) for cell in cells])}"
    )


if __name__ == "__main__":
    main()
