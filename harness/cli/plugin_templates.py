"""Texts of the files that `new` writes: BODIES has the plugins by kind, TESTS their tests."""

from __future__ import annotations

STRATEGY = '''\
"""The strategy $name: run it with --plugin $file.py --methods lorasp:select=$name."""

from harness.contracts import strategy


@strategy("$name")
def $word(sites, ratio, rng):
    """Random entries: the entries with the highest numbers train."""
    # more parameters, by name, get more: starts (A and B), weights (the frozen W), inputs (norms of x); by site name
    return {s.name: tuple(rng.random(shape) for shape in s.shapes) for s in sites}
'''

METHOD = '''\
"""The method $name: run it with --plugin $file.py --methods $name."""

import dataclasses

from harness.contracts import METHODS
from methods.lowrank import LowRank


@METHODS.register("$name")
@dataclasses.dataclass(frozen=True, kw_only=True)
class $class_name(LowRank):
    """LoRA with half of its scale."""

    name = "$name"
    summary = "LoRA with half of its scale"

    @property
    def scale(self):
        return self.alpha / self.rank / 2
'''

SUITE = '''\
"""The suite $name: run it with --plugin $file.py --suite $name --methods lora."""

import random

from harness.contracts import SUITES, Average, Example, Suite, SuiteOption, SuitePreset, Task, TaskData
from suites.sources.fingerprint import compute_fingerprint

GOOD, BAD = "good great fine lovely".split(), "bad poor awful dull".split()


@SUITES.register("$name")
class $class_name(Suite):
    """One task. Each of its rows has texts and a label, the number of its class."""

    name = "$name"
    summary = "short made-up reviews, good or bad"
    options = (SuiteOption("words", int, "words of a text", 8),)
    presets = {"quick": SuitePreset("embedded:encoder", {"max_steps": 100}), "small": SuitePreset("all-MiniLM-L6-v2")}
    tasks = {"reviews": Task("reviews", ("bad", "good"), ("validation",), ("accuracy", "f1"))}
    averages = (Average("$name", {"reviews": ("accuracy",)}),)

    def load(self, task, request):
        """Rows of "train" and of each eval split; here made up, the same for each run."""
        self.get_task(task)
        rng = random.Random(0)
        examples = []
        for n in range(700):
            label = n % 2
            words = rng.choices("we saw the film and it was".split(), k=self.get_option("words") - 1)
            text = " ".join([*words, rng.choice(GOOD if label else BAD)])
            examples.append(Example(f"row/{n}", (text,), label))
        splits = {"train": tuple(examples[:500]), "validation": tuple(examples[500:])}
        return TaskData(splits, compute_fingerprint(splits), "made up")
'''

TABLE = '''\
"""The report table $name: add it to a report with --plugin $file.py."""

import statistics

from reports.registered import report_table


@report_table("$name", title="$name")
def build_rows(context):
    """Rows with the same keys; numbers are rounded in the report and written in full to table-$name.csv."""
    rows = []
    for method in context.grid.methods:
        records = [record for record in context.grid.select_method(method) if record.status == "ok"]
        steps = [record.steps for record in records if record.steps is not None]
        rows.append({"method": method, "runs": len(records), "mean steps": statistics.fmean(steps) if steps else None})
    return rows
'''
SCHEDULE = '''\
"""The learning-rate schedule $name: run it with --plugin $file.py --methods lora --schedule $name."""

from harness.contracts import SCHEDULES


@SCHEDULES.register("$name")
def $word(step, warmup_steps, steps):
    """The factor of the peak rate after the warm-up; steps count from 0."""
    return 1.0 if 2 * step < steps else 0.5
'''

OPTIMIZER = '''\
"""The optimizer $name: run it with --plugin $file.py --methods lora --optimizer $name."""

from harness.contracts import OPTIMIZERS, Optimizer


@OPTIMIZERS.register("$name")
class $class_name(Optimizer):
    """Signum (arXiv 1802.04434): the sign of a running mean of gradients."""

    name = "$name"
    summary = "the sign of a running mean of gradients"
    reads = ("beta1", "weight_decay")
    moments = ("mean",)

    def compute_step(self, gradient, moments, values):
        """What is subtracted from the parameters, [K, n]; `values` are [K, 1], one row for each replica."""
        mean = moments["mean"].lerp_(gradient, 1 - values["beta1"])
        return mean.sign() * values["rate"]
'''
RUN = """

def test_it_trains(tmp_path):
    words = "$run --seeds 1 --max-steps 2 --eval-rows 20 --no-profile".split()
    assert run_command(["run", "--plugin", str(FILE), *words, "--out", str(tmp_path)]) == 0
"""

