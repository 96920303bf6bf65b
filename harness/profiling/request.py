"""The request for a profile of one cell in isolation, and its trainer on synthetic rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from harness.core.cell import Cell
from harness.core.method import Example, Method, Task
from harness.core.protocol import Protocol
from harness.data.task_types import load_task_type
from harness.data.task_types.base import Losses, Split
from harness.training.pack_setup import attach_methods, load_backbone
from harness.training.trainer import Trainer

if TYPE_CHECKING:
    from harness.models.source import ModelSource
    from harness.planning.planned_cell import PlannedCell


@dataclasses.dataclass(frozen=True)
class ProfileRequest:
    """One profile to measure: the cell alone, with `length` tokens per row.

    It is pickled for the process that measures. `rows` are examples of the task, whose lengths a detailed profile uses.
    """

    key: str
    cell: Cell
    method: Method
    task: Task
    source: ModelSource
    length: int
    device: str
    threads: int | None
    repeats: int = 0
    """Blocks of timed steps; 0: the short profile at the end of a run."""
    rows: tuple[Example, ...] = ()
    waiting: int | None = None
    """Id of the requesting process if it has the GPU open itself, so that it does not count as a sharer."""


def request_of(planned: PlannedCell, device: str, threads: int | None, key: str | None = None) -> ProfileRequest:
    """The request for a planned cell, at its protocol's full length."""
    cell = planned.cell
    length = cell.protocol.max_length
    return ProfileRequest(key or cell.key, cell, planned.method, planned.task, planned.source, length, device, threads)


def count_vocabulary(model: torch.nn.Module) -> int:
    """Size of a model's vocabulary."""
    table = getattr(model, "get_input_embeddings")()  # noqa: B009 - transformers' own, unknown to nn.Module's types
    return int(table.num_embeddings)


def load_alone(question: ProfileRequest) -> torch.nn.Module:
    """The cell's backbone in its dtype and quantization, on the device."""
    return load_backbone(question.cell, question.method, question.task, question.source, question.device)


def make_synthetic_rows(task: Task, protocol: Protocol, length: int, model: torch.nn.Module) -> tuple[Split, Losses]:
    """A split of random tokens, all rows `length` tokens long, and the loss of the task type."""
    kind = load_task_type(task.kind)
    return kind.build_synthetic(task, protocol, length, count_vocabulary(model), model.config), kind.losses(protocol)


def build_trainer(question: ProfileRequest, model: torch.nn.Module, steps: int) -> Trainer:
    """A trainer of the cell's method on its backbone, for `steps` steps on synthetic rows."""
    return train_replicas(question, [question.cell], model, steps)


def train_replicas(question: ProfileRequest, cells: Sequence[Cell], model: torch.nn.Module, steps: int) -> Trainer:
    """A trainer for `cells`, which differ from the request's in their seeds only, as one batch.

    A method that plans over all steps, as AdaLoRA does, plans over `steps`.
    """
    first, method = cells[0], question.method
    rows, losses = make_synthetic_rows(question.task, first.protocol, question.length, model)
    split = rows.to(question.device)
    # `max_steps` only shortens a run, so as many epochs as steps make sure that there are enough
    protocols = [c.protocol.model_copy(update={"max_steps": steps, "epochs": float(steps)}) for c in cells]
    cells = [c.model_copy(update={"protocol": p}) for c, p in zip(cells, protocols, strict=True)]
    attached, streams = attach_methods(model, cells, [method] * len(cells), split, losses)
    autocast = first.dtype == "bf16" and method.autocasts
    return Trainer(model, attached, split, protocols, streams, losses, autocast=autocast)
