"""Reward models learned from the feedback products already log.

Importing the package loads nothing heavy: each submodule is imported when it is first used.
"""

from importlib import import_module
from types import ModuleType

__all__ = [
    "audit",
    "data",
    "estimators",
    "evaluate",
    "events",
    "evidence",
    "export",
    "features",
    "losses",
    "noise",
    "pipeline",
    "ppo",
    "propensity",
    "report",
    "reward",
    "simulate",
    "testing",
]


def __getattr__(name: str) -> "ModuleType | str":
    if name == "__version__":
        from unskew import _rust

        return _rust.__version__
    if name in __all__:
        return import_module(f"unskew.{name}")
    raise AttributeError(f"module 'unskew' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
