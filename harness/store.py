"""The folder of a run: one JSON a cell, its predictions beside it, profiles, and what was asked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from harness.cell import Cell
from harness.errors import UserError
from harness.record import SCHEMA_VERSION, PackSize, Predictions, Profile, Record

if TYPE_CHECKING:
    import pandas as pd


PACK_SIZES = "pack-sizes"
RUN = frozenset({"command", "title", "order", "dropped"})
"""Keys that each run.json has."""


def _umask() -> int:
    """It can only be read by setting it."""
    os.umask(mask := os.umask(0))
    return mask


UMASK = _umask()


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """All of the file or none of it; `content` may write it itself. Raises UserError for a full or forbidden disk."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            try:
                stream.write(content) if isinstance(content, bytes) else content(stream)
                stream.flush()
                os.fchmod(stream.fileno(), 0o666 & ~UMASK)  # a temporary file is its owner's alone
                os.fsync(stream.fileno())
                os.replace(stream.name, path)
            except BaseException:
                Path(stream.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise UserError(f"cannot write {path}: {what}; what is stored is kept, the same command resumes") from error


class Store:
    """Records under `out`/cells and profiles under `out`/profiles."""

    def __init__(self, out: Path) -> None:
        self.out, self.cells, self.profile_dir = out, out / "cells", out / "profiles"
        self.size_dir = out / PACK_SIZES

    def prepare(self) -> None:
        """Make the folders and try to write. Raises UserError, before any training."""
        try:
            for folder in (self.cells, self.profile_dir, self.size_dir):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {self.out}: {error.strerror}; give a folder that can be written") from error
        probe = self.out / ".writable"
        write_atomically(probe, b"")
        probe.unlink()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One run at a time in a folder. Raises UserError."""
        with (self.out / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(f"--out {self.out}: another run writes there; wait, or use another") from error
            yield

    def write(self, record: Record, predictions: pd.DataFrame | None) -> None:
        """The predictions first, then the record that names their hash."""
        if predictions is not None:
            content = parquet(predictions)
            path = self.cells / f"{record.key}.parquet"
            write_atomically(path, content)
            side = Predictions(path=path.name, sha256=hashlib.sha256(content).hexdigest(), rows=len(predictions))
            record = record.model_copy(update={"predictions": side})
        write_atomically(self.cells / f"{record.key}.json", _json(record))

    def write_profile(self, profile: Profile) -> None:
        write_atomically(self.profile_dir / f"{profile.key}.json", _json(profile))

    def read(self) -> tuple[dict[str, Record], list[str]]:
        """Records by key, and a line for each file that was set aside because it cannot be trusted."""
        records, lines = {}, []
        for path in sorted(self.cells.glob("*.json")):
            try:
                record = _record(path.read_bytes())
                self._check(path, record)
            except (OSError, ValueError) as error:  # a folder of that name, too
                lines.append(self._set_aside(path, _why(error)))
                continue
            records[record.key] = record
        return records, lines

    def _check(self, path: Path, record: Record) -> None:
        """Raise ValueError where a record is not what its file says."""
        if record.key != path.stem or record.cell.key != record.key:
            raise ValueError("its key does not match its content")
        if side := changed(self.cells, record):
            raise ValueError(f"its predictions {side.name} are absent or changed")

    def _set_aside(self, path: Path, why: str) -> str:
        folder = self.out / "set-aside"
        folder.mkdir(exist_ok=True)
        os.replace(path, folder / path.name)
        return f"{path}: {why}; set aside in {folder}, its cell runs again"

    def profiles(self) -> dict[str, Profile]:
        """Profiles by key; one that does not read counts as absent and is measured again."""
        found = {}
        for path in sorted(self.profile_dir.glob("*.json")):
            with contextlib.suppress(ValidationError, OSError):  # a folder of that name, too
                profile = Profile.model_validate_json(path.read_bytes())
                found[profile.key] = profile
        return found

    def write_pack_size(self, size: PackSize) -> None:
        write_atomically(self.size_dir / f"{size.key}.json", _json(size))

    def write_run(
        self,
        command: str,
        title: str,
        order: Sequence[str],
        dropped: Sequence[str],
        margin: float | None = None,
        late: bool = False,
    ) -> None:
        """What was asked, so that a report can be made from the folder alone.

        `late`: the margin was named, or changed, when there were results already.
        """
        content: dict[str, Any] = {"command": command, "title": title, "order": list(order), "dropped": list(dropped)}
        content |= {"margin": margin, "margin_late": late}
        write_atomically(self.out / "run.json", json.dumps(content, indent=1).encode())

    def read_run(self) -> dict[str, Any]:
        """What `write_run` wrote. Raises UserError where the folder holds no run."""
        path = self.out / "run.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            if not RUN.issubset(content):
                raise ValueError(f"keys other than {RUN}")
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{self.out} holds no run (no readable run.json); give the folder of `run`") from error
        return content


def changed(cells: Path, record: Record) -> Path | None:
    """The file of a record's predictions, where it is absent or not what the record says."""
    if record.predictions is None:
        return None
    side = cells / record.predictions.path
    if side.is_file() and hashlib.sha256(side.read_bytes()).hexdigest() == record.predictions.sha256:
        return None
    return side


def missing(cells: Sequence[Cell], records: dict[str, Record], *, retry: bool) -> list[Cell]:
    """Cells without a result; cancelled ones run again, failed and out-of-memory ones only on `retry`."""
    done = {"ok"} if retry else {"ok", "failed", "oom"}
    return [c for c in cells if c.key not in records or records[c.key].status not in done]


def _record(content: bytes) -> Record:
    """Raise ValueError; a record of another version is named as such, whatever else is in it."""
    read = json.loads(content)
    version = read.get("schema_version", SCHEMA_VERSION) if isinstance(read, dict) else SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}, this harness reads {SCHEMA_VERSION}")
    return Record.model_validate_json(content)


def _why(error: Exception) -> str:
    """One line; of a record that does not fit its schema, the first field that does not."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0]


def _json(model: BaseModel) -> bytes:
    return (model.model_dump_json(indent=1) + "\n").encode()


def parquet(frame: pd.DataFrame) -> bytes:
    """The content of a file of predictions."""
    import io

    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()
