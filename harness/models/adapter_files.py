"""Write and verify trained adapters in peft's layout.

    RUN/adapters/KEY/adapter_config.json          base_model_name_or_path: the base's folder, or RUN/bases/HASH
                     adapter_model.safetensors
                     config.json                  classifiers only: the base's configuration with the task's labels
    RUN/bases/HASH/  config.json                  the same, where the base's own labels differ
                     links to the other files of the base

With RUN/bases/HASH, peft's AutoPeft classes build a head of the right width without further arguments.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.files import describe_os_error, hash_file, replace_folder
from harness.core.label_order import read_id2label
from harness.core.record import AdapterInfo, Record
from harness.core.stored_files import parse_record

if TYPE_CHECKING:
    from harness.core.method import Exported
    from harness.models.source import ModelSource

DIGESTS = "adapter_files"
"""Key in `extra` of a record: sha256 of each file of its adapter, by name. Records of earlier versions lack it."""
FOLDER, BASES = "adapters", "bases"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def write_adapter(
    out: Path, key: str, exported: Exported, base: str, config: Mapping[str, Any] | None = None
) -> AdapterInfo:
    """Write OUT/adapters/KEY as a whole or not at all. Raises UserError.

    `base` names the base model as `prepare_base` returns it; `config` is the content of a classifier's config.json.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = out / FOLDER / key
    try:
        target.parent.mkdir(exist_ok=True)
        with replace_folder(target) as whole:
            exported.config.base_model_name_or_path = base
            exported.config.save_pretrained(str(whole))
            save_file(dict(exported.tensors), whole / WEIGHTS, metadata={"format": "pt"})
            if config is not None:
                _write_json(whole / "config.json", config)
            _remove(target)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {target}: {describe_os_error(error)}; what is stored is kept") from error
    return AdapterInfo(path=f"{FOLDER}/{key}", sha256=hash_file(target / WEIGHTS))


def add_digests(out: Path, record: Record) -> Record:
    """The record with the sha256 of each file of its adapter in `extra`.

    They are not in `adapter`, which is equal for equal results, because the configuration names folders.
    """
    if record.adapter is None:
        return record
    digests = {path.name: hash_file(path) for path in sorted((out / record.adapter.path).iterdir())}
    return record.model_copy(update={"extra": {**record.extra, DIGESTS: digests}})


def _remove(path: Path) -> None:
    """Remove a folder, a file or a link, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def build_labelled_config(source: ModelSource, labels: Sequence[str]) -> dict[str, Any] | None:
    """The base's config.json with a task's labels; None for random weights, which have no file."""
    if source.shape is not None:
        return None
    config: dict[str, Any] = json.loads((source.path / "config.json").read_text())
    return config | build_label_fields(labels)


def build_label_fields(labels: Sequence[str]) -> dict[str, Any]:
    """The configuration fields that name a classifier's outputs; a regression's one output is called LABEL_0."""
    names = list(labels) or ["LABEL_0"]
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


def prepare_base(out: Path, source: ModelSource, config: Mapping[str, Any] | None) -> str:
    """The value of `base_model_name_or_path`: the base's folder, or one with links to it and the labels in `config`.

    Raises UserError where the links cannot be written.
    """
    if source.shape is not None:
        # Random weights have no folder.
        return source.name
    base = source.path.resolve()
    if config is None or read_id2label(source) == config["id2label"]:
        return str(base)
    content = json.dumps([str(base), config], sort_keys=True)
    target = (out / BASES / hashlib.sha256(content.encode()).hexdigest()[:16]).resolve()
    # The folder's name is a hash of its content, so an existing one is right.
    if target.is_dir():
        return str(target)
    try:
        target.parent.mkdir(exist_ok=True)
        with replace_folder(target) as whole:
            _link_files(base, whole)
            _write_json(whole / "config.json", config)
    except UnlinkableError:
        return str(base)
    except OSError as error:
        raise UserError(f"cannot write {target}: {describe_os_error(error)}; what is stored is kept") from error
    return str(target)


class UnlinkableError(Exception):
    """A file system without symbolic links."""


def _link_files(base: Path, folder: Path) -> None:
    """Link all files of `base` except config.json into `folder`. Raises UnlinkableError."""
    try:
        for file in base.iterdir():
            if file.is_file() and file.name != "config.json":
                (folder / file.name).symlink_to(file)
    except OSError as error:
        raise UnlinkableError from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def is_saved(out: Path, record: Record) -> bool:
    """Whether the adapter that a record names exists unchanged."""
    return record.adapter is not None and not find_changed_files(out, record)


def find_changed_files(out: Path, record: Record) -> list[str]:
    """Names of the files of a record's adapter that are absent or have another sha256."""
    if record.adapter is None:
        return []
    # A forged path could point outside the run.
    if record.adapter.path != f"{FOLDER}/{record.key}":
        return [CONFIG, WEIGHTS]
    digests = record.extra.get(DIGESTS, {})
    if not isinstance(digests, dict):
        return [CONFIG, WEIGHTS]
    expected = {CONFIG: None, **digests, WEIGHTS: record.adapter.sha256}
    return [name for name, digest in expected.items() if not _is_unchanged(out / record.adapter.path / name, digest)]


def check_unchanged(adapter: Path) -> None:
    """Raise UserError where an adapter in a run's folder differs from its record. Other adapters have no record."""
    folder = adapter.resolve()
    path = folder.parent.parent / "cells" / f"{folder.name}.json"
    if folder.parent.name != FOLDER or not os.path.lexists(path):
        return
    try:
        record = parse_record(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{adapter}: its record cannot be read, so it cannot be verified; run its cell again"
        ) from error
    if names := find_changed_files(folder.parent.parent, record):
        raise UserError(
            f"{adapter}: {' and '.join(names)} absent or changed since it was saved; run its cell again with "
            "--save-adapters"
        )


def _is_unchanged(path: Path, digest: str | None) -> bool:
    """`digest` is None in records of earlier versions, which store only the digest of the weights."""
    try:
        return digest in (None, hash_file(path))
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return False
