"""Small answers about models and methods on disk, by all that they depend on: torch is not imported to ask again."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.cache_folder import cache_folder
from harness.core.files import append_digest, read_bytes, replace_file, verify_digest
from harness.core.provenance import get_version

if TYPE_CHECKING:
    from harness.core.method import Method

ROOT = Path(__file__).parents[2]
PACKAGES = ("harness", "methods")
"""Their source is in the key: a change of any of it makes all answers anew."""
VERSIONS = ("torch", "transformers", "tokenizers", "peft", "safetensors", "sentencepiece", "tiktoken", "bitsandbytes")


def fact_key(kind: str, content: Mapping[str, Any]) -> str:
    """sha256 of what a fact depends on: `content`, the source of `PACKAGES`, and the versions of what they use."""
    versions = [platform.python_version(), platform.machine(), *map(get_version, VERSIONS)]
    everything = {"kind": kind, "content": content, "versions": versions, "source": source_digest()}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def read_fact(key: str) -> Any | None:
    """The stored value; None where there is none, or its file is damaged."""
    try:
        content = read_bytes(_path_of(key))
        return json.loads(content)["value"] if verify_digest(content) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_fact(key: str, value: Any) -> bool:
    """Store plain JSON other than null, whole or not at all; False where the folder takes no file."""
    try:
        _path_of(key).parent.mkdir(parents=True, exist_ok=True)
        replace_file(_path_of(key), append_digest(json.dumps({"value": value}).encode()))
    except OSError:
        return False
    return True


def _path_of(key: str) -> Path:
    return cache_folder() / "facts" / key[:2] / f"{key}.json"


@functools.cache
def source_digest() -> str:
    """sha256 of all source of `PACKAGES`."""
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def describe_method(method: Method) -> list[str]:
    """The method's fields, its classes, and the source of those that are not in `PACKAGES`: plugins' own.

    Raises OSError and TypeError where that source cannot be read.
    """
    described = [repr(sorted(vars(method).items()))]
    for kind in type(method).__mro__[:-1]:
        described.append(f"{kind.__module__}.{kind.__qualname__}")
        if kind.__module__.split(".")[0] not in PACKAGES:
            described.append(hashlib.sha256(inspect.getsource(inspect.getmodule(kind) or kind).encode()).hexdigest())
    return described
