"""What an ingestion did, and what one would do."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Report:
    """What one ingestion did.

    Args:
        path: the store.
        generation: number of data commits of the store.
        digest: store digest, equal for equal logs however they were split, ordered or interrupted.
        committed: whether this run changed the store; false when every input had been read before.
        balance: lines, committed, duplicate (repeats and older versions), quarantined, blank of this run;
            with a mapping also expanded (records beyond the first of a line) and skipped (not carried).
        total: the same of the store.
        quarantine: refused lines of this run by reason.
        samples: up to five refused lines of each reason: file, line, offset, length, reason, field, message.
        files: one entry an input: path, status (`read`, `resumed`, `unchanged`), its books, reasons, bytes.
        live: impressions, silent impressions and feedback events that stand.
        kinds: standing events by kind.
        states: standing events by state of the join: `attributed`, `attributed_early` (before the response,
            within an hour), `attributed_other_actor` (not by a user; kept, not counted), `pending`, `orphan`,
            `out_of_window`, `skew`, `ambiguous` (several responses at once), `retracted`.
        addresses: fields that this run left out because they hold an e-mail or IP address.
        silent_share: share of the impressions about which nothing was recorded, None without impressions.
        raw: the whole report of the core.
    """

    path: Path
    generation: int
    digest: str
    committed: bool
    balance: Mapping[str, int]
    total: Mapping[str, int]
    quarantine: Mapping[str, int]
    samples: tuple[Mapping[str, Any], ...]
    files: tuple[Mapping[str, Any], ...]
    live: Mapping[str, int]
    kinds: Mapping[str, int]
    states: Mapping[str, int]
    addresses: int
    silent_share: float | None
    bytes: int
    seconds: float
    raw: Mapping[str, Any]

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that the core wrote."""
        raw = json.loads(text)
        names = (
            "generation",
            "digest",
            "committed",
            "balance",
            "total",
            "quarantine",
            "live",
            "kinds",
            "states",
            "addresses",
        )
        return cls(
            path=Path(raw["store"]),
            samples=tuple(raw["samples"]),
            files=tuple(raw["files"]),
            silent_share=raw["silent_share"],
            bytes=raw["bytes"],
            seconds=raw["seconds"],
            raw=raw,
            **{name: raw[name] for name in names},
        )

    def to_dict(self) -> dict[str, Any]:
        """The whole report, ready for JSON."""
        return dict(self.raw)

    def summary(self) -> dict[str, int | float | str]:
        """What a person wants to know, by name."""
        share = "-" if self.silent_share is None else f"{self.silent_share:.1%}"
        refused = ", ".join(f"{reason} {count}" for reason, count in self.quarantine.items())
        records = self.balance["lines"] + self.balance.get("expanded", 0)
        skipped = {"not carried": self.balance["skipped"]} if "skipped" in self.balance else {}
        return {
            "lines": self.balance["lines"],
            **({"records": records} if records != self.balance["lines"] else {}),
            "committed": self.balance["committed"],
            "repeats": self.balance["duplicate"],
            "quarantined": f"{self.balance['quarantined']} ({refused})" if refused else 0,
            "blank": self.balance["blank"],
            **skipped,
            **({"addresses left out": self.addresses} if self.addresses else {}),
            "responses in the store": self.live.get("impressions", 0),
            "without any feedback": share,
            "feedback": ", ".join(f"{kind} {count}" for kind, count in self.kinds.items()) or "none",
            "joined": ", ".join(f"{state} {count}" for state, count in self.states.items()) or "none",
            "generation": self.generation if self.committed else f"{self.generation} (nothing new)",
            "digest": self.digest,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Coverage:
    """What inputs hold and what would come of them, without a store.

    Args:
        title: what they were read as.
        balance: the books that an ingestion into an empty store would have.
        rules: records by record type of the mapping; those of no type under "".
        quarantine: refused records by reason.
        samples: up to three of each reason: file, line, offset, length, reason, field, message.
        live: impressions, silent impressions, feedback.
        kinds, states: standing feedback by kind and by state of the join.
        known: share of the impressions that name policy_prob, offered, user, session, request, slot, model.
        join_rate: share of the feedback that finds its response; None without feedback.
        lost: fields that the mapping declares as not carried.
        unknown: fields in the inputs that it neither carries nor declares lost.
        addresses: fields that would be left out because they hold an e-mail or IP address.
    """

    title: str
    balance: Mapping[str, int]
    rules: Mapping[str, int]
    quarantine: Mapping[str, int]
    samples: tuple[Mapping[str, Any], ...]
    live: Mapping[str, int]
    kinds: Mapping[str, int]
    states: Mapping[str, int]
    known: Mapping[str, float]
    join_rate: float | None
    lost: tuple[str, ...]
    unknown: tuple[str, ...]
    addresses: int

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    def summary(self) -> dict[str, int | float | str]:
        """What a person wants to know before ingesting."""
        shown, silent = self.live["impressions"], self.live["silent"]
        books = {name: self.balance.get(name, 0) for name in ("lines", "expanded", "blank", "duplicate")}
        refused = ", ".join(f"{reason} {count}" for reason, count in self.quarantine.items())
        rules = {f"record: {name or 'of no known type'}": count for name, count in self.rules.items()}
        share = {name: f"{part:.1%}" if shown else "-" for name, part in self.known.items()}
        return {
            "read as": self.title,
            "lines": books["lines"],
            "records": books["lines"] + books["expanded"] - books["blank"],
            **rules,
            "repeats": books["duplicate"],
            "quarantined": f"{self.balance['quarantined']} ({refused})" if refused else 0,
            "responses": shown,
            "without any feedback": f"{silent:,} ({silent / shown:.1%})" if shown else "-",
            "feedback": ", ".join(f"{kind} {count}" for kind, count in self.kinds.items()) or "none",
            "feedback that finds its response": "-" if self.join_rate is None else f"{self.join_rate:.1%}",
            "propensity logged": share.get("policy_prob", "-"),
            "offered controls known": share.get("offered", "-"),
            "addresses to be left out": self.addresses,
            "user known": share.get("user", "-"),
            "session known": share.get("session", "-"),
            "fields not carried": len(self.lost),
            "fields unknown to the mapping": ", ".join(self.unknown) or "none",
        }
