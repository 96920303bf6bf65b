"""Checkpoints of packs that still train, on disk: a run that was killed resumes from them.

    OUT/checkpoints/<hash of slot_keys>.pt       (checkpoint_file.py has its layout)

    {format, made_by, keys, members, step, state, results, spent, marks}

A pack of cells a b c d whose first two cells have finished, after a split on out of memory:

    keys     a  b  c  d      the cells that were attached, in slot order; the same for both halves
    results  0  1            slots that have left the pack and are scored
    members        2         slots that still train in this half; slot 3 is in the other half's file
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.files import escape_path, list_files, write_atomically
from harness.core.record import Phases
from harness.planning.packs import Pack
from harness.training.checkpoint_file import is_intact, save_with_digest

if TYPE_CHECKING:
    from harness.planning.planned_cell import PlannedCell
    from harness.training.result import Result

FORMAT = 2
"""Version of the file's content; a file of another version is ignored."""


def build_file_name(keys: Sequence[str]) -> str:
    """The name of the checkpoint of a pack, from the keys of its cells in slot order."""
    return f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:16]}.pt"


@dataclasses.dataclass(frozen=True)
class PackCheckpoint:
    """The state of a pack between two steps.

    `keys` are the cells that the pack was attached with, in slot order. `members` are the slots that still train;
    `results` belong to slots that have left and are scored. A half of a split pack has the same `keys`. `state` is
    `Trainer.state()`. `spent` is the pack's time so far in seconds; `marks` go into the records of the members.
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
        """All slots of this checkpoint, training or scored, in order."""
        return sorted({*self.members, *self.results})

    @property
    def slot_keys(self) -> list[str]:
        return [self.keys[slot] for slot in self.slots]

    def select_members(self, members: Sequence[int]) -> PackCheckpoint:
        """A checkpoint of some members, with their share of the time and without results."""
        # the halves of a split pack train one after another, so their times must add up to the time of the whole
        spent = Phases(**{n: v * len(members) / len(self.members) for n, v in self.spent.model_dump().items()})
        marks = {**self.marks, "split at step": self.step}
        return dataclasses.replace(self, members=tuple(members), results={}, spent=spent, marks=marks)


class Checkpoints:
    """Checkpoint files under `folder`, one per pack, named by a hash of the pack's cells.

    `made_by` describes the environment: a run resumes only from a checkpoint with an equal one, since other versions
    or thread counts change the bits of the result. `note` gets one line for each file that is ignored.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], note: Callable[[str], None]) -> None:
        self.folder, self.made_by, self.note = folder, dict(made_by), note
        self._write_failed = False

    def path(self, keys: Sequence[str]) -> Path:
        return self.folder / build_file_name(keys)

    def write(self, checkpoint: PackCheckpoint) -> None:
        """Replace the pack's last checkpoint. If the disk refuses, the run continues without one, with a note."""
        from harness.training.result import to_plain

        content = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
        content |= {
            "format": FORMAT,
            "made_by": self.made_by,
            "results": {slot: to_plain(result) for slot, result in checkpoint.results.items()},
            "spent": checkpoint.spent.model_dump(),
            "marks": dict(checkpoint.marks),
        }
        self._replace(self.path(checkpoint.slot_keys), lambda stream: save_with_digest(content, stream))

    def store(self, name: str, content: bytes) -> None:
        """Store a file that `write` made on another machine, with the same care for a disk that refuses."""
        self._replace(self.folder / name, content)

    def _replace(self, path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            write_atomically(path, content)
        except (OSError, UserError) as error:
            if not self._write_failed:  # one line per run: a full disk refuses every further checkpoint too
                self.note(f"no checkpoint: {error}")
            self._write_failed = True

    def drop(self, keys: Sequence[str]) -> None:
        """Delete the checkpoint of a pack, and the folder when it is empty."""
        with contextlib.suppress(OSError):
            self.path(keys).unlink(missing_ok=True)
            self.folder.rmdir()

    def find(
        self, planned: Sequence[PlannedCell], missing: Collection[str], widest: int | None
    ) -> list[tuple[Pack, PackCheckpoint]]:
        """Packs to resume, each with all cells that it was attached with; no cell is resumed twice.

        `missing` are the keys that have no record yet; `widest` is the largest number of members (None: any).
        """
        checkpoints: list[tuple[Pack, PackCheckpoint]] = []
        resumed_keys: set[str] = set()
        cells = {cell.key: cell for cell in planned}
        for path, checkpoint in self._read_all():
            slot_keys = set(checkpoint.slot_keys)
            if mismatch := _find_mismatch(checkpoint, cells, resumed_keys, widest):
                self.note(f"checkpoint {path.name}: {mismatch}; ignored")
            elif not slot_keys & set(missing):
                path.unlink()  # the run was killed between storing the records and deleting this file
            else:
                resumed_keys |= slot_keys
                # the whole pack is attached again, since a method draws its initial values for all slots at once
                pack = Pack(tuple(cells[key] for key in checkpoint.keys))
                marks = {**checkpoint.marks, "resumed at step": checkpoint.step}
                checkpoints.append((pack, dataclasses.replace(checkpoint, marks=marks)))
        return checkpoints

    def read(self, pack: Pack, slots: Sequence[int]) -> PackCheckpoint | None:
        """The last checkpoint of some slots of a pack; None if there is none, or none that this environment can use."""
        path = self.path(pack.select(slots).keys)
        if not path.exists():
            return None
        try:
            checkpoint = self._read(path)
        except Exception as error:  # a damaged file can raise anything within torch.load
            self.note(_describe_damage(path, error))
            return None
        if checkpoint.keys != pack.keys:
            return None
        marks = {**checkpoint.marks, "resumed at step": checkpoint.step}
        return dataclasses.replace(checkpoint, marks=marks)

    def _read_all(self) -> list[tuple[Path, PackCheckpoint]]:
        """Readable checkpoints of this environment, small ones first."""
        checkpoints = []
        try:
            paths = list_files(self.folder, ".pt")
        except UserError as error:
            self.note(f"no checkpoints: {error}")
            return []
        for path in paths:
            try:
                checkpoints.append((path, self._read(path)))
            except Exception as error:  # a damaged file can raise anything within torch.load
                self.note(_describe_damage(path, error))
        # a half of a split pack is further in training than the whole, whose file may remain after a kill
        return sorted(checkpoints, key=lambda item: len(item[1].slots))

    def _read(self, path: Path) -> PackCheckpoint:
        import torch

        from harness.training.result import from_plain

        # the digest comes first: torch.load maps the file into memory and would not notice changed bytes
        if not is_intact(path):
            raise UserError("damaged, or written by another version of this harness")
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        if content.pop("format") != FORMAT:
            raise UserError("written by another version of this harness")
        made_by = content.pop("made_by")
        differences = sorted(k for k in {*made_by, *self.made_by} if made_by.get(k) != self.made_by.get(k))
        if differences:
            raise UserError(f"written with other values of {', '.join(differences)}")
        content["results"] = {slot: from_plain(plain) for slot, plain in content["results"].items()}
        content["spent"] = Phases(**content["spent"])
        return PackCheckpoint(**content)


def _describe_damage(path: Path, error: Exception) -> str:
    problem = str(error) if isinstance(error, UserError) else f"does not read ({type(error).__name__})"
    return f"checkpoint {escape_path(Path(path.name))}: {problem}; ignored"


def _find_mismatch(
    checkpoint: PackCheckpoint, cells: Mapping[str, Any], resumed_keys: Collection[str], widest: int | None
) -> str | None:
    """Why this run cannot resume from the checkpoint; None if it can."""
    if any(key not in cells for key in checkpoint.keys):
        return "its pack has cells that are not in this run"
    if set(checkpoint.slot_keys) & set(resumed_keys):
        return "a later checkpoint of a part of its pack is resumed"
    if len(checkpoint.members) > (widest or math.inf):
        return f"it has {len(checkpoint.members)} unfinished cells, more than --pack {widest}"
    return None
