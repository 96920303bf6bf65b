"""What a profile is asked for: one cell alone, its backbone and its method on made-up rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from harness.core.cell import Cell, Protocol
from harness.core.method import Example, Method, Task
from harness.data.task_types import load_task_type
from harness.data.task_types.base import Losses, Split
from harness.models.load import load_model
from harness.training.pack_training import attach_methods
from harness.training.trainer import Trainer

if TYPE_CHECKING:
    from harness.models.source import ModelSource
    from harness.planning.planned_cell import PlannedCell


@dataclasses.dataclass(frozen=True)
class ProfileRequest:
    """One profile to take: the cell alone, at a batch of `length` tokens a row."""

    key: str
    cell: Cell
    method: Method
    task: Task
    source: ModelSource
    length: int
    device: str
    threads: int | None
    repeats: int = 0
    """Blocks of timed steps; 0 for the short profile at the end of a run."""
    rows: tuple[Example, ...] = ()
    waiting: int | None = None
    """The process that asks, where it has the GPU open itself."""


def request_of(planned: PlannedCell, device: str, threads: int | None, key: str | None = None) -> ProfileRequest:
    """The request for a planned cell, at its protocol's full length."""
    cell = planned.cell
    length = cell.protocol.max_length
    return ProfileRequest(key or cell.key, cell, planned.method, planned.task, planned.source, length, device, threads)


def count_vocabulary(model: torch.nn.Module) -> int:
    """Tokens that a model knows."""
    table = getattr(model, "get_input_embeddings")()  # noqa: B009 - transformers' own, unknown to nn.Module's types
    return int(table.num_embeddings)


def load_alone(question: ProfileRequest) -> torch.nn.Module:
    """The cell's backbone."""
    cell = question.cell
    return load_model(
        question.source,
        question.task.outputs,
        dtype=cell.dtype,
        quantize=cell.quantize,
        device=question.device,
        attention_dropout=cell.protocol.attention_dropout,
        trained_backbone=question.method.trains_backbone,
    )


def make_synthetic_rows(task: Task, protocol: Protocol, length: int, model: torch.nn.Module) -> tuple[Split, Losses]:
    """Rows of random tokens, all of the full length, and the loss of their kind."""
    kind = load_task_type(task.kind)
    return kind.build_synthetic(task, protocol, length, count_vocabulary(model), model.config), kind.losses(protocol)


def build_trainer(question: ProfileRequest, model: torch.nn.Module, steps: int) -> Trainer:
    """The cell's method on its backbone, ready for so many steps on made-up rows."""
    return train_replicas(question, [question.cell], model, steps)


def train_replicas(question: ProfileRequest, cells: Sequence[Cell], model: torch.nn.Module, steps: int) -> Trainer:
    """The same for cells that differ from the question's in their seeds, as one batch.

    What a method plans over all steps it plans over these.
    """
    first, method = cells[0], question.method
    made, losses = make_synthetic_rows(question.task, first.protocol, question.length, model)
    split = made.to(question.device)
    protocols = [c.protocol.model_copy(update={"max_steps": steps, "epochs": float(steps)}) for c in cells]
    cells = [c.model_copy(update={"protocol": p}) for c, p in zip(cells, protocols, strict=True)]
    attached, streams = attach_methods(model, cells, [method] * len(cells), split, losses)
    autocast = first.dtype == "bf16" and method.autocasts
    return Trainer(model, attached, split, protocols, streams, losses, autocast=autocast)
