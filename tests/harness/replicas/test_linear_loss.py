"""The chunked loss equals torch's cross-entropy of whole logits, with its gradients, and holds no whole logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.profiling.live_storages import LiveStorages
from harness.replicas import linear_loss
from harness.replicas.linear_loss import Targets, compute_linear_losses

K, ROWS, LENGTH, WIDTH, WORDS = 2, 3, 7, 8, 11


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 rows a chunk: several chunks, one of them across two replicas, and a shorter last one."""
    monkeypatch.setattr(linear_loss, "count_chunk_rows", lambda vocabulary, item_bytes: 5)


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def draw_targets(k: int) -> Tensor:
    rng = torch.Generator().manual_seed(5)
    targets = torch.randint(0, WORDS, (k * ROWS, LENGTH), generator=rng)
    # replicas with different numbers of targets
    return targets.masked_fill(torch.rand(targets.shape, generator=rng) < 0.5, -100)


def compute_reference(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, k: int, e: float) -> Tensor:
    """Means of torch's cross-entropy over whole logits, replica by replica."""
    logits = nn.functional.linear(hidden, weight, bias)
    pairs = zip(logits.chunk(k), targets.chunk(k), strict=True)
    losses = [nn.functional.cross_entropy(x.flatten(0, 1), t.flatten(), label_smoothing=e) for x, t in pairs]
    return torch.stack(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("k", "trained"), [(1, False), (K, False), (1, True)])
def test_losses_and_gradients_are_those_of_whole_logits(k: int, trained: bool, smoothing: float) -> None:
    hidden = draw(k * ROWS, LENGTH, WIDTH, seed=0).requires_grad_()
    weight, bias = draw(WORDS, WIDTH, seed=1), draw(WORDS, seed=2)
    leaves = [hidden, weight.requires_grad_(), bias.requires_grad_()] if trained else [hidden]
    targets, factors = draw_targets(k), torch.arange(1.0, k + 1, dtype=torch.float64)
    expected = compute_reference(hidden, weight, bias, targets, k, smoothing)
    wanted = torch.autograd.grad((expected * factors).sum(), leaves)
    losses = compute_linear_losses(hidden, weight, bias, Targets(targets, k, smoothing))
    gradients = torch.autograd.grad((losses * factors).sum(), leaves)
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-12)
    for gradient, reference in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-12)


def test_bfloat16_is_within_rounding() -> None:
    """Against float64 on the same rounded values: relative error of the whole gradient below bfloat16's 2^-8."""
    hidden = draw(K * ROWS, LENGTH, WIDTH, seed=0, dtype=torch.bfloat16).requires_grad_()
    weight, targets = draw(WORDS, WIDTH, seed=1, dtype=torch.bfloat16), draw_targets(K)
    exact = hidden.detach().double().requires_grad_()
    expected = compute_reference(exact, weight.double(), None, targets, K, 0.0)
    losses = compute_linear_losses(hidden, weight, None, Targets(targets, K, 0.0))
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), expected, rtol=2**-8, atol=0)
    (gradient,) = torch.autograd.grad(losses.sum(), hidden)
    (reference,) = torch.autograd.grad(expected.sum(), exact)
    assert gradient.dtype == torch.bfloat16
    assert float((gradient.double() - reference).norm() / reference.norm()) < 2**-8


def test_autocast_rounds_as_for_whole_logits() -> None:
    hidden, weight = draw(ROWS, LENGTH, WIDTH, seed=0).float().requires_grad_(), draw(WORDS, WIDTH, seed=1).float()
    targets = draw_targets(1)
    with torch.autocast("cpu", torch.bfloat16):
        losses = compute_linear_losses(hidden, weight, None, Targets(targets, 1, 0.0))
        logits = nn.functional.linear(hidden, weight)
    expected = nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
    torch.testing.assert_close(losses, expected[None], rtol=1e-6, atol=0)
    gradients = [torch.autograd.grad(loss, hidden)[0] for loss in (losses.sum(), expected)]
    assert gradients[0].dtype == torch.float32
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 2**-8


def test_a_replica_without_a_target_has_no_loss_and_leaves_the_others_alone() -> None:
    hidden, weight, targets = draw(K * ROWS, LENGTH, WIDTH, seed=0), draw(WORDS, WIDTH, seed=1), draw_targets(K)
    targets[:ROWS] = -100
    losses = compute_linear_losses(hidden, weight, None, Targets(targets, K, 0.0))
    expected = compute_reference(hidden, weight, None, targets, K, 0.0)
    assert bool(losses[0].isnan()) and bool(expected[0].isnan())
    torch.testing.assert_close(losses[1], expected[1], rtol=0, atol=1e-12)


def test_a_replica_without_a_target_has_the_gradient_of_torch() -> None:
    """Zero and not nan, so its parameters stay as they are though its loss is nan."""
    hidden = draw(K * ROWS, LENGTH, WIDTH, seed=0).requires_grad_()
    weight, targets = draw(WORDS, WIDTH, seed=1), draw_targets(K)
    targets[:ROWS] = -100
    (expected,) = torch.autograd.grad(compute_reference(hidden, weight, None, targets, K, 0.1).sum(), hidden)
    (gradient,) = torch.autograd.grad(
        compute_linear_losses(hidden, weight, None, Targets(targets, K, 0.1)).sum(), hidden
    )
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert not gradient[:ROWS].any() and gradient[ROWS:].any()


def test_rows_without_a_target_do_not_spread_values_that_are_not_finite() -> None:
    hidden, targets = draw(1, LENGTH, WIDTH, seed=0), draw_targets(1)[:1]
    assert bool((targets[0] == -100).any()) and bool((targets[0] != -100).any())
    hidden[0, targets[0] == -100] = torch.inf
    losses = compute_linear_losses(hidden, draw(WORDS, WIDTH, seed=1), None, Targets(targets, 1, 0.0))
    assert bool(losses.isfinite().all())


def test_an_output_layer_that_trains_has_no_pack() -> None:
    weight = draw(WORDS, WIDTH, seed=1).requires_grad_()
    with pytest.raises(ValueError, match="allowed: a pack of 1"):
        compute_linear_losses(draw(K * ROWS, LENGTH, WIDTH, seed=0), weight, None, Targets(draw_targets(K), K, 0.0))


def test_a_second_backward_pass_is_refused() -> None:
    """The first one multiplies the saved gradient in place."""
    hidden, weight = draw(ROWS, LENGTH, WIDTH, seed=0).requires_grad_(), draw(WORDS, WIDTH, seed=1)
    total = compute_linear_losses(hidden, weight, None, Targets(draw_targets(1), 1, 0.0)).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_the_peak_is_far_below_whole_logits() -> None:
    words, tokens = 4096, 512
    hidden, weight = torch.randn(1, tokens, WIDTH, requires_grad=True), torch.randn(words, WIDTH)
    targets = torch.randint(0, words, (1, tokens))
    with LiveStorages() as storages:
        compute_linear_losses(hidden, weight, None, Targets(targets, 1, 0.0)).sum().backward()
    assert storages.peak < tokens * words * 4 / 20


@pytest.mark.parametrize(("vocabulary", "rows"), [(32_000, 262), (128_256, 65), (2_000_000, 64)])
def test_rows_of_a_chunk(vocabulary: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert linear_loss.count_chunk_rows(vocabulary, 4) == rows
