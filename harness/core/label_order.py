"""Whether the classes of a fine-tuned model stand in the order of a task's labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.models.source import ModelSource


def find_label_permutation(labels: Sequence[str], id2label: Mapping[int, str]) -> tuple[int, ...] | None:
    """The model's class of each label, by name without case, or None where the names are not the same.

    A head of the model fits the task after `weight[list(permutation)]`.
    """
    label_names = [_normalize_label(label) for label in labels]
    classes = {_normalize_label(name): number for number, name in id2label.items()}
    same = len(classes) == len(id2label) == len(set(label_names)) == len(label_names) and set(classes) == set(
        label_names
    )
    return tuple(classes[label] for label in label_names) if same and label_names else None


def describe_label_order(labels: Sequence[str], source: ModelSource) -> list[str]:
    """A line where the model was trained with the task's labels in another order."""
    names = read_id2label(source)
    order = find_label_permutation(labels, names)
    if order is None or order == tuple(range(len(labels))):
        return []
    stored_order = ", ".join(names[number] for number in sorted(names))
    return [
        f"labels: the model's own head has the order {stored_order}, the task {', '.join(labels)}; the head is fresh"
    ]


def read_id2label(source: ModelSource) -> dict[int, str]:
    """Class id -> name as the model's config.json has them; empty where it has none."""
    if source.shape is not None:
        return {}
    try:
        id2label = json.loads((source.path / "config.json").read_text()).get("id2label") or {}
        return {int(number): str(name) for number, name in id2label.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _normalize_label(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")
