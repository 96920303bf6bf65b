"""The matrices of an adapter made ready once a pass: against each matrix put together by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.core.method import METHODS
from harness.replicas.groups import Attached, Leaf
from methods.layers.lowrank import LowRankLinear, attach_pairs
from methods.layers.packed import PartialMatrix, gather_entries
from methods.layers.pair import Pair
from tests.harness.small_training import protocol, rows, trainer

SHARES = ((1.0, 1.0), (0.5, 1.0), (0.5, 0.3))
"""Trained shares of A and B: none is frozen, some of A, some of both; a pack of them is uneven."""


def attached(*shares: tuple[float, float]) -> tuple[nn.Module, Attached, list[list[Pair]]]:
    """Two sites and a replica for each of the shares."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 7)).requires_grad_(False)

    def pair(share: tuple[float, float], linear: nn.Linear) -> Pair:
        a, b = torch.from_numpy(rng.random((3, linear.in_features))), torch.from_numpy(rng.random((7, 3)))
        b = b[: linear.out_features]
        return Pair(a, b, rng.random(a.shape) < share[0], rng.random(tuple(b.shape)) < share[1], 1.0, 0.0)

    pairs = [[pair(share, m) for m in (model[0], model[1])] for share in shares]
    return model, attach_pairs(model, [{"0": own[0], "1": own[1]} for own in pairs]), pairs


def of(model: nn.Module) -> list[PartialMatrix]:
    return [p for layer in model.modules() if isinstance(layer, LowRankLinear) for p in (layer.a, layer.b)]


def by_hand(packed: PartialMatrix, row: int, start: Tensor, mask: np.ndarray) -> Tensor:
    """The start with what the leaf holds at the places of the mask, in their order."""
    made = start.clone().to(torch.float32)
    assert packed.leaf is not None
    own = packed.leaf.tensor[row].detach().flatten()
    made[torch.from_numpy(mask)] = own[: int(mask.sum())]
    return made


@pytest.mark.parametrize("shares", [SHARES[:1], SHARES[1:2], SHARES[2:], SHARES])
def test_trained_entries_lie_among_the_frozen_ones(shares: tuple[tuple[float, float], ...]) -> None:
    model, made, pairs = attached(*shares)
    for turn in range(3):
        for group in made.groups:
            group.theta.detach().add_(0.5 * turn)
        for row, own in enumerate(pairs):
            wanted = [x for p in own for x in ((p.a, p.train_a), (p.b, p.train_b))]
            for packed, (start, mask) in zip(of(model), wanted, strict=True):
                assert torch.equal(packed.dense()[row], by_hand(packed, row, start, mask))
                assert torch.equal(packed.dense(torch.bfloat16)[row], packed.dense()[row].bfloat16())


def test_what_leaves_takes_its_rows_along() -> None:
    model, made, pairs = attached(*SHARES)
    before = [p.dense().clone() for p in of(model)]
    made.keep([2, 0])
    assert all(torch.equal(p.dense(), old[[2, 0]]) for p, old in zip(of(model), before, strict=True))
    made.groups[0].theta.detach().mul_(-1)
    packed, pair = of(model)[0], pairs[2][0]
    assert torch.equal(packed.dense()[0], by_hand(packed, 0, pair.a, pair.train_a))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_change_that_torch_does_not_count_needs_forget(dtype: torch.dtype | None) -> None:
    """As a replayed graph makes it."""
    model, made, _ = attached(SHARES[2])
    packed = of(model)[0]
    before = packed.dense(dtype).clone()
    made.groups[0].theta.data.add_(1)
    assert torch.equal(packed.dense(dtype), before)
    for invalidate in made.invalidate:
        invalidate()
    assert not torch.equal(packed.dense(dtype), before)


def test_a_step_forgets_before_and_after(tiny_bert: Callable[..., nn.Module]) -> None:
    made, adapter = trainer(tiny_bert(), [METHODS.get("lorasp")()], [protocol(max_steps=3)], [0], rows())
    called: list[int] = []
    adapter.invalidate.append(lambda: called.append(made.optimizer.steps))
    for step in range(3):
        made.train_step(step)
    assert called == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("even", [True, False])
def test_gradients_of_kept_columns_are_those_of_the_whole(share: float, even: bool) -> None:
    """Against a scatter into all columns; replicas that train other columns, and fewer."""
    generator = torch.Generator().manual_seed(3)
    masks = np.zeros((2, 4, 10), bool)
    for row, count in enumerate((6, 6 if even else 4)):
        for column in torch.randperm(10, generator=generator)[:count].tolist():
            masks[row, : 4 if share == 1 else 2, column] = True
    packed = PartialMatrix([torch.zeros(4, 10)] * 2, list(masks), "none", False)
    assert packed.columns is not None and packed.start is not None and packed.even == even
    packed.leaf = Leaf("a", tuple(packed.start.shape[1:]), packed.start)
    full = torch.randn(2, 4, 10, generator=generator)
    kept = full.gather(2, packed.columns[:, None, :].expand(-1, 4, -1))
    whole = packed.gather_gradient(full)
    packed.narrow_to(packed.columns)
    found = packed.gather_gradient(kept)
    assert torch.equal(found, whole)
    for row, mask in enumerate(masks):
        assert torch.equal(found[row, : mask.sum()], full[row][torch.from_numpy(mask)])
        assert not found[row, mask.sum() :].any()


def test_gathered_counts_from_the_first_place() -> None:
    full = torch.arange(12.0).view(2, 6)
    index = torch.tensor([[100, 105, 101], [103, 102, 106]], dtype=torch.int32)
    assert gather_entries(full, index, 100, False, torch.float64).tolist() == [[0, 5, 1], [9, 8, 0]]
