"""The usual way, as a rival: peft and transformers.Trainer, one cell at a time, on the rows and budget of ours."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.cell import Cell
from harness.contracts import SUITES
from harness.inputs import Inputs, read_inputs
from harness.models import load_model, load_tokenizer
from harness.plan import Plan, make_plan
from harness.registry import load_all
from harness.schedule import total_steps
from harness.spec import Spec
from harness.task_types.classification import LabelledRows, decisions


@dataclasses.dataclass(frozen=True)
class Ran:
    """Seconds from the adapter's making to the last score, model loading apart, and the scores in points."""

    seconds: float
    steps: int
    scores: dict[str, float]

    @property
    def step_seconds(self) -> float:
        return self.seconds / self.steps


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """A split as Trainer reads it: unpadded lists, their lengths known."""

    def __init__(self, split: LabelledRows) -> None:
        self.split = split
        self.lengths = split.lengths.tolist()

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> dict[str, Any]:
        n = self.lengths[row]
        return {"input_ids": self.split.ids[row, :n].tolist(), "labels": self.split.labels[row].item()}


def inputs_of(plan: Plan, cell: Cell) -> Inputs:
    """The tokenised rows of a cell."""
    source, data = plan.models[cell.suite], plan.data[cell.suite, cell.task]
    return read_inputs(load_tokenizer(source), SUITES.get(cell.suite).tasks[cell.task], data, cell.protocol)


def train(plan: Plan, cell: Cell, inputs: Inputs, device: str, max_steps: int | None = None) -> Ran:
    """Train and score LoRA of the cell's rank and rate; `max_steps` ends it early, for timing."""
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer

    suite = SUITES.get(cell.suite)()
    task = suite.tasks[cell.task]
    model = load_model(plan.models[cell.suite], task.outputs, device=device)
    rank = int(cell.options.get("rank", 16))
    torch.manual_seed(cell.seeds["init"])
    started = time.perf_counter()
    config = LoraConfig(r=rank, lora_alpha=16, target_modules=["query", "value"], task_type=TaskType.SEQ_CLS)
    adapted = get_peft_model(model, config)
    rows = len(inputs.splits["train"])
    steps = min(total_steps(cell.protocol, rows), max_steps or sys.maxsize)
    trainer = Trainer(
        adapted,
        arguments(cell, steps, device),
        train_dataset=_labelled(inputs, "train"),
        data_collator=DataCollatorWithPadding(inputs.tokenizer),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    scores: dict[str, float] = {}
    for name in task.eval_splits:
        # with grouping by length Trainer orders these rows too, so the labels are those that it gives back
        found = trainer.predict(_labelled(inputs, name))
        scores |= suite.score(cell.task, name, decisions(np.asarray(found.predictions)), np.asarray(found.label_ids))
    return Ran(time.perf_counter() - started, steps, scores)


def _labelled(inputs: Inputs, name: str) -> Rows:
    split = inputs.splits[name]
    assert isinstance(split, LabelledRows)
    return Rows(split)


def arguments(cell: Cell, steps: int, device: str) -> Any:
    """TrainingArguments of the cell's protocol: its schedule, clipping, decay, precision and grouping by length."""
    from transformers import TrainingArguments

    p = cell.protocol
    return TrainingArguments(
        output_dir="unused",
        max_steps=steps,
        per_device_train_batch_size=p.batch_size,
        per_device_eval_batch_size=128,
        learning_rate=p.lr,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(p.warmup * steps),
        weight_decay=p.weight_decay,
        max_grad_norm=p.clip,
        bf16=cell.dtype == "bf16",
        use_cpu=device == "cpu",
        seed=cell.seeds["order"],
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device != "cpu",
        train_sampling_strategy="group_by_length" if p.group_by_length else "random",
    )


def concurrently(spec: Spec, count: int, steps: int, device: str) -> list[Ran]:
    """`count` processes at once, each training a cell for so many steps; all begin together."""
    job = json.dumps({"spec": spec.model_dump(mode="json"), "steps": steps, "device": device, "count": count})
    command = [sys.executable, "-m", "harness.bench.rival", job]
    with Barrier() as folder:
        running = [
            subprocess.Popen([*command, str(folder), str(i)], stdout=subprocess.PIPE, text=True) for i in range(count)
        ]
        texts = [process.communicate()[0] for process in running]
    return [Ran(**json.loads(text.splitlines()[-1])) for text in texts]


class Barrier:
    """A folder in which processes say that they are ready."""

    def __enter__(self) -> Path:
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        return Path(self._folder.name)

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()


def _wait(folder: Path, own: str, count: int) -> None:
    (folder / own).touch()
    while len(list(folder.iterdir())) < count:
        time.sleep(0.05)


def main(words: Sequence[str]) -> None:
    """One of several processes: `job folder number`."""
    job = json.loads(words[0])
    load_all()
    plan = make_plan(Spec.model_validate(job["spec"]))
    cell = plan.cells[int(words[2]) % len(plan.cells)]
    inputs = inputs_of(plan, cell)
    train(plan, cell, inputs, job["device"], max_steps=3)  # imports, kernels and caches are warm from here
    _wait(Path(words[1]), words[2], job["count"])
    print(json.dumps(dataclasses.asdict(train(plan, cell, inputs, job["device"], max_steps=job["steps"]))))


if __name__ == "__main__":
    main(sys.argv[1:])
