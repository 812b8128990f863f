"""What tests of Triton kernels share without a GPU: the interpreter, and cubins made ahead of time.

Triton decides at import, for the whole process, whether kernels are compiled or interpreted. So the
interpreter gets a process of its own, which imports them with TRITON_INTERPRET=1; nothing else notices.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[1] / "kernels"


# ------------------------------------------------------------------------------------ the interpreter


@dataclass
class Interpreter:
    """An engine: `launch` of a kernel file, interpreted. The arrays it leaves unwritten hold nan.

    Args:
        pool: one process, from `interpreter_process`.
        name: kernel file, without its ending.
        folder: where the kernel files are; a mutant's, perhaps.
    """

    pool: ProcessPoolExecutor
    name: str
    folder: Path = KERNELS

    def __call__(self, *args):
        return _unpack(self.pool.submit(_launch, str(self.folder), self.name, _pack(args)).result())

    def mutant(self, folder, file, old, new):
        """The same engine with one piece of its source replaced."""
        copy = Path(folder) / "kernels"
        shutil.copytree(self.folder, copy)
        text = (copy / file).read_text("utf-8")
        assert text.count(old) == 1, f"{old!r} is found {text.count(old)} times in {file}"
        (copy / file).write_text(text.replace(old, new), "utf-8")
        return Interpreter(self.pool, self.name, copy)


def interpreter_process():
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_interpret)


def _interpret():
    os.environ["TRITON_INTERPRET"] = "1"
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # fills what `torch.empty` returns with nan


def _launch(folder, name, packed):
    package = f"interpreted_{abs(hash(folder))}"
    if package not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            package, f"{folder}/__init__.py", submodule_search_locations=[folder]
        )
        sys.modules[package] = importlib.util.module_from_spec(spec)
    return _pack(importlib.import_module(f"{package}.{name}").launch(*_unpack(packed)))


def _pack(value):
    """Tensors as (array, dtype): they cross to the other process by value, bfloat16 too."""
    import torch

    if isinstance(value, (tuple, list)):
        return type(value)(_pack(each) for each in value)
    if isinstance(value, torch.Tensor):
        half = value.dtype in (torch.bfloat16, torch.float16)
        return _Packed((value.detach().float() if half else value.detach()).numpy(), str(value.dtype)[6:])
    return value


def _unpack(value):
    import torch

    if isinstance(value, _Packed):
        return torch.tensor(value.array).to(getattr(torch, value.dtype))
    return type(value)(map(_unpack, value)) if isinstance(value, (tuple, list)) else value


@dataclass
class _Packed:
    array: object
    dtype: str


# ------------------------------------------------------------------------------------ ahead of time


@dataclass
class Warm:
    """Stands in for a kernel: compiles what it is called with, as Triton would before it launches.

    Args:
        kernel: the compiled function.
        made: what was compiled, call by call.
    """

    kernel: object
    made: list

    def __getitem__(self, grid):
        return lambda *args, **kwargs: self.made.append(self.kernel.warmup(*args, grid=grid, **kwargs))


@dataclass
class Driver:
    """A device of an architecture that is not here."""

    arch: int

    def get_current_device(self):
        return self.arch  # compiled kernels are remembered by device

    def get_current_stream(self, device=None):
        return 0

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.arch, 32)


@contextmanager
def ahead_of_time(module, arch):
    """Inside, the kernels of a module compile and do not run; yields the list of what they compiled."""
    from triton.runtime import JITFunction, driver

    kernels = {name: each for name, each in vars(module).items() if isinstance(each, JITFunction)}
    made, before = [], driver._active  # `reset_active` wants a device
    driver.set_active(Driver(arch))
    try:
        for name, kernel in kernels.items():
            if name.endswith("_kernel"):
                setattr(module, name, Warm(kernel, made))
        yield made
    finally:
        for name, kernel in kernels.items():
            setattr(module, name, kernel)
        driver._active = before


@dataclass
class Resources:
    """What a cubin needs: registers and bytes of stack a thread, spills, loads and those of 128 bits."""

    registers: int
    stack: int
    spills: int
    loads: int
    wide: int

    @property
    def share(self):
        return Fraction(self.wide, self.loads)


def nvidia_tool(name):
    """Path of a tool that Triton brings along; None where it brings none."""
    spec = importlib.util.find_spec("triton")
    path = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / name if spec else None
    return path if path and path.is_file() else None


def resources(cubin, folder):
    """Read a cubin with cuobjdump."""
    path = Path(folder) / "kernel.cubin"
    path.write_bytes(cubin)
    command = [str(nvidia_tool("cuobjdump")), "--dump-resource-usage", "--dump-sass", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    loads = re.findall(r"\bLDG\S*", text)
    return Resources(
        registers=int(usage[1]),
        stack=int(usage[2]) + int(usage[3]),
        spills=len(re.findall(r"\b(?:LDL|STL)\b", text)),
        loads=len(loads),
        wide=sum(".128" in load for load in loads),
    )
