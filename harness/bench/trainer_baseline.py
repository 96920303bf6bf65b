"""The baseline "peft + Trainer": it trains one cell at a time on the same rows and with the same budget as ours.

model loading | setup: adapter, Trainer | training [ first step ... last step ] | scoring
                                                    |----- stepping -----|
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.method import SUITES
from harness.core.optimizer import get_optimizer
from harness.core.protocol import Protocol
from harness.data.inputs import Inputs, read_inputs
from harness.data.task_types.classification import LabelledRows, extract_predictions
from harness.models.load import load_model, load_tokenizer
from harness.planning.planned_cell import PlannedCell
from harness.planning.schedule import count_steps, count_warmup_steps
from harness.profiling.clocks import synchronise

BaselineVariant = Literal["best", "default"]
"""best: our precision and length-bucketed batches; default: TrainingArguments' defaults for all but the budget."""
BASELINE_VARIANTS: tuple[BaselineVariant, ...] = ("best", "default")
SCHEDULES = {"linear": "linear", "constant": "constant_with_warmup", "cosine": "cosine"}
"""Our schedule -> transformers' name."""


@dataclasses.dataclass(frozen=True)
class BaselineRun:
    """One cell trained by the baseline: seconds of its parts without model loading, and scores in points.

    `stepping` is the share of the steps in `training`. `whole`: it used its whole budget, so that its scores count.
    """

    key: str
    setup: float
    training: float
    stepping: float
    scoring: float
    steps: int
    whole: bool
    scores: dict[str, float]

    def seconds(self, steps: int | None = None) -> float:
        """Seconds from building the adapter to the last score; for `steps` steps at the pace of those taken."""
        scale = 1.0 if steps is None else steps / self.steps
        return self.setup + self.training + self.stepping * (scale - 1) + self.scoring


