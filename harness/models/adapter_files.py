"""Trained adapters on the disk, in peft's layout.

RUN/adapters/KEY has adapter_config.json and adapter_model.safetensors; that of a classifier also has config.json: the
base's configuration with the task's labels. Where these are not the base's own labels, `base_model_name_or_path` names
RUN/bases/HASH: the same config.json beside links to the base's files, so that peft's AutoPeft classes build a head of
the right width without being given one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.files import describe_os_error, hash_file
from harness.core.label_order import read_id2label
from harness.core.record import AdapterInfo, Record
from harness.core.store import parse_record

if TYPE_CHECKING:
    from harness.core.method import Exported
    from harness.models.source import ModelSource

DIGESTS = "adapter_files"
"""In `extra` of a record: sha256 of each file of its adapter, by name. Absent in records of earlier versions."""
FOLDER, BASES = "adapters", "bases"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def write_adapter(
    out: Path, key: str, exported: Exported, base: str, config: Mapping[str, Any] | None = None
) -> AdapterInfo:
    """Write OUT/adapters/KEY, all of it or nothing. Raises UserError.

    `base` is the model it belongs to, as `base_of` names it; `config` is the content of config.json, for a classifier.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = out / FOLDER / key
    try:
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{key}.") as temporary:
            whole = Path(temporary) / key
            whole.mkdir()
            exported.config.base_model_name_or_path = base
            exported.config.save_pretrained(str(whole))
            save_file(dict(exported.tensors), whole / WEIGHTS, metadata={"format": "pt"})
            if config is not None:
                _write_json(whole / "config.json", config)
            _remove(target)
            os.replace(whole, target)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {target}: {describe_os_error(error)}; what is stored is kept") from error
    return AdapterInfo(path=f"{FOLDER}/{key}", sha256=hash_file(target / WEIGHTS))


def add_digests(out: Path, record: Record) -> Record:
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


def build_labelled_config(source: ModelSource, labels: Sequence[str]) -> dict[str, Any] | None:
    """The base's config.json with the labels of a task; None for a model of random weights, which has no file."""
    if source.shape is not None:
        return None
    config: dict[str, Any] = json.loads((source.path / "config.json").read_text())
    return config | build_label_fields(labels)


def build_label_fields(labels: Sequence[str]) -> dict[str, Any]:
    """The fields of a configuration that name the outputs of a classifier; a regression has one without a name."""
    names = list(labels) or ["LABEL_0"]
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


def prepare_base(out: Path, source: ModelSource, config: Mapping[str, Any] | None) -> str:
    """What `base_model_name_or_path` says: the base's folder, or a folder of links to it with the labels in `config`.

    Raises UserError where the links cannot be written.
    """
    if source.shape is not None:
        return source.name  # random weights lie in no folder
    base = source.path.resolve()
    if config is None or read_id2label(source) == config["id2label"]:
        return str(base)
    content = json.dumps([str(base), config], sort_keys=True)
    target = (out / BASES / hashlib.sha256(content.encode()).hexdigest()[:16]).resolve()
    if target.is_dir():
        return str(target)
    try:
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
            whole = Path(temporary) / target.name
            whole.mkdir()
            if not _link_files(base, whole):
                return str(base)
            _write_json(whole / "config.json", config)
            os.replace(whole, target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {describe_os_error(error)}; what is stored is kept") from error
    return str(target)


def _link_files(base: Path, folder: Path) -> bool:
    """Link the files of `base` but its config.json into `folder`; False on a file system without links."""
    try:
        for file in base.iterdir():
            if file.is_file() and file.name != "config.json":
                (folder / file.name).symlink_to(file)
    except OSError:
        return False
    return True


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def is_saved(out: Path, record: Record) -> bool:
    """Whether the adapter that a record names is there, unchanged."""
    return record.adapter is not None and not find_changed_files(out, record)


def find_changed_files(out: Path, record: Record) -> list[str]:
    """Names of the files of a record's adapter that are absent or not what the record says."""
    if record.adapter is None:
        return []
    if record.adapter.path != f"{FOLDER}/{record.key}":  # no other, so nothing outside of the run
        return [CONFIG, WEIGHTS]
    digests = record.extra.get(DIGESTS, {})
    if not isinstance(digests, dict):
        return [CONFIG, WEIGHTS]
    expected = {CONFIG: None, **digests, WEIGHTS: record.adapter.sha256}
    return [name for name, digest in expected.items() if not _is_unchanged(out / record.adapter.path / name, digest)]


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
    if names := find_changed_files(folder.parent.parent, record):
        raise UserError(
            f"{adapter}: {' and '.join(names)} absent or changed since it was saved; run its cell again with "
            "--save-adapters"
        )


def _is_unchanged(path: Path, digest: str | None) -> bool:
    """`digest`: None in records of earlier versions, which have that of the weights alone."""
    try:
        return digest in (None, hash_file(path))
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return False
