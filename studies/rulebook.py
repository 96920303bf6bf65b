"""The rules by name: each turns the records and profiles of a study into an answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.core.errors import UserError, build_unknown_error, shorten
from studies.answer import Answer, StudyRuns
from studies.rules import accounting, claims, compared, contrast, gaps, halves, memory, scaling, streams, surface
from studies.rules.margins import ALPHA
from studies.study import Study, list_studies, load_study
from studies.surface.stages import check_grids
from studies.surface.tables import RATES, RATES_TITLE, list_rates, tidy_table

RULES: Mapping[str, Callable[[Study, StudyRuns], Answer]] = {
    "accounting": accounting.judge,
    "claims": claims.judge,
    "compared": compared.judge,
    "contrast": contrast.judge,
    "gaps": gaps.judge,
    "halves": halves.judge,
    "memory": memory.judge,
    "scaling": scaling.judge,
    "streams": streams.judge,
    "surface": surface.judge,
}
RULE_OPTIONS: Mapping[str, str] = {
    "accounting": "shape suite targets ranks ratios told tolerance",
    "claims": "claims",
    "compared": "sense",
    "contrast": "subject against places near",
    "gaps": "against deciding",
    "halves": "reference subject against others near collapse rivals explanations",
    "memory": "subject against quantize recompute threshold",
    "scaling": "shapes target rank memories threshold",
    "streams": "",
    "surface": "reference subject against others near collapse",
}
"""The options that each rule needs."""
MARGIN_RULES = frozenset({"compared", "contrast", "gaps", "halves", "streams", "surface"})
"""Rules that need a margin."""
TABLE_RULES = frozenset({"halves", "surface"})
"""Rules that judge a table of runs, which --runs may name in place of training."""


NEAR = 2.0
"""Points below the best mean validation score within which a rate counts as usable."""


def judge_study(study: Study, seen: StudyRuns) -> Answer:
    """The answer of the study's rule; where rates were chosen, with how and with their table."""
    answer = RULES[study.rule](study, seen)
    if not seen.choice:
        return answer
    rates = list_rates(seen.best, seen.records[0].cell.label, NEAR)
    tables = [*answer.tables, tidy_table((RATES_TITLE, rates, RATES))]
    return dataclasses.replace(answer, notes=[*answer.notes, seen.choice], tables=tables)


def check_study(study: Study) -> None:
    """Raise UserError, before anything is trained, for a study that its rule cannot judge."""
    if study.rule not in RULES:
        raise build_unknown_error(f"rule of study {study.name}", study.rule, RULES)
    needed = RULE_OPTIONS[study.rule].split()
    if lacking := [name for name in needed if name not in study.options]:
        raise UserError(f"study {study.name}: options.{lacking[0]} is missing; {study.rule} needs {', '.join(needed)}")
    # A declared study of the same rule serves as the schema, so that the rules need none of their own.
    example_options = next(
        (other.options for name in list_studies() if (other := load_study(name)).rule == study.rule), {}
    )
    for name in needed:
        if name in example_options and not _has_same_type(study.options[name], example_options[name]):
            example = shorten(example_options[name])
            raise UserError(f"study {study.name}: options.{name}={shorten(study.options[name])}: give e.g. {example}")
    if study.rule == "compared" and study.options["sense"] not in ALPHA:
        raise build_unknown_error(f"options.sense of study {study.name}", str(study.options["sense"]), ALPHA)
    check_grids(study.name, study.grids)
    if study.rule in MARGIN_RULES and study.margin is None:
        raise UserError(f"study {study.name}: margin is missing; {study.rule} judges at one: margin = 1.0 (points)")
    for item in study.options["explanations"] if study.rule == "halves" else ():
        if set(item) != {"name", "first", "second"}:
            raise UserError(f"study {study.name}: an explanation needs name, first and second (methods): {item}")
    for claim in study.options["claims"] if study.rule == "claims" else ():
        if not {"says", "origin"} <= set(claim) or not {"study", "command"} & set(claim):
            raise UserError(f"study {study.name}: a claim needs says, origin, and study or command: {claim}")


def _has_same_type(value: Any, example: Any) -> bool:
    """Whether a value and its items have the types of the example; a whole number may replace a float."""
    if isinstance(example, list):
        return isinstance(value, list) and all(not example or _has_same_type(item, example[0]) for item in value)
    if isinstance(example, dict):
        return isinstance(value, dict) and all(_has_type_of_any(item, example.values()) for item in value.values())
    # bool is a subclass of int, but `true` is no number in a TOML file.
    if isinstance(example, (int, float)) and not isinstance(example, bool):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, type(example))


def _has_type_of_any(value: Any, examples: Iterable[Any]) -> bool:
    return any(_has_same_type(value, example) for example in examples)
