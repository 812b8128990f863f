"""Mappings: what each key does, what is refused and how; mapped records go the way of canonical lines."""

import json
import tempfile
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from logs import lines, random_log
from test_mappings_golden import FIXTURES, rows, table
from unskew import cli, events, mappings
from unskew.mappings import paths
from unskew.mappings.table import COLUMNS

IDENTITY = 'title = "canonical"\nsource = "canonical"\nschemas = ["1"]\n' + "".join(
    f'[[record]]\nname = "{kind}"\ntype = "{kind}"\nwhen = {{ type = "{kind}" }}\n[record.columns]\n'
    + "".join(f'{name} = "{name}"\n' for name in names)
    for kind, names in COLUMNS.items()
)
ONE = """
title = "one"
source = "one"
schemas = ["1"]
[[record]]
name = "shown"
type = "impression"
has = ["id"]
[record.columns]
id = "id"
shown_at = "t"
prompt = "p"
response = "r"
"""
UNKNOWN = ("type", "a word that the mapping does not know")
TIME = "2026-05-04T10:11:12Z"


pytestmark = pytest.mark.usefixtures("keyed")


def write(path: Path, *records: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), "utf-8")
    return path


def mapping(folder: Path, text: str = ONE, name: str = "one.toml") -> Path:
    return write(folder / name, text)


def ingest(folder: Path, text: str, *records: object, **options):
    log = write(folder / "log.jsonl", *records)
    return events.ingest(log, folder / "store", mapping=mapping(folder, text), **options)


def column(folder: Path, spec: str, record: dict, name: str = "response", *, top: str = "") -> object:
    """What `response = SPEC` makes of a record; the reason and message when it is refused."""
    text = top + ONE.replace('response = "r"', f"response = {spec}")
    if name != "response":
        text = top + ONE + f"{name} = {spec}\n"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        report = ingest(Path(scratch), text, {"id": "1", "t": TIME, "p": "", "r": "", **record}, max_bad=9)
        if report.samples:
            return report.samples[0]["reason"], report.samples[0]["message"]
        (row,) = rows(Path(scratch) / "store", "impressions")
        return row.get(name)


def test_canonical_lines_through_a_mapping_are_the_same_store(tmp_path):
    for seed in range(12):
        log = tmp_path / f"{seed}.jsonl"
        log.write_text(lines(random_log(Random(seed))), "utf-8")
        plain = events.ingest(log, tmp_path / f"plain{seed}")
        mapped = events.ingest(log, tmp_path / f"mapped{seed}", mapping=mapping(tmp_path, IDENTITY))
        assert mapped.digest == plain.digest, seed
        assert dict(mapped.balance) == dict(plain.balance)
        assert mapped.states == plain.states


def test_neither_threads_nor_files_nor_order_change_the_store(tmp_path):
    records = sorted((FIXTURES / "openwebui" / "chats").glob("*.jsonl"))
    text = "".join(path.read_text("utf-8") for path in records)
    one = write(tmp_path / "one.jsonl", *reversed(text.splitlines()))
    digests = {
        events.ingest(records, tmp_path / "a", source="openwebui", threads=1).digest,
        events.ingest(records[::-1], tmp_path / "b", source="openwebui", threads=4).digest,
        events.ingest(one, tmp_path / "c", source="openwebui").digest,
    }
    assert len(digests) == 1


def test_a_line_of_many_records_may_be_cut_and_completed(tmp_path):
    text = (FIXTURES / "fastchat" / "log" / "conv.jsonl").read_bytes()
    whole = events.ingest(FIXTURES / "fastchat" / "log" / "conv.jsonl", tmp_path / "whole", source="fastchat")
    start = text.rindex(b"\n", 0, -1) - 400
    for cut in [*range(start, len(text), 97), len(text) - 1]:
        log, store = tmp_path / "log.jsonl", tmp_path / f"store{cut}"
        log.write_bytes(text[:cut])
        first = events.ingest(log, store, source="fastchat")
        assert set(first.quarantine) <= {"torn"}
        assert not events.ingest(log, store, source="fastchat").committed
        log.write_bytes(text)
        last = events.ingest(log, store, source="fastchat")
        assert (last.digest, dict(last.total)) == (whole.digest, dict(whole.total)), cut
        log.unlink()


