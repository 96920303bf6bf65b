"""Prepare the model of a pack: load the backbone, attach the methods of its cells, count what trains.

    backbone (frozen)          groups of trained values, [K, N] each
    load_backbone ────────────> attach_methods ────────────> count_parameters, one member at a time
                                     ^
    training rows ── build_calibration, for strategies that score entries before training

Training and profiling prepare a model in the same way, so a profile is of what trains.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch

from harness.core.cell import Cell
from harness.core.errors import CellFailed, UserError
from harness.core.method import Calibration, Initial, Member, Method, Task
from harness.core.optimizer import get_optimizer
from harness.core.protocol import Protocol
from harness.core.record import Parameters, TrainState
from harness.core.seeds import Streams
from harness.data.task_types.base import Losses, Split
from harness.models.backbone import BackboneStorage
from harness.models.load import load_model
from harness.models.source import ModelSource
from harness.planning.schedule import count_steps
from harness.replicas.cuda_graph import use_side_stream
from harness.replicas.groups import Attached
from harness.training.recompute import apply_checkpointing

CALIBRATION_ROWS, CALIBRATION_BATCH = 128, 16
"""Training rows that scored selection strategies may read, and rows per batch."""


def load_backbone(cell: Cell, method: Method, task: Task, source: ModelSource, device: str) -> torch.nn.Module:
    """The cell's backbone in its dtype and quantization type, frozen unless the method trains it."""
    return load_model(
        source,
        task.outputs,
        dtype=cell.dtype,
        quantize=cell.quantize,
        device=device,
        attention_dropout=cell.protocol.attention_dropout,
        trained_backbone=method.trains_backbone,
    )


def build_calibration(split: Split, losses: Losses) -> Calibration:
    """Batches of `CALIBRATION_ROWS` training rows in a fixed shuffle, and the loss.

    The rows are the same for each seed and method, so that calibration adds no variance between them.
    """
    indices = np.random.default_rng(0).permutation(len(split))[:CALIBRATION_ROWS]
    batches = [indices[i : i + CALIBRATION_BATCH] for i in range(0, len(indices), CALIBRATION_BATCH)]
    examples = [(split.batch(rows), split.targets(split.place(rows), split.shape(rows))) for rows in batches]
    return Calibration(examples, losses)


def attach_methods(
    model: torch.nn.Module,
    cells: Sequence[Cell],
    methods: Sequence[Method],
    split: Split,
    losses: Losses,
    initials: Sequence[Initial | None] = (),
) -> tuple[Attached, list[Streams]]:
    """The trained groups [K, N] and the random streams of a pack's cells, after attaching their methods to the model.

    `split` has the training rows. `initials` are earlier adapters to start from, one for each cell or none at all.
    Raises CellFailed if the method refuses the model.
    """
    streams = [Streams(c.seeds) for c in cells]
    steps = [count_steps(c.protocol, len(split)) for c in cells]
    initial_adapters = initials or [None] * len(streams)
    members = [Member(*fields) for fields in zip(methods, streams, steps, initial_adapters, strict=True)]
    try:
        with use_side_stream(split.device):  # the same stream as training steps: each stream costs a cuBLAS workspace
            attached = methods[0].attach(model, members, build_calibration(split, losses))
        apply_checkpointing(model, cells[0].recompute, attached)
    except UserError as error:
        raise CellFailed(str(error)) from error  # only this cell fails; a UserError would end the run
    return attached, streams


def count_parameters(
    backbone: BackboneStorage, attached: Attached, slot: int, protocol: Protocol
) -> tuple[Parameters, TrainState]:
    """Parameter counts and bytes of training state of one member, from its trained groups."""
    parameters = Parameters(
        adapter_trained=attached.count("adapter", slot),
        adapter_frozen=attached.stored[slot],
        head_trained=attached.count("head", slot),
        backbone=backbone.numbers,
        backbone_trained=attached.count("backbone", slot),
    )
    trained_bytes = sum(g.count_trained_bytes(slot) for g in attached.groups)
    count_bytes = functools.partial(get_optimizer(protocol).count_state_bytes, protocol)
    optimizer_bytes = sum(g.state_bytes(slot, count_bytes) for g in attached.groups)
    state = TrainState(
        weights=trained_bytes,
        gradients=trained_bytes,
        optimizer=optimizer_bytes,
        frozen=attached.frozen_bytes[slot] if attached.frozen_bytes else None if attached.stored[slot] else 0,
        backbone=backbone.weights,
        quantization=backbone.quantization,
    )
    return parameters, state
