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

DIGESTS = "adapter_files"
"""In `extra` of a record: sha256 of each file of its adapter, by name. Absent in records of earlier versions."""
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
    return AdapterInfo(path=f"{FOLDER}/{key}", sha256=hash_file(target / WEIGHTS))


def with_digests(out: Path, record: Record) -> Record:
    """The record with the sha256 of each file of its adapter.

    Not a part of `adapter`, which is the same from run to run: the configuration names folders.
    """
    if record.adapter is None:
        return record
    digests = {path.name: hash_file(path) for path in sorted((out / record.adapter.path).iterdir())}
    return record.model_copy(update={"extra": {**record.extra, DIGESTS: digests}})


def _remove(path: Path) -> None:
    """Whatever is there: a folder, a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def saved(out: Path, record: Record) -> bool:
    """Whether the adapter that a record names is there, unchanged."""
    return record.adapter is not None and not changed_files(out, record)


def changed_files(out: Path, record: Record) -> list[str]:
    """Names of the files of a record's adapter that are absent or not what the record says."""
    if record.adapter is None:
        return []
    expected = {CONFIG: None, **record.extra.get(DIGESTS, {}), WEIGHTS: record.adapter.sha256}
    return [name for name, digest in expected.items() if not _unchanged(out / record.adapter.path / name, digest)]


def check_unchanged(adapter: Path) -> None:
    """Raise UserError where an adapter in a run's folder is not what its record says. Others have no record."""
    folder = adapter.resolve()
    path = folder.parent.parent / "cells" / f"{folder.name}.json"
    if folder.parent.name != FOLDER or not os.path.lexists(path):
        return
    try:
        record = parse_record(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{adapter}: its record does not read, so it cannot be verified; run its cell again") from error
    if names := changed_files(folder.parent.parent, record):
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
