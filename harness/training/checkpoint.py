"""Packs on their way, on disk: what a run that was killed goes on from."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from harness.core.errors import UserError
from harness.core.files import check_regular, escape_path, list_files, write_atomically
from harness.core.record import Phases
from harness.planning.packs import Pack

if TYPE_CHECKING:
    from harness.planning.planned_cell import PlannedCell
    from harness.training.result import Result

FORMAT = 2
"""Raised when what a checkpoint holds changes."""
DIGEST_MARK = b"sha256 of all before: "
"""Stands between what torch.save writes and its digest, which end the file."""
MIN_SECONDS = 60.0
"""Between two checkpoints of a pack at least, and before its first; LORASP_HARNESS_CHECKPOINT_SECONDS gives another."""
MAX_TIME_SHARE = 0.01
"""Of a pack's time that writing them may take."""
BLOCK_BYTES = 2**20
"""Bytes that are hashed at a time."""
ASSUMED_RATE = 100e6
"""Bytes a second that a disk is taken to write until it was seen to."""


@dataclasses.dataclass(frozen=True)
class PackCheckpoint:
    """Where a pack stood between two steps.

    `keys` are the cells that it was attached with, in slot order; `members` are the slots that go on, `results` those
    that have left and are scored. A part of a pack has the same `keys`. `spent` is its time so far, `marks` is for the
    records of those that go on.
    """

    keys: tuple[str, ...]
    members: tuple[int, ...]
    step: int
    state: dict[str, Any]
    results: Mapping[int, Result]
    spent: Phases
    marks: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def slots(self) -> list[int]:
        """Those that this answers for."""
        return sorted({*self.members, *self.results})

    @property
    def slot_keys(self) -> list[str]:
        return [self.keys[slot] for slot in self.slots]

    def part(self, members: Sequence[int]) -> PackCheckpoint:
        """Some of the members, with their share of the time."""
        spent = Phases(**{n: v * len(members) / len(self.members) for n, v in self.spent.model_dump().items()})
        marks = {**self.marks, "split at step": self.step}
        return dataclasses.replace(self, members=tuple(members), results={}, spent=spent, marks=marks)


