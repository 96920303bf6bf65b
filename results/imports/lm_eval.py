"""Output folders of lm-eval with its logged samples: one row per evaluation, task and filter.

DIR/**/results_DATE.json           scores and configuration of one evaluation
DIR/**/samples_TASK_DATE.jsonl     one line per question and filter (lm-eval --log_samples)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from harness.core.files import escape_path, hash_file, read_bytes
from harness.core.stored_files import describe_damage
from results.imports.base import SOURCES, AnsweredRows, Collected, Content, ImportedRow, Provenance, Source, make_key
from results.imports.paired_models import compare_models, describe_models
from results.imports.samples import check_answers, read_samples

if TYPE_CHECKING:
    import pandas as pd

NAME = "lm-eval"
CONFIG_FIELDS = ("model", "model_args", "batch_size", "limit", "gen_kwargs", "random_seed", "fewshot_seed")
PROMPT_FIELDS = ("system_instruction_sha", "chat_template_sha", "fewshot_as_multiturn")


class Results(BaseModel):
    """The parts of a results file that are read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    results: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    config: dict[str, Any] = Field(default_factory=dict)
    group_subtasks: dict[str, list[str]] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    shots: dict[str, Any] = Field(default_factory=dict, alias="n-shot")
    samples: dict[str, dict[str, Any]] = Field(default_factory=dict, alias="n-samples")
    higher_is_better: dict[str, dict[str, Any]] = Field(default_factory=dict)
    task_hashes: dict[str, str] = Field(default_factory=dict)
    date: float | None = None
    model_name: str | None = None
    transformers_version: str | None = None
    lm_eval_version: str | None = None
    system_instruction_sha: str | None = None
    chat_template_sha: str | None = None
    fewshot_as_multiturn: bool | None = None

    @property
    def model_label(self) -> str:
        """Model and adapter, as lm-eval was given them."""
        arguments = self.config.get("model_args") or {}
        if isinstance(arguments, str):
            arguments = dict(part.partition("=")[::2] for part in arguments.split(",") if "=" in part)
        names = [str(arguments[name]) for name in ("pretrained", "peft") if arguments.get(name)]
        return " + ".join(names) or self.model_name or str(self.config.get("model", "unknown model"))

    @property
    def created(self) -> str:
        return "" if self.date is None else datetime.fromtimestamp(self.date, UTC).isoformat(timespec="seconds")


