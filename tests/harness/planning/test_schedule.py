"""Steps and learning rates against transformers' Trainer."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.cli.main import main
from harness.core.protocol import Protocol
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import make_plan
from harness.planning.schedule import compute_learning_rates, count_steps
from tests.harness.test_plugins import registered

EPOCHS = (0.1, 0.5, 0.9, 1.0, 1.1, 1.7, 2.2, 2.5, 3.0, 3.3)
ROWS = (1, 3, 8, 16, 17, 79, 80, 240, 300)


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": torch.zeros(1)}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(tmp_path_factory.mktemp("trainer")), use_cpu=True, report_to=[], per_device_train_batch_size=8
    )
    return Trainer(torch.nn.Linear(1, 1), arguments, train_dataset=Rows(8))


@pytest.mark.parametrize(("rows", "epochs"), itertools.product(ROWS, EPOCHS))
def test_epochs_give_as_many_steps_as_trainer_takes(rows: int, epochs: float, trainer: Any) -> None:
    own = Protocol(lr=1e-3, epochs=epochs, batch_size=8)
    trainer.args.num_train_epochs, trainer.args.max_steps = epochs, -1
    loader = torch.utils.data.DataLoader(Rows(rows), batch_size=8)
    assert count_steps(own, rows) == trainer.set_initial_training_values(trainer.args, loader)[-1]


@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.08, 0.1, 0.33, 0.99, 1.0, 5.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 30, 50, 150])
def test_rates_are_trainers(steps: int, warmup: float, schedule: str, trainer: Any) -> None:
    trainer.args.warmup_steps = warmup
    trainer.args.lr_scheduler_type = "constant_with_warmup" if schedule == "constant" else schedule
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-3)
    made = get_scheduler(
        trainer.args.lr_scheduler_type,
        optimizer,
        num_warmup_steps=min(steps, trainer.args.get_warmup_steps(steps)),
        num_training_steps=steps,
    )
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    own = Protocol(lr=3e-3, warmup=warmup, schedule=schedule)
    assert compute_learning_rates(own, steps) == pytest.approx(rates, rel=1e-12, abs=0)


def test_max_steps_bounds_the_epochs() -> None:
    assert count_steps(Protocol(lr=1, epochs=3, batch_size=8, max_steps=5), 80) == 5
    assert count_steps(Protocol(lr=1, epochs=0.5, batch_size=8, max_steps=50), 80) == 5
    assert count_steps(Protocol(lr=1, epochs=1e6, batch_size=8, max_steps=50), 8000) == 50


def test_what_changed_is_in_the_key_of_the_cells_it_changes(tmp_path: Path) -> None:
    def parts(**flags: Any) -> dict[str, str]:
        spec = make_spec({"tasks": ("rte",), "methods": "lora", "seeds": "1", "out": tmp_path, **flags})
        return make_plan(spec).cells[0].cell.parts

    assert parts(epochs=2.0) == {}
    assert parts(epochs=1.1) == {"steps": "2"}
    assert parts(group_by_length=True) == {"order": "2"}


PLUGIN = '''
from harness.contracts import SCHEDULES


@SCHEDULES.register("halves")
def halve(step, warmup_steps, steps):
    """Half the rate in the second half."""
    return 1.0 if 2 * step < steps else 0.5
'''


def test_a_schedule_is_one_file(tmp_path: Path) -> None:
    plugin = tmp_path / "halves.py"
    plugin.write_text(PLUGIN)
    words = [
        "--tasks",
        "rte",
        "--methods",
        "lora",
        "--seeds",
        "1",
        "--max-steps",
        "4",
        "--eval-rows",
        "16",
        "--no-profile",
    ]
    flags = ["--schedule", "halves", "--warmup", "0", "--plugin", str(plugin), "--out", str(tmp_path / "out")]
    with registered():
        assert main(["run", *words, *flags, "--formats", "csv", "--figures", ""]) == 0
        assert compute_learning_rates(Protocol(lr=2.0, schedule="halves", warmup=0), 4) == [2.0, 2.0, 1.0, 1.0]
    (record,) = Store(tmp_path / "out").read()[0].values()  # without the plugin
    assert record.status == "ok" and record.cell.protocol.schedule == "halves"
    assert record.cell.parts["schedule halves"]  # the source of the plugin is in the key


def test_an_unknown_schedule_and_a_part_of_a_step_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (["--schedule", "cosin"], "did you mean 'cosine'"),
        (["--warmup", "1.5"], "whole number of steps"),
    ):
        assert main(["plan", "--tasks", "rte", "--methods", "lora", *words]) == 2
        assert says in capsys.readouterr().err
