"""The budget of memory: whatever it is, the store is the same, byte for byte."""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logs
from unskew import events

pytestmark = pytest.mark.usefixtures("keyed")

TINY = ["1B", "300B", "1KB", "4KB"]
"""Budgets for a row, a few rows and about ten and forty rows in memory."""


def files(store: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()
    }


def same(log: list[str], memory: str) -> None:
    """Runs over the pieces of a log give the same files with and without a budget."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, piece in enumerate(log):
            path = folder / f"{number}.jsonl"
            path.write_text(piece)
            reports = [
                events.ingest(path, folder / store, memory=budget)
                for store, budget in (("whole", None), ("spilled", memory))
            ]
            raw = [{**report.raw, "store": "", "seconds": 0} for report in reports]
            assert raw[0] == raw[1]
        assert files(folder / "whole") == files(folder / "spilled")
        found = events.verify(folder / "whole", memory=memory)
        assert found == events.verify(folder / "whole")
        assert found["digest"] == reports[0].digest


@given(st.randoms(use_true_random=False), st.sampled_from(TINY), st.integers(1, 3))
@settings(max_examples=150)
def test_the_store_is_the_same_for_any_budget(random, memory, runs):
    log = logs.random_log(random)
    cuts = sorted(random.randint(0, len(log)) for _ in range(runs - 1))
    same([logs.lines(log[a:b]) for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True)], memory)


def many(seed: int, worlds: int) -> list[logs.Event]:
    """Random logs side by side, some of whose sessions, users and responses meet across them."""
    random, events_of_all = Random(seed), []
    for world in range(worlds):
        for event in logs.random_log(random):
            names = ("id", "request", "response", "parent")
            apart = {name: f"{event[name]}.{world}" for name in names if name in event}
            if event.get("winner", "tie") not in ("tie", "both_bad"):
                apart["winner"] = f"{event['winner']}.{world}"
            if "session" in event and world % 3:
                apart["session"] = f"{event['session']}.{world}"
            events_of_all.append(event | apart)
    random.shuffle(events_of_all)
    return events_of_all


@pytest.mark.parametrize("memory", ["4KB", "60KB", "1MB", "1GB"])
def test_the_store_is_the_same_for_a_log_of_many_runs_and_blocks(memory):
    log = logs.lines(many(7, 400))
    middle = log.index("\n", len(log) // 2) + 1
    same([log[:middle], log[middle:]], memory)


def same_without(log: list[logs.Event], user: str, memory: str) -> dict[str, int]:
    """A store from which somebody is erased has the same files with and without a budget; what was erased."""
    with tempfile.TemporaryDirectory() as name:
        folder, done = Path(name), []
        path = logs.write(folder / "log.jsonl", logs.lines(log))
        for store, budget in (("whole", None), ("spilled", memory)):
            events.ingest(path, folder / store, keep_raw=True)
            done.append({**events.erase(user, folder / store, memory=budget), "store": ""})
        assert done[0] == done[1]
        assert files(folder / "whole") == files(folder / "spilled")
        assert events.verify(folder / "spilled", memory=memory)["digest"] == done[0]["digest"]
        return done[0]


@given(st.randoms(use_true_random=False), st.sampled_from(TINY), st.sampled_from(["u1", "u2"]))
@settings(max_examples=60)
def test_the_store_after_an_erasure_is_the_same_for_any_budget(random, memory, user):
    same_without(logs.random_log(random), user, memory)


@pytest.mark.parametrize("memory", ["1B", "4KB", "60KB", "1MB"])
def test_an_erasure_from_many_runs_and_blocks_is_the_same_for_any_budget(memory):
    done = same_without(many(8, 60 if memory == "1B" else 400), "u1", memory)
    assert done["impressions"] > 50
    assert done["feedback"] > 50


@pytest.mark.parametrize("memory", ["much", "0", "-1", "1.5GB"])
def test_a_budget_that_is_no_size_is_refused(tmp_path, memory):
    path = logs.write(tmp_path / "log.jsonl", logs.good(1))
    with pytest.raises(ValueError, match=f'memory is "{memory}"; expected a size of at least one byte'):
        events.ingest(path, tmp_path / "store", memory=memory)
    assert not (tmp_path / "store").exists()
    events.ingest(path, tmp_path / "store")
    with pytest.raises(ValueError, match=f'memory is "{memory}"; expected a size of at least one byte'):
        events.verify(tmp_path / "store", memory=memory)
    with pytest.raises(ValueError, match=f'memory is "{memory}"; expected a size of at least one byte'):
        events.erase("u1", tmp_path / "store", memory=memory)


def test_no_room_for_what_is_spilled_leaves_the_last_commit(tmp_path):
    first, second = logs.write(tmp_path / "1.jsonl", logs.good(3)), tmp_path / "2.jsonl"
    before = events.ingest(first, tmp_path / "store")
    logs.write(second, logs.good(4_000, 100))
    code = (
        "import resource, sys\n"
        "from unskew import events\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))\n"
        "events.ingest(sys.argv[1], sys.argv[2], memory='20KB')\n"
    )
    command = [sys.executable, "-c", code, str(second), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "OSError" in done.stderr
    assert "/spill/" in done.stderr
    assert events.verify(tmp_path / "store")["digest"] == before.digest
    assert list((tmp_path / "store" / "spill").iterdir()) == []
    after = events.ingest(second, tmp_path / "store", memory="20KB")
    assert after.live["impressions"] == 4_003


def test_what_a_killed_run_may_have_left_is_deleted(tmp_path):
    path = logs.write(tmp_path / "log.jsonl", logs.good(3))
    events.ingest(path, tmp_path / "store")
    left = logs.write(tmp_path / "store" / "spill" / "000007", "a name that was not yet taken away")
    logs.write(path, logs.good(4))
    events.ingest(path, tmp_path / "store")
    assert not left.exists()


def test_a_store_is_checked_in_little_memory_while_it_is_written_to(tmp_path):
    store, found = tmp_path / "store", []
    before = events.ingest(logs.write(tmp_path / "1.jsonl", logs.good(4_000)), store)

    def check(*done):
        if not found:
            found.append(events.verify(store, memory="20KB")["digest"])

    second = logs.write(tmp_path / "2.jsonl", logs.good(4_000, 9_000))
    assert events.ingest(second, store, memory="20KB", progress=check).committed
    assert found == [before.digest]
    assert list((store / "spill").iterdir()) == []


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="memory is given back through glibc, which this system lacks"
)
def test_a_run_gives_its_memory_back(tmp_path):
    """Who ingests in a process that lives on, such as a notebook, keeps little of what a run has freed."""
    log = tmp_path / "log.jsonl"
    logs.big_log(log, 40_000)
    code = (
        "import sys\nfrom unskew import events\n_, log, store = sys.argv\n"
        "def held():\n"
        "    told = open('/proc/self/status').read()\n"
        "    return int(told.split('RssAnon:')[1].split()[0])\n"
        "before = held()\n"
        "events.ingest(log, store, threads=2)\nprint((held() - before) / 1024)\n"
        "for work in (events.verify, lambda store: events.erase('u1', store), events.compact):\n"
        "    work(store)\n    print((held() - before) / 1024)"
    )
    command = [sys.executable, "-c", code, str(log), str(tmp_path / "store")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert max(map(float, found.split())) < 16, found  # MB; 20 to 30 if nothing is given back
