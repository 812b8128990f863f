"""The pairwise kernel beside torch on one GPU: the same loss and gradients, the same run.

The job: doubly robust, noise-corrected logistic loss of N pairs in float32, and its gradients in both scores.

    literal     two log-sigmoids per recorded label, corrected, weighted and imputed, in eager torch
    algebraic   a softplus(z) - b z in eager torch
    compiled    torch.compile of both
    raw         `losses.raw`: a and b are formed in the kernel
    folded      `losses.folded` on columns made beforehand; `folded, again` shows what is noise

Values and gradients are compared in float64 before anything is timed. Arms take turns. Two times: the full
call (host clock between two synchronisations) and the device's (replays of a CUDA graph over input sets that
exceed three times the L2 cache together, or 64 sets). The floor is a copy of as many bytes as `raw` moves.

    python benches/bench_kernel_pairwise.py [--rounds 30] [--largest 1e8] [--write FILE]
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from unskew import losses

SIZES = (64, 1024, 10_000, 100_000, 1_000_000, 1_000_001, 10_000_000, 100_000_000)
RAW_BYTES = 33 + 4 + 16  # a pair: eight float32 columns and a bool, the slope, and the product in backward
FLOOR = 0.02

Data = dict[str, Tensor]
Arm = Callable[[Data], tuple[Tensor, ...]]


def draw(n: int, device: str, seed: int = 0) -> Data:
    """Columns of n pairs; random, since zeros are faster than data."""
    generator = torch.Generator(device).manual_seed(seed)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator, device=device) * (high - low) + low

    names = {"label": (0, 1), "propensity": (0.05, 1), "fnr": (0, 0.3), "fpr": (0, 0.3), "imputation": (0, 1)}
    data = {name: uniform(*limits) for name, limits in {**names, "margin": (-1, 1)}.items()}
    data |= {"label": data["label"].round(), "observed": uniform(0, 1) < 0.6}
    data |= {name: uniform(-4, 4).requires_grad_() for name in ("scores_a", "scores_b")}
    return data | dict(zip(("a", "b"), target(data), strict=True))


def target(d: Data) -> tuple[Tensor, Tensor]:
    weight = d["observed"] / d["propensity"].clamp(min=FLOOR)
    label = (d["label"] - d["fpr"]) / (1 - d["fnr"] - d["fpr"])
    return torch.ones_like(label), d["imputation"] + weight * (label - d["imputation"])


def literal(d: Data) -> Tensor:
    z = d["scores_a"] - d["scores_b"] - d["margin"]
    liked, disliked = -logsigmoid(z), -logsigmoid(-z)
    noise = 1 - d["fnr"] - d["fpr"]
    if_one = ((1 - d["fpr"]) * liked - d["fnr"] * disliked) / noise
    if_zero = ((1 - d["fnr"]) * disliked - d["fpr"] * liked) / noise
    recorded = d["label"] * if_one + (1 - d["label"]) * if_zero
    imputed = d["imputation"] * liked + (1 - d["imputation"]) * disliked
    weight = d["observed"] / d["propensity"].clamp(min=FLOOR)
    return (imputed + weight * (recorded - imputed)).mean()


def algebraic(d: Data) -> Tensor:
    z = d["scores_a"] - d["scores_b"] - d["margin"]
    a, b = target(d)
    return (a * softplus(z) - b * z).mean()


def raw(d: Data) -> Tensor:
    names = ("label", "observed", "propensity", "fnr", "fpr", "imputation", "margin")
    columns = [d[name] for name in names]
    return losses.raw(d["scores_a"], d["scores_b"], *columns, loss="logistic", normalizer=len(columns[0]))[0]


def folded(d: Data) -> Tensor:
    a, b, m = d["a"], d["b"], d["margin"]
    return losses.folded(d["scores_a"], d["scores_b"], a, b, m, loss="logistic", normalizer=len(a))[0]


def with_gradients(loss: Callable[[Data], Tensor]) -> Arm:
    def arm(data: Data) -> tuple[Tensor, ...]:
        value = loss(data)
        return value.detach(), *torch.autograd.grad(value, (data["scores_a"], data["scores_b"]))

    return arm


def arms() -> dict[str, Arm]:
    functions = {"literal": literal, "algebraic": algebraic}
    functions |= {f"{name}, compiled": torch.compile(each, dynamic=False) for name, each in functions.items()}
    functions |= {"raw": raw, "folded": folded, "folded, again": folded}
    return {name: with_gradients(each) for name, each in functions.items()}


def compare(arm: Arm, data: Data) -> None:
    """The arm's value and gradients are those of the literal formula in float64."""
    wide = {name: x if x.dtype == torch.bool else x.detach().double() for name, x in data.items()}
    wide |= {name: wide[name].requires_grad_() for name in ("scores_a", "scores_b")}
    for found, wanted in zip(arm(data), with_gradients(literal)(wide), strict=True):
        error = float((found.double() - wanted).norm() / wanted.norm())
        if not error < 1e-5:
            raise AssertionError(f"an arm differs from the literal formula by {error:.1e}")


