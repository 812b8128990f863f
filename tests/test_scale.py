"""Scale-out of ingestion: whatever the engine, the shards, the partitions, the order of letters and who dies,
the tables of the store are those of one process."""

import importlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import faults
import logs
from killed import Killed
from logs import table
from test_memory import files, many
from unskew import _rust, events, export, scale

pytestmark = pytest.mark.usefixtures("keyed")

TABLES = ("impressions", "feedback", "observations", "pairs", "cells")


@dataclass
class Shuffled(scale.Local):
    """Letters in any order, and some stages run twice or after a first run that left its files behind."""

    random: Random = None

    def step(self, letters, work):
        order = list(range(len(letters)))
        self.random.shuffle(order)
        letters = letters.take(pa.array(order, pa.int64()))
        if self.random.random() < 0.3:
            work(letters)
        return super().step(letters, work)


def ledger(store):
    return json.loads(_rust.open_store(str(store)))


def refused(store):
    """Refused lines by place and reason; of two that conflict, which one is named depends on who saw it."""
    rows = table(store, "quarantine").to_pylist() if ledger(store)["parts"]["quarantine"] else []
    return sorted((row["src"], row["line"], row["off"], row["reason"], row["field"]) for row in rows)


def same(whole, spread, exact=True):
    """Two stores say the same, row for row."""
    for name in TABLES:
        assert table(whole, name) == table(spread, name), name
    one, other = ledger(whole), ledger(spread)
    told = ("digest", "watermark", "live", "kinds", "states", "notes", "key_id", "window_us", "lateness_us")
    assert {name: one[name] for name in told} == {name: other[name] for name in told}
    assert one["parts"]["cells"] == other["parts"]["cells"]
    if exact:
        assert refused(whole) == refused(spread)
        assert one["sources"] == other["sources"]
        assert one["balance"] == other["balance"]


def dealt(folder, random, lines, files):
    """The lines in so many files, the last of which may end within a line."""
    cuts = sorted(random.randint(0, len(lines)) for _ in range(files - 1))
    paths = []
    for number, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(lines)], strict=True)):
        tail = random.choice(["", "", "", '{"torn'])
        paths.append(logs.write(folder / f"{number:03}.jsonl", "".join(lines[a:b]) + tail))
    return paths


@given(st.randoms(use_true_random=False), st.sampled_from([1, 2, 7, 64]))
@settings(max_examples=150)
def test_any_shards_and_order_give_the_tables_of_one_process(random, shards):
    log = [logs.lines([event]) for event in logs.random_log(random)]
    log += ["garbage\n"] * random.randint(0, 2)
    random.shuffle(log)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = dealt(folder, random, log, shards)
        report = events.ingest(files, folder / "whole")
        engine = Shuffled(random=random)
        got = scale.ingest(files, folder / "spread", engine=engine, shards=shards)
        same(folder / "whole", folder / "spread")
        here = {"store": "", "seconds": 0, "samples": []}
        assert {**got.raw, **here} == {**report.raw, **here}
        assert events.verify(folder / "spread")["digest"] == report.digest
        assert faults.unnamed(str(folder / "spread")) == []


def test_one_shard_gives_the_files_of_one_process(tmp_path):
    text = logs.lines(many(7, 100)) + "garbage\n"
    path = logs.write(tmp_path / "log.jsonl", text)
    events.ingest(path, tmp_path / "whole")
    scale.ingest(path, tmp_path / "spread", shards=1)
    whole, spread = files(tmp_path / "whole"), files(tmp_path / "spread")
    assert whole.keys() - spread.keys() == set()
    told_in_another_order = ("quarantine/", "ledger/")
    for name in whole:
        assert name.startswith(told_in_another_order) or whole[name] == spread[name], name


