"""Users who write more than their share, or against everybody else: found, named, set aside by two rules.

**Cap.** With n_u the responses on which user u left any feedback, and `cap` a multiple of the median user,

    limit = cap median of n_u,      each response of u is kept with probability min(1, limit / n_u)

A response that is not kept is set aside, silent or not: its record is neither read nor learned from. The
thinning does not look at the record, so estimates stay what they are, for a log in which u counts for `limit`
responses.

**Contradiction.** Let m(x) score responses, by a model that has not seen the prompt. Two are asked: what
people record about such a response, every user counting about equally, and P(liked | x) of evidence. A label
disagrees when it says liked where m is below its median over the labels of the kind, or disliked above it. By
chance that happens with probability

    e = 1 - pi above the median, pi below it,      pi = sigmoid(shift + scale logit m),  scale >= 0

fitted to as many labels of each user as the median user has: what people at large record there, their error
rates and their selection included. A user whose labels are worth at least half of everybody's disagrees with
probability (e + 1/2) / 2 at most. With D_u disagreements among n_u labels, and b the mean of that bound,

    p value = P(Binomial(n_u, b) >= D_u)   where D_u >= n_u b + 1, else 1

which is at least the exact tail of such labels, unequal as their chances are. Users with a p value below
`LEVEL` / (`MODELS` x number of users) by either model (Bonferroni) are set aside whole. Who is merely harsh,
or answers everything, disagrees more above the median and less below it, and stays. Assumption: labels of one
user are independent given x; a taste that is the reverse of everybody's looks like an attack, so look at who
is named.

Neither rule sees many accounts with few records each; only gold labels do.

Source: Hoeffding, "On the Distribution of the Number of Successes in Independent Trials" (1956), theorem 4.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unskew.audit.measure import two_sided
from unskew.audit.verdict import Gate
from unskew.data import Choices, Examples
from unskew.propensity.calibration import logit, platt, sigmoid
from unskew.rates import Bools, Floats, Ints, binomial_tail

CAP = 20.0
"""Responses with feedback that one user counts for at most, in multiples of the median user."""

LEVEL = 0.01
"""Chance that anybody is set aside as contradicting when nobody should be."""

MODELS = 2
"""Models that labels are compared with."""

TOP = 5
"""Users who are named because they wrote the most."""


@dataclass(frozen=True)
class Contributor:
    """One user.

    Args:
        user: first 16 digits of the pseudonym (`user_key` of the store, hexadecimal).
        responses: shown to them.
        records: those with any feedback.
        share: of all responses with feedback.
        labels: thumbs and ratings that were compared with the model.
        disagree: share of them that disagree; None without labels.
        allowed: share that may, were their labels worth half of everybody's; None without labels.
        p_value: of disagreeing that often by chance, before Bonferroni; None without labels.
        rule: `counted`, `capped` or `left out`.
    """

    user: str
    responses: int
    records: int
    share: float
    labels: int
    disagree: float | None
    allowed: float | None
    p_value: float | None
    rule: Literal["counted", "capped", "left out"]


@dataclass(frozen=True)
class Users:
    """Who wrote a log, and whose records are set aside.

    Args:
        aside: responses whose record is not used. Shape [N].
        users: with any feedback.
        limit: responses with feedback that one of them counts for at most.
        capped, left_out: users under either rule.
        share: of the responses with feedback that is set aside.
        top: who is left out, then who wrote the most.
    """

    aside: Bools = field(repr=False)
    users: int
    limit: float
    capped: int
    left_out: int
    share: float
    top: tuple[Contributor, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "aside"}

    @classmethod
    def of(cls, document: dict[str, Any], aside: Bools) -> "Users":
        """What `to_dict` gave, with its rows."""
        top = tuple(Contributor(**user) for user in document["top"])
        return cls(**{**document, "aside": np.asarray(aside), "top": top})


def gates(users: Users, binds: tuple[str, ...]) -> Iterator[Gate]:
    """What was set aside, in words.

    Args:
        users: who wrote the log.
        binds: the estimators.
    """
    top = max(users.top, key=lambda user: user.records)
    said = (
        f"{users.users:,} users left feedback; the one with most, {top.user}, on {top.records:,} responses "
        f"({top.share:.1%} of all with feedback)."
    )
    if users.capped:
        said += (
            f" {users.capped} {'users count' if users.capped > 1 else 'user counts'} for "
            f"{users.limit:,.0f} responses with feedback, and no more."
        )
    yield Gate("users who write most", top.share, "capped", "green", said, binds)
    out = [user for user in users.top if user.rule == "left out"]
    if not out:
        said = "No user's thumbs or ratings contradict those of all others beyond chance and taste."
        yield Gate("users who contradict all others", 0, "none", "green", said, binds)
        return
    share = sum(user.share for user in out)
    worst = out[0]
    names = ", ".join(user.user for user in out[:TOP]) + (" and others" if len(out) > TOP else "")
    many = len(out) > 1
    who = f"{len(out)} users contradict" if many else "1 user contradicts"
    said = (
        f"{who} all others and {'are' if many else 'is'} left out: {names}. They wrote about {share:.1%} of "
        f"the responses with feedback. Of the {worst.labels:,} thumbs and ratings of the first, "
        f"{worst.disagree or 0:.0%} disagree with what others say of such responses, where "
        f"{worst.allowed or 0:.0%} may. Look at what they write; `user_cap: null` in the settings takes all "
        "records as they came."
    )
    yield Gate("users who contradict all others", share, "none", "amber", said, binds)


def even(user: NDArray[np.uint64]) -> Floats:
    """Weights under which no user outweighs the median user; 1 where no user is logged. Shape as `user`.

        min(1, median of n_u / n_u),   n_u entries of user u

    Args:
        user: who wrote each entry, 0 for nobody.
    """
    _, code, sizes = np.unique(user, return_inverse=True, return_counts=True)
    some = np.unique(user) != 0
    if not some.any():
        return np.ones(len(user))
    most = float(np.median(sizes[some]))
    return np.where(user == 0, 1.0, np.minimum(1.0, most / sizes[code]))


def weigh_users(
    rows: Examples, cap: float, *, scores: Sequence[Mapping[str, Floats]] = (), seed: int = 0
) -> Users | None:
    """Apply both rules; the first alone without a score.

    Args:
        rows: the live rows as they were logged.
        cap: limit of a user in multiples of the median user, > 0.
        scores: of each model, by two-sided kind, a probability of being recorded as liked, or of being liked,
            by fits that have not seen the row; read on observed rows alone. Shape [N] each, in (0, 1).
        seed: decides which responses of a capped user are kept.

    Returns:
        None when no user is logged, or none left feedback.

    Raises:
        ValueError: the cap is not positive.
    """
    if not cap > 0:
        raise ValueError(f"user_cap is {cap}; it must be positive: a multiple of the median user")
    names, code = np.unique(rows.user, return_inverse=True)
    seen = rows.observed.any(1)
    unknown = rows.user == 0
    records = np.bincount(code[seen & ~unknown], minlength=len(names))
    wrote = records > 0
    if not wrote.any():
        return None
    limit = cap * float(np.median(records[wrote]))
    keep = np.minimum(1.0, limit / np.maximum(records, 1))
    aside = np.random.default_rng([seed, 17]).random(len(rows)) >= keep[code]
    p = np.ones(len(names))
    labels, disagree, allowed = (np.zeros(len(names)) for _ in range(3))
    for score in scores:
        found = _compared(rows, np.where(unknown, -1, code), len(names), score)
        by = _p_values(*found)
        better = (by < p) | (labels == 0)
        p = np.where(better, by, p)
        for kept, new in zip((labels, disagree, allowed), found, strict=True):
            kept[better] = new[better]
    out = p < LEVEL / (MODELS * int(wrote.sum()))
    aside |= out[code]
    everything = int(seen.sum())
    capped = (keep < 1) & ~out
    shown = np.bincount(code, minlength=len(names))
    most = np.argsort(-np.where(names == 0, 0, records), kind="stable")
    listed = [*most[out[most]], *most[~out[most] & wrote[most]][:TOP]]
    top = [
        Contributor(
            user=f"{int(names[at]):016x}",
            responses=int(shown[at]),
            records=int(records[at]),
            share=float(records[at] / everything),
            labels=int(labels[at]),
            disagree=float(disagree[at] / labels[at]) if labels[at] else None,
            allowed=float(allowed[at] / labels[at]) if labels[at] else None,
            p_value=float(p[at]) if labels[at] else None,
            rule="left out" if out[at] else "capped" if capped[at] else "counted",
        )
        for at in listed
    ]
    share = float((seen & aside).sum() / everything)
    return Users(aside, int(wrote.sum()), limit, int(capped.sum()), int(out.sum()), share, tuple(top))


def _p_values(labels: Floats, disagree: Floats, allowed: Floats) -> Floats:
    """P(as many disagreements by chance) of each user, 1 where there are hardly more than allowed."""
    p = np.ones(len(labels))
    for at in np.flatnonzero(disagree >= allowed + 1):
        p[at] = binomial_tail(int(disagree[at]), int(labels[at]), float(allowed[at] / labels[at]))
    return p


def _compared(
    rows: Examples, code: Ints, users: int, score: Mapping[str, Floats]
) -> tuple[Floats, Floats, Floats]:
    """Labels of each user, how many disagree, and how many may; summed over the two-sided kinds.

    Rows of nobody have the code -1: many people without a name are no user.
    """
    labels, disagree, allowed = (np.zeros(users) for _ in range(3))
    for column in two_sided(rows):
        at = np.flatnonzero(column.observed & (code >= 0))
        if column.name not in score or len(at) < 2:
            continue
        line, up, who = logit(score[column.name][at]), column.positive[at], code[at]
        usual = _first(who)
        shift, scale = platt(line[usual], up[usual])
        pi = sigmoid(shift + scale * line) if scale > 0 else np.full(len(line), up[usual].mean())
        above = line > np.median(line[usual])
        chance = np.where(above, 1 - pi, pi)
        labels += np.bincount(who, minlength=users)
        disagree += np.bincount(who[up != above], minlength=users)
        allowed += np.bincount(who, (chance + 0.5) / 2, users)
    return labels, disagree, allowed


def _first(who: Ints) -> Bools:
    """Entries among the first of their user, as many as the median user has. Shape as `who`."""
    order = np.argsort(who, kind="stable")
    sizes = np.unique(who, return_counts=True)[1]
    rank = np.arange(len(who)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found = np.zeros(len(who), bool)
    found[order] = rank < np.median(sizes)
    return found


def without(rows: Examples, pairs: Choices | None, aside: Bools) -> tuple[Examples, Choices | None]:
    """Rows and pairs with no record where it is set aside; their gold labels stay.

    Args:
        rows: the live rows.
        pairs: the choices between them.
        aside: responses whose record is not used; a choice is set aside with either response. Shape [N].
    """
    if not aside.any():
        return rows, pairs
    keep = ~aside[:, None]
    names = ("offered", "observed", "positive")
    kept = replace(rows, **{name: getattr(rows, name) & keep for name in names})
    if pairs is None:
        return kept, None
    lost = aside[pairs.a] | aside[pairs.b]
    counts = pairs.counts | {"set_aside": int((lost & pairs.seen).sum())}
    return kept, replace(pairs, label=np.where(lost, np.nan, pairs.label), counts=counts)
