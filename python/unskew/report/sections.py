"""What each part of the page says: one function per section, from run.json to the HTML of its body."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unskew.report import charts
from unskew.report.charts import Point
from unskew.report.values import (
    DASH,
    Estimate,
    between,
    column,
    escape,
    estimate,
    fixed,
    mapping,
    mappings,
    number,
    percent,
    short,
    wilson,
    words,
)

Run = Mapping[str, Any]

ROLES = {
    "naive": "feedback as it comes",
    "ours": "corrected by unskew",
    "baseline": "for comparison",
    "ideal": "uses the truth, cannot be had",
    "unsafe": "published recipe, assumptions not checked",
}
SYMBOLS = {"green": "✓", "amber": "!", "red": "✕"}
VERDICTS = {
    "green": "the log supports the claim",
    "amber": "usable, with care",
    "red": "the log does not support the claim",
}
METRICS = (
    ("brier", "Brier score", "lower", "mean squared error of the predicted probability; 0 is perfect"),
    ("auc", "AUC", "higher", "chance that a liked response is ranked above a disliked one; .5 is a coin"),
    ("accuracy", "accuracy", "higher", "share of responses called liked or disliked rightly"),
    ("r2", "R²", "higher", "share of the variance of the label that is explained; below 0 is worse than the mean"),
    ("ece", "calibration error", "lower", "mean distance between predicted and seen rates over bins"),
    ("mean_error", "mean error", "lower", "|mean prediction − mean truth|: how wrong the overall level is"),
    ("mean_prediction", "mean prediction", "", "predicted share of liked responses"),
    ("best_of_n", "best of n", "higher", "true quality of the response the model picks out of n"),
)  # fmt: skip
PARAMETERS = {
    "fnr": "fnr: liked, recorded as disliked",
    "fpr": "fpr: disliked, recorded as liked",
    "D": "D = 1 − fnr − fpr: what is left of the signal",
}


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, label: str, classes: str = "") -> str:
    """Cells are HTML already; the first one of a row is its header. The table scrolls inside its own box."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table class="{classes}">'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figures(items: Sequence[tuple[str, str]], *, classes: str = "") -> str:
    """Charts side by side, each under its title (HTML)."""
    drawn = "".join(f"<figure><figcaption>{title}</figcaption>{chart}</figure>" for title, chart in items)
    return f'<div class="figures {classes}">{drawn}</div>'


def name_of(arm: Mapping[str, Any]) -> str:
    return words(arm.get("label") or arm.get("name") or "unnamed")


def role_of(arm: Mapping[str, Any]) -> str:
    role = arm.get("role")
    return role if isinstance(role, str) and role in ROLES else "baseline"


def tag(role: str) -> str:
    symbol = "⚠ " if role == "unsafe" else ""
    return f'<span class="tag {role}" title="{ROLES[role]}">{symbol}{role}</span>'


def metric(arm: Mapping[str, Any], name: str) -> Estimate:
    return estimate(mapping(arm.get("metrics")).get(name))


# ---------------------------------------------------------------------------------------------------- verdict


def verdict(run: Run) -> str:
    """The audit as a banner: colour, symbol and word say the same; then its gates, worst first."""
    found = mapping(run.get("verdict"))
    colour = found.get("colour")
    if not isinstance(colour, str) or colour not in SYMBOLS:
        return note("No audit is recorded in this run, so nothing here says how far its figures can be trusted.")
    sentences = found.get("sentences")
    said = "".join(f"<p>{escape(s)}</p>" for s in sentences) if isinstance(sentences, (list, tuple)) else ""
    reason = mapping(run.get("provenance")).get("accept_red") or run.get("accept_red")
    if reason:
        said += f"<p><strong>Trained in spite of the audit.</strong> Reason given: {escape(reason)}</p>"
    allowed = found.get("allowed")
    if isinstance(allowed, (list, tuple)):
        said += f'<p class="small">Estimators allowed on this log: {escape(words(allowed) if allowed else "none")}.</p>'
    banner = (
        f'<div class="banner {colour}"><p class="colour"><span class="symbol" aria-hidden="true">{SYMBOLS[colour]}'
        f"</span> Audit: {colour}, {VERDICTS[colour]}</p>{said}</div>"
    )
    return banner + gates(mappings(found.get("gates")))


