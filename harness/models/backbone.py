"""What a loaded backbone really takes: numbers, bytes of weights, bytes of quantization state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class BackboneStorage:
    """`numbers` counts weights however they are stored; bytes are those of the tensors."""

    numbers: int
    weights: int
    quantization: int


def measure_storage(model: nn.Module, loaded: Sequence[nn.Parameter]) -> BackboneStorage:
    """Of the parameters that were `loaded`, those still in the model: without a method's own, and its head."""
    remaining = {id(p) for p in loaded}
    numbers = weights = state = 0
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) in remaining:
                remaining.remove(id(parameter))  # tied weights are one
                shape = getattr(getattr(parameter, "quant_state", None), "shape", parameter.shape)
                numbers += shape.numel()
                weights += _count_bytes(parameter)
                state += sum(map(_count_bytes, list_quantization_tensors(module, parameter)))
    return BackboneStorage(numbers, weights, state)


def list_quantization_tensors(module: nn.Module, parameter: Any) -> Iterator[Tensor]:
    """Scales and tables of bitsandbytes: of 4-bit weights with their second level, or of 8-bit ones."""
    state = getattr(parameter, "quant_state", None)
    while state is not None:
        offset = getattr(state, "offset", None)
        yield from (t for t in (state.absmax, state.code, offset) if t is not None)
        state = state.state2
    rows = getattr(parameter, "SCB", None)
    if rows is None and parameter.dtype.itemsize == 1:  # the first forward pass hands them to the module
        rows = getattr(getattr(module, "state", None), "SCB", None)
    if rows is not None:
        yield rows


def _count_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
