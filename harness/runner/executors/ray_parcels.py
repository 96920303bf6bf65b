"""How the objects that jobs share travel through Ray's object store: rows of a task, model folders, adapters, plugins.

    driver                              object store            node
    TaskData, ModelSource ── ParcelPickler ──▶ Parcel, files ── ParcelUnpickler ──▶ object
                             each once              once per node    files in CACHE/received/<hash>

The pickle of a job names each such object by the hash of its content. No disk is shared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.suite import TaskData
from harness.models.adapter_source import AdapterSource
from harness.models.source import ModelSource, list_files_to_load
from harness.runner.executors.job_pickle import RegisteredClassPickler


@dataclasses.dataclass(frozen=True)
class Parcel:
    """An object that several jobs share, without the files that belong to it on the driver's disk.

    `files` are names -> references to their content, `folder` is the name of their folder on a node; `place` is the
    field of `value` that has the path of that folder, or of the file in it. Without files a node finds them where the
    driver does.
    """

    value: Any
    place: str = ""
    folder: str = ""
    files: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# ---------------------------------------------------------------- beside the run


class ParcelStore:
    """Puts shared objects into the object store, each once; `with_files`: nodes do not see the driver's disk."""

    def __init__(self, *, with_files: bool) -> None:
        self.with_files = with_files
        self.references: dict[str, Any] = {}
        self._digests: dict[int, tuple[str, object]] = {}

    def add(self, value: TaskData | ModelSource | AdapterSource) -> str:
        """The digest under which `references` has the object."""
        if id(value) not in self._digests:
            digest = _compute_digest(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
            if digest not in self.references:
                import ray

                self.references[digest] = ray.put(self._build(value))
            # the object is kept, so that no other one gets its id
            self._digests[id(value)] = digest, value
        return self._digests[id(value)][0]

    def _build(self, value: TaskData | ModelSource | AdapterSource) -> Parcel:
        if isinstance(value, TaskData) or not self.with_files:
            return Parcel(value)
        if isinstance(value, ModelSource):
            folder = _compute_digest(value.ref.content.encode())
            return Parcel(value, "path", folder, _put_files(value.path, list_files_to_load(value)))
        folder = _compute_digest(f"{value.weights.name} {value.ref.revision}".encode())
        return Parcel(value, "weights", folder, _put_files(value.weights.parent, [value.weights]))


def _compute_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _put_files(folder: Path, paths: list[Path]) -> dict[str, Any]:
    """References to the contents of files, by their names relative to a folder."""
    import numpy as np
    import ray

    references = {}
    for path in paths:
        # mapped, so that a large model goes from the page cache into the object store without another copy
        content = np.asarray(np.memmap(path, mode="r")) if path.stat().st_size else b""
        references[path.relative_to(folder).as_posix()] = ray.put(content)
    return references


class ParcelPickler(RegisteredClassPickler):
    """Pickles jobs; `used` are the digests of the shared objects that they name."""

    def __init__(self, stream: io.BytesIO, store: ParcelStore) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.store, self.used = store, set[str]()

    def persistent_id(self, value: Any) -> str | None:
        if not isinstance(value, (TaskData, ModelSource, AdapterSource)):
            return None
        digest = self.store.add(value)
        self.used.add(digest)
        return digest


# ---------------------------------------------------------------- on the nodes


class ParcelUnpickler(pickle.Unpickler):
    """Reads a job; the objects that jobs share are in `parcels` by digest, as references to Parcel."""

    def __init__(self, packed: bytes, parcels: Mapping[str, Any]) -> None:
        super().__init__(io.BytesIO(packed))
        self.parcels = parcels

    def persistent_load(self, pid: str) -> Any:
        return unpack(pid, self.parcels[pid])


_unpacked: dict[str, Any] = {}
"""Shared objects of this process by digest: each is read once."""


def unpack(digest: str, reference: Any) -> Any:
    """The object of a Parcel, with its files in the node's cache folder."""
    if digest not in _unpacked:
        import ray

        parcel: Parcel = ray.get(reference)
        value = parcel.value
        if parcel.files:
            folder = _write_files(parcel)
            path = folder if parcel.place == "path" else folder / next(iter(parcel.files))
            value = dataclasses.replace(value, **{parcel.place: path})
        _unpacked[digest] = value
    return _unpacked[digest]


def _write_files(parcel: Parcel) -> Path:
    """The folder of a parcel's files on this node, named by their hash; the first process of a node writes it."""
    import ray

    from harness.core.cache_folder import cache_folder

    folder = cache_folder() / "received" / parcel.folder
    with _hold_lock(folder):
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            for name, reference in parcel.files.items():
                path = Path(temporary) / "files" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                # one file at a time: a large model need not fit into this process
                path.write_bytes(memoryview(ray.get(reference)))
            # renamed when complete, so that a node that is lost in between leaves no half of a model
            os.replace(Path(temporary) / "files", folder)
    return folder


@contextlib.contextmanager
def _hold_lock(folder: Path) -> Iterator[None]:
    """A context in which this process alone writes `folder`. Raises UserError for a cache that cannot be written."""
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            yield
    except OSError as error:
        raise UserError(
            f"node {get_node_ip()}: cannot write {folder.parent}: {error.strerror or error}; "
            "LORASP_HARNESS_CACHE on the node names another folder"
        ) from error


def write_plugin(name: str, content: bytes) -> tuple[Path, str]:
    """The path of a plugin's file in the node's cache folder, and the sha256 of its content."""
    from harness.core.cache_folder import cache_folder
    from harness.core.files import replace_file

    digest = _compute_digest(content)
    path = cache_folder() / "received" / digest / name
    with _hold_lock(path.parent):
        path.parent.mkdir(exist_ok=True)
        replace_file(path, content)
    return path, digest


def get_node_ip() -> str:
    """The address of this node."""
    import ray

    get_address: Any = ray.util.get_node_ip_address  # without types
    return str(get_address())