def gates(found: Sequence[Mapping[str, Any]]) -> str:
    """Every rule that was checked, with what was found and its limit."""
    if not found:
        return note("No gate is recorded.")
    order = ("red", "amber", "green")
    items = []
    for gate in sorted(found, key=lambda g: order.index(g["colour"]) if g.get("colour") in order else 1):
        colour = gate["colour"] if gate.get("colour") in order else "amber"
        limit = gate.get("limit")
        value = f"found {words(gate.get('value'))}" if gate.get("value") is not None else ""
        value += f"{', ' if value else ''}limit {words(limit)}" if limit is not None else ""
        items.append(
            f'<li class="{colour}"><span class="symbol" aria-hidden="true">{SYMBOLS[colour]}</span><div>'
            f'<strong>{escape(words(gate.get("name", "gate")).replace("_", " "))}</strong> <span class="word">{colour}</span>'
            f'<p>{escape(gate.get("sentence") or "")}</p><p class="small">{escape(value)}</p></div></li>'
        )  # fmt: skip
    bad = sum(gate.get("colour") != "green" for gate in found)
    return f'<h3>What was checked: {len(found)} gates, {bad} not green</h3><ul class="gates">{"".join(items)}</ul>'


# ------------------------------------------------------------------------------------------------------- arms


def best(arms: Sequence[Mapping[str, Any]], name: str, direction: str) -> str | None:
    """The best figure of a column as it is printed, over the models that can be had (no ideal)."""
    values = [metric(arm, name).value for arm in arms if role_of(arm) != "ideal"]
    known = [abs(v) if name == "mean_error" else v for v in values if v is not None]
    if not direction or len(known) < 2:
        return None
    return fixed(min(known) if direction == "lower" else max(known))


def arms(run: Run) -> str:
    """The side-by-side table: every model, every metric, intervals, the best of each column."""
    rows = mappings(run.get("arms"))
    shown = [m for m in METRICS if any(metric(arm, m[0]).value is not None for arm in rows)]
    if not shown:
        return note("No model was measured in this run.")
    winners = {m[0]: best(rows, m[0], m[2]) for m in shown}
    lines = []
    for arm in rows:
        cells = [f'<span class="arm">{escape(name_of(arm))}</span> {tag(role_of(arm))}']
        for name, *_ in shown:
            value, low, high = metric(arm, name)
            if name == "mean_error" and value is not None and value < 0:
                value, low, high = -value, None if high is None else -high, None if low is None else -low
            text = fixed(value)
            if value is not None and role_of(arm) != "ideal" and text == winners[name]:
                text = f'<strong class="best" title="best of its column">{text} ★</strong>'
            cells.append(f'{text}<span class="range">{between(low, high)}</span>')
        lines.append(cells)
    arrows = {"lower": " ↓", "higher": " ↑", "": ""}
    head = ["model"] + [f'<span title="{escape(m[3])}">{m[1]}{arrows[m[2]]}</span>' for m in shown]
    truth = next((v for arm in rows if (v := metric(arm, "mean_truth").value) is not None), None)
    legend = "".join(f"<div><dt>{m[1]}</dt><dd>{escape(m[3])}</dd></div>" for m in shown)
    level = f" The true share of liked responses is {fixed(truth)}." if truth is not None else ""
    return (
        ladder(rows)
        + table(head, lines, label="models side by side", classes="arms")
        + f'<p class="small">↓ lower is better, ↑ higher is better; ★ best of the models that could be had (the ideal '
        f"one uses the truth); brackets are 95 % intervals, and where they overlap widely a star decides little.{level}</p>"
        f'<dl class="legend">{legend}</dl>'
    )


def ladder(rows: Sequence[Mapping[str, Any]]) -> str:
    """Brier scores as dots on one axis, worst at the top."""
    known = [(arm, e) for arm in rows if (e := metric(arm, "brier")).value is not None]
    if not known:
        return ""
    ends = [v for _, e in known for v in e if v is not None]
    room = 0.06 * (max(ends) - min(ends)) or 0.06 * abs(max(ends)) or 0.01
    domain = (min(ends) - room, max(ends) + room)
    items = []
    for arm, (value, low, high) in sorted(known, key=lambda pair: -(pair[1].value or 0.0)):
        range_ = between(low, high)
        drawn = charts.bar(
            value, low, high, domain=domain, role=role_of(arm),
            label=f"{name_of(arm)}: Brier score {fixed(value)} {range_}",
        )  # fmt: skip
        items.append(
            f'<li><div><span class="arm">{escape(name_of(arm))}</span> {tag(role_of(arm))}</div><span class="value">{fixed(value)} '
            f'<span class="range">{range_}</span></span>{drawn}</li>'
        )
    return (
        '<figure class="ladder"><figcaption>Brier score with 95 % interval; further left is better</figcaption>'
        f"<ul>{''.join(items)}</ul>{charts.scale(domain, most=6)}</figure>"
    )


