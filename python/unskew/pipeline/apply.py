"""A trained model on other rows: measured on gold, and the reward of each row of a file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from unskew import data, evaluate
from unskew.audit.choices import LABEL
from unskew.data import Choices, Examples, Store
from unskew.pipeline.run import plain
from unskew.reward import RewardModel, Scorer

CHUNK = 4096
"""Rows scored at a time."""


def evaluate_model(
    model: "str | Path", store: "str | Path", *, gold: "str | Path | None" = None
) -> dict[str, Any]:
    """Measure a reward model on the gold labels of a store, beside the recorded feedback taken as it is.

    A model of choices is measured on gold pairs, and so is any other where there are no other gold labels.
    A model that was trained on these gold labels, or on their prompts, looks better here than it is: for such
    a model read the out-of-fold figures that `train` wrote.

    Args:
        model: reward model directory.
        store: store directory.
        gold: gold labels instead of those in the store; they are not kept.

    Raises:
        FileNotFoundError: no model, store or gold file.
        ValueError: no gold label of the kind that the model needs.
    """
    opened, loaded = Store.open(store), RewardModel.load(model)
    table = data.read_gold(gold, opened)[0] if gold is not None else None
    rows = data.examples(opened, table)
    pairs = data.choices(opened, rows, table)
    compares = loaded.card.get("unit") == "pair"
    if pairs.labelled.any() and (compares or np.isnan(rows.gold).all()):
        arms, unit = _on_pairs(loaded, opened, rows, pairs), "pair"
    elif compares:
        raise ValueError(f"{opened.path} has no gold pairs that say which is better; give some: {LABEL}")
    else:
        arms, unit = _on_responses(loaded, opened, rows), "response"
    found = {"title": f"{model} measured", "unit": unit, "arms": arms, "truth": "gold"}
    return cast(dict[str, Any], plain(found))


def _on_pairs(model: Scorer, store: Store, rows: Examples, pairs: Choices) -> list[dict[str, Any]]:
    """The model on gold pairs, and against the choices as they are."""
    used = np.unique(np.concatenate([pairs.a, pairs.b]))
    reward = np.zeros(len(rows))
    reward[used] = model.score(*data.texts(store, rows.row[used]))
    p = 0.5 * (1 + np.tanh(0.5 * (reward[pairs.a] - reward[pairs.b])))
    prompt, known, seen = rows.prompt_hash[pairs.a], pairs.labelled, pairs.seen
    gold = (pairs.gold[known], pairs.gold_design[known], pairs.gold_prob[known])
    name = f"{model.card.get('estimator', 'model')} on {known.sum():,} gold pairs"
    metrics = evaluate.preferences(p[known], *gold, cluster=prompt[known])
    arms = [{"name": "model", "label": name, "role": "ours", "metrics": metrics}]
    if seen.any():
        alike = np.ones(int(seen.sum()))
        metrics = evaluate.preferences(p[seen], pairs.label[seen], alike, alike, cluster=prompt[seen])
        label = f"against {seen.sum():,} choices as recorded (who chooses, flips included)"
        arms.append({"name": "choice", "label": label, "role": "naive", "metrics": metrics})
    return arms


def _on_responses(model: Scorer, store: Store, rows: Examples) -> list[dict[str, Any]]:
    """The model on gold labels, and against each two-sided kind as it is."""
    known = np.flatnonzero(~np.isnan(rows.gold))
    if not len(known):
        raise ValueError(
            f"{store.path} has no gold labels; pass --gold FILE, or label some (`unskew audit --gold-plan`)"
        )
    prompts, responses = data.texts(store, rows.row[known])
    p = model.probability(prompts, responses)
    arms = [
        {
            "name": "model",
            "label": f"{model.card.get('estimator', 'model')} on {len(known)} gold labels",
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
            said = data.texts(store, rows.row[seen])
            metrics = evaluate.metrics(
                model.probability(*said),
                rows.positive[seen, k].astype(np.float64),
                cluster=rows.prompt_hash[seen],
            )
            label = f"against {int(seen.sum()):,} {kind.name} as recorded (who answers, flips included)"
            arms.append({"name": kind.name, "label": label, "role": "naive", "metrics": metrics})
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
