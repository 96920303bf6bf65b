"""Trained adapters on the disk, in peft's layout."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.record import AdapterInfo, Record

if TYPE_CHECKING:
    from harness.contracts import Exported

FOLDER, WEIGHTS = "adapters", "adapter_model.safetensors"


def write_adapter(out: Path, key: str, exported: Exported, base: str) -> AdapterInfo:
    """Write OUT/adapters/KEY, all of it or nothing; `base` is the model it belongs to. Raises UserError."""
    from safetensors.torch import save_file

    target = out / FOLDER / key
    try:
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{key}.") as made:
            whole = Path(made) / key
            whole.mkdir()
            exported.config.base_model_name_or_path = base
            exported.config.save_pretrained(str(whole))
            save_file(dict(exported.tensors), whole / WEIGHTS, metadata={"format": "pt"})
            if target.exists():
                shutil.rmtree(target)
            os.replace(whole, target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}; what is stored is kept") from error
    return AdapterInfo(path=f"{FOLDER}/{key}", sha256=_sha256(target / WEIGHTS))


def saved(out: Path, record: Record) -> bool:
    """Whether the adapter that a record names is there, unchanged."""
    if record.adapter is None:
        return False
    weights = out / record.adapter.path / WEIGHTS
    config = weights.with_name("adapter_config.json")
    return config.is_file() and weights.is_file() and _sha256(weights) == record.adapter.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
