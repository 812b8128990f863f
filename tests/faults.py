"""A worse operating system for tests: `faults.c` under a forked command line.

Run as a program it takes a job (JSON) and prints what came of it; `run` starts it so from a test.
"""

import contextlib
import ctypes
import errno
import gc
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
FAULTS = {"short": -1, "kill": -2, "tear": -3} | {
    name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EINTR")
}
RECORD = -4
MEMORY: str | None = None
"""Budget of memory of the commands of a job."""


def build(folder: Path) -> Path:
    """The shim, compiled; skips where there is no compiler or no such loader."""
    if not sys.platform.startswith("linux") or not shutil.which("cc"):
        pytest.skip("needs Linux and a C compiler")
    library = folder / "faults.so"
    command = ["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, HERE / "faults.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def run(library: Path, **job: Any) -> Any:
    """What came of a job, in a process of its own under the shim."""
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def meant(inputs: list[str]) -> Any:
    """Files, or the table `events` of a database, read on by its column `seq`."""
    from unskew import events

    return events.Query(inputs[0], table="events", cursor="seq") if "://" in inputs[0] else inputs


def command(store: str, inputs: list[str], erase: str | None = None, compact: bool = False) -> int:
    """Exit code of `unskew ingest`, `erase` or `compact`, as `cli.main` gives it; no flags are parsed."""
    from unskew import cli, events

    try:
        if erase:
            events.erase(erase, store, memory=MEMORY)
        elif compact:
            events.compact(store)
        else:
            events.ingest(meant(inputs), store, memory=MEMORY)
    except Exception as error:
        return cli.explain(error)
    return 0


def forked(
    store: str,
    inputs: list[str],
    call: str,
    number: int,
    fault: int,
    record: int = -1,
    erase: str | None = None,
    compact: bool = False,
) -> tuple[int, int]:
    """Exit code (or minus the signal) of the command with a fault at its `number`-th call, and calls seen."""
    shim = ctypes.CDLL(None)
    read, end = os.pipe()
    if not (child := os.fork()):
        code = 70
        try:
            out = os.open(
                f"{os.path.dirname(os.path.dirname(store))}/output", os.O_CREAT | os.O_WRONLY | os.O_TRUNC
            )
            os.dup2(out, 1)
            os.dup2(out, 2)
            below = os.path.dirname(store) if fault == RECORD else store
            shim.faults_arm(below.encode(), call.encode(), ctypes.c_long(number), fault, record)
            code = command(store, inputs, erase, compact)
        finally:
            seen = shim.faults_seen()
            shim.faults_arm(b"", b"", ctypes.c_long(0), 0, -1)
            os.write(end, str(seen).encode())
            os._exit(code)
    os.close(end)
    with os.fdopen(read) as told:
        seen = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(seen or number)


def digest(store: str) -> str | None:
    """Digest of a store that verifies; None where nothing was committed yet."""
    from unskew import events

    try:
        return str(events.verify(store)["digest"])
    except FileNotFoundError:
        return None


def unnamed(store: str) -> list[str]:
    """Files that neither the newest commit nor the one before it names."""
    numbers = sorted(Path(store).glob("ledger/" + "[0-9]" * 12))[-2:]
    named = {path.relative_to(store).as_posix() for path in numbers} | {"lock"}
    for path in numbers:
        ledger = json.loads(path.read_text().splitlines()[0])
        named |= {part["path"] for parts in ledger["parts"].values() for part in parts}
        named |= {file for attachment in ledger["attachments"] for file in attachment["files"]}
    files = {path.relative_to(store).as_posix() for path in Path(store).rglob("*") if path.is_file()}
    return sorted(files - named)


def sweep(
    work: str,
    begin: str | None,
    inputs: list[str],
    call: str,
    fault: str,
    erase: str | None = None,
    compact: bool = False,
) -> list[dict[str, Any]]:
    """The fault at every call in turn, and each time what was left and what the same command makes of it."""
    from unskew import events

    store, results = f"{work}/store", []
    for number in range(1, 10_000):
        if begin:
            shutil.copytree(begin, store)
        code, seen = forked(store, inputs, call, number, FAULTS[fault], erase=erase, compact=compact)
        if seen < number:
            shutil.rmtree(store)
            return results
        result = {"n": number, "code": code, "left": digest(store), "unnamed": unnamed(store)}
        result["said"] = Path(work).with_name("output").read_text()
        again = events.ingest(meant(inputs), store)
        result |= {"then": again.digest, "books": dict(again.total)}
        if erase:
            result["then"] = events.erase(erase, store)["digest"]
            files = [path for path in Path(store).rglob("*") if path.is_file()]
            result["words"] = any(f"words of {erase}".encode() in path.read_bytes() for path in files)
        if compact:
            result |= {"again": again.committed, "parts": events.compact(store)["parts"]}
        result["rest"] = unnamed(store)
        results.append(result)
        shutil.rmtree(store)
    raise AssertionError("more than 10,000 calls")


def sweeps(
    work: str,
    begin: str | None,
    inputs: list[str],
    faults: list[tuple[str, str]],
    erase: str | None = None,
    compact: bool = False,
) -> dict[str, Any]:
    """`sweep` for each call and fault, by their names."""
    return {
        f"{call} {fault}": sweep(work, begin, inputs, call, fault, erase, compact) for call, fault in faults
    }


def record(store: str, runs: list[list[str]], to: str) -> list[int]:
    """Every change that the runs make, written to a file; returns their exit codes."""
    file = os.open(to, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    return [forked(store, inputs, "any", 0, RECORD, file)[0] for inputs in runs]


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    MEMORY = job.pop("memory", None)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        command(f"{folder}/store", job.get("inputs") or job["runs"][0])  # imports once what every child needs
    gc.freeze()
    print(json.dumps({"sweeps": sweeps, "record": record}[job.pop("do")](**job)))
