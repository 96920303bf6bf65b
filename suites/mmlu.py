"""MMLU: four-choice questions on 57 subjects. Models train on instructions and are scored by lm-eval's own tasks."""

from __future__ import annotations

import collections
import functools
import hashlib
import importlib.resources
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.errors import UserError, build_unknown_error
from harness.core.files import describe_os_error, read_bytes
from harness.core.method import (
    INSTRUCTION_OPTIONS,
    SUITES,
    Average,
    Evaluator,
    ForgettingText,
    SourceRequest,
    Suite,
    SuiteOption,
    SuitePreset,
    Task,
    TaskData,
)
from harness.core.metric import resolve_metric
from suites.sources.mmlu_files import get_subject
from suites.sources.mmlu_rows import load_rows
from suites.sources.mmlu_subjects import GROUPS

if TYPE_CHECKING:
    import numpy as np

    from harness.core.protocol import Protocol

MAX_TEXT_BYTES = 1 << 20
"""Bytes of a user's forgetting text: each evaluation reads all of it."""
TASK = Task("mmlu", (), (), ("accuracy", "accuracy_by_subject", *GROUPS), kind="instruction")


@SUITES.register("mmlu")
class Mmlu(Suite):
    """Massive Multitask Language Understanding (arXiv 2009.03300).

    `accuracy` is over all questions, `accuracy_by_subject` the mean over subjects; a group's is over its questions.
    """

    name = "mmlu"
    version = 2
    summary = "four-choice questions on 57 subjects: a causal model trains on instructions and is scored by lm-eval"
    options = (
        *INSTRUCTION_OPTIONS,
        # its content is in the key, not its path
        SuiteOption("forgetting_file", str, "UTF-8 text for the loss before and after; default: our own", in_rows=True),
    )
    presets: ClassVar[Mapping[str, SuitePreset]] = {
        "quick": SuitePreset("embedded:causal", {"max_steps": 200, "max_length": 96, "template": "plain"}),
        "paper": SuitePreset("huggyllama/llama-7b", {"batch_size": 128, "max_length": 512, "warmup": 0.03}),
    }
    tasks = {"mmlu": TASK}  # noqa: RUF012 - read only
    averages = (Average("mmlu", {"mmlu": ("accuracy",)}), Average("subjects", {"mmlu": ("accuracy_by_subject",)}))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        path = self.get_option("forgetting_file")
        # now, so that a worker on another machine has the text
        self._own_text = None if path is None else _read_text(Path(path))

    def parts(self) -> dict[str, str]:
        """With the content of the user's forgetting text: other text, other result."""
        text = self._own_text
        digest = {} if text is None else {"option forgetting-file": hashlib.sha256(text.text.encode()).hexdigest()}
        return super().parts() | digest

    def get_forgetting_text(self, task: str, *, synthetic: bool) -> ForgettingText | None:
        """The user's text, else our own: for the embedded model one in its few words."""
        return self._own_text or _read_own_text("facts" if synthetic else "passage")

    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Instructions as "train", questions as "dev" (solved examples) and "test". Raises UserError."""
        self.get_task(task)
        return load_rows(request)

    def check(self, task: str, data: TaskData, protocol: Protocol) -> None:
        """Raise UserError if lm-eval is not installed, or a subject has fewer solved questions than `shots`."""
        if importlib.util.find_spec("lm_eval") is None:
            raise UserError("suite mmlu needs lm-eval: pip install 'lorasp-harness[mmlu]'")
        solved = collections.Counter(get_subject(question) for question in data.splits["dev"])
        # Every question gets solved questions of its own subject, so the subject with the fewest sets the limit.
        least = min(solved, key=lambda subject: solved[subject])
        if protocol.shots > solved[least]:
            raise UserError(
                f"--shots {protocol.shots}: {least} has {solved[least]} solved questions; give that at most"
            )

    def files(self) -> Mapping[str, str]:
        """sha256 of lm-eval's task files: prompt, metric and groups."""
        # find_spec, because importing lm-eval takes seconds and loads torch.
        spec = importlib.util.find_spec("lm_eval")
        if spec is None or not spec.submodule_search_locations:
            return {}
        return {"lm-eval task files": _hash_task_files(Path(next(iter(spec.submodule_search_locations))))}

    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Accuracy in points of predicted choices, 0 to 3, on questions of "test"."""
        self.get_task(task)
        if split != "test":
            raise build_unknown_error(f"eval split of {task}", split, ["test"])
        return {"accuracy": resolve_metric("accuracy", ["test"])[0].score(predictions, targets)}

    def evaluator(self, task: str, data: TaskData) -> Evaluator:
        """lm-eval, which scores the log-likelihoods of the four letters."""
        from suites.lm_evaluation.evaluator import MmluEvaluator

        return MmluEvaluator(data.splits["dev"], data.splits["test"], data.fingerprint)

    def majority(self, task: str, data: TaskData) -> float | None:
        """Accuracy in points of the best constant letter."""
        labels = [row.label for row in data.splits["test"]]
        return 100 * max(labels.count(letter) for letter in range(4)) / len(labels)


def _read_text(path: Path) -> ForgettingText:
    """A user's text. Raises UserError."""
    try:
        content = read_bytes(path)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = describe_os_error(error) if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"--option forgetting-file={path}: {why}; give a file of UTF-8 text") from error
    if not text.strip() or len(content) > MAX_TEXT_BYTES:
        raise UserError(
            f"--option forgetting-file={path}: {len(content):,} bytes; give a text of at most {MAX_TEXT_BYTES:,} bytes "
            "that is not empty"
        )
    return ForgettingText(path.name, text)


@functools.cache
def _read_own_text(name: str) -> ForgettingText:
    return ForgettingText(name, (importlib.resources.files("suites.forgetting") / f"{name}.txt").read_text())


# Cached, because a plan calls it for every cell.
@functools.cache
def _hash_task_files(package: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted((package / "tasks" / "mmlu" / "default").glob("*yaml")):
        digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()
