"""Answers from stored studies and plain runs, by which the claims are judged.

folder with study.json -> its stored answer | folder with run.json only -> the rules judge its records now
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.cell import format_label
from harness.core.errors import UserError
from harness.core.profile import Profile
from harness.core.record import Record
from harness.core.store import Store, truncate_lines
from harness.core.terminal import print_lines
from harness.planning.grammar import parse_methods
from harness.runner.run import load_run as stored_run
from studies import stored
from studies.answer import StudyRuns
from studies.fresh_seeds import FreshRecords, select_fresh_records
from studies.rulebook import judge_study
from studies.specs import list_strategies
from studies.study import Study, load_study

if TYPE_CHECKING:
    from reports.statistics.analysis import Analysis

PLAIN_RUN_RULES = frozenset({"compared", "contrast", "gaps", "memory", "streams"})
"""Rules that can judge a run that no study made."""
EXACT_RULES = frozenset({"accounting", "scaling"})
"""Rules that answer by counting, without a run."""
PACKED_CELLS = "cells.tar.xz"
"""A run's cells as scripts/pack_reference.py packs them."""
ContentsByStudy = Mapping[str, Sequence[Mapping[str, Any]]]


def collect_contents(roots: Sequence[Path], *, named: bool) -> ContentsByStudy:
    """Study (or study/suite) -> its answers. A root is the folder of a run or study, or a folder of such folders.

    In a folder of folders the newest of each study, preset and backbone counts; unreadable ones are skipped, noted.
    Raises UserError for a root that the user `named` and that has no results.
    """
    by_study: dict[str, list[Mapping[str, Any]]] = {}
    visited: set[Path] = set()
    for root in roots:
        is_single = _has_results(root)
        folders = [root] if is_single else sorted(path for path in root.glob("*") if _has_results(path))
        if named and not folders:
            problem = f"--runs {root}: no run and no study there; give folders of `run` or `study`, or their parent"
            raise UserError(problem + _suggest_unpacking(root))
        # A folder may be named twice, directly and as part of its parent; it must count once.
        fresh = [folder for folder in folders if folder.resolve() not in visited]
        visited |= {folder.resolve() for folder in fresh}
        for content in _select_newest(_read_contents(fresh, is_single)):
            by_study.setdefault(content["study"], []).append(content)
    return by_study


def add_exact_contents(by_study: ContentsByStudy) -> ContentsByStudy:
    """The answers, with those of studies that count and need no run, where no stored one has them."""
    added = dict(by_study)
    for name in dict.fromkeys(claim.get("study") for claim in load_study("claims").options["claims"]):
        study = load_study(name) if name else None
        if study is None or study.rule not in EXACT_RULES or name in added:
            continue
        nothing = StudyRuns()
        content = stored.build_content(study, judge_study(study, nothing), nothing, "exact", "")
        added[name] = [content | {"folder": "counted here"}]
    return added


def _suggest_unpacking(root: Path) -> str:
    """The end of an error: how to unpack the packed run at or in `root`; '' where there is none."""
    # Reference runs ship packed, so the folder that a user names first may hold only the archive.
    packed = next((path.parent for path in (*root.glob(PACKED_CELLS), *root.glob(f"*/{PACKED_CELLS}"))), None)
    return f", unpacked: python -m scripts.pack_reference --unpack {packed} RUN" if packed else ""


def _has_results(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (stored.FILE, "run.json"))


def _read_contents(folders: Sequence[Path], named: bool) -> Iterator[Mapping[str, Any]]:
    for folder in folders:
        try:
            if not (folder / stored.FILE).is_file():
                yield from judge_run(folder)
                continue
            content = stored.read_content(folder)
            stored.load_answer(content)
        except (UserError, LookupError, TypeError) as error:
            # The user asked for this folder, so skipping it silently would change the verdict.
            if named:
                raise UserError(f"--runs {folder}: {error}") from error
            print_lines([f"{folder}: skipped: {error}"], sys.stderr)
            continue
        yield content | {"folder": str(folder), "stamp": (folder / stored.FILE).stat().st_mtime}


