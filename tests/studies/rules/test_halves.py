"""Verdicts on what explains LoRA-SP's difference, from made-up runs and from a stored table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.cli.main import main
from harness.core.cell import format_label
from harness.core.errors import UserError
from harness.planning.grammar import parse_methods
from studies.answer import Answer, StudyRuns
from studies.rulebook import check_study
from studies.rules.halves import judge
from studies.study import load_study
from studies.surface.runs import COLUMNS

STUDY = load_study("halves")
METHODS = {name for item in STUDY.options["explanations"] for name in (item["first"], item["second"])}
REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "surface-minilm-h100"


def build_runs(gains: dict[str, float], seeds: int = 40) -> pd.DataFrame:
    """Confirming runs on two tasks: lora at 60 points, and each method above it by its gain; others by 3."""
    generator = np.random.default_rng(0)
    rows = []
    for task in ("cola", "stsb"):
        for method in sorted(METHODS):
            gain = 0.0 if method == "lora" else gains.get(method, 3.0)
            for seed, score in enumerate(60.0 + gain + generator.normal(0.0, 1.0, seeds)):
                rows.append(dict.fromkeys(COLUMNS) | {"suite": "glue", "task": task, "method": method, "lr": 1e-3})
                rows[-1] |= {"batch_size": 32, "budget": "500 steps", "seed": 5 + seed, "stage": "confirm"}
                rows[-1] |= {"status": "ok", "score": score, "validation": np.nan, "majority": 0.0, "stand_in": False}
    return pd.DataFrame(rows)


def judge_gains(gains: dict[str, float], **fields: int) -> Answer:
    return judge(STUDY, StudyRuns(margin=1.0, runs=build_runs(gains, **fields)))


NO_RIVAL = {"lora:rank=8": 0.1, "lora:alpha=11.314": 0.0, "lora:match=lorasp": 0.3}


def test_the_claim_holds_where_no_rival_explains_half() -> None:
    answer = judge_gains(NO_RIVAL | {"lorasp:held=zero": 0.0, "lorasp:select=column": 2.9})
    assert answer.kind == "confirmed" and not answer.lacks
    parts = {name: part.kind for name, part in answer.parts.items()}
    assert parts["fewer trainable parameters"] == parts["smaller updates"] == "contradicted"
    assert parts["frozen entries at their initial values"] == "confirmed"
    assert parts["random entries rather than random columns"] == "contradicted"


def test_a_rival_that_explains_half_contradicts_it() -> None:
    answer = judge_gains(NO_RIVAL | {"lora:alpha=11.314": 2.8})
    assert answer.kind == "contradicted" and answer.parts["smaller updates"].kind == "confirmed"


def test_a_rival_near_half_leaves_it_undecided() -> None:
    assert judge_gains(NO_RIVAL | {"lora:alpha=11.314": 1.5}).kind == "undecided"


def test_without_a_difference_nothing_is_explained() -> None:
    answer = judge_gains(NO_RIVAL | {"lorasp": 0.0})
    assert answer.kind == "undecided"
    assert "no share, as the difference is not significant" in answer.sentence


def test_a_subject_that_is_worse_contradicts_it() -> None:
    assert judge_gains(NO_RIVAL | {"lorasp": -2.0}).kind == "contradicted"


def test_a_rival_without_runs_is_what_is_missing() -> None:
    runs = build_runs(NO_RIVAL)
    answer = judge(STUDY, StudyRuns(margin=1.0, runs=runs[runs["method"] != "lora:match=lorasp"]))
    assert answer.kind == "undecided" and answer.lacks == "confirming runs of lora:match=lorasp and lora"


def test_a_stored_table_is_judged_as_a_recomputation_does(tmp_path: Path) -> None:
    """Against pandas: LoRA of rank 8 loses, by which the share is negative."""
    assert main(["study", "halves", "--runs", str(REFERENCE), "--out", str(tmp_path), "--formats", "csv"]) == 0
    answer = json.loads((tmp_path / "study.json").read_text())
    runs = pd.read_parquet(REFERENCE / "surface.parquet")
    confirm = runs[runs["stage"] == "confirm"].groupby(["method", "task"])["score"].mean().groupby("method").mean()
    explained, total = (confirm[name] - confirm["lora"] for name in ("lora:rank=8", "lorasp"))
    sentence = answer["parts"]["fewer trainable parameters"]["sentence"]
    assert f"{explained:+.2f} (" in sentence and f"{100 * explained / total:.0f} % (" in sentence
    assert f"lorasp - lora: {total:+.2f} (" in answer["sentence"]


def test_an_explanation_without_its_methods_is_refused() -> None:
    study = STUDY.model_copy(update={"options": STUDY.options | {"explanations": [{"name": "x", "first": "lora"}]}})
    with pytest.raises(UserError, match="an explanation needs name, first and second"):
        check_study(study)


def test_each_explanation_compares_methods_of_the_full_grid() -> None:
    (grid,) = STUDY.grids
    planned = {format_label(call.method.name, call.method.options()) for call in parse_methods(grid["methods"])}
    assert planned == METHODS