def test_one_bad_record_of_a_line_costs_no_other(tmp_path):
    text = ONE.replace('has = ["id"]', 'each = "all/*"')
    good = {"id": "1", "t": TIME, "p": "p", "r": "r"}
    report = ingest(
        tmp_path, text, {"all": [good, {**good, "id": ""}, {**good, "id": "2", "t": 5}, {**good, "id": "3"}]}
    )
    assert report.balance["committed"] == 2
    assert report.quarantine == {"no_id": 1, "type": 1}
    assert report.balance["lines"] + report.balance["expanded"] == 4
    assert [row["response_id"] for row in table(tmp_path / "store", "impressions")] == ["1", "3"]
    assert {(row["line"], row["off"]) for row in table(tmp_path / "store", "quarantine")} == {(1, 0)}


def test_records_that_no_type_fits_are_skipped_and_counted(tmp_path):
    report = ingest(tmp_path, ONE, {"x": 1}, "", {"id": "1", "t": TIME, "p": "", "r": ""}, {"id": None})
    assert (report.balance["lines"], report.balance["skipped"], report.balance["blank"]) == (4, 2, 1)
    assert report.balance["committed"] == 1


def test_broken_json_has_the_reason_of_canonical_lines(tmp_path):
    bad = [
        '{"id":1,"id":2}',
        '{"id":"\\ud800"}',
        "{",
        "[1]",
        '{"id":1e999}',
        '{"x":' + "[" * 80 + "]" * 80 + "}",
    ]
    report = ingest(tmp_path, ONE, *bad, {"id": "1", "t": TIME, "p": "", "r": ""})
    plain = events.ingest(write(tmp_path / "plain.jsonl", *bad), tmp_path / "plain")
    assert report.quarantine == plain.quarantine
    assert sum(report.quarantine.values()) == len(bad)


def test_the_most_items_of_a_line(tmp_path):
    text = ONE.replace('has = ["id"]', 'each = "all/*"')
    report = ingest(tmp_path, text, {"all": [0] * 100_000}, {"all": [0] * 3})
    assert report.quarantine == {"too_long": 1, "no_id": 3}


