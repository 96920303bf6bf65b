"""The file study.json in a study's folder: its declaration, and its answer as data.

study, declared                      written before anything is trained
kind, sentence, parts, evidence, ... added when the rule has answered
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.core.errors import UserError
from harness.core.files import read_bytes, verify_digest
from studies.answer import Answer, StudyRuns
from studies.study import Study, load_study

FILE = "study.json"
FIELDS = frozenset(
    "study declared preset models stand_in margin margin_late kind sentence parts evidence notes lacks command"
    " sha256".split()
)
Content = Mapping[str, Any]


def build_marker(study: Study) -> dict[str, Any]:
    """Name and declaration of the study, written before anything is trained."""
    return {"study": study.name, "declared": study.model_dump(mode="json")}


def build_content(study: Study, answer: Answer, seen: StudyRuns, preset: str, command: str) -> dict[str, Any]:
    """The answer, which study `claims` reads; `preset` is that of the runs, or 'exact' for counts."""
    if seen.runs is not None:
        preset = str(seen.runs["preset"].iloc[0])
        models = {str(name) for name in seen.runs["model"]}
    else:
        models = {record.cell.model.name for record in seen.records}
    has_runs = bool(seen.records) or seen.runs is not None
    return build_marker(study) | {
        "preset": preset if has_runs and not answer.exact else "exact",
        "models": sorted(models),
        "stand_in": seen.stand_in and not answer.exact,
        "margin": seen.margin,
        "margin_late": seen.late,
        "kind": answer.kind,
        "sentence": answer.sentence,
        "parts": {name: dataclasses.asdict(part) for name, part in answer.parts.items()},
        "evidence": [dict(row) for row in answer.rows],
        "notes": list(answer.notes),
        "lacks": answer.lacks,
        "command": command,
    }


def read_content(folder: Path) -> dict[str, Any]:
    """The content of a study's file. Raises UserError if it cannot be read."""
    path = folder / FILE
    try:
        content = read_bytes(path)
        fields: dict[str, Any] = json.loads(content)
        if not isinstance(fields, dict) or not isinstance(fields.get("study"), str):
            raise ValueError("it names no study")
        if unknown := sorted(set(fields) - FIELDS):
            raise ValueError(f"unknown {', '.join(unknown)}")
        if not all(isinstance(fields.get(name, ""), str) for name in ("preset", "command")):
            raise ValueError("preset and command are texts")
        models = fields.get("models", [])
        if not (isinstance(models, list) and all(isinstance(name, str) for name in models)):
            raise ValueError("models are a list of texts")
        # Files of earlier versions have no digest, which is no damage.
        if not verify_digest(content) and "sha256" in fields:
            raise ValueError("its sha256 is not the last of its members")
        fields.pop("sha256", None)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); delete it and run the study again with --out {folder}: "
            "cells that are stored do not run again"
        ) from error
    return fields


def load_declared(found: Content) -> Study:
    """The study as it was declared when it ran."""
    if "declared" not in found:
        return load_study(found["study"])
    try:
        return Study.model_validate(found["declared"])
    except ValidationError as error:
        raise _describe_unreadable(found, error) from error


def load_answer(found: Content) -> Answer:
    """The stored answer. Raises UserError for a study that was stopped before it had one, or for an invalid file."""
    if "kind" not in found:
        raise UserError(f"study {found['study']} has no answer yet; run it again in its folder")
    fields = {name: found[name] for name in ("kind", "sentence", "parts", "notes", "lacks") if name in found}
    try:
        answer = TypeAdapter(Answer).validate_python(fields | {"rows": found.get("evidence")})
    except ValidationError as error:
        raise _describe_unreadable(found, error) from error
    # A table needs equal columns; a file edited by hand may not have them.
    if any(row.keys() != answer.rows[0].keys() for row in answer.rows):
        raise UserError(f"study {found['study']}: rows of its evidence differ in their columns; run it again")
    return answer


def _describe_unreadable(found: Content, error: ValidationError) -> UserError:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return UserError(f"study {found['study']}: {FILE} is not valid: {place}: {first['msg'].lower()}; run it again")


def check_folder(out: Path, study: Study) -> None:
    """Raise UserError where the folder has results of another study, or of a plain run."""
    if (out / FILE).is_file():
        other = read_content(out)["study"]
        if other != study.name:
            raise UserError(f"--out {out}: it holds study {other}, not {study.name}; give another folder")
    elif (out / "run.json").is_file():
        raise UserError(f"--out {out}: it holds a run of no study; give another folder")
