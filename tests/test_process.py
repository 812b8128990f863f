"""The process around a store: signals, limits, locks, damage, links, forks and threads."""

import fcntl
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from array import array
from pathlib import Path
from random import Random

import pytest

import faults
from logs import big_log, good, table, write
from unskew import _rust, events

CLI = "import signal; signal.signal(2, signal.default_int_handler)\nfrom unskew.cli import main; main()"


pytestmark = pytest.mark.usefixtures("keyed")


@pytest.fixture
def store(tmp_path):
    """A store with five responses."""
    events.ingest(write(tmp_path / "log.jsonl", good(5)), tmp_path / "store")
    return tmp_path / "store"


def fed(store, **options):
    """`unskew ingest` of standard input, with the end of its pipe, once it has read something."""
    read, end = os.pipe()
    with os.fdopen(read) as standard_input:
        command = [sys.executable, "-c", CLI, "ingest", "-", "--store", str(store)]
        child = subprocess.Popen(command, stdin=standard_input, stderr=subprocess.PIPE, text=True, **options)
    os.write(end, good(300, 100).encode())
    while array("i", fcntl.ioctl(end, termios.FIONREAD, bytes(4)))[0]:  # not all is read yet
        time.sleep(0.01)
    return child, end


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_stops_within_a_second_at_the_last_commit(store, number, code):
    before = events.verify(store)["digest"]
    child, end = fed(store)
    time.sleep(Random(int(number)).uniform(0, 0.2))
    child.send_signal(number)
    threading.Timer(0.3, os.close, [end]).start()
    began = time.monotonic()
    _, error = child.communicate(timeout=20)
    assert time.monotonic() - began < 1.5
    assert child.returncode == code, error
    assert "Traceback" not in error
    assert events.verify(store)["digest"] == before
    events.ingest(write(store.parent / "more.jsonl", good(1, 50)), store)
    assert faults.unnamed(str(store)) == []


@pytest.mark.exhaustive
def test_an_interrupt_at_twenty_instants_leaves_the_last_commit_within_a_second(store, tmp_path):
    before, path, random = events.verify(store)["digest"], tmp_path / "big.jsonl", Random(3)
    big_log(path, 30_000)
    after = events.ingest(path, shutil.copytree(store, tmp_path / "whole")).digest
    stopped = 0
    for number in range(200):
        copy = shutil.copytree(store, tmp_path / str(number))
        command = [sys.executable, "-c", CLI, "ingest", str(path), "--store", str(copy)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not list(copy.glob("*/g000002*")) and child.poll() is None:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.4))
        child.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, error = child.communicate(timeout=20)
        assert time.monotonic() - began < 1.5
        assert "Traceback" not in error
        stopped += child.returncode == 130
        assert events.verify(copy)["digest"] in ((before, after) if child.returncode else (after,))
        assert events.ingest(path, copy).digest == after
        shutil.rmtree(copy)
        if stopped == 20:
            break
    assert stopped == 20


def test_a_second_interrupt_ends_the_process_at_once(store):
    child, end = fed(store)
    child.send_signal(signal.SIGINT)
    time.sleep(0.4)
    assert child.poll() is None  # it waits for the pipe
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=5)
    assert child.returncode == -signal.SIGINT
    os.close(end)
    assert events.verify(store)["impressions"] == 5


def test_a_lock_dies_with_its_process(store):
    child, end = fed(store)
    more = write(store.parent / "more.jsonl", good(1, 50))
    with pytest.raises(_rust.StoreLocked, match="another process is writing to this store"):
        events.ingest(more, store)
    refused = subprocess.run(
        [sys.executable, "-c", CLI, "ingest", str(more), "--store", str(store)],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 5, refused.stderr
    child.kill()
    child.communicate()
    os.close(end)
    assert (store / "lock").exists()
    assert events.ingest(more, store).committed


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_a_gigabyte_is_enough_for_any_amount_of_text(tmp_path):
    path = tmp_path / "log.jsonl"
    with path.open("w") as out:
        for number in range(1_500):
            row = json.loads(good(1, number))
            out.write(json.dumps(row | {"response": f"{number:04} " * 9_000}) + "\n")
    assert path.stat().st_size > 60 << 20
    code = (
        "import resource, sys; from unskew import _rust;"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); _rust.ingest([sys.argv[1]], sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "store")], check=True)
    assert table(tmp_path / "store", "observations").num_rows == 1_500