@pytest.mark.parametrize(
    ("spec", "record", "expected"),
    [
        ('"a/b"', {"a": {"b": "x"}}, "x"),
        ('"a/1"', {"a": ["x", "y"]}, "y"),
        ('"a/-1"', {"a": ["x", "y"]}, "y"),
        ('"a/*/t"', {"a": [{"t": "x"}, {}, {"t": None}, {"t": "y\n"}]}, "x\ny\n"),
        ('"a/*"', {"a": {"k": "x", "l": "y"}}, "x\ny"),
        ('"a/(json)/b"', {"a": '{"b": "x\\u00e9"}'}, "xé"),
        ('"a/(json)/b"', {"a": {"b": "x"}}, "x"),
        ('["a/(json)/b", "a"]', {"a": "no {json"}, "no {json"),
        ('"a/(pairs)/k.l"', {"a": [{"key": "k.l", "value": {"stringValue": "x"}}]}, "x"),
        (
            '"a/(pairs)/k/0/(t=b)/c"',
            {"a": [{"key": "k", "value": {"arrayValue": {"values": [{"kvlistValue": {"values": [
                {"key": "t", "value": {"stringValue": "b"}},
                {"key": "c", "value": {"stringValue": "x"}}]}}]}}}]},
            "x",
        ),
        ('"a/*/(t=b)/c"', {"a": [{"t": "a", "c": "x"}, {"t": "b", "c": "y"}, {"c": "z"}]}, "y"),
        ('"a/*/(t=null)/c"', {"a": [{"t": "a", "c": "x"}, {"t": None, "c": "y"}, {"c": "z"}]}, "y"),
        ('"a/{k}/{l/0}"', {"a": {"x": {"y": "z"}}, "k": "x", "l": ["y"]}, "z"),
        ('"a~1b/~0/~2"', {"a/b": {"~": {"": "x"}}}, "x"),
        ('["a", "b"]', {"a": None, "b": "x"}, "x"),
        ('["a", "b"]', {"a": [1], "b": "x"}, "x"),
        ('{ is = "x" }', {}, "x"),
        ('{ join = "{a}-{b/0}" }', {"a": 7, "b": ["x"]}, "7-x"),
        ('[{ join = "{a}-{b}" }, "c"]', {"a": 7, "c": "x"}, "x"),
        ('{ from = "a", as = "text" }', {"a": {"b": [1, 2.50]}}, '{"b": [1, 2.5]}'),
        ('{ from = "a", as = "text" }', {"a": 7}, "7"),
        ('{ from = "a", map = { 1 = "one", true = "yes" } }', {"a": 1}, "one"),
        ('{ from = "a", map = { 1 = "one", true = "yes" } }', {"a": True}, "yes"),
        ('{ from = "a", map = { x = "one" }, else = "other" }', {"a": "y"}, "other"),
        ('{ from = "a", map = { x = "one" }, keep = true }', {"a": "y"}, "y"),
        ('{ from = "a", map = { x = "one" } }', {"a": "y"}, UNKNOWN),
        ('"a"', {"a": [1]}, ("type", "expected a string")),
        ('"a"', {}, ("missing", "response is required")),
        ('"a"', {"a": 5}, ("type", "expected a string")),
    ],
)  # fmt: skip
def test_what_a_column_finds(tmp_path, spec, record, expected):
    assert column(tmp_path, spec, record) == expected


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        ('{ from = "a", as = "number" }', "3", 3),
        ('"a"', "3", ("type", "expected an integer")),
        ('{ from = "a", as = "number" }', "x", ("type", "expected a number, or a number in a string")),
        ('{ from = "a", as = "number" }', "1e400", ("type", "expected a number, or a number in a string")),
        ('{ from = "a", as = "number" }', "0x1", ("type", "expected a number, or a number in a string")),
        ('"a"', "", None),
    ],
)
def test_numbers_in_strings_are_numbers_where_the_mapping_says_so(tmp_path, spec, value, expected):
    assert column(tmp_path, spec, {"a": value}, "slot") == expected


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ('time = "s"', 1777889472, "2026-05-04T10:11:12+00:00"),
        ('time = "s"', 1777889472.25, "2026-05-04T10:11:12.250000+00:00"),
        ('time = "ms"', 1777889472001, "2026-05-04T10:11:12.001000+00:00"),
        ('time = "us"', "1777889472000001", "2026-05-04T10:11:12.000001+00:00"),
        ('time = "ns"', "1777889472000001999", "2026-05-04T10:11:12.000001+00:00"),
        ('time = "ns"', 1777889472000001999, "2026-05-04T10:11:12.000001+00:00"),
        ('zone = "+02:00"', "2026-05-04 12:11:12.5", "2026-05-04T10:11:12.500000+00:00"),
        ('zone = "+02:00"', "2026-05-04T10:11:12Z", "2026-05-04T10:11:12+00:00"),
        ("", "2026-05-04T10:11:12+00:00", "2026-05-04T10:11:12+00:00"),
        (
            "",
            "2026-05-04T10:11:12",
            ("type", "not an RFC 3339 time with a zone, such as 2026-05-04T10:11:12Z"),
        ),
        ("", 1777889472, ("type", "expected a string")),
        ('time = "s"', 1777889472001, ("time_range", "outside 2000-01-01 to 2100-01-01 UTC")),
        ('time = "ns"', 1777889472, ("time_range", "outside 2000-01-01 to 2100-01-01 UTC")),
        ('time = "s"', TIME, ("type", "expected a number of time units since 1970")),
        ('time = "s"', True, ("type", "expected a number of time units since 1970")),
    ],
)
def test_times_are_read_as_the_mapping_says_and_never_guessed(tmp_path, form, value, expected):
    top = form + "\n"
    assert column(tmp_path, '"a"', {"a": value, "t": value}, "received_at", top=top) == expected