@pytest.mark.parametrize(
    ("spread", "most"),
    [
        (lambda number, random: number // 1_000, 16),  # as a product writes it
        (
            lambda number, random: random.randrange(8),
            64,
        ),  # at random: no request, session or user is together
    ],
    ids=["as written", "at random"],
)
def test_bytes_an_event_of_the_letters_of_all_stages_together(tmp_path, spread, most):
    random, paths = Random(5), []
    dealt = [[] for _ in range(8)]
    for number, event in enumerate(apart(random, 4_000)):
        dealt[spread(number, random)].append(event)
        if random.random() < 0.02:  # delivered twice
            random.choice(dealt).append(event)
    for number, events_of in enumerate(dealt):
        paths.append(logs.write(tmp_path / f"{number}.jsonl", logs.lines(events_of)))
    engine = scale.Local()
    report = scale.ingest(paths, tmp_path / "spread", engine=engine)
    lines = report.balance["lines"]
    assert lines > 8_000
    assert len(engine.shuffled) == _rust.ScaleJob.STAGES
    assert sum(engine.shuffled) / lines <= most
    events.ingest(paths, tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "spread")


def apart(random, count):
    """A plain log: users, sessions, requests of a few responses each, thumbs for all, a tenth on sessions."""
    for number in range(count):
        at = logs.START + random.uniform(0, 700) * logs.HOUR
        yield {
            "type": "impression",
            "id": f"r{number}",
            "request": f"q{number // 2}",
            "session": f"s{number // 4}",
            "user": f"u{number // 8}",
            "shown_at": logs.stamp(at),
            "prompt": "p",
            "response": "x",
            "model": random.choice(["m1", "m2"]),
            "offered": ["thumbs", "choice"],
        }
        about = {"session": f"s{number // 4}"} if number % 10 == 0 else {"response": f"r{number}"}
        yield {
            "type": "feedback",
            "id": f"f{number}",
            **about,
            "kind": "thumbs",
            "value": random.choice(["up", "down"]),
            "at": logs.stamp(at + random.uniform(0, 50) * logs.HOUR),
        }


# Two ids of responses and two users that begin with the same 40 bits under the key of these tests, of
# some found among three million of each.
ALIKE = {"id": ("r1738568", "r1875628"), "user": ("u94215", "u1272838")}


def test_keys_of_one_fingerprint_are_told_apart(tmp_path):
    """What is brought together for a fingerprint that two keys share stays apart by the whole keys."""
    lines = [[], [], []]
    for shard in range(2):
        for number in range(3):
            user, name = ALIKE["user"][shard], ALIKE["id"][shard] if number == 0 else f"{shard}-{number}"
            at = logs.START + (number + shard / 2) * logs.HOUR
            shown = {"id": name, "user": user, "shown_at": logs.stamp(at), "prompt": "p", "response": name}
            lines[shard].append({"type": "impression", "request": ALIKE["id"][shard], **shown})
            thumb = {"kind": "thumbs", "value": shard == 0, "at": logs.stamp(at + logs.HOUR / 4)}
            lines[2].append({"type": "feedback", "id": f"f{name}", "response": name, **thumb})
    paths = [logs.write(tmp_path / f"{n}.jsonl", logs.lines(rows)) for n, rows in enumerate(lines)]
    events.ingest(paths, tmp_path / "whole")
    scale.ingest(paths, tmp_path / "spread")
    same(tmp_path / "whole", tmp_path / "spread")
    rows = table(tmp_path / "spread", "impressions")
    for name in ("response_key", "user_key"):
        keys = set(rows[name].to_pylist())
        assert len({key[:5] for key in keys}) == len(keys) - 1, "two keys begin alike"
    seen = table(tmp_path / "spread", "observations")
    assert seen["r"].to_pylist() == [1, 1, 1, 0, 0, 0]
    assert seen["user_prior_exp"].to_pylist() == [0, 1, 2] * 2


def in_pieces(folder, random, count=4):
    """A log in so many files, with repeats across them and refused lines."""
    lines = [logs.lines([event]) for event in many(random.randint(0, 99), 30)]
    lines += [*random.choices(lines, k=len(lines) // 10), "garbage\n"]
    random.shuffle(lines)
    return dealt(folder, random, lines, count)


def test_a_store_goes_on_as_any_other(tmp_path):
    paths = in_pieces(tmp_path, Random(3))
    for store, run in (("whole", events.ingest), ("spread", scale.ingest)):
        store = tmp_path / store
        run(paths, store)
        assert not events.ingest(paths, store).committed
        export.export(store, store.with_suffix(".jsonl"))
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "spread.jsonl").read_bytes()
    more = logs.write(tmp_path / "more.jsonl", logs.lines(many(100, 20)))
    for store in ("whole", "spread"):
        events.ingest(more, tmp_path / store)
        events.erase("u1", tmp_path / store)
    same(tmp_path / "whole", tmp_path / "spread")
    events.compact(tmp_path / "spread")
    same(tmp_path / "whole", tmp_path / "spread", exact=False)
    assert events.verify(tmp_path / "spread")["digest"] == ledger(tmp_path / "whole")["digest"]


class Fault(Exception):
    """A worker is gone."""


@dataclass
class Failing(scale.Local):
    """Dies in a stage, after what it wrote."""

    stage: int = 0

    def step(self, letters, work):
        if work.stage == self.stage:
            work(letters)
            raise Fault
        return super().step(letters, work)


@pytest.mark.parametrize("stage", range(_rust.ScaleJob.STAGES))
def test_a_job_that_fails_leaves_nothing(tmp_path, stage):
    paths, store = in_pieces(tmp_path, Random(4)), tmp_path / "store"
    with pytest.raises(Fault):
        scale.ingest(paths, store, engine=Failing(stage=stage))
    left = [path for path in store.rglob("*") if path.is_file() and path.name != "lock"]
    assert left == []
    scale.ingest(paths, store)
    assert faults.unnamed(str(store)) == []


def test_what_a_driver_that_was_killed_left_is_deleted_by_the_next(tmp_path):
    paths, store = in_pieces(tmp_path, Random(5)), tmp_path / "store"
    job = _rust.ScaleJob([str(path) for path in paths], str(store), shards=2)
    job.learn([(by, data) for by in range(2) for to, data in step(job, 0, by) if to == job.DRIVER])
    with pytest.raises(_rust.StoreLocked):
        events.ingest(paths, store)
    del job  # the lock goes with the process, what it wrote does not
    assert len(list(store.rglob("*.arrow"))) >= 4
    events.ingest(paths, store)
    assert faults.unnamed(str(store)) == []


def step(job, stage, to, letters=((_rust.ScaleJob.DRIVER, b""),)):
    return _rust.scale_step(job.settings(), stage, to, list(letters))


def test_an_engine_that_loses_or_parts_letters_is_told(tmp_path):
    paths = in_pieces(tmp_path, Random(6))
    job = _rust.ScaleJob([str(path) for path in paths], str(tmp_path / "store"), shards=3)
    sent = [(by, step(job, 0, by)) for by in range(job.shards)]
    told = [(by, data) for by, letters in sent for to, data in letters if to == job.DRIVER]
    with pytest.raises(ValueError, match="2 letters to the driver, expected one from each of 3"):
        job.learn(told[:2])
    job.learn(told)
    to_first = [(by, data) for by, letters in sent for to, data in letters if to == 0]
    with pytest.raises(ValueError, match="2 letters, expected one from each of 3; the engine must give"):
        step(job, 1, 0, to_first[1:])
    cut = [*to_first[:2], (2, to_first[2][1][:-1])]
    with pytest.raises(ValueError, match="not as it was written"):
        step(job, 1, 0, cut)
    job.abandon()
    with pytest.raises(ValueError, match="this job has ended"):
        job.settings()


def test_what_cannot_be_is_refused(tmp_path, monkeypatch):
    path, store = logs.write(tmp_path / "log.jsonl", logs.good(3)), tmp_path / "store"
    with pytest.raises(ValueError, match="shards is 0; it must be at least 1"):
        scale.ingest(path, store, shards=0)
    with pytest.raises(ValueError, match="standard input cannot be spread"):
        scale.ingest("-", store)
    bad = logs.write(tmp_path / "bad.jsonl", "garbage\n" * 2)
    with pytest.raises(_rust.BudgetExceeded):
        scale.ingest([path, bad], store, max_bad=1)
    scale.ingest(path, store)
    with pytest.raises(ValueError, match="the store has rows already"):
        scale.ingest(path, store)
    job = _rust.ScaleJob([str(path)], str(tmp_path / "other"), shards=1)
    monkeypatch.setenv("UNSKEW_KEY", "another key for these tests only")
    with pytest.raises(ValueError, match="this worker key"):
        step(job, 0, 0)


def test_mappings_and_parquet_files_are_read_by_workers(tmp_path):
    rows = [{**event, "value": str(event["value"])} if "value" in event else event for event in many(9, 10)]
    plain = {"type", "id", "shown_at", "prompt", "response", "request", "session", "user", "at", "kind"}
    rows = [{name: row.get(name) for name in plain} for row in rows if row["type"] != "choice"]
    for number in range(2):
        pq.write_table(pa.Table.from_pylist(rows[number::2]), tmp_path / f"{number}.parquet")
    events.ingest(tmp_path / "*.parquet", tmp_path / "whole")
    scale.ingest(tmp_path / "*.parquet", tmp_path / "spread")
    same(tmp_path / "whole", tmp_path / "spread")


def spread_by(engine, folder):
    """A job of an engine, a worker of which is killed, against one process."""
    paths, marker = in_pieces(folder, Random(8)), folder / "killed"
    key = logs.write(folder / "key", "a key for the workers of these tests")

    class Dying:
        start = engine.start

        def step(self, letters, work):
            return engine.step(letters, Killed(work, str(marker)))

    events.ingest(paths, folder / "whole", key_file=key)
    scale.ingest(paths, folder / "spread", engine=Dying(), shards=2, key_file=key)
    assert marker.exists()
    same(folder / "whole", folder / "spread")
    assert faults.unnamed(str(folder / "spread")) == []


@pytest.fixture
def workers(monkeypatch):
    """Workers find what this process imports, and are as important."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning")
def test_ray_gives_the_store_of_one_process_though_a_worker_is_killed(tmp_path, workers):
    ray = pytest.importorskip("ray", reason="ray is not installed (the extra `ray`)")
    from unskew.scale.ray import Ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", _node_ip_address="127.0.0.1")
    try:
        spread_by(Ray(groups=2), tmp_path)
    finally:
        ray.shutdown()


@pytest.mark.filterwarnings("ignore::FutureWarning:pyspark")
def test_spark_gives_the_store_of_one_process_though_a_worker_is_killed(tmp_path, workers):
    pytest.importorskip("pyspark", reason="pyspark is not installed (the extra `spark`)")
    if shutil.which("java") is None:
        pytest.skip("no Java, which Spark needs")
    from pyspark.sql import SparkSession

    from unskew.scale.spark import Spark

    build = SparkSession.builder.master("local[2,3]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": str(tmp_path / "spark"),
    }.items():
        build = build.config(name, value)
    session = build.getOrCreate()
    try:
        spread_by(Spark(session, tasks=2), tmp_path)
    finally:
        session.stop()


@pytest.mark.parametrize(("extra", "package"), [("ray", "ray.data"), ("spark", "pyspark.sql")])
def test_an_engine_that_is_not_installed_is_named_with_what_to_install(extra, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    monkeypatch.delitem(sys.modules, f"unskew.scale.{extra}", raising=False)
    with pytest.raises(ImportError, match=rf"pip install 'unskew\[{extra}\]'"):
        importlib.import_module(f"unskew.scale.{extra}")
