"""The import rule: which part of the package may know which, and that only the simulator knows the truth.

Every import counts, also those inside functions and those for types only.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "unskew"

BELOW = "everything in the layers below"
ALL = "everything"
# Layer by layer: modules, and what they may import inside the package. `rates` is arithmetic on counts,
# `folds` deals prompts, `tables` knows Arrow types, `mappings` reads tables of TOML for `events`.
LAYERS: list[tuple[str, str]] = [
    ("_rust kernels tables", ""),
    ("mappings", "_rust"),
    ("events", "_rust mappings tables"),
    ("scale", "_rust events tables"),
    ("estimators losses penalties rates folds", "_rust kernels"),
    ("propensity noise simulate", "events rates folds _rust"),
    ("data features", "events estimators _rust"),
    ("reward evidence labeler", "data events features losses penalties estimators rates folds"),
    ("audit evaluate ppo", BELOW),
    ("pipeline", BELOW),
    ("report export doctor serve testing quickstart terminal cli", ALL),
]


def table() -> dict[str, set[str]]:
    """Module -> what it may import."""
    allowed: dict[str, set[str]] = {}
    everything = {name for names, _ in LAYERS for name in names.split()}
    for names, may in LAYERS:
        known = set(allowed) if may == BELOW else everything if may == ALL else set(may.split())
        allowed |= dict.fromkeys(names.split(), known)
    return allowed


ALLOWED = table()


def sources() -> Iterator[tuple[str, Path]]:
    """(module, file) of everything in the package; the kernels lie at the top of the repository."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "kernels" not in parts:
            yield ".".join(parts).removesuffix(".__init__"), path
    for path in sorted((ROOT / "kernels").rglob("*.py")):
        parts = ("kernels", *path.relative_to(ROOT / "kernels").with_suffix("").parts)
        yield ".".join(parts).removesuffix(".__init__"), path


SOURCES = dict(sources())


def imported(code: str, module: str, *, is_package: bool = False) -> set[str]:
    """The parts of the package (first name after `unskew`) that a module imports, itself left out."""
    package = ["unskew", *module.split(".")] if is_package else ["unskew", *module.split(".")[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    inside = {name.split(".")[1] for name in found if name.startswith("unskew.")}
    return inside - {module.split(".")[0], "__version__"}


def forbidden(code: str, module: str, *, is_package: bool = False) -> set[str]:
    return imported(code, module, is_package=is_package) - ALLOWED[module.split(".")[0]]


@pytest.mark.parametrize("module", sorted(set(SOURCES) - {"__init__"}))
def test_module_imports_only_what_its_layer_may(module):
    part = module.split(".")[0]
    assert part in ALLOWED, f"{part} has no layer: give it one in the table above and in the design"
    path = SOURCES[module]
    bad = forbidden(path.read_text("utf-8"), module, is_package=path.name == "__init__.py")
    assert not bad, (
        f"{module} imports {', '.join(sorted(bad))}; it may import {', '.join(sorted(ALLOWED[part]))}"
    )


def test_the_package_itself_imports_nothing_before_it_is_asked():
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    top = [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert top == ["from importlib import import_module", "from types import ModuleType"]


@pytest.mark.parametrize(
    ("module", "code", "bad"),
    [
        ("losses", "from unskew import events", {"events"}),
        ("propensity.fits", "def f():\n    import unskew.losses as l", {"losses"}),
        ("noise", "from unskew.estimators import ips", {"estimators"}),
        ("evidence", "from . import pipeline", {"pipeline"}),
        ("reward.fit", "from ..simulate.truth import oracle", {"simulate"}),
        ("audit", "from unskew import evaluate, data", {"evaluate"}),
        ("reward.fit", "from .heads import Head\nfrom unskew.data import Store", set()),
        ("cli", "from unskew import _rust, pipeline, report\nimport json", set()),
    ],
)
def test_the_walk_sees_every_way_of_importing(module, code, bad):
    assert forbidden(code, module) == bad


# ------------------------------------------------------------------------------------- the oracle

KNOWS_THE_TRUTH = {"simulate", "quickstart"}
ORACLES = {"oracle", "oracle_world", "write_oracle", "truth"}


def oracle_uses(code: str) -> list[str]:
    """Every place that reaches for the truth: the reader, its module, or the name of an oracle file."""
    tree, found = ast.parse(code), []
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ORACLES - {"truth"}:
            found.append(f"line {node.lineno}: .{node.attr}")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[:2] == [
            "unskew",
            "simulate",
        ]:
            names = {(node.module or "").split(".")[-1], *(alias.name for alias in node.names)}
            found += [f"line {node.lineno}: import of {name}" for name in sorted(names & (ORACLES | {"*"}))]
        elif isinstance(node, ast.Import):
            found += [
                f"line {node.lineno}: {a.name}" for a in node.names if a.name == "unskew.simulate.truth"
            ]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            found += [f"line {node.lineno}: {node.value!r}"] if "oracle_" in node.value else []
    return found


def test_only_the_simulator_and_quickstart_reach_for_the_truth():
    outside = {name: path for name, path in SOURCES.items() if name.split(".")[0] not in KNOWS_THE_TRUTH}
    outside |= {f"examples/{path.name}": path for path in (ROOT / "examples").rglob("*.py")}
    uses = {name: oracle_uses(path.read_text("utf-8")) for name, path in outside.items()}
    assert {name: found for name, found in uses.items() if found} == {}
    assert len(outside) > 20


@pytest.mark.parametrize(
    "code",
    [
        "from unskew import simulate\nsimulate.oracle('log')",
        "from unskew.simulate import oracle as see",
        "from unskew.simulate.truth import oracle_world",
        "from unskew.simulate import *",
        "import unskew.simulate.truth as t",
        "open('log/oracle_responses.arrow')",
        "made.oracle",
    ],
)
def test_the_search_for_the_truth_finds_it(code):
    assert oracle_uses(code)


def test_the_word_alone_is_no_use_of_the_truth():
    assert oracle_uses('"""Reads no oracle_ file."""\nif run["truth"] == "oracle":\n    truth = None') == []
