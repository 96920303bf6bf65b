"""`watch RUN`: the progress of a run, read from its folder.

    OUT/run.json, OUT/cells/*.json  ->  RunWatcher.look()  ->  Snapshot  ->  lines() for a pipe, table() for a terminal

It talks to no process and takes no lock, so it also works on a copy of the folder or over a network file system.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.files import list_files
from harness.core.progress import format_time_left
from harness.core.record import Record
from harness.core.store import Store
from harness.core.stored_files import read_record
from harness.core.terminal import align_rows, escape_text, fit_table, limit_rows, make_text

if TYPE_CHECKING:
    from rich.console import Group

HEAD = ("task", "method", "done", "failed", "score", "points", "loss")
DROPPED = ("score", "loss")
"""Columns that a narrow terminal leaves out, the first of them first."""
Scores = Mapping[str, tuple[str, float]]
"""Record key -> name and value of the score that the report ranks by (points)."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one moment.

    title         title of the run
    total         number of cells of the run
    since         start of the latest command of the run (UTC)
    records       records of the run's cells that are stored, in the run's order
    unreadable    number of files that are not readable as records
    names         record key -> name of its method
    scores        record key -> name and value of its score
    is_open       whether looks of an automatic number of seeds may add cells
    """

    title: str
    total: int
    since: datetime
    records: tuple[Record, ...]
    unreadable: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)
    is_open: bool = False

    @property
    def finished(self) -> tuple[Record, ...]:
        """Records with a result, failures included; a cancelled cell runs again when the run resumes."""
        return tuple(r for r in self.records if r.status != "cancelled")

    @property
    def summary(self) -> str:
        """One line: cells done of the total, failures, unreadable files, time left."""
        status = Counter(r.status for r in self.records)
        status_counts = ", ".join(f"{n} {name}" for name, n in sorted(status.items()) if name != "ok")
        skipped = f"{self.unreadable} skipped, not readable as records" if self.unreadable else ""
        parts = [f"{len(self.finished)} of {self.total} cells done", status_counts, skipped, self.time_left]
        return "; ".join(part for part in parts if part)

    @property
    def time_left(self) -> str:
        """Estimated time left as text; '' when unknown. Uses the pace since the latest start of the run."""
        todo = self.total - len(self.finished)
        # cells of an earlier command would count the pause between the commands as training time
        ends = [end for r in self.finished if (end := datetime.fromisoformat(r.finished)) >= self.since]
        if not ends or not todo:
            return ""
        return format_time_left((max(ends) - self.since).total_seconds() / len(ends) * todo)

    def rows(self) -> list[tuple[str, ...]]:
        """One row per task and method: cells done, cells failed, the score with its mean in points, mean last loss."""
        groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in self.records:
            groups[record.cell.task, self.names.get(record.key, record.cell.title)].append(record)
        return [(*place, *_summarize_group(group, self.scores)) for place, group in groups.items()]

    def limit(self) -> tuple[list[Sequence[str]], str | None]:
        """The head and the rows that fit a screen, those with failures before others; and how many are left out."""
        return limit_rows([HEAD, *self.rows()], "the report", lambda row: bool(row[HEAD.index("failed")]))

    def lines(self) -> list[str]:
        """Title, summary and rows as plain text, for a pipe."""
        rows, caption = self.limit()
        return [escape_text(self.title), self.summary, *align_rows(rows), *([caption] if caption else [])]

    def table(self) -> Group:
        """Rows, progress bar and summary, for a terminal."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar

        rows, caption = self.limit()
        table = fit_table(rows, {0, 1, 4}, self.title, caption, drop=DROPPED)
        # rich divides by the total: a run without cells must not be 0
        bar = ProgressBar(max(1, self.total), len(self.finished), width=60)
        return Group(table, Padding(bar, 0), make_text(self.summary))


def _summarize_group(group: Sequence[Record], known: Scores) -> tuple[str, ...]:
    finished_records = [r for r in group if r.status != "cancelled"]
    scores = [known[r.key][1] for r in group if r.key in known]
    metrics = dict.fromkeys(known[r.key][0] for r in group if r.key in known)
    losses = [r.loss_curve[-1][1] for r in group if r.loss_curve]
    failed = sum(r.status in ("failed", "oom") for r in group)
    score, loss = (f"{statistics.fmean(v):.{n}f}" if v else "-" for v, n in ((scores, 1), (losses, 3)))
    return str(len(finished_records)), str(failed or ""), ", ".join(metrics) or "-", score, loss


def get_labels(records: Sequence[Record]) -> Mapping[str, str]:
    """Record key -> the method as written on the command line."""
    return {record.key: record.cell.label for record in records}


def get_first_metrics(records: Sequence[Record]) -> Scores:
    """Record key -> its first metric."""
    return {record.key: next(iter(record.scores.items())) for record in records if record.scores}


class RunWatcher:
    """Reads snapshots of a run's folder; writes nothing. A record is parsed again only if its file changed.

    `name_methods` maps records to method names by key; records with equal names share a row. `read_scores` gives the
    score of each record with its name.
    """

    def __init__(
        self,
        out: Path,
        name_methods: Callable[[Sequence[Record]], Mapping[str, str]] = get_labels,
        read_scores: Callable[[Sequence[Record]], Scores] = get_first_metrics,
    ) -> None:
        self.store, self.name_methods, self.read_scores = Store(out), name_methods, read_scores
        self.store.read_run()
        self.read: dict[Path, tuple[int, Record | None]] = {}

    def look(self) -> Snapshot:
        """The present state. Raises UserError if the folder holds no run."""
        run_info = self.store.read_run()
        read = {path.stem: self._read_cached(path) for path in list_files(self.store.cells, ".json")}
        records = [record for key in run_info["order"] if (record := read.get(key)) is not None]
        # each command of a run writes run.json when it starts
        since = datetime.fromtimestamp((self.store.out / "run.json").stat().st_mtime, UTC)
        return Snapshot(
            run_info["title"],
            len(run_info["order"]),
            since,
            tuple(records),
            sum(record is None for record in read.values()),
            self.name_methods(records),
            self.read_scores(records),
            run_info["auto"] is not None and not run_info["stopped"],
        )

    def _read_cached(self, path: Path) -> Record | None:
        """The record in a file; None if it is not readable as a record (the run itself will set it aside)."""
        try:
            mtime = path.stat().st_mtime_ns
        except OSError:
            return None
        # a run may have thousands of records of which a few change between two looks
        if self.read.get(path, (None, None))[0] != mtime:
            try:
                self.read[path] = mtime, read_record(path)
            except (OSError, ValueError):
                self.read[path] = mtime, None
        return self.read[path][1]


def follow(watched: RunWatcher, seconds: float) -> None:
    """Update a table on the terminal every `seconds` until each cell has a record; Ctrl-C ends it."""
    from rich.live import Live

    snapshot = watched.look()
    with Live(snapshot.table(), auto_refresh=False) as live:
        while len(snapshot.finished) < snapshot.total or snapshot.is_open:
            time.sleep(seconds)
            snapshot = watched.look()
            live.update(snapshot.table(), refresh=True)