def list_scores(values: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Filter -> metric -> score, of the entries 'metric,filter' of a task; standard errors are left out."""
    scores: dict[str, dict[str, float]] = {}
    for entry, value in values.items():
        metric, comma, filter_name = entry.partition(",")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if comma and is_number and not metric.endswith("_stderr"):
            scores.setdefault(filter_name, {})[metric] = float(value)
    return scores


def _read_results(path: Path) -> Results:
    """Raises OSError, ValueError and RecursionError for a file that is none of lm-eval."""
    data = json.loads(read_bytes(path))
    if not isinstance(data, dict) or not isinstance(data.get("results"), dict) or "configs" not in data:
        raise ValueError("no results of lm-eval: it lacks results and configs")
    return Results.model_validate(data)


def _build_row(
    results: Results, path: Path, folder: Path, digest: str, task: str, filter_name: str, scores: dict[str, float]
) -> ImportedRow:
    config = results.configs.get(task, {})
    metrics = [str(one.get("metric")) for one in config.get("metric_list") or [] if isinstance(one, dict)]
    headline = next((name for name in metrics if name in scores), next(iter(scores)))
    parents = [group for group, tasks in results.group_subtasks.items() if task in tasks]
    software = {"transformers": results.transformers_version, "lm-eval": results.lm_eval_version}
    return ImportedRow(
        key=make_key(NAME, digest, task, filter_name),
        provenance=Provenance(
            source=NAME, file=path.relative_to(folder).as_posix(), sha256=digest, created=results.created
        ),
        benchmark=task if filter_name == "none" else f"{task} ({filter_name})",
        name=results.model_label,
        model=results.model_name or results.model_label,
        status="ok",
        scores=scores,
        headline=headline,
        questions=results.samples.get(task, {}).get("effective"),
        settings={
            **{name: results.config.get(name) for name in CONFIG_FIELDS},
            **{name: getattr(results, name) for name in PROMPT_FIELDS},
            "task_version": results.versions.get(task),
            "num_fewshot": results.shots.get(task),
            "task_hash": results.task_hashes.get(task),
        },
        software={name: version for name, version in software.items() if version},
        facts={
            "task": task,
            "filter": filter_name,
            "groups": parents,
            "subtasks": results.group_subtasks.get(task, []),
            "higher_is_better": results.higher_is_better.get(task, {}).get(headline, True),
        },
    )


@SOURCES.register(NAME)
class LmEval(Source):
    """Evaluations whose answers to single questions are stored: pairs of models on the same questions."""

    summary = "output of lm-eval (results_*.json, and samples_*.jsonl of --log_samples)"

    def read(self, folder: Path) -> Collected:
        paths = sorted(path for path in folder.rglob("*.json*") if path.suffix in (".json", ".jsonl"))
        rows: list[tuple[ImportedRow, pd.DataFrame | None]] = []
        skipped: list[str] = []
        used: set[Path] = set()
        digests: set[str] = set()
        repeats = 0
        for path in (path for path in paths if path.suffix == ".json"):
            name = escape_path(path.relative_to(folder))
            try:
                results = _read_results(path)
            except (OSError, ValueError, RecursionError) as error:
                skipped.append(f"{name}: {describe_damage(error)}; skipped")
                continue
            digest = hash_file(path)
            if digest in digests:
                repeats += 1
                used |= set(_list_sample_files(path, results).values())
                continue
            digests.add(digest)
            samples = _list_sample_files(path, results)
            used |= set(samples.values())
            for task in results.results:
                rows += _read_task(results, path, folder, digest, task, samples.get(task), skipped)
        for path in paths:
            if path.suffix == ".jsonl" and path not in used:
                is_sample = path.name.startswith("samples_")
                why = "samples without their results file" if is_sample else "no file of lm-eval"
                skipped.append(f"{escape_path(path.relative_to(folder))}: {why}; skipped")
        return Collected(rows, len(paths), skipped, repeats)

    def describe(self, imported: AnsweredRows, baseline: str | None) -> Content:
        return describe_models(imported, baseline)

    def compare(self, before: AnsweredRows, after: AnsweredRows) -> list[str]:
        return compare_models(before, after)


def _list_sample_files(path: Path, results: Results) -> dict[str, Path]:
    """Task -> the file of its samples, of those that exist."""
    date = path.stem.removeprefix("results")
    files = {task: path.with_name(f"samples_{task}{date}.jsonl") for task in results.results}
    return {task: file for task, file in files.items() if file.exists()}


def _read_task(
    results: Results, path: Path, folder: Path, digest: str, task: str, samples: Path | None, skipped: list[str]
) -> Iterator[tuple[ImportedRow, pd.DataFrame | None]]:
    """The rows of one task, one per filter; adds a line to `skipped` for what they lack."""
    name = f"{escape_path(path.relative_to(folder))}, task {task}"
    scores = list_scores(results.results[task])
    if not scores:
        skipped.append(f"{name}: it has no score; skipped")
    frames: Mapping[str, pd.DataFrame] = {}
    is_group = bool(results.group_subtasks.get(task))
    if samples is not None:
        try:
            frames = read_samples(samples)
        except (OSError, ValueError, RecursionError) as error:
            skipped.append(
                f"{escape_path(samples.relative_to(folder))}: {describe_damage(error)}; its answers are left out"
            )
    elif not is_group and scores:
        skipped.append(f"{name}: no samples file beside it (lm-eval --log_samples); its answers are left out")
    for filter_name, values in scores.items():
        row = _build_row(results, path, folder, digest, task, filter_name, values)
        answers = frames.get(filter_name)
        if answers is not None and (why := check_answers(row, answers)):
            skipped.append(f"{name}, filter {filter_name}: {why}; its answers are left out")
            answers = None
        yield row, answers
