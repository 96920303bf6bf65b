"""The classes of a fine-tuned model against a task's labels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from harness.core.label_order import describe_label_order, find_label_permutation, read_id2label
from harness.core.presets import get_preset
from harness.models.source import resolve

LABELS = ("entailment", "neutral", "contradiction")


def test_a_permuted_head_gives_the_task_s_logits() -> None:
    # roberta-large-mnli has its classes the other way round
    order = find_label_permutation(LABELS, {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"})
    assert order == (2, 1, 0)
    theirs = np.array([[1.0, 2.0, 3.0]])  # of contradiction, neutral, entailment
    assert theirs[:, list(order)].tolist() == [[3.0, 2.0, 1.0]]
    turned = find_label_permutation(LABELS, {0: "neutral", 1: "contradiction", 2: "entailment"})
    assert turned == (2, 0, 1)


def test_other_names_are_not_compared() -> None:
    assert find_label_permutation(LABELS, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}) is None
    assert find_label_permutation(LABELS, {0: "entailment", 1: "neutral"}) is None
    assert find_label_permutation(("not_entailment", "entailment"), {0: "entailment", 1: "not-entailment"}) == (1, 0)
    assert find_label_permutation((), {}) is None


def test_one_line_where_the_order_differs(tmp_path: Path) -> None:
    source = dataclasses.replace(resolve(get_preset("quick"), "glue", None), path=tmp_path)
    assert describe_label_order(LABELS, source) == []  # no config at all
    for names, lines in ((LABELS, 0), (LABELS[::-1], 1)):
        (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}))
        assert read_id2label(source) == dict(enumerate(names))
        assert len(describe_label_order(LABELS, source)) == lines
    assert "contradiction, neutral, entailment" in describe_label_order(LABELS, source)[0]
