"""The page: the finding in a sentence, then the sections in order, with the style sheet inside."""

import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from unskew.report.decisions import decisions
from unskew.report.doubt import drift, sensitivity
from unskew.report.evaluation import compared, ways
from unskew.report.feedback import noise, overlap, propensity, weights
from unskew.report.finding import evaluated, finding
from unskew.report.markup import Html, el, join
from unskew.report.models import reliability, rewards, side_by_side
from unskew.report.origin import books, limits, provenance
from unskew.report.policy import learning, policies
from unskew.report.refutations import refutations
from unskew.report.values import Run
from unskew.report.verdict import verdict

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content security policy of the page: whatever a log brings in, nothing is fetched and nothing runs."""

Section = tuple[str, str, str, Callable[[Run], Html]]
SECTIONS: tuple[Section, ...] = (
    ("verdict", "Can this log be trusted?", "", verdict),
    ("decisions", "What was chosen, and why", "", decisions),
    (
        "refutations",
        "Attempts to refute the analysis",
        "Changes to the log whose effect is known, tried on the kind with the most answers: where one fails, "
        "something that the analysis rests on is not so. What passes is not proved, and of a hundred that "
        "should pass one fails.",
        refutations,
    ),
    (
        "models",
        "Models side by side",
        "All models see the same responses and are measured alike; they differ in what they are told.",
        side_by_side,
    ),
    (
        "reliability",
        "Does a prediction keep its promise?",
        "Responses (or pairs) are grouped by predicted chance. On the dashed diagonal, what is predicted is "
        "what happens; below it the model promises too much. Larger dots stand for more of them.",
        reliability,
    ),
    (
        "rewards",
        "How the rewards are spread",
        "A model whose mean prediction lies far from the mean truth has learned who gives feedback, not what "
        "is good.",
        rewards,
    ),
    (
        "compared",
        "Which of the two models is better?",
        "Both models in every way of measuring, on the same rows: what moves both cancels.",
        compared,
    ),
    (
        "evaluation",
        "How good is the model, measured in every way?",
        "The same predictions, read from the log and from gold. Only the ways marked valid may be believed "
        "under what the audit found.",
        ways,
    ),
    (
        "sensitivity",
        "What if the propensities are wrong?",
        "What weights say of the model when the odds of an answer are off by a factor, in any way.",
        sensitivity,
    ),
    (
        "drift",
        "Did anything change over time?",
        "Each window holds equally many responses. The test asks whether they differ by more than chance.",
        drift,
    ),
    (
        "learning",
        "How the transformer learned",
        "The checkpoint with the best held-out measure is the one that was kept.",
        learning,
    ),
    (
        "policy",
        "Policies trained on the rewards",
        "The same training, each on another reward.",
        policies,
    ),
    (
        "overlap",
        "Who gives feedback: overlap",
        "Weighting can only repair what was seen sometimes. Where there are silent responses (below the "
        "line) and hardly any with feedback (above it), the log says nothing, and no weight can change that.",
        overlap,
    ),
    (
        "propensity",
        "Is the chance of feedback well estimated?",
        "Predicted chance of feedback against how often it was given, on held-out prompts. On the diagonal "
        "the weights are right.",
        propensity,
    ),
    (
        "noise",
        "How often the record is wrong",
        "Two-sided feedback (thumbs, ratings, choices) errs at two rates, fnr and fpr. One-sided feedback "
        "(copies, regenerations) happens more or less often depending on whether the response is liked.",
        noise,
    ),
    (
        "weights",
        "What the weights leave",
        "Unequal weights cost information: the effective sample size is the number of equally weighted rows "
        "that would be worth as much. Clipping trades variance for bias, so it is counted.",
        weights,
    ),
    (
        "counts",
        "Counts and books",
        "Every line of the log is committed, a duplicate, quarantined with its reason, or blank.",
        books,
    ),
    ("limits", "What these data cannot support", "", limits),
    ("provenance", "Where this page comes from", "", provenance),
)
ABOUT = (("estimand", "What is estimated"), ("population", "For whom"), ("created", "Made"))


ONLY_WITH = {
    "decisions": "decisions",
    "refutations": "refutations",
    "learning": "transformer",
    "policy": "policy",
    "compared": "against",
    "evaluation": "evaluation",
    "sensitivity": "evaluation",
    "drift": "evaluation",
}
"""Sections of what most runs do not do, and the part of a run that asks for them."""

OF_POLICY = ("policy", "provenance")
"""Sections of a run that trained a policy and nothing else."""


OF_EVALUATION = (
    *("verdict", "compared", "evaluation", "sensitivity", "drift", "overlap", "propensity", "noise"),
    *("counts", "limits", "provenance"),
)
"""Sections of a run that measured a model and trained none."""


def chosen(run: Run) -> list[Section]:
    """The sections of a run."""
    if run.get("policy") and not run.get("verdict"):
        return [section for section in SECTIONS if section[0] in OF_POLICY]
    shown = [s for s in SECTIONS if s[0] in OF_EVALUATION] if evaluated(run) else SECTIONS
    return [s for s in shown if s[0] not in ONLY_WITH or run.get(ONLY_WITH[s[0]])]


def render(run: Run) -> str:
    """The HTML page of a run; a part that the run does not hold is said to be missing.

    Args:
        run: what `train` and `quickstart` keep as run.json.

    Returns:
        One document without scripts or outside references, safe for any text in `run`.
    """
    title = run.get("title") or "Reward model report"
    style = Html(files("unskew.report").joinpath("style.css").read_text("utf-8"))
    sections = chosen(run)
    links = [el("li", el("a", name.capitalize(), href=f"#{name}")) for name, *_ in sections]
    about = [el("div", el("dt", name), el("dd", run[key])) for key, name in ABOUT if run.get(key)]
    first, *more = finding(run)
    header = el(
        "header",
        el("p", "unskew report", class_="brand"),
        el("h1", title),
        el("p", first, class_="finding"),
        *(el("p", sentence) for sentence in more),
        el("dl", *about, class_="about"),
        el("nav", el("ul", *links), aria_label="On this page"),
    )
    meta = Html(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="color-scheme" content="light dark">'
    )
    head = el("head", meta, el("title", title), el("style", style))
    body = el("body", header, el("main", *(section(run, *parts) for parts in sections)))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def section(run: Run, name: str, heading: str, lead: str, content: Callable[[Run], Html]) -> Html:
    top = join([el("h2", heading, id=f"{name}-title"), el("p", lead, class_="lead") if lead else ""])
    return el("section", top, content(run), id=name, aria_labelledby=f"{name}-title")


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
            f"{source} does not exist; expected a run directory written by `unskew train` or "
            "`unskew quickstart`, or its run.json"
        )
    try:
        found: Any = json.loads(source.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{source} is not JSON ({error}); run `unskew train` again to write it") from error
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise ValueError(f"{source} holds a JSON {kind}; expected an object as `unskew train` writes it")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(render(found), "utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