class CheckpointTimer:
    """When the next checkpoint is due: no sooner than SECONDS, and so seldom that writing stays below SHARE."""

    def __init__(self, size: int) -> None:
        self.cost, self.since = size / ASSUMED_RATE, time.monotonic()
        self.least = _read_interval()

    def is_due(self) -> bool:
        return time.monotonic() - self.since >= max(self.least, self.cost / MAX_TIME_SHARE)

    @contextlib.contextmanager
    def time_write(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.since = time.monotonic()
        self.cost = self.since - began


def _read_interval() -> float:
    text = os.environ.get("LORASP_HARNESS_CHECKPOINT_SECONDS", "")
    with contextlib.suppress(ValueError):
        if (seconds := float(text or MIN_SECONDS)) >= 0:
            return seconds
    raise UserError(f"LORASP_HARNESS_CHECKPOINT_SECONDS='{text}': allowed: a number of seconds")


class Checkpoints:
    """The files under `folder`, one a pack, named by the cells that it answers for.

    `made_by` is what two sittings must share to give the same bits; `note` gets a line for each that is of no use.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], note: Callable[[str], None]) -> None:
        self.folder, self.made_by, self.note = folder, dict(made_by), note
        self._refused = False

    def path(self, keys: Sequence[str]) -> Path:
        return self.folder / f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:16]}.pt"

    def write(self, saved: PackCheckpoint) -> None:
        """Put it in the place of the last one. A disk that takes no more costs the checkpoint, not the run."""
        from harness.training.result import to_plain

        content = {f.name: getattr(saved, f.name) for f in dataclasses.fields(saved)}
        content |= {
            "format": FORMAT,
            "made_by": self.made_by,
            "results": {slot: to_plain(result) for slot, result in saved.results.items()},
            "spent": saved.spent.model_dump(),
            "marks": dict(saved.marks),
        }
        try:
            self.folder.mkdir(exist_ok=True)
            write_atomically(self.path(saved.slot_keys), lambda stream: _save_with_digest(content, stream))
        except (OSError, UserError) as error:
            if not self._refused:
                self.note(f"no checkpoint: {error}")
            self._refused = True

    def drop(self, keys: Sequence[str]) -> None:
        """Delete that of a pack, and the folder with the last one."""
        with contextlib.suppress(OSError):
            self.path(keys).unlink(missing_ok=True)
            self.folder.rmdir()

    def find(
        self, planned: Sequence[PlannedCell], missing: Collection[str], widest: int | None
    ) -> list[tuple[Pack, PackCheckpoint]]:
        """Packs to go on with, each as it was attached; no cell is in two. `widest`: members at most."""
        checkpoints: list[tuple[Pack, PackCheckpoint]] = []
        resumed_keys: set[str] = set()
        cells = {cell.key: cell for cell in planned}
        for path, saved in self._read_all():
            if mismatch := _find_mismatch(saved, cells, resumed_keys, widest):
                self.note(f"checkpoint {path.name}: {mismatch}; ignored")
            elif not set(saved.slot_keys) & set(missing):
                path.unlink()  # killed after its records were stored
            else:
                resumed_keys |= set(saved.slot_keys)
                pack = Pack(tuple(cells[key] for key in saved.keys))
                checkpoints.append(
                    (pack, dataclasses.replace(saved, marks={**saved.marks, "resumed at step": saved.step}))
                )
        return checkpoints

    def _read_all(self) -> list[tuple[Path, PackCheckpoint]]:
        """Those that read and were made here, parts of a pack before the whole."""
        checkpoints = []
        try:
            paths = list_files(self.folder, ".pt")
        except UserError as error:
            self.note(f"no checkpoints: {error}")
            return []
        for path in paths:
            try:
                checkpoints.append((path, self._read(path)))
            except Exception as error:  # whatever a broken file makes the reader raise
                problem = str(error) if isinstance(error, UserError) else f"does not read ({type(error).__name__})"
                self.note(f"checkpoint {escape_path(Path(path.name))}: {problem}; ignored")
        return sorted(checkpoints, key=lambda item: len(item[1].slots))

    def _read(self, path: Path) -> PackCheckpoint:
        import torch

        from harness.training.result import from_plain

        if not _is_intact(path):
            raise UserError("damaged, or of another version of this harness")
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        if content.pop("format") != FORMAT:
            raise UserError("of another version of this harness")
        made_by = content.pop("made_by")
        differences = sorted(k for k in {*made_by, *self.made_by} if made_by.get(k) != self.made_by.get(k))
        if differences:
            raise UserError(f"made under another {', '.join(differences)}")
        content["results"] = {slot: from_plain(plain) for slot, plain in content["results"].items()}
        content["spent"] = Phases(**content["spent"])
        return PackCheckpoint(**content)


class _HashingStream:
    """A stream that hashes what is written to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.digest = stream, hashlib.sha256()

    def write(self, content: bytes | memoryview) -> int:
        self.digest.update(content)
        return self.stream.write(content)

    def flush(self) -> None:
        self.stream.flush()


def _save_with_digest(content: Any, stream: IO[bytes]) -> None:
    """torch.save with a digest behind it, which a zip archive allows.

    A disk that is full stays an OSError, which torch hides behind a RuntimeError of its own.
    """
    import torch

    hashing_stream = _HashingStream(stream)
    try:
        torch.save(content, cast(IO[bytes], hashing_stream))  # torch asks a stream for write and flush only
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
    stream.write(DIGEST_MARK + hashing_stream.digest.hexdigest().encode())


def _is_intact(path: Path) -> bool:
    """Whether a checkpoint is what was written. Raises OSError."""
    check_regular(path)
    end = len(DIGEST_MARK) + 64
    with path.open("rb") as stream:
        remaining = max(0, os.fstat(stream.fileno()).st_size - end)
        digest = hashlib.sha256()
        while block := stream.read(min(remaining, BLOCK_BYTES)):
            digest.update(block)
            remaining -= len(block)
        return stream.read() == DIGEST_MARK + digest.hexdigest().encode()


def _find_mismatch(
    saved: PackCheckpoint, cells: Mapping[str, Any], taken: Collection[str], widest: int | None
) -> str | None:
    """Why this run cannot go on from it."""
    if any(key not in cells for key in saved.keys):
        return "of a pack with cells that are not asked for here"
    if set(saved.slot_keys) & set(taken):
        return "a part of its pack has gone further"
    if len(saved.members) > (widest or math.inf):
        return f"{len(saved.members)} cells that train, more than --pack {widest}"
    return None
