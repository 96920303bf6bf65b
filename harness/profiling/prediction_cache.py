"""Predictions of training steps on disk, by all that they depend on: a second plan of the same methods reads them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from pathlib import Path

from harness.core.cache_folder import cache_folder
from harness.core.files import append_digest, read_bytes, replace_file, verify_digest
from harness.core.leftovers import OLD, remove_leftovers
from harness.core.profile import MemoryShares
from harness.core.protocol import STEP_GROUPS
from harness.core.provenance import cuda_is_available, get_gpu_name, get_version
from harness.planning.fact_cache import describe_method, source_digest
from harness.profiling.prediction import Prediction, Step


def build_prediction_key(step: Step, k: int) -> str | None:
    """sha256 of all that a prediction depends on; None where the method's source cannot be read."""
    cell = step.cells[0]
    try:
        method = describe_method(step.methods[0])
    except (OSError, TypeError):
        return None
    content = {
        "k": k,
        "device": [step.device, get_gpu_name(step.device), cuda_is_available(), platform.machine()],
        "versions": [platform.python_version(), *map(get_version, ("torch", "transformers", "peft"))],
        "source": source_digest(),
        "method": method,
        "model": step.source.ref.content,
        "task": [step.task.kind, step.task.outputs, step.length],
        "cell": cell.model_dump(mode="json", exclude={"task", "data", "protocol"}),
        "protocol": cell.protocol.select(*STEP_GROUPS),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def read_prediction(key: str) -> Prediction | None:
    """The stored prediction; None where there is none, or its file is damaged."""
    try:
        content = read_bytes(_build_path(key))
        if not verify_digest(content):
            return None
        fields = json.loads(content)
        del fields["sha256"]
        return Prediction(**fields | {"shares": MemoryShares.model_validate(fields["shares"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_prediction(key: str, prediction: Prediction) -> bool:
    """Store a prediction whole or not at all; False where the folder takes no file."""
    fields = {f.name: getattr(prediction, f.name) for f in dataclasses.fields(prediction)}
    content = append_digest(json.dumps(fields | {"shares": prediction.shares.model_dump()}).encode())
    try:
        _build_path(key).parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(_build_path(key).parent, age=OLD)
        replace_file(_build_path(key), content)
    except OSError:
        return False
    return True


def _build_path(key: str) -> Path:
    return cache_folder() / "predictions" / key[:2] / f"{key}.json"