def test_messages_become_the_prompt_also_from_a_tree(tmp_path):
    flat = '{ messages = ["x/*", "said/*"], role = "who", content = ["c", "parts/*/t"]'
    flat += ', roles = { h = "user" }, drop = 1 }'
    said = [
        {"who": "h", "c": "Hi"},
        {"who": "bot", "parts": [{"t": "a"}, {"t": "b"}]},
        {"who": "h", "c": "Bye"},
    ]
    for kind, records in ((flat, {"said": said}), (flat, {"x": [{"c": "no role"}], "said": said})):
        text = ONE.replace('prompt = "p"', f"messages = {kind}")
        with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
            ingest(Path(scratch), text, {"id": "1", "t": TIME, "r": "", **records})
            (row,) = table(Path(scratch) / "store", "impressions")
        assert row["prompt"] == "user: Hi\nbot: a\nb"
        assert json.loads(row["messages"])[0] == {"role": "user", "content": "Hi"}
    tree = '{ messages = "all", last = "at", parent = "up" }'
    every = {
        n: {"role": "user", "content": n, "up": up}
        for n, up in (("a", None), ("b", "a"), ("c", "b"), ("d", "d"))
    }
    text = ONE.replace('prompt = "p"', f"messages = {tree}")
    log = [{"id": n, "t": TIME, "r": "", "all": every, "at": n} for n in ("a", "c", "d")]
    ingest(tmp_path, text, *log)
    prompts = [row["prompt"] for row in table(tmp_path / "store", "impressions")]
    assert prompts == ["user: a", "user: a\nuser: b\nuser: c", "user: d"]


def test_a_record_without_an_id_is_named_by_its_content(tmp_path):
    text = ONE.replace('id = "id"', 'id = { join = "{(hash)}" }')
    same = {"id": "1", "t": TIME, "p": "", "r": ""}
    report = ingest(tmp_path, text, same, same, {**same, "r": "x"})
    assert (report.balance["committed"], report.balance["duplicate"]) == (2, 1)


def test_extends_changes_only_what_it_names(tmp_path):
    mine = mapping(tmp_path, 'extends = "langfuse"\nlost = ["mine"]\n[kinds]\ncorrectness = "rating"\n')
    one, other = mappings.load(mine), mappings.load("langfuse")
    assert one.records == other.records
    assert set(one.lost) - set(other.lost) == {"mine"}
    assert '"correctness": "rating"' in one.table
    assert '"user-feedback": "thumbs"' in one.table
    twice = mapping(tmp_path, 'extends = "one.toml"\nsource = "two"\n', "two.toml")
    assert mappings.load(twice).name == "two"


def test_another_mapping_than_before_is_refused(tmp_path):
    good = {"id": "1", "t": TIME, "p": "", "r": ""}
    ingest(tmp_path, ONE, good)
    log = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match=r"log\.jsonl: it was ingested with another mapping before"):
        ingest(tmp_path, ONE.replace('"one"', '"uno"') + 'model = "m"\n', good)
    with pytest.raises(ValueError, match="with another mapping before"):
        events.ingest(log, tmp_path / "store")
    assert not ingest(tmp_path, ONE, good).committed


def test_feedback_from_elsewhere_joins_a_mapped_source(tmp_path):
    shown = FIXTURES / "litellm" / "payload" / "payloads.jsonl"
    thumb = {"type": "feedback", "id": "f", "response": "chatcmpl-1", "kind": "thumbs", "value": "up"}
    voted = write(tmp_path / "votes.jsonl", {**thumb, "at": "2026-05-04T10:12:00Z"})
    events.ingest(shown, tmp_path / "store", source="litellm")
    report = events.ingest(voted, tmp_path / "store", source="litellm", mapping="canonical")
    assert report.states == {"attributed": 1}


