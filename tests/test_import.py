"""What importing costs: nothing heavy before it is used, and a core that works without the extras."""

import json
import subprocess
import sys

import pytest

import unskew

HEAVY = [
    "numpy",
    "pyarrow",
    "torch",
    "transformers",
    "datasets",
    "triton",
    "sklearn",
    "safetensors",
    "hypothesis",
]
EXTRAS = [
    "torch",
    "transformers",
    "datasets",
    "triton",
    "sklearn",
    "safetensors",
    "peft",
    "accelerate",
    "yaml",
]
CORE = [
    "events",
    "data",
    "estimators",
    "noise",
    "propensity",
    "simulate",
    "features",
    "export",
    "report",
    "cli",
]


def fresh(code: str) -> str:
    """What `code` prints in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["unskew", "unskew.cli"])
def test_import_loads_nothing_heavy(name):
    loaded = json.loads(fresh(f"import sys, json, {name}; print(json.dumps(sorted(sys.modules)))"))
    assert name in loaded
    assert [heavy for heavy in HEAVY if heavy in loaded] == []


def test_core_modules_import_without_the_extras():
    code = f"""
import importlib, sys
for name in {EXTRAS}:
    sys.modules[name] = None  # makes its import fail, as if it were not installed
for name in {CORE}:
    importlib.import_module("unskew." + name)
print("all")
"""
    assert fresh(code).strip() == "all"


@pytest.mark.parametrize("name", unskew.__all__)
def test_every_public_name_is_a_module_that_says_what_it_does(name):
    module = getattr(unskew, name)
    assert module.__name__ == f"unskew.{name}"
    assert module.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError) as error:
        unskew.nothing  # noqa: B018
    assert str(error.value) == "module 'unskew' has no attribute 'nothing'"


def test_version_is_that_of_the_extension():
    from unskew import _rust

    assert unskew.__version__ == _rust.__version__
    assert "__version__" in dir(unskew)
