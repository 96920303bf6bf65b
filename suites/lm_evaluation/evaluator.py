"""MMLU scores of K replicas by lm-eval, from one pass over its questions.

questions -> lm-eval's prompts -> ReplicaLM: log-likelihoods of K replicas at once
          -> lm-eval, once per replica, on stored answers -> Evaluated
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.core.method import Evaluated, Example
from suites.lm_evaluation.definitions import write_definitions
from suites.sources.mmlu_subjects import GROUPS, SUBJECTS

if TYPE_CHECKING:
    from torch import nn

    from harness.core.protocol import Protocol

# lm-eval's default; MMLU takes the first solved questions, so nothing is drawn.
FEWSHOT_SEED = 1234


@dataclasses.dataclass(frozen=True)
class MmluEvaluator:
    """lm-eval's task `mmlu` over the subjects of `test`; `fingerprint` is that of all rows."""

    dev: Sequence[Example]
    test: Sequence[Example]
    fingerprint: str

    def __call__(
        self, model: nn.Module, tokenizer: Any, k: int, protocol: Protocol, *, autocast: bool
    ) -> list[Evaluated | None]:
        with suppress_output():
            from suites.lm_evaluation.replicas import ReplicaLM

            lm = ReplicaLM(model, tokenizer, k, autocast=autocast)
            tasks = self._load_tasks(protocol.shots)
            evaluations: list[Evaluated | None] = []
            for replica in range(k):
                lm.replica = replica
                results = self._evaluate(lm, tasks, protocol, several=k > 1)
                evaluations.append(summarize_results(results, protocol.shots, lm.truncated))
        return evaluations

    def _load_tasks(self, shots: int) -> Mapping[str, Any]:
        """Task and group objects of lm-eval for a number of solved examples."""
        from lm_eval.tasks import TaskManager

        folder = self._prepare_folder()
        loaded = TaskManager(include_path=str(folder), include_defaults=False).load(["mmlu"])
        for task in loaded["tasks"].values():
            task.set_config("num_fewshot", shots)
            task.set_fewshot_seed(FEWSHOT_SEED)
        return loaded  # type: ignore[no-any-return]

    def _prepare_folder(self) -> Path:
        """A folder with rows and definitions, written once per process and set of rows."""
        folder = make_scratch_folder(self.fingerprint)
        if not (folder / "_mmlu.yaml").is_file():
            write_definitions(folder, self.dev, self.test)
        return folder

    def _evaluate(self, lm: Any, tasks: Mapping[str, Any], protocol: Protocol, *, several: bool) -> Mapping[str, Any]:
        from lm_eval.evaluator import evaluate

        # Prompts are rendered once for all replicas. With a limit lm-eval would render all questions to store them.
        stored = several and protocol.eval_rows is None
        with use_request_cache(self._prepare_folder() / "requests"):
            results = evaluate(
                lm,
                tasks,
                limit=protocol.eval_rows,
                cache_requests=stored,
                bootstrap_iters=0,
                log_samples=True,
            )
        return results  # type: ignore[no-any-return]


@functools.cache
def make_scratch_folder(fingerprint: str) -> Path:
    """A temporary folder of this process for one set of rows, deleted when the process ends."""
    temporary = tempfile.TemporaryDirectory(prefix="lorasp-mmlu-")
    _OPEN.append(temporary)
    return Path(temporary.name)


# Keeps the objects alive: a TemporaryDirectory deletes its folder when it is collected.
_OPEN: list[tempfile.TemporaryDirectory[str]] = []


def summarize_results(found: Mapping[str, Any], shots: int, truncated: int) -> Evaluated | None:
    """Scores, predictions and provenance of one replica; None if a log-likelihood is not finite."""
    samples = {name.removeprefix("mmlu_"): rows for name, rows in found["samples"].items()}
    frames = {subject: _build_predictions(subject, samples[subject]) for subject in sorted(samples)}
    frame = pd.concat(frames.values(), ignore_index=True)
    # lm-eval would count NaN as a wrong answer; a diverged replica must fail instead.
    if not np.isfinite(np.stack(frame["log_likelihoods"].tolist())).all():
        return None
    results = found["results"]
    scores = {"accuracy": results["mmlu"]["acc,none"]}
    scores["accuracy_by_subject"] = float(np.mean([results[f"mmlu_{s}"]["acc,none"] for s in frames]))
    scores |= {name: results[f"mmlu_{name}"]["acc,none"] for name in GROUPS if f"mmlu_{name}" in results}
    return Evaluated({k: 100 * v for k, v in scores.items()}, frame, _build_extra(found, samples, shots, truncated))


def _build_predictions(subject: str, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    ordered = sorted(rows, key=lambda row: row["doc_id"])
    values = []
    for row in ordered:
        # Each response is (log-likelihood, is greedy), one per choice.
        values.append([log_likelihood for log_likelihood, _ in row["filtered_resps"]])
    return pd.DataFrame(
        {
            "id": [f"{subject}/{row['doc_id']}" for row in ordered],
            "split": "test",
            "target": [int(row["target"]) for row in ordered],
            "prediction": np.argmax(values, axis=1),
            "log_likelihoods": values,
        }
    )


def _build_extra(
    found: Mapping[str, Any], samples: Mapping[str, Sequence[Mapping[str, Any]]], shots: int, truncated: int
) -> dict[str, Any]:
    """Provenance: versions of lm-eval and of its tasks, and a hash of all prompts in order."""
    prompts = [row["prompt_hash"] for subject in sorted(samples) for row in samples[subject]]
    versions = {name: str(v) for name, v in found["versions"].items()}
    return {
        "lm_eval": {
            "version": importlib.metadata.version("lm_eval"),
            "task_version": versions["mmlu"],
            "subject_versions": sorted({v for n, v in versions.items() if n.removeprefix("mmlu_") in SUBJECTS}),
            "prompts_sha256": hashlib.sha256("".join(prompts).encode()).hexdigest(),
            "shots": shots,
            "subjects": len(samples),
            "questions": len(prompts),
            "truncated_prompts": truncated,
        }
    }


_WRITTEN: dict[Path, dict[str, str]] = {}
"""Folder of rendered prompts -> sha256 of each file that lm-eval wrote there; lm-eval itself verifies none."""


def _hash_files(folder: Path) -> dict[str, str]:
    files = [path for path in folder.glob("*") if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _delete_changed(folder: Path) -> None:
    """Delete files that changed after lm-eval wrote them, so that their prompts are rendered again."""
    for name, digest in _hash_files(folder).items():
        if _WRITTEN.get(folder, {}).get(name) != digest:
            (folder / name).unlink()


@contextlib.contextmanager
def use_request_cache(folder: Path) -> Iterator[None]:
    """Use a folder of these rows for lm-eval's cache of rendered prompts, whose key has task and shots but no data.

    Changed files are deleted first, so that lm-eval reads only what it wrote.
    """
    import lm_eval.caching.cache as cache

    before, cache.PATH = cache.PATH, str(folder)
    _delete_changed(folder)
    try:
        yield
    finally:
        cache.PATH = before
        _WRITTEN[folder] = _hash_files(folder)


@contextlib.contextmanager
def suppress_output() -> Iterator[None]:
    """Suppress log lines and progress bars of lm-eval and datasets; log levels are restored."""
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("lm_eval", "lm-eval", "datasets")}
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)
