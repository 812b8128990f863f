"""Nuisances and verdicts kept in a store, so that what an audit estimated is what a training uses."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from unskew import data, features, propensity
from unskew.audit.users import Users, without
from unskew.data import Choices, Examples, Store
from unskew.evidence import Evidence
from unskew.noise import Noise, known
from unskew.pipeline.config import CELLS, TrainConfig, featurizer
from unskew.pipeline.material import Material, Stage, estimate, from_gold, with_users
from unskew.pipeline.run import plain
from unskew.propensity import FLOOR, Propensity
from unskew.propensity.measure import judge
from unskew.rates import Floats

if TYPE_CHECKING:
    import pyarrow as pa


def quiet(_: str) -> Any:
    """A stage that shows nothing."""
    return nullcontext()


def keep_gold(store: Store, path: "str | Path") -> tuple[str, list[str]]:
    """Check gold labels and keep them in the store; the same labels are kept once.

    Returns:
        (id, rejected): one sentence for each line that could not be used.

    Raises:
        FileNotFoundError, ValueError: as `data.read_gold`.
    """
    table, rejected = data.read_gold(path, store)
    kept = store.load("gold")
    if kept and kept[2] is not None and kept[2].equals(table):
        return kept[0], rejected
    return store.attach("gold", "gold", {"rejected": len(rejected)}, table), rejected


def open_material(store: Store, settings: TrainConfig, stage: Stage = quiet) -> tuple[Material, str]:
    """Rows, features and nuisances of a store: those kept by the last audit when they fit, else new ones.

    They fit when the generation of the store, the gold labels and the settings that decide them are the same.

    Returns:
        (material, id of the nuisances in the store).

    Raises:
        ValueError: the store has no responses.
    """
    rows = _rows(store, settings)
    if not len(rows):
        raise ValueError(f"{store.path} holds no responses; ingest a log first")
    kept = store.load("gold")
    made_from = plain(
        {
            "gold": kept[0] if kept else None,
            "features": featurizer(settings.features).to_dict(),
            "noise": {name: list(rates) for name, rates in settings.noise.items()},
            "propensity": settings.propensity,
            "user_cap": settings.user_cap,
            "apart": list(settings.apart),
            "base_rate": settings.base_rate,
            "seed": settings.seed,
        }
    )
    with stage("features"):
        prompts, responses = data.texts(store, rows.row)
        X = features.cached(featurizer(settings.features), prompts, responses, store.path / "features")
    rates = {
        part: known(*pair, kind=part)
        for name, pair in settings.noise.items()
        for part in data.parts_of(rows, name)
    }
    pairs = data.choices(store, rows)
    counted = settings.propensity == CELLS
    given = _given(None if counted else settings.propensity, rows)
    found = store.load("nuisances", "nuisances", current=True)
    if found is not None and found[2] is not None and found[1]["made_from"] == made_from:
        read = _read(found[1], found[2], rows, X, rates, pairs, settings.base_rate)
        return replace(read, given=given), found[0]
    options: dict[str, Any] = {"known": rates, "given": given, "seed": settings.seed, "choices": pairs}
    cells = propensity.nested(data.cells(store, rows)) if counted else None
    options |= {"user_cap": settings.user_cap, "cells": cells, "base_rate": settings.base_rate}
    material = estimate(rows, X, stage=stage, **options)
    document, table = _write(material, made_from)
    return material, store.attach("nuisances", "nuisances", document, table)


def _rows(store: Store, settings: TrainConfig) -> Examples:
    """The live rows, kinds that the settings read apart parted by surface.

    Raises:
        ValueError: the store has no such kind.
    """
    rows = data.examples(store)
    try:
        return data.apart(store, rows, settings.apart) if settings.apart and len(rows) else rows
    except KeyError as error:
        raise ValueError(f"apart: {error.args[0]}") from None


def _write(material: Material, made_from: Mapping[str, Any]) -> "tuple[dict[str, Any], pa.Table]":
    """Nuisances as provenance and row-aligned columns."""
    import pyarrow as pa

    columns: dict[str, Any] = {"row": material.examples.row}
    document: dict[str, Any] = {"made_from": made_from, "propensity": {}, "evidence": None, "users": None}
    if (users := material.users) is not None:
        columns["aside"], document["users"] = users.aside, users.to_dict()
    for name, found in material.propensities.items():
        columns[f"p_{name}"] = found.raw
        document["propensity"][name] = {"source": found.source, "settings": found.settings}
    document["rates"] = [row for rate in material.rates.values() for row in rate.rows()]
    if (fit := material.evidence) is not None:
        columns["fold"] = fit.fold
        columns["speaks"] = fit.speaks
        for number in range(len(fit.d_by)):
            columns[f"d_{number}"], columns[f"q_{number}"] = fit.d_by[number], fit.q_by[number]
        document["evidence"] = {
            "folds": len(fit.d_by),
            "tables": fit.tables,
            "decay": fit.decay,
            "history": fit.history,
            "warnings": list(fit.warnings),
            "checks": fit.checks,
        }
    return document, pa.table(columns)


def _read(
    document: Mapping[str, Any],
    table: "pa.Table",
    rows: Examples,
    X: NDArray[Any],
    rates: Mapping[str, Noise],
    pairs: Choices,
    base_rate: float | None = None,
) -> Material:
    """What `_write` kept."""

    def column(name: str) -> NDArray[Any]:
        return np.asarray(table[name].to_numpy())

    logged, users = (rows, pairs), None
    if (told := document["users"]) is not None:
        users = Users.of(told, column("aside"))
        rows, kept_pairs = without(rows, pairs, users.aside)
        pairs = cast(Choices, kept_pairs)
    propensities: dict[str, Propensity] = {}
    usable = rows.offered & rows.closed
    for name, facts in document["propensity"].items():
        k = rows.kind(name)
        use, seen = usable[:, k], rows.observed[:, k] & usable[:, k]
        propensities[name] = judge(
            column(f"p_{name}"), seen, use, rows.positive[:, k], FLOOR, facts["source"], facts["settings"]
        )
    found, kept = None, document["evidence"]
    if kept is not None:
        folds = range(kept["folds"])
        found = Evidence(
            np.stack([column(f"d_{number}") for number in folds]),
            np.stack([column(f"q_{number}") for number in folds]),
            column("fold"),
            rows.gold,
            column("speaks"),
            kept["tables"],
            kept["decay"],
            kept["history"],
            tuple(kept["warnings"]),
            kept.get("checks", []),
        )
    told = from_gold(rows, rates, pairs, base_rate)
    told |= {"known": rates, "base_rate": base_rate, "choices": pairs}
    read = Material(rows, X, propensities, evidence=found, **told)
    return with_users(read, *logged, users)


def _given(path: str | None, rows: Examples) -> dict[str, Floats]:
    """Propensities that the user knows, by kind, in the order of the rows; NaN where the file has null.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column or a response is missing.
    """
    if path is None:
        return {}
    table = read_table(Path(path))
    names = [name for name in table.column_names if name.startswith("p_")]
    if "response" not in table.column_names or not names:
        raise ValueError(f"{path} has columns {table.column_names}; `response` and `p_<kind>` are needed")
    at = {str(name): number for number, name in enumerate(table["response"].to_pylist())}
    missing = [name for name in rows.response_id if name not in at]
    if missing:
        raise ValueError(
            f"{path} has no row for {len(missing)} responses of the store, the first is {missing[0]!r}; a "
            "known propensity, or null where there is none, is needed for every response"
        )
    order = np.array([at[name] for name in rows.response_id])
    return {
        part: np.asarray(table[name].to_numpy(), np.float64)[order]
        for name in names
        for part in data.parts_of(rows, name[2:])
    }


def read_table(path: Path) -> "pa.Table":
    """A table of JSON lines, CSV, Parquet or Arrow, by the ending of its name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another ending.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        import pyarrow.json

        return pyarrow.json.read_json(path)
    if path.suffix == ".csv":
        import pyarrow.csv

        return pyarrow.csv.read_csv(path)
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path)
    if path.suffix == ".arrow":
        return data.read_arrow(path)
    raise ValueError(f"{path} ends in {path.suffix!r}; .jsonl, .csv, .parquet or .arrow is needed")
