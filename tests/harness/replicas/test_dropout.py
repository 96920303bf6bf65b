"""The counter dropout: rate, independence, and that nothing but seed, step, site and element moves a mask."""

from __future__ import annotations

import torch

from harness.replicas.dropout import Clock, CounterDropout


def made(p: list[float], seeds: list[int], stride: int = 16, name: str = "site") -> CounterDropout:
    dropout = CounterDropout(p, name)
    dropout.bind(Clock.start(seeds, stride, "cpu"))
    return dropout


def test_rate_and_scale() -> None:
    x = torch.ones(4, 500, 100)
    y = made([0.3], [1], stride=500)(x)
    kept = (y != 0).float().mean()
    assert abs(kept - 0.7) < 4 * (0.21 / y.numel()) ** 0.5
    torch.testing.assert_close(y.max(), torch.tensor(1 / 0.7))


def test_masks_are_independent_of_slot_neighbours_and_padding() -> None:
    x = torch.randn(2, 7, 8)
    alone = made([0.5], [9])(x)
    packed = made([0.1, 0.5, 0.0], [3, 9, 9])(x.repeat(3, 1, 1))
    assert torch.equal(packed[2:4], alone)
    assert torch.equal(packed[4:], x)
    padded = made([0.5], [9])(torch.cat([x, torch.randn(2, 4, 8)], 1))
    assert torch.equal(padded[:, :7], alone)


def test_step_site_and_seed_each_give_another_mask() -> None:
    x = torch.ones(64, 16, 16)
    start = made([0.5], [1])
    masks = [start(x), made([0.5], [2])(x), made([0.5], [1], name="other")(x)]
    assert start.clock is not None
    start.clock.step += 1
    masks.append(start(x))
    for i, a in enumerate(masks):
        for b in masks[:i]:
            agree = ((a != 0) == (b != 0)).float().mean()
            assert abs(agree - 0.5) < 4 * 0.5 / x.numel() ** 0.5


def test_gradient_is_the_mask_times_the_scale_and_evaluation_is_the_identity() -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    dropout = made([0.4], [0])
    y = dropout(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y != 0, 1 / 0.6, 0.0).double())
    assert torch.equal(dropout.eval()(x), x)
