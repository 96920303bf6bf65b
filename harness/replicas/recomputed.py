"""A tensor that the backward pass computes again from tensors that are saved anyway, instead of saving it too.

h ──norm──> n ──linear──> y      the norm saves h; a linear layer whose adapter trains needs n in its backward pass
                                 and saves nothing: n = norm(h)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

ATTRIBUTE = "_recomputation"


class Recomputation(NamedTuple):
    """`compute(*tensors)` gives the tensor again, bit by bit; `tensors` are saved for another purpose too."""

    compute: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    versions: tuple[int, ...]
    """Of the tensor and of `tensors`: after a modification in place they would give another one."""


def set_recomputation(result: Tensor, compute: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """The result, which now tells its readers how to compute it again."""
    # without their graphs: readers save these tensors as values
    values = tuple(tensor.detach() for tensor in tensors)
    setattr(result, ATTRIBUTE, Recomputation(compute, values, tuple(map(get_version, (result, *values)))))
    return result


def get_recomputation(tensor: Tensor) -> Recomputation | None:
    """How to compute a tensor again; None where it has to be saved."""
    recomputation: Recomputation | None = getattr(tensor, ATTRIBUTE, None)
    if recomputation is None or recomputation.versions == tuple(map(get_version, (tensor, *recomputation.tensors))):
        return recomputation
    return None


def get_version(tensor: Tensor) -> int:
    """The number of modifications in place that torch has counted; 0 for an inference tensor, which has no count."""
    return 0 if tensor.is_inference() else tensor._version
