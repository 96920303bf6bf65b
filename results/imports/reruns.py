"""Runs of one row that were made again: how far its score moves, and how from one software to the next."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from results.imports.base import ImportedRow
from results.imports.settings import (
    SOFTWARE,
    describe_changed_settings,
    describe_software,
    find_changed_settings,
    shares_setup,
)


@dataclasses.dataclass(frozen=True)
class Reruns:
    """The scored runs of one row in the order of time, and those of them with the settings of the latest."""

    name: str
    runs: Sequence[ImportedRow]

    @property
    def latest(self) -> ImportedRow:
        return self.runs[-1]

    @property
    def alike(self) -> list[ImportedRow]:
        return [run for run in self.runs if not find_changed_settings(run, self.latest)]

    @property
    def changed(self) -> str:
        """The settings in which earlier runs differ from the latest."""
        texts = [describe_changed_settings(find_changed_settings(run, self.latest)) for run in self.runs]
        return "; ".join(dict.fromkeys(filter(None, texts)))


def group_runs(rows: Sequence[ImportedRow]) -> list[Reruns]:
    """The rows of one benchmark that have a score, by their names."""
    runs: dict[str, list[ImportedRow]] = {}
    for row in sorted(rows, key=lambda row: row.provenance.created):
        if row.score is not None:
            runs.setdefault(row.name, []).append(row)
    return [Reruns(name, runs[name]) for name in sorted(runs)]


def compute_range(runs: Sequence[ImportedRow], scale: float) -> float:
    """Highest score less the lowest, times `scale`."""
    scores = [run.score for run in runs if run.score is not None]
    return scale * (max(scores) - min(scores))


def list_reruns(groups: Sequence[Reruns], scale: float) -> list[dict[str, Any]]:
    """One table row per row that has two or more runs of the same settings, the largest range first."""
    table = []
    for group in groups:
        runs = group.alike
        if len(group.runs) < 2:
            continue
        scores = [scale * (run.score or 0.0) for run in runs]
        table.append(
            {
                "row": group.name,
                "runs": len(runs),
                "first": runs[0].provenance.created[:10],
                "last": runs[-1].provenance.created[:10],
                "lowest": min(scores),
                "highest": max(scores),
                "range": max(scores) - min(scores),
                "left out: other settings": group.changed or "-",
            }
        )
    return sorted(table, key=lambda one: -float(one["range"]))


def list_steps(groups: Sequence[Reruns], scale: float) -> list[dict[str, Any]]:
    """One table row per change of software: how scores of unchanged settings move from one run to the next."""
    moves: dict[tuple[str, str], list[float]] = {}
    for group in groups:
        for before, after in zip(group.runs, group.runs[1:], strict=False):
            if before.score is None or after.score is None or find_changed_settings(before, after):
                continue
            steps = moves.setdefault((describe_software(before), describe_software(after)), [])
            steps.append(scale * (after.score - before.score))
    return [_describe_step(software, steps) for software, steps in moves.items()]


def _describe_step(software: tuple[str, str], steps: Sequence[float]) -> dict[str, Any]:
    before, after = software
    return {
        "from": before,
        "to": "the same" if after == before else after,
        "pairs of runs": len(steps),
        "mean change": statistics.fmean(steps),
        "SD": statistics.stdev(steps) if len(steps) > 1 else None,
        "lowest": min(steps),
        "highest": max(steps),
        "lower": sum(step < 0 for step in steps),
        "higher": sum(step > 0 for step in steps),
    }


def describe_reruns(groups: Sequence[Reruns], steps: Sequence[Mapping[str, Any]], scale: float, unit: str) -> list[str]:
    """Sentences about the runs that were made again."""
    again = [group for group in groups if len(group.alike) > 1]
    if not again:
        return ["No row has two runs of the same settings, so the files do not show how far a score moves by itself."]
    ranges = {group.name: compute_range(group.alike, scale) for group in again}
    widest = max(ranges, key=lambda name: ranges[name])
    sentences = [
        f"{len(again)} of {len(groups)} rows were run again with unchanged settings and seed: one row moves by up to "
        f"{ranges[widest]:.2f} {unit} ({widest}), in the median by {statistics.median(ranges.values()):.2f}."
    ]
    same = [one for one in steps if one["to"] == "the same"]
    if same:
        largest = max(max(abs(one["lowest"]), abs(one["highest"])) for one in same)
        count = sum(one["pairs of runs"] for one in same)
        sentences.append(
            f"Also with unchanged {' and '.join(SOFTWARE)} (other packages may differ) a run moves by up to "
            f"{largest:.2f} {unit} from the one before ({count} pairs of runs)."
        )
    # a few rows may fall together by chance
    shifts = [one for one in steps if one["to"] != "the same" and one["pairs of runs"] >= 5]
    if shifts:
        most = max(shifts, key=lambda one: abs(one["mean change"]))
        sentences.append(
            f"From {most['from']} to {most['to']} {most['lower']} of {most['pairs of runs']} rows with unchanged "
            f"settings fall and {most['higher']} rise, by {most['mean change']:+.2f} {unit} in the mean: "
            "scores of different software are not comparable."
        )
    return sentences


def find_partner(row: ImportedRow, runs: Sequence[ImportedRow]) -> ImportedRow | None:
    """The latest of `runs` with the model, software and hardware of a row."""
    return next((run for run in reversed(runs) if shares_setup(row, run)), None)
