"""Trained adapters on the disk, in peft's layout."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.files import hash_file
from harness.record import AdapterInfo, Record
from harness.store import parse_record

if TYPE_CHECKING:
    from harness.contracts import Exported

FOLDER, WEIGHTS, CONFIG = "adapters", "adapter_model.safetensors", "adapter_config.json"


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
            _remove(target)
            os.replace(whole, target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}; what is stored is kept") from error
    digests = {path.name: hash_file(path) for path in sorted(target.iterdir())}
    return AdapterInfo(path=f"{FOLDER}/{key}", sha256=digests.pop(WEIGHTS), files=digests)


def _remove(path: Path) -> None:
    """Whatever is there: a folder, a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def saved(out: Path, record: Record) -> bool:
    """Whether the adapter that a record names is there, unchanged."""
    return record.adapter is not None and not changed_files(out, record.adapter)


def changed_files(out: Path, adapter: AdapterInfo) -> list[str]:
    """Names of the adapter's files that are absent or not what its record says."""
    expected: dict[str, str | None] = {WEIGHTS: adapter.sha256, CONFIG: None, **adapter.files}
    return [name for name, digest in expected.items() if not _unchanged(out / adapter.path / name, digest)]


def check_unchanged(adapter: Path) -> None:
    """Raise UserError where an adapter in a run's folder is not what its record says. Others have no record."""
    folder = adapter.resolve()
    path = folder.parent.parent / "cells" / f"{folder.name}.json"
    if folder.parent.name != FOLDER or not os.path.lexists(path):
        return
    try:
        info = parse_record(path).adapter
    except (OSError, ValueError) as error:
        raise UserError(f"{adapter}: its record does not read, so it cannot be verified; run its cell again") from error
    names = [] if info is None else changed_files(folder.parent.parent, info)
    if names:
        raise UserError(
            f"{adapter}: {' and '.join(names)} absent or changed since it was saved; run its cell again with "
            "--save-adapters"
        )


def _unchanged(path: Path, digest: str | None) -> bool:
    """`digest`: None in records of earlier versions, which have that of the weights alone."""
    try:
        return digest in (None, hash_file(path))
    except OSError:
        return False