def _select_newest(contents: Iterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest answer of each study, preset and backbone; all plain runs."""
    newest: dict[tuple[object, ...], Mapping[str, Any]] = {}
    for content in contents:
        # Plain runs have no stamp: each is evidence of its own, so the folder keeps them apart.
        folder_key = (content["folder"],) if "stamp" not in content else ()
        key = (content["study"], content["preset"], tuple(content.get("models", ())), folder_key)
        if key not in newest or newest[key]["stamp"] < content["stamp"]:
            newest[key] = content
    return list(newest.values())


# ---------------------------------------------------------------- runs that no study made


def judge_run(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The answers of each study that the claims name and that the run has the cells for. Raises UserError."""
    command = str(Store(folder).read_run()["command"])
    run = load_plain_run(folder)
    places = dict.fromkeys((c["study"], c.get("suite")) for c in load_study("claims").options["claims"] if "study" in c)
    # A study is judged once per suite that a claim asks about.
    for name, suite in places:
        study = load_study(name)
        if study.rule not in PLAIN_RUN_RULES or not (selection := select_study_runs(study, run, suite)):
            continue
        answer = judge_study(study, selection)
        if answer.parts:
            content = stored.build_content(study, answer, selection, selection.records[0].cell.preset, command)
            key = f"{name}/{suite}" if suite else name
            yield content | {"study": key, "folder": str(folder), "plain": True}


def load_plain_run(folder: Path) -> StudyRuns:
    """The records and profiles of a run; where methods have several learning rates, each at its chosen one.

    Raises UserError where the run cannot be read, or where nothing can choose the rates.
    """
    records, profiles, skipped = stored_run(folder)
    print_lines(truncate_lines(skipped), sys.stderr)
    run = build_study_runs(folder, select_fresh_records(records), profiles)
    return dataclasses.replace(run, run=_analyse_run(run))


def build_study_runs(folder: Path, fresh: FreshRecords, profiles: Sequence[Profile]) -> StudyRuns:
    """The records and profiles of a folder, at the margin that its run.json names. Raises UserError."""
    store = Store(folder)
    info = store.read_run()
    margin, late = info.get("margin"), bool(info.get("margin_late"))
    kept = tuple(profiles)
    return StudyRuns(fresh.records, kept, None, margin, store.cells, late, best=fresh.best, choice=fresh.note)


def load_runs_of_study(study: Study, folder: Path) -> StudyRuns:
    """The cells of a stored run that a study can judge. Raises UserError where there are none."""
    if not (folder / "run.json").is_file():
        raise UserError(f"--runs {folder}: no run there; give the folder of a `run`{_suggest_unpacking(folder)}")
    selection = select_study_runs(study, load_plain_run(folder))
    if selection is None:
        suite, methods = (study.grids[0][name] for name in ("suite", "methods"))
        raise UserError(
            f"--runs {folder}: it has no cells that study {study.name} can compare; it needs suite {suite} with methods"
            f" such as {methods}, trained alike"
        )
    return selection


def _analyse_run(run: StudyRuns) -> Analysis | None:
    """All comparisons of the run's own report; None where its cells must not be compared."""
    from reports.statistics.analysis import analyse

    try:
        return analyse(run.records, run.profiles, margin=run.margin, cells=run.cells, late=run.late)
    except UserError:
        return None


def select_study_runs(study: Study, run: StudyRuns, suite: str | None = None) -> StudyRuns | None:
    """The run's records of the study's methods, in the study's order, at the run's margin or else the study's.

    None where it has none, or none that may be compared.
    """
    from reports.statistics.analysis import analyse

    records = select_records(study, run.records, suite or str(study.grids[0]["suite"]))
    if study.rule == "contrast":
        # places of another task would be other places, and metrics of another task would replace these
        tasks = {task for grid in study.grids for task in str(grid["tasks"]).split(",")}
        records = [r for r in records if r.cell.task in tasks]
    selection = dataclasses.replace(run, records=records, margin=run.margin or study.margin)
    if study.rule != "compared" or len({_get_way(r) for r in records}) < 2:
        return selection if records else None
    try:
        study_analysis = analyse(records, run.profiles, margin=selection.margin, cells=run.cells, late=run.late)
    except UserError:
        # The cells differ in protocol, model or data.
        return None
    return dataclasses.replace(selection, analysis=study_analysis)


def select_records(study: Study, records: Sequence[Record], suite: str) -> list[Record]:
    """Records of the study's methods and quantization types; the first method, the reference, comes first."""
    ways = list(dict.fromkeys(way for grid in study.grids for way in _list_ways(grid)))
    matching = [r for r in records if r.cell.suite == suite and _get_way(r) in ways]
    return sorted(matching, key=lambda r: ways.index(_get_way(r)))


def _get_way(record: Record) -> tuple[str, str, str]:
    return record.cell.label, record.cell.quantize, record.cell.recompute


def _list_ways(grid: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    methods = str(grid["methods"]).replace("EVERY", "|".join(list_strategies()))
    quantizations = str(grid.get("quantize", "none")).split(",")
    recomputes = str(grid.get("recompute", "none")).split(",")
    for call in parse_methods(methods):
        label = format_label(call.method.name, call.method.options())
        yield from itertools.product((label,), quantizations, recomputes)
