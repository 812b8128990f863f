"""What a run knows besides parameters and optimiser: safetensors and JSON with each checkpoint, no pickle."""

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

VERSION = 1


def names(rank: int, ranks: int) -> tuple[str, str]:
    """Files of a rank: tensors and document."""
    stem = "ppo_state" if ranks == 1 else f"ppo_state_{rank}"
    return f"{stem}.safetensors", f"{stem}.json"


def save(directory: str, rank: int, ranks: int, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Write both files; each appears whole or not at all."""
    from safetensors.torch import save as pack

    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": VERSION, **document}, indent=1) + "\n"
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    for name, content in zip(names(rank, ranks), (pack(whole), text.encode()), strict=True):
        draft = home / f".{name}.{os.getpid()}"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(home / name)


def load(directory: str, rank: int, ranks: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save` wrote.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as unpack

    packed, text = (Path(directory) / name for name in names(rank, ranks))
    for path in (packed, text):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist; resume from a checkpoint of this trainer, made on {ranks} processes"
            )
    try:
        tensors = unpack(packed.read_bytes())
        document = json.loads(text.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{directory}: damaged run state ({error}); resume from the checkpoint before"
        ) from None
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError(
            f"{text}: not version {VERSION} of the run state; resume with the release that wrote it"
        )
    return tensors, document
