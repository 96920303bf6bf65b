"""Verdicts on regularisation of made-up losses; the unseen loss against scikit-learn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from harness.core.record import Predictions, Record
from reports.statistics.student import Student
from studies.answer import Answer, StudyRuns
from studies.rules.gaps import compute_unseen_loss, judge, judge_regularisation
from studies.study import load_study
from tests.reports.records import cell, record

LESS, MORE, NONE = Student(-1.0, 0.1, 4), Student(1.0, 0.1, 4), Student(0.0, 1.0, 4)
SAME, FALLS, OPEN = Student(0.0, 0.2, 4), Student(-9.0, 0.2, 4), Student(0.0, 5.0, 4)


@pytest.mark.parametrize(
    ("gap", "dev", "score", "kind"),
    [
        (LESS, NONE, SAME, "confirmed"),
        (LESS, LESS, OPEN, "confirmed"),
        (LESS, NONE, OPEN, "undecided"),
        (NONE, NONE, SAME, "undecided"),
        (MORE, NONE, SAME, "contradicted"),
        (LESS, MORE, FALLS, "contradicted"),
        (None, None, None, "undecided"),
    ],
)
def test_known_truth(gap: Student | None, dev: Student | None, score: Student | None, kind: str) -> None:
    assert judge_regularisation([gap], [dev], [score], 2.0, [False]) == [kind]


def test_a_gap_that_dropout_makes_confirms_nothing() -> None:
    assert judge_regularisation([LESS, LESS], [NONE, LESS], [SAME, SAME], 2.0, [True, True]) == [
        "undecided",
        "confirmed",
    ]


def test_unseen_loss() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pd.DataFrame({"logits": list(logits), "target": targets.astype(float)})
    assert compute_unseen_loss(frame) == pytest.approx(log_loss(targets, shares, labels=[0, 1, 2]))


def stored(folder: Path, method: str, seed: int, train: float, dev: float) -> Record:
    """A record whose loss on unseen rows is `dev` nats: one logit, two classes."""
    margin = -np.log(np.exp(dev) - 1)
    frame = pd.DataFrame({"logits": [[0.0, float(margin)]] * 4, "target": [1.0] * 4})
    name = f"{method.replace(':', '-')}-{seed}.parquet"
    frame.to_parquet(folder / name)
    options = {"resample": 10} if "resample" in method else {}
    own = cell("rte", method.partition(":")[0], seed, options=options)
    kept = Predictions(path=name, sha256="", rows=4)
    curve = [(step, 2.0) for step in range(1, 7)] + [(7, train), (8, train)]
    return record(70.0 + 0.1 * seed * len(method), own, ("rte",), predictions=kept, loss_curve=curve)


def test_gap_is_read_from_curve_and_predictions(tmp_path: Path) -> None:
    records = [stored(tmp_path, "lora", s, 0.1, 0.9 + 0.01 * s) for s in range(4)]
    records += [stored(tmp_path, "lorasp", s, 0.3, 0.6 + 0.02 * s) for s in range(4)]
    found = judge(load_study("regularisation"), StudyRuns(records, margin=2.0, cells=tmp_path))
    assert found.kind == "confirmed"
    assert [row["gap"] for row in found.rows] == ["+0.815", "+0.330"]


def gathered(folder: Path, train: float, dev: float, seeds: int = 4) -> list[Record]:
    """lora at 0.1 and 0.9 nats, lorasp as given, both with a little spread."""
    made = [stored(folder, "lora", s, 0.1, 0.9 + 0.01 * s) for s in range(seeds)]
    return made + [stored(folder, "lorasp", s, train, dev + 0.02 * s) for s in range(seeds)]


def judged(records: list[Record], folder: Path) -> Answer:
    return judge(load_study("regularisation"), StudyRuns(records, margin=2.0, cells=folder))


@pytest.mark.parametrize(
    ("train", "dev", "kind"), [(0.1, 0.6, "confirmed"), (0.1, 1.3, "contradicted"), (0.1, 0.885, "undecided")]
)
def test_answers(train: float, dev: float, kind: str, tmp_path: Path) -> None:
    found = judged(gathered(tmp_path, train, dev), tmp_path)
    assert found.kind == kind and "lorasp against lora: gap" in found.sentence
    assert ("inimum detectable difference" in found.sentence) == (kind == "undecided")


@pytest.mark.parametrize("broken", [None, math.nan])
def test_a_cell_without_a_number_decides_nothing(broken: float | None, tmp_path: Path) -> None:
    made = gathered(tmp_path, 0.1, 0.6)
    made[-1] = record(broken, made[-1].cell, ("rte",))
    found = judged(made, tmp_path)
    assert found.kind == "undecided" and "1 cell failed" in found.sentence


def test_one_seed_and_none_decide_nothing(tmp_path: Path) -> None:
    one = judged(gathered(tmp_path, 0.1, 0.6, 1), tmp_path)
    assert one.kind == "undecided" and "one seed or no spread" in one.sentence
    without = [record(70.0, cell("rte", m, s), ("rte",)) for m in ("lora", "lorasp") for s in range(3)]
    found = judged(without, tmp_path)
    assert found.kind == "undecided" and found.lacks and found.parts == {}


def test_a_task_without_classes_is_left_out_and_one_that_a_method_lacks_decides_nothing(tmp_path: Path) -> None:
    made = gathered(tmp_path, 0.1, 0.6)
    regression = [record(80.0, cell("stsb", m, s), ("rte", "stsb")) for m in ("lora", "lorasp") for s in range(4)]
    assert judged([*made, *regression], tmp_path).kind == "confirmed"
    other = [r.model_copy(update={"key": f"sst2 {s}", "cell": cell("sst2", "lora", s)}) for s, r in enumerate(made[:4])]
    assert judged([*made, *other], tmp_path).kind == "undecided"
