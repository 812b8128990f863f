"""The oracle file: what no product knows about its log. `oracle` is its only reader."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unskew.simulate.sample import Draw
from unskew.simulate.world import KINDS, OneSided, TwoSided, World

if TYPE_CHECKING:
    import pyarrow as pa


def write_oracle(path: Path, drawn: Draw) -> None:
    """The truth of a draw as an Arrow stream file."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "response_id": drawn.response_id,
        "quality": drawn.quality,
        "probability": drawn.probability,
        "label": drawn.label.astype(np.int8),
        "tone": drawn.tone,
        "spurious": drawn.spurious,
    }
    for column, kind in enumerate(KINDS):
        columns[f"p_{kind}"] = drawn.propensity[:, column]
        columns[f"p1_{kind}"] = drawn.p1[:, column]
        columns[f"p0_{kind}"] = drawn.p0[:, column]
        if isinstance(getattr(drawn.world, kind), TwoSided):
            columns[f"fnr_{kind}"] = drawn.fnr[:, column]
            columns[f"fpr_{kind}"] = drawn.fpr[:, column]
    world = json.dumps({"seed": drawn.seed, **asdict(drawn.world)}, sort_keys=True)
    table = pa.table(columns).replace_schema_metadata({"world": world})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=16_384)


def oracle(directory: "str | Path") -> "pa.Table":
    """The truth of a simulated log, one row a response, in the order of the draw.

    Columns: `response_id`, `quality` (z), `probability` (sigmoid z), `label` (r), `tone`, `spurious`; for
    each kind `p_<kind>` (P(feedback | x, r) at the true r, 0 where not offered), `p1_<kind>`, `p0_<kind>`;
    for two-sided kinds `fnr_<kind>` and `fpr_<kind>`. This is the only reader of oracle files; what it
    returns goes to arms named `ideal` or `oracle` and to evaluation, never to an estimate.

    Args:
        directory: what `simulate` wrote to.

    Raises:
        FileNotFoundError: `directory` holds no simulated log.
    """
    import pyarrow as pa

    path = Path(directory) / "oracle_responses.arrow"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a directory written by simulate")
    with pa.OSFile(str(path), "rb") as source:
        return pa.ipc.open_stream(source).read_all()


def oracle_world(directory: "str | Path") -> World:
    """The world that a simulated log was drawn from.

    Args:
        directory: what `simulate` wrote to.

    Raises:
        FileNotFoundError: `directory` holds no simulated log.
    """
    found = json.loads(oracle(directory).schema.metadata[b"world"])
    found.pop("seed")
    for name in ("thumbs", "rating"):
        found[name] = TwoSided(**found[name])
    for name in ("copy", "regenerate"):
        found[name] = OneSided(**found[name])
    return World(**{**found, "position": tuple(found["position"])})
