"""The store: commits, keys, locks, damage, interruption, memory."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

import pytest

from logs import big_log, good, table, write
from unskew import _rust, events

CODE = """
import sys
from unskew import _rust
print("ready", flush=True)
_rust.ingest(sys.argv[2:], sys.argv[1])
"""


pytestmark = pytest.mark.usefixtures("keyed")


def test_the_store_has_the_same_bytes_for_any_number_of_threads(tmp_path):
    path = tmp_path / "log.jsonl"
    big_log(path, 4_000)
    stores = []
    for threads in (1, 2, 5):
        store = tmp_path / str(threads)
        events.ingest(path, store, threads=threads)
        stores.append(
            {
                file.relative_to(store): file.read_bytes()
                for file in sorted(store.rglob("*"))
                if file.is_file()
            }
        )
    assert len(stores[0]) >= 8
    assert stores[0] == stores[1] == stores[2]


def run(store, *inputs, stdin=None):
    return subprocess.run(
        [sys.executable, "-c", CODE, str(store), *map(str, inputs)],
        stdin=stdin,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_kill_at_random_instants_then_the_same_command_ends_in_the_same_store(tmp_path, kills):
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    big_log(second, 9_000)
    write(first, good(2_000, 20_000))
    events.ingest(first, tmp_path / "whole")
    began = time.perf_counter()
    whole = events.ingest([first, second], tmp_path / "whole")
    took = time.perf_counter() - began
    random, killed = Random(1), 0
    for number in range(3 * kills):
        if killed == kills:
            break
        store = tmp_path / f"store{number}"
        if number % 2:
            events.ingest(first, store)
        child = subprocess.Popen(
            [sys.executable, "-c", CODE, str(store), str(first), str(second)], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        time.sleep(random.uniform(0, took))
        alive = child.poll() is None
        killed += alive
        took *= 1.02 if alive else 0.9  # instants spread over the run, however busy the machine is
        child.kill()
        child.communicate()
        last = events.ingest([first, second], store)
        assert last.digest == whole.digest, number
        assert dict(last.total) == dict(whole.total), number
        named = {
            part["path"]
            for parts in json.loads(_rust.open_store(str(store)))["parts"].values()
            for part in parts
        }
        present = {str(f.relative_to(store)) for f in store.rglob("*.arrow")}
        assert named <= present
        if number % 10 == 0:
            assert events.verify(store)["digest"] == whole.digest
        subprocess.run(["rm", "-rf", str(store)], check=True)
    assert killed == kills


def test_two_writers_at_once_both_succeed_in_turn_or_one_is_told(tmp_path):
    store, refused = tmp_path / "store", []
    paths = [write(tmp_path / f"{i}.jsonl", good(400, 400 * i)) for i in range(4)]

    def work(path):
        while (done := run(store, path)).returncode:
            assert "StoreLocked: " in done.stderr
            assert "another process is writing to this store" in done.stderr
            refused.append(path)

    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(table(store, "impressions")["response_id"].to_pylist()) == sorted(
        f"r{i}" for i in range(1600)
    )
    whole = events.ingest(paths, tmp_path / "whole")
    assert events.verify(store)["digest"] == whole.digest


def test_people_are_in_the_store_only_as_keyed_hashes(tmp_path, monkeypatch):
    path = write(tmp_path / "log.jsonl", good(2))
    events.ingest(path, tmp_path / "store")
    for file in (tmp_path / "store").rglob("*"):
        assert file.is_dir() or (
            b"mary@" not in file.read_bytes() and b"a key for these" not in file.read_bytes()
        )
    one = table(tmp_path / "store", "impressions")["user_key"].to_pylist()
    assert one[0] == one[1]
    assert len(one[0]) == 16
    monkeypatch.setenv("UNSKEW_KEY", "another key, also long")
    with pytest.raises(
        ValueError, match=r"the store was made with key [0-9a-f]{16}, this run has key [0-9a-f]{16}"
    ):
        events.ingest(path, tmp_path / "store")
    events.ingest(path, tmp_path / "other")
    assert table(tmp_path / "other", "impressions")["user_key"].to_pylist()[0] != one[0]


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("UNSKEW_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = write(tmp_path / "log.jsonl", good(1))
    before = os.umask(0)
    try:
        events.ingest(path, tmp_path / "store")
    finally:
        os.umask(before)
    key = tmp_path / "config" / "unskew" / "key"
    content = key.read_text()
    assert len(content.strip()) == 64
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    for file in [tmp_path / "store", *(tmp_path / "store").rglob("*")]:
        assert file.stat().st_mode & 0o777 == (0o700 if file.is_dir() else 0o600), file
    path.write_text(good(2))
    assert events.ingest(path, tmp_path / "store").generation == 2
    assert key.read_text() == content
    assert events.verify(tmp_path / "store", key_file=key)["generation"] == 2
    with pytest.raises(ValueError, match="the key has 5 bytes; at least 16 are needed"):
        events.ingest(path, tmp_path / "other", key_file=write(tmp_path / "short", "short"))


def test_a_flipped_byte_in_any_file_is_named(tmp_path):
    store = tmp_path / "store"
    events.ingest(write(tmp_path / "log.jsonl", good(5) + "garbage\n"), store)
    temporary = write(tmp_path / "card.json", "{}")
    _rust.attach(str(store), "gold", "mine", [str(temporary)], 1)
    assert events.verify(store)["files"] == 8
    for part in [*store.rglob("*.arrow"), *store.glob("gold/*"), max(store.glob("ledger/*"))]:
        content = part.read_bytes()
        part.write_bytes(
            content[: len(content) // 2]
            + bytes([content[len(content) // 2] ^ 4])
            + content[len(content) // 2 + 1 :]
        )
        with pytest.raises(_rust.ChecksumError, match=re.escape(str(part))):
            events.verify(store)
        part.write_bytes(content)
    events.verify(store)


def test_attachments_are_part_of_the_commits(tmp_path):
    store = tmp_path / "store"
    with pytest.raises(FileNotFoundError, match="no store here"):
        _rust.attach(str(store), "gold", "x", [], 0)
    events.ingest(write(tmp_path / "log.jsonl", good(1)), store)
    for content in ("one", "two"):
        temporary = write(tmp_path / "x.json", content)
        _rust.attach(str(store), "gold", "x", [str(temporary)], 1)
        assert not temporary.exists()
        ledger = json.loads(_rust.open_store(str(store)))
        (kept,) = ledger["attachments"]
        assert (kept["folder"], kept["id"], kept["generation"]) == ("gold", "x", 1)
        assert (store / kept["files"][0]).read_text() == content
        assert (store / kept["files"][0]).stat().st_mode & 0o777 == 0o600
    assert ledger["generation"] == 1
    assert ledger["ledger"] == 3
    for arguments, message in [
        (("golden", "x", [], 1), 'folder is "golden"; it must be one of gold, nuisances, targets, audit'),
        (("gold", "../x", [], 1), 'id is "../x"; it must be 1 to 128 letters'),
        (("gold", "x", [], 7), "generation is 7; the newest of this store is 1"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            _rust.attach(str(store), *arguments)
    events.ingest(write(tmp_path / "more.jsonl", good(2, 5)), store)
    assert json.loads(_rust.open_store(str(store)))["attachments"] == ledger["attachments"]


def test_progress_is_told_and_may_stop_the_run(tmp_path):
    path = tmp_path / "log.jsonl"
    big_log(path, 3_000)
    told = []
    events.ingest(path, tmp_path / "store", progress=lambda done, lines: told.append((done, lines)))
    assert told[-1][0] == path.stat().st_size
    assert told == sorted(told)

    def stop(done, lines):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        events.ingest(path, tmp_path / "other", progress=stop)
    assert not list((tmp_path / "other").rglob("*.arrow"))


def test_an_interrupt_stops_the_run_with_nothing_committed(tmp_path):
    read, end = os.pipe()
    with os.fdopen(read) as standard_input:
        # nohup and shells that start jobs turn interrupts off for what they start
        heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        command = [sys.executable, "-c", heard + CODE, str(tmp_path / "store"), "-"]
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        child = subprocess.Popen(command, stdin=standard_input, **piped)
    child.stdout.readline()
    os.write(end, good(3).encode())
    child.send_signal(2)
    threading.Timer(0.3, os.close, [end]).start()
    _, error = child.communicate(timeout=10)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in error
    assert not list((tmp_path / "store").rglob("*.arrow"))


def peak(store, *, stdin=None, inputs=()):
    """Largest resident size, MB, of an ingestion in a process of its own.

    VmHWM, because ru_maxrss begins with the parent's.
    """
    code = CODE + "print(next(line for line in open('/proc/self/status') if 'VmHWM' in line))"
    command = [sys.executable, "-c", code, str(store), *map(str, inputs)]
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[2]) / 1024


on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")


@on_linux
def test_memory_does_not_grow_with_the_volume_of_text(tmp_path):
    small, large, larger = (tmp_path / f"{name}.jsonl" for name in ("small", "large", "larger"))
    big_log(small, 2_000, size=50)
    big_log(large, 2_000, size=50_000)
    big_log(larger, 2_000, size=100_000)
    sizes = [peak(tmp_path / path.stem, inputs=[path]) for path in (small, large, larger)]
    assert sizes[1] - sizes[0] < 160, sizes
    assert sizes[2] - sizes[1] < 24, sizes


@on_linux
def test_a_line_of_any_length_is_passed_over_without_being_held(tmp_path):
    read, end = os.pipe()

    def feed():
        with os.fdopen(end, "wb") as out:
            out.write(good(1).encode())
            for _ in range(200):
                out.write(b"x" * (1 << 20))
            out.write(b"\n" + good(1, 1).encode())

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(read) as standard_input:
        size = peak(tmp_path / "store", stdin=standard_input, inputs=["-"])
    feeder.join()
    assert size < 160
    (row,) = table(tmp_path / "store", "quarantine").to_pylist()
    assert (row["reason"], row["line"], row["len"], row["file"]) == ("too_long", 2, 200 << 20, "-")
    assert table(tmp_path / "store", "impressions").num_rows == 2


def test_a_full_disk_leaves_the_last_commit(tmp_path):
    first, second = write(tmp_path / "1.jsonl", good(3)), tmp_path / "2.jsonl"
    before = events.ingest(first, tmp_path / "store")
    big_log(second, 3_000)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    command = [sys.executable, "-c", limit + CODE, str(tmp_path / "store"), str(second)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "OSError" in done.stderr
    assert "File too large" in done.stderr
    assert events.verify(tmp_path / "store")["digest"] == before.digest
    named = {
        part["path"]
        for parts in json.loads(_rust.open_store(str(tmp_path / "store")))["parts"].values()
        for part in parts
    }
    assert {str(f.relative_to(tmp_path / "store")) for f in (tmp_path / "store").rglob("*.arrow")} == named


def test_a_link_planted_in_the_store_is_refused(tmp_path):
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    events.ingest(write(tmp_path / "log.jsonl", good(1)), store)
    elsewhere.mkdir()
    canary = write(elsewhere / "canary.arrow", "alive")
    subprocess.run(["rm", "-rf", str(store / "targets")], check=True)
    (store / "targets").symlink_to(elsewhere)
    with pytest.raises(OSError, match="a symbolic link inside the store"):
        events.ingest(write(tmp_path / "more.jsonl", good(1, 5)), store)
    assert canary.read_text() == "alive"


def test_the_generation_counts_commits_of_data_and_files_of_old_ones_go(tmp_path):
    store = tmp_path / "store"
    for number in range(4):
        report = events.ingest(write(tmp_path / f"{number}.jsonl", good(2, 2 * number)), store)
        assert report.generation == number + 1
    assert len(list((store / "impressions").iterdir())) == 4
    assert (
        len(list((store / "observations").iterdir())) == 4 + 3
    )  # the newest commit's, and those of the one before
    assert len(list((store / "ledger").iterdir())) == 2
    aligned = zip(
        *(json.loads(_rust.open_store(str(store)))["parts"][t] for t in ("impressions", "observations")),
        strict=True,
    )
    assert all(a["rows"] == b["rows"] for a, b in aligned)
