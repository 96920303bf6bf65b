"""Export a run in the schema of Every Eval Ever (https://evalevalai.com, arXiv 2606.14516), and read it back.

    TO/data/SUITE/ORGANIZATION/MODEL/UUID.json    one file per cell with a score; UUID follows from the cell's key

MODEL is the backbone with its method: each cell is a model of its own. Predictions are not exported, because the
schema's instance files must hold the text of each example.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import re
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.core.errors import UserError, shorten
from harness.core.files import describe_os_error, write_atomically
from harness.core.record import Record
from harness.core.store import Store
from harness.runner.run import build_no_records_error, load_run
from reports.frames import build_method_names, format_seeds

SCHEMA_VERSION = "0.3.0"
PACKAGE = "every-eval-ever"
LOWER_IS_BETTER = frozenset({"ter"})
CORRELATIONS = ("matthews_correlation", "pearson", "spearman")
"""Metrics from -100 to 100; the others that we have are from 0 to 100."""
BOUNDED = ("accuracy", "f1", "bleu", "chrf", *CORRELATIONS)
ORGANIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclasses.dataclass(frozen=True)
class Exported:
    """Paths of the files, cells without a score, lines about skipped files, and what validated the files."""

    files: tuple[Path, ...]
    without_score: int
    skipped: tuple[str, ...]
    validated_by: str | None


def export_run(out: Path, to: Path, organization: str = "local") -> Exported:
    """Write the scores of a run's cells below TO/data. Files of an earlier export of the same cells are replaced.

    With the package every-eval-ever installed, each file is validated by it. Raises UserError, also for a file that
    does not validate.
    """
    if not ORGANIZATION.fullmatch(organization) or organization.lower() in ("unknown", "data"):
        raise UserError(
            f"--organization {shorten(organization)}: allowed: letters, digits, '.', '_' and '-', such as the name of "
            "an account on the hub"
        )
    records, _, skipped = load_run(out)
    if not records:
        raise build_no_records_error(out, skipped)
    scored = [record for record in records if list_scores(record)]
    if not scored:
        raise UserError(
            f"{out}: no cell has a score, so there is nothing to export; run its command again with --retry"
        )
    models = name_models(records)
    command = Store(out).read_run()["command"]
    files = []
    for record in scored:
        path = to / "data" / _slug(record.cell.suite) / organization / models[record.key] / f"{make_uuid(record)}.json"
        log = build_log(record, models[record.key], organization, command)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--to {to}: cannot write there: {describe_os_error(error)}; give another folder"
            ) from error
        write_atomically(path, json.dumps(log, indent=2, allow_nan=False).encode())
        files.append(path)
    return Exported(tuple(files), len(records) - len(scored), tuple(skipped), validate_files(files, to))


def list_scores(record: Record) -> dict[str, float]:
    """The finite scores of a cell, by metric; none of a cell that failed."""
    if record.status != "ok":
        return {}
    return {name: value for name, value in record.scores.items() if math.isfinite(value)}


def name_models(records: Sequence[Record]) -> dict[str, str]:
    """Record key -> name of its model: the backbone's name and the method's, in characters of a hub id."""
    methods = build_method_names(records)
    titles = {
        record.key: f"{record.cell.model.name.rstrip('/').rpartition('/')[2]} {methods[record.key]}"
        for record in records
    }
    # two names may have one slug, and files of two models would share a folder
    slugs = {title: _slug(title) for title in titles.values()}
    names = list(slugs.values())
    return {key: slugs[t] if names.count(slugs[t]) == 1 else f"{slugs[t]}-{_hash(t)[:8]}" for key, t in titles.items()}


def _slug(text: str) -> str:
    """Letters, digits, '.', '_' and '-' only; at most 96 characters, the limit of the hub."""
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "_"
    return slug if len(slug) <= 96 else f"{slug[:87]}-{_hash(text)[:8]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_uuid(record: Record) -> uuid.UUID:
    """A UUID of version 4, the same for the same result, so that a second export replaces the first."""
    return uuid.UUID(_hash(f"{record.key} {record.finished}")[:32], version=4)


def build_log(record: Record, model: str, organization: str, command: str) -> dict[str, Any]:
    """The evaluation log of one cell."""
    cell, environment = record.cell, record.environment
    finished = datetime.fromisoformat(record.finished)
    # the time of the result, not of the export: a second export gives equal files
    timestamp = f"{finished.timestamp():.0f}"
    versions = environment.model_dump(mode="json") if environment else {}
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{_slug(cell.suite)}-{_slug(cell.task)}-{record.key}/{organization}/{model}/{timestamp}",
        "evaluation_timestamp": record.finished,
        "retrieved_timestamp": timestamp,
        "source_metadata": {
            "source_name": "LoRA-SP harness",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            # the evaluated adapter was trained by whoever ran the evaluation
            "evaluator_relationship": "first_party",
            "additional_details": _to_texts({"command": command, "cell": record.key}),
        },
        "eval_library": {
            "name": "lorasp-harness",
            "version": environment.harness if environment else "unknown",
            "additional_details": _to_texts(versions),
        },
        "model_info": _describe_model(record, model, organization),
        "evaluation_results": list(_build_results(record)),
    }


def _describe_model(record: Record, model: str, organization: str) -> dict[str, Any]:
    cell = record.cell
    details: dict[str, Any] = {
        "deployment_type": "self_deployed",
        "model_availability": "unknown",
        "base_model": cell.model.name,
        "base_model_revision": cell.model.revision,
        "method": cell.label,
        "method_version": cell.method_version,
        "precision": cell.precision,
        "preset": cell.preset,
        "seeds": cell.seeds,
        "protocol": cell.protocol.model_dump(mode="json"),
        "parts": cell.parts,
        "parameters": record.parameters and record.parameters.model_dump(),
        "training_steps": record.steps,
    }
    info = {"name": f"{cell.model.name}, {cell.title}", "id": f"{organization}/{model}", "developer": organization}
    return {**info, "additional_details": _to_texts(details)}


def _build_results(record: Record) -> Iterator[dict[str, Any]]:
    cell = record.cell
    details = {
        "cell": record.key,
        "suite": cell.suite,
        "task": cell.task,
        "method": cell.label,
        "seed": format_seeds(cell.seeds),
        "majority_baseline": record.majority,
        "averages": {name: info.score for name, info in record.averages.items()},
    }
    for name, score in list_scores(record).items():
        yield {
            "evaluation_result_id": f"{record.key}/{name}",
            "evaluation_name": f"{cell.suite}/{cell.task}",
            "source_data": _describe_data(record),
            "evaluation_timestamp": record.finished,
            "metric_config": _describe_metric(name, score),
            "score_details": {"score": score, "details": _to_texts(details)},
        }


def _describe_data(record: Record) -> dict[str, Any]:
    cell, source = record.cell, record.data_source
    details: dict[str, Any] = {"fingerprint": cell.data, "source": source, "rows": record.rows}
    details |= {"notes": record.data_notes, "synthetic": record.stand_in}
    named = {"dataset_name": f"{cell.suite}/{cell.task}", "additional_details": _to_texts(details)}
    if source.startswith("hub "):
        return {**named, "source_type": "hf_dataset", "hf_repo": source.split()[1]}
    if record.stand_in:
        named["dataset_name"] = f"synthetic stand-in data for {cell.suite}/{cell.task}"
    return {**named, "source_type": "other"}


def _describe_metric(name: str, score: float) -> dict[str, Any]:
    is_known = name.startswith(BOUNDED)
    lowest = -100.0 if name.startswith(CORRELATIONS) else 0.0
    return {
        "evaluation_description": f"{name} in points (correlations times 100)",
        "metric_id": name,
        "metric_name": name,
        "metric_unit": "points",
        "lower_is_better": name in LOWER_IS_BETTER,
        "score_type": "continuous",
        # the schema writes a bound that does not exist as text
        # a correlation of 1 may be a rounding error above 100 points, which the validator refuses
        "min_score": min(lowest, score) if is_known or name in LOWER_IS_BETTER else "-Infinity",
        "max_score": max(100.0, score) if is_known else "Infinity",
    }


def _to_texts(details: dict[str, Any]) -> dict[str, str]:
    """The details as the schema has them: text only, without values that are missing; others than text as JSON."""
    present = {name: value for name, value in details.items() if value not in (None, "", [], {})}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in present.items()}


def validate_files(files: Sequence[Path], to: Path) -> str | None:
    """Name and version of the package that validated the files, None where it is not installed. Raises UserError."""
    try:
        # an optional package that does not install on Python 3.11
        from every_eval_ever.validator.validation_core import validate_file

        version = importlib.metadata.version(PACKAGE)
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return None
    for path in files:
        report = validate_file(path, repo_path=path.relative_to(to).as_posix(), run_semantic_checks=True)
        problems = [*report.errors, *report.warnings]
        if problems:
            first = problems[0]
            raise UserError(
                f"{path}: {PACKAGE} {version} refuses it: {first['loc']}: {first['msg']}; {_advise(version)}"
            )
    return f"{PACKAGE} {version}"


def _advise(version: str) -> str:
    return "report it as a fault" if version == SCHEMA_VERSION else f"install {PACKAGE}=={SCHEMA_VERSION}"


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """One row per exported score: cell, suite, task, method, seed, metric, value. Raises UserError for another file."""
    rows = []
    for path in sorted((folder / "data").glob("*/*/*/*.json")):
        try:
            for result in json.loads(path.read_text())["evaluation_results"]:
                details = result["score_details"]["details"]
                row = {name: details[name] for name in ("cell", "suite", "task", "method", "seed")}
                row |= {"metric": result["metric_config"]["metric_id"], "value": result["score_details"]["score"]}
                rows.append(row)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is no file of `export every-eval-ever` ({error!r}); export the run again"
            ) from error
    return rows
