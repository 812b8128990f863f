"""The kinds of feedback."""

from dataclasses import dataclass
from typing import Literal

Side = Literal["two", "positive", "negative", "none"]


@dataclass(frozen=True)
class Kind:
    """A kind of feedback.

    Args:
        name: the word in logs and reports.
        bit: its place in every mask of the store.
        side: `two` (observed flag and a label of either sign), `positive` or `negative` (happened or not;
            happening speaks for or against the response), `none` (recorded, but no evidence).
    """

    name: str
    bit: int
    side: Side

    @property
    def mask(self) -> int:
        """Its bit as a mask."""
        return 1 << self.bit

    @property
    def two_sided(self) -> bool:
        """Whether it has an observed flag and a label of either sign."""
        return self.side == "two"

    @property
    def one_sided(self) -> bool:
        """Whether it happened or not, and happening is evidence."""
        return self.side in ("positive", "negative")


KINDS: tuple[Kind, ...] = (
    Kind("thumbs", 0, "two"),
    Kind("rating", 1, "two"),
    Kind("click", 2, "positive"),
    Kind("copy", 3, "positive"),
    Kind("share", 4, "positive"),
    Kind("edit", 5, "none"),
    Kind("regenerate", 6, "negative"),
    Kind("dwell", 7, "none"),
    Kind("stop", 8, "negative"),
    Kind("abandon", 9, "negative"),
    Kind("report", 10, "negative"),
    Kind("comment", 11, "none"),
    Kind("choice", 12, "two"),
    Kind("rank", 13, "none"),
    Kind("tool_accept", 14, "positive"),
    Kind("custom", 15, "none"),
)
"""Every kind, in the order of the bits."""

KIND: dict[str, Kind] = {kind.name: kind for kind in KINDS}
"""The kinds by name."""
