"""The classes of a fine-tuned model against a task's labels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from harness.core.label_order import label_notes, label_permutation, stored_labels
from harness.core.presets import preset
from harness.models.source import resolve

LABELS = ("entailment", "neutral", "contradiction")


def test_a_permuted_head_gives_the_task_s_logits() -> None:
    # roberta-large-mnli has its classes the other way round
    order = label_permutation(LABELS, {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"})
    assert order == (2, 1, 0)
    theirs = np.array([[1.0, 2.0, 3.0]])  # of contradiction, neutral, entailment
    assert theirs[:, list(order)].tolist() == [[3.0, 2.0, 1.0]]
    turned = label_permutation(LABELS, {0: "neutral", 1: "contradiction", 2: "entailment"})
    assert turned == (2, 0, 1)


def test_other_names_are_not_compared() -> None:
    assert label_permutation(LABELS, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}) is None
    assert label_permutation(LABELS, {0: "entailment", 1: "neutral"}) is None
    assert label_permutation(("not_entailment", "entailment"), {0: "entailment", 1: "not-entailment"}) == (1, 0)
    assert label_permutation((), {}) is None


def test_one_line_where_the_order_differs(tmp_path: Path) -> None:
    source = dataclasses.replace(resolve(preset("quick"), "glue", None), path=tmp_path)
    assert label_notes(LABELS, source) == []  # no config at all
    for names, lines in ((LABELS, 0), (LABELS[::-1], 1)):
        (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}))
        assert stored_labels(source) == dict(enumerate(names))
        assert len(label_notes(LABELS, source)) == lines
    assert "contradiction, neutral, entailment" in label_notes(LABELS, source)[0]
