"""A trained model on other rows: measured on gold, and the reward of each row of a file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from unskew import data, evaluate, features
from unskew.audit.choices import LABEL
from unskew.audit.measure import two_sided
from unskew.data import Choices, Examples, Store
from unskew.pipeline.assess import assess, versus
from unskew.pipeline.config import TrainConfig, featurizer
from unskew.pipeline.ground import By, Ground, of_pairs, of_responses
from unskew.pipeline.material import Material, Stage, from_gold, judge
from unskew.pipeline.run import Unit, describe, plain, write_run
from unskew.pipeline.sample import LEAST, sample_of
from unskew.pipeline.store import open_material, quiet
from unskew.rates import Bools, Floats, Ints
from unskew.reward import RewardModel, Scorer

CHUNK = 4096
"""Rows scored at a time."""


def evaluate_model(
    model: "str | Path",
    store: "str | Path",
    *,
    gold: "str | Path | None" = None,
    against: "str | Path | None" = None,
    directory: "str | Path | None" = None,
    settings: TrainConfig = TrainConfig(),  # noqa: B008 (frozen)
    by: str = "prompt",
    stage: Stage = quiet,
) -> dict[str, Any]:
    """Measure a reward model on a store in every way there is, and say which intervals may be believed.

    Naive, SNIPS, doubly robust, class-wise, prediction-powered, gold alone; sensitivity; drift; with a second
    model the paired difference and the point at which it flips. A model of choices is measured on pairs shown
    side by side, and so is any other where the only gold is of pairs. Nuisances are those that the last audit
    kept in the store when it had the same settings, else they are estimated and kept.

    A model that was trained on these rows is measured on the prompts that its training left out, when its
    card and the store say that there are some; else the result says `in_sample` and nothing is valid.

    Args:
        model: reward model directory.
        store: store directory.
        gold: gold labels instead of those in the store; they are not kept.
        against: directory of a second model.
        directory: write `run.json` here, for a report.
        settings: features, known rates and propensities, seed.
        by: rows that count as one draw, `prompt` or `user`.
        stage: shows what is under way.

    Returns:
        `title`, `unit`, `truth`, `arms` (as in run.json of `train`: on all gold, and against each kind as it
        is), `evaluation` (`assess.assess`), `against` (`assess.versus`; None without a second model).

    Raises:
        FileNotFoundError: no model, store or gold file.
        ValueError: there is nothing to measure on.
    """
    if by not in get_args(By):
        raise ValueError(f"by is {by!r}; it must be one of {', '.join(get_args(By))}")
    opened, paths = Store.open(store), [model, *([] if against is None else [against])]
    models = [RewardModel.load(path) for path in paths]
    material, nuisances = open_material(opened, settings, stage)
    if gold is not None:
        material = _with_gold(material, opened, gold)
    with stage("audit"):
        verdict = judge(material)
    material = replace(material, kinds=verdict.kinds)
    rows, pairs = material.examples, cast(Choices, material.choices)
    compares = any(one.card.get("unit") == "pair" for one in models)
    unit: Unit = "response"
    if compares or (pairs.labelled.any() and np.isnan(rows.gold).all()):
        unit = "pair"
    if compares and not len(pairs):
        raise ValueError(f"{opened.path} has no gold pairs that say which is better; give some: {LABEL}")
    names = [str(path) for path in paths]
    in_sample, keep, sentence = _sample(models, names, opened, rows)
    users = by == "user"
    cluster = data.users(rows) if users else rows.prompt_hash.view(np.int64)
    ground = (
        of_pairs(material, keep, cluster, cast(By, by), data.shown_at(opened, rows.row))
        if unit == "pair"
        else of_responses(material, verdict, keep, cluster, cast(By, by), data.shown_at(opened, rows.row))
    )
    if not ground.readings and not ground.labels:
        raise ValueError(
            f"{opened.path} has no gold labels; pass --gold FILE, or label some (`unskew audit --gold-plan`)"
        )
    with stage("scoring"):
        own, used = featurizer(settings.features).to_dict(), _used(unit, ground, pairs)
        rewards = [_rewards(one, opened, material, used, own) for one in models]
    predictions = [_predicted(reward, unit, ground, pairs) for reward in rewards]
    with stage("measuring"):
        measured = [assess(p, ground, material, in_sample, sentence) for p in predictions]
        arms = [
            arm
            for one, reward in zip(models, rewards, strict=True)
            for arm in _arms(one, reward, unit, ground, material)
        ]
        found: dict[str, Any] = {
            "title": f"{model} measured" if against is None else f"{model} against {against}",
            "unit": unit,
            "truth": "gold" if ground.labels else None,
            "arms": arms,
            "evaluation": measured[0],
            "against": None,
        }
        if against is not None:
            both = [way for one in measured for way in one["ways"]]
            gap = versus(predictions[0], predictions[1], ground, (names[0], names[1]), in_sample, both)
            found["against"] = {**gap, "evaluation": measured[1]}
    if directory is not None:
        about = describe(found["title"], opened, material, verdict, settings, nuisances=nuisances, unit=unit)
        write_run({**about, **found}, Path(directory))
    return cast(dict[str, Any], plain(found))


def _with_gold(material: Material, store: Store, gold: "str | Path") -> Material:
    """The same with other gold: rates and class propensities are redone, fitted nuisances stay."""
    table = data.read_gold(gold, store)[0]
    read = data.examples(store, table)
    labels = {name: getattr(read, name) for name in ("gold", "gold_design", "gold_prob")}
    rows = replace(material.examples, **labels)  # its kinds, and without the records that are set aside
    pairs = data.choices(store, read, table)
    if material.choices is not None:
        pairs = replace(material.choices, **{name: getattr(pairs, name) for name in labels})
    known = None if material.evidence is None else replace(material.evidence, gold=rows.gold)
    told = from_gold(rows, material.known, pairs, material.base_rate)
    return replace(material, examples=rows, choices=pairs, evidence=known, **told)


def _sample(
    models: Sequence[Scorer], names: Sequence[str], store: Store, rows: Examples
) -> tuple[bool | None, Bools, str]:
    """What is known of all models together, rows that may measure them, and it in words."""
    each = [sample_of(one.card, store, rows) for one in models]
    keep = np.logical_and.reduce([one.keep for one in each])
    order = {True: 0, None: 1, False: 2}
    worst = min(range(len(each)), key=lambda k: order[each[k].in_sample])
    said = each[worst].sentence if len(each) == 1 else f"{names[worst]}: {each[worst].sentence}"
    if keep.sum() < min(LEAST, len(keep)):  # each has left out other prompts
        return True, each[0].keep, "There are not enough prompts that neither model was trained on."
    return each[worst].in_sample, keep, said


def _used(unit: Unit, ground: Ground, pairs: Choices) -> Ints:
    """Responses that must be scored."""
    if unit == "response":
        return ground.at
    return np.unique(np.concatenate([pairs.a[ground.at], pairs.b[ground.at]]))


def _rewards(model: Scorer, store: Store, material: Material, at: Ints, own: dict[str, Any]) -> Floats:
    """Reward of each live row, nan where it was not scored. Shape [N]."""
    found = np.full(len(material.examples), np.nan)
    if isinstance(model, RewardModel):
        X = material.X
        if model.featurizer.to_dict() != own:
            texts = data.texts(store, material.examples.row)
            X = features.cached(model.featurizer, *texts, store.path / "features")
        found[at] = model.scale * model.head(X[at]) + model.shift
    else:
        found[at] = model.score(*data.texts(store, material.examples.row[at]))
    return found


def _predicted(reward: Floats, unit: Unit, ground: Ground, pairs: Choices) -> Floats:
    """P(liked) of each response, or P(A is better) of each pair. Shape [N of the ground]."""
    z = reward[ground.at] if unit == "response" else (reward[pairs.a] - reward[pairs.b])[ground.at]
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def _arms(model: Scorer, reward: Floats, unit: Unit, g: Ground, m: Material) -> list[dict[str, Any]]:
    """The model on all its gold, and against feedback as it is: as the arms of a run."""
    rows, name = m.examples, model.card.get("estimator", "model")
    if unit == "pair":
        pairs = cast(Choices, m.choices)
        p, prompt = _predicted(reward, unit, g, pairs), rows.prompt_hash[pairs.a[g.at]]
        known, seen = pairs.labelled[g.at], pairs.seen[g.at]
        arms = []
        if known.any():
            gold = (part[g.at][known] for part in (pairs.gold, pairs.gold_design, pairs.gold_prob))
            metrics = evaluate.preferences(p[known], *gold, cluster=prompt[known])
            label = f"{name} on {known.sum():,} gold pairs"
            arms.append({"name": "model", "label": label, "role": "ours", "metrics": metrics})
        if seen.any():
            alike = np.ones(int(seen.sum()))
            metrics = evaluate.preferences(
                p[seen], pairs.label[g.at][seen], alike, alike, cluster=prompt[seen]
            )
            label = f"against {seen.sum():,} choices as recorded (who chooses, flips included)"
            arms.append({"name": "choice", "label": label, "role": "naive", "metrics": metrics})
        return arms
    p, prompt, arms = 0.5 * (1 + np.tanh(0.5 * reward[g.at])), rows.prompt_hash[g.at], []
    known = ~np.isnan(rows.gold[g.at])
    if known.any():
        gold = (part[g.at][known] for part in (rows.gold, rows.gold_design, rows.gold_prob))
        metrics = evaluate.against_gold(p[known], *gold, cluster=prompt[known])
        label = f"{name} on {known.sum()} gold labels"
        arms.append({"name": "model", "label": label, "role": "ours", "metrics": metrics})
    for column in two_sided(rows):
        seen, up = column.observed[g.at], column.positive[g.at]
        if seen.any():
            metrics = evaluate.metrics(p[seen], up[seen].astype(np.float64), cluster=prompt[seen])
            label = f"against {int(seen.sum()):,} {column.name} as recorded (who answers, flips included)"
            arms.append({"name": column.name, "label": label, "role": "naive", "metrics": metrics})
    return arms


def score_file(model: "str | Path", file: "str | Path") -> Iterator[str]:
    """Rows of a JSON-lines file with `reward` (log-odds of being liked) and `probability` added.

    A model of choices adds no probability: its rewards mean something only as differences within a prompt.

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
        found = {"reward": value}
        if model.card.get("unit") != "pair":
            found["probability"] = 0.5 * (1 + float(np.tanh(0.5 * value)))
        yield json.dumps({**row, **found}, ensure_ascii=False)
