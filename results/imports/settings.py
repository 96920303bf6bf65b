"""What differs between the settings of two imported rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from results.imports.base import ImportedRow

SOFTWARE = ("transformers", "torch")
"""Packages whose versions two rows must share to be tested against each other."""
IGNORED = frozenset(
    "peft_config.peft_version peft_config.revision peft_config.auto_mapping peft_config.inference_mode"
    " peft_config.base_model_name_or_path peft_config.task_type".split()
)
"""Fields that say how a file was written, not how the row trained."""
OUTCOMES = ("peft_config.rank_pattern.",)
"""Fields that training itself writes (the ranks that AdaLoRA ends with)."""


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value; lists of texts in sorted order, for the files write sets of modules in any order."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten_settings(value, f"{path}.")
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            flat[path] = sorted(value)
        else:
            flat[path] = value
    return {path: value for path, value in flat.items() if path not in IGNORED and not path.startswith(OUTCOMES)}


def find_changed_settings(row: ImportedRow, other: ImportedRow, part: str | None = None) -> dict[str, tuple[Any, Any]]:
    """Path -> both values, of the settings that differ; of one `part` only if it is given.

    Fields that only one row has are left out: each version of a package adds some, whose default is how it was before.
    """
    a, b = (flatten_settings(one.settings if part is None else one.settings.get(part) or {}) for one in (row, other))
    return {path: (a[path], b[path]) for path in a if path in b and a[path] != b[path]}


def describe_changed_settings(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """'max_steps 3000 -> 5000, use_gc True -> False'."""
    return ", ".join(f"{path.rpartition('.')[2]} {a} -> {b}" for path, (a, b) in changed.items())


def describe_software(row: ImportedRow) -> str:
    """'transformers 5.13.1, torch 2.13.0'."""
    return ", ".join(f"{name} {row.software.get(name, 'unknown')}" for name in SOFTWARE)


def shares_setup(row: ImportedRow, other: ImportedRow) -> bool:
    """Whether two rows have the base model, the software and the hardware in common."""
    setups = [(one.model, describe_software(one), one.hardware) for one in (row, other)]
    return setups[0] == setups[1]
