"""63 faulty and odd logs that readers stumble over, in the canonical format, and what must come of each.

Written from descriptions of the faults; deterministic, and small where size is not the fault.
"""

import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

Row = dict[str, Any]
Bad = tuple[bytes, str]


@dataclass(frozen=True)
class Case:
    """A log.

    Args:
        name: file name without its ending.
        content: bytes of the file.
        ending: `jsonl`, or `jsonl.gz` and `jsonl.zst`.
        kept: rows that the store must hold, in order.
        refused: (line, reason) of every line in the quarantine.
        error: what the whole file is refused with, where nothing of it may be committed.
        faulty: whether there is any fault in it.
    """

    name: str
    content: bytes
    ending: str = "jsonl"
    kept: list[Row] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    error: str | None = None
    faulty: bool = True


def row(number: int, **changes: Any) -> Row:
    """A good row; `changes` replace fields, None leaves one out."""
    good = {
        "type": "impression",
        "id": f"r{number}",
        "shown_at": "2026-03-02T00:00:00Z",
        "prompt": f"question {number}",
        "response": f"answer {number} é",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def rows(count: int, start: int = 0) -> list[Row]:
    return [row(number) for number in range(start, start + count)]


def text(kept: Iterable[Row]) -> bytes:
    return b"".join(line(one) + b"\n" for one in kept)


def line(one: Row) -> bytes:
    return json.dumps(one, ensure_ascii=False).encode()


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


def between(name: str, bad: list[Bad], good: int = 200) -> Case:
    """Bad lines, each between good rows."""
    kept, content, refused, number = rows(good), [], [], 0
    step = max(1, good // (len(bad) + 1))
    left = list(bad)
    for place, one in enumerate(kept, 1):
        content.append(line(one))
        number += 1
        if left and place % step == 0:
            wrong, reason = left.pop(0)
            content.append(wrong)
            number += 1
            refused.append((number, reason))
    assert not left, name
    return Case(name, b"\n".join(content) + b"\n", kept=kept, refused=refused)


def odd(name: str, *odd_rows: Row, good: int = 200, faulty: bool = False) -> Case:
    """Rows that are unusual but right, after good ones and before one."""
    kept = [*rows(good), *odd_rows, row(good)]
    return Case(name, text(kept), kept=kept, faulty=faulty)


def changed(**fields: str) -> bytes:
    """A good line with values as they are written here."""
    body = line(row(9999, **dict.fromkeys(fields, "@"))).decode()
    for name, value in fields.items():
        body = body.replace(f'"{name}": "@"', f'"{name}": {value}')
    return body.encode()


def invalid_utf8() -> list[bytes]:
    """138 sequences that no UTF-8 text holds, by class."""
    found = [bytes([byte]) for byte in range(0x80, 0xC0)]  # continuations without a start
    found += [bytes([byte]) + b"x" for byte in [*range(0xC2, 0xDE), *range(0xE0, 0xF5)]]  # starts alone
    found += [bytes([byte]) for byte in range(0xF5, 0x100)]  # bytes that never occur
    overlong = "c080 c0af c1bf e08080 e080af e09fbf f0808080 f08080af f08fbfbf"
    surrogates, beyond = "eda080 edafbf edb080 edbfbf", "f4908080"
    return found + [bytes.fromhex(one) for one in f"{overlong} {surrogates} {beyond}".split()]


def edges_of_utf8() -> list[str]:
    """73 characters at the edges of the lengths, and Greek ones."""
    edges = [0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x10FFFF]
    return [chr(code) for code in [*edges, *range(0x370, 0x370 + 63)]]


def not_json(count: int) -> list[bytes]:
    """Texts one edit away from JSON that strict JSON does not allow, by what Python says of them."""

    def refused(candidate: str) -> bool:
        def constant(name: str) -> None:
            raise ValueError(name)

        try:
            json.loads(candidate, parse_constant=constant)
        except (ValueError, RecursionError):
            return bool(candidate.strip())
        return False

    found: dict[str, None] = {}
    for seed in ('{"a":[1,-2.5e3,true,null,"x\\u00e9"],"b":{"c":"d"}}', '{"id":"r1","x":0.1}', "[1,2]"):
        for at in range(len(seed)):
            for spice in ("", ",", ":", "{", "}", "[", "]", '"', "\\", "'", "0", "-", ".", "\t", "//"):
                for candidate in (seed[:at] + spice + seed[at + 1 :], seed[:at] + spice + seed[at:]):
                    if refused(candidate):
                        found[candidate] = None
    every = list(found)
    return [every[place * len(every) // count].encode() for place in range(count)]


NAUGHTY = [
    "", " ", "\t", "null", "undefined", "NaN", "Infinity", "true", "0", "-0", "1e400",
    "0x1f", "1,000.00", "'", '"', "\\", "\\n", "\n", "\r\n", "\u0000", "\u0001\u001f\u007f",
    "\u0085", "\u2028\u2029", "\ufeff", "\ufffe", "\uffff", "\u202e", "\u200b\u200c\u200d",
    "\u0300" * 200, "Z\u0351\u036b\u0343\u036aA", "ﷺ", "﷽", "田中さん", "אבג", "مرحبا",
    "😀👩‍👩‍👧‍👦🏳️‍🌈", "𝒜𝓫", "ﬀ", "<script>alert(1)</script>", "' OR 1=1 --",
    "Robert'); DROP TABLE x;", "$(touch x)", "`id`", "%s%n%x", "{{7*7}}",
    "../../etc/passwd", "/dev/null", "C:\\CON", "file:///etc/passwd", "\x1b[31mred",
    "__proto__", "constructor", "-1/0", "2026-02-30", "1/0", "١٢٣", "İı", "ß", "ﾟ･✿", "{}",
    "[]", '{"a":1}', "a\u0000b", "x" * 70_000,
]  # fmt: skip


def gzipped(name: str, damage: Callable[[bytes], bytes], error: str | None = "corrupt after") -> Case:
    """A gzip file after some damage."""
    kept = [] if error else rows(200)
    content = damage(gzip.compress(text(rows(200)), mtime=0))
    return Case(name, content, "jsonl.gz", kept=kept, error=error, faulty=error is not None)


def bomb(name: str, begin: bytes, filler: bytes) -> Case:
    """300 MiB from 300 kB: members of 4 MiB each."""
    member = gzip.compress(filler * (4 << 20), 9, mtime=0)
    return Case(name, gzip.compress(begin, mtime=0) + member * 75, "jsonl.gz", error="ratio after")


def faulty() -> list[Case]:
    """The forty with a fault."""
    good = text(rows(200))
    big = [row(number, id=2**53 + 1 + number) for number in range(999)]
    late = [*rows(9_000), row(9_000)]
    split = changed(prompt='"before\nafter"').split(b"\n")
    surrogate = changed(prompt=r'"\ud800"')
    deep = [
        between("deep_100k", [(changed(x="[" * 100_000 + "]" * 100_000), "depth")]),
        between("deep_obj_100k", [(b'{"a":' * 100_000 + b"0" + b"}" * 100_000, "depth")]),
    ]
    utf8 = between(
        "utf8tests", [(changed(prompt='"@"').replace(b"@", one), "utf8") for one in invalid_utf8()]
    )
    edges = [row(1000 + at, response=one) for at, one in enumerate(edges_of_utf8())]
    utf8 = Case(utf8.name, utf8.content + text(edges), kept=[*utf8.kept, *edges], refused=utf8.refused)
    return [
        Case("torn_last", good + line(row(200))[:60], kept=rows(200), refused=[(201, "torn")]),
        gzipped("gz_truncated", lambda data: data[: len(data) * 2 // 3]),
        gzipped("gz_crc", lambda data: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:]),
        gzipped("gz_flip", lambda data: data[:500] + bytes([data[500] ^ 8]) + data[501:]),
        gzipped("gz_trailing_garbage", lambda data: data + b"garbage"),
        gzipped("gz_zero_bytes", lambda data: b""),
        Case("zst_truncated", zstd(good)[:-40], "jsonl.zst", error="corrupt after"),
        between("bad_utf8", [(changed(prompt='"@"').replace(b"@", b"\xff\xfe"), "utf8")]),
        between("overlong_utf8", [(changed(prompt='"@"').replace(b"@", b"\xc0\xaf"), "utf8")]),
        between("garbage_line", [(b"@@ not a row @@", "json")]),
        between("dup_keys", [(line(row(9999))[:-1] + b', "id": "again"}', "dup_key")]),
        between("nul_hole", [(b"\0" * 4096, "nul")]),
        between("nul_lines", [(b"\0" * 64, "nul")]),
        between("two_objects", [(line(row(9998)) + b" " + line(row(9999)), "json")]),
        Case(
            "split_line",
            good + b"\n".join(split) + b"\n" + line(row(200)) + b"\n",
            kept=rows(201),
            refused=[(201, "json"), (202, "json")],
        ),
        between("num_nan", [(changed(policy_prob="NaN"), "number")]),
        between("num_inf", [(changed(policy_prob="-Infinity"), "number")]),
        between("num_f1e400", [(changed(policy_prob="1e400"), "number")]),
        odd("int_i64max1", row(9999, id=2**63), faulty=True),
        between("int_u64max1", [(changed(id=str(2**64)), "id_range")]),
        between("int_huge", [(changed(id=str(10**30)), "id_range")]),
        between("drift_type", [(changed(model="4"), "type")]),
        between("drift_ts_iso", [(changed(shown_at="1772409600"), "type")]),
        odd("drift_int_float", row(9998, x=1), row(9999, x=1.5), faulty=True),
        between("drift_object", [(changed(user='{"id":"u1"}'), "type")]),
        between("lone_surrogate", [(surrogate, "surrogate")]),
        between("scalar_row", [(b"42", "not_object")]),
        between("array_row", [(b"[1, 2]", "not_object")]),
        between("null_row", [(b"null", "not_object")]),
        *deep,
        between("many_keys_50k", [(changed(x=json.dumps({f"k{i}": i for i in range(50_000)})), "too_long")]),
        utf8,
        between("jts_interleaved", [(one, "json") for one in not_json(185)]),
        Case(
            "drift_type_late",
            text(late) + changed(model="4") + b"\n" + line(row(9_001)) + b"\n",
            kept=[*late, row(9_001)],
            refused=[(9_002, "type")],
        ),
        between("huge_line", [(b'{"x":"' + b"x" * (20 << 20) + b'"}', "too_long")]),
        bomb("bomb_blank", good, b" "),
        bomb("bomb_string", good + b'{"id":"', b"x"),
        Case("int_overflow_big_ids", text([*big, row(1, id=2**63 + 1)]), kept=[*big, row(1, id=2**63 + 1)]),
        Case(
            "int_float_big_ids",
            text(big[:500]) + changed(id="9007199254740995.5") + b"\n" + text(big[500:]),
            kept=big,
            refused=[(501, "id_range")],
        ),
    ]


def valid() -> list[Case]:
    """The 23 without."""
    kept, good = rows(200), text(rows(200))

    def same(name: str, content: bytes, ending: str = "jsonl", delivered: list[Row] | None = None) -> Case:
        return Case(name, content, ending, kept=kept if delivered is None else delivered, faulty=False)

    alike = ["007", "1e3", "0x10", "1_000", " 1", "+1", "-0", "1.0", "true", "null", "NaN"]
    exact = [row(number, id=str(2**53 + 1 + number)) for number in range(200)]
    missing = [one | ({"request": 2**53 + 1 + at} if at % 3 else {}) for at, one in enumerate(kept)]
    extra = [row(number, **{f"key{number % 7}": {"a": [number, None]}}) for number in range(200)]
    exploded = [row(number, **{f"key{number}": number}) for number in range(5_000)]
    late = [*rows(9_000), row(9_000, new_key="x")]
    return [
        same("base", good),
        gzipped("gz_ok", bytes, error=None),
        gzipped("gz_multi", lambda data: gzip.compress(good[:999]) + gzip.compress(good[999:]), error=None),
        gzipped("gz_trailing_zeros", lambda data: data + bytes(512), error=None),
        same("gz_empty", gzip.compress(b""), "jsonl.gz", []),
        same("zst_ok", zstd(good), "jsonl.zst"),
        same("bom", b"\xef\xbb\xbf" + good),
        same("crlf", good.replace(b"\n", b"\r\n")),
        same("blank_lines", b"\n \t\n" + good.replace(b"\n", b"\n\n")),
        same("drift_extra_keys", text(extra), delivered=extra),
        same("drift_missing_keys", text(missing), delivered=missing),
        same("schema_explosion", text(exploded), delivered=exploded),
        same("empty", b"", delivered=[]),
        same("newline_only", b"\n", delivered=[]),
        same("one_row_no_nl", line(kept[0]), delivered=kept[:1]),
        odd("ids_look_like", *(row(9000 + at, id=one) for at, one in enumerate(alike))),
        odd("ids_digits", *(row(9000 + at, id=f"{at:08}") for at in range(20))),
        odd("ids_dates", *(row(9000 + at, id=f"2026-03-{at + 1:02}") for at in range(20))),
        same("ids_above_2_53", text(exact), delivered=exact),
        same("ids_above_2_53_some_missing", text(missing), delivered=missing),
        odd("blns", *(row(9000 + at, prompt=one, response=one) for at, one in enumerate(NAUGHTY))),
        same("drift_extra_late", text(late), delivered=late),
        odd("drift_int_float_late", row(99_998, x=1), row(99_999, x=0.5), good=9_000),
    ]


def cases() -> list[Case]:
    """All 63."""
    return faulty() + valid()


def delivered(one: Row) -> tuple[Any, ...]:
    """What the store must give back of a row: id, prompt, response, request, and the unknown fields."""
    known = {"type", "id", "shown_at", "prompt", "response", "request"}
    unknown = {name: value for name, value in one.items() if name not in known}
    request = one.get("request")
    return (
        str(one["id"]),
        one["prompt"],
        one["response"],
        None if request is None else str(request),
        unknown,
    )