# ----------------------------------------------------------------------------------------------------- curves


def points(found: object) -> tuple[list[Point], int]:
    """Bins that hold rows and two rates, and how many were left out because they do not."""
    kept, bins = [], mappings(found)
    for entry in bins:
        predicted, observed, n = (number(entry.get(key)) for key in ("predicted", "observed", "n"))
        if predicted is None or observed is None or not n or n < 0 or not 0 <= predicted <= 1 or not 0 <= observed <= 1:
            continue
        low, high = number(entry.get("low")), number(entry.get("high"))
        if low is None or high is None:
            low, high = wilson(observed, n)
        kept.append(Point(predicted, observed, low, high, n))
    return kept, len(bins) - len(kept)


def curve(found: object, title: str, *, about: str, x_label: str, y_label: str, role: str, whole: bool) -> tuple[str, str] | None:
    kept, empty = points(found)
    if not kept:
        return None
    drawn = charts.calibration(
        kept, label=f"{about}: {len(kept)} bins, from predicted {fixed(kept[0].predicted, 2)} and seen "
        f"{fixed(kept[0].observed, 2)} to predicted {fixed(kept[-1].predicted, 2)} and seen {fixed(kept[-1].observed, 2)}",
        x_label=x_label, y_label=y_label, role=role, whole=whole,
    )  # fmt: skip
    return title + (f' <span class="small">({empty} of {empty + len(kept)} bins without rows)</span>' if empty else ""), drawn


def reliability(run: Run) -> str:
    """One panel per model: the predicted against the true share of liked responses."""
    items = [
        drawn
        for arm in mappings(run.get("arms"))
        if (drawn := curve(
            arm.get("reliability"), f"{escape(name_of(arm))} {tag(role_of(arm))}",
            about=f"reliability of {name_of(arm)}", role=role_of(arm), whole=True,
            x_label="predicted chance of being liked", y_label="share truly liked",
        ))
    ]  # fmt: skip
    if not items:
        return note("No reliability curve was recorded: that needs gold labels or a simulated truth.")
    return figures(items)


def histograms(run: Run) -> str:
    """One panel per model: how its rewards are spread, with the mean prediction and the mean truth."""
    found = []
    for arm in mappings(run.get("arms")):
        shape = mapping(arm.get("histogram"))
        edges, counts = whole(shape.get("edges")), whole(shape.get("counts"))
        if proper(edges, counts):
            found.append((arm, edges, counts))
    if not found:
        return note("No reward histogram was recorded.")
    top = charts.ceiling(max(share for _, e, c in found for *_, share in charts.bins(e, c)))
    items = []
    for arm, edges, counts in found:
        probability = edges[0] >= 0 and edges[-1] <= 1
        means = (("truth", metric(arm, "mean_truth").value), ("predicted", metric(arm, "mean_prediction").value))
        marks = [(name, value) for name, value in means if probability and value is not None]
        said = "".join(f", mean {name} {fixed(value)}" for name, value in marks)
        drawn = charts.histogram(
            edges, counts, top=top, role=role_of(arm), marks=marks,
            x_label="predicted chance of being liked" if probability else "reward (log-odds)",
            label=f"rewards of {name_of(arm)} on {short(sum(counts))} responses{said}",
        )  # fmt: skip
        items.append((f"{escape(name_of(arm))} {tag(role_of(arm))}", drawn))
    return figures(items)


def whole(found: object) -> list[float]:
    """The numbers of a list; empty when one is missing, so that bins and counts never slip against each other."""
    values = column(found)
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def proper(edges: Sequence[float], *counts: Sequence[float]) -> bool:
    """Whether edges increase, and every list of counts has one number per bin, none negative, not all zero."""
    return (
        len(edges) > 1
        and all(a < b for a, b in zip(edges, edges[1:], strict=False))
        and all(len(c) == len(edges) - 1 and min(c) >= 0 for c in counts)
        and any(sum(c) > 0 for c in counts)
    )


# ------------------------------------------------------------------------------------------- who gives feedback


def overlap(run: Run) -> str:
    """Per kind: propensities of the responses with feedback above, of the silent ones below."""
    items = []
    for kind, found in mapping(run.get("propensity")).items():
        shape = mapping(mapping(found).get("histogram"))
        edges = whole(shape.get("edges"))
        observed, silent = whole(shape.get("observed")), whole(shape.get("silent"))
        if not proper(edges, observed, silent):
            continue
        drawn = charts.mirror(
            edges, observed, silent, x_label="propensity: chance that feedback is given",
            names=(f"{short(sum(observed))} with feedback", f"{short(sum(silent))} silent"),
            label=f"propensity of {kind}: {short(sum(observed))} responses with feedback above, {short(sum(silent))} silent below",
        )  # fmt: skip
        items.append((escape(kind), drawn + f'<p class="small">{escape(weight_sentence(mapping(found)))}</p>'))
    if not items:
        return note("No propensity was estimated for any two-sided kind in this run.")
    return figures(items)


