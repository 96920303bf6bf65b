"""Memory, operations and FLOPs of a pack's training step, found without running it: one step of fake tensors."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.cell import Cell
from harness.contracts import Method, Task
from harness.fake_model import fake_model
from harness.groups import Attached
from harness.live_storages import CUDA_BLOCK, LiveStorages, storage_bytes
from harness.measure import made_up_rows
from harness.packrun import attach_pack
from harness.packs import Pack
from harness.record import MemoryShares
from harness.train import Trainer

if TYPE_CHECKING:
    from harness.model_source import ModelSource

CUBLAS_WORKSPACE = {"cpu": 0, "cuda": 2 * (32 << 20)}
"""Bytes that cuBLAS takes on a GPU of compute capability 9, once for each of the two streams that steps run on."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One training step of K replicas at the full length. `forward_flops` are those of the forward pass alone."""

    k: int
    shares: MemoryShares
    flops: int
    forward_flops: int
    launches: int

    @property
    def peak(self) -> int:
        return self.shares.total

    def at(self, k: int, other: Prediction) -> Prediction:
        """The same step with k replicas, on the line through this prediction and another one."""

        def line(mine: int, theirs: int) -> int:
            return round(mine + (theirs - mine) * (k - self.k) / (other.k - self.k))

        names = type(self.shares).model_fields
        shares = {n: max(0, line(getattr(self.shares, n), getattr(other.shares, n))) for n in names}
        numbers = {n: line(getattr(self, n), getattr(other, n)) for n in ("flops", "forward_flops", "launches")}
        return Prediction(k, MemoryShares(**shares), **numbers)


@dataclasses.dataclass(frozen=True)
class Step:
    """What a prediction needs: cells that train as one batch at `length` tokens a row, on a kind of device."""

    cells: tuple[Cell, ...]
    methods: tuple[Method, ...]
    task: Task
    source: ModelSource
    length: int
    device: str

    def replicas(self, k: int) -> Step:
        """The same with k copies of the first cell."""
        return dataclasses.replace(self, cells=self.cells[:1] * k, methods=self.methods[:1] * k)


def predict(step: Step) -> Prediction:
    """One step of training on fake tensors. Raises what a method raises that reads the weights before training."""
    with fake_tensors():
        return trace(prepared(step), step.device)


@contextlib.contextmanager
def fake_tensors() -> Iterator[None]:
    """Tensors made within have shapes and no numbers; those from without are taken for such."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.random.fork_rng(devices=[]):
        yield


def prepared(step: Step) -> Trainer:
    """The trainer of a step, its backbone fake, its few adapter values real."""
    first, method = step.cells[0], step.methods[0]
    model = fake_model(
        step.source,
        step.task.outputs,
        dtype=first.dtype,
        quantize=first.quantize,
        trained_backbone=method.trains_backbone,
        device=step.device,
    )
    with real_tensors():
        split, losses = made_up_rows(step.task, first.protocol, step.length, model)
        attached, streams = attach_pack(model, Pack(step.cells, step.methods), split, losses)
        protocols = [c.protocol.model_copy(update={"max_steps": 2, "epochs": 100.0}) for c in step.cells]
        autocast = first.dtype == "bf16" and method.autocasts
        return Trainer(model, attached, split, protocols, streams, losses, autocast=autocast)


def real_tensors() -> contextlib.AbstractContextManager[Any]:
    """Out of the fake mode for a while: what is made of fake tensors stays fake all the same."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    return unset_fake_temporarily()


def trace(trainer: Trainer, device: str) -> Prediction:
    """Run one step of a trainer, real or fake, and count."""
    block = CUDA_BLOCK if device == "cuda" else 1
    counts = LiveStorages(block)
    forward: dict[str, int] = {}
    losses = trainer.losses

    def watched(*args: Any) -> Tensor:
        made = losses(*args)
        forward.update(live=counts.live, flops=counts.flops)
        return made

    trainer.losses = watched
    try:
        with counts:
            trainer.one_step(0)
    finally:
        trainer.losses = losses
    held = held_shares(trainer.model, trainer.attached, trainer.optimizer.first, trainer.optimizer.second, block)
    transient = counts.peak - forward["live"] + CUBLAS_WORKSPACE[device]
    shares = MemoryShares(**held, activations=forward["live"], rest=transient)
    return Prediction(len(trainer.members), shares, counts.flops, forward["flops"], counts.launches)


def held_shares(
    model: nn.Module, attached: Attached, first: list[Tensor], second: list[Tensor], block: int
) -> dict[str, int]:
    """Bytes of what training holds from step to step, by category."""
    size = functools.partial(storage_bytes, block=block)
    named = [*model.named_parameters(), *model.named_buffers()]
    quantization = size(t for n, t in named if "quantization_" in n)
    trained = [g for g in attached.groups if g.name != "backbone"]
    backbone = [g for g in attached.groups if g.name == "backbone"]
    kept = size([*(t for _, t in named), *(g.theta for g in backbone)])
    return {
        "weights": kept - quantization,
        "quantization": quantization,
        "adapters": size(g.theta for g in trained) + sum(attached.frozen_bytes),
        "gradients": size(g.grad for g in attached.groups),
        "optimizer": size([*first, *second]),
    }


def predict_packs(step: Step, most: int) -> tuple[Prediction, Prediction | None]:
    """One replica, and two where a pack may hold so many; more lie on their line."""
    alone = predict(step.replicas(1))
    packs = most > 1 and step.methods[0].packs_with() is not None
    return alone, predict(step.replicas(2)) if packs else None


def largest_pack(alone: Prediction, two: Prediction | None, room: int, most: int) -> int:
    """Replicas that fit into `room` bytes together, from 1 to `most`."""
    if two is None or two.peak <= alone.peak:
        return most if two else 1
    return max(1, min(most, 1 + math.floor((room - alone.peak) / (two.peak - alone.peak))))
