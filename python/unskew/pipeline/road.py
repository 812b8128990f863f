"""The road: from a store to a verdict, a reward model, numbers, and pairs."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from unskew import audit, data
from unskew.audit import Verdict
from unskew.data import Choices, Store
from unskew.estimators import Columns
from unskew.pipeline.arms import Arm, measured, measured_on_pairs, train_arm, weights
from unskew.pipeline.assess import assess
from unskew.pipeline.auto import AT_ITS_WORD, choose, decisions
from unskew.pipeline.config import Refused, TrainConfig, featurizer
from unskew.pipeline.ground import of_pairs, of_responses
from unskew.pipeline.material import Material, Stage, judge
from unskew.pipeline.notes import notes
from unskew.pipeline.recipes import NAIVE, PAIRWISE, UNCORRECTED, UNSAFE, Recipe, Target, pairs, recipe_of
from unskew.pipeline.refute import refute
from unskew.pipeline.run import SCALE, Unit, describe, plain, recovered, write_run
from unskew.pipeline.store import keep_gold, open_material, quiet
from unskew.pipeline.transformer import columns_of, fine_tune
from unskew.rates import Bools, Floats, Ints
from unskew.reward import RewardModel

ON_CARD = ("estimator", "unit", "estimand", "population", "verdict", "limits", "provenance", "noise")
"""What a model's card says of the run."""

BOOTSTRAP = 200
"""Replications behind the intervals of a table."""


def audit_store(
    store: "str | Path",
    *,
    gold: "str | Path | None" = None,
    settings: TrainConfig = TrainConfig(),  # noqa: B008 (frozen)
    refutations: bool = False,
    control: str | None = None,
    stage: Stage = quiet,
) -> dict[str, Any]:
    """Estimate the nuisances of a log, judge it, and keep both in the store.

    Args:
        store: store directory.
        gold: gold labels to check and keep first.
        settings: features, known rates and propensities, seed.
        refutations: try to refute the analysis as well (`refute`); the next `train` shows them, too.
        control: kind of feedback that has nothing to do with quality, for one of them.
        stage: shows what is under way.

    Returns:
        The verdict (see `audit.Verdict.to_dict`), with `notes` (what counts say beside it), `nuisances`,
        `audit` (ids in the store), `gold_rejected`: a sentence for each gold line that could not be used,
        and, if asked for, `refutations`, or `not_refuted`: why there are none.

    Raises:
        FileNotFoundError: no store, or no gold file.
        ValueError: the store is empty, no gold line can be used, or the log has no such control.
    """
    opened = Store.open(store)
    rejected = keep_gold(opened, gold)[1] if gold is not None else []
    material, nuisances = open_material(opened, settings, stage)
    found = judge(material)
    said = notes(opened, material.as_logged().examples)
    document = {**found.to_dict(), "notes": said, "nuisances": nuisances}
    if refutations:
        with stage("trying to refute it"):
            try:
                tried = refute(material, control=control, seed=settings.seed)
                document["refutations"] = [attempt.to_dict() for attempt in tried]
            except Refused as why:
                document["not_refuted"] = str(why)
    identity = opened.attach("audit", "audit", plain(document))
    return cast(dict[str, Any], plain({**document, "audit": identity, "gold_rejected": rejected}))


