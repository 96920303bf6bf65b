"""How much a loaded backbone stores: weights, bytes of weights, bytes of quantization state."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.core.quantization import get_quantization_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class BackboneStorage:
    """`numbers` counts weights, however they are stored; `weights` and `quantization` are bytes of tensors."""

    numbers: int
    weights: int
    quantization: int


def measure_storage(model: nn.Module, loaded: Sequence[nn.Parameter]) -> BackboneStorage:
    """The storage of those `loaded` parameters that are still in the model.

    A method's own parameters and its head were not loaded, so they do not count.
    """
    remaining = {id(p) for p in loaded}
    numbers = weights = state = 0
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) in remaining:
                remaining.remove(id(parameter))  # tied weights count once
                quantization = get_quantization_of(parameter)
                numbers += quantization.count_weights(parameter)
                weights += _count_bytes(parameter)
                state += sum(map(_count_bytes, quantization.list_state(module, parameter)))
    return BackboneStorage(numbers, weights, state)


def _count_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
