"""Who gives feedback, how often it errs, and what the weights leave."""

from unskew.report import charts
from unskew.report.markup import Html, el, figures, join, lines, note, small, table
from unskew.report.models import curve
from unskew.report.values import (
    Run,
    between,
    column,
    fixed,
    mapping,
    mappings,
    number,
    percent,
    proper,
    short,
    words,
)

OF_CHOICES = {
    "fnr": "fnr: the first slot is better, the second is chosen",
    "fpr": "fpr: the second slot is better, the first is chosen",
}
PARAMETERS = {
    "fnr": "fnr: liked, recorded as disliked",
    "fpr": "fpr: disliked, recorded as liked",
    "D": "D = 1 − fnr − fpr: what is left of the signal",
}


def overlap(run: Run) -> Html:
    """Per kind: propensities of the responses with feedback above, of the silent ones below."""
    items = []
    for kind, found in mapping(run.get("propensity")).items():
        shape = mapping(mapping(found).get("histogram"))
        edges, observed, silent = (column(shape.get(key)) for key in ("edges", "observed", "silent"))
        if not proper(edges, observed, silent):
            continue
        said = f"propensity of {kind}: {short(sum(observed))} responses with feedback above, "
        drawn = charts.mirror(
            edges,
            observed,
            silent,
            label=f"{said}{short(sum(silent))} silent below",
            x_label="propensity: chance that feedback is given",
        )
        items.append((kind, join([drawn, small(worth(mapping(found)))])))
    return (
        figures(items) if items else note("No propensity was estimated for any two-sided kind in this run.")
    )


def worth(found: Run) -> str:
    """What the weights of one kind are worth, as far as it was recorded."""
    parts = []
    if (size := number(found.get("ess"))) is not None:
        parts.append(
            f"The weighted feedback is worth {short(size)} independent labels (effective sample size)."
        )
    if (mean := number(found.get("mean_o_over_p"))) is not None:
        parts.append(f"Held-out mean of observed/propensity: {fixed(mean, 2)}, to be near 1.")
    mass = mapping(found.get("clipped_mass"))
    classes = [(number(mass.get(key)), name) for key, name in (("1", "liked"), ("0", "disliked"))]
    if clipped := [f"{percent(part)} of the {name} class" for part, name in classes if part is not None]:
        parts.append(f"Weight that sits on clipped propensities: {' and '.join(clipped)}.")
    return " ".join(parts)


def propensity(run: Run) -> Html:
    """Per kind: the predicted chance of feedback against how often it was given."""
    drawn = [
        curve(
            mapping(found).get("calibration"),
            kind,
            about=f"propensity calibration of {kind}",
            x_label="predicted propensity",
            y_label="share with feedback",
            role="feedback",
            whole=False,
        )
        for kind, found in mapping(run.get("propensity")).items()
    ]
    items = [item for item in drawn if item]
    return figures(items) if items else note("No propensity calibration was recorded.")


def noise(run: Run) -> Html:
    """Every error rate and every P(happened | liked), with its interval, on one scale."""
    rows = mappings(run.get("noise"))
    if not rows:
        return note("No error rates are known: the feedback is taken at its word, or none was two-sided.")
    known = [number(row.get(key)) for row in rows for key in ("estimate", "high", "truth")]
    domain = (0.0, min(charts.ceiling(max((v for v in known if v is not None), default=1.0)), 1.0))
    any_truth = any(number(row.get("truth")) is not None for row in rows)
    body = []
    for row in rows:
        value, low, high, truth = (number(row.get(key)) for key in ("estimate", "low", "high", "truth"))
        kind, parameter = words(row.get("kind")), words(row.get("parameter"))
        said = f"{kind}, {parameter}: {fixed(value)} {between(low, high)}"
        said += f", truth {fixed(truth)}" if truth is not None else ""
        named = PARAMETERS | (OF_CHOICES if kind == "choice" else {})
        meaning = named.get(parameter, parameter.replace("|", " | "))
        drawn = charts.bar(value, low, high, truth=truth, domain=domain, label=said, role="feedback")
        figure = lines(fixed(value), between(low, high))
        last = [fixed(truth)] if any_truth else []
        body.append([lines(kind, meaning), drawn, figure, *last, words(row.get("source"))])
    axis = join(["estimate and 95 % interval", charts.scale(domain)])
    head = ["kind", axis, "value", *(["truth"] if any_truth else []), "from"]
    told = small("The upright tick is the truth of the simulated log.") if any_truth else ""
    return join([table(head, body, label="error rates of each kind of feedback", classes="bars rates"), told])


def weights(run: Run) -> Html:
    """What each estimator's weights leave of the log, and what was clipped."""
    rows = mappings(run.get("weights"))
    if not rows:
        return note("No weights were recorded.")
    body = []
    for row in rows:
        size, n = number(row.get("ess")), number(row.get("n"))
        kept = size / n if size is not None and n else None
        drawn = "" if kept is None else charts.share(kept, label=f"{percent(kept)} of {short(n)} rows")
        counts = [short(number(row.get(key))) for key in ("n", "max_weight", "clipped", "outside")]
        body.append([words(row.get("estimator")), short(size), join([percent(kept), drawn]), *counts])
    head = ["estimator", "effective sample size", "share of rows", "rows", "largest weight", "clipped"]
    outside = el("span", "targets outside [0,\u00a01]", title="corrected targets are not probabilities")
    return table([*head, outside], body, label="weights of each estimator", classes="bars")
