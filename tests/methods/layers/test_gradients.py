"""Gradients of the replica layers in float64 by finite differences, with dropout on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from harness.replicas.dropout_sites import install_dropout
from harness.replicas.groups import Leaf
from methods.layers.lowrank import LowRankLinear, attach_pairs
from methods.layers.pair import Pair
from methods.layers.replica_linear import ReplicaLinear
from methods.layers.replicas import Bottleneck, ShiftedBias

K, ROWS, LENGTH, D_IN, D_OUT = 2, 2, 3, 5, 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def agrees(forward: Callable[[Tensor], Tensor], leaves: Sequence[Leaf]) -> bool:
    """gradcheck of x and of each leaf's values."""

    def called(x: Tensor, *values: Tensor) -> Tensor:
        for leaf, own, value in zip(leaves, columns, values, strict=True):
            own.copy_(value.detach())  # the layer may read the whole group
            leaf.tensor = value
        return forward(x)

    columns = [leaf.tensor.detach() for leaf in leaves]
    x = drawn(K * ROWS, LENGTH, D_IN, seed=9).requires_grad_()
    return torch.autograd.gradcheck(called, (x, *(leaf.tensor.detach().clone().requires_grad_() for leaf in leaves)))


def pair(rank: int, seed: int, share: float, dropout: float) -> Pair:
    rng = np.random.default_rng(seed)
    a, b = drawn(rank, D_IN, seed=seed), drawn(D_OUT, rank, seed=seed + 1)
    return Pair(a, b, rng.random((rank, D_IN)) < share, rng.random((D_OUT, rank)) < share, 0.7 + seed, dropout)


def low_rank(pairs: Sequence[Pair]) -> tuple[nn.Module, list[Leaf]]:
    model = nn.Sequential(nn.Linear(D_IN, D_OUT)).double().requires_grad_(False)
    attached = attach_pairs(model, [{"0": p} for p in pairs])
    clock = install_dropout(model, range(len(pairs)), LENGTH, "cpu")
    clock.step.fill_(3)
    return model.train(), [leaf for group in attached.groups for leaf in group.leaves.values()]


def test_a_masked_pack_of_two_ranks_with_dropout() -> None:
    model, leaves = low_rank([pair(3, 1, 0.5, 0.3), pair(2, 5, 0.4, 0.5)])
    assert isinstance(model[0], LowRankLinear) and len(leaves) == 2  # type: ignore[index]
    assert all(leaf.tensor.shape[0] == K for leaf in leaves) and leaves[0].tensor.shape[1] < 3 * D_IN
    x = drawn(K * ROWS, LENGTH, D_IN, seed=9)
    assert not torch.equal(model(x), model.eval()(x))
    model.train()
    assert agrees(model, leaves)


def test_a_pack_that_trains_every_entry_with_dropout() -> None:
    model, leaves = low_rank([pair(3, 1, 1.0, 0.3), pair(3, 5, 1.0, 0.0)])
    assert [leaf.shape for leaf in leaves] == [(3, D_IN), (D_OUT, 3)]
    assert agrees(model, leaves)


def test_a_wrong_gradient_is_seen() -> None:
    """Hand-broken: the backward pass loses half of the gradient."""
    model, leaves = low_rank([pair(3, 1, 0.5, 0.3), pair(2, 5, 0.4, 0.5)])

    def broken(x: Tensor) -> Tensor:
        y: Tensor = model(x)
        return y.detach() + 0.5 * (y - y.detach())

    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        agrees(broken, leaves)


def test_head_with_a_weight_per_replica() -> None:
    leaves = [Leaf("w", (D_OUT, D_IN), drawn(K, D_OUT, D_IN)), Leaf("b", (D_OUT,), drawn(K, D_OUT))]
    assert agrees(ReplicaLinear(*leaves), leaves)
    assert agrees(ReplicaLinear(leaves[0], None), leaves[:1])


def test_shifted_bias() -> None:
    base = nn.Linear(D_IN, D_OUT).double().requires_grad_(False)
    leaf = Leaf("shift", (D_OUT,), drawn(K, D_OUT))
    assert agrees(ShiftedBias(base, leaf), [leaf])


def test_bottleneck() -> None:
    base = nn.Linear(D_IN, D_OUT).double().requires_grad_(False)
    shapes = {"down": (3, D_OUT), "down_bias": (3,), "up": (D_OUT, 3), "up_bias": (D_OUT,)}
    leaves = [Leaf(name, shape, drawn(K, *shape, seed=i)) for i, (name, shape) in enumerate(shapes.items())]
    assert agrees(Bottleneck(base, leaves), leaves)
