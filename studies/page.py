"""The top of a study's report, and the whole report of a study that trains nothing."""

from __future__ import annotations

import dataclasses

from reports.document import Findings, Report, Section, Table
from studies.answer import Answer, StudyRuns
from studies.study import Study
from studies.surface.plot import draw_figures

LATE_MARGIN_NOTE = "The margin was named after there were results (post hoc): the verdict is exploratory."


def build_findings(study: Study, answer: Answer, seen: StudyRuns, ordinary: Findings) -> Findings:
    """Question, claim, verdict and evidence above the ordinary findings."""
    # Before anything else: a verdict on synthetic data must not be read as one about the paper.
    sentences = [study.stand_in] if seen.stand_in else []
    sentences += [
        f"Question: {study.question}",
        f"Claim tested ({study.origin} of arXiv 2403.08822): {study.claim}",
        f"Verdict: {answer.kind}. {answer.sentence}",
        *([LATE_MARGIN_NOTE] if seen.late and study.margin is not None else []),
        f"Meaning: {study.answers[answer.kind]}",
    ]
    quick = study.cut and any(r.cell.preset == "quick" for r in seen.records)
    notes = [*answer.notes, *study.notes, *([study.cut] if quick else [])]
    evidence = ("Evidence of the study", answer.rows, notes, "evidence")
    tables = [*([evidence] if answer.rows else []), *answer.tables]
    return dataclasses.replace(ordinary, lead=sentences, tables=[*tables, *ordinary.tables])


def build_page(study: Study, answer: Answer, found: Findings, command: str) -> Report:
    """The report of a study without cells, or of one that is judged by a table of runs."""
    runs = answer.runs
    facts = "Nothing was trained for this report." if runs is None else f"{len(runs):,} runs; surface.parquet has them."
    return Report(
        title=f"study {study.name}",
        command=command,
        facts=[facts],
        dropped=[],
        summary=found.sentences,
        lead=found.lead,
        extra=[Table.of(*extra) for extra in found.tables],
        sections=[] if runs is None else [Section("Scores over rates", [], draw_figures(runs))],
        runs=Table("Every run", ("key",), []),
    )
