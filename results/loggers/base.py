"""What an adapter for an experiment tracker must be, and the step after a run that hands it the finished cells.

    stored records ──> LoggedCell ──> Logger.write, one run of the tracker per cell
    OUT/logged.json   tracker -> key of each cell that was handed over -> when that cell finished

The step reads stored records, so that training does not depend on a tracker, and an interrupted run logs the rest.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import io
import json
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.core.errors import UserError, shorten
from harness.core.files import read_bytes, write_atomically
from harness.core.record import Record
from harness.core.registry import Registry
from reports.frames import build_method_names, format_seeds

PROJECT = "lorasp-harness"
STATE = "logged.json"


@dataclasses.dataclass(frozen=True)
class LoggedCell:
    """One cell as trackers have it.

    `curve` has (step, mean training loss) and `scores` points; both without values that are not finite. `started` and
    `finished` are seconds since the epoch.
    """

    key: str
    name: str
    group: str
    config: dict[str, str | int | float]
    curve: tuple[tuple[int, float], ...]
    scores: dict[str, float]
    steps: int
    is_ok: bool
    started: float
    finished: float


class Logger(abc.ABC):
    """An adapter. `out` is the folder of the run, where a tracker without a server keeps its files."""

    package: str
    """What pip installs."""

    def __init__(self, out: Path) -> None:
        self.out = out

    @classmethod
    @abc.abstractmethod
    def load(cls) -> Any:
        """The tracker's module. Raises ImportError."""

    @abc.abstractmethod
    def write(self, cell: LoggedCell) -> None:
        """One run of the tracker with the cell's settings, loss by step and scores. May raise any error."""


LOGGERS: Registry[type[Logger]] = Registry("logger", "results.loggers")


def check_loggers(names: Sequence[str]) -> None:
    """Raise UserError for a logger that is unknown or not installed, before any training."""
    for name in names:
        logger = LOGGERS.get(name)
        try:
            with _silence():
                logger.load()
        except Exception as error:
            # a broken installation raises other errors than ImportError
            why = "not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error!r})"
            raise UserError(f"--log {name}: {shorten(why)}; pip install {logger.package}") from error


def log_records(names: Sequence[str], records: Sequence[Record], out: Path) -> list[str]:
    """Hand each finished cell to each logger that does not have it yet; one line for each logger that fails."""
    cells = {cell.key: cell for cell in build_cells(records, out)} if names else {}
    state = _read_state(out)
    lines = []
    for name in names:
        done = state.setdefault(name, {})
        # a cell that trained again has another time
        todo = [record for record in records if done.get(record.key) != record.finished]
        logger = LOGGERS.get(name)(out)
        for record in todo:
            # an interrupted cell trains later
            if record.status == "cancelled":
                continue
            try:
                with _silence():
                    logger.write(cells[record.key])
            except Exception as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                lines.append(
                    f"--log {name}: stopped at cell {record.key}: {shorten(reason)}; the records are stored, and the "
                    "same command logs the rest"
                )
                break
            # after each cell, so that an interrupt repeats at most one
            done[record.key] = record.finished
            write_atomically(out / STATE, json.dumps(state, indent=1).encode())
    return lines


def build_cells(records: Sequence[Record], out: Path) -> list[LoggedCell]:
    """The records as trackers have them."""
    names = build_method_names(records)
    return [_build_cell(record, names[record.key], out) for record in records]


def _build_cell(record: Record, method: str, out: Path) -> LoggedCell:
    cell = record.cell
    seed = format_seeds(cell.seeds)
    config: dict[str, Any] = {"suite": cell.suite, "task": cell.task, "method": method, "seed": seed, "key": record.key}
    config |= {"model": cell.model.name, "precision": cell.precision, "preset": cell.preset, "status": record.status}
    config |= {f"option.{name}": value for name, value in cell.options.items()}
    config |= {f"protocol.{name}": value for name, value in cell.protocol.model_dump(mode="json").items()}
    if record.parameters is not None:
        config |= {f"parameters.{name}": value for name, value in record.parameters.model_dump().items()}
    if record.reason is not None:
        config["reason"] = record.reason
    return LoggedCell(
        key=record.key,
        name=f"{cell.task} {method} seed {seed}",
        group=out.resolve().name,
        config={
            k: v if isinstance(v, (str, int, float)) else json.dumps(v) for k, v in config.items() if v is not None
        },
        curve=tuple((step, loss) for step, loss in record.loss_curve if math.isfinite(loss)),
        scores={name: value for name, value in record.scores.items() if math.isfinite(value)},
        steps=record.steps or 0,
        is_ok=record.status == "ok",
        started=datetime.fromisoformat(record.started).timestamp(),
        finished=datetime.fromisoformat(record.finished).timestamp(),
    )


def _read_state(out: Path) -> dict[str, dict[str, str]]:
    """Tracker -> key -> when the logged cell finished; empty if the file is absent or damaged."""
    try:
        state = json.loads(read_bytes(out / STATE))
    except (OSError, ValueError):
        return {}
    # only an aid against doubles: without it all cells are logged again
    is_valid = isinstance(state, dict) and all(isinstance(keys, dict) for keys in state.values())
    return state if is_valid else {}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """A context in which nothing that a tracker prints is shown: some print lines for each cell, and to stdout."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
