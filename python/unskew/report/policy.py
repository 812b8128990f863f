"""Policies trained on the rewards: what each reward promised, what it was truly worth, at what distance."""

from collections.abc import Sequence

from unskew.report import charts
from unskew.report.charts import Series
from unskew.report.markup import Html, el, figures, join, lines, note, small, table
from unskew.report.models import role_of, titled
from unskew.report.values import Estimate, Run, between, estimate, fixed, mapping, mappings, number, words

CAPTION = (
    "True reward is what the completions are worth by the reward that no policy was trained on (the "
    "simulator's quality, or a gold reward); proxy is the reward that the policy was trained on. KL is the "
    "distance from the policy it started as, in nats a completion. Won: share of held-out prompts on which "
    "the trained policy's completion is better than that of the policy it started as."
)
HACKED = "Where the proxy rises while the true reward falls, the policy lives on mistakes of its reward."
FIGURES = (
    ("true", "true reward"),
    ("liked", "P(liked)"),
    ("proxy", "proxy reward"),
    ("kl", "KL"),
    ("win_rate", "won"),
)
CURVES = (("entropy", "entropy of a token, nats"), ("mean_length", "tokens a completion"), ("kl", "KL, nats"))
SAMPLES = 4
"""Completions shown of each policy."""


def policies(run: Run) -> Html:
    """Table, curves and samples of the policies of a run."""
    found = mapping(run.get("policy"))
    arms = mappings(found.get("arms"))
    if not arms:
        return note("No policy was trained in this run.")
    return join([summary(found, arms), small(CAPTION), over_kl(arms), over_steps(arms), samples(arms)])


def figure_of(arm: Run, name: str) -> Estimate:
    return estimate(mapping(arm.get("final")).get(name))


def summary(found: Run, arms: Sequence[Run]) -> Html:
    """Every policy, the one they all started as first."""
    start = mapping(found.get("start"))
    every: list[tuple[Html | str, Run]] = [(titled(arm), arm) for arm in arms]
    if start:
        every.insert(0, ("before training", start))
    shown = [
        (n, title) for n, title in FIGURES if any(figure_of(arm, n).value is not None for _, arm in every)
    ]
    rows = []
    for name, arm in every:
        cells = [figure_of(arm, key) for key, _ in shown]
        rows.append([name, *(lines(fixed(each.value), between(each.low, each.high)) for each in cells)])
    return table(["policy", *(title for _, title in shown)], rows, label="policies", classes="arms")


def series(arm: Run, x: str, y: str, kind: str, name: str) -> Series | None:
    """A curve of an arm's history; entries without both numbers are left out."""
    points = [
        (a, b)
        for entry in mappings(arm.get("history"))
        if (a := number(entry.get(x))) is not None and (b := number(entry.get(y))) is not None
    ]
    return Series(name, kind, points) if len(points) > 1 else None


def over_kl(arms: Sequence[Run]) -> Html:
    """One panel a policy: proxy and true reward against the distance travelled."""
    items = []
    for arm in arms:
        role = role_of(arm)
        proxy = series(arm, "kl", "reward", f"{role} dashed", "proxy")
        true = series(arm, "kl", "gold", role, "true")
        drawn = [each for each in (proxy, true) if each]
        if drawn:
            about = " and ".join(each.name for each in drawn)
            said = f"{about} reward over KL: {words(arm.get('label'))}"
            chart = charts.curves(drawn, label=said, x_label="KL, nats a completion", y_label="reward")
            items.append((titled(arm), chart))
    if not items:
        return Html()
    return join([el("h3", "Reward over distance"), small(HACKED), figures(items)])


def over_steps(arms: Sequence[Run]) -> Html:
    """All policies over training: rewards, entropy, length, KL."""
    items = []
    for name, title in (("gold", "true reward"), ("reward", "proxy reward"), *CURVES):
        drawn = [found for arm in arms if (found := series(arm, "step", name, role_of(arm), role_of(arm)))]
        if drawn:
            chart = charts.curves(drawn, label=f"{title} over steps", x_label="optimiser step", y_label=title)
            items.append((title, chart))
    return join([el("h3", "Over training"), figures(items)]) if items else Html()


def samples(arms: Sequence[Run]) -> Html:
    """What the policies write."""
    parts = []
    for arm in arms:
        rows = [
            [words(one.get("prompt")), words(one.get("completion")),
             fixed(number(one.get("reward"))), fixed(number(one.get("gold")))]
            for one in mappings(arm.get("samples"))[:SAMPLES]
        ]  # fmt: skip
        if rows:
            body = table(["prompt", "completion", "proxy", "true"], rows, label="samples", classes="samples")
            parts.append(el("details", el("summary", "What it writes: ", titled(arm)), body))
    return join(parts)


def learning(run: Run) -> Html:
    """How a fine-tuned transformer learned: training loss and the held-out measure over steps."""
    history = mappings(mapping(run.get("transformer")).get("history"))
    arm = {"history": history}
    items = []
    for name, title in (
        ("loss", "training loss"),
        ("eval_brier", "held-out corrected Brier"),
        ("eval_mixture", "held-out mixture loss"),
        ("eval_accuracy", "held-out accuracy"),
    ):
        found = series(arm, "step", name, "ours", title)
        if found:
            chart = charts.curves(
                [found], label=f"{title} over steps", x_label="optimiser step", y_label=title
            )
            items.append((title, chart))
    return figures(items) if items else note("Too few steps were logged to draw a curve.")


def outcome(run: Run) -> list[str]:
    """The result in a sentence: what training on a reward was truly worth, in users who like the answers
    where that is known, else in units of the true reward."""
    liked, true = worth(run, "liked"), worth(run, "true")
    found, unit = (liked, " in P(liked)") if liked["ours"] is not None else (true, " in true reward")
    if found["ours"] is None:
        return []
    said = f"A policy trained on the corrected reward is truly worth {fixed(found['ours'], 2)}{unit}"
    if found["start"] is not None:
        said += f" (before training {fixed(found['start'], 2)})"
    if found["naive"] is not None:
        said += f"; trained on the naive reward {fixed(found['naive'], 2)}"
    share = recovered(found)
    if share is not None:
        said += f", on the true reward {fixed(found['ideal'], 2)}: {100 * share:.0f} % of the gap"
        other = recovered(true) if found is liked else None
        said += "" if other is None else f" ({100 * other:.0f} % in the reward's own units)"
    return [f"{said}."]


def worth(run: Run, key: str) -> dict[str, float | None]:
    """What the start and the policies of each role are worth in one unit, None where it is unknown."""
    found = mapping(run.get("policy"))
    arms = mappings(found.get("arms"))
    roles = {
        role: next((figure_of(arm, key).value for arm in arms if role_of(arm) == role), None)
        for role in ("naive", "ours", "ideal")
    }
    return {"start": figure_of(mapping(found.get("start")), key).value, **roles}


def recovered(found: dict[str, float | None]) -> float | None:
    """Share of the gap between naive and true reward that ours recovers, None where there is none."""
    naive, ours, ideal = (found[role] for role in ("naive", "ours", "ideal"))
    if naive is None or ours is None or ideal is None or ideal <= naive:
        return None
    return (ours - naive) / (ideal - naive)