def _refuted(store: Store, nuisances: str) -> dict[str, Any]:
    """`refutations` of the last audit, when it is of these nuisances and has any."""
    kept = store.load("audit", "audit", current=True)
    if kept is None or kept[1].get("nuisances") != nuisances or "refutations" not in kept[1]:
        return {}
    return {"refutations": kept[1]["refutations"]}


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
    quiet_bars: bool = True,
) -> dict[str, Any]:
    """Audit a log, train what the audit allows beside the naive model, measure both, and keep everything.

    Writes `model/` (the reward model) and `run.json` to the directory; nuisances, columns and verdict to the
    store. Models are measured out of fold: by fits that saw neither the prompt nor its gold label. A model of
    choices is measured on gold pairs.

    Args:
        store: store directory.
        directory: of the run.
        settings: estimator, features, head and more.
        gold: gold labels to check and keep first.
        truth: of a simulated log; models are then measured against it (unless they are models of choices),
            and an `ideal` arm is added.
        title: of the report.
        bootstrap: replications behind the intervals.
        stage: shows what is under way.
        quiet_bars: no progress bar of a transformer's training.

    Returns:
        The run, as in `run.json`.

    Raises:
        FileNotFoundError: no store, or no gold file.
        ValueError: an unknown estimator, an empty store, columns that cannot be trained on, or choices
            compared with what is measured response by response.
        Refused: the audit refuses, and `accept_red` is not given (see `auto.choose`).
        NumericError: a model became non-finite.
        Interrupted: a signal ended the training of a transformer, after a checkpoint.
    """
    opened, home = Store.open(store), Path(directory)
    for asked in (settings.estimator, *settings.compare, *settings.recipes):
        if asked != "auto":
            recipe_of(asked, settings.recipes.get(asked))
    if gold is not None:
        keep_gold(opened, gold)
    material, nuisances = open_material(opened, settings, stage)
    with stage("audit"):
        verdict = judge(material)
        tried = _refuted(opened, nuisances)
        opened.attach("audit", "audit", plain({**verdict.to_dict(), "nuisances": nuisances, **tried}))
    name = choose(settings, verdict)
    unit: Unit = "pair" if name in PAIRWISE else "response"
    if unit == "response" and (odd := set(settings.compare) & set(PAIRWISE)):
        raise ValueError(
            f"compare has {', '.join(sorted(odd))}: such a model knows differences only and cannot be "
            f"measured beside {name}, response by response; train it with estimator: choices"
        )
    material = replace(material, kinds=verdict.kinds)
    naive = "naive_choices" if unit == "pair" else "naive"
    beside = (naive,) if unit == "pair" or material.offered_to(naive) else ()  # none for clicks alone
    arms: list[Arm] = []
    for recipe in dict.fromkeys((*beside, name, *settings.compare)):
        with stage(f"training: {recipe.replace('_', ' ')}"):
            arms.append(train_arm(material, recipe, settings, role=_role(recipe, name)))
    if truth is not None:
        with stage("training: ideal"):
            ideal = _ideal(truth.label)
            arms.append(train_arm(material, "ideal", settings, recipe=ideal, role="ideal"))
            arms[-1] = replace(arms[-1], label="ideal: every true label")
    ours = next(arm for arm in arms if arm.name == name)
    target = _attach_target(opened, ours, nuisances)
    run: dict[str, Any] = {
        **describe(
            title,
            opened,
            material,
            verdict,
            settings,
            nuisances=nuisances,
            unit=unit,
            truth=None if truth is None else dict(truth.rates),
        ),
        **tried,
        "notes": notes(opened, material.as_logged().examples),
        "estimator": name,
        "decisions": [
            one.to_dict() for one in decisions(material, verdict, settings, name, ours.target.loss)
        ],
        "weights": [weights(arm) for arm in arms if arm.role != "ideal"],
    }
    run["provenance"]["target"] = target
    run["limits"] += [AT_ITS_WORD] if name in UNCORRECTED else []
    run["limits"] += [
        said if arm is ours else f"{arm.label}: {said}" for arm in arms for said in arm.target.warnings
    ]
    card = {**plain({name: run[name] for name in ON_CARD}), "scale": SCALE[unit]}
    if settings.model is not None:
        with stage(f"fine-tuning {Path(settings.model).name}") if quiet_bars else nullcontext():
            known = _measurable(material, unit, truth)
            tuned, run["transformer"] = fine_tune(
                opened, material, ours, settings, home, known=known, card=card, quiet=quiet_bars
            )
        arms = [tuned, *(replace(arm, role="baseline") if arm is ours else arm for arm in arms)]
    with stage("measuring"):
        run["arms"], run["truth"] = _measure(arms, material, unit, truth, bootstrap)
        run["recovered"] = recovered(run["arms"])
        measured = next((arm for arm in arms if arm.role == "ours"), ours)
        if (found := _in_every_way(measured, opened, material, verdict, unit)) is not None:
            run["evaluation"] = {**found, "truth": _known(run["arms"], truth)}
    run = cast(dict[str, Any], plain(run))
    with stage("saving"):
        if settings.model is None:
            RewardModel(featurizer(settings.features), ours.fit.head, card=card).save(home / "model")
        write_run(run, home)
    return run