TESTS = {
    "strategy": '''\
"""Does $name train exactly the requested share?"""

from pathlib import Path

from harness.contracts import STRATEGIES, Site, Streams, equal, load_all, run_command
from methods.masks import build_masks

FILE = Path(__file__).with_name("$file.py")


def test_exactly_the_share_trains():
    load_all([FILE])
    sites = [Site("query", 9, 7, 3, 0)]
    masks = build_masks(STRATEGIES.get("$name"), sites, 0.25, "matrix", Streams(equal(0)), None)
    assert [int(mask.sum()) for mask in masks["query"]] == [round(27 / 4), round(21 / 4)]
''',
    "method": '''\
"""Does $name train?"""

from pathlib import Path

from harness.contracts import run_command

FILE = Path(__file__).with_name("$file.py")
''',
    "suite": '''\
"""Does $name give rows that can be scored, and does a model train on them?"""

from pathlib import Path

import numpy as np

from harness.contracts import SUITES, SourceRequest, load_all, run_command

FILE = Path(__file__).with_name("$file.py")


def test_right_predictions_score_100():
    load_all([FILE])
    suite = SUITES.get("$name")()
    for name, task in suite.tasks.items():
        data = suite.load(name, SourceRequest("embedded"))
        assert set(data.splits) == {"train", *task.eval_splits}
        for split in task.eval_splits:
            labels = np.array([row.label for row in data.splits[split]])
            assert set(suite.score(name, split, labels, labels).values()) == {100.0}
''',
    "table": '''\
"""Is $name in the report?"""

import csv
from pathlib import Path

from harness.contracts import run_command

FILE = Path(__file__).with_name("$file.py")


def test_the_report_has_it(tmp_path):
    words = "--methods lora --tasks rte --seeds 1 --max-steps 2 --eval-rows 20 --no-profile".split()
    assert run_command(["run", "--plugin", str(FILE), *words, "--out", str(tmp_path)]) == 0
    assert "### $name" in (tmp_path / "report" / "report.md").read_text()
    with (tmp_path / "report" / "table-$name.csv").open() as stream:
        assert [row["mean steps"] for row in csv.DictReader(stream)] == ["2.0"]
''',
    "schedule": '''\
"""Does $name give the learning rates that it should, and does a model train by them?"""

from pathlib import Path

from harness.contracts import Protocol, compute_learning_rates, load_all, run_command

FILE = Path(__file__).with_name("$file.py")


def test_learning_rates():
    load_all([FILE])
    protocol = Protocol(lr=2.0, schedule="$name", warmup=2)
    assert compute_learning_rates(protocol, 8) == [0.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
''',
    "optimizer": '''\
"""Does $name take the steps that it should, also for replicas of a pack, and does a model train by it?"""

from pathlib import Path

import torch

from harness.contracts import OPTIMIZERS, load_all, run_command

FILE = Path(__file__).with_name("$file.py")


def test_two_steps_of_two_replicas():
    load_all([FILE])
    optimizer = OPTIMIZERS.get("$name")()
    moments = {name: torch.zeros(2, 3) for name in optimizer.moments}
    parameters, betas = torch.zeros(2, 3), torch.tensor([[0.9], [0.1]])
    for rate, gradient in (([[0.5], [0.1]], [0.9, -0.9, 0.0]), ([[0.25], [0.1]], [-0.3, -0.3, 0.0])):
        values = {"rate": torch.tensor(rate), "scale": torch.ones(2, 1), "beta1": betas}
        parameters -= optimizer.compute_step(torch.tensor(gradient).expand(2, 3), moments, values)
    # the first replica remembers the sign of its first gradient, the second follows its last one
    torch.testing.assert_close(parameters, torch.tensor([[-0.75, 0.75, 0.0], [0.0, 0.2, 0.0]]))
''',
}

BODIES = {
    "strategy": STRATEGY,
    "method": METHOD,
    "suite": SUITE,
    "table": TABLE,
    "schedule": SCHEDULE,
    "optimizer": OPTIMIZER,
}
