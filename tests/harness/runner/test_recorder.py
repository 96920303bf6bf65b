"""What a record says of the rows: those of its own task only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.spec_reading import make_spec
from harness.data import inputs
from harness.planning.plan import make_plan
from tests.harness.sittings import SMALL, Seen, sitting, stored


def test_a_cell_whose_rows_do_not_tokenise_has_no_notes_of_the_task_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = inputs.read_inputs

    def read(tokenizer: Any, task: Any, *rest: Any) -> inputs.Inputs:
        if task.name == "mrpc":
            raise ValueError("no such rows")
        made = inner(tokenizer, task, *rest)
        made.splits["train"].notes = ("two rows were dropped",)
        return made

    monkeypatch.setattr(inputs, "read_inputs", read)
    spec = make_spec(SMALL | {"tasks": ("rte", "mrpc"), "seeds": "1", "methods": "lora", "max_steps": 1})
    plan = make_plan(spec)
    sitting(tmp_path, (plan, spec), Seen())
    rte, mrpc = stored(tmp_path, plan)
    assert (rte.status, mrpc.status, mrpc.reason) == ("ok", "failed", "ValueError: no such rows")
    assert "two rows were dropped" in rte.data_notes and "two rows were dropped" not in mrpc.data_notes
    assert rte.averages["glue"].metrics == ["accuracy"] and rte.scores["accuracy"] == rte.averages["glue"].score
