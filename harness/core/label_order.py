"""Whether the classes of a fine-tuned model stand in the order of a task's labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.models.source import ModelSource


def label_permutation(labels: Sequence[str], id2label: Mapping[int, str]) -> tuple[int, ...] | None:
    """The model's class of each label, by name without case, or None where the names are not the same.

    A head of the model fits the task after `weight[list(permutation)]`.
    """
    plain = [_plain(label) for label in labels]
    classes = {_plain(name): number for number, name in id2label.items()}
    same = len(classes) == len(id2label) == len(set(plain)) == len(plain) and set(classes) == set(plain)
    return tuple(classes[label] for label in plain) if same and plain else None


def label_notes(labels: Sequence[str], source: ModelSource) -> list[str]:
    """A line where the model was trained with the task's labels in another order."""
    names = stored_labels(source)
    order = label_permutation(labels, names)
    if order is None or order == tuple(range(len(labels))):
        return []
    theirs = ", ".join(names[number] for number in sorted(names))
    return [f"labels: the model's own head has the order {theirs}, the task {', '.join(labels)}; the head is fresh"]


def stored_labels(source: ModelSource) -> dict[int, str]:
    """Class id -> name as the model's config.json has them; empty where it has none."""
    if source.shape is not None:
        return {}
    try:
        found = json.loads((source.path / "config.json").read_text()).get("id2label") or {}
        return {int(number): str(name) for number, name in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")
