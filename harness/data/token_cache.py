"""Cache tokenized splits on disk, keyed by all inputs of tokenization, for other cells, runs and processes.

CACHE/splits/KEY[:2]/KEY.safetensors    tensors of the split; metadata: its class, plain fields and a sha256
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from harness.core.files import read_bytes, replace_file
from harness.core.leftovers import OLD, remove_leftovers
from harness.data.task_types.base import Split

if TYPE_CHECKING:
    from harness.core.method import Example, Task
    from harness.core.protocol import Protocol

FORMAT = 1
SPLITS = "harness.data.task_types."
"""Only classes of these modules are created from a file, so a forged file cannot call other code."""


def hash_tokenizer(tokenizer: Any) -> str | None:
    """sha256 of a fast tokenizer's settings and of the model's config.json in its folder.

    The config determines how a generated text starts. None for a slow tokenizer, whose rows are not cached.
    """
    import tokenizers

    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return None
    # Both are left over from the last call and would change the digest; each call sets them again.
    core.no_truncation()
    core.no_padding()
    # The serialized tokenizer lacks these, but they change the tokens or how a text starts.
    settings = [type(tokenizer).__name__, tokenizers.__version__, repr(tokenizer.special_tokens_map)]
    settings += [
        str(getattr(tokenizer, name, None)) for name in ("pad_token_id", "model_max_length", "truncation_side")
    ]
    settings += [repr(tokenizer.model_input_names), str(getattr(tokenizer, "src_lang", None))]
    settings += [str(getattr(tokenizer, "tgt_lang", None)), str(getattr(tokenizer, "chat_template", None))]
    config = Path(str(tokenizer.name_or_path)) / "config.json"
    settings.append(config.read_text() if config.is_file() else "")
    return hashlib.sha256("\0".join([*settings, core.to_str()]).encode("utf-8", "surrogatepass")).hexdigest()


def compute_split_key(
    tokenizer: str, task: Task, rows: Sequence[Example], protocol: Protocol, *, train: bool, version: int
) -> str:
    """sha256 of all inputs of a tokenized split; `tokenizer` is its digest, `version` that of the task type."""
    head = [FORMAT, version, tokenizer, repr(task), train, protocol.select("tokenization"), len(rows)]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode("utf-8", "surrogatepass"))
    # The rows' content and not the file's digest: --train-rows and held-out parts select from one file.
    for row in rows:
        digest.update(repr((row.id, row.texts, row.label)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def get_split_path(folder: Path, key: str) -> Path:
    return folder / "splits" / key[:2] / f"{key}.safetensors"


def read_split(folder: Path, key: str) -> Split | None:
    """The stored split; None where it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = read_bytes(get_split_path(folder, key))
        # The safetensors format: 8 bytes with the length of the header, then the header as JSON.
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = load(content)
        # safetensors itself does not notice a flipped bit in a tensor.
        if metadata["sha256"] != _hash_tensors(metadata["split"], tensors):
            return None
        return _decode_split(json.loads(metadata["split"]), tensors)
    # A cache must never fail a run: whatever is wrong with the file, the rows are tokenized again.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, SafetensorError):
        return None


def write_split(folder: Path, key: str, split: Split) -> bool:
    """Store a split as a whole or not at all; False where a field cannot be stored or the folder not written."""
    from safetensors.torch import save

    try:
        described, tensors = _encode_split(split)
        text = json.dumps(described)
        content = save(tensors, metadata={"split": text, "sha256": _hash_tensors(text, tensors)})
        path = get_split_path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Files of a process that was killed while it wrote; young ones may belong to a process that runs.
        remove_leftovers(path.parent, age=OLD)
        replace_file(path, content)
    except (OSError, TypeError, ValueError):
        return False
    return True


def _hash_tensors(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(np.ascontiguousarray(tensors[name].numpy()).data.cast("B") if tensors[name].numel() else b"")
    return digest.hexdigest()


def _encode_split(split: Split) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(class and plain fields, tensors and arrays) of a split. Raises TypeError for a field of another kind."""
    kind = type(split)
    if not dataclasses.is_dataclass(split) or not kind.__module__.startswith(SPLITS):
        raise TypeError(f"{kind.__name__} is no dataclass of {SPLITS}*")
    plain: dict[str, Any] = {}
    arrays, tuples, tensors = [], [], {}
    for field in dataclasses.fields(split):
        value = getattr(split, field.name)
        if isinstance(value, Tensor):
            tensors[field.name] = value.contiguous()
        elif isinstance(value, np.ndarray):
            tensors[field.name] = torch.from_numpy(np.ascontiguousarray(value))
            arrays.append(field.name)
        else:
            tuples += [field.name] if isinstance(value, tuple) else []
            plain[field.name] = value
            _check_plain(value)
    where = {"module": kind.__module__, "class": kind.__name__}
    return {**where, "plain": plain, "arrays": arrays, "tuples": tuples}, tensors


def _check_plain(value: Any) -> None:
    """Raise TypeError for a value that JSON does not restore unchanged."""
    values = value if isinstance(value, (list, tuple)) else [value]
    if not all(each is None or type(each) in (str, int, float, bool) for each in values):
        raise TypeError(f"{type(value).__name__} is not stored")


def _decode_split(described: dict[str, Any], tensors: dict[str, Tensor]) -> Split:
    if not described["module"].startswith(SPLITS):
        raise ValueError(described["module"])
    kind = getattr(importlib.import_module(described["module"]), described["class"])
    if not issubclass(kind, Split):
        raise TypeError(described["class"])
    fields = dict(described["plain"])
    fields |= {name: tuple(fields[name]) for name in described["tuples"]}
    fields |= {name: value.numpy() if name in described["arrays"] else value for name, value in tensors.items()}
    split: Split = kind(**fields)
    return split
