"""GLUE's own: official metrics, the two averages, class ids."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from harness.core.method import Example, TaskData
from suites.glue import Glue

METRICS = {
    "cola": ("matthews_correlation",),
    "sst2": ("accuracy",),
    "mrpc": ("accuracy", "f1"),
    "stsb": ("pearson", "spearman"),
    "qqp": ("accuracy", "f1"),
    "mnli": ("accuracy_matched", "accuracy_mismatched"),
    "qnli": ("accuracy",),
    "rte": ("accuracy",),
    "wnli": ("accuracy",),
}


def labelled(*labels: int, split: str = "validation") -> TaskData:
    rows = tuple(Example(f"{split}/{n}", ("text",), label) for n, label in enumerate(labels))
    return TaskData({split: rows}, "", "test")


def test_nine_tasks_with_the_official_metrics() -> None:
    assert {name: task.metrics for name, task in Glue.tasks.items()} == METRICS
    assert Glue.tasks["mnli"].eval_splits == ("validation_matched", "validation_mismatched")
    assert all(task.eval_splits == ("validation",) for name, task in Glue.tasks.items() if name != "mnli")
    assert [task.outputs for task in Glue.tasks.values()] == [2, 2, 2, 1, 2, 3, 2, 2, 2]


def test_class_ids_are_those_of_the_hub() -> None:
    assert Glue.tasks["mnli"].labels == ("entailment", "neutral", "contradiction")
    assert Glue.tasks["qnli"].labels == Glue.tasks["rte"].labels == ("entailment", "not_entailment")


def test_both_averages_have_eight_tasks_and_no_wnli() -> None:
    glue, lora = Glue.averages
    assert (glue.name, lora.name) == ("glue", "lora")
    assert set(glue.scores) == set(lora.scores) == set(METRICS) - {"wnli"}
    assert all(glue.scores[task] == METRICS[task] for task in glue.scores)
    changed = {"mrpc": ("accuracy",), "qqp": ("accuracy",), "stsb": ("pearson",), "mnli": ("accuracy_matched",)}
    assert lora.scores == {**glue.scores, **changed}


def test_headline_is_the_mean_of_the_named_scores() -> None:
    glue, lora = Glue.averages
    scores = {"accuracy": 80.0, "f1": 90.0}
    assert Glue().headline("mrpc", scores, glue) == 85.0
    assert Glue().headline("mrpc", scores, lora) == 80.0
    assert Glue().headline("wnli", {"accuracy": 50.0}, glue) is None
    assert Glue().headline("mrpc", {"accuracy": 80.0}, glue) is None


def test_mnli_scores_are_named_by_split() -> None:
    guess, true = np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0])
    assert Glue().score("mnli", "validation_matched", guess, true) == {"accuracy_matched": 75.0}
    assert Glue().score("mnli", "validation_mismatched", guess, true) == {"accuracy_mismatched": 75.0}


def test_majority_is_the_best_constant_under_the_headline() -> None:
    # All ones: accuracy 40, F1 4/7; all zeros: accuracy 60, F1 0. The rarer class is the better one.
    assert Glue().majority("mrpc", labelled(1, 1, 0, 0, 0)) == pytest.approx((40 + 400 / 7) / 2)
    assert Glue().majority("sst2", labelled(1, 1, 0, 0, 0)) == 60.0
    assert Glue().majority("cola", labelled(1, 1, 1, 0)) == 0.0
    assert Glue().majority("stsb", labelled(1, 2, 3)) == 0.0


def test_majority_of_mnli_is_one_class_over_both_splits() -> None:
    both = {
        **labelled(0, 0, 0, 1, split="validation_matched").splits,
        **labelled(2, 2, 1, 1, split="validation_mismatched").splits,
    }
    assert Glue().majority("mnli", TaskData(both, "", "test")) == 37.5


def test_scoring_480_rows_costs_less_than_5_ms() -> None:
    rng = np.random.default_rng(0)
    values, classes = rng.normal(size=(2, 480)), rng.integers(0, 2, (2, 480))
    for task, pair in (("stsb", values), ("mrpc", classes), ("cola", classes)):
        spent = []
        for _ in range(20):
            started = time.process_time()
            Glue().score(task, "validation", *pair)
            spent.append(time.process_time() - started)
        assert min(spent) < 0.005


def test_loading_and_scoring_import_nothing_heavy() -> None:
    code = """
import sys, numpy as np
from harness.core.method import SourceRequest
from suites.glue import Glue
data = Glue().load("stsb", SourceRequest("embedded"))
true = np.array([row.label for row in data.splits["validation"]])
heavy = {"torch", "pandas", "pyarrow", "datasets", "evaluate", "scipy", "sklearn", "transformers"}
print(sorted(heavy & set(sys.modules)), end=" ")
Glue().score("stsb", "validation", true, true)
print(sorted(heavy & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[] []"
