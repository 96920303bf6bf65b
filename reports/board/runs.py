"""The runs of a folder as the board lists them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import escape_path, list_files
from harness.core.record import Record
from harness.core.store import Store
from harness.core.stored_files import describe_damage, parse_record
from reports.cells import format_estimate
from reports.compare import find_coverage
from reports.frames import Grid, build_grids, build_method_names
from reports.statistics.ranking import estimate_overall, list_ranked_tasks


@dataclass(frozen=True)
class BoardRun:
    """One run. `names`: record key -> name of its method; `skipped`: files that are not readable as records.

    `cells` is how many the run has, finished or not. `best` is the method with the highest mean of each suite, with
    that mean as the report has it.
    """

    folder: Path
    title: str
    command: str
    date: str
    cells: int
    records: tuple[Record, ...]
    names: dict[str, str]
    best: tuple[str, ...]
    skipped: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def ok(self) -> int:
        return sum(record.status == "ok" for record in self.records)

    @property
    def failed(self) -> int:
        return sum(record.status in ("failed", "oom") for record in self.records)

    @property
    def suites(self) -> list[str]:
        return list(dict.fromkeys(record.cell.suite for record in self.records))

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(self.names.values()))

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(record.cell.model.name for record in self.records))

    @property
    def commits(self) -> list[str]:
        return list(dict.fromkeys(get_commit(record) for record in self.records))

    @property
    def report(self) -> Path | None:
        """Its HTML report, if it has one."""
        path = self.folder / "report" / "report.html"
        return path if path.is_file() else None


@dataclass(frozen=True)
class DamagedRun:
    """A folder of a run that cannot be read, and why."""

    folder: Path
    reason: str


def read_runs(folder: Path) -> tuple[list[BoardRun], list[DamagedRun]]:
    """The runs in the subfolders of a folder, the newest first, and those that cannot be read.

    A run that a link shows a second time counts once, under its own name. Raises UserError if there is neither.
    """
    if not folder.is_dir():
        raise UserError(f"{escape_path(folder)}: no such folder; give the folder that holds the folders of runs")
    if (folder / "run.json").exists():
        raise UserError(f"{escape_path(folder)} is a run; give the folder that holds it, such as {folder.parent}")
    runs, damaged = [], []
    # of a folder and links to it the folder itself comes first
    places = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: (path.is_symlink(), path))
    by_target = {path.resolve(): path for path in reversed(places)}
    for place in sorted(by_target.values()):
        # a folder without both is no run, such as the board itself
        if not (place / "run.json").exists() and not (place / "cells").is_dir():
            continue
        try:
            runs.append(read_board_run(place))
        except (UserError, OSError, ValueError) as error:
            reason = str(error) if isinstance(error, UserError) else describe_damage(error)
            damaged.append(DamagedRun(place, reason))
    if not runs and not damaged:
        raise UserError(f"{escape_path(folder)} holds no runs; give a folder with folders of `run`, e.g. results/runs")
    return sorted(runs, key=lambda run: run.date, reverse=True), damaged


def read_board_run(folder: Path) -> BoardRun:
    """A run from its folder; predictions are not read. Raises UserError, OSError and ValueError."""
    run_info = Store(folder).read_run()
    by_key: dict[str, Record] = {}
    skipped = 0
    for path in list_files(folder / "cells", ".json"):
        try:
            record = parse_record(path)
        except (OSError, ValueError, RecursionError):
            skipped += 1
            continue
        if record.key == path.stem == record.cell.key:
            by_key[record.key] = record
        else:
            skipped += 1
    records = tuple(by_key[key] for key in run_info["order"] if key in by_key)
    if not records:
        raise ValueError(f"none of its {len(run_info['order'])} cells has a readable record")
    date = max((record.finished for record in records), key=datetime.fromisoformat)
    return BoardRun(
        folder,
        run_info["title"],
        run_info["command"],
        datetime.fromisoformat(date).astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        len(run_info["order"]),
        records,
        build_method_names(records),
        tuple(_find_best(grid) for grid in build_grids(records)),
        skipped,
    )


def _find_best(grid: Grid) -> str:
    """'lorasp 84.2 ± 1.3', by the mean that the ranking of the report sorts by; '-' without scores."""
    cover = find_coverage(grid, grid.averages[0])
    tasks = list_ranked_tasks(grid, cover)
    means = {m: estimate for m in grid.methods if tasks and (estimate := estimate_overall(grid, m, cover))}
    if not means:
        return "-"
    best = max(means, key=lambda method: means[method].mean)
    return f"{best} {format_estimate(means[best])}"


def get_commit(record: Record) -> str:
    """The commit that trained a cell, shortened; 'unknown' without one."""
    commit = record.environment.commit if record.environment else None
    if not commit:
        return "unknown"
    digits, plus, rest = commit.partition("+")
    return f"{digits[:10]}{plus}{rest}"


def get_version(record: Record) -> str:
    """The version of the harness that trained a cell."""
    return record.environment.harness if record.environment else ""
