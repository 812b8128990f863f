"""The pairwise loss on a CPU, forward and backward, beside torch: every feature on, one process, in turns.

The job: logistic loss of pairs with propensities, flip rates, imputations and margins (9 columns), and its
gradient in both scores. The arms: the formula as it is written by hand (two log-sigmoids, the correction of
each label divided by D, weighted, imputed), the algebraic form a softplus(z) - b z, torch.compile of the
first, `losses.raw`, `losses.folded` on columns made before, and as a floor the copy of 44 bytes a pair (it
reads 44 and writes 44; the job reads 33 and writes at least 8). Loss and gradients of all arms are compared
with float64 before any time is taken. CPU seconds on one thread, medians over interleaved rounds; wall
seconds on two threads only where the machine has two idle cores.

    python benches/bench_loss.py [--pairs 64 10000 1000000 10000000] [--rounds 9] [--write benches/RESULTS.md]
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from unskew import losses

COPIED = 44
"""Bytes a pair that the floor copies."""

BUSY = 0.3
"""CPU seconds that an arm works in a round, in calls of the size at hand; one call at least."""

Columns = dict[str, Tensor]


def draw(pairs: int) -> Columns:
    """Scores and raw columns, float32 but for `observed`."""
    chance = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(pairs, generator=chance)

    scores = torch.randn(2, pairs, generator=chance)
    return {
        "ahead": scores[0].clone().requires_grad_(),
        "behind": scores[1].clone().requires_grad_(),
        "label": (uniform(0, 1) < 0.6).float(),
        "observed": uniform(0, 1) < 0.5,
        "propensity": uniform(0.1, 1),
        "fnr": uniform(0, 0.2),
        "fpr": uniform(0, 0.2),
        "imputation": uniform(0, 1),
        "margin": uniform(-0.1, 0.1),
    }


def literal(
    ahead: Tensor,
    behind: Tensor,
    label: Tensor,
    observed: Tensor,
    propensity: Tensor,
    fnr: Tensor,
    fpr: Tensor,
    imputation: Tensor,
    margin: Tensor,
) -> Tensor:
    """As written by hand."""
    z = ahead - behind - margin
    yes, no = -logsigmoid(z), -logsigmoid(-z)
    liked = (1 - fpr) * yes - fnr * no
    disliked = (1 - fnr) * no - fpr * yes
    corrected = (label * liked + (1 - label) * disliked) / (1 - fnr - fpr)
    imputed = imputation * yes + (1 - imputation) * no
    return (imputed + observed / propensity.clamp(min=losses.FLOOR) * (corrected - imputed)).sum()


def algebraic(
    ahead: Tensor,
    behind: Tensor,
    label: Tensor,
    observed: Tensor,
    propensity: Tensor,
    fnr: Tensor,
    fpr: Tensor,
    imputation: Tensor,
    margin: Tensor,
) -> Tensor:
    """a softplus(z) - b z with a = 1."""
    z = ahead - behind - margin
    target = (label - fpr) / (1 - fnr - fpr)
    b = imputation + observed / propensity.clamp(min=losses.FLOOR) * (target - imputation)
    return (softplus(z) - b * z).sum()


def fold(columns: Columns) -> tuple[Tensor, Tensor, Tensor]:
    """Columns a, b and m, made once before training."""
    _, _, label, observed, propensity, fnr, fpr, imputation, margin = (
        column.double() for column in columns.values()
    )
    weight = observed / propensity.clamp(min=losses.FLOOR)
    b = imputation + weight * ((label - fpr) / (1 - fnr - fpr) - imputation)
    return torch.ones_like(b).float(), b.float(), margin.float()


def arms(columns: Columns) -> dict[str, Callable[[], Tensor]]:
    """Name -> the loss, to be differentiated."""
    given, a_b_m = list(columns.values()), fold(columns)
    whole = torch.compile(literal, dynamic=False)
    return {
        "eager, by hand": lambda: literal(*given),
        "eager, algebraic": lambda: algebraic(*given),
        "torch.compile, by hand": lambda: whole(*given),
        "losses.raw": lambda: losses.raw(*given, loss="logistic")[0],
        "losses.folded": lambda: losses.folded(*given[:2], *a_b_m, loss="logistic")[0],
    }


def check(columns: Columns, arm: Callable[[], Tensor]) -> None:
    """Loss and gradients as in float64."""
    scores = [columns[name] for name in ("ahead", "behind")]
    exact = [column.detach().double() for column in columns.values()]
    leaves = [score.requires_grad_() for score in exact[:2]]
    exact[3] = columns["observed"]
    wanted = literal(*exact)
    found = arm()
    assert torch.isclose(found.double(), wanted, rtol=2e-5), (found, wanted)
    pairs = zip(torch.autograd.grad(found, scores), torch.autograd.grad(wanted, leaves), strict=True)
    assert all(torch.allclose(ours.double(), theirs, rtol=1e-5, atol=1e-5) for ours, theirs in pairs)


def measure(pairs: int, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """CPU and wall nanoseconds a pair of each arm and of the copy."""
    torch.set_num_threads(threads)
    torch.compiler.reset()
    settle()
    columns = draw(pairs)
    scores = [columns[name] for name in ("ahead", "behind")]
    source = torch.randint(0, 256, (pairs * COPIED,), dtype=torch.uint8)
    sink = torch.randint(0, 256, (pairs * COPIED,), dtype=torch.uint8)
    jobs: dict[str, Callable[[], object]] = {f"copy of {COPIED} bytes": lambda: sink.copy_(source)}
    for name, arm in arms(columns).items():
        check(columns, arm)
        jobs[name] = lambda arm=arm: torch.autograd.grad(arm(), scores)
    calls = {name: max(1, int(BUSY / clock(job, 1)["cpu"] / rounds)) for name, job in jobs.items()}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(clock(job, calls[name]))
    return {
        name: {key: median(t[key] for t in found) / pairs * 1e9 for key in ("cpu", "wall")}
        for name, found in times.items()
    }


def settle() -> None:
    """Free 24 MiB at once, as any process that trains has done: glibc learns to keep memory of that size.

    Before, whether memory goes back to the system and is faulted in again at each call is luck, in every arm.
    """
    torch.ones(24 << 20, dtype=torch.uint8)


def clock(job: Callable[[], object], calls: int) -> dict[str, float]:
    """Seconds a call."""
    job()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        job()
    return {
        "cpu": max(time.process_time() - cpu, 1e-6) / calls,
        "wall": (time.perf_counter() - wall) / calls,
    }


def main() -> None:
    """Measure, print, perhaps write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[64, 10_000, 1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", type=Path, help="replace the section '## Losses on a CPU' of this file")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    found = {pairs: measure(pairs, arguments.rounds, 1) for pairs in arguments.pairs}
    quiet = os.getloadavg()[0] <= (os.cpu_count() or 1)
    two = {pairs: measure(pairs, arguments.rounds, 2) for pairs in arguments.pairs} if quiet else {}
    text = table(found, two, arguments.rounds, load)
    print(text)
    if arguments.write:
        write(arguments.write, text)


def table(
    found: dict[int, dict[str, dict[str, float]]],
    two: dict[int, dict[str, dict[str, float]]],
    rounds: int,
    load: float,
) -> str:
    """The result as Markdown: nanoseconds a pair, and how many times the copy."""
    told = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = next((line.split(":")[1].strip() for line in told if "model name" in line), "")
    flags = next((line.split() for line in told if line.startswith("flags")), [])
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    lines = [
        "## Losses on a CPU",
        "",
        "`python benches/bench_loss.py`: logistic loss with every feature and both gradients, float32, equal",
        "in all arms. Nanoseconds of CPU time a pair on one thread, and how many times the copy of 44 bytes;",
        f"median of {rounds} interleaved rounds on {os.cpu_count()} cores, {processor or platform.machine()}",
        f"({vectors}), load average {load:.1f} at the start; torch {torch.__version__},",
        f"Python {platform.python_version()}.",
        "",
        "| pairs | " + " | ".join(next(iter(found.values()))) + " |",
        "|---|" + "---|" * len(next(iter(found.values()))),
    ]
    for pairs, arms in found.items():
        floor, *_ = (its["cpu"] for its in arms.values())
        cells = [f"{its['cpu']:.2f} ({its['cpu'] / floor:.1f}x)" for its in arms.values()]
        lines.append(f"| {pairs:,} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Wall nanoseconds a pair on two threads:" if two else "No wall times: the machine was busy.",
    ]
    for number, (pairs, arms) in enumerate(two.items()):
        if not number:
            lines += ["", "| pairs | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
        lines.append(f"| {pairs:,} | " + " | ".join(f"{its['wall']:.2f}" for its in arms.values()) + " |")
    return "\n".join([*lines, ""])


def write(path: Path, text: str) -> None:
    """Put the section into the results file, in place of the old one."""
    sections = path.read_text().split("\n## ") if path.exists() else ["# Results\n"]
    kept = [section for section in sections if not section.startswith("Losses on a CPU")]
    path.write_text("\n## ".join([*kept, text.removeprefix("## ")]).rstrip() + "\n")


if __name__ == "__main__":
    main()
