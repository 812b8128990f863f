"""The result of a run in words, from its numbers alone."""

from unskew.report.models import metric, role_of
from unskew.report.policy import outcome
from unskew.report.values import Estimate, Run, fixed, mapping, mappings, number, paired, percent, strings

AGAINST = {
    "oracle": "Measured against the known truth of the simulated log",
    "gold": "Measured on gold labels",
    "gold pairs": "Measured on gold pairs: which of two responses is better",
}


def evaluated(run: Run) -> bool:
    """Whether a run measured a model and trained none."""
    return bool(mappings(mapping(run.get("evaluation")).get("ways"))) and not run.get("estimator")


def finding(run: Run) -> list[str]:
    """Sentences for the top of the page; the first stands by itself."""
    if evaluated(run):
        found = mapping(run.get("evaluation"))
        first, *rest = [*strings(found.get("sentences")), ""][:3]
        about = [*rest, first] if found.get("in_sample") is False else [first, *rest]
        told = [said for said in (*strings(mapping(run.get("against")).get("sentences")), *about) if said]
        return told[:3] or ["A model was measured; nothing says how good it is."]
    arms = mappings(run.get("arms"))
    if run.get("policy") and not (arms or run.get("verdict")):
        return outcome(run) or ["A policy was trained; nothing says what it is truly worth."]
    naive, ours, ideal = (
        next((a for a in arms if role_of(a) == role), {}) for role in ("naive", "ours", "ideal")
    )
    before, after, bound = (metric(arm, "brier") for arm in (naive, ours, ideal))
    if before.value is None or after.value is None:
        known = sum(metric(arm, "brier").value is not None for arm in arms)
        if not known:
            return [
                "This run does not say how right its models are: it holds neither gold nor a simulated truth."
            ]
        missing = "a naive" if before.value is None else "a corrected"
        return [
            f"This run measures {known} of its models, but not {missing} one, so there is nothing to compare."
        ]
    level = level_error(naive), level_error(ours)
    one = "pair by pair" if paired(run) else "response by response"
    first = headline(before.value, after.value, level, number(run.get("recovered")), one)
    said = [first, *caution(run), *basis(run, before, after, bound), *levels(naive, ours)]
    return [*said, *outcome(run)]


def headline(
    before: float,
    after: float,
    level: tuple[float | None, float | None],
    recovered: float | None,
    one: str = "response by response",
) -> str:
    """How wrong the naive model is, and what the correction gives back."""
    scores = f"Brier score {fixed(after)} against {fixed(before)}"
    if level[0] is None or level[1] is None:
        said = f"The naive model has a Brier score of {fixed(before)}, the corrected one {fixed(after)}; "
    else:
        said = f"The naive model misjudges the share of liked responses by {100 * level[0]:.1f} points, "
        said += f"the corrected one by {100 * level[1]:.1f}; "
    if after > before:
        return said + f"{one} the corrected model is worse here ({scores})."
    if recovered is None:
        smaller = percent((before - after) / before if before else 0.0)
        return f"{said}{one} its error is {smaller} smaller ({scores})."
    gap = f"{percent(recovered)} of the gap to a model trained on every true label"
    return said + f"{one}, the correction recovers {gap}."


def level_error(arm: Run) -> float | None:
    """|mean prediction - mean truth|, in probability."""
    error = metric(arm, "mean_error").value
    if error is None:
        predicted, truth = metric(arm, "mean_prediction").value, metric(arm, "mean_truth").value
        error = None if predicted is None or truth is None else predicted - truth
    return None if error is None else abs(error)


def caution(run: Run) -> list[str]:
    if mapping(run.get("verdict")).get("colour") != "red":
        return []
    return ["The audit of this log is red: read the verdict below before using any figure."]


def basis(run: Run, before: Estimate, after: Estimate, bound: Estimate) -> list[str]:
    """What the finding is measured against, and whether chance could explain it."""
    told = f"{run.get('truth')}{' pairs' if paired(run) else ''}"
    against = AGAINST.get(told, "What it is measured against is not recorded")
    scores = f"naive {fixed(before.value)}, corrected {fixed(after.value)}"
    scores += f", a model trained on every true label {fixed(bound.value)}" if bound.value is not None else ""
    said = [f"{against}. Brier scores (lower is better): {scores}."]
    ends = (before.low, before.high, after.low, after.high)
    low, high, other_low, other_high = (0.0 if end is None else end for end in ends)
    if None not in ends and low <= other_high and other_low <= high:
        said.append("The 95 % intervals of the two overlap, so the difference may be chance.")
    return said


def levels(naive: Run, ours: Run) -> list[str]:
    """The share of liked responses, in truth and as predicted."""
    truth = metric(naive, "mean_truth").value
    before, after = (metric(arm, "mean_prediction").value for arm in (naive, ours))
    if truth is None or before is None or after is None:
        return []
    return [
        f"Liked in truth: {percent(truth)} of responses. Predicted: {percent(before)} by the naive model, "
        f"{percent(after)} by the corrected one."
    ]
