"""The report of evaluations with stored answers: each model against the baseline on the same questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.text import count_noun
from reports.cells import format_p
from reports.document import Rows, Section, Table
from reports.statistics.holm import apply_holm
from results.imports.alignment import PairedTask, compare_rows, count_common
from results.imports.base import AnsweredRows, Content, ImportedRow
from results.imports.evaluations import Evaluation, group_evaluations
from results.imports.settings import describe_changed_settings, find_changed_settings

MODEL_FIELDS = frozenset({"model", "model_args", "batch_size", "random_seed", "fewshot_seed", "task_hash"})
"""Settings that name the model, or whose effect shows in the prompts."""
MAX_CLAIMS = 6
"""Comparisons that the summary gives in words."""


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """One model against the baseline on a task or group; `is_part`: the task belongs to a group.

    `paired` is None where there is no test; `why` says why.
    """

    place: str
    model: str
    against: str
    is_part: bool
    row: ImportedRow
    paired: PairedTask | None
    why: str = ""
    differs: str = ""
    adjusted_p: float | None = None


def describe_models(imported: AnsweredRows, baseline: str | None) -> Content:
    """One table of scores and one of paired comparisons, with the sentences that say what they show."""
    evaluations = group_evaluations(imported.rows)
    base = _choose_baseline(evaluations, baseline)
    compared = adjust(
        [
            one
            for other in evaluations
            if other is not base
            for one in compare_evaluations(other, imported, base, imported)
        ]
    )
    sentences = _build_sentences(evaluations, base, compared)
    tables = [_build_score_table(evaluations)]
    if compared:
        tables.append(_build_comparison_table(compared))
    tables.append(_build_protocol_table(evaluations))
    flat: dict[str, Rows] = {
        "rows": [_flatten_row(one.label, row) for one in evaluations for row in one.rows.values()],
        "comparisons": [_flatten_comparison(one) for one in compared],
    }
    return Content(sentences, [Section("Evaluations", tables, {})], flat)


def _choose_baseline(evaluations: Sequence[Evaluation], baseline: str | None) -> Evaluation:
    """The latest evaluation of the model that was asked for, else the first one in time."""
    named = [one for one in evaluations if baseline in (one.label, one.model)]
    return named[-1] if named else evaluations[0]


def compare_evaluations(
    other: Evaluation, answers: AnsweredRows, base: Evaluation, base_answers: AnsweredRows
) -> list[ModelComparison]:
    """Every task and group that both evaluations have, `other` less `base`."""
    comparisons = []
    for place, row in other.rows.items():
        partner = base.rows.get(place)
        if partner is None:
            continue
        paired, why = compare_rows(other, row, answers, base, partner, base_answers)
        changed = find_changed_settings(partner, row)
        changed = {path: values for path, values in changed.items() if path not in MODEL_FIELDS}
        differs = [describe_changed_settings(changed)]
        if row.software != partner.software:
            differs.append(f"software {_join(partner.software)} -> {_join(row.software)}")
        if paired is not None:
            differs.append(count_common(paired))
        comparisons.append(
            ModelComparison(
                place,
                other.label,
                base.label,
                bool(row.facts.get("groups")),
                row,
                paired,
                why,
                "; ".join(filter(None, differs)),
            )
        )
    return comparisons


def adjust(compared: Sequence[ModelComparison]) -> list[ModelComparison]:
    """Holm over the tasks and groups that stand alone, and apart from them over the tasks within groups."""
    values = [one.paired.scores.p if one.paired else None for one in compared]
    wholes = apply_holm([None if one.is_part else p for one, p in zip(compared, values, strict=True)])
    parts = apply_holm([p if one.is_part else None for one, p in zip(compared, values, strict=True)])
    return [
        dataclasses.replace(one, adjusted_p=part if one.is_part else whole)
        for one, whole, part in zip(compared, wholes, parts, strict=True)
    ]


def _join(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


# ---------------------------------------------------------------- sentences


def _build_sentences(
    evaluations: Sequence[Evaluation], base: Evaluation, compared: Sequence[ModelComparison]
) -> list[str]:
    if len(evaluations) == 1:
        return [f"One evaluation, of {base.label}: there is nothing to compare. Import a folder that holds two."]
    tested = [one for one in compared if one.paired is not None]
    sentences = [
        f"{count_noun(len(evaluations), 'evaluation')}, compared with {base.label} on the questions that both answered."
    ]
    whole = [one for one in tested if not one.is_part]
    sentences += [describe_comparison(one) for one in whole[:MAX_CLAIMS]]
    if len(whole) > MAX_CLAIMS:
        passing = sum(1 for one in whole if one.adjusted_p is not None and one.adjusted_p < 0.05)
        sentences.append(f"Of {len(whole)} tasks and groups {passing} differ with adjusted p < 0.05; see the table.")
    if parts := [one for one in tested if one.is_part]:
        passing = sum(1 for one in parts if one.adjusted_p is not None and one.adjusted_p < 0.05)
        sentences.append(
            f"Of {count_noun(len(parts), 'task')} within groups {passing} differ after their own Holm correction."
        )
    if len(tested) < len(compared):
        sentences.append(
            f"{count_noun(len(compared) - len(tested), 'comparison')} without a test: see the column 'note'."
        )
    sentences.append(
        "The tests hold for new questions with these very models. Each model is one training run, so they say nothing "
        "about other seeds of its training."
    )
    return sentences


def describe_comparison(one: ModelComparison) -> str:
    """One comparison as a sentence."""
    if one.paired is None:
        return f"{one.place}: {one.model} against {one.against}: {one.why}."
    scores = one.paired.scores
    interval = "" if scores.low is None else f" (95 % interval {scores.low:+.1f} to {scores.high:+.1f})"
    adjusted = "" if one.adjusted_p is None else f", adjusted {format_p(one.adjusted_p)}"
    differs = f" Differs beside the model: {one.differs}." if one.differs else ""
    return (
        f"{one.place}: {one.model} {scores.points:+.1f} points{interval} against {one.against}, {one.row.headline} of "
        f"{scores.questions:,} common questions, {one.paired.test} p = {format_p(scores.p) or '-'}{adjusted}.{differs}"
    )


# ---------------------------------------------------------------- tables


def _build_score_table(evaluations: Sequence[Evaluation]) -> Table:
    places = list(dict.fromkeys(place for one in evaluations for place in one.rows))
    table = []
    for place in places:
        rows = [one.rows.get(place) for one in evaluations]
        metric = next(row.headline for row in rows if row is not None)
        scores = {
            one.label: "-" if row is None or row.score is None else f"{row.score:.4f}"
            for one, row in zip(evaluations, rows, strict=True)
        }
        table.append({"task": place, "metric": metric, **scores})
    return Table.of("Scores", table, ["As lm-eval reports them."], "scores")


def _build_comparison_table(compared: Sequence[ModelComparison]) -> Table:
    table = []
    for one in compared:
        scores = one.paired.scores if one.paired else None
        has_interval = scores is not None and scores.low is not None
        table.append(
            {
                "task": one.place,
                "model": one.model,
                "questions": "-" if scores is None else f"{scores.questions:,}",
                "only model better": "-" if scores is None else f"{scores.improved:,}",
                "only baseline better": "-" if scores is None else f"{scores.worsened:,}",
                "difference": "-" if scores is None else f"{scores.points:+.1f}",
                "95 % interval": f"{scores.low:+.1f} to {scores.high:+.1f}" if has_interval and scores else "-",
                "test": one.paired.test if one.paired else "-",
                "p": (format_p(scores.p) if scores else "") or "-",
                "adjusted p": format_p(one.adjusted_p) or "-",
                "family": "task of a group" if one.is_part else "whole",
                "note": "; ".join(filter(None, [one.why, one.differs])) or "-",
            }
        )
    notes = [
        f"Differences to {compared[0].against}, in points. Interval: of the paired differences, for new questions (of "
        "a group: for new tasks of questions, which are its clusters). Adjusted: Holm within the family.",
    ]
    return Table.of("Paired comparisons", table, notes, "evidence")


def _build_protocol_table(evaluations: Sequence[Evaluation]) -> Table:
    table = []
    for one in evaluations:
        row = next(iter(one.rows.values()))
        shots = dict.fromkeys(str(each.settings.get("num_fewshot")) for each in one.rows.values())
        table.append(
            {
                "model": one.label,
                "evaluated": row.provenance.created or "-",
                "software": _join(row.software) or "-",
                "few-shot examples": ", ".join(shots),
                "limit": str(row.settings.get("limit")),
                "model arguments": str(row.settings.get("model_args")),
                "file": row.provenance.file,
            }
        )
    return Table.of("Protocol", table, (), "protocol")


def _flatten_row(label: str, row: ImportedRow) -> dict[str, Any]:
    start = {"key": row.key, "source": row.provenance.source, "file": row.provenance.file, "evaluation": label}
    return {**start, "task": row.benchmark, "headline": row.headline, "questions": row.questions, **row.scores}


def _flatten_comparison(one: ModelComparison) -> dict[str, Any]:
    scores = dataclasses.asdict(one.paired.scores) if one.paired else {}
    start = {"task": one.place, "model": one.model, "against": one.against, "key": one.row.key}
    return {**start, **scores, "p_adjusted": one.adjusted_p, "is_part": one.is_part, "note": one.why or one.differs}


# ---------------------------------------------------------------- two imports


def compare_models(before: AnsweredRows, after: AnsweredRows) -> list[str]:
    """Lines about the tasks that two imports share: of models of one name, or of the only model of each."""
    sides = [group_evaluations(side.rows) for side in (before, after)]
    pairs = [(a, b) for a in sides[0] for b in sides[1] if a.model == b.model]
    if not pairs and len(sides[0]) == len(sides[1]) == 1:
        pairs = [(sides[0][0], sides[1][0])]
    if not pairs:
        names = [", ".join(one.label for one in side) for side in sides]
        return [f"no model of A ({names[0]}) is in B ({names[1]}); import one folder with all of them"]
    compared = adjust([one for a, b in pairs for one in compare_evaluations(b, after, a, before)])
    return [*map(describe_comparison, compared)] or ["no task is in both"]
