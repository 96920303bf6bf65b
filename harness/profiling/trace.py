"""One training step counted: memory by category, FLOPs and launches; of real tensors or fake ones."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from torch import Tensor, nn

from harness.core.quantization import get_quantization_of
from harness.core.record import MemoryShares
from harness.data.task_types.base import Shape
from harness.profiling.live_storages import CUDA_BLOCK, LiveStorages, Made, sum_storage_bytes
from harness.profiling.prediction import Prediction
from harness.replicas.groups import Attached
from harness.training.trainer import Trainer

CUBLAS_WORKSPACE = {"cpu": 0, "cuda": 2 * (32 << 20)}
"""Bytes on a GPU of compute capability 9: 32 MiB each for cuBLAS and cuBLASLt, on the one stream that steps run on."""


def trace(trainer: Trainer, device: str) -> Prediction:
    """Run one step of a trainer, real or fake, and count."""
    block = CUDA_BLOCK if device == "cuda" else 1
    counts = LiveStorages(block)
    forward: dict[str, int] = {}
    gradients: list[Made] = []
    losses, update = trainer._forward, trainer.optimizer.update

    def watched(rows: Tensor, shape: Shape) -> Tensor:
        output = losses(rows, shape)
        forward.update(live=counts.live, flops=counts.flops)  # the model's outputs are gone by now
        return output

    def updated() -> Tensor:
        parameters = [p for g in trainer.attached.groups for p in g.parameters.values()]
        gradients.extend(counts.storages(p.grad for p in parameters if p.grad is not None))
        return update()

    trainer._forward, trainer.optimizer.update = watched, updated  # type: ignore[method-assign]
    try:
        with trainer.runner.stream(), counts:
            trainer.train_step(0)
    finally:
        del trainer._forward, trainer.optimizer.update
    state_shares = measure_shares(
        trainer.model, trainer.attached, trainer.optimizer.first, trainer.optimizer.second, block
    )
    created = counts.at_peak(gradients)
    state_shares["gradients"] += created
    activations = min(forward["live"], counts.peak - created)  # where gradients make the peak, they are freed by then
    rest = counts.peak - created - activations + CUBLAS_WORKSPACE[device]
    shares = MemoryShares(**state_shares, activations=activations, rest=rest)
    return Prediction(len(trainer.members), shares, counts.flops, forward["flops"], counts.launches)


def _list_quantization_state(model: nn.Module) -> Iterator[Tensor]:
    """Scales and tables of quantized layers that hold numbers."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            yield from get_quantization_of(parameter).list_state(module, parameter)


def measure_shares(
    model: nn.Module, attached: Attached, first: list[Tensor], second: list[Tensor], block: int
) -> dict[str, int]:
    """Bytes of what training holds from step to step, by category."""
    size = functools.partial(sum_storage_bytes, block=block)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    fake = size(t for n, t in tensors if "quantization_" in n)  # real ones are no buffers
    real = size(_list_quantization_state(model))
    trained = [g for g in attached.groups if g.name != "backbone"]
    backbone = [g for g in attached.groups if g.name == "backbone"]
    weights = size([*(t for _, t in tensors), *(g.theta for g in backbone)])
    return {
        "weights": weights - fake,
        "quantization": fake + real,
        "adapters": size(g.theta for g in trained) + sum(attached.frozen_bytes),
        "gradients": size(g.grad_buffer for g in attached.groups if g.grad_buffer is not None),
        "optimizer": size([*first, *second]),
    }
