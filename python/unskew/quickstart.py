"""The main job on a simulated product with known truth: simulate, ingest, audit, train, evaluate, report.

Everything that runs here is what a user would call on a log of their own; only the truth is extra.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unskew import data, events, pipeline, report, simulate
from unskew.data import Store
from unskew.pipeline.arms import LABELS
from unskew.pipeline.material import judge
from unskew.pipeline.run import write_run
from unskew.pipeline.store import open_material
from unskew.rates import Floats
from unskew.reward import RewardModel, Scorer

if TYPE_CHECKING:
    from unskew.pipeline.policy import PolicyConfig

COMPARE = ("classwise_ips", "ips", "gold", "causalrm-ips")
"""Recipes shown beside the naive model and the one that the audit chooses."""

Stage = Callable[[str], AbstractContextManager[None]]


def quickstart(
    directory: "str | Path" = "quickstart",
    *,
    world: "str | simulate.World" = "label",
    responses: int = 16_000,
    seed: int = 0,
    compare: tuple[str, ...] = COMPARE,
    policy: "PolicyConfig | None" = None,
    stage: Stage = lambda _: nullcontext(),
) -> dict[str, Any]:
    """Simulate a product log with known truth and run the whole road on it.

    Writes `log/` (events, gold, oracle), `store/`, `model/`, `run.json` and `report.html`, with `policy` also
    `policies/`. A second run into the same directory draws the same log, finds that the store has read it,
    and trains again with the nuisances that the store keeps; another seed, size or world is refused: a store
    holds one product.

    Args:
        directory: where everything goes.
        world: name of a world of `simulate.WORLDS`, or a world.
        responses: number of responses.
        seed: every random choice follows from it.
        compare: further recipes to train and show.
        policy: train policies as well, with these settings (`train_policies`).
        stage: shows what is under way.

    Returns:
        The run, as in `run.json`.

    Raises:
        ValueError: the directory holds a log drawn otherwise.
    """
    home = Path(directory)
    chosen = simulate.named(world) if isinstance(world, str) else world
    log, store, key = home / "log", home / "store", home / "key"
    with stage("simulating a product log"):
        drawn_before = (log / "gold.jsonl").is_file()
        if drawn_before and not _same(log, chosen, responses, seed):
            raise ValueError(
                f"{home} holds a log drawn with another seed, world or size; choose another directory "
                "(--out), or remove it"
            )
        if not drawn_before:
            simulate.simulate(log, responses, chosen, seed, dirty=DIRTY)
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text(secrets.token_hex(32))
    with stage("reading the log"):
        events.ingest([log / "events"], store, key_file=key)
    published = {"causalrm-ips": {"held_out": True}}  # kinder than its code: not the least training loss
    settings = pipeline.TrainConfig(compare=compare, recipes=published, seed=seed)
    run = pipeline.train(
        store,
        home,
        settings,
        gold=log / "gold.jsonl",
        truth=truth_of(log, Store.open(store)),
        title=f"Quickstart: a simulated product, feedback selected by {SELECTED[chosen.selection]}",
        stage=stage,
    )
    if policy is not None:
        run["policy"] = train_policies(home, run["estimator"], policy, settings, stage=stage)
        write_run(run, home)
    with stage("writing the report"):
        report.write(home, home / "report.html")
    return run


def train_policies(
    home: "str | Path",
    ours: str,
    policy: "PolicyConfig",
    settings: pipeline.TrainConfig,
    *,
    baselines: Sequence[str] = (),
    stage: Stage = lambda _: nullcontext(),
) -> dict[str, Any]:
    """Policies paid by the naive reward, by ours, by further recipes, and by the true quality of their texts.

    All start from one small model that learned to write as the log does. They go to `policies/`.

    Args:
        home: directory of a quickstart that has trained.
        ours: the recipe of its model.
        policy: settings of the policies.
        settings: settings of the reward models.
        baselines: further recipes.
        stage: shows what is under way.

    Returns:
        As `pipeline.policy.train_policies`, as plain data.
    """
    from unskew.pipeline import policy as stages

    home = Path(home)
    store = Store.open(home / "store")
    with stage("a model that writes like the log"):
        start = stages.imitation(*data.texts(store, data.examples(store).row), policy)
    with stage("rewards of the policies"):
        material, _ = open_material(store, settings)
        material = replace(material, kinds=judge(material).kinds)
        models: dict[str, Scorer] = {**stages.heads(material, ("naive", *baselines), settings)}
        models[ours] = RewardModel.load(home / "model")
    roles = {"naive": "naive", ours: "ours"}
    rewards = [
        stages.Reward(name, LABELS.get(name, name), roles.get(name, "baseline"), model)
        for name, model in models.items()
    ]
    rewards.append(stages.Reward("true", "true: what only the simulator knows", "ideal", true_quality))
    return stages.train_policies(
        start, rewards, home / "policies", gold=true_quality, liked=probability, config=policy, stage=stage
    )


def true_quality(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """True log-odds that a completion is liked; what only a simulator knows."""
    return [simulate.quality(*both) for both in zip(prompts, completions, strict=True)]


def probability(quality: Floats) -> Floats:
    """True P(liked) = sigmoid(quality)."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * quality)))


DIRTY = 25
"""Broken lines in the simulated log."""

SELECTED = {
    "features": "what the response says",
    "label": "whether it is liked",
    "u": "strong feelings",
    "random": "chance",
}


def _same(log: Path, world: simulate.World, responses: int, seed: int) -> bool:
    """Whether a log was drawn from this world with this seed."""
    table = simulate.oracle(log)
    drawn = json.loads(table.schema.metadata[b"world"])["seed"]
    return bool(drawn == seed and simulate.oracle_world(log) == world and table.num_rows == responses)


def truth_of(log: "str | Path", store: Store) -> pipeline.Truth:
    """The oracle of a simulated log in the order of the live rows of a store.

    Args:
        log: directory written by `simulate`.
        store: the store that read it.
    """
    table, world = simulate.oracle(log), simulate.oracle_world(log)
    at = {name: number for number, name in enumerate(table["response_id"].to_pylist())}
    order = np.array([at[name] for name in data.examples(store).response_id])

    def column(name: str) -> Floats:
        return np.asarray(np.asarray(table[name].to_numpy(), np.float64)[order])

    rates: dict[tuple[str, str], float] = {}
    for name in simulate.KINDS:
        kind = getattr(world, name)
        if isinstance(kind, simulate.TwoSided):
            rates |= {(name, rate): float(column(f"{rate}_{name}").mean()) for rate in ("fnr", "fpr")}
            words = ("P(answered|liked)", "P(answered|not)")
        else:
            words = ("P(happened|liked)", "P(happened|not)")
        offered, liked = column(f"p_{name}") > 0, column("probability")
        for word, side, weight in zip(words, ("p1", "p0"), (liked, 1 - liked), strict=True):
            rate = column(f"{side}_{name}")
            rates[name, word] = float((rate * weight)[offered].sum() / weight[offered].sum())
    propensity = {name: column(f"p_{name}") for name in simulate.KINDS}
    return pipeline.Truth(column("label"), rates, propensity)