@pytest.mark.parametrize("text", ["{", "", "null", "[1]"])
def test_json_in_a_string_that_is_none_is_no_fault(tmp_path, text):
    assert column(tmp_path, '["a/(json)/b", "a", "c"]', {"a": text, "c": "c"}) == text


def test_paths_say_what_they_cover():
    assert paths.covers("a/*/b", "a/7/b/c")
    assert paths.covers("gen_ai.*", "gen_ai.request.model")
    assert not paths.covers("a/b", "a")
    assert not paths.covers("a/b", "a/bc")
    assert paths.absolute(paths.parse("../x/(json)/y"), (("s", "each"), ("t", "each"))) is not None


# ------------------------------------------------------------------------------------------ the command line


def run(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_a_dry_run_says_what_is_there_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("UNSKEW_KEY")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = FIXTURES / "langfuse" / "observations_v2"
    logs = [folder / "observations_v2.jsonl", folder / "scores.jsonl"]
    done = run("ingest", *logs, "--source", "langfuse", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["live"] == {"impressions": 4, "silent": 2, "feedback": 4}
    assert told["rules"]["generation"] == 4
    assert told["join_rate"] == 1
    assert told["known"]["user"] == 0.75
    assert told["known"]["policy_prob"] == 0
    assert told["unknown"] == []
    assert "usage_details" in told["lost"]
    shown = run("ingest", *logs, "--source", "langfuse", "--dry-run").stdout
    assert [(bad["line"], bad["reason"], bad["field"]) for bad in told["samples"]] == [(7, "type", "value")]
    assert f"{logs[1]} line 7: type value: thumbs is true or false" in shown
    assert "not carried: project_id, created_at, name" in shown
    for word in ("record: generation", "without any feedback", "propensity logged", "fields not carried"):
        assert word in shown
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_names_fields_that_the_mapping_does_not_know(tmp_path):
    log = write(tmp_path / "log.jsonl", {"id": "1", "t": TIME, "p": "", "r": "", "new": {"a": [1, {"b": 2}]}})
    assert events.dry_run(log, mapping=mapping(tmp_path)).unknown == ("new/a/*", "new/a/*/b")


def test_a_dry_run_has_the_books_of_the_run_that_follows(tmp_path):
    reasons = set()
    for seed in range(20):
        log = tmp_path / f"{seed}.jsonl"
        log.write_text(lines(random_log(Random(seed))) + "garbage\n", "utf-8")
        told, done = events.dry_run(log), events.ingest(log, tmp_path / f"store{seed}")
        assert (told.live, told.kinds, told.states) == (done.live, done.kinds, done.states)
        assert (dict(told.balance), dict(told.quarantine)) == (dict(done.balance), dict(done.quarantine))
        reasons |= set(told.quarantine)
    assert reasons == {"json", "conflict", "skew"}


def test_wrong_use_is_said(tmp_path):
    log = write(tmp_path / "log.jsonl", "{}")
    for arguments, message in [
        (("--source", "langfues", "--dry-run"), "no product is named 'langfues'; there are canonical, arena"),
        (("--source", "langfuse"), "--store DIR is needed, or --dry-run"),
    ]:
        done = run("ingest", log, *arguments)
        assert message in str(done.exception)
    assert run("ingest", log, "--mapping", mapping(tmp_path), "--store", tmp_path / "store").exit_code == 0


def test_the_array_that_open_webui_exports_is_the_same_store(tmp_path):
    found = []
    for log in ("array.json", "feedback/feedback.jsonl"):
        store = tmp_path / Path(log).stem
        report = events.ingest(FIXTURES / "openwebui" / log, store, source="openwebui")
        kept = [row for name in ("impressions", "feedback") for row in rows(store, name)]
        for row in kept:  # JSON is kept as it is written, here over several lines
            row |= {name: json.loads(row[name]) for name in ("extra", "messages") if name in row}
        found.append((dict(report.balance), report.live, report.kinds, report.states, kept))
    assert found[0] == found[1]
    assert len(found[0][-1]) == 7
