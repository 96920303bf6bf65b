"""Loss curves and scores as TensorBoard event files, one folder a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.file_names import join_inside, make_file_names
from harness.core.record import Record
from reports.frames import build_method_names, format_seeds


def load_writer() -> Any:
    """The class that writes event files. Raises UserError where tensorboard is not installed."""
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise UserError("--tensorboard: not installed; pip install 'lorasp-harness[tensorboard]'") from error
    return EventFileWriter


def write_events(records: Sequence[Record], folder: Path) -> None:
    """SUITE/TASK/METHOD/seed-SEEDS/events.*: `loss` by step, each score at the last step. Old ones are replaced."""
    names = build_method_names(records)
    words = {r.key: (r.cell.suite, r.cell.task, names[r.key], f"seed-{format_seeds(r.cell.seeds)}") for r in records}
    parts = [make_file_names(column) for column in zip(*words.values(), strict=True)]
    for record in records:
        folders = (part[word] for part, word in zip(parts, words[record.key], strict=True))
        place = join_inside(folder, "/".join(folders))
        # TensorBoard would merge old event files into the curve
        for old in place.glob("events.*"):
            old.unlink(missing_ok=True)
        if record.loss_curve or record.scores:
            _write_run(record, place)


def _write_run(record: Record, place: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    try:
        at = datetime.fromisoformat(record.finished).timestamp()
    except (ValueError, OverflowError, OSError):  # no date, or none of this calendar
        at = 0.0
    points = [("loss", step, loss) for step, loss in record.loss_curve]
    points += [(f"score/{name}", record.steps or 0, value) for name, value in record.scores.items()]
    events = load_writer()(str(place))
    for tag, step, number in points:
        value = Summary.Value(tag=tag, simple_value=number)
        events.add_event(Event(wall_time=at, step=step, summary=Summary(value=[value])))
    events.close()