def full_call(arm: Arm, data: Data) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    arm(data)
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def graph_of(arm: Arm, sets: list[Data]) -> Callable[[], float]:
    """Replays the arm over the sets; the mean milliseconds of one."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [arm(data) for data in sets]

    def replay() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / len(kept)

    return replay


def copies(n: int) -> Arm:
    """Reads half and writes half of the bytes that `raw` moves."""
    source = torch.randint(0, 255, (n * RAW_BYTES // 2,), dtype=torch.uint8, device="cuda")
    goal = torch.empty_like(source)
    return lambda data: (goal.copy_(source),)


def spread(times: list[float]) -> tuple[float, float, float]:
    fifths = quantiles(times, n=10)
    return fifths[1], fifths[4], fifths[7]


def measure(n: int, rounds: int) -> list[str]:
    """Rows of the table for one size."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    sets = [draw(n, "cuda", seed) for seed in range(min(64, 1 + 3 * cache // (n * RAW_BYTES)))]
    table = arms()
    memory = {}
    for name, arm in table.items():
        compare(arm, sets[0])
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        arm(sets[0])
        memory[name] = (torch.cuda.max_memory_allocated() - before) / 1e6
    table["copy"], memory["copy"] = copies(n), 0.0
    for arm in table.values():  # warm
        start = time.perf_counter()
        while time.perf_counter() - start < 0.2:
            full_call(arm, sets[0])
    calls: dict[str, list[float]] = {name: [] for name in table}
    for turn in range(rounds):
        for name, arm in table.items():
            calls[name].append(full_call(arm, sets[turn % len(sets)]))
    device = {}
    for name, arm in table.items():  # one graph at a time: each keeps the memory of its outputs
        replay = graph_of(arm, sets)
        device[name] = [replay() for _ in range(rounds)]
        del replay
        torch.cuda.empty_cache()
    base = spread(device["copy"])[1]
    return [
        f"| {n:,} | {name} | "
        + " / ".join(f"{each:.4g}" for each in spread(calls[name]))
        + " | "
        + " / ".join(f"{each:.4g}" for each in spread(device[name]))
        + f" | {spread(device[name])[1] / base:.2f} | {memory[name]:.1f} |"
        for name in table
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--largest", type=float, default=1e8, help="leave out larger sizes")
    parser.add_argument("--write", type=Path, help="append the table to a file")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is here: this bench times a GPU kernel and has nothing to say about a CPU")
    import triton

    name, versions = torch.cuda.get_device_name(), f"torch {torch.__version__}, triton {triton.__version__}"
    lines = [
        f"{name}, CUDA {torch.version.cuda}, {versions}, Python {platform.python_version()}; "
        "20th / 50th / 80th percentiles, forward and backward.",
        "",
        "| pairs | arm | full call, ms | device, ms | device / copy of the raw bytes | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for n in SIZES:
        if n <= options.largest:
            found = measure(n, options.rounds)
            print("\n".join(found), flush=True)
            lines += found
    if options.write:
        with options.write.open("a", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
