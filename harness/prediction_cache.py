"""Predictions of training steps on disk, by all that they depend on: a second plan of the same methods reads them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from harness.files import check_seal, read_bytes, replace_file, seal
from harness.leftovers import OLD, remove_leftovers
from harness.provenance import gpu_name
from harness.record import MemoryShares

if TYPE_CHECKING:
    from harness.contracts import Method
    from harness.predict import Step
    from harness.trace import Prediction

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "methods")
"""Their source is in the key: a change of any of it makes all predictions anew."""
NOT_READ = {"name", "lr", "lr_source", "epochs", "max_steps", "train_rows", "eval_rows"}
"""Fields of the protocol that one step does not depend on."""


def prediction_key(step: Step, k: int) -> str | None:
    """sha256 of all that a prediction depends on; None where the method's source cannot be read."""
    import torch
    import transformers

    cell = step.cells[0]
    try:
        method = _describe(step.methods[0])
    except (OSError, TypeError):
        return None
    content = {
        "k": k,
        "device": [step.device, gpu_name(step.device), torch.cuda.is_available(), platform.machine()],
        "versions": [platform.python_version(), torch.__version__, transformers.__version__, version("peft")],
        "source": _source_digest(),
        "method": method,
        "model": step.source.ref.content,
        "task": [step.task.kind, step.task.outputs, step.length],
        "cell": cell.model_dump(mode="json", exclude={"task": True, "data": True, "protocol": NOT_READ}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def read_prediction(key: str) -> Prediction | None:
    """The stored prediction; None where there is none, or its file is damaged."""
    from harness.trace import Prediction

    try:
        content = read_bytes(_path_of(key))
        if not check_seal(content):
            return None
        fields = json.loads(content)
        del fields["sha256"]
        return Prediction(**fields | {"shares": MemoryShares.model_validate(fields["shares"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_prediction(key: str, prediction: Prediction) -> bool:
    """Store a prediction whole or not at all; False where the folder takes no file."""
    fields = {f.name: getattr(prediction, f.name) for f in dataclasses.fields(prediction)}
    content = seal(json.dumps(fields | {"shares": prediction.shares.model_dump()}).encode())
    try:
        _path_of(key).parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(_path_of(key).parent, age=OLD)
        replace_file(_path_of(key), content)
    except OSError:
        return False
    return True


def _path_of(key: str) -> Path:
    from harness.token_cache import cache_folder

    return cache_folder() / "predictions" / key[:2] / f"{key}.json"


@functools.cache
def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _describe(method: Method) -> list[str]:
    """The method's fields, its classes, and the source of those that are not in `PACKAGES`: plugins' own."""
    described = [repr(sorted(vars(method).items()))]
    for kind in type(method).__mro__[:-1]:
        described.append(f"{kind.__module__}.{kind.__qualname__}")
        if kind.__module__.split(".")[0] not in PACKAGES:
            described.append(hashlib.sha256(inspect.getsource(inspect.getmodule(kind) or kind).encode()).hexdigest())
    return described
