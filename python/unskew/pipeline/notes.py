"""What the counts of a log say beside its verdict: young responses, logged probabilities, change over time,
and kinds that come together.

Notes bind no estimator. Each is a sentence that follows from counts alone, and is left out where there is
nothing to say.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from unskew import data, evaluate, noise, propensity
from unskew.audit.judge import speaking
from unskew.audit.measure import two_sided
from unskew.data import RANDOM, Examples, Store
from unskew.rates import Bools, Share

YOUNG = 0.01
"""Part of all answers still to come from which it is worth a sentence."""

WINDOWS = 4
"""Parts of equally many responses, in the order of time."""

SHIFT, LEVEL = 0.1, 0.001
"""PSI from which a mix has changed, and the level at which that is no chance."""

CHANGE = 0.25
"""Change of the share of answered responses that matters, as a part of it."""

DIMENSIONS = {"model": "models", "surface": "surfaces", "slot": "slots", "lang": "languages"}


def notes(store: Store, rows: Examples) -> list[str]:
    """Sentences about the live rows of a store, every record in its place."""
    return [*_young(store, rows), *_policies(store, rows), *_change(store, rows), *together(rows)]


def _young(store: Store, rows: Examples) -> Iterator[str]:
    """How often each two-sided kind comes once its time is over, where many answers are still to come."""
    for column in two_sided(rows):
        k = rows.kind(column.name)
        try:
            delay, age = data.delays(store, rows, column.name)
            there = rows.offered[:, k] & (age >= 0)  # not shown after the watermark
            delay, age = delay[there], age[there]
            found = propensity.corrected(delay, age, propensity.delays(delay, age))
        except ValueError:  # nothing came before the watermark, or the store is from before delays were kept
            continue
        n, waiting = len(age), int((~rows.closed[there, k]).sum())
        rate, so_far = float(found.rate[0]), float(found.answers[0] / n)
        if rate - so_far < YOUNG * rate or not np.isfinite(found.variance[0]):
            continue
        low, high = Share(rate, float(found.variance[0])).interval
        yield (
            f"{waiting:,} of {n:,} responses that offered {column.name} are still open, which is not "
            f"silence: {so_far:.1%} have an answer so far, and by how long answers take {rate:.1%} "
            f"[{low:.1%}, {high:.1%}] will have one."
        )


def _policies(store: Store, rows: Examples) -> Iterator[str]:
    """What speaks against the logged probabilities of each policy."""
    import pyarrow as pa

    if np.isnan(rows.policy_prob).all():
        return
    shown = store.table("impressions", ["policy_id", "model"]).take(pa.array(rows.row))
    policy, model = (np.array(shown[name].fill_null("").to_pylist(), str) for name in shown.column_names)
    for name in np.unique(policy[~np.isnan(rows.policy_prob)]):
        here = policy == name
        found = propensity.check_policy(rows.policy_prob[here], request=rows.group[here])
        about = f"Policy {name}: " if name else ""
        yield from (f"{about}{sentence}" for sentence in found.warnings())
        seen, arms = len(np.unique(model[here & ~np.isnan(rows.policy_prob)])), found.arms
        if seen > 1 and abs(arms["value"] - seen) > max(arms["high"] - arms["low"], 0.05):  # four errors
            yield (
                f"{about}The logged probabilities behave like a draw among {arms['value']:.1f} "
                f"[{arms['low']:.1f}, {arms['high']:.1f}], and {seen} models were shown: they are wrong, not "
                "every model could always be drawn, or it was not the model that was drawn."
            )


def _change(store: Store, rows: Examples) -> Iterator[str]:
    """What is shown, or who answers, changed on the way."""
    time = data.shown_at(store, rows.row)
    order = np.argsort(time, kind="stable")
    if len(rows) < WINDOWS:
        return
    window = np.empty(len(rows), np.int64)
    window[order] = np.arange(len(rows)) * WINDOWS // len(rows)
    cells = store.table("cells", list(DIMENSIONS))
    for name, words in DIMENSIONS.items():
        values = np.array(["" if value is None else str(value) for value in cells[name].to_pylist()], str)
        moved = [part for part in evaluate.mix_drift(values[rows.cell], window) if part["psi"] > SHIFT]
        for part in moved:
            if part["p"] < LEVEL:
                yield (
                    f"The mix of {words} changed in part {part['window'] + 1} of {WINDOWS} of the log: "
                    f"{part['most'] or 'none'} went from {part['before']:.0%} to {part['share']:.0%} of the "
                    f"responses (PSI {part['psi']:.2f})."
                )
    for column in two_sided(rows):
        usable: Bools = column.usable[order]
        answered = column.observed[order][usable].astype(np.float64)
        if not answered.any():
            continue
        alarm = evaluate.page_hinkley(answered, change=CHANGE * float(answered.mean()))
        if alarm is not None:
            when = np.datetime_as_string(time[order][usable][alarm.since], unit="h")
            yield f"How often {column.name} is answered went {alarm.direction} around {when} UTC."


def together(rows: Examples) -> Iterator[str]:
    """Kinds that are given together more, or less, often than liking explains, on random gold labels.

    Whether a kind is given, not what it says: an exact test for each two kinds, `LEVEL` for all of them.
    """
    sure = (rows.gold_design == RANDOM) & ((rows.gold == 0) | (rows.gold == 1))
    names, usable = speaking(rows), rows.offered & rows.closed
    given = [np.where(usable[:, k], rows.observed[:, k], np.nan) for k in map(rows.kind, names)]
    pairs = list(combinations(range(len(names)), 2))
    for a, b in pairs:
        known = sure & ~np.isnan(given[a] + given[b])
        if not known.any():
            continue
        found = noise.independence(given[a][known], given[b][known], rows.gold[known])
        if found.p * len(pairs) < LEVEL:
            more = "more" if found.pooled.odds_ratio > 1 else "less"
            yield (
                f"Of {int(known.sum()):,} random gold labels, {names[b]} comes {more} often where {names[a]} "
                f"does, among responses that are liked alike (odds ratio {found.pooled.odds_ratio:.1f}, p "
                f"value {found.p:.1g}). Evidence allows for that as far as features and habits of users "
                "explain it; rates and weights of a class take it for chance."
            )
