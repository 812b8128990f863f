"""What a store holds after failing calls, kills and power cuts; and the same command then ends the same."""

import re
import shutil

import pytest

import faults
import power
from logs import good, write
from unskew import _rust, events

FAILS = {("write", "ENOSPC"), ("fsync", "EIO"), ("link", "EIO")}
MORE = {("write", "EIO"), ("open", "EIO"), ("opendir", "EIO"), ("link", "ENOSPC")}
FAILS_NEW = {("mkdir", "ENOSPC")}
HARMLESS = {("write", "short")}
MORE_HARMLESS = {("write", "EINTR"), ("fsync", "EINTR"), ("open", "EINTR")}
KILL, TEAR = ("any", "kill"), ("write", "tear")
WORDS = {"ENOSPC": "No space left on device", "EIO": "Input/output error"}


class Logs:
    """Two logs, a store with the first, and what a store says before and after the second."""

    def __init__(self, folder):
        first = write(folder / "1.jsonl", good(40) + "garbage\n" + good(1))
        second = write(folder / "2.jsonl", good(40, 100) + '{"torn')
        self.folder, self.paths, self.store = folder, [str(first), str(second)], str(folder / "one")
        self.one = events.ingest(first, self.store).digest
        both = events.ingest(self.paths, folder / "both")
        self.both, self.books = both.digest, dict(both.total)
        self.shim = faults.build(folder)

    def run(self, **job):
        return faults.run(self.shim, **job)

    def sweep(self, faults, begin):
        """Each fault at every call, and what was left."""
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        pairs = sorted(faults)
        return self.run(do="sweeps", work=str(work), begin=begin, inputs=self.paths, faults=pairs)


pytestmark = pytest.mark.usefixtures("keyed")


@pytest.fixture(scope="module")
def logs(tmp_path_factory, keyed):
    return Logs(tmp_path_factory.mktemp("logs"))


def swept(logs, fails, harmless, begin, before):
    """Sweeps of faults, once each left a commit and the same command ended the same."""
    done = logs.sweep(fails | harmless | {KILL, TEAR}, begin)
    for name, results in done.items():
        assert results, name
        for result in results:
            assert result["left"] in (before, logs.both), (name, result)
            assert (result["then"], result["books"]) == (logs.both, logs.books), (name, result)
            assert result["rest"] == [], (name, result)
    assert len(done["any kill"]) > 60
    assert {result["code"] for result in done["any kill"]} == {-9}
    assert {result["left"] for result in done["any kill"]} == {before, logs.both}
    assert {(result["code"], result["left"]) for result in done["write tear"]} == {(-9, before)}
    for call, fault in harmless:
        assert {(result["code"], result["left"]) for result in done[f"{call} {fault}"]} == {(0, logs.both)}
    for call, fault in fails:
        assert all(is_clean(result, call, fault, logs.both) for result in done[f"{call} {fault}"])
        assert any(result["code"] == 4 for result in done[f"{call} {fault}"])


def test_a_fault_at_every_call_leaves_a_commit_and_the_same_command_ends_the_same(logs):
    swept(logs, FAILS, HARMLESS, logs.store, logs.one)


@pytest.mark.exhaustive
def test_more_faults_at_every_call_of_an_old_and_a_new_store(logs):
    swept(logs, FAILS | MORE, HARMLESS | MORE_HARMLESS, logs.store, logs.one)
    swept(logs, FAILS | MORE | FAILS_NEW, HARMLESS | MORE_HARMLESS, None, None)


def test_a_full_disk_or_a_kill_at_every_call_of_a_run_that_spills_leaves_a_commit(logs):
    (logs.folder / "spilled").mkdir()
    job = {"do": "sweeps", "work": str(logs.folder / "spilled"), "begin": logs.store, "inputs": logs.paths}
    done = logs.run(**job, faults=[("write", "ENOSPC"), KILL], memory="12KB")
    for result in [result for results in done.values() for result in results]:
        assert result["left"] in (logs.one, logs.both), result
        assert (result["then"], result["books"]) == (logs.both, logs.books), result
        assert result["rest"] == [], result
    assert all(is_clean(result, "write", "ENOSPC", logs.both) for result in done["write ENOSPC"])
    assert any("/store/spill/" in result["said"] for result in done["write ENOSPC"])


def is_clean(result, call, fault, both):
    """Exit 4 with a sentence, and nothing lying about; only what tidying reads may fail in silence."""
    tidying = call in ("open", "opendir")
    if result["code"] == 0:
        assert tidying, result
        assert result["left"] == both, result
        return True
    assert result["code"] == 4, result
    assert re.fullmatch(rf"error: /\S+: {WORDS[fault]} \(os error \d+\)\n", result["said"]), result
    assert tidying or result["unnamed"] == [], result
    return True


@pytest.fixture(scope="module")
def recorded(logs):
    """Every change to a disk while a store is made and a second log goes into it."""
    top = logs.folder / "top"
    top.mkdir()
    runs = [logs.paths[:1], logs.paths]
    record = logs.folder / "record"
    assert logs.run(do="record", store=str(top / "store"), runs=runs, to=str(record)) == [0, 0]
    shutil.rmtree(top / "store")
    return top, record.read_bytes()


def cuts(logs, top, states):
    """Digest in every state after a power cut, and after the same command."""
    for content in states:
        shutil.rmtree(top / "store", ignore_errors=True)
        power.lay(content, top)
        try:
            yield faults.digest(str(top / "store")), events.ingest(logs.paths, top / "store").digest
        except (_rust.ChecksumError, OSError, ValueError) as error:
            yield "broken", str(error)


def test_a_power_cut_at_every_change_leaves_a_commit_and_the_same_end(logs, recorded):
    top, record = recorded
    found = list(cuts(logs, top, power.states(str(top), record)))
    assert len(found) > 100
    assert {before for before, _ in found} == {None, logs.one, logs.both}
    assert {after for _, after in found} == {logs.both}
    assert list(cuts(logs, top, [power.end(str(top), record)])) == [(logs.both, logs.both)]


SYNCS = {
    "parts": r"/store/(impressions|feedback)/",
    "derived parts": r"/store/(observations|pairs|cells|quarantine)/",
    "names of parts": r"/store/impressions$",
    "the ledger file": r"/store/ledger/",
    "names of folders": r"/store$",
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SYNCS)
def test_a_store_that_leaves_out_a_sync_would_be_found_broken(logs, recorded, name):
    top, record = recorded
    states = power.states(str(top), record, without=SYNCS[name], draws=6)
    assert any(
        "broken" in (before, after) or before not in (None, logs.one, logs.both)
        for before, after in cuts(logs, top, states)
    )
