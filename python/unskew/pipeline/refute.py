"""Refutations: attempts to prove an analysis wrong, on the log itself; each must come to nothing.

    refute(material)        all that apply to a log, on the two-sided kind with the most answers

    permuted labels         a model of shuffled labels is at chance on held-out prompts
    dummy label             coins in the place of the truth, recorded alike, come back at their share
    random feature          a column of noise does not move the held-out corrected loss
    added noise             more flips at known rates, undone with the composed rates, do not move it either
    added selection         answers dropped with known probability, undone with the product, leave the value
    negative control        a kind that has nothing to do with quality does not depend on the label
    forced ask              where the product chose whom to ask, the value is that of the weighted rest

Each is a function of a `Log`, refits every nuisance that its change can reach, and returns a `Refutation`: a
figure with its 99 % interval, which must hold what is expected. One in a hundred fails by chance. What passes
is not proved; what fails is wrong. They speak of inverse propensity weights on corrected labels, from the
leading `AXES` axes of the features: seconds, at the price of a coarser model than the one that is trained.

Source: Sharma et al., "DoWhy" (2020), refuters; Shah and Peters, "The Hardness of Conditional Independence
Testing" (2020), for the negative control; Cook and Stefanski, "Simulation-Extrapolation" (1994), added noise.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from unskew.noise import MIN_D, Noise
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material
from unskew.pipeline.one_kind import FOLDS, Log, error, ratio
from unskew.rates import Bools

Z99 = 2.5758293035489004
"""Normal quantile of a 99 % interval."""

COIN = 0.3
"""P(1) of the dummy label; not 1/2, so that exchanged error rates show."""

EXTRA = 0.1
"""Rates of the flips that are added."""


@dataclass(frozen=True)
class Refutation:
    """One attempt.

    Args:
        name: of it.
        kind: of feedback that it is about.
        figure: what was found.
        low, high: its 99 % interval; of the random feature, one standard error of the loss either way.
        expected: what it must hold.
        passed: whether it does.
        sentence: what that means, and what to do.
    """

    name: str
    kind: str
    figure: float
    low: float
    high: float
    expected: float
    passed: bool
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def compose(rates: Noise, miss: float, false: float) -> Noise:
    """Error rates of a record that is flipped once more.

        fnr' = fnr (1 - false) + (1 - fnr) miss,    fpr' = fpr (1 - miss) + (1 - fpr) false

    so that D' = D (1 - miss - false).

    Args:
        rates: of the record.
        miss: P(a recorded 1 becomes 0).
        false: P(a recorded 0 becomes 1).
    """
    fnr = rates.fnr * (1 - false) + (1 - rates.fnr) * miss
    fpr = rates.fpr * (1 - miss) + (1 - rates.fpr) * false
    return replace(rates, fnr=fnr, fpr=fpr)


# --- the attempts ------------------------------------------------------------------------------------------


def permuted_labels(log: Log, seed: int = 0) -> Refutation:
    """Recorded labels dealt anew to the distinct responses: AUC on held-out prompts must be 1/2.

    Rows with the same features keep one label, so a response on both sides of the folds shows; AUC is that
    of one row a distinct response and fold. By chance its variance in a fold is (n_1 + n_0 + 1) / (12 n_1
    n_0), and that of the mean over folds twice what independent ones would give: what two rows of different
    folds have in common counts in the fold of either.
    """
    at = np.flatnonzero(log.seen)
    _, first, code = np.unique(log.X[at], axis=0, return_index=True, return_inverse=True)
    rng = np.random.default_rng([seed, 31])
    dealt = np.zeros(len(log))
    dealt[at] = log.up[at][first][rng.permutation(len(first))][code.reshape(-1)]
    p = log.model(log.seen.astype(np.float64), dealt)
    once = np.unique(np.stack([code.reshape(-1), log.fold[at]]), axis=1, return_index=True)[1]
    rows, total, weight = at[once], 0.0, 0.0
    for number in range(FOLDS):
        held = rows[log.fold[rows] == number]
        liked, other = p[held][dealt[held] == 1], p[held][dealt[held] == 0]
        if len(liked) and len(other):
            ranks = np.searchsorted(np.sort(other), liked, "left") + np.searchsorted(
                np.sort(other), liked, "right"
            )
            precision = 12 * len(liked) * len(other) / (len(held) + 1)
            total += precision * float(ranks.mean()) / (2 * len(other))
            weight += precision
    if not weight:
        raise Refused("labels cannot be shuffled: every answer says the same")
    return _judged(
        log,
        "permuted labels",
        total / weight,
        (2 / weight) ** 0.5,
        0.5,
        "A model of shuffled labels finds nothing on prompts it has not seen: what ours finds is in the "
        "labels.",
        "A model of shuffled labels finds something on prompts it has not seen, so the same responses lie on "
        "both sides of the folds and every held-out figure is too good: give repeats of a text one prompt.",
    )


def dummy_label(log: Log, seed: int = 0) -> Refutation:
    """Coins in the place of the truth, recorded with the error rates where feedback was given.

    The estimator gives (a, b); sum b / N must be the share of the coin. Not self-normalised, so that weights
    whose mean is not 1 show.
    """
    rng = np.random.default_rng([seed, 37])
    coin = rng.random(len(log)) < COIN
    record = rng.random(len(log)) < np.where(coin, 1 - log.rates.fnr, log.rates.fpr)
    b = replace(log, up=record).columns.b
    value = float(b.mean())
    return _judged(
        log,
        "dummy label",
        value,
        error((b - value) / len(log), log.prompt),
        COIN,
        "Coins in the place of the truth, under the same weights and errors, come back at their share.",
        "Coins in the place of the truth do not come back at their share: the weights do not add up to the "
        "responses that were shown. Look at the propensity (mean of o / p, clipped rows) before using them.",
    )


def random_feature(log: Log, seed: int = 0, count: int = 1) -> Refutation:
    """Columns of noise, as large as the features are on average: the held-out loss must stay.

    Within one standard error of the loss itself: two nearly equal models differ by less, never by nothing.
    """
    scale = float(log.X.std(0).mean()) or 1.0
    more = scale * np.random.default_rng([seed, 41]).standard_normal((len(log), count))
    other = replace(log, X=np.column_stack([log.X, more]))
    before, by_row = log.loss(log.score)
    after, _ = other.loss(other.score)
    return _judged(
        log,
        "random feature",
        after - before,
        error(by_row, log.prompt) / Z99,
        0.0,
        "A column of noise among the features does not change the held-out loss.",
        "A column of noise among the features changes the held-out loss: there are too few rows for models "
        "as free as these. Use fewer features, more decay, or a longer log.",
    )


def added_noise(log: Log, seed: int = 0) -> Refutation:
    """Labels flipped again at known rates: the loss of the same predictions must stay under composed rates.

    Raises:
        Refused: so little of the truth is left in the record that no flip can be added.
    """
    extra = min(EXTRA, 0.45 * (1 - 1.1 * float(MIN_D) / log.rates.D)) if log.rates.D > 0 else 0.0
    if extra <= 0:
        raise Refused(f"the record has D = {log.rates.D:.2f}; that is too noisy for more noise to be added")
    flip = np.random.default_rng([seed, 43]).random(len(log)) < extra
    noisy = replace(log, up=log.up ^ flip, rates=compose(log.rates, extra, extra))
    before, by_row = log.loss(log.score)
    after, moved = noisy.loss(log.score)
    plain = replace(log.rates, fnr=0.0, fpr=0.0)
    taken = replace(noisy, rates=plain).loss(log.score)[0] - replace(log, rates=plain).loss(log.score)[0]
    return _judged(
        log,
        "added noise",
        after - before,
        error(moved - by_row, log.prompt),
        0.0,
        f"With {extra:.0%} of the labels flipped, the corrected loss stays; taken as they are, it moves by "
        f"{taken:+.3f}.",
        f"With {extra:.0%} of the labels flipped, the loss moves although that is accounted for: the "
        "correction of flips does not hold here. Check which rates are used.",
    )


def added_selection(log: Log, seed: int = 0) -> Refutation:
    """Answers dropped with probability 1 - h(x): the share of liked must stay when p is multiplied by h.

    h = .2 + .8 sigmoid(2 v),   v the features' leading axis, standardised
    """
    v = log.X[:, int(np.argmax(log.X.std(0)))]
    v = (v - v.mean()) / (v.std() or 1.0)
    h = 0.2 + 0.8 / (1 + np.exp(-2 * v))
    kept = log.seen & (np.random.default_rng([seed, 47]).random(len(log)) < h)
    thinned = replace(log, seen=kept, designed=log.p * h)
    before, by_row = log.value()
    after, moved = thinned.value()
    left = replace(thinned, designed=log.p).value()[0] - before
    return _judged(
        log,
        "added selection",
        after - before,
        error(moved - by_row, log.prompt),
        0.0,
        f"With {1 - kept.sum() / log.seen.sum():.0%} of the answers dropped by what the response says, the "
        f"weights give the same share of liked responses; left alone, it moves by {left:+.3f}.",
        "With answers dropped by what the response says, the weights do not give the same share of liked "
        "responses, though the probabilities are known: too many of them lie below the floor. Nothing but "
        "more feedback on rarely answered responses helps.",
    )


def negative_control(log: Log, happened: Bools, kind: str = "the control") -> Refutation:
    """P(a kind happened) by recorded label, the text held fixed; 0 when it has nothing to do with quality.

        effect = sum (c - c(x)) (y - y(x)) / sum (y - y(x))^2     over answered rows, c(x), y(x) out of fold

    Holds under any selection of the answers by text or label, as long as the kind depends on neither.

    Args:
        log: the labels.
        happened: did the kind happen. Shape [N].
        kind: its name.
    """
    a, c, y = log.seen.astype(np.float64), happened.astype(np.float64), log.up.astype(np.float64)
    rest = (c - log.model(a, a * c)) * a
    label = (y - log.model(a, a * y)) * a
    effect, by_row = ratio(rest * label, label**2)
    return _judged(
        log,
        "negative control",
        effect,
        error(by_row, log.prompt),
        0.0,
        f"{kind} has nothing to do with the label once the text is known, as it should.",
        f"{kind}, which should have nothing to do with quality, goes with the label although the text is "
        "held fixed: something that no feature shows (a habit of users, a surface) drives both, and kinds "
        "are not independent evidence.",
    )


def forced_ask(log: Log) -> Refutation:
    """Rows on which the product set P(feedback) against the rest under fitted weights: one share of liked.

    Raises:
        Refused: no answered row, or every one, was asked by design.
    """
    asked = np.zeros(len(log), bool) if log.designed is None else ~np.isnan(log.designed)
    if not (log.seen & asked).any() or not (log.seen & ~asked).any():
        raise Refused("a forced ask needs answers with a designed propensity, and answers without one")
    first, by_asked = log.value(asked)
    second, by_rest = log.value(~asked)
    return _judged(
        log,
        "forced ask",
        second - first,
        error(by_rest - by_asked, log.prompt),
        0.0,
        f"Where the product decided whom to ask, {first:.1%} are liked; the rest, weighted, says "
        f"{second:.1%}.",
        f"Where the product decided whom to ask, {first:.1%} are liked; the rest says {second:.1%} in spite "
        "of its weights: who answers depends on more than the text, most likely on liking it. Use evidence "
        "or class-wise weights, not weights from features.",
    )


def refute(material: Material, *, control: str | None = None, seed: int = 0) -> list[Refutation]:
    """All attempts that apply, on the two-sided kind with the most answers.

    Args:
        material: rows and nuisances.
        control: kind of feedback that is said to have nothing to do with quality.
        seed: seed of what is shuffled and drawn.

    Raises:
        Refused: no two-sided kind has answers, silence and error rates.
        ValueError: the control is not among the kinds of the log.
    """
    log = Log.of(material)
    attempts: list[Callable[[], Refutation]] = [
        partial(attempt, log, seed)
        for attempt in (permuted_labels, dummy_label, random_feature, added_noise, added_selection)
    ]
    if control is not None:
        attempts.append(partial(negative_control, *with_control(material, control), control))
    attempts.append(partial(forced_ask, log))
    return [found for attempt in attempts if (found := _applied(attempt)) is not None]


def _applied(attempt: Callable[[], Refutation]) -> Refutation | None:
    """What an attempt found; None when it does not apply to the log."""
    try:
        return attempt()
    except Refused:
        return None


def with_control(material: Material, control: str) -> tuple[Log, Bools]:
    """The labels on rows that offered a control too, and whether it happened there.

    Raises:
        ValueError: the log has no such kind.
    """
    rows = material.examples
    names = [kind.name for kind in rows.kinds]
    if control not in names:
        raise ValueError(f"the negative control is {control!r}; it must be one of {', '.join(names)}")
    k = rows.kind(control)
    log = Log.of(material, material.usable[:, k])
    happened = (rows.positive if rows.kinds[k].one_sided else rows.observed)[:, k]
    return log, happened[log.row]


def _judged(
    log: Log, name: str, figure: float, error: float, expected: float, good: str, bad: str
) -> Refutation:
    low, high = figure - Z99 * error, figure + Z99 * error
    passed = low <= expected <= high
    return Refutation(name, log.rates.kind, figure, low, high, expected, passed, good if passed else bad)
