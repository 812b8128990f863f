"""Gates of the whole log: evidence, which reads all kinds together and is as good as the best of them."""

from collections.abc import Iterator, Sequence

import numpy as np

from unskew.audit.gates import EXAMPLES, GOLD, Case, speaks, unchecked
from unskew.audit.verdict import Colour, Gate
from unskew.data import Examples
from unskew.rates import Floats


def whole_log(
    examples: Examples, cases: Sequence[Case], labels: Floats, warnings: Sequence[str]
) -> Iterator[Gate]:
    """Every rule about evidence.

    Classes are counted on the two-sided kind in which the rarer class has the largest share.
    """
    binds = ("evidence",)
    usable = examples.offered & examples.closed
    rows = usable.any(1)
    silent = int((rows & ~(examples.observed & usable).any(1)).sum())
    fine = silent > 0
    said = (
        f"{silent:,} of {int(rows.sum()):,} responses got no feedback of any kind; their silence is "
        "evidence, too."
        if fine
        else "Every response has some feedback, so the silent ones were not logged. What silence means "
        "cannot be learned, and a model would describe the people who answer."
    )
    yield Gate("silent responses", silent, "at least 1", "green" if fine else "red", said, binds)
    counted = [case for case in cases if case.counts is not None]
    voice = max(counted, key=lambda case: case.share or 0.0, default=None)
    n, liked = len(labels), float(labels.sum())
    if n < GOLD:
        some = "There are no gold labels" if n == 0 else f"There are only {n} gold labels"
        said = (
            f"{some}; {GOLD} are the least that count. Without them the meaning of each kind of feedback "
            "rests on assumptions that the log cannot check."
        )
        yield Gate("gold labels", n, f"at least {GOLD}", "amber", said, binds)
        if voice is None:
            yield Gate("no gold", *unchecked("anything", None, 0), binds)
        else:
            yield Gate("no gold", *unchecked(voice.name, voice.counts, voice.column.n), binds)
        given = np.flatnonzero((examples.observed & usable).any(0))
        spoke = len({examples.kinds[k].bit for k in given})  # one kind on two surfaces is one
        said = f"{spoke} kinds of feedback were given; where they agree and where not tells of their errors."
        alone = spoke < 2
        if alone:
            said = (
                "Only one kind of feedback on single responses was given. Nothing then tells a wrong record "
                "from a disliked response reliably, choices between two included. Log another kind, or label "
                "some responses."
            )
        yield Gate("kinds without gold", spoke, "at least 2", "red" if alone else "green", said, binds)
    else:
        said = f"{n} gold labels ({liked:.0f} liked) say what each kind of feedback means."
        yield Gate("gold labels", n, f"at least {GOLD}", "green", said, binds)
        seen = (0.0 if voice is None or voice.counts is None else voice.counts.fewest) + min(liked, n - liked)
        said = f"Answers and gold labels together hold about {seen:,.0f} responses of the rarer class."
        fewer: Colour = "amber" if seen < EXAMPLES else "green"
        yield Gate("examples for evidence", seen, f"at least {EXAMPLES}", fewer, said, binds)
    if voice is not None and voice.counts is not None and voice.counts.low is not None:
        value, limit, colour, said = speaks(voice.name, voice.counts)
        if colour == "red" and n >= GOLD:
            colour, said = "amber", f"{said} Evidence leans on the gold labels for that class."
        yield Gate("smaller class propensity", value, limit, colour, said, binds)
    for warning in warnings:
        yield Gate("fit of evidence", None, "no warning", "amber", warning, binds)
