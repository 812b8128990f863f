"""The gates: every figure beside its limit, for every kind of feedback and every estimator.

    estimator            reads                              refused by
    noise_corrected      fnr, fpr                           rates, gold test, few examples, no gold
    ips, snips,          fnr, fpr, p                        the same, and weights, silence, class propensity
      doubly_robust
    classwise_ips        fnr, fpr, p1, p0                   rates, few examples, no gold, features that decide
    evidence             everything recorded, gold          silence, no gold

`mrdr` and `shrunk_dr` are judged as doubly_robust, `shrunk_ips` as ips, `imputation` as evidence; choices are
judged in `choices`, estimators that read one-sided kinds alone in `one_sided`.

A kind that fails is left out of an estimator; an estimator with no kind left is refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from unskew.audit import measure
from unskew.audit.measure import Classes, Column
from unskew.audit.verdict import Colour, Gate
from unskew.data import Examples
from unskew.noise import MIN_D, MIN_D_LOW, Noise
from unskew.propensity import FLOOR, Classwise, Propensity
from unskew.rates import Floats

ESS_RED, ESS_AMBER = 200, 1000
"""Effective sample sizes below which weights are refused, or doubted."""

EXAMPLES = 100
"""Observed responses of each class that are needed."""

SHARE = 0.01
"""The same as a share of the responses on which the kind was offered, asked for when there is no gold."""

MEAN_LOW, MEAN_HIGH = 0.8, 1.25
"""Range of the held-out mean(o / p)."""

SIGNIFICANCE = 0.01
"""Level at which gold rejects that feedback does not depend on the label."""

LABEL_TEST = "p1 = p0 given the propensity"
"""Name of that gate."""

REACH = 3.4
"""Standard errors that a class which answers twice as often must come to: 80 % power at that level."""

FEATURE_TEST = "features given the label"
"""Name of the gate of class-wise weights that asks the other way round."""

CLASS_LOW = 0.02
"""Least lower 95 % bound of the smaller class propensity."""

CLIPPED = 0.2
"""Largest share of the weight of a class that the floor may take away."""

D_AMBER = 0.4
"""D below which a kind is weak."""

DIFFERENCE = 0.1
"""Largest standardised difference after weighting."""

GOLD = 50
"""Gold labels below which a log counts as having none."""

WEIGHTS = ("ips", "snips", "doubly_robust")
TARGETS = ("noise_corrected", *WEIGHTS, "classwise_ips")
FAMILIES = ("evidence", "classwise_ips", "doubly_robust", "snips", "ips", "noise_corrected")
"""Estimators, the one to try first in front."""


@dataclass(frozen=True)
class Case:
    """What is known about one two-sided kind."""

    examples: Examples = field(repr=False)
    column: Column
    propensity: Propensity | None
    rates: Noise | None
    known: Classwise | None
    counts: Classes | None
    posterior: Floats | None = field(repr=False)
    quality: Floats | None = field(repr=False)
    covariates: Mapping[str, NDArray[Any]] = field(repr=False)
    gold: bool

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def share(self) -> float | None:
        """Observed rows of the rarer class as a share of the usable rows, None when nobody can count them."""
        return None if self.counts is None else self.counts.fewest / max(self.column.n, 1)

    @property
    def designed(self) -> bool:
        """Whether the product itself decided, with known probabilities, whom to ask."""
        return self.propensity is not None and self.propensity.source == "logged"

    def gate(
        self,
        name: str,
        value: float | str | None,
        limit: str,
        colour: Colour,
        sentence: str,
        binds: Sequence[str],
    ) -> Gate:
        return Gate(f"{self.name}: {name}", value, limit, colour, sentence, tuple(binds), self.name)


# --- gates of one kind -------------------------------------------------------------------------------------


def _silence(case: Case) -> Iterator[Gate]:
    silent, name = case.column.silent, case.name
    fine = silent > 0 or case.designed
    said = (
        f"{silent:,} of {case.column.n:,} responses that offered {name} got none, so how often people answer "
        "can be seen."
        if fine
        else f"Every response that offered {name} has an answer to it, so the log seems to keep voted rows "
        "only. How often people answer cannot be known, and weights have nothing to stand on. Log the "
        "responses that nobody voted on, too."
    )
    colour: Colour = "green" if fine else "red"
    yield case.gate("silent responses", silent, "at least 1", colour, said, (*WEIGHTS, "classwise_ips"))
    if not fine:
        said = f"A model of {name} alone speaks for the people who vote, not for everyone."
        yield case.gate("voters only", silent, "at least 1", "amber", said, ("noise_corrected",))


def _weights(case: Case) -> Iterator[Gate]:
    if case.propensity is None:
        return
    found, name = case.propensity.report, case.name
    colour: Colour = "red" if found.ess < ESS_RED else "amber" if found.ess < ESS_AMBER else "green"
    said = f"After weighting, the {found.seen:,} answers to {name} are worth {found.ess:,.0f} equal ones."
    if colour != "green":
        said += " A few rare answers carry most of the weight."
    yield case.gate(
        "effective sample size", found.ess, f"{ESS_RED} (amber below {ESS_AMBER})", colour, said, WEIGHTS
    )
    mean = measure.mean_weight(case.column, case.propensity)
    colour = "green" if MEAN_LOW <= mean <= MEAN_HIGH else "red"
    said = (
        f"On rows not used to fit it, the propensity of {name} gives a mean weight of {mean:.2f} above its "
        "floor; right is 1."
    )
    if colour == "red":
        said += " The propensity does not describe who answers."
    yield case.gate("mean of o / p", mean, f"{MEAN_LOW} to {MEAN_HIGH}", colour, said, WEIGHTS)


def _clipping(case: Case) -> Iterator[Gate]:
    share = measure.liked_share(case.column, case.rates, case.posterior)
    if case.propensity is None or share is None:
        return
    mass = measure.clipped_mass(case.column, case.propensity, share)
    value = max(mass.values())
    said = (
        f"Raising small propensities of {case.name} to the floor takes away {mass['1']:.0%} of the weight of "
        f"liked and {mass['0']:.0%} of disliked responses."
    )
    colour: Colour = "amber" if value > CLIPPED else "green"
    yield case.gate("clipped mass of a class", value, f"at most {CLIPPED}", colour, said, WEIGHTS)


def _balance(case: Case) -> Iterator[Gate]:
    if case.propensity is None:
        return
    found = measure.balance(case.column, case.propensity.p, case.covariates)
    if not found:
        return
    name = max(found, key=lambda key: abs(found[key][1]))
    value = abs(found[name][1])
    colour: Colour = "amber" if value > DIFFERENCE else "green"
    said = (
        f"After weighting, answered and all responses differ most in {name}: by {value:.2f} standard "
        f"deviations ({abs(found[name][0]):.2f} before)."
    )
    yield case.gate("balance after weighting", value, f"at most {DIFFERENCE}", colour, said, WEIGHTS)
    name = max(found, key=lambda key: abs(found[key][0]))
    value = abs(found[name][0])
    colour = "amber" if value > DIFFERENCE else "green"
    said = f"Without weights, answered and all responses differ most in {name}: by {value:.2f} deviations."
    yield case.gate(
        "balance without weights", value, f"at most {DIFFERENCE}", colour, said, ("noise_corrected",)
    )


def _noise(case: Case) -> Iterator[Gate]:
    limit = f"above {MIN_D}, lower bound at least {MIN_D_LOW} (amber below {D_AMBER})"
    rates, name = case.rates, case.name
    if rates is None:
        said = (
            f"How often {name} is pressed by mistake is unknown: there are no gold labels on both classes of "
            "its answers and no rates were given. Correcting a record needs its error rates."
        )
        yield case.gate("error rates", None, limit, "red", said, TARGETS)
        return
    D = rates.D
    low = rates.interval["D"][0]
    said = (
        f"A liked response is recorded as disliked in {rates.fnr:.0%} of answers to {name}, a disliked one "
        f"as liked in {rates.fpr:.0%}; D = {D:.2f}, at least {low:.2f}."
    )
    if rates.refusal:
        yield case.gate("error rates", D, limit, "red", f"{said} That is too noisy to be corrected.", TARGETS)
        weak = f"{name} is so noisy, or its noise so little known, that it counts for little as evidence."
        yield case.gate("error rates as evidence", D, limit, "amber", weak, ("evidence",))
        return
    colour: Colour = "amber" if D < D_AMBER else "green"
    yield case.gate("error rates", D, limit, colour, said, TARGETS)
    if rates.source in ASSUMED:
        said = f"The error rates of {name} {ASSUMED[rates.source]}; nothing but gold labels can confirm them."
        yield case.gate(f"rates from {rates.source}", rates.source, "gold or known", "amber", said, TARGETS)


ASSUMED = {
    "anchors": "are read off the ends of a fitted curve, which selection shifts",
    "confident joint": "rest on predictions that are right about who is sure, which selection shifts",
    "agreement": "rest on labels that err independently; errors that people share do not show",
    "swaps": "rest on two orders that err independently; a preference for the worse answer shows in neither",
    "dawid-skene": "rest on sources that err independently; errors that they share do not show",
}
"""Where rates come from without gold, and on what they rest."""


def _label_test(case: Case) -> Iterator[Gate]:
    if not case.gold:
        return
    p = None if case.propensity is None else case.propensity.p
    found = measure.label_test(case.examples, case.column, p, case.quality)
    name, binds = case.name, ("noise_corrected", *WEIGHTS)
    limit = f"at least {SIGNIFICANCE}"
    if found is None:
        said = f"No gold label lies on an answered, or none on a silent response to {name}."
        yield case.gate(LABEL_TEST, None, limit, "amber", said, binds)
        return
    value = found.p
    if value >= SIGNIFICANCE:
        said = (
            f"Gold labels do not show that answering {name} depends on liking the response beyond what the "
            f"propensity explains (p value {value:.2g})."
        )
        colour: Colour = "green"
        if found.reach < REACH:
            colour = "amber"
            said += " They are too few to show it, even if one class answered twice as often as the other."
    else:
        said = (
            f"Gold labels show that people answer {name} more often about one class"
            f"{_often(case.known)}, beyond what the propensity explains (p value {value:.1g}). Weights from "
            "features are wrong here; class-wise weights and evidence allow for it."
        )
        colour = "red"
    yield case.gate(LABEL_TEST, value, limit, colour, said, binds)
    if p is not None and (other := measure.feature_test(case.examples, case.column, p)) is not None:
        yield _features(case, other, found)


def _features(case: Case, value: float, test: measure.LabelTest) -> Gate:
    """Class-wise weights take it that the label alone decides who answers."""
    limit, name = f"at least {SIGNIFICANCE}", case.name
    if value >= SIGNIFICANCE:
        said = (
            f"Gold labels do not show that answering {name} depends on the features of responses that are "
            f"liked alike (p value {value:.2g})."
        )
        few = test.reach < REACH
        said += " They are few: a dependence may be missed." if few else ""
        colour: Colour = "amber" if few else "green"
        return case.gate(FEATURE_TEST, value, limit, colour, said, ("classwise_ips",))
    said = (
        f"Gold labels show that features decide who answers {name} among responses that are liked alike (p "
        f"value {value:.1g}), which class-wise weights do not undo."
    )
    if test.p < SIGNIFICANCE:
        return case.gate(FEATURE_TEST, value, limit, "amber", said, ("classwise_ips",))
    said += " They do not show that liking decides: weights from features are the right ones here."
    return case.gate(FEATURE_TEST, value, limit, "red", said, ("classwise_ips",))


def _often(known: Classwise | None) -> str:
    return "" if known is None else f" ({known.p1:.1%} when liked, {known.p0:.1%} when not)"


def _examples(case: Case) -> Iterator[Gate]:
    if case.counts is None:
        return
    counts, name = case.counts, case.name
    which = "disliked" if counts.disliked <= counts.liked else "liked"
    said = (
        f"About {counts.fewest:,.0f} truly {which} responses have an answer to {name} (by {counts.source}); "
        f"at least {EXAMPLES} of each class are needed."
    )
    few = counts.fewest < EXAMPLES
    limit = f"at least {EXAMPLES}"
    yield case.gate(
        "observed examples of a class", counts.fewest, limit, "red" if few else "green", said, TARGETS
    )
    if counts.low is None or counts.p1 is None or counts.p0 is None:
        return
    yield case.gate("smaller class propensity", *speaks(name, counts), TARGETS)


def speaks(name: str, counts: Classes) -> tuple[float, str, Colour, str]:
    """Value, limit, colour and sentence about the class that answers less."""
    low, p1, p0 = counts.low or 0.0, counts.p1 or 0.0, counts.p0 or 0.0
    said = (
        f"People answer {name} on {p1:.1%} of liked and {p0:.1%} of disliked responses; the smaller may be "
        f"as low as {low:.1%}."
    )
    if low >= CLASS_LOW:
        return low, f"lower bound at least {CLASS_LOW}", "green", said
    said += " One class hardly ever speaks, and weights cannot make up for that."
    return low, f"lower bound at least {CLASS_LOW}", "red", said


def _no_gold(case: Case) -> Iterator[Gate]:
    if not case.gold and not case.designed:
        yield case.gate("no gold", *unchecked(case.name, case.counts, case.column.n), TARGETS)


def unchecked(name: str, counts: Classes | None, n: int) -> tuple[float | None, str, Colour, str]:
    """Value, limit, colour and sentence about selection that no gold label can check."""
    limit = f"gold, or at least {EXAMPLES} and {SHARE:.0%} of each class observed"
    if counts is None:
        said = (
            f"Without gold labels or known error rates nobody can say how many answers to {name} are about "
            "disliked responses."
        )
        return None, limit, "red", said
    share = counts.fewest / max(n, 1)
    said = (
        f"Without gold labels nothing in the log tells whether liking a response changes who answers {name}. "
        f"About {counts.fewest:,.0f} answers, {share:.2%} of {n:,} responses, are of the rarer class (by "
        f"{counts.source})"
    )
    if counts.fewest < EXAMPLES or share < SHARE:
        said += f"; below {EXAMPLES} or {SHARE:.0%} the other class drowns it, however long the log grows."
        return share, limit, "red", said
    return share, limit, "amber", f"{said}."


def _classwise(case: Case) -> Iterator[Gate]:
    binds = ("classwise_ips",)
    if case.known is None:
        said = (
            f"Class-wise weights of {case.name} need its propensity for liked and for disliked responses, "
            "which only gold labels or a base rate can tell."
        )
        yield case.gate("class propensities", None, "gold or a base rate", "red", said, binds)
        return
    if case.rates is None or case.rates.refusal or case.rates.D <= 0:
        return
    value = measure.classwise_ess(case.column, case.known, case.rates, FLOOR)
    colour: Colour = "red" if value < ESS_RED else "amber" if value < ESS_AMBER else "green"
    said = f"With class-wise weights, the answers to {case.name} are worth {value:,.0f} equal ones."
    limit = f"{ESS_RED} (amber below {ESS_AMBER})"
    yield case.gate("class-wise effective sample size", value, limit, colour, said, binds)


RULES: tuple[Callable[[Case], Iterator[Gate]], ...] = (
    _silence,
    _weights,
    _clipping,
    _balance,
    _noise,
    _label_test,
    _examples,
    _no_gold,
    _classwise,
)
"""Every rule about one kind; a new one is a function and a line here."""
