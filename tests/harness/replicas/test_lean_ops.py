"""Norm and gated activation equal transformers' and torch's, with their gradients, and save what they say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from harness.replicas import lean_ops
from harness.replicas.lean_ops import gate_values, load_liger, normalize, rotate
from harness.replicas.recomputed import get_recomputation
from tests.saved_storages import list_saved


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


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


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trained", [False, True])
def test_kernels_are_torchs_operations(trained: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    if load_liger("swiglu") is None:
        pytest.skip("liger-kernel is not installed")
    results = []
    for _ in range(2):
        x, up = (draw(4, 7, 256, seed=s, dtype=dtype).cuda().requires_grad_() for s in (0, 1))
        weight = draw(256, seed=2, dtype=dtype).cuda().requires_grad_(trained)
        y = gate_values(normalize(x, weight, 1e-5), up)
        leaves = (x, up, weight) if trained else (x, up)
        results.append([y, *torch.autograd.grad((y * draw(4, 7, 256, seed=3, dtype=dtype).cuda()).sum(), leaves)])
        monkeypatch.setattr(lean_ops, "get_kernels", lambda name, x: None)
    compare(*results, 1e-5 if dtype == torch.float32 else 2**-6)


@pytest.mark.gpu
def test_the_rotation_is_that_of_transformers() -> None:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    if load_liger("rope") is None:
        pytest.skip("liger-kernel is not installed")
    angles = draw(1, 7, 32, seed=3, dtype=torch.float32).cuda()
    cos, sin = (torch.cat([t, t], -1) for t in (angles.cos(), angles.sin()))
    results = []
    for turn in (rotate, apply_rotary_pos_emb):
        query = draw(2, 7, 4, 64, seed=0, dtype=torch.float32).cuda().requires_grad_()
        key = draw(2, 7, 2, 64, seed=1, dtype=torch.float32).cuda().requires_grad_()
        # copies, since the kernel writes over what it rotates
        turned = turn((query * 1).transpose(1, 2), (key * 1).transpose(1, 2), cos, sin)
        total = sum((t * torch.linspace(-1, 1, t.numel(), device="cuda").view(t.shape)).sum() for t in turned)
        results.append([*turned, *torch.autograd.grad(total, (query, key))])  # type: ignore[arg-type]
    compare(*results, 1e-5)


@pytest.mark.gpu
def test_a_second_backward_pass_over_overwritten_values_is_refused() -> None:
    if load_liger("swiglu") is None:
        pytest.skip("liger-kernel is not installed")
    gate, up = (draw(8, 64, seed=s, dtype=torch.float32).cuda().requires_grad_() for s in (0, 1))
    total = gate_values(gate * 1, up * 1).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()
