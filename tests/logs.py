"""Logs for tests, and what they mean: a slow join in plain Python, written from the format's description."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from unskew import _rust
from unskew.events import KIND, KINDS

Event = dict[str, Any]
HOUR = timedelta(hours=1)
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
WINDOW, LATENESS, TOLERANCE = timedelta(days=7), timedelta(days=1), HOUR


def stamp(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def lines(events: Iterable[Event]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def random_log(random: Random) -> list[Event]:
    """Repeats, conflicts, flips, retracts, skewed clocks, orphans, requests, sessions, regenerations."""
    events: list[Event] = []
    clock = iter(range(10**6))

    def when(spread: float) -> datetime:  # no two times are equal
        return START + random.uniform(0, spread) * HOUR + timedelta(microseconds=next(clock))

    shown = []
    for number in range(random.randint(1, 7)):
        event: Event = {
            "type": "impression",
            "id": f"r{number}",
            "shown_at": stamp(when(random.choice([2, 400]))),
            "prompt": random.choice(["p", "q"]),
            "response": "x" * random.randint(0, 9),
        }
        for name, values in {
            "request": ["q1", "q2", None],
            "session": ["s1", "s2", None],
            "user": ["u1", "u2", None],
            "model": ["m1", "m2", None],
            "surface": ["chat", None],
            "slot": [0, 1, None],
            "offered": [["thumbs"], [], ["thumbs", "copy", "choice"], None, None],
            "parent": ["r0", "r1", "gone", None, None, None],
            "received_at": [stamp(when(500)), None],
        }.items():
            if (value := random.choice(values)) is not None:
                event[name] = value
        shown.append(event)
        events.append(event)
        if random.random() < 0.2:  # another row with this id
            events.append({**event, "response": "other", "received_at": stamp(when(500))})
            event.setdefault("received_at", stamp(when(500)))
    for number in range(random.randint(0, 14)):
        about = random.choice(
            [*shown, {"id": "gone", "request": "q9", "session": "s9", "shown_at": stamp(when(400))}]
        )
        base = datetime.fromisoformat(about["shown_at"].replace("Z", "+00:00"))
        at = base + random.choice([-3, -0.5, 0.1, 5, 100, 160, 170, 300]) * HOUR
        event = {"id": f"f{number}", "at": stamp(at + timedelta(microseconds=next(clock)))}
        if random.random() < 0.2 and "request" in about:
            winner = random.choice([*(row["id"] for row in shown), "tie", "both_bad"])
            event |= {"type": "choice", "request": about["request"], "winner": winner}
        else:
            kind = random.choice(["thumbs", "thumbs", "rating", "copy", "regenerate", "dwell", "comment"])
            event |= {"type": "feedback", "kind": kind}
            target = random.choice(["response", "response", "response", "request", "session"])
            event[target] = about.get(target, about["id"]) if target != "response" else about["id"]
            values: dict[str, list[Any]] = {
                "thumbs": [True, False, 1, 0, -1, "up", "down"],
                "rating": [1, 3.5, 4, 5],
                "dwell": [0, 12.5, 900],
                "comment": ["words"],
            }
            event["value"] = random.choice(values.get(kind, [None, True, False, 0, "text"]))
            if event["value"] is None:
                del event["value"]
        if random.random() < 0.15:
            event["actor"] = random.choice(["judge", "user", "annotator"])
        events.append(event)
        if random.random() < 0.2:
            events.append({**event, "version": random.choice([1, 2]), "comment": "again"})
        if random.random() < 0.15:
            events.append({**event, "op": "retract", "version": random.choice([0, 1, 3])})
    events += random.choices(events, k=random.randint(0, 4))
    random.shuffle(events)
    return events


def meaning(events: list[Event], until: str | None = None) -> dict[str, Any]:
    """Observations by response id, join states, pairs: what the store must say about `events`."""
    shown = _standing(
        [e for e in events if e["type"] == "impression"], lambda e: (e.get("received_at", "9"),), min
    )
    given = _standing(
        [e for e in events if e["type"] != "impression"],
        lambda e: (e.get("version", 0), e.get("received_at", ""), e.get("op") == "retract"),
        max,
    )
    times = [_time(e["shown_at"]) for e in shown.values()] + [_time(e["at"]) for e in given.values()]
    watermark = _time(until) if until else max(times)
    states: Counter[str] = Counter()
    hits: dict[str, list[Event]] = {name: [] for name in shown}
    choices: dict[str, Event] = {}
    two_sided = set()
    for event in sorted(given.values(), key=lambda e: e["at"]):
        kind = event.get("kind", "choice")
        if event.get("op") == "retract":
            states["retracted"] += 1
            continue
        user = event.get("actor", "user") == "user"
        if user and KIND[kind].two_sided:
            two_sided.add(kind)
        found = _find(event, shown)
        if found is None:
            states["orphan" if _time(event["at"]) + LATENESS <= watermark else "pending"] += 1
            continue
        if found == "ambiguous":
            states["ambiguous"] += 1
            continue
        delay = _time(event["at"]) - _time(shown[found]["shown_at"])
        if delay < -TOLERANCE:
            states["skew"] += 1
        elif delay > WINDOW:
            states["out_of_window"] += 1
        elif not user:
            states["attributed_other_actor"] += 1
        else:
            states["attributed_early" if delay < timedelta() else "attributed"] += 1
            if kind == "choice":
                choices[event["request"]] = event
            else:
                hits[found].append(event)
    seen = {name: _observe(row, hits[name], two_sided, watermark) for name, row in shown.items()}
    for name, row in shown.items():
        before = [
            other
            for other, r in shown.items()
            if "user" in row and r.get("user") == row["user"] and r["shown_at"] < row["shown_at"]
        ]
        rated = [
            min(e["at"] for e in hits[other] if KIND[e["kind"]].two_sided)
            for other, r in shown.items()
            if "user" in row and r.get("user") == row["user"] and seen[other]["o"]
        ]
        seen[name]["user_prior_exp"] = len(before)
        seen[name]["user_prior_obs"] = sum(at < row["shown_at"] for at in rated)
    return {
        "observations": seen,
        "states": dict(states),
        "pairs": _pairs(shown, choices, seen),
        "watermark": watermark,
        "offered_unknown": sum("offered" not in row for row in shown.values()),
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _standing(events: list[Event], order: Any, pick: Any) -> dict[str, Event]:
    by_id: dict[str, list[Event]] = {}
    for event in events:
        by_id.setdefault(event["id"], []).append(event)
    return {name: pick(rows, key=order) for name, rows in by_id.items()}


def _find(event: Event, shown: dict[str, Event]) -> str | None:
    if "winner" in event:
        rows = [name for name, row in shown.items() if row.get("request") == event["request"]]
        if not rows or (event["winner"] not in ("tie", "both_bad") and event["winner"] not in rows):
            return None
        return max(rows, key=lambda name: shown[name]["shown_at"])
    if "response" in event:
        return event["response"] if event["response"] in shown else None
    if "request" in event:
        rows = [name for name, row in shown.items() if row.get("request") == event["request"]]
        return None if not rows else rows[0] if len(rows) == 1 else "ambiguous"
    rows = [
        n
        for n, row in shown.items()
        if row.get("session") == event["session"] and row["shown_at"] <= event["at"]
    ]
    return max(rows, key=lambda name: shown[name]["shown_at"], default=None)


def _label(event: Event) -> bool | None:
    kind, value = KIND[event["kind"]], event.get("value")
    if kind.one_sided:
        return not (value is False or (value == 0 and not isinstance(value, str) and value is not None))
    if kind.name == "thumbs":
        return value in (True, 1, "up")
    return value >= 4 if kind.name == "rating" else None


def _observe(row: Event, hits: list[Event], two_sided: set[str], watermark: datetime) -> dict[str, Any]:
    offered = row.get("offered", two_sided)
    last = {event["kind"]: event for event in hits}  # hits are in the order of time
    labels = {kind: _label(event) for kind, event in last.items()}
    both = [event for event in hits if KIND[event["kind"]].two_sided]
    speaks = [(KIND[e["kind"]].side, _label(e)) for e in hits]
    shown_at = _time(row["shown_at"])
    delays = [max(_time(e["at"]) - shown_at, timedelta()) for e in hits]
    return {
        "offered": sum(KIND[kind].mask for kind in offered),
        "closed": shown_at + WINDOW + LATENESS <= watermark,
        "o_kinds": sum(KIND[kind].mask for kind in last),
        "pos_kinds": sum(KIND[kind].mask for kind, label in labels.items() if label is True),
        "neg_kinds": sum(KIND[kind].mask for kind, label in labels.items() if label is False),
        "o": bool(both),
        "r": float(bool(_label(both[-1]))) if both else None,
        "n_pos": sum((side, label) in (("two", True), ("positive", True)) for side, label in speaks),
        "n_neg": sum((side, label) in (("two", False), ("negative", True)) for side, label in speaks),
        "conflict": len({_label(event) for event in both}) == 2,
        "rating": last["rating"]["value"] if "rating" in last else None,
        "dwell_ms": last["dwell"]["value"] if "dwell" in last else None,
        "first_delay_ms": min(delays) // timedelta(milliseconds=1) if delays else None,
        "delays_ms": [
            min(delay for delay, e in zip(delays, hits, strict=True) if e["kind"] == kind.name)
            // timedelta(milliseconds=1)
            for kind in KINDS
            if kind.name in last
        ],
        "age_ms": (watermark - shown_at) // timedelta(milliseconds=1),
    }


def _pairs(shown: dict[str, Event], choices: dict[str, Event], seen: dict[str, Any]) -> set[tuple[Any, ...]]:
    pairs = set()
    for request in {row["request"] for row in shown.values() if "request" in row}:
        rows = [name for name, row in shown.items() if row.get("request") == request]
        winner = choices[request]["winner"] if request in choices else None
        asked = all(seen[name]["closed"] and seen[name]["offered"] & KIND["choice"].mask for name in rows)
        for a in rows:
            for b in rows:
                if a < b and (winner in (a, b, "tie", "both_bad") or (winner is None and asked)):
                    pairs.add((frozenset((a, b)), winner, "choice"))
    for name, row in shown.items():
        if row.get("parent") in shown and row["parent"] != name:
            pairs.add((frozenset((row["parent"], name)), name, "regenerate"))
    return pairs


ALL_BITS = sum(kind.mask for kind in KINDS)


SHOWN = (
    '{"type":"impression","id":"%s","shown_at":"2026-03-02T00:00:00Z","prompt":"p","response":"text of %s",'
    '"user":"mary@example.org"}'
)
THUMB = (
    '{"type":"feedback","id":"%s","response":"%s","kind":"thumbs","value":"up","at":"2026-03-02T00:00:00Z"}'
)


def good(count, start=0):
    """Lines of good impressions r<start>, r<start + 1>, ..."""
    return "".join(SHOWN % (f"r{i}", f"r{i}") + "\n" for i in range(start, start + count))


def books(report):
    """lines, committed, duplicate, quarantined, blank of a run."""
    return tuple(report.balance[name] for name in ("lines", "committed", "duplicate", "quarantined", "blank"))


def write(path, text):
    """Write and give back the path."""
    path.write_text(text)
    return path


def big_log(path, count, size=1500):
    """A log of several chunks: responses, thumbs, copies, repeats, a few bad lines."""
    random = Random(5)
    filler = "word " * (size // 5)
    with path.open("w") as out:
        for i in range(count):
            shown = json.loads(SHOWN % (f"r{i}", "x"))
            shown |= {
                "response": filler + str(i),
                "request": f"q{i // 2}",
                "slot": i % 2,
                "offered": ["thumbs", "choice"],
            }
            out.write(json.dumps(shown) + "\n")
            if random.random() < 0.4:
                about = random.randrange(count)
                out.write(THUMB % (f"f{i}", f"r{about}") + "\n")
            if random.random() < 0.02:
                out.write(json.dumps(shown) + "\ngarbage\n")


def table(store: "str | Path", name: str) -> "pa.Table":
    """A table of the store."""
    parts = json.loads(_rust.open_store(str(store)))["parts"][name]
    tables = []
    for part in parts:
        with pa.memory_map(f"{store}/{part['path']}") as source:
            tables.append(pa.ipc.open_stream(source).read_all())
    return pa.concat_tables(tables)