def _measurable(m: Material, unit: Unit, truth: "Truth | None") -> Bools:
    """Rows that a measure reads. Shape [N]."""
    if unit == "response":
        return np.asarray(~np.isnan(m.examples.gold if truth is None else truth.label))
    pairs, known = cast(Choices, m.choices), np.zeros(len(m.examples), bool)
    known[np.concatenate([pairs.a[pairs.labelled], pairs.b[pairs.labelled]])] = True
    return known


def _measure(
    arms: Sequence[Arm], m: Material, unit: Unit, truth: "Truth | None", bootstrap: int
) -> tuple[list[dict[str, Any]], str | None]:
    """The arms as the report shows them, and what they are measured against: gold, oracle or nothing."""
    if unit == "pair":
        pairs = cast(Choices, m.choices)
        found = [measured_on_pairs(arm, m.examples, pairs, bootstrap) for arm in arms]
        return found, "gold" if pairs.labelled.any() else None
    label = m.examples.gold if truth is None else truth.label
    found = [measured(arm, m.examples, None if truth is None else label, bootstrap) for arm in arms]
    return found, "oracle" if truth is not None else None if np.isnan(label).all() else "gold"


OUT_OF_FOLD = "The model is measured out of fold: by fits that saw neither the prompt nor its gold label."


def _in_every_way(arm: Arm, store: Store, m: Material, verdict: Verdict, unit: Unit) -> dict[str, Any] | None:
    """The model in every way of measuring (`assess`), by its out-of-fold predictions; None without those."""
    if np.isnan(arm.reward).any():
        return None
    every, prompt = np.ones(len(m.examples), bool), m.examples.prompt_hash.view(np.int64)
    time = data.shown_at(store, m.examples.row)
    if unit == "pair":
        g = of_pairs(m, every, prompt, "prompt", time)
        p = arm.preference(cast(Choices, m.choices))[g.at]
    else:
        g = of_responses(m, verdict, every, prompt, "prompt", time)
        p = arm.probability[g.at]
    return assess(p, g, m, in_sample=False, sample=OUT_OF_FOLD)


def _known(arms: Sequence[dict[str, Any]], truth: "Truth | None") -> dict[str, float]:
    """The metrics of our model against the truth of a simulated log."""
    if truth is None:
        return {}
    ours = next((arm for arm in arms if arm["role"] == "ours"), {})
    return {name: metric["value"] for name, metric in ours.get("metrics", {}).items()}


def _role(recipe: str, ours: str) -> str | None:
    """The role of an arm: all but the chosen one are there for comparison; None when the name decides."""
    return None if recipe in (ours, *NAIVE, *UNSAFE) else "baseline"


def _ideal(label: Floats) -> Recipe:
    """Complete, clean labels: what no log has."""

    def recipe(m: Material) -> Target:
        a = (~np.isnan(label)).astype(np.float64)
        return Target(Columns(a, a * np.nan_to_num(label), 0 * a), "brier")

    return recipe


def _attach_target(store: Store, arm: Arm, nuisances: str) -> str:
    """Keep the columns that a model was trained on."""
    facts = {
        "estimator": arm.name,
        "loss": arm.target.loss,
        "nuisances": nuisances,
        "counts": vars(arm.target.columns.counts),
    }
    return store.attach("targets", arm.name, facts, columns_of(arm.target))


def write_gold_plan(store: "str | Path", n: int, file: "str | Path", *, seed: int = 0) -> dict[str, Any]:
    """Write the rows worth a gold label as a template to fill in.

    Args:
        store: store directory.
        n: number of labels.
        file: JSON lines, one row each, `label` null.
        seed: seed of the choice.

    Returns:
        `rows`, `strata` (rows of each), `interval width` of each interval, `outlook` (widths and power at
        half, all and twice as many labels), and `enough`: labels for a power of .8 of each test.

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
    pairs = data.choices(opened, rows)
    looks = [vars(look) for look in audit.outlook(rows, n, int(pairs.seen.sum()), seed)]
    found = {"rows": len(plan), "strata": strata, "interval width": plan.widths}
    return {**found, "outlook": looks, "enough": audit.enough(rows)}


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
