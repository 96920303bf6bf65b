"""Count one training step on real or fake tensors: memory at the peak by category, FLOPs and kernel launches.

peak = weights + quantization + adapters + gradients + optimizer      held from step to step
     + gradients that autograd creates + activations + rest           created within the step
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

from torch import Tensor, nn

from harness.core.profile import MemoryShares
from harness.core.quantization import get_quantization_of
from harness.profiling.live_storages import CUDA_BLOCK, LiveStorages, StorageLife, sum_storage_bytes
from harness.profiling.prediction import Prediction
from harness.replicas.groups import Attached
from harness.training.trainer import Trainer

CUBLAS_WORKSPACE = {"cpu": 0, "cuda": 2 * (32 << 20)}
"""Bytes of workspace of cuBLAS and cuBLASLt (32 MiB each on compute capability 9) for the one stream of steps."""


def trace(trainer: Trainer, device: str) -> Prediction:
    """The counts of one step of a trainer; the step really runs."""
    block = CUDA_BLOCK if device == "cuda" else 1
    counts = LiveStorages(block)
    forward: dict[str, int] = {}
    gradients: list[StorageLife] = []

    def count_forward() -> None:
        forward.update(live=counts.live, flops=counts.flops)  # the logits are freed by now, the activations are not

    def list_gradients() -> None:
        parameters = itertools.chain.from_iterable(g.parameters.values() for g in trainer.attached.groups)
        gradients.extend(counts.storages(p.grad for p in parameters if p.grad is not None))

    trainer.after_forward.append(count_forward)
    trainer.before_update.append(list_gradients)
    try:
        with trainer.runner.stream(), counts:
            trainer.train_step(0)
    finally:
        trainer.after_forward.remove(count_forward)
        trainer.before_update.remove(list_gradients)
    state_shares = measure_shares(trainer.model, trainer.attached, trainer.optimizer.list_tensors(), block)
    shares = split_peak(state_shares, counts.peak, counts.at_peak(gradients), forward["live"], device)
    return Prediction(len(trainer.members), shares, counts.flops, forward["flops"], counts.launches)


def split_peak(state_shares: dict[str, int], peak: int, created: int, forward: int, device: str) -> MemoryShares:
    """Memory by category: of the state, and of a peak with `created` bytes of gradients that autograd created.

    `forward` are the bytes of saved activations at the end of the forward pass.
    """
    # if the peak lies late in the backward pass, part of the activations is freed by then
    activations = min(forward, peak - created)
    shares = state_shares | {"gradients": state_shares["gradients"] + created}
    rest = peak - created - activations + CUBLAS_WORKSPACE[device]
    return MemoryShares(**shares, activations=activations, rest=rest)


def _list_quantization_state(model: nn.Module) -> Iterator[Tensor]:
    """Scales and tables of quantized layers that hold numbers."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            yield from get_quantization_of(parameter).list_state(module, parameter)


def measure_shares(model: nn.Module, attached: Attached, optimizer_state: list[Tensor], block: int) -> dict[str, int]:
    """Bytes that training holds from step to step, by category; each storage is rounded up to `block`."""
    size = functools.partial(sum_storage_bytes, block=block)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    # tensors of quantization (scales, code books) are buffers of a fake model, and attributes of real parameters
    fake = size(t for n, t in tensors if "quantization_" in n)
    real = size(_list_quantization_state(model))
    trained = [g for g in attached.groups if g.name != "backbone"]
    backbone = [g for g in attached.groups if g.name == "backbone"]
    # theta of a trained backbone is the storage that its parameters are views of
    weights = size([*(t for _, t in tensors), *(g.theta for g in backbone)])
    return {
        "weights": weights - fake,
        "quantization": fake + real,
        "adapters": size(g.theta for g in trained) + sum(attached.frozen_bytes),
        "gradients": size(g.grad_buffer for g in attached.groups if g.grad_buffer is not None),
        "optimizer": size(optimizer_state),
    }
