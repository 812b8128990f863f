"""Broken lines of many sorts; a reader must refuse every one and keep its neighbours."""

from collections.abc import Callable

import numpy as np

_AT = '"at":"2026-01-20T10:00:00.000Z"'
_SHOWN = '"shown_at":"2026-01-20T10:00:00.000Z"'
_TEXT = '"prompt":"Why?","response":"Because."'


def _feedback(inside: str) -> Callable[[int], bytes]:
    return lambda number: f'{{"type":"feedback","id":"bad-{number}",{inside}}}'.encode()


def _impression(inside: str) -> Callable[[int], bytes]:
    return lambda number: f'{{"type":"impression","id":"bad-{number}",{inside}}}'.encode()


SORTS: dict[str, Callable[[int], bytes]] = {
    "cut off": lambda n: f'{{"type":"feedback","id":"bad-{n}","kind":"thu'.encode(),
    "no JSON": lambda n: f"INFO request {n} served in 12 ms".encode(),
    "an array": lambda n: f'["feedback","bad-{n}"]'.encode(),
    "trailing text": lambda n: _feedback(f'"response":"r00000000","kind":"copy",{_AT}')(n) + b"}",
    "not UTF-8": lambda n: _impression(f'{_SHOWN},"prompt":"Why?","response":"caf')(n)[:-1] + b'\xe9"}',
    "half a surrogate pair": _impression(f'{_SHOWN},"prompt":"Why?","response":"\\ud83d"'),
    "control character": _impression(f'{_SHOWN},"prompt":"Why?","response":"a\x01b"'),
    "NaN": _impression(f'{_SHOWN},{_TEXT},"policy_prob":NaN'),
    "too deep": _impression(f'{_SHOWN},{_TEXT},"meta":{{"a":{"[" * 80}{"]" * 80}}}'),
    "unknown type": lambda n: f'{{"type":"purchase","id":"bad-{n}",{_AT}}}'.encode(),
    "no type": lambda n: f'{{"id":"bad-{n}","response":"r00000000","kind":"copy",{_AT}}}'.encode(),
    "no id": lambda n: f'{{"type":"feedback","response":"r{n:08d}","kind":"copy",{_AT}}}'.encode(),
    "id with a fraction": lambda n: f'{{"type":"impression","id":{n}.5,{_SHOWN},{_TEXT}}}'.encode(),
    "no time": _impression(_TEXT),
    "no zone": _impression(f'"shown_at":"2026-01-20T10:00:00",{_TEXT}'),
    "impossible date": _impression(f'"shown_at":"2026-02-30T10:00:00Z",{_TEXT}'),
    "before 2000": _impression(f'"shown_at":"1970-01-01T00:00:00Z",{_TEXT}'),
    "no response": _impression(f'{_SHOWN},"prompt":"Why?"'),
    "policy_prob 0": _impression(f'{_SHOWN},{_TEXT},"policy_prob":0'),
    "policy_prob 1.5": _impression(f'{_SHOWN},{_TEXT},"policy_prob":1.5'),
    "unknown kind": _feedback(f'"response":"r00000000","kind":"applause",{_AT}'),
    "no target": _feedback(f'"kind":"thumbs","value":"up",{_AT}'),
    "thumbs sideways": _feedback(f'"response":"r00000000","kind":"thumbs","value":"sideways",{_AT}'),
    "nine stars": _feedback(f'"response":"r00000000","kind":"rating","value":9,{_AT}'),
}
"""Sort of broken line -> the line with a given number; no two numbers give the same bytes."""


def broken(count: int, seed: int) -> list[tuple[str, bytes]]:
    """`count` broken lines as (sort, bytes), all sorts in turn, in a seeded order."""
    sorts = list(SORTS)
    order = np.random.default_rng([seed, 13]).permutation(count)
    return [(sorts[n % len(sorts)], SORTS[sorts[n % len(sorts)]](n)) for n in order.tolist()]
