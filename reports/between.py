"""`--between A,B`: the two sides of a comparison, METHOD or METHOD@SEED, found among the records of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.record import Record
from reports.compare import find_common_seeds
from reports.frames import Seeds, build_method_names, format_seeds, get_seeds
from reports.statistics.changed_examples import Side
from reports.statistics.comparable import check_comparable

FORM = "--between METHOD,METHOD or METHOD@SEED,METHOD@SEED, e.g. lora,lorasp or lora@0,lora@1"


def pair_sides(records: Sequence[Record], between: str, task: str) -> tuple[Side, Side, tuple[str, ...]]:
    """Both sides with their runs paired by seed, and the name of each pair.

    `records` are those of the run's tasks; only runs of `task` with a score are used. Raises UserError for a name that
    is unknown or fits several methods, for sides without a seed in common, and for cells that cannot be compared.
    """
    tasks = dict.fromkeys(record.cell.task for record in records)
    if task not in tasks:
        raise build_unknown_error("task of this run", task, tasks)
    names = build_method_names(records)
    scored = [record for record in records if record.cell.task == task and record.status == "ok"]
    if not scored:
        raise UserError(f"no cell of {task} has a score; run its command again with --retry")
    suites = dict.fromkeys(record.cell.suite for record in scored)
    if len(suites) > 1:
        raise UserError(f"--task {task}: it is a task of {' and '.join(suites)}; give a run with one of them")
    # a user writes what a report or the command line shows; both may differ from the label
    groups = _group_by_spelling(scored, names)
    first, second = _split_between(between, groups)
    sides = [_find_side(groups, text) for text in (first, second)]
    (before, before_seed), (after, after_seed) = sides
    if (before_seed is None) != (after_seed is None):
        raise UserError(f"--between {shorten(between)}: a seed on one side only; allowed: {FORM}")
    check_comparable([*before.values(), *after.values()], f"{first} against {second}")
    if before_seed is not None and after_seed is not None:
        chosen = (_find_seed(before, first, before_seed),), (_find_seed(after, second, after_seed),)
        if chosen[0][0].key == chosen[1][0].key:
            raise UserError(f"--between {shorten(between)}: both sides are the same run; allowed: {FORM}")
        return Side(first, chosen[0]), Side(second, chosen[1]), (f"{before_seed} to {after_seed}",)
    # a title and a label may name the same runs
    if {r.key for r in before.values()} & {r.key for r in after.values()}:
        raise UserError(f"--between {shorten(between)}: both sides are the same method; allowed: {FORM}")
    paired = pair_runs((first, before.values()), (second, after.values()))
    if paired is None:
        raise UserError(
            f"--between {shorten(between)}: no seed on {task} has a score on both sides; name two runs: METHOD@SEED,..."
        )
    return paired


def pair_runs(
    before: tuple[str, Iterable[Record]], after: tuple[str, Iterable[Record]]
) -> tuple[Side, Side, tuple[str, ...]] | None:
    """Two methods, each its name and its runs on one task, paired by seed; None if no seed has a score on both sides.

    The third value names the seeds of each pair.
    """
    runs_before, runs_after = _select_scored_runs(before[1]), _select_scored_runs(after[1])
    shared = find_common_seeds([runs_before, runs_after])
    if not shared:
        return None
    first = Side(before[0], tuple(runs_before[seeds] for seeds in shared))
    second = Side(after[0], tuple(runs_after[seeds] for seeds in shared))
    return first, second, tuple(format_seeds(record.cell.seeds) for record in first.records)


Runs = dict[Seeds, Record]


def _select_scored_runs(records: Iterable[Record]) -> Runs:
    return {get_seeds(record): record for record in records if record.status == "ok"}


def _group_by_spelling(records: Sequence[Record], names: Mapping[str, str]) -> dict[str, dict[str, Runs]]:
    """What a user may write -> name in the report -> runs by seeds."""
    groups: dict[str, dict[str, Runs]] = {}
    for record in records:
        name = names[record.key]
        for spelling in dict.fromkeys((name, record.cell.title, record.cell.label)):
            groups.setdefault(spelling, {}).setdefault(name, {})[get_seeds(record)] = record
    return groups


def _split_between(between: str, groups: Mapping[str, object]) -> tuple[str, str]:
    """The two sides; a comma may also stand between the options of a method. Raises UserError."""
    # options have commas too: of all places to split at, the one with a known name on both sides is meant
    parts = between.split(",")
    splits = [(",".join(parts[:n]).strip(), ",".join(parts[n:]).strip()) for n in range(1, len(parts))]
    if not splits:
        raise UserError(f"--between {shorten(between)}: one side only; allowed: {FORM}")
    for first, second in splits:
        if _strip_seed(first, groups) in groups and _strip_seed(second, groups) in groups:
            return first, second
    # no split fits: the error is about the first side that is unknown, where one side is known
    for first, second in splits:
        for known, unknown in ((first, second), (second, first)):
            if _strip_seed(known, groups) in groups:
                raise build_unknown_error("method of this run", _strip_seed(unknown, groups), groups)
    raise build_unknown_error("method of this run", _strip_seed(splits[0][0], groups), groups)


def _strip_seed(text: str, groups: Mapping[str, object]) -> str:
    # a name in the report may hold an @ of its own (a model's revision)
    return text if text in groups else text.rpartition("@")[0] or text


def _find_side(groups: Mapping[str, Mapping[str, Runs]], text: str) -> tuple[Runs, str | None]:
    """The runs of one side, and the seed that it names. Raises UserError for a name that fits several methods."""
    spelling = _strip_seed(text, groups)
    matches = groups[spelling]
    if spelling not in matches and len(matches) > 1:
        raise UserError(f"--between: '{spelling}' fits {len(matches)} methods; give one of {'; '.join(matches)}")
    runs = matches[spelling] if spelling in matches else next(iter(matches.values()))
    return runs, text.rpartition("@")[2] if spelling != text else None


def _find_seed(runs: Runs, side: str, seed: str) -> Record:
    by_name = {format_seeds(record.cell.seeds): record for record in runs.values()}
    if seed not in by_name:
        raise build_unknown_error(f"seed in --between {shorten(side)}:", seed, by_name)
    return by_name[seed]
