"""The road: from a store to a verdict, a reward model, numbers, and pairs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from unskew import audit, data, evaluate
from unskew.data import Store
from unskew.estimators import Columns, Mixture
from unskew.pipeline.arms import Arm, choose, measured, recipe_of, train_arm, weights
from unskew.pipeline.config import TrainConfig, featurizer
from unskew.pipeline.material import Material, Stage, judge
from unskew.pipeline.recipes import UNSAFE, Recipe, Target, pairs
from unskew.pipeline.run import describe, plain, recovered, write_run
from unskew.pipeline.store import keep_gold, open_material, quiet
from unskew.rates import Bools, Floats, Ints
from unskew.reward import RewardModel, Scorer

BOOTSTRAP = 200
"""Replications behind the intervals of a table."""

CHUNK = 4096
"""Rows scored at a time."""


def audit_store(
    store: "str | Path",
    *,
    gold: "str | Path | None" = None,
    settings: TrainConfig = TrainConfig(),  # noqa: B008 (frozen)
    stage: Stage = quiet,
) -> dict[str, Any]:
    """Estimate the nuisances of a log, judge it, and keep both in the store.

    Args:
        store: store directory.
        gold: gold labels to check and keep first.
        settings: features, known rates and propensities, seed.
        stage: shows what is under way.

    Returns:
        The verdict (see `audit.Verdict.to_dict`), with `nuisances`, `audit` (ids in the store), and
        `gold_rejected`: a sentence for each gold line that could not be used.

    Raises:
        FileNotFoundError: no store, or no gold file.
        ValueError: the store is empty, or no gold line can be used.
    """
    opened = Store.open(store)
    rejected = keep_gold(opened, gold)[1] if gold is not None else []
    material, nuisances = open_material(opened, settings, stage)
    found = judge(material)
    document = {**found.to_dict(), "nuisances": nuisances}
    identity = opened.attach("audit", "audit", plain(document))
    return cast(dict[str, Any], plain({**document, "audit": identity, "gold_rejected": rejected}))


@dataclass(frozen=True)
class Truth:
    """What only a simulator knows, for arms named `ideal` or `oracle` and for evaluation.

    Args:
        label: true label of each live row, NaN where unknown. Shape [N].
        rates: true rates by (kind, parameter).
        propensity: P(feedback | x, true label) by kind. Shape [N] each.
    """

    label: Floats
    rates: Mapping[tuple[str, str], float]
    propensity: Mapping[str, Floats]


def train(
    store: "str | Path",
    directory: "str | Path",
    settings: TrainConfig = TrainConfig(),  # noqa: B008 (frozen)
    *,
    gold: "str | Path | None" = None,
    truth: "Truth | None" = None,
    title: str = "Reward model from a feedback log",
    bootstrap: int = BOOTSTRAP,
    stage: Stage = quiet,
) -> dict[str, Any]:
    """Audit a log, train what the audit allows beside the naive model, measure both, and keep everything.

    Writes `model/` (the reward model) and `run.json` to the directory; nuisances, columns and verdict to the
    store. Models are measured out of fold: by fits that saw neither the prompt nor its gold label.

    Args:
        store: store directory.
        directory: of the run.
        settings: estimator, features, head and more.
        gold: gold labels to check and keep first.
        truth: of a simulated log; models are then measured against it, and an `ideal` arm is added.
        title: of the report.
        bootstrap: replications behind the intervals.
        stage: shows what is under way.

    Returns:
        The run, as in `run.json`.

    Raises:
        FileNotFoundError: no store, or no gold file.
        ValueError: an unknown estimator, an empty store, or columns that cannot be trained on.
        Refused: the audit refuses, and `accept_red` is not given.
        NumericError: a model became non-finite.
    """
    opened, home = Store.open(store), Path(directory)
    if settings.estimator != "auto":
        recipe_of(settings.estimator)
    if gold is not None:
        keep_gold(opened, gold)
    material, nuisances = open_material(opened, settings, stage)
    with stage("audit"):
        verdict = judge(material)
        opened.attach("audit", "audit", plain({**verdict.to_dict(), "nuisances": nuisances}))
    name = choose(settings, verdict)
    material = replace(material, kinds=verdict.kinds)
    arms: list[Arm] = []
    for recipe in dict.fromkeys(("naive", name, *settings.compare)):
        with stage(f"training: {recipe.replace('_', ' ')}"):
            arms.append(train_arm(material, recipe, settings, role=_role(recipe, name)))
    if truth is not None:
        with stage("training: ideal"):
            ideal = _ideal(truth.label)
            arms.append(train_arm(material, "ideal", settings, recipe=ideal, role="ideal"))
            arms[-1] = replace(arms[-1], label="ideal: every true label")
    with stage("measuring"):
        known = None if truth is None else truth.label
        found = [measured(arm, material.examples, known, bootstrap) for arm in arms]
    ours = next(arm for arm in arms if arm.name == name)
    target = _attach_target(opened, ours, nuisances)
    run = {
        **describe(
            title,
            opened,
            material,
            verdict,
            settings,
            nuisances=nuisances,
            truth=None if truth is None else dict(truth.rates),
        ),
        "estimator": name,
        "weights": [weights(arm) for arm in arms if arm.role != "ideal"],
        "arms": found,
        "truth": "gold" if truth is None else "oracle",
        "recovered": recovered(found),
    }
    if truth is None and np.isnan(material.examples.gold).all():
        run["truth"] = None
    run["provenance"]["target"] = target
    run = cast(dict[str, Any], plain(run))
    card = {
        key: run[key]
        for key in ("estimator", "estimand", "population", "verdict", "limits", "provenance", "noise")
    }
    card["scale"] = "log-odds that a user likes the response"
    with stage("saving"):
        RewardModel(featurizer(settings.features), ours.fit.head, card=card).save(home / "model")
        write_run(run, home)
    return run


def _role(recipe: str, ours: str) -> str | None:
    """The role of an arm: all but the chosen one are there for comparison; None when the name decides."""
    return None if recipe in (ours, "naive", *UNSAFE) else "baseline"


def _ideal(label: Floats) -> Recipe:
    """Complete, clean labels: what no log has."""

    def recipe(m: Material) -> Target:
        a = (~np.isnan(label)).astype(np.float64)
        return Target(Columns(a, a * np.nan_to_num(label), 0 * a), "brier")

    return recipe


def _attach_target(store: Store, arm: Arm, nuisances: str) -> str:
    """Keep the columns that a model was trained on."""
    import pyarrow as pa

    columns = arm.target.columns
    names = ("w", "d", "m") if isinstance(columns, Mixture) else ("a", "b", "m")
    table = {name: getattr(columns, name) for name in names}
    if arm.target.pairs is not None:
        table |= {"row_a": arm.target.pairs[0], "row_b": arm.target.pairs[1]}
    facts = {
        "estimator": arm.name,
        "loss": arm.target.loss,
        "nuisances": nuisances,
        "counts": vars(columns.counts),
    }
    return store.attach("targets", arm.name, facts, pa.table(table))


def evaluate_model(
    model: "str | Path", store: "str | Path", *, gold: "str | Path | None" = None
) -> dict[str, Any]:
    """Measure a reward model on the gold labels of a store, beside the recorded feedback taken as it is.

    A model that was trained on these gold labels, or on their prompts, looks better here than it is: for such
    a model read the out-of-fold figures that `train` wrote.

    Args:
        model: reward model directory.
        store: store directory.
        gold: gold labels instead of those in the store; they are not kept.

    Raises:
        FileNotFoundError: no model, store or gold file.
        ValueError: no gold label.
    """
    opened, loaded = Store.open(store), RewardModel.load(model)
    table = data.read_gold(gold, opened)[0] if gold is not None else None
    rows = data.examples(opened, table)
    known = np.flatnonzero(~np.isnan(rows.gold))
    if not len(known):
        raise ValueError(
            f"{opened.path} has no gold labels; pass --gold FILE, or label some (`unskew audit --gold-plan`)"
        )
    prompts, responses = data.texts(opened, rows.row[known])
    p = loaded.probability(prompts, responses)
    arms = [
        {
            "name": "model",
            "label": f"{loaded.card.get('estimator', 'model')} on {len(known)} gold labels",
            "role": "ours",
            "metrics": evaluate.against_gold(
                p,
                rows.gold[known],
                rows.gold_design[known],
                rows.gold_prob[known],
                cluster=rows.prompt_hash[known],
            ),
        }
    ]
    usable = rows.offered & rows.closed
    for k, kind in enumerate(rows.kinds):
        seen = rows.observed[:, k] & usable[:, k]
        if kind.two_sided and kind.name != "choice" and seen.any():
            said = data.texts(opened, rows.row[seen])
            metrics = evaluate.metrics(
                loaded.probability(*said),
                rows.positive[seen, k].astype(np.float64),
                cluster=rows.prompt_hash[seen],
            )
            label = f"against {int(seen.sum()):,} {kind.name} as recorded (who answers, flips included)"
            arms.append({"name": kind.name, "label": label, "role": "naive", "metrics": metrics})
    return cast(dict[str, Any], plain({"title": f"{model} measured", "arms": arms, "truth": "gold"}))


def score_file(model: "str | Path", file: "str | Path") -> Iterator[str]:
    """Rows of a JSON-lines file with `reward` (log-odds of being liked) and `probability` added.

    Args:
        model: reward model directory.
        file: JSON lines with `prompt` (text) or `messages`, and `response` or `completion` (text).

    Raises:
        FileNotFoundError: no model or file.
        ValueError: a line is not such an object; says which.
    """
    loaded = RewardModel.load(model)
    batch: list[tuple[dict[str, Any], str, str]] = []
    with Path(file).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                batch.append(_row(line, f"{file} line {number}"))
            if len(batch) == CHUNK:
                yield from _scored(loaded, batch)
                batch.clear()
    if batch:
        yield from _scored(loaded, batch)


def _row(line: str, where: str) -> tuple[dict[str, Any], str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}); one object a line is needed") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: found a JSON {type(row).__name__}; an object is needed")
    prompt, response = row.get("prompt"), row.get("response", row.get("completion"))
    if prompt is None and isinstance(row.get("messages"), list):
        prompt = "\n".join(str(turn.get("content", "")) for turn in row["messages"] if isinstance(turn, dict))
    for name, text in (("prompt", prompt), ("response", response)):
        if not isinstance(text, str):
            raise ValueError(f"{where}: {name} is {text!r}; text is needed in prompt and response")
    return row, cast(str, prompt), cast(str, response)


def _scored(model: Scorer, batch: "list[tuple[dict[str, Any], str, str]]") -> Iterator[str]:
    rows, prompts, responses = zip(*batch, strict=True)
    reward = model.score(prompts, responses)
    for row, value in zip(rows, reward.tolist(), strict=True):
        probability = 0.5 * (1 + float(np.tanh(0.5 * value)))
        yield json.dumps({**row, "reward": value, "probability": probability}, ensure_ascii=False)


def write_gold_plan(store: "str | Path", n: int, file: "str | Path", *, seed: int = 0) -> dict[str, Any]:
    """Write the rows worth a gold label as a template to fill in.

    Args:
        store: store directory.
        n: number of labels.
        file: JSON lines, one row each, `label` null.
        seed: seed of the choice.

    Returns:
        rows, rows by stratum, and the expected widths of the intervals.

    Raises:
        FileNotFoundError: no store.
        ValueError: more labels than there are rows to label.
    """
    opened = Store.open(store)
    rows = data.examples(opened)
    plan = audit.gold_plan(rows, n, seed)
    lines = plan.lines(*data.texts(opened, rows.row[plan.index]))
    Path(file).write_text("\n".join(lines) + "\n", "utf-8")
    strata = {name: plan.stratum.count(name) for name in dict.fromkeys(plan.stratum)}
    return {"rows": len(plan), "strata": strata, "interval width": plan.widths}


@dataclass(frozen=True)
class Pairs:
    """Pairs of responses shown together, with debiased targets.

    Args:
        rows: impression rows of the items. Shape [N].
        side_a, side_b: items in slots A and B. Shape [P].
        a, target: weight, and target of "A is better". Shape [P].
        observed: items with any two-sided feedback. Shape [N].
    """

    rows: Ints
    side_a: Ints
    side_b: Ints
    a: Floats
    target: Floats
    observed: Bools


def pair_targets(store: "str | Path | Store", settings: TrainConfig = TrainConfig()) -> Pairs:  # noqa: B008
    """Pairs of the responses shown together, with item-wise doubly robust targets: the recipe `pairs`.

    Uses the nuisances of the last audit when it had the same settings, else estimates them.

    Raises:
        Refused: the audit refuses doubly robust targets and `accept_red` is not given, or what they need is
            unknown.
        ValueError: no response was shown beside another.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    material, _ = open_material(opened, settings)
    verdict = judge(material)
    choose(replace(settings, estimator="pairs"), verdict)
    rows = material.examples
    target = pairs(replace(material, kinds=verdict.kinds))
    columns, (ahead, behind) = cast(Columns, target.columns), cast(tuple[Ints, Ints], target.pairs)
    if not len(ahead):
        raise ValueError(
            "no response of this store was shown beside another: log `request` on impressions, so that "
            "candidates of one request can be paired"
        )
    two = [k for k, kind in enumerate(rows.kinds) if kind.two_sided]
    seen = np.asarray(rows.observed[:, two].any(1))
    return Pairs(rows.row, ahead, behind, columns.a, columns.b / columns.a, seen)
