"""Tools beside each other: each in a process of its own, in turns.

Who shares a machine is slowed down now and then, memory and processor each on its own, and never sped up: the
fastest of some rounds is what a tool needs, and their median what it got.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]

Run = dict[str, float]


def measured(work: Callable[[], object]) -> None:
    """Does the work in this process, and prints wall and CPU seconds and the peak in MB."""
    before, began = os.times(), time.perf_counter()
    found = work()
    wall, after = time.perf_counter() - began, os.times()
    high = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    cpu = after.user + after.system - before.user - before.system
    extra = found if isinstance(found, dict) else {}
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": int(high.split()[1]) * 1024 / 1e6} | extra))


def child(command: Sequence[object]) -> Run:
    """What a process prints, line by line, with its CPU seconds if it does not say them."""
    environment = os.environ | {"POLARS_MAX_THREADS": "2", "UNSKEW_KEY": "a key for this bench only"}
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, command))}: failed with status {status}")
    run: Run = {"cpu": usage.ru_utime + usage.ru_stime}
    for line in told.splitlines():
        run |= json.loads(line)
    return run


def script(file: str, *arguments: object) -> Run:
    """The same of a bench that runs one of its own tools."""
    return child([sys.executable, file, *arguments])


def reader() -> Path:
    """The program `reader.rs`, built."""
    command = ["cargo", "build", "--release", "--example", "reader", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = [json.loads(line).get("executable") for line in built.splitlines() if line.startswith("{")]
    return Path(next(path for path in found if path))


def rounds(tools: Mapping[str, Callable[[], Run]], count: int) -> dict[str, list[Run]]:
    """Runs of every tool, in turns."""
    runs: dict[str, list[Run]] = {name: [] for name in tools}
    for _ in range(count):
        for name, tool in tools.items():
            runs[name].append(tool())
    return runs


def fastest(runs: Sequence[Run]) -> Run:
    """The run of the least wall seconds."""
    return min(runs, key=lambda run: run["wall"])


def typical(runs: Sequence[Run]) -> float:
    """The median of wall seconds."""
    return median(run["wall"] for run in runs)


def times(one: Sequence[Run], other: Sequence[Run]) -> str:
    """How many times as long one takes as the other, by their fastest runs and (by their medians)."""
    by_fastest = fastest(one)["wall"] / fastest(other)["wall"]
    return f"{by_fastest:.2f} ({typical(one) / typical(other):.2f})"


def agreed(answers: Mapping[str, object]) -> None:
    """All tools must say the same before any time is printed."""
    if len({json.dumps(answer, sort_keys=True) for answer in answers.values()}) != 1:
        raise SystemExit(f"the tools disagree: {answers}")


def machine(packages: Sequence[str]) -> str:
    """Processor and versions, in a line."""
    told = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in told if "model name" in line), platform.machine())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, {model}; Python {platform.python_version()}, {versions}"


def write(path: Path, title: str, text: str) -> None:
    """Puts a section into the results file, in place of the old one or at the end."""
    sections = path.read_text().split("\n## ") if path.exists() else ["# Results\n"]
    names = [section.split("\n", 1)[0] for section in sections]
    at = names.index(title) if title in names else len(sections)
    sections[at : at + 1] = [f"{title}\n\n{text.rstrip()}\n"]
    path.write_text("\n## ".join(sections).rstrip() + "\n")
