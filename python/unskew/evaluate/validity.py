"""May the interval of a way of measuring be believed, under what an audit found? One rule a line, in words.

    way             reads                               holds when
    naive           records as they are                 never as a measure of all responses
    snips           rates, p(x)                         feedback depends on the features alone
    doubly_robust   rates, p(x), imputation             the same
    classwise_ips   rates, p1, p0 from gold             feedback depends on the label alone
    corrected       rates                               for the rows with feedback alone (choices)
    powered         random gold, any pseudo-labels      whoever answers, whatever the errors
    gold            random gold                         the same

Nothing holds on rows that the model was trained on. A way that can be checked against gold and fails is not
valid, whatever else is known.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Way = Literal["naive", "snips", "doubly_robust", "classwise_ips", "corrected", "powered", "gold"]
WAYS: tuple[Way, ...] = get_args(Way)
"""Ways of measuring a model, from what takes most on trust to what takes least."""

Selection = Literal["features", "label", "designed", "unknown"]
"""What gold says about who gives feedback: the features explain it, the hidden label plays a part, the
product decided whom to ask, or nothing checks it."""

ENOUGH = 50
"""Random gold labels from which on an interval by the normal curve holds."""

DISAGREES = 0.01
"""p value of `gold_test` below which a way is wrong."""


@dataclass(frozen=True)
class Validity:
    """A verdict on an interval.

    Args:
        valid: True or False; None when nothing that was recorded can tell.
        why: one sentence.
    """

    valid: bool | None
    why: str


def validity(
    way: Way,
    *,
    selection: Selection,
    gold: int,
    in_sample: bool | None = False,
    random: bool = True,
    refused: str = "",
    disagrees: float | None = None,
) -> Validity:
    """Whether the interval of a way of measuring may be believed.

    Args:
        way: one of `WAYS`.
        selection: what gold says about who gives feedback.
        gold: labels that the ways from gold rest on, >= 0.
        in_sample: the model was trained on these rows; None when nobody knows.
        random: the gold was drawn at random; else its stated probabilities are trusted.
        refused: why the audit refuses the weights or the rates of this way, empty when it does not.
        disagrees: least p value of `gold_test` on this way; None when it was not tested.

    Raises:
        ValueError: an unknown way.

    Example:
        >>> validity("snips", selection="label", gold=200).valid
        False
        >>> validity("powered", selection="label", gold=200).valid
        True
    """
    if way not in WAYS:
        raise ValueError(f"way is {way!r}; it must be one of {', '.join(WAYS)}")
    if in_sample:
        return Validity(False, "The model was trained on these rows, so it looks better here than it is.")
    found = _rows(way, selection, gold, random, refused, disagrees)
    if in_sample is None and found.valid:
        return Validity(None, f"{found.why} Nothing tells whether the model was trained on these rows.")
    return found


def _rows(
    way: Way, selection: Selection, gold: int, random: bool, refused: str, disagrees: float | None
) -> Validity:
    """The same for rows that the model has not seen."""
    if way == "naive":
        return Validity(False, "Who answers, and what they press by mistake, are part of this figure.")
    if way in ("powered", "gold"):
        return _from_gold(gold, random)
    if way == "corrected":
        said = "Wrong records are undone, but who gives feedback is not; it speaks for those who do."
        return Validity(False, refused) if refused else Validity(None, said)
    if selection == "label" and way != "classwise_ips":
        said = "Gold shows that feedback depends on the label itself; weights from features are wrong then."
        return Validity(False, said)
    if refused:
        return Validity(False, refused)
    if disagrees is not None and disagrees < DISAGREES:
        return Validity(False, f"It differs from gold by more than chance (p value {disagrees:.1g}).")
    if way == "classwise_ips":
        if selection == "label":
            return Validity(
                True, "It allows for feedback that depends on the label, as gold shows that it does."
            )
        said = "It holds when nothing but the label moves feedback; gold does not show that the label does."
        return Validity(None, said)
    if selection == "unknown":
        said = "Without gold nothing tells whether feedback depends on the label; if it does, this is wrong."
        return Validity(None, said)
    if selection == "designed":
        return Validity(True, "The product decided whom to ask, with known probabilities.")
    return Validity(
        True, "Gold finds no part of the label in who answers, beyond what the propensity explains."
    )


def _from_gold(gold: int, random: bool) -> Validity:
    if gold < ENOUGH:
        said = f"Only {gold} gold labels; an interval by the normal curve needs at least {ENOUGH}."
        return Validity(None, said)
    if not random:
        said = "No gold was drawn at random; it holds as far as the stated probabilities of the labels do."
        return Validity(None, said)
    return Validity(True, "It rests on random gold, so it holds whoever answers and whatever they press.")
