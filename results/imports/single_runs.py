"""The report of rows that are one run each and store no answers: what their scores can and cannot show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.core.text import count_noun
from reports.cells import format_p
from reports.document import Rows, Section
from reports.statistics.proportions import compute_detectable_points
from results.imports.base import Content, ImportedRow
from results.imports.compared import Compared, compare_rows, count_right, get_rate
from results.imports.reruns import Reruns, describe_reruns, group_runs, list_reruns, list_steps
from results.imports.settings import flatten_settings
from results.imports.single_run_tables import build_tables, flatten_comparison, flatten_row


def describe_runs(rows: Sequence[ImportedRow], baselines: Mapping[str, str]) -> Content:
    """One section per benchmark; `baselines`: benchmark -> the name of the row that others are compared with."""
    sentences: list[str] = []
    sections = []
    flat: dict[str, Rows] = {"rows": [flatten_row(row) for row in rows]}
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        own_rows = [row for row in rows if row.benchmark == benchmark]
        groups = group_runs(own_rows)
        compared = compare_rows(groups, baselines[benchmark])
        scale, unit = (100.0, "points") if own_rows[0].questions else (1.0, "units")
        steps = list_steps(groups, scale)
        said = [
            *_describe_seeds(own_rows, groups),
            *_describe_tests(compared, baselines[benchmark]),
            *describe_reruns(groups, steps, scale, unit),
            *_describe_settings(compared),
        ]
        sentences += [f"{benchmark}: {sentence}" for sentence in said]
        reruns = list_reruns(groups, scale)
        sections.append(Section(benchmark, build_tables(own_rows, compared, reruns, steps), {}))
        flat["comparisons"] = [*flat.get("comparisons", ()), *map(flatten_comparison, compared)]
        flat["reruns"] = [*flat.get("reruns", ()), *({"benchmark": benchmark, **one} for one in reruns)]
        flat["software"] = [*flat.get("software", ()), *({"benchmark": benchmark, **one} for one in steps)]
    return Content(sentences, sections, flat)


def _describe_seeds(rows: Sequence[ImportedRow], groups: Sequence[Reruns]) -> list[str]:
    seeds = Counter(str(flatten_settings(row.settings).get("train_config.seed", "unknown")) for row in rows)
    failed = sum(row.status != "ok" for row in rows)
    lines = [
        f"{count_noun(len(groups), 'row')}, {count_noun(len(rows), 'run')}"
        + (f", {failed} without a score" if failed else "")
        + "."
    ]
    if len(seeds) == 1:
        lines.append(
            f"Every run has seed {next(iter(seeds))}: no score has a spread over seeds, so none holds for new seeds."
        )
    return lines


def _describe_tests(compared: Sequence[Compared], baseline: str) -> list[str]:
    tested = [one for one in compared if one.difference is not None]
    base = next((one.row for one in compared if one.row.name == baseline), None)
    if base is None:
        return [f"No row is called {baseline}, so none is compared; --baseline names another one."]
    if base.questions is None:
        differing = [one.points for one in compared if one.points is not None]
        higher = sum(points > 0 for points in differing)
        return [
            f"{higher} of {len(differing)} rows are above {baseline} ({base.score:.3f}); no test is possible, for the "
            "score is a mean over a few images, whose values are not in the files."
        ]
    if not tested or base.score is None:
        return [f"No row can be tested against {baseline}."]
    above = [one for one in tested if one.difference and one.difference.points > 0]
    # rows that were not run again are compared with the baseline of their time
    is_old = any(one.partner is not base for one in tested)
    earlier = "; older rows against its run of the same software" if is_old else ""
    lines = [
        f"{len(above)} of {len(tested)} rows are above {baseline} ({100 * base.score:.1f} %, {count_right(base):,} of "
        f"{base.questions:,} questions{earlier}). Unpaired test of two shares: {_count_passing(above)}.",
        f"With {base.questions:,} questions this test finds a difference of "
        f"{compute_detectable_points(base.score, base.questions):.1f} points with 80 % power.",
        "The files have no answers to single questions, so the paired test (McNemar), which would be more sensitive "
        "where the same questions are hard for both rows, is not possible.",
    ]
    if not_tested := [one for one in compared if one.difference is None and one.row.name != baseline]:
        lines.append(f"{count_noun(len(not_tested), 'row')} not tested: see the column 'note'.")
    return lines


def _count_passing(above: Sequence[Compared]) -> str:
    """How many of the rows above pass without and with correction."""
    passing = [one for one in above if one.difference and one.difference.p < 0.05]
    corrected = [one for one in passing if one.adjusted_p is not None and one.adjusted_p < 0.05]
    names = ", ".join(
        f"{one.row.name}, {one.difference.points:+.1f}, p = {format_p(one.difference.p)}, adjusted "
        f"{format_p(one.adjusted_p)}"
        for one in passing[:3]
        if one.difference
    )
    return f"{len(passing)} of them with p < 0.05{f' ({names})' if names else ''}, {len(corrected)} after Holm"


def _describe_settings(compared: Sequence[Compared]) -> list[str]:
    rates = Counter(str(get_rate(one.row)) for one in compared)
    if len(rates) < 2:
        return []
    return [
        f"Rows differ in their learning rate ({len(rates)} values, {rates.most_common(1)[0][0]} in "
        f"{rates.most_common(1)[0][1]} of {len(compared)} rows) and the files do not say how each was chosen: they "
        "compare configurations, not methods."
    ]
