"""A PostgreSQL of its own for tests: made in a temporary folder, reached by a socket, stopped at the end."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def binaries() -> Path:
    """The folder of `initdb`; skips where there is none."""
    tools = ("initdb", "postgres", "pg_isready")
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.get_exec_path())]
    found = [folder for folder in folders if all((folder / tool).is_file() for tool in tools)]
    if not found:
        pytest.skip("PostgreSQL is not installed (looked for initdb in /usr/lib/postgresql/*/bin and PATH)")
    return found[0]


def unprivileged() -> dict[str, object]:
    """Who runs it: not root, for PostgreSQL refuses that."""
    if os.geteuid():
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    name = next((name for name in ("postgres", "nobody") if name in names), None)
    if name is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database, for which any password is good."""
    tools, who = binaries(), unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        if who:
            shutil.chown(folder, str(who["user"]))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": "/"} | who
        make = [tools / "initdb", "-D", folder / "data", "-U", "tester", "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run(make, check=True, **quiet)
        options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "timezone=Asia/Kolkata"]
        server = subprocess.Popen([tools / "postgres", "-D", folder / "data", *options], **quiet)
        try:
            ready = [tools / "pg_isready", "-q", "-h", folder, "-d", "postgres"]
            for _ in range(600):
                if subprocess.run(ready, check=False).returncode == 0:
                    break
                assert server.poll() is None, "PostgreSQL did not start"
                time.sleep(0.05)
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
