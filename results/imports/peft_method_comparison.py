"""Result files of peft's method comparison: one JSON file per run of one experiment, of one seed each.

DIR/**/METHOD--EXPERIMENT.json   {run_info, train_info, meta_info}
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from harness.core.files import escape_path, read_bytes
from harness.core.stored_files import describe_damage
from results.imports.base import SOURCES, AnsweredRows, Collected, Content, ImportedRow, Provenance, Source, make_key
from results.imports.single_runs import describe_runs
from results.imports.two_imports import compare_imports

NAME = "peft-method-comparison"
PARTS = ("run_info", "train_info", "meta_info")
PACKAGES = ("torch", "transformers", "peft", "diffusers", "bitsandbytes", "datasets")
MEMORY = ("memory_max", "memory_reserved_99th", "memory_reserved_avg")


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One benchmark of the comparison: its headline metric, the row that others are compared with, other metrics.

    `questions`: how many the headline is the share of; None where it is no share.
    """

    name: str
    metric: str
    baseline: str
    questions: int | None = None
    others: tuple[str, ...] = ()


BENCHMARKS = (
    # the files do not say it: GSM8K's test split, all of which is scored, has 1,319 questions
    Benchmark("MetaMathQA", "test accuracy", "lora/llama-3.2-3B-rank32", 1319, ("forgetting",)),
    Benchmark("image-gen", "test dino_similarity", "lora/flux2-klein-default", None, ("drift",)),
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


def _alias_memory(name: str) -> Any:
    """A memory field under its name, or the one it had before other accelerators."""
    return Field(default=None, ge=0, validation_alias=AliasChoices(f"accelerator_{name}", f"cuda_{name}"))


class RunInfo(_Part):
    created_at: str
    experiment_name: str = Field(min_length=1, max_length=300)
    train_config: dict[str, Any]
    peft_config: dict[str, Any] | None
    total_time: FiniteFloat | None = None
    peft_branch: str | None = None
    error_msg: str | None = None

    @field_validator("created_at")
    @classmethod
    def _check_time(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value


class TrainInfo(_Part):
    status: str
    metrics: list[dict[str, Any]]
    train_time: FiniteFloat | None = None
    file_size: int | None = None
    num_trainable_params: int | None = None
    memory_max: Annotated[int | None, _alias_memory("memory_max")]
    memory_reserved_99th: Annotated[int | None, _alias_memory("memory_reserved_99th")]
    memory_reserved_avg: Annotated[int | None, _alias_memory("memory_reserved_avg")]


class MetaInfo(_Part):
    package_info: dict[str, str | None]
    system_info: dict[str, Any]
    dataset_info: dict[str, Any] = Field(default_factory=dict)


class ResultFile(_Part):
    run_info: RunInfo
    train_info: TrainInfo
    meta_info: MetaInfo


class FinalMetrics(_Part):
    """The scores in the last entry of the metrics. NaN and infinity are allowed: a run may diverge."""

    train_loss: float | None = Field(default=None, alias="train loss")
    test_accuracy: float | None = Field(default=None, alias="test accuracy")
    similarity: float | None = Field(default=None, alias="test dino_similarity")
    forgetting: float | None = None
    drift: float | None = None

    @field_validator("test_accuracy", "similarity")
    @classmethod
    def _check_score(cls, value: float | None) -> float | None:
        if value is not None and math.isfinite(value) and abs(value) > 1:
            raise ValueError("allowed: at most 1")
        return value

    @field_validator("test_accuracy")
    @classmethod
    def _check_share(cls, value: float | None) -> float | None:
        if value is not None and value < 0:
            raise ValueError("allowed: 0 to 1")
        return value


def read_file(path: Path, folder: Path) -> ImportedRow:
    """The row of one file. Raises OSError, ValueError and RecursionError for a file that is none."""
    content = read_bytes(path)
    data = json.loads(content)
    if not isinstance(data, dict) or not set(PARTS) <= set(data):
        raise ValueError("no result of the method comparison (run_info, train_info or meta_info is absent)")
    result = ResultFile.model_validate(data)
    info, training = result.run_info, result.train_info
    last = training.metrics[-1] if training.metrics else {}
    final = FinalMetrics.model_validate(last)
    benchmark = next((one for one in BENCHMARKS if one.metric in last), None)
    values = {name: value for name, value in final.model_dump(by_alias=True).items() if value is not None}
    scores = {name: value for name, value in values.items() if math.isfinite(value)}
    is_ok = training.status == "success"
    if is_ok and benchmark is None:
        known = " or ".join(one.metric for one in BENCHMARKS)
        raise ValueError(f"its last metrics have no {known}")
    benchmark = benchmark or _guess_benchmark(info.train_config)
    digest = hashlib.sha256(content).hexdigest()
    status, reason = _read_status(training.status, info.error_msg)
    if is_ok and benchmark.metric not in scores:
        status, reason = "failed", f"{benchmark.metric} is {values[benchmark.metric]}"
    return ImportedRow(
        key=make_key(NAME, benchmark.name, info.experiment_name, info.created_at, digest),
        provenance=Provenance(
            source=NAME, file=path.relative_to(folder).as_posix(), sha256=digest, created=info.created_at
        ),
        benchmark=benchmark.name,
        name=info.experiment_name,
        model=str(info.train_config.get("model_id", "")),
        status=status,
        reason=reason,
        scores=scores if status == "ok" else {},
        headline=benchmark.metric if status == "ok" else None,
        questions=benchmark.questions,
        settings={"train_config": info.train_config, "peft_config": info.peft_config},
        software=_read_software(result.meta_info),
        hardware=_read_hardware(result.meta_info.system_info),
        costs=_read_costs(info, training),
        loss_curve=list(_read_curve(training.metrics)),
        facts={
            "peft_branch": info.peft_branch,
            "dataset_info": result.meta_info.dataset_info,
            "not_finite": sorted(set(values) - set(scores)),
        },
    )


def _read_status(status: str, error: str | None) -> tuple[Any, str | None]:
    """Our name of a status, and why there is no score."""
    if status == "success":
        return "ok", None
    # the comparison's own names are success, failed and cancelled, the last in two spellings
    return ("cancelled" if status.startswith("cancel") else "failed"), error or f"status {status!r}"


def _guess_benchmark(train_config: Mapping[str, Any]) -> Benchmark:
    """The benchmark of a run without a score, by a field that only its configuration has."""
    return BENCHMARKS[1] if "instance_prompts" in train_config else BENCHMARKS[0]


def _read_software(meta: MetaInfo) -> dict[str, str]:
    versions = {name: meta.package_info.get(f"{name}-version") for name in PACKAGES}
    versions["peft commit"] = meta.package_info.get("peft-commit-hash")
    return {name: version for name, version in versions.items() if version}


def _read_hardware(system: Mapping[str, Any]) -> str | None:
    # "gpu" in files of 2025
    name = system.get("accelerator") or system.get("gpu")
    return None if name is None else str(name)


def _read_costs(info: RunInfo, training: TrainInfo) -> dict[str, float]:
    costs = {
        "trainable_parameters": training.num_trainable_params,
        "train_seconds": training.train_time,
        "total_seconds": info.total_time,
        "file_bytes": training.file_size,
        **{f"{name}_bytes": getattr(training, name) for name in MEMORY},
    }
    return {name: float(value) for name, value in costs.items() if value is not None}


def _read_curve(metrics: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    """Step and loss of each entry that has both; the final entry repeats the last step."""
    losses: dict[int, float] = {}
    for entry in metrics:
        step, loss = entry.get("step"), entry.get("train loss")
        if isinstance(step, int) and isinstance(loss, (int, float)):
            losses.setdefault(step, float(loss))
    yield from losses.items()


@SOURCES.register(NAME)
class PeftMethodComparison(Source):
    """Runs of one seed, whose answers are not stored: shares of right answers as two independent samples."""

    summary = "result files of peft's method comparison (method_comparison/*/results/*.json)"

    def read(self, folder: Path) -> Collected:
        runs: dict[tuple[str, str, str], ImportedRow] = {}
        skipped: list[str] = []
        repeats = 0
        paths = sorted(folder.rglob("*.json"))
        for path in paths:
            try:
                row = read_file(path, folder)
            except (OSError, ValueError, RecursionError) as error:
                skipped.append(f"{escape_path(path.relative_to(folder))}: {describe_damage(error)}; skipped")
                continue
            run = row.benchmark, row.name, row.provenance.created
            first = runs.setdefault(run, row)
            if first is row:
                continue
            if (first.scores, first.status) != (row.scores, row.status):
                skipped.append(
                    f"{escape_path(path.relative_to(folder))}: the run of {row.provenance.created} with other scores "
                    f"than in {first.provenance.file}; skipped"
                )
                continue
            repeats += 1
            # later files of one run name more of its costs
            if len(row.costs) > len(first.costs):
                runs[run] = row
        rows = sorted(runs.values(), key=lambda row: (row.benchmark, row.name, row.provenance.created))
        for row in rows:
            if row.status == "ok" and (names := row.facts["not_finite"]):
                skipped.append(f"{row.provenance.file}: {', '.join(names)} is no finite number; left out of its row")
        return Collected([(row, None) for row in rows], len(paths), skipped, repeats)

    def describe(self, imported: AnsweredRows, baseline: str | None) -> Content:
        baselines = {}
        for benchmark in BENCHMARKS:
            names = {row.name for row in imported.rows if row.benchmark == benchmark.name}
            baselines[benchmark.name] = baseline if baseline in names else benchmark.baseline
        return describe_runs(imported.rows, baselines)

    def compare(self, before: AnsweredRows, after: AnsweredRows) -> list[str]:
        return compare_imports(before.rows, after.rows)
