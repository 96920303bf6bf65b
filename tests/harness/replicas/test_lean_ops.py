"""Norm and gated activation equal transformers' and torch's, with their gradients, and save what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from harness.replicas.lean_ops import gate_values, normalize
from harness.replicas.recomputed import get_recomputation


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def list_saved(forward: Callable[[], Tensor]) -> list[int]:
    """Bytes of each storage that autograd saves."""
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    del result
    return sorted(saved.values())


@pytest.mark.parametrize("trained", [False, True])
def test_gradients_of_the_norm(trained: bool) -> None:
    x, weight = draw(2, 3, 5, seed=0).requires_grad_(), draw(5, seed=1).requires_grad_(trained)
    assert torch.autograd.gradcheck(lambda x, w: normalize(x, w, 1e-2), (x, weight))


def test_gradients_of_the_gate() -> None:
    assert torch.autograd.gradcheck(
        gate_values, (draw(2, 3, 5, seed=0).requires_grad_(), draw(2, 3, 5, seed=1).requires_grad_())
    )


def compare(ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert float((one - other).detach().double().norm() / other.detach().double().norm()) <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_the_norm_is_that_of_transformers(dtype: torch.dtype, tolerance: float) -> None:
    theirs = LlamaRMSNorm(16, 1e-5).to(dtype)
    theirs.weight.data.copy_(draw(16, seed=1))
    results = []
    for norm in (lambda x: normalize(x, theirs.weight, 1e-5), theirs):
        x = draw(2, 7, 16, seed=0, dtype=dtype).requires_grad_()
        y = norm(x)
        results.append([y, *torch.autograd.grad((y * draw(2, 7, 16, seed=3, dtype=dtype)).sum(), (x, theirs.weight))])
    compare(*results, tolerance)
    assert torch.equal(results[0][0], results[1][0])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_the_gate_is_that_of_torch(dtype: torch.dtype, tolerance: float) -> None:
    results = []
    for gate in (gate_values, lambda a, b: nn.functional.silu(a) * b):
        a, b = (draw(2, 7, 16, seed=s, dtype=dtype).requires_grad_() for s in (0, 1))
        y = gate(a, b)
        results.append([y, *torch.autograd.grad((y * draw(2, 7, 16, seed=3, dtype=dtype)).sum(), (a, b))])
    compare(*results, tolerance)


def test_only_inputs_are_saved() -> None:
    x, weight = draw(8, 16, seed=0).requires_grad_(), draw(16, seed=1)
    assert list_saved(lambda: normalize(x, weight, 1e-5)) == sorted([x.nbytes, weight.nbytes, 8 * 8])
    up = draw(8, 16, seed=1).requires_grad_()
    assert list_saved(lambda: gate_values(x, up)) == [x.nbytes, up.nbytes]


def test_a_reader_computes_the_same_bits_again() -> None:
    x, weight, up = draw(8, 16, seed=0).requires_grad_(), draw(16, seed=1), draw(8, 16, seed=2).requires_grad_()
    for result in (normalize(x, weight, 1e-5), gate_values(x, up)):
        recomputation = get_recomputation(result)
        assert recomputation is not None
        again = recomputation.compute(*recomputation.tensors)
        assert torch.equal(again, result) and not again.requires_grad


def test_the_result_of_a_norm_that_trains_is_saved() -> None:
    """After the update its weight has other values."""
    assert get_recomputation(normalize(draw(8, 16, seed=0), draw(16, seed=1).requires_grad_(), 1e-5)) is None