class TrainerDataset(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """A split as Trainer reads it: dicts of unpadded lists; `lengths` in tokens."""

    def __init__(self, split: LabelledRows) -> None:
        self.split = split
        self.lengths = split.lengths.tolist()

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> dict[str, Any]:
        n, types = self.lengths[row], self.split.types
        example = {"input_ids": self.split.ids[row, :n].tolist(), "labels": self.split.labels[row].item()}
        return example if types is None else example | {"token_type_ids": types[row, :n].tolist()}


def read_cell_inputs(planned: PlannedCell) -> Inputs:
    """The tokenized rows of a cell."""
    return read_inputs(load_tokenizer(planned.source), planned.task, planned.data, planned.cell.protocol)


def train_baseline(
    planned: PlannedCell, inputs: Inputs, device: str, max_steps: int | None = None, way: BaselineVariant = "best"
) -> BaselineRun:
    """A cell trained and scored as peft's LoRA with the cell's rank and rate; `max_steps` ends it early, for timing."""
    cell = planned.cell
    budget = count_steps(cell.protocol, len(inputs.splits["train"]))
    steps = min(budget, max_steps or sys.maxsize)
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(planned.source, planned.task.outputs, device=device)
        times = [time.perf_counter()]  # after loading, which our packs do once for many cells
        trainer = _build_trainer(model, cell, inputs, build_arguments(cell, steps, device, way, folder))
        step_times = _time_steps(trainer, steps, device)
        times.append(time.perf_counter())
        trainer.train()
        synchronise(device)  # a GPU may still be at the last steps
        times.append(time.perf_counter())
        scores = _score_trainer(trainer, cell, inputs)
        times.append(time.perf_counter())
    setup, training, scoring = np.diff(times).tolist()
    return BaselineRun(
        cell.key, setup, training, step_times[-1] - step_times[0], scoring, steps, steps == budget, scores
    )


def _time_steps(trainer: Any, steps: int, device: str) -> list[float]:
    """A list that gets two times while it trains: the begin of the first step and the end of the last."""
    times: list[float] = []

    def begins(args: Any, state: Any, control: Any, **more: Any) -> None:
        if not state.global_step:
            times.append(time.perf_counter())

    def ends(args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step == steps:
            synchronise(device)
            times.append(time.perf_counter())

    trainer.add_callback(build_callback(on_step_begin=begins, on_step_end=ends))
    return times


def build_callback(**events: Callable[..., None]) -> Any:
    """A TrainerCallback from functions of (arguments, state, control, **more), named by their event."""
    from transformers import TrainerCallback

    return type("Callback", (TrainerCallback,), {name: staticmethod(called) for name, called in events.items()})()


def _build_trainer(model: torch.nn.Module, cell: Cell, inputs: Inputs, arguments: Any) -> Any:
    """A Trainer of peft's LoRA on query and value, initialized by the cell's seed."""
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer

    torch.manual_seed(cell.seeds["init"])
    rank = int(cell.options.get("rank", 16))
    config = LoraConfig(r=rank, lora_alpha=16, target_modules=["query", "value"], task_type=TaskType.SEQ_CLS)
    trainer = Trainer(
        get_peft_model(model, config),
        arguments,
        train_dataset=_build_dataset(inputs, "train"),
        data_collator=DataCollatorWithPadding(inputs.tokenizer),
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where a process reports its result
    return trainer


def _score_trainer(trainer: Any, cell: Cell, inputs: Inputs) -> dict[str, float]:
    """Scores in points on all eval splits, by our suite's metrics."""
    suite = SUITES.get(cell.suite)()
    scores: dict[str, float] = {}
    for name in suite.tasks[cell.task].eval_splits:
        # with grouping by length Trainer reorders eval rows too, so the labels are those it returns
        output = trainer.predict(_build_dataset(inputs, name))
        scores |= suite.score(
            cell.task, name, extract_predictions(np.asarray(output.predictions)), np.asarray(output.label_ids)
        )
    return scores


def _build_dataset(inputs: Inputs, name: str) -> TrainerDataset:
    split = inputs.splits[name]
    assert isinstance(split, LabelledRows)
    return TrainerDataset(split)


def build_arguments(cell: Cell, steps: int, device: str, way: BaselineVariant, folder: str) -> Any:
    """TrainingArguments with the cell's budget: steps, batch size, rate, schedule, optimizer, clipping, loss, seed.

    `best` adds the cell's precision and length-bucketed batches, large batches for scoring, and saves and logs nothing.
    """
    from transformers import TrainingArguments

    p = cell.protocol
    budget: dict[str, Any] = {
        "output_dir": folder,
        "max_steps": steps,
        "per_device_train_batch_size": p.batch_size,
        "learning_rate": p.lr,
        "lr_scheduler_type": SCHEDULES[p.schedule],
        "warmup_steps": count_warmup_steps(p, steps),
        "weight_decay": p.weight_decay,
        "max_grad_norm": p.clip,
        "adam_beta1": p.beta1,
        "adam_beta2": p.beta2,
        "adam_epsilon": p.epsilon,
        "label_smoothing_factor": p.label_smoothing,
        **_build_optimizer_arguments(p),
        "use_cpu": device == "cpu",
        "seed": cell.seeds["order"],
        "disable_tqdm": True,
        "report_to": "none",
    }
    if way == "default":
        return TrainingArguments(**budget)
    return TrainingArguments(
        **budget,
        per_device_eval_batch_size=128,
        bf16=cell.dtype == "bf16",
        save_strategy="no",
        logging_strategy="no",
        dataloader_pin_memory=device != "cpu",
        train_sampling_strategy="group_by_length" if p.group_by_length else "random",
    )


def _build_optimizer_arguments(protocol: Protocol) -> dict[str, str]:
    """`optim` and `optim_args` of TrainingArguments; for AdamW Trainer's default. Raises UserError without a name."""
    if protocol.optimizer == "adamw":
        return {}
    optimizer = get_optimizer(protocol)
    if optimizer.trainer is None:
        raise UserError(f"optimizer '{optimizer.name}': transformers' Trainer, the baseline, has none of this name")
    momentum = {"optim_args": f"momentum={protocol.momentum}"} if "momentum" in optimizer.reads else {}
    return {"optim": optimizer.trainer, **momentum}
