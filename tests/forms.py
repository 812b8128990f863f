"""The same events as lines, records and columns."""

import csv
import gzip
import io
import json

import pyarrow as pa

from logs import table


def shown(number, **fields):
    when = f"2026-03-02T00:{number // 60 % 60:02}:{number % 60:02}Z"
    return {
        "type": "impression",
        "id": f"r{number}",
        "shown_at": when,
        "prompt": "p",
        "response": "r",
    } | fields


def thumb(number, **fields):
    return {
        "type": "feedback",
        "id": f"f{number}",
        "response": f"r{number}",
        "kind": "thumbs",
        "at": "2026-03-02T02:00:00Z",
        "value": "up",
    } | fields


ROWS = [
    shown(
        1,
        prompt='Why "sky"\nblue?, said she',
        response="é 日本 😀 \\ }] \t;",
        request="q",
        user="u1",
        session="s;1",
        turn=3,
        slot=0,
        n_slots=2,
        policy_prob=0.1,
        offered=["thumbs", "copy"],
        messages=[{"role": "user", "content": "a\nb"}, {"role": "tool", "content": "{"}],
        meta={"a": [1, 2]},
        received_at="2026-03-02T01:00:00.123456Z",
    ),
    shown(2, offered=[], note="kept, as text", request="q", slot=1),
    shown(3, response=" spaces ", prompt="'", user="007"),
    thumb(1, value="down", version=2, actor="user", comment='"', user="u1"),
    thumb(2, kind="rating", value=4.5),
    thumb(3, value=True, op="upsert"),
    thumb(4, kind="copy", session="s;1") | {"response": None},
    {"type": "choice", "id": "c", "request": "q", "winner": "r1", "at": "2026-03-02T02:00:00Z"},
]
ROWS = [{name: value for name, value in row.items() if value is not None} for row in ROWS]


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_lines(rows):
    return "".join(compact(row) + "\n" for row in rows)


def columns(rows):
    return list(dict.fromkeys(name for row in rows for name in row))


def as_csv(rows, comma=",", ending="\r\n", quoting=csv.QUOTE_MINIMAL):
    def cell(name, value):
        if name == "offered" and value:
            return ";".join(value)
        return compact(value) if isinstance(value, (list, dict)) else value

    out = io.StringIO()
    writer = csv.writer(out, delimiter=comma, lineterminator=ending, quoting=quoting)
    writer.writerow(columns(rows))
    writer.writerows([cell(name, row.get(name)) for name in columns(rows)] for row in rows)
    return out.getvalue()


def as_table(rows):
    def column(name):
        values = [row.get(name) for row in rows]
        if name == "value":  # a column has one type: text, as in a CSV file
            return [value if value is None else str(value) for value in values]
        return values

    return pa.table({name: column(name) for name in columns(rows)})


def save(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zst":
        data = pa.compress(data, "zstd", asbytes=True)
    path.write_bytes(data)
    return path


def kept(store, name="impressions", column="response_id"):
    return table(store, name)[column].to_pylist()


def refused(store):
    rows = table(store, "quarantine").to_pylist()
    return [(row["line"], row["off"], row["len"], row["reason"]) for row in rows]


def exact(report):
    assert report.balance["lines"] == sum(count for name, count in report.balance.items() if name != "lines")
