"""What is known about a model on a log: every way of measuring, what hangs on what, and it in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from unskew.pipeline.doubt import drift, sensitivity, tipping, tipping_words
from unskew.pipeline.evaluation import (
    best_of_ways,
    compared,
    decision,
    ways,
    width,
)
from unskew.pipeline.ground import Ground
from unskew.pipeline.material import Material
from unskew.rates import Floats


def assess(p: Floats, g: Ground, m: Material, in_sample: bool | None, sample: str) -> dict[str, Any]:
    """One model: what `run["evaluation"]` holds.

    Args:
        p: P(liked), or P(A is better), by the model. Shape [N], in [0, 1].
        g: what it is measured on.
        m: rows and nuisances.
        in_sample: the model was trained on it; None when nobody knows.
        sample: the same in a sentence.

    Returns:
        `n`, `labels`, `clusters`, `in_sample`, `ways`, `missing` (why a way cannot be had), `best` (the
        way to read, or None), `metric` (by which), `sensitivity`, `drift`, and all of it in `sentences`.
    """
    found = ways(p, g, in_sample)
    best, doubt, changes = best_of_ways(found), sensitivity(p, g), drift(p, g, m)
    return {
        "n": len(g),
        "unit": g.unit,
        "labels": g.labels,
        "clusters": g.by,
        "in_sample": in_sample,
        "ways": found,
        "missing": g.missing,
        "best": best,
        "metric": "brier",
        "sensitivity": doubt,
        "drift": changes,
        "sentences": [sample, *sentences(found, best, g), *([] if changes is None else changes["changed"])],
    }


def versus(
    first: Floats,
    second: Floats,
    g: Ground,
    names: tuple[str, str],
    in_sample: bool | None,
    measured: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Two models: what `run["against"]` holds.

    Args:
        first: by one model. Shape [N].
        second: by the other. Shape [N].
        g: what they are measured on.
        names: of the models.
        in_sample: one of them was trained on it; None when nobody knows of one.
        measured: ways of both.

    Returns:
        `names`, `ways` (differences), `best`, `metric`, `decision`, `tipping` and `sentences`.
    """
    gaps, doubt = compared(first, second, g, in_sample, list(measured)), tipping(first, second, g)
    said = [decision(gaps, "brier", *names)]
    if doubt is not None:
        said.append(tipping_words(doubt, "brier"))
    return {
        "names": list(names),
        "ways": gaps,
        "best": best_of_ways(gaps),
        "metric": "brier",
        "decision": said[0],
        "tipping": doubt,
        "sentences": said,
    }


def sentences(found: Sequence[Mapping[str, Any]], best: str | None, g: Ground) -> list[str]:
    """Which ways may be believed, and what the one to read says."""
    said = []
    for valid, start in ((True, "Valid"), (False, "Not valid"), (None, "Nothing here can check")):
        if names := [str(way["label"]) for way in found if way["valid"] is valid]:
            said.append(f"{start}: {', '.join(names)}.")
    if best is not None:
        way = next(one for one in found if one["way"] == best)
        part = way["metrics"]["brier"]
        value = f"Brier score {part['value']:.3f} [{part['low']:.3f}, {part['high']:.3f}]"
        said.insert(0, f"{value}, by {way['label']}, the valid way with the shortest interval.")
        by_way = {one["way"]: one for one in found}
        naive = by_way.get("naive")
        if naive is not None and not part["low"] <= naive["metrics"]["brier"]["value"] <= part["high"]:
            said.insert(1, f"Feedback as it comes says {naive['metrics']['brier']['value']:.3f}.")
        if best == "powered" and width(by_way["gold"], "brier") > 0:
            worth, labels = by_way["powered"]["ess"], by_way["gold"]["ess"]
            said.append(f"The log makes {labels:,.0f} gold labels worth {worth:,.0f}.")
    if not g.labels:
        said.append(
            "There are no gold labels here, so nothing can tell whether the log is right about this model. A "
            "few hundred drawn at random do: `unskew audit STORE --gold-plan 600` writes the rows to label."
            if g.unit == "response"
            else "There are no gold pairs here, so nothing can tell whether choices are right about this "
            'model. Say of a few hundred which response is better: {"a": ID, "b": ID, "winner": ID}.'
        )
    return said
