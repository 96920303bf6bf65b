"""Whether a fine-tuned model has its classes in the order of a task's labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.models.source import ModelSource


def find_label_permutation(labels: Sequence[str], id2label: Mapping[int, str]) -> tuple[int, ...] | None:
    """The model's class id for each label [labels], or None if the names differ. Case, dashes and spaces are ignored.

    `weight[list(permutation)]` reorders the head's weight [classes, hidden] for the task.
    """
    label_names = [_normalize_label(label) for label in labels]
    classes = {_normalize_label(name): number for number, name in id2label.items()}
    # names that coincide after normalization would make the mapping ambiguous, so the counts must match too
    same = len(classes) == len(id2label) == len(set(label_names)) == len(label_names) and set(classes) == set(
        label_names
    )
    return tuple(classes[label] for label in label_names) if same and label_names else None


def describe_label_order(labels: Sequence[str], source: ModelSource) -> list[str]:
    """A note if the model was trained with the task's labels in another order; otherwise an empty list."""
    names = read_id2label(source)
    order = find_label_permutation(labels, names)
    if order is None or order == tuple(range(len(labels))):
        return []
    stored_order = ", ".join(names[number] for number in sorted(names))
    return [
        f"labels: the model's own head has the order {stored_order}, the task {', '.join(labels)}; a new head is used"
    ]


def read_id2label(source: ModelSource) -> dict[int, str]:
    """Class id -> name from the model's config.json; empty if it has none."""
    # a model given by its shape has no files
    if source.shape is not None:
        return {}
    try:
        id2label = json.loads((source.path / "config.json").read_text()).get("id2label") or {}
        return {int(number): str(name) for number, name in id2label.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _normalize_label(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")