def test_a_damaged_store_is_named_before_anything_is_added_to_it(store):
    more = write(store.parent / "more.jsonl", good(1, 50))
    for part in [*store.glob("impressions/*"), *store.glob("feedback/*")]:
        content = part.read_bytes()
        for at in range(0, len(content), max(1, len(content) // 8)):
            part.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            with pytest.raises(_rust.ChecksumError, match=re.escape(f"{part}: checksum")):
                events.ingest(more, store)
        part.write_bytes(content[:-9])
        with pytest.raises(_rust.ChecksumError, match=re.escape(str(part))):
            events.ingest(more, store)
        part.write_bytes(content)
    done = subprocess.run([sys.executable, "-c", CLI, "verify", str(store)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    part = max(store.glob("impressions/*"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    done = subprocess.run([sys.executable, "-c", CLI, "verify", str(store)], capture_output=True, text=True)
    assert done.returncode == 6
    assert str(part) in done.stderr


def test_links_planted_in_a_store_lead_nowhere(store, tmp_path):
    canary = write(tmp_path / "canary", "alive")
    for planted in ("ledger/next", "ledger/000000000099x", "impressions/g000009-0000.arrow", "gold/x.json"):
        (store / planted).symlink_to(canary)
        report = events.ingest(write(tmp_path / f"{planted.replace('/', '-')}.jsonl", good(1, 50)), store)
        assert report.balance["lines"] == 1
        assert not (store / planted).is_symlink()
        assert canary.read_text() == "alive"
    assert faults.unnamed(str(store)) == []


def test_a_store_of_another_version_is_refused_and_left_alone(store):
    xxhash = pytest.importorskip("xxhash", reason="only `datasets` brings xxhash")
    ledger = max(store.glob("ledger/*"))
    text = json.dumps(json.loads(ledger.read_text().splitlines()[0]) | {"version": 7})
    ledger.write_text(f"{text}\n{xxhash.xxh3_128_hexdigest(text.encode())}\n")
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="the store has version 7, this program reads 1"):
        events.ingest(write(store.parent / "more.jsonl", good(1, 50)), store)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def _ingest(arguments):
    path, store = arguments
    return events.ingest(path, store).digest


def pool(way, path, *stores):
    """Digests of what this process and then two of its children ingest."""
    here = _ingest((path, stores[0]))  # before the children are made, so that they find its threads gone
    with multiprocessing.get_context(way).Pool(2) as workers:
        return [here, *workers.map_async(_ingest, [(path, store) for store in stores[1:]]).get(timeout=60)]


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_processes_that_are_forked_or_spawned_ingest_as_this_one(tmp_path, way):
    path = write(tmp_path / "more.jsonl", good(50, 100))
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
    code += "import test_process; print(len(set(test_process.pool(*sys.argv[1:]))))"
    command = [sys.executable, "-c", code, way, path, *(str(tmp_path / f"store{i}") for i in range(3))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "1\n"


def test_eight_threads_share_the_core_and_one_store(store, tmp_path):
    paths = [write(tmp_path / f"{i}.jsonl", good(30, 100 * i)) for i in range(8)]
    done = {}

    def work(number):
        mine = events.ingest(paths[number], tmp_path / f"own{number}").digest
        while True:
            try:
                events.ingest(paths[number], tmp_path / "shared")
                break
            except _rust.StoreLocked:
                time.sleep(0.01)
        done[number] = mine, events.verify(store)["digest"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(done) == 8
    assert len({verified for _, verified in done.values()}) == 1
    assert events.verify(tmp_path / "shared")["digest"] == events.ingest(paths, tmp_path / "whole").digest


def test_the_clock_of_the_machine_is_in_nothing_that_is_stored(tmp_path, monkeypatch):
    library = faults.build(tmp_path)
    log = write(tmp_path / "log.jsonl", good(5))
    stores = []
    for years in (-10, 0, 10):
        code = "import sys, time; from unskew import _rust; _rust.ingest([sys.argv[1]], sys.argv[2])"
        code += "; print(time.gmtime()[0])"
        environment = os.environ | {"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(years * 31_557_600)}
        folder = tmp_path / str(years)
        done = subprocess.run(
            [sys.executable, "-c", code, str(log), str(folder)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout) - time.gmtime()[0] in (years - 1, years, years + 1)
        stores.append({p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()})
    assert stores[0] == stores[1] == stores[2]
