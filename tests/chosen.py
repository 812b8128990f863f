"""Logs that hold only choices, and a small product whose users choose between two answers."""

import json
from pathlib import Path

import numpy as np

from unskew import events
from unskew.data import Store

FNR, FPR = 0.3, 0.1
"""People prefer the second slot: where A is better B is chosen more often than the other way round."""

WORDS = {
    word: value
    for value, words in {
        1.0: "clear exact kind short tested sourced",
        0.0: "answer text reply because however also about often part some",
        -1.0: "vague wrong rude long broken invented",
    }.items()
    for word in words.split()
}


def write(path: Path, lines) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def shown(request: int, name: str, slot: int | None, prompt: str, response: str, **more) -> dict:
    line = {
        "type": "impression",
        "id": name,
        "shown_at": f"2026-03-01T{request // 3600:02}:{request // 60 % 60:02}:{request % 60:02}Z",
        "prompt": prompt,
        "response": response,
        "request": f"q{request}",
        "offered": ["choice"],
    }
    return line | ({} if slot is None else {"slot": slot}) | more


def choice(request: int, winner: str, at: str = "2026-03-02T00:00:00Z") -> dict:
    return {"type": "choice", "id": f"c{request}", "request": f"q{request}", "winner": winner, "at": at}


LATE = shown(0, "late", 0, "last of all", "closes every window before") | {
    "shown_at": "2026-04-01T00:00:00Z",
    "request": "late",
}


def ingest(home: Path, lines) -> Store:
    home.mkdir(exist_ok=True)
    log = write(home / "log.jsonl", [*lines, LATE])
    (home / "key").write_text("a key that only this test knows")
    events.ingest([log], home / "store", key_file=home / "key")
    return Store.open(home / "store")


def couple(request: int, **more) -> list[dict]:
    """Responses a<request> in slot 1 and b<request> in slot 2."""
    return [
        shown(request, f"{side}{request}", slot, f"prompt {request}", f"text {side}", **more)
        for slot, side in ((1, "a"), (2, "b"))
    ]


def product(seed: int, requests: int = 1500, *, swapped: bool = False):
    """(lines, P(A is better), whether A is better) of a log of choices between two answers.

    Quality is in the words; A is better with probability sigmoid(q_A - q_B); the choice errs by slot.
    """
    rng = np.random.default_rng(seed)
    words, value = np.array(list(WORDS)), np.array(list(WORDS.values()))
    drawn = rng.integers(len(words), size=(requests, 2, 8))
    quality = value[drawn].sum(2)
    p = 1 / (1 + np.exp(quality[:, 1] - quality[:, 0]))
    better = rng.random(requests) < p
    chosen = np.where(better, rng.random(requests) >= FNR, rng.random(requests) < FPR)
    lines = []
    for n in range(requests):
        texts = [" ".join(words[part]) for part in drawn[n]]
        for slot, side, text in zip((2, 1) if swapped else (1, 2), "ab", texts, strict=True):
            lines.append(shown(n, f"{side}{n}", slot, f"question {n}", text))
        lines.append(choice(n, f"{'a' if chosen[n] else 'b'}{n}"))
    return lines, p, better


def gold_lines(better, numbers) -> list[dict]:
    """Gold pairs, every other one written with B in front."""
    ends = [("a", "b") if n % 2 else ("b", "a") for n in numbers]
    return [
        {"a": f"{one}{n}", "b": f"{two}{n}", "winner": f"{'a' if better[n] else 'b'}{n}"}
        for n, (one, two) in zip(numbers, ends, strict=True)
    ]
