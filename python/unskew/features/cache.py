"""Features kept on disk: one memory-mapped file for each featurizer and list of texts."""

import hashlib
import json
import os
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unskew.features.base import CHUNK, Featurizer, check_lengths


def cached(
    featurizer: Featurizer, prompts: Sequence[str], responses: Sequence[str], directory: "str | Path"
) -> NDArray[np.float32]:
    """Features from a cache on disk, computed when they are not there.

    The key is a hash of the settings of the featurizer and of every text in order. A file that does not match
    its checksum is computed again, with a warning. Files appear whole or not at all.

    Args:
        featurizer: what computes the features.
        prompts: what was asked. Length N.
        responses: texts. Length N.
        directory: of the cache; created when absent.

    Returns:
        Read-only memory map. Shape [N, D]. `featurizer.counts` is what it was when they were computed.

    Raises:
        ValueError: the two lengths differ, or there are no rows.
    """
    check_lengths(prompts, responses)
    if not responses:
        raise ValueError("there are no rows; at least one prompt and response is needed")
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    key = _key(featurizer, prompts, responses)
    values, facts = root / f"{key}.npy", root / f"{key}.json"
    kept = _read(values, facts)
    if kept is None:
        if facts.exists():
            warnings.warn(f"{values} does not match its checksum; it is computed again", stacklevel=2)
        _compute(featurizer, prompts, responses, values, facts)
        kept = _read(values, facts)
        if kept is None:
            raise OSError(f"{values} could not be read back after it was written; check the disk")
    features, counts = kept
    featurizer.counts = counts
    return features


def _key(featurizer: Featurizer, prompts: Sequence[str], responses: Sequence[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps({"cache": 1, **featurizer.to_dict()}, sort_keys=True).encode())
    for texts in (prompts, responses):
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
    return digest.hexdigest()


def _compute(
    featurizer: Featurizer, prompts: Sequence[str], responses: Sequence[str], values: Path, facts: Path
) -> None:
    """Write the features in chunks, then the facts that make them valid."""
    counts: dict[str, int] = {}
    out: Any = None
    with tempfile.TemporaryDirectory(prefix="features-", dir=values.parent) as scratch:
        draft = Path(scratch) / values.name
        for start in range(0, len(responses), CHUNK):
            chunk = featurizer(prompts[start : start + CHUNK], responses[start : start + CHUNK])
            if out is None:
                shape = (len(responses), chunk.shape[1])
                out = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
            out[start : start + len(chunk)] = chunk
            for name, count in featurizer.counts.items():
                counts[name] = counts.get(name, 0) + count
        out.flush()
        del out
        note = Path(scratch) / facts.name
        note.write_text(json.dumps({"checksum": _checksum(draft), "counts": counts, **featurizer.to_dict()}))
        for path in (draft, note):
            with path.open("rb") as source:
                os.fsync(source.fileno())
        os.replace(draft, values)
        os.replace(note, facts)


def _read(values: Path, facts: Path) -> tuple[NDArray[np.float32], dict[str, int]] | None:
    """(features, counts), or None when they are absent or damaged."""
    try:
        noted = json.loads(facts.read_text())
        if noted["checksum"] != _checksum(values):
            return None
        features: NDArray[np.float32] = np.load(values, mmap_mode="r")
        return features, {str(name): int(count) for name, count in noted["counts"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as source:
        while block := source.read(1 << 22):
            value = zlib.crc32(block, value)
    return value
