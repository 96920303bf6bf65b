"""Runs in a pack whose cells end at different steps, shared by the tests of stopping and going on."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.core.listener import PlainListener
from harness.core.record import Record
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.core.store import Store, select_missing_cells
from harness.planning.plan import Plan, make_plan
from harness.planning.planned_cell import PlannedCell
from harness.runner.execute import execute, open_executor

SMALL = {"tasks": ("rte",), "seeds": "2", "train_rows": 64, "eval_rows": 40, "profile": False, "threads": 1}


def planned(methods: str, steps: Sequence[int], **flags: Any) -> tuple[Plan, Spec]:
    """One cell a number of steps, in the order of the plan."""
    spec = make_spec(SMALL | {"methods": methods} | flags)
    plan = make_plan(spec)

    def ending(planned: PlannedCell, last: int) -> PlannedCell:
        protocol = planned.cell.protocol.model_copy(update={"max_steps": last, "epochs": 99})
        return dataclasses.replace(planned, cell=planned.cell.model_copy(update={"protocol": protocol}))

    cells = tuple(ending(c, n) for c, n in zip(plan.cells, steps, strict=True))
    return dataclasses.replace(plan, cells=cells), spec


class Seen(PlainListener):
    """Notes, and the steps at which progress was told; raises at one of them."""

    def __init__(self, until: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.said = io.StringIO()
        super().__init__(self.said, 99)
        self.until, self.error, self.steps = until, error, list[int]()

    def step(self, step: int, losses: Sequence[float]) -> None:
        self.steps.append(step)
        if step == self.until:
            raise self.error


def sitting(out: Path, asked: tuple[Plan, Spec], listener: Seen) -> str:
    """Run what is missing; what was said."""
    plan, spec = asked
    store = Store(out)
    store.prepare()
    todo = select_missing_cells(plan.cells, store.read()[0], retry=False)
    with open_executor(spec) as executor:
        execute(plan, todo, spec, store, listener, executor)
    return listener.said.getvalue()


def stored(out: Path, plan: Plan) -> list[Record]:
    records = Store(out).read()[0]
    return [records[c.key] for c in plan.cells]


def told(out: Path, record: Record) -> pd.DataFrame:
    return pd.read_parquet(out / "cells" / f"{record.key}.parquet")


def assert_same_bits(one: Path, other: Path, plan: Plan) -> None:
    """Scores, loss curves and predictions."""
    for a, b in zip(stored(one, plan), stored(other, plan), strict=True):
        assert (a.status, a.scores, a.loss_curve, a.steps) == (b.status, b.scores, b.loss_curve, b.steps)
        pd.testing.assert_frame_equal(told(one, a), told(other, b), check_exact=True)


def assert_near(one: Path, other: Path, plan: Plan) -> None:
    """As packs of different widths agree."""
    for a, b in zip(stored(one, plan), stored(other, plan), strict=True):
        assert a.status == b.status == "ok" and [s for s, _ in a.loss_curve] == [s for s, _ in b.loss_curve]
        np.testing.assert_allclose([x for _, x in a.loss_curve], [x for _, x in b.loss_curve], atol=1e-4)
        ours, theirs = (np.stack(told(out, r)["logits"]) for out, r in ((one, a), (other, b)))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
