"""`new KIND NAME`: a plugin file that works, and its test; KIND is strategy, method, suite or table."""

from __future__ import annotations

import keyword
import os
import re
import string
from pathlib import Path
from typing import Any

from harness.core.errors import UserError, shorten
from harness.core.method import METHODS, STRATEGIES, SUITES
from harness.core.registry import MAX_NAME_LENGTH, Registry, load_package

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
}
BODIES = {"strategy": STRATEGY, "method": METHOD, "suite": SUITE, "table": TABLE}


def format_run(kind: str, name: str) -> str:
    """The flags of a run that uses what was written."""
    if kind == "suite":
        return f"--suite {name} --methods lora"
    if kind == "table":
        return "--methods lora --tasks rte"
    return f"--methods {f'lorasp:select={name}' if kind == 'strategy' else name} --tasks rte"


def _load_registry(kind: str) -> Registry[Any]:
    """Where the names of a kind are registered."""
    if kind == "table":
        from reports.registered import TABLES

        load_package("reports.tables")
        return TABLES
    registries: dict[str, Registry[Any]] = {"strategy": STRATEGIES, "method": METHODS, "suite": SUITES}
    return registries[kind]


def write_new(kind: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Write the plugin and its test; returns both. Raises UserError for a name or a file that is taken."""
    if kind not in BODIES:
        raise UserError(f"new {shorten(kind)}: allowed: {', '.join(f'new {name} NAME' for name in BODIES)}")
    word = name.replace("-", "_")
    # the name becomes a module, a function and a part of cell labels: it must be valid in all three
    fits = len(name) <= MAX_NAME_LENGTH and re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
    if not fits or keyword.iskeyword(word):
        raise UserError(
            f"new {kind} {shorten(name)}: allowed: small letters, digits and single dashes, {MAX_NAME_LENGTH} at most,"
            f" e.g. my-{kind}"
        )
    if name in _load_registry(kind):
        raise UserError(f"{_load_registry(kind).kind} '{name}' is already registered; choose another name")
    plugin, test = folder / f"{word}.py", folder / f"test_{word}.py"
    for path in (plugin, test):
        if os.path.exists(path):
            raise UserError(f"'{path}' already exists; choose another name, or another folder with --out DIR")
    class_name = "".join(part.capitalize() for part in name.split("-"))
    words = {"name": name, "word": word, "file": word, "class_name": class_name, "run": format_run(kind, name)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plugin.write_text(string.Template(BODIES[kind]).substitute(words))
        test.write_text(string.Template(TESTS[kind] + ("" if kind == "table" else RUN)).substitute(words))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--out {shorten(folder)}: {reason}; give a folder that can be written") from error
    return plugin, test
