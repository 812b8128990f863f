"""The page: the finding in a sentence, then the sections in order, with the style sheet inside."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from unskew.report.sections import SECTIONS, Run, metric, role_of
from unskew.report.values import Estimate, escape, fixed, mappings, number, percent, words

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content security policy of the page: whatever a log brings in, nothing is fetched and nothing runs."""


def render(run: Run) -> str:
    """The HTML page of a run; a part that the run does not hold is said to be missing.

    Args:
        run: what `train` and `quickstart` keep as run.json.

    Returns:
        One document without scripts or outside references, safe for any text in `run`.
    """
    title = escape(run.get("title") or "Reward model report")
    style = files("unskew.report").joinpath("style.css").read_text("utf-8")
    links = "".join(f'<li><a href="#{id_}">{heading}</a></li>' for id_, heading, *_ in SECTIONS)
    body = "".join(
        f'<section id="{id_}" aria-labelledby="{id_}-title"><h2 id="{id_}-title">{heading}</h2>'
        f"{f'<p class=lead>{lead}</p>' if lead else ''}{content(run)}</section>"
        for id_, heading, lead, content in SECTIONS
    )
    first, *more = finding(run)
    about = [
        f"<div><dt>{name}</dt><dd>{escape(words(run[key]))}</dd></div>"
        for key, name in (("estimand", "What is estimated"), ("population", "For whom"), ("created", "Made"))
        if run.get(key)
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title><style>{style}</style></head><body>'
        f'<header><p class="brand">unskew report</p><h1>{title}</h1><p class="finding">{escape(first)}</p>'
        f"{''.join(f'<p>{escape(sentence)}</p>' for sentence in more)}"
        f'<dl class="about">{"".join(about)}</dl><nav aria-label="On this page"><ul>{links}</ul></nav></header>'
        f"<main>{body}</main></body></html>\n"
    )


def write(run: "str | Path", out: "str | Path") -> Path:
    """Render a run and write the page, whole or not at all.

    Args:
        run: run directory (holds run.json), or such a JSON file.
        out: the HTML file; written beside itself first, then renamed.

    Raises:
        FileNotFoundError: `run` holds no run.json.
        ValueError: the file is not a JSON object.
    """
    source, target = Path(run), Path(out)
    source = source / "run.json" if source.is_dir() else source
    if not source.is_file():
        raise FileNotFoundError(
            f"{source} does not exist; expected a run directory written by `unskew train` or `unskew quickstart`, "
            "or its run.json"
        )
    try:
        found: Any = json.loads(source.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{source} is not JSON ({error}); run `unskew train` again to write it") from error
    if not isinstance(found, dict):
        raise ValueError(f"{source} holds a JSON {type(found).__name__}; expected an object as `unskew train` writes it")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(render(found), "utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def finding(run: Run) -> list[str]:
    """The result in words, from the numbers alone; the first sentence stands by itself."""
    arms = mappings(run.get("arms"))
    naive, ours, ideal = (next((a for a in arms if role_of(a) == role), {}) for role in ("naive", "ours", "ideal"))
    brier = [metric(arm, "brier") for arm in (naive, ours, ideal)]
    level = [level_error(arm) for arm in (naive, ours)]
    if brier[0].value is None or brier[1].value is None:
        known = [a for a in arms if metric(a, "brier").value is not None]
        if not known:
            return ["This run does not say how right its models are: it holds neither gold labels nor a simulated truth."]
        missing = "a naive model" if brier[0].value is None else "a corrected model"
        return [f"This run measures {len(known)} model{'s' if len(known) > 1 else ''}, but holds no {missing} to compare with."]
    return [headline(brier, level, number(run.get("recovered"))), *basis(run, brier, (naive, ours))]


def level_error(arm: Run) -> float | None:
    """|mean prediction - mean truth|, in probability."""
    error = metric(arm, "mean_error").value
    if error is None:
        predicted, truth = metric(arm, "mean_prediction").value, metric(arm, "mean_truth").value
        error = None if predicted is None or truth is None else predicted - truth
    return None if error is None else abs(error)


def headline(brier: list[Estimate], level: list[float | None], recovered: float | None) -> str:
    """How wrong the naive model is, and what the correction gives back."""
    naive, ours = (e.value or 0.0 for e in brier[:2])
    if level[0] is not None and level[1] is not None:
        said = (
            f"The naive model misjudges the share of liked responses by {100 * level[0]:.1f} points, "
            f"the corrected one by {100 * level[1]:.1f}; "
        )
    else:
        said = f"The naive model has a Brier score of {fixed(naive)}, the corrected one {fixed(ours)}; "
    if ours > naive:
        return said + f"response by response the corrected model is worse here (Brier score {fixed(ours)} against {fixed(naive)})."
    if recovered is None:
        change = (naive - ours) / naive if naive else 0.0
        return said + f"response by response its error is {percent(change)} smaller (Brier score {fixed(ours)} against {fixed(naive)})."
    return said + f"response by response it recovers {percent(recovered)} of the gap to a model trained on every true label."


def basis(run: Run, brier: list[Estimate], arms: "tuple[Run, Run]") -> list[str]:
    """What the finding is measured against, and what should make the reader careful."""
    ideal = f", a model trained on every true label {fixed(brier[2].value)}" if brier[2].value is not None else ""
    against = {
        "oracle": "Measured against the known truth of the simulated log",
        "gold": "Measured on gold labels",
    }.get(str(run.get("truth")), "What it is measured against is not recorded")
    said = [
        f"{against}. Brier scores (lower is better): naive {fixed(brier[0].value)}, corrected {fixed(brier[1].value)}{ideal}."
    ]
    (_, low, high), (_, ours_low, ours_high) = brier[0], brier[1]
    if None not in (low, high, ours_low, ours_high) and low <= ours_high and ours_low <= high:  # type: ignore[operator]
        said.append("The 95 % intervals of the two overlap, so the difference may be chance.")
    truth = metric(arms[0], "mean_truth").value
    means = [metric(arm, "mean_prediction").value for arm in arms]
    if truth is not None and None not in means:
        said.append(
            f"Liked in truth: {percent(truth)} of responses. Predicted: {percent(means[0])} by the naive model, "
            f"{percent(means[1])} by the corrected one."
        )
    return said
