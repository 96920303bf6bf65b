"""lm-eval's mmlu tasks on our own files; prompt, metric and groups are lm-eval's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core.method import Example
from suites.sources.mmlu_files import get_subject
from suites.sources.mmlu_subjects import GROUPS

PARTS = ("dev", "test")


def write_definitions(folder: Path, dev: Sequence[Example], test: Sequence[Example]) -> None:
    """Write rows and task files of the subjects in `test` to a folder for lm-eval's --include_path."""
    for part, questions in zip(PARTS, (dev, test), strict=True):
        _write_rows(folder, part, questions)
    subjects = {get_subject(q) for q in test}
    for subject in subjects:
        _write(folder / f"mmlu_{subject}.yaml", _build_subject(folder, subject))
    groups = [name for name, members in GROUPS.items() if subjects & set(members)]
    for name in groups:
        # Members by name, not by lm-eval's tags: with its own tasks loaded, a tag would add subjects that we lack.
        members = [f"mmlu_{subject}" for subject in GROUPS[name] if subject in subjects]
        _write(folder / f"_mmlu_{name}.yaml", _load_installed(f"_mmlu_{name}") | {"task": members})
    _write(folder / "_mmlu.yaml", _load_installed("_mmlu") | {"task": [f"mmlu_{name}" for name in groups]})


def _write_rows(folder: Path, part: str, questions: Sequence[Example]) -> None:
    """Write one file per subject with rows in the layout of the hub's cais/mmlu."""
    lines: dict[str, list[str]] = {}
    for question in questions:
        row = {"question": question.texts[0], "choices": question.texts[1:], "answer": question.label}
        lines.setdefault(get_subject(question), []).append(json.dumps(row) + "\n")
    (folder / part).mkdir(parents=True, exist_ok=True)
    for subject, subject_lines in lines.items():
        (folder / part / f"{subject}.jsonl").write_text("".join(subject_lines))


def _build_subject(folder: Path, subject: str) -> dict[str, Any]:
    files = {part: str(folder / part / f"{subject}.jsonl") for part in PARTS}
    definition = _load_installed(f"mmlu_{subject}")
    # The tag would add the subject to lm-eval's own group of that name.
    del definition["tag"]
    return definition | {
        "include": str(_find_default_folder() / definition["include"]),
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "datasets")},
    }


def _load_installed(name: str) -> dict[str, Any]:
    """A task file of the installed lm-eval; includes are left unresolved."""
    from lm_eval.tasks._yaml_loader import load_yaml

    return load_yaml(_find_default_folder() / f"{name}.yaml", recursive=False)  # type: ignore[no-any-return]


def _find_default_folder() -> Path:
    import lm_eval.tasks

    return Path(next(iter(lm_eval.tasks.__path__))) / "mmlu" / "default"


def _write(path: Path, content: dict[str, Any]) -> None:
    # JSON is YAML, so no YAML library is needed.
    path.write_text(json.dumps(content))
