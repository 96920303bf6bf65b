"""The top of a study's report, and the whole of one that trains nothing."""

from __future__ import annotations

import dataclasses

from reports.document import Findings, Report, Table
from studies.answer import Answer
from studies.study import Study


def findings(study: Study, answer: Answer, stand_in: bool, ordinary: Findings) -> Findings:
    """Question, claim, verdict and evidence over the ordinary findings."""
    sentences = [study.stand_in] if stand_in else []
    sentences += [
        f"Question: {study.question}",
        f"Claim tested ({study.origin} of arXiv 2403.08822): {study.claim}",
        f"Verdict: {answer.kind}. {answer.sentence}",
        f"What that means: {study.answers[answer.kind]}",
    ]
    notes = [*answer.notes, *study.notes]
    evidence = ("Evidence of the study", answer.rows, notes)
    tables = [evidence] if answer.rows else []
    return dataclasses.replace(
        ordinary, sentences=[*sentences, *ordinary.sentences], tables=[*tables, *ordinary.tables]
    )


def page(study: Study, found: Findings, command: str) -> Report:
    """A report without cells."""
    return Report(
        title=f"study {study.name}",
        command=command,
        facts=["Nothing was trained for this report."],
        dropped=[],
        summary=found.sentences,
        extra=[Table.of(*extra) for extra in found.tables],
        sections=[],
        runs=Table("Every run", ("key",), []),
    )
