"""Numbers and text on their way to the page: what is missing is a dash, what is text is escaped."""

import html
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

UNHOLDABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates."""
DASH = "–"
"""What stands where a number is missing or not finite."""


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
    """A metric of run.json: a bare number, {"value", "low", "high"}, or {n: metric}, of which the largest n counts."""
    if not isinstance(found, Mapping):
        return Estimate(number(found), None, None)
    if "value" not in found:
        sizes = [key for key in found if str(key).isdigit()]
        return estimate(found[max(sizes, key=int)]) if sizes else Estimate(None, None, None)
    return Estimate(number(found), number(found.get("low")), number(found.get("high")))


def mapping(found: object) -> Mapping[str, Any]:
    """`found` when it is a mapping, else an empty one."""
    return found if isinstance(found, Mapping) else {}


def mappings(found: object) -> list[Mapping[str, Any]]:
    """The mappings in the list `found`; an absent list is an empty one."""
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, (list, tuple)) else []


def column(found: object) -> list[float | None]:
    """The numbers of a list, None where one is missing."""
    return [number(item) for item in found] if isinstance(found, (list, tuple)) else []


def escape(found: object) -> str:
    """Any JSON value for HTML, in content and in quoted attributes; what HTML or UTF-8 cannot hold becomes U+FFFD."""
    return html.escape(UNHOLDABLE.sub("\ufffd", words(found)), quote=True)


def fixed(value: float | None, digits: int = 3) -> str:
    """`value` with a fixed number of decimals, for columns that are compared."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", "−")


def short(value: float | None) -> str:
    """`value` as a person writes it: thousands separated, about three significant digits."""
    if value is None:
        return DASH
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def percent(value: float | None) -> str:
    """A share in [0, 1] as a whole percentage, with decimals only near 0 and 1."""
    if value is None:
        return DASH
    near = min(abs(value), abs(1 - value))
    return f"{100 * value:.{1 if 0 < near < 0.03 else 0}f} %".replace("-", "−")


def between(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval as text; empty when either end is missing."""
    return "" if low is None or high is None else f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def words(found: object, *, separated: bool = True) -> str:
    """Any JSON value as plain text, not yet escaped; `separated` puts commas into whole numbers."""
    if isinstance(found, bool):
        return "yes" if found else "no"
    if found is None:
        return DASH
    if isinstance(found, Integral):
        return f"{int(found):,}" if separated else str(int(found))
    if isinstance(found, Real):
        return short(number(found))
    if isinstance(found, str):
        return found
    if isinstance(found, Mapping):
        found = [f"{key} {words(value, separated=separated)}" for key, value in found.items()]
    if isinstance(found, Iterable):
        return ", ".join(words(item, separated=separated) for item in found) or DASH
    return str(found)


def wilson(rate: float, n: float) -> tuple[float, float]:
    """95 % interval of a rate seen in n draws, (rate + z²/2n ± z sqrt(rate (1 - rate) / n + z²/4n²)) / (1 + z²/n).

    Args:
        rate: share of ones, in [0, 1].
        n: number of draws, positive.
    """
    z = 1.959964
    centre, scale = rate + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(max(rate * (1 - rate), 0.0) / n + z * z / (4 * n * n))
    return max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0)
