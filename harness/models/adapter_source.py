"""Find the adapter that a cell starts from, and identify it by content hash. Imports no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.cell import Cell, InitialRef
from harness.core.errors import NotApplicable, UserError
from harness.core.files import list_files
from harness.core.record import Record
from harness.core.stored_files import parse_record
from harness.models.adapter_config import check_plain, read_config
from harness.models.adapter_files import FOLDER, check_unchanged

MICROSOFT_ALPHA = 16.0
"""Files of microsoft/LoRA do not contain alpha; this is the value of its RoBERTa-base runs on MNLI (rank 8)."""
ALLOWED = "give a peft folder, a microsoft/LoRA file (FILE:alpha=16) or a run's folder (RUN:TASK)"
SCALING = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")


@dataclasses.dataclass(frozen=True)
class AdapterSource:
    """An adapter file. `config` has the fields of adapter_config.json, or is None for microsoft/LoRA (`alpha` only)."""

    ref: InitialRef
    weights: Path
    config: Mapping[str, Any] | None = None
    alpha: float = MICROSOFT_ALPHA
    note: str | None = None


def resolve_init_from(text: str) -> Callable[[Cell], AdapterSource]:
    """A function from a cell to its adapter, for the text of `--init-from`.

    Raises UserError; so does the function where a run has no adapter for the cell.
    """
    path, option = _split_option(text)
    if path.is_file():
        source = _read_microsoft(text, path, option)
    elif (path / "adapter_config.json").is_file():
        if option:
            raise UserError(f"--init-from {text}: ':{option}' does not belong to a peft folder; its config has alpha")
        source = _read_peft(text, path)
    elif (path / "cells").is_dir():
        return _RunAdapters(text, path, option)
    elif path.is_dir():
        raise UserError(f"--init-from {text}: no adapter_config.json and no cells in {path}; {ALLOWED}")
    else:
        raise UserError(f"--init-from {text}: no such file or folder; {ALLOWED}")
    return lambda cell: source


def _split_option(text: str) -> tuple[Path, str]:
    """PATH or PATH:OPTION as a pair; a colon in the name of an existing path belongs to it."""
    head, colon, option = text.rpartition(":")
    if not colon or Path(text).expanduser().exists():
        return Path(text).expanduser(), ""
    return Path(head).expanduser(), option


def _hash_weights(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_microsoft(text: str, path: Path, option: str) -> AdapterSource:
    if path.suffix not in (".bin", ".pt", ".pth"):
        raise UserError(f"--init-from {text}: not a .bin or .pt file of tensors; {ALLOWED}")
    alpha, note = MICROSOFT_ALPHA, None
    if option:
        name, _, value = option.partition("=")
        try:
            alpha = float(value)
        except ValueError:
            alpha = 0.0
        if name != "alpha" or not 0 < alpha < float("inf"):
            raise UserError(f"--init-from {text}: ':{option}': allowed: alpha=NUMBER, above 0")
    else:
        note = f"--init-from {text}: its file does not say alpha: {alpha:g} assumed; another: {text}:alpha=NUMBER"
    named = f"{path.resolve()}:alpha={alpha:g}"
    ref = InitialRef(name=text, revision=_hash_weights(path), scaling=f"alpha={alpha:g}", source=named)
    return AdapterSource(ref, path, alpha=alpha, note=note)


def _read_peft(text: str, path: Path) -> AdapterSource:
    """A folder with adapter_config.json. Raises UserError unless it is plain LoRA: pairs and a head, nothing more."""
    check_unchanged(path)
    config = read_config(path, f"--init-from {text}")
    check_plain(config, f"--init-from {text}")
    weight_files = [path / n for n in ("adapter_model.safetensors", "adapter_model.bin") if (path / n).is_file()]
    if not weight_files:
        raise UserError(f"--init-from {text}: no adapter_model.safetensors or adapter_model.bin in {path}")
    scaling = json.dumps({k: config[k] for k in SCALING if config.get(k)}, sort_keys=True)
    ref = InitialRef(name=text, revision=_hash_weights(weight_files[0]), scaling=scaling, source=str(path.resolve()))
    return AdapterSource(ref, weight_files[0], config)


class _RunAdapters:
    """The adapters that a run saved for one task; a cell starts from that of the same method, model and seeds."""

    def __init__(self, text: str, path: Path, task: str) -> None:
        self.text, self.path = text, path
        records = [r for r in _read_records(path / "cells") if r.adapter is not None]
        tasks = sorted({r.cell.task for r in records})
        if not tasks:
            raise UserError(f"--init-from {text}: that run has saved no adapters; run it again with --save-adapters")
        if task not in tasks and (task or len(tasks) > 1):
            raise UserError(f"--init-from {text}: allowed tasks: {', '.join(tasks)}, written {path}:{tasks[0]}")
        self.records = [r for r in records if r.cell.task == (task or tasks[0])]
        self.name = f"{path.resolve()}:{task or tasks[0]}"
        self._made: dict[str, AdapterSource] = {}

    def __call__(self, cell: Cell) -> AdapterSource:
        """Raise NotApplicable where the run lacks the method, UserError where it has it with other seeds only."""
        same = [r for r in self.records if _is_same_setup(r.cell, cell)]
        if not same:
            have = sorted({r.cell.title for r in self.records})
            raise NotApplicable(
                f"--init-from {self.text}: no adapter of {cell.title} on this model; it has {', '.join(have)}"
            )
        mine = [r for r in same if r.cell.seeds == cell.seeds]
        if len(mine) != 1:
            raise UserError(
                f"--init-from {self.text}: {len(mine)} adapters of {cell.title} with the seeds {_format_seeds(cell)};"
                f" allowed: one each; give a single folder under {self.path}/adapters"
            )
        key = mine[0].key
        if key not in self._made:
            info = mine[0].adapter
            assert info is not None
            folder = self.path / info.path
            if info.path != f"{FOLDER}/{key}":
                raise UserError(f"--init-from {self.text}: {folder} is not the adapter of {key}; run its cell again")
            if not (folder / "adapter_config.json").is_file():
                raise UserError(f"--init-from {self.text}: {folder} is gone; run it again with --save-adapters")
            source = _read_peft(str(folder), folder)
            ref = source.ref.model_copy(update={"source": self.name})  # equal for all seeds, so reports show one method
            self._made[key] = dataclasses.replace(source, ref=ref)
        return self._made[key]


def _is_same_setup(stored: Cell, cell: Cell) -> bool:
    """Whether two cells have the same method, options, model and precision."""

    def facts(one: Cell) -> str:
        parts: Sequence[Any] = (one.method, one.options, one.model.content, one.dtype, one.quantize)
        return json.dumps(parts, sort_keys=True)

    return facts(stored) == facts(cell)


def _format_seeds(cell: Cell) -> str:
    return ",".join(f"{k}={v}" for k, v in cell.seeds.items())


def _read_records(folder: Path) -> list[Record]:
    """The readable records of another run. Nothing there is repaired, because the run is not ours to change."""
    records = []
    for path in list_files(folder, ".json"):
        with contextlib.suppress(OSError, ValueError):
            records.append(parse_record(path))
    return records