def weight_sentence(found: Mapping[str, Any]) -> str:
    """What the weights of one kind are worth, as far as it was recorded."""
    parts = []
    if (size := number(found.get("ess"))) is not None:
        parts.append(f"The weighted feedback is worth {short(size)} independent labels (effective sample size).")
    if (mean := number(found.get("mean_o_over_p"))) is not None:
        parts.append(f"Held-out mean of observed/propensity: {fixed(mean, 2)}, to be near 1.")
    clipped = [
        f"{percent(mass)} of the {name} class"
        for key, name in (("1", "liked"), ("0", "disliked"))
        if (mass := number(mapping(found.get("clipped_mass")).get(key))) is not None
    ]
    if clipped:
        parts.append(f"Weight that sits on clipped propensities: {' and '.join(clipped)}.")
    return " ".join(parts)


def propensity_calibration(run: Run) -> str:
    """Per kind: the predicted chance of feedback against how often it was given."""
    items = [
        drawn
        for kind, found in mapping(run.get("propensity")).items()
        if (drawn := curve(
            mapping(found).get("calibration"), escape(kind), about=f"propensity calibration of {kind}",
            x_label="predicted propensity", y_label="share with feedback", role="feedback", whole=False,
        ))
    ]  # fmt: skip
    return figures(items) if items else note("No propensity calibration was recorded.")


def noise(run: Run) -> str:
    """Every error rate and every P(happened | liked), with its interval on one scale."""
    rows = mappings(run.get("noise"))
    if not rows:
        return note("No error rates are known: the feedback is taken at its word, or none was two-sided.")
    ends = [v for row in rows for key in ("estimate", "high", "truth") if (v := number(row.get(key))) is not None]
    domain = (0.0, min(charts.ceiling(max(ends, default=1.0)), 1.0) or 1.0)
    with_truth = any(number(row.get("truth")) is not None for row in rows)
    lines = []
    for row in rows:
        value, low, high, truth = (number(row.get(key)) for key in ("estimate", "low", "high", "truth"))
        kind, parameter = words(row.get("kind")), words(row.get("parameter"))
        said = f"{kind}, {parameter}: {fixed(value)} {between(low, high)}"
        said += f", truth {fixed(truth)}" if truth is not None else ""
        cells = [
            f'{escape(kind)}<span class="range">{escape(PARAMETERS.get(parameter, parameter))}</span>',
            charts.bar(value, low, high, truth=truth, domain=domain, label=said, role="feedback"),
            f'{fixed(value)}<span class="range">{between(low, high)}</span>',
        ]
        lines.append([*cells, fixed(truth), escape(words(row.get("source")))] if with_truth else [*cells, escape(words(row.get("source")))])
    head = ["kind", f"estimate and 95 % interval{charts.scale(domain)}", "value", *(["truth"] if with_truth else []), "from"]
    tick = '<p class="small">The upright tick is the truth of the simulated log.</p>' if with_truth else ""
    return table(head, lines, label="error rates of each kind of feedback", classes="bars") + tick


def weights(run: Run) -> str:
    """What each estimator's weights leave of the log, and what was clipped."""
    rows = mappings(run.get("weights"))
    if not rows:
        return note("No weights were recorded.")
    lines = []
    for row in rows:
        size, n = number(row.get("ess")), number(row.get("n"))
        kept = size / n if size is not None and n else None
        drawn = charts.share(kept, label=f"{percent(kept)} of {short(n)} rows") if kept is not None else ""
        counts = [short(number(row.get(key))) for key in ("n", "max_weight", "clipped", "outside")]
        lines.append([escape(words(row.get("estimator"))), f"{short(size)}", f"{percent(kept)}{drawn}", *counts])
    head = ("estimator", "effective sample size", "share of rows", "rows", "largest weight", "clipped", "targets outside [0, 1]")
    return table(head, lines, label="weights of each estimator", classes="bars")


# ------------------------------------------------------------------------------------------- counts and origin


