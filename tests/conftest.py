"""Shared by all tests: where the real data is, and a hypothesis profile that repeats itself."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

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
