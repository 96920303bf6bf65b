"""A cache on disk of small facts about models and methods, keyed by everything that they depend on.

    CACHE/facts/ab/ab12....json    {"value": ..., "sha256": ...}

Checking whether a method fits a model imports torch and builds the model's shapes. A stored fact saves both.
"""

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
"""Packages whose source is part of the key: after any change all facts are computed again."""
VERSIONS = ("torch", "transformers", "tokenizers", "peft", "safetensors", "sentencepiece", "tiktoken", "bitsandbytes")


def fact_key(kind: str, content: Mapping[str, Any]) -> str:
    """The sha256 of what a fact depends on: `content`, the source of `PACKAGES`, and versions of their libraries."""
    everything = {"kind": kind, "content": content, "versions": list_versions(), "source": source_digest()}
    # surrogatepass: a path in `content` may hold bytes that are not UTF-8
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def read_fact(key: str) -> Any | None:
    """The stored value; None if there is none or its file is damaged."""
    try:
        content = read_bytes(_path_of(key))
        return json.loads(content)["value"] if verify_digest(content) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_fact(key: str, value: Any) -> bool:
    """Store a value, which is plain JSON other than null; returns False if the folder is not writable."""
    # a cache that cannot be written costs time only, so it is no error
    try:
        _path_of(key).parent.mkdir(parents=True, exist_ok=True)
        replace_file(_path_of(key), append_digest(json.dumps({"value": value}).encode()))
    except OSError:
        return False
    return True


def _path_of(key: str) -> Path:
    return cache_folder() / "facts" / key[:2] / f"{key}.json"


@functools.cache
def list_versions() -> tuple[str, ...]:
    """Versions of Python and of `VERSIONS`, and the machine."""
    return (platform.python_version(), platform.machine(), *map(get_version, VERSIONS))


@functools.cache
def source_digest() -> str:
    """The sha256 of all Python source in `PACKAGES`."""
    digest = hashlib.sha256()
    # paths are hashed too: otherwise moving code between files could leave the digest unchanged
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def describe_method(method: Method) -> list[str]:
    """The method's options, the names of its classes, and a hash of the source of each plugin class.

    Raises OSError and TypeError if such a source cannot be read.
    """
    described = [repr(sorted(vars(method).items()))]
    for kind in type(method).__mro__[:-1]:
        described.append(f"{kind.__module__}.{kind.__qualname__}")
        # the source of PACKAGES is in every key already
        if kind.__module__.split(".")[0] not in PACKAGES:
            described.append(hashlib.sha256(inspect.getsource(inspect.getmodule(kind) or kind).encode()).hexdigest())
    return described