def books(run: Run) -> str:
    """What was read, and whether every line is accounted for."""
    counts = mapping(run.get("counts"))
    if not counts:
        return note("No counts are recorded.")
    parts = ["committed", "duplicate", "quarantined", "blank"]
    balance = mapping(counts.get("balance")) or (counts if "lines" in counts else {})
    lines, rest = number(balance.get("lines")), [number(balance.get(part)) for part in parts]
    said = ""
    if lines is not None and all(value is not None for value in rest):
        whole_ = sum(value for value in rest if value is not None)
        sum_ = " + ".join(f"{short(value)} {part}" for value, part in zip(rest, parts, strict=True))
        said = (
            f'<p class="balance">✓ The books balance: {short(lines)} lines = {sum_}.</p>'
            if whole_ == lines
            else f'<p class="balance red">✕ The books do not balance: {short(lines)} lines, but {sum_} = {short(whole_)}.</p>'
        )
    plain = {key: value for key, value in counts.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in counts.items() if isinstance(value, Mapping) and value}
    blocks = ([("", plain)] if plain else []) + [(key, dict(value)) for key, value in nested.items()]
    return said + '<div class="facts">' + "".join(facts(key, value) for key, value in blocks) + "</div>"


def facts(title: str, values: Mapping[str, Any], *, separated: bool = True) -> str:
    """A small two-column table of names and values."""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(key).replace("_", " "))}</th><td>{escape(words(value, separated=separated))}</td></tr>'
        for key, value in values.items()
    )
    head = f"<caption>{escape(title.replace('_', ' '))}</caption>" if title else ""
    return f'<div class="scroll"><table class="pairs">{head}<tbody>{rows}</tbody></table></div>'


def limits(run: Run) -> str:
    """What the data cannot support: the run's own sentences, and those that follow from what is missing."""
    found = run.get("limits")
    said = [words(s) for s in found] if isinstance(found, (list, tuple)) else []
    truth = run.get("truth")
    if truth == "gold":
        said.append("The models are measured on gold labels, so the metrics are as good as those labels and as their draw.")
    elif truth != "oracle":
        said.append("No gold labels: nothing here says how right the models are, only what they were trained on.")
    if truth == "oracle":
        said.append("The truth is known because the log is simulated; on a real log only gold labels can say as much.")
    elif number(run.get("recovered")) is None:
        said.append("How much of the gap to an ideal model is recovered cannot be said: that needs the truth of every response.")
    return f'<ul class="limits">{"".join(f"<li>{escape(s)}</li>" for s in said)}</ul>'


def provenance(run: Run) -> str:
    """What made the page: versions, store, seeds."""
    found = mapping(run.get("provenance"))
    if not found:
        return note("No provenance is recorded, so this run cannot be repeated from its page.")
    return facts("", flat(found), separated=False)


def flat(found: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, names joined by a space."""
    rows: dict[str, Any] = {}
    for key, value in found.items():
        rows |= flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return rows


Section = tuple[str, str, str, Callable[[Run], str]]

SECTIONS: tuple[Section, ...] = (
    ("verdict", "Can this log be trusted?", "", verdict),
    ("arms", "Models side by side",
     "Every model below was trained on the same responses and measured in the same way; only what it was told differs.", arms),
    ("reliability", "Does a prediction keep its promise?",
     "Responses are grouped by predicted chance. On the dashed diagonal, what is predicted is what happens; below it the "
     "model promises too much. Larger dots stand for more responses.", reliability),
    ("histograms", "How the rewards are spread",
     "A model whose mean prediction lies far from the mean truth has learned who gives feedback, not what is good.", histograms),
    ("overlap", "Who gives feedback: overlap",
     "Weighting can only repair what was seen sometimes. Where there are silent responses (below the line) and hardly any "
     "with feedback (above it), the log says nothing, and no weight can change that.", overlap),
    ("propensity", "Is the chance of feedback well estimated?",
     "Predicted chance of feedback against how often it was given, on held-out prompts. On the diagonal the weights are right.",
     propensity_calibration),
    ("noise", "How often the record is wrong",
     "Two-sided feedback (thumbs, ratings) errs at two rates, fnr and fpr. One-sided feedback (copies, regenerations) "
     "happens more or less often depending on whether the response is liked.", noise),
    ("weights", "What the weights leave",
     "Unequal weights cost information: the effective sample size is the number of equally weighted rows that would be "
     "worth as much. Clipping trades variance for bias, so it is counted.", weights),
    ("counts", "Counts and books",
     "Every line of the log is accounted for: committed, a duplicate, quarantined with its reason, or blank.", books),
    ("limits", "What these data cannot support", "", limits),
    ("provenance", "Where this page comes from", "", provenance),
)  # fmt: skip

__all__ = ["DASH", "SECTIONS", "Run", "metric", "role_of"]
