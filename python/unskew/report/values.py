"""Numbers on their way to the page: what is missing or not finite becomes a dash, never a crash."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, NamedTuple

DASH = "–"
"""What stands where a number is missing or not finite."""

Run = Mapping[str, Any]
"""run.json, or a part of it. Any part may be missing or odd."""


class Estimate(NamedTuple):
    """A number with its 95 % interval; each of the three may be missing."""

    value: float | None
    low: float | None
    high: float | None


def number(found: object) -> float | None:
    """The finite number in `found` (a number, or a mapping with a "value"), else None."""
    if isinstance(found, Mapping):
        found = found.get("value")
    if isinstance(found, bool) or not isinstance(found, Real):
        return None
    try:
        value = float(found)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def estimate(found: object) -> Estimate:
    """A metric: a bare number, {"value", "low", "high"}, or {n: metric}, of which the largest n counts."""
    if not isinstance(found, Mapping):
        return Estimate(number(found), None, None)
    if "value" in found:
        return Estimate(number(found), number(found.get("low")), number(found.get("high")))
    sizes = [key for key in found if str(key).isdigit()]
    return estimate(found[max(sizes, key=int)]) if sizes else Estimate(None, None, None)


def mapping(found: object) -> Run:
    """`found` when it is a mapping, else an empty one."""
    return found if isinstance(found, Mapping) else {}


def mappings(found: object) -> list[Run]:
    """The mappings in the list `found`; an absent list is an empty one."""
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, (list, tuple)) else []


def strings(found: object) -> list[str]:
    """The items of the list `found` as text; an absent list is an empty one."""
    return [words(item) for item in found] if isinstance(found, (list, tuple)) else []


def column(found: object) -> list[float]:
    """The numbers of a list; empty when one is missing, so that bins and counts never slip apart."""
    values = [number(item) for item in found] if isinstance(found, (list, tuple)) else []
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def proper(edges: Sequence[float], *counts: Sequence[float]) -> bool:
    """Whether edges increase, and each list of counts has one number per bin, none negative, not all zero."""
    return (
        len(edges) > 1
        and all(a < b for a, b in pairwise(edges))
        and all(len(c) == len(edges) - 1 and min(c) >= 0 for c in counts)
        and any(sum(c) > 0 for c in counts)
    )


def signed(text: str) -> str:
    """`text` with true minus signs."""
    return text.replace("-", "−")


def paired(run: Run) -> bool:
    """Whether the models of a run say which of two responses is better, and not whether one is liked."""
    return run.get("unit") == "pair"


def fixed(value: float | None, digits: int = 3) -> str:
    """`value` with a fixed number of decimals, for columns that are compared."""
    return DASH if value is None else signed(f"{value:.{digits}f}")


def short(value: float | None) -> str:
    """`value` as a person writes it: thousands separated, about three significant digits."""
    if value is None:
        return DASH
    return signed(f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}")


def percent(value: float | None) -> str:
    """A share in [0, 1] as a whole percentage, with a decimal only near 0 and 1."""
    if value is None:
        return DASH
    near = min(abs(value), abs(1 - value))
    return signed(f"{100 * value:.{1 if 0 < near < 0.03 else 0}f} %")


def between(low: float | None, high: float | None) -> str:
    """An interval as text; empty when either end is missing."""
    return "" if low is None or high is None else f"[{fixed(low)}, {fixed(high)}]"


def words(found: object, *, separated: bool = True) -> str:
    """Any JSON value as plain text; `separated` puts commas into whole numbers."""
    if isinstance(found, str):
        return found
    if isinstance(found, bool):
        return "yes" if found else "no"
    if found is None:
        return DASH
    if isinstance(found, Integral):
        return f"{int(found):,}" if separated else str(int(found))
    if isinstance(found, Real):
        return short(number(found))
    if isinstance(found, Mapping):
        found = [f"{key} {words(value, separated=separated)}" for key, value in found.items()]
    if isinstance(found, Iterable):
        return ", ".join(words(item, separated=separated) for item in found) or DASH
    return str(found)
