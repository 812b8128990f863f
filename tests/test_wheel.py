"""The wheel as a stranger meets it: built from this tree, installed elsewhere, every module importable."""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "python" / "unskew"
MODULES = sorted(
    ".".join(("unskew", *path.relative_to(SOURCES).with_suffix("").parts)).removesuffix(".__init__")
    for path in [*SOURCES.glob("[!_]*.py"), *SOURCES.glob("*/*.py")]
    if "kernels" not in path.parts and "__main__" not in path.name
)

ENGINES = {"unskew.scale.ray": "ray", "unskew.scale.spark": "pyspark"}
"""What those modules are for; extras of their own."""


def run(*command: "str | Path", **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if shutil.which("cargo") is None:
        pytest.skip("building a wheel needs the Rust toolchain (cargo)")
    out = tmp_path_factory.mktemp("wheel")
    target = ROOT / "target"
    target.mkdir(exist_ok=True)
    # maturin moves the library out of cargo's folder while it packs it: one build at a time.
    with (target / "wheel-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(
            sys.executable, "-m", "maturin", "build", "--release", "--interpreter", sys.executable,
            "--out", out, "--manifest-path", ROOT / "Cargo.toml", "--target-dir", target,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def stranger(wheel, tmp_path_factory) -> Path:
    """A fresh environment with the wheel and its core requirements only; returns its python."""
    home = tmp_path_factory.mktemp("stranger")
    assert run(sys.executable, "-m", "venv", "--without-pip", home / "venv").returncode == 0
    python = home / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    done = run(*pip, "install", "--quiet", "--no-compile", wheel, cwd=home, env=clean_environment())
    assert done.returncode == 0, done.stderr
    return python


def clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def test_wheel_is_abi3_and_holds_kernels_types_and_no_paths(wheel):
    assert "-cp310-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        content = b"".join(archive.read(name) for name in names if not name.endswith(".so"))
    for needed in (
        "unskew/kernels/__init__.py",
        "unskew/kernels/pairwise.py",
        "unskew/py.typed",
        "unskew/_rust.pyi",
    ):
        assert needed in names, needed
    shipped = {f"unskew/mappings/{path.name}" for path in (SOURCES / "mappings").glob("*.toml")}
    assert len(shipped) > 10
    assert shipped <= set(names)
    assert str(ROOT).encode() not in content
    assert not [name for name in names if "__pycache__" in name]


def test_core_modules_import_without_the_extras_and_quickstart_names_the_pip_line(stranger, tmp_path):
    probe = "import sys, unskew, unskew.events, unskew.cli; unskew.mappings.load('langfuse');"
    probe += "print(unskew.__file__, 'torch' in sys.modules)"
    done = run(stranger, "-c", probe, cwd=tmp_path, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert str(stranger.parents[1]) in done.stdout
    assert done.stdout.split()[-1] == "False"
    done = run(stranger.with_name("unskew"), "quickstart", cwd=tmp_path, env=clean_environment())
    assert done.returncode == 2, done.stdout + done.stderr
    assert "pip install 'unskew[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_every_module_of_the_wheel_imports(stranger, tmp_path):
    # The heavy requirements come from the environment that runs the tests, behind the wheel's own folder.
    site = Path(run(stranger, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    names = [name for name in MODULES if find_spec(ENGINES.get(name, "unskew"))]
    probe = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    module = importlib.import_module(name)\n"
        f"    assert {str(site)!r} in module.__file__, name\n"
    )
    done = run(stranger, "-c", probe, cwd=tmp_path, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert len(names) > 10
