"""XNLI by language family: accuracy in a family's languages less that in English, of the same run.

    drop [seeds]             mean over the family's languages of (accuracy - accuracy in English)
    units [examples, seeds]  the same of each example, which is one unit in all of its translations

Families, and of the Indo-European languages their branches.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.compare import collect_metric
from reports.frames import Grid, Seeds, get_seeds
from reports.statistics.crossed import estimate_crossed, estimate_example_variance
from reports.statistics.evidence import Evidence
from reports.statistics.examples import SplitPredictions
from reports.statistics.shared_seeds import estimate_over_seeds, is_crossed
from reports.statistics.student import Student

SUITE, METRIC, ENGLISH = "xnli", "accuracy_", "accuracy_en"
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "Germanic": ("de",),
    "Romance": ("es", "fr"),
    "Slavic": ("bg", "ru"),
    "Greek": ("el",),
    "Indo-Aryan": ("hi", "ur"),
    "Afro-Asiatic": ("ar",),
    "Turkic": ("tr",),
    "Atlantic-Congo": ("sw",),
    "Austroasiatic": ("vi",),
    "Tai-Kadai": ("th",),
    "Sino-Tibetan": ("zh",),
}
ALL = "all but English"
GROUPS: Mapping[str, tuple[str, ...]] = {**FAMILIES, ALL: tuple(code for codes in FAMILIES.values() for code in codes)}
"""The families, and all of their languages together."""


@dataclass(frozen=True)
class LanguageGap:
    """Points of a group of languages less those of English: the mean over `runs` seeds, with its `estimate`.

    `has_examples`: the estimate holds for new seeds and new examples, the translations of an example being drawn
    together; else for new seeds.
    """

    mean: float
    runs: int
    estimate: Student | None
    has_examples: bool


def build_language_rows(grid: Grid, found: Mapping[str, Evidence | str], baseline: str) -> list[dict[str, Any]]:
    """One row per task, family and method, then one per task and method for all languages; [] of another suite.

    `drop` in points with `low` and `high`; `excess`, with its interval, is the drop less that of the baseline on the
    same seeds. Intervals are for new seeds and new examples (`drop_examples`: true) where predictions are stored, the
    translations of an example being drawn together; else for new seeds.
    """
    if grid.suite != SUITE:
        return []
    rows = []
    for task in grid.tasks:
        evidence = found.get(task, "")
        for family, codes in GROUPS.items():
            for method in grid.methods:
                drops = _collect_drops(grid, task, method, codes)
                if not drops:
                    continue
                place = {"suite": SUITE, "task": task, "family": family, "languages": " ".join(codes), "method": method}
                drop = _estimate_gap(drops, _collect_units(grid, task, method, codes, evidence))
                row = place | {"asked": len(grid.of(task, method))} | _describe("drop", drop)
                if method != baseline:
                    row |= _describe("excess", estimate_excess(grid, task, method, baseline, codes, evidence))
                rows.append(row)
    return rows


def estimate_excess(
    grid: Grid, task: str, method: str, baseline: str, codes: Sequence[str], evidence: Evidence | str
) -> LanguageGap | None:
    """The drop of a method from English to these languages less that of the baseline, on the seeds that both have.

    Negative where the method loses more than the baseline. None without such seeds.
    """
    drops, reference = (_collect_drops(grid, task, name, codes) for name in (method, baseline))
    common = {seeds: drop - reference[seeds] for seeds, drop in drops.items() if seeds in reference}
    units, other = (_collect_units(grid, task, name, codes, evidence) for name in (method, baseline))
    return _estimate_gap(common, {seeds: units[seeds] - other[seeds] for seeds in units if seeds in other})


def _collect_drops(grid: Grid, task: str, method: str, codes: Sequence[str]) -> dict[Seeds, float]:
    """Seeds -> the drop in points of the runs that are scored in English and in all of `codes`."""
    english = collect_metric(grid, task, method, ENGLISH)
    languages = [collect_metric(grid, task, method, METRIC + code) for code in codes]
    common = [seeds for seeds in english if all(seeds in scores for scores in languages)]
    return {seeds: statistics.fmean(scores[seeds] for scores in languages) - english[seeds] for seeds in common}


def _collect_units(
    grid: Grid, task: str, method: str, codes: Sequence[str], evidence: Evidence | str
) -> dict[Seeds, Any]:
    """Seeds -> the drop of each example [units] in points; {} where examples are not the same in all languages."""
    import numpy as np

    if isinstance(evidence, str):
        return {}
    splits = {split.name.removeprefix("validation_"): split for split in evidence.examples.splits}
    if not {"en", *codes} <= set(splits):
        return {}
    chosen = [splits[code] for code in ("en", *codes)]
    if any(not np.array_equal(np.sort(split.units), np.sort(chosen[0].units)) for split in chosen):
        return {}
    units = {}
    for record in grid.of(task, method):
        row = evidence.examples.rows.get(record.key)
        if row is not None:
            english, *others = (_score_units(split, row) for split in chosen)
            units[get_seeds(record)] = 100.0 * (np.mean(others, axis=0) - english)
    return units


def _score_units(split: SplitPredictions, row: int) -> Any:
    """Whether each example is right [units], in the order of the units."""
    import numpy as np

    order = np.argsort(split.units)
    return (split.predictions[row] == split.targets)[order].astype(float)


def _estimate_gap(gaps: Mapping[Seeds, float], units: Mapping[Seeds, Any]) -> LanguageGap | None:
    """From `gaps` by seed, and of each seed the same by example [units]; None of no seed."""
    import numpy as np

    if not gaps:
        return None
    mean, estimate = statistics.fmean(gaps.values()), estimate_over_seeds(gaps)
    if len(gaps) > 1 and set(units) >= set(gaps):
        values = np.stack([units[seeds] for seeds in gaps], axis=1)
        count = len(values)
        # influences of a mean over units; G / (G - 1) for the variance
        influences = (values - values.mean(axis=0)) / count * math.sqrt(count / max(1, count - 1))
        shared = estimate if is_crossed(gaps) else None
        variance = estimate_example_variance(influences)
        crossed = estimate_crossed(list(gaps.values()), variance, count, shared)
        if crossed is not None:
            return LanguageGap(mean, len(gaps), crossed.both, True)
    return LanguageGap(mean, len(gaps), estimate, False)


def _describe(name: str, gap: LanguageGap | None) -> dict[str, Any]:
    estimate = gap.estimate if gap else None
    return {
        name: gap.mean if gap else None,
        f"{name}_low": estimate.low if estimate else None,
        f"{name}_high": estimate.high if estimate else None,
        f"{name}_runs": gap.runs if gap else 0,
        f"{name}_examples": gap is not None and gap.has_examples,
    }
