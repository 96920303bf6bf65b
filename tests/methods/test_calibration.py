"""Scores before training against autograd on a real low-rank pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.errors import CellFailed
from harness.core.method import METHODS, STRATEGIES, Member
from harness.core.seeds import Streams, equal
from harness.data.task_types.classification import compute_replica_losses
from harness.training.pack_setup import build_calibration
from methods.calibration import compute_gradient_scores, compute_weight_scores, sum_gradients
from methods.lowrank import draw_factors, measure_scores, prepare_replica
from methods.requested import collect_requested
from methods.sites import find_sites
from tests.harness.small_training import rows


def reference(model: Any, starts: dict[str, torch.Tensor], calibration: Any) -> dict[str, Any]:
    """Gradients of A and B by autograd, batch by batch, with W + B A in place of each site's weight."""
    found: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in starts}
    for batch, labels in calibration.batches:
        b_values = {
            n: torch.zeros(model.get_submodule(n).out_features, len(a), dtype=a.dtype) for n, a in starts.items()
        }
        grads_b = _gradients(model, starts, b_values, batch, labels, "b")
        for name in starts:
            # B after a step of 1e-4 along -dL/dB, at this site alone: -dL/dA / 1e-4 is then A G^T G
            moved = b_values | {name: -1e-4 * grads_b[name]}
            grads_a = _gradients(model, starts, moved, batch, labels, "a")
            found[name].append((-grads_a[name] / 1e-4, grads_b[name]))
    return found


def _gradients(model: Any, a: Any, b: Any, batch: Any, labels: Any, which: str) -> dict[str, torch.Tensor]:
    leaves_a = {n: v.clone().requires_grad_() for n, v in a.items()}
    leaves_b = {n: v.clone().requires_grad_() for n, v in b.items()}
    weights = {f"{n}.weight": model.get_submodule(n).weight + leaves_b[n] @ leaves_a[n] for n in a}
    logits = torch.func.functional_call(model, weights, kwargs=batch).logits
    loss = nn.functional.cross_entropy(logits, labels)
    leaves = leaves_a if which == "a" else leaves_b
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(leaves.items(), grads, strict=True)}


def test_sums_are_autograds(tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert().eval()
    with torch.no_grad():
        model.classifier.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr,operator]
    calibration = build_calibration(rows(), compute_replica_losses)
    sites = find_sites(model, ("query", "value"), 4)
    pairs = {s.name: draw_factors(s, Streams(equal(0))) for s in sites}
    starts = {name: a for name, (a, _) in pairs.items()}
    expected = reference(model, starts, calibration)
    sums = sum_gradients(model, {0: pairs}, 1, calibration)[0]
    for name, batches in expected.items():
        torch.testing.assert_close(sums[name].b, torch.stack([b for _, b in batches]).sum(0), rtol=1e-9, atol=1e-14)
        a_sum = torch.stack([a for a, _ in batches]).sum(0)
        assert float((sums[name].a - a_sum).norm() / a_sum.norm()) < 1e-2
        torch.testing.assert_close(sums[name].b_square, torch.stack([b**2 for _, b in batches]).sum(0))
    fisher = compute_gradient_scores("fisher", {n: sums[n] for n in starts}, pairs)
    assert all((np.stack(pair[0]) >= 0).all() and pair[1].shape == (32, 4) for pair in fisher.values())


def test_weight_scores_are_norms(tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert()
    (site, *_) = find_sites(model, ("query",), 3)
    a, b = compute_weight_scores(model, {site.name: (torch.zeros(3, 32), torch.zeros(32, 3))})[site.name]
    weight = model.get_submodule(site.name).weight.numpy()  # type: ignore[operator,union-attr]
    assert np.allclose(a, np.linalg.norm(weight, axis=0)[None, :].repeat(3, 0))
    assert np.allclose(b, np.linalg.norm(weight, axis=1)[:, None].repeat(3, 1))


@pytest.mark.parametrize("select", ["snip", "fisher", "movement", "magnitude", "wanda", "weight-column"])
def test_a_pack_measures_what_each_replica_measures_alone(select: str, tiny_bert: Callable[..., nn.Module]) -> None:
    method = METHODS.get("lorasp")(select=select, rank=4)
    other = METHODS.get("lorasp")(select="random", rank=2, target=("key",))

    def trained(members: list[Member]) -> list[torch.Tensor]:
        model = tiny_bert()
        method.attach(model, members, build_calibration(rows(), compute_replica_losses))
        layers = [model.get_submodule(s) for s in ("bert.encoder.layer.0.attention.self.query",)]
        return [layer.a.places[-1] for layer in layers]  # type: ignore[union-attr,operator]

    alone = trained([Member(method, Streams(equal(3)))])
    packed = trained(
        [Member(method, Streams(equal(1))), Member(other, Streams(equal(2))), Member(method, Streams(equal(3)))]
    )
    assert all(torch.equal(x[: len(y)], y) for x, y in zip(packed, alone, strict=True))


def test_the_model_and_its_mode_are_left_as_they_were(tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert().train()
    before = {n: p.clone() for n, p in model.named_parameters()}
    sites = find_sites(model, ("query",), 2)
    sum_gradients(
        model,
        {0: {s.name: draw_factors(s, Streams(equal(0))) for s in sites}},
        1,
        build_calibration(rows(), compute_replica_losses),
    )
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in model.named_parameters())


def test_measuring_leaves_no_gradient_behind(tiny_bert: Callable[..., nn.Module]) -> None:
    method = METHODS.get("lorasp")(select="snip")
    attached = method.attach(
        tiny_bert(), [Member(method, Streams(equal(0)))], build_calibration(rows(), compute_replica_losses)
    )
    assert [g.name for g in attached.groups] == ["adapter", "head"]
    assert not any(bool(g.grad.any()) for g in attached.groups)
    extra = attached.collect_extra(0)
    assert extra["calibration_rows"] == 44 and extra["calibration_seconds"] > 0


SCORED = [name for name in STRATEGIES.names() if STRATEGIES.get(name).reads_model]


def scaled(factor: float) -> Any:
    """The loss of a classifier times a factor."""
    return lambda logits, labels, k: factor * compute_replica_losses(logits, labels, k)


def masks_at(
    options: dict[str, Any], model: nn.Module, loss: Any, scope: str = "auto", zero: str = "auto"
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    method = METHODS.get("lorasp")(rank=4, scope=scope, zero=zero, **options)
    made = prepare_replica(model, Member(method, Streams(equal(3))), {})
    calibration = build_calibration(rows(), loss)
    requested = collect_requested(model, [made], calibration)[0][0]
    return dict(made.masks(measure_scores(model, [made], calibration)[0][0], requested))  # type: ignore[arg-type]


def assert_equal_masks(one: Any, other: Any) -> None:
    assert all((x == y).all() for name in one for x, y in zip(one[name], other[name], strict=True))


@pytest.mark.parametrize("scope", ["auto", "matrix", "pair", "model"])
@pytest.mark.parametrize("select", SCORED)
def test_a_factor_on_the_loss_or_on_alpha_changes_no_mask(
    select: str, scope: str, tiny_bert: Callable[..., nn.Module]
) -> None:
    if select == "criticality" and scope in ("matrix", "pair"):
        return  # half of one block is no whole block
    plain = masks_at({"select": select}, tiny_bert(), compute_replica_losses, scope)
    for factor in (0.1, 10.0, 1000.0, 2.0**-40):
        assert_equal_masks(plain, masks_at({"select": select}, tiny_bert(), scaled(factor), scope))
    assert_equal_masks(plain, masks_at({"select": select, "alpha": 100.0}, tiny_bert(), compute_replica_losses, scope))


def test_a_layers_share_does_not_hang_on_the_size_of_the_loss(tiny_bert: Callable[..., nn.Module]) -> None:
    """In float32, where gradients of a small loss square to nothing."""
    for factor in (1e-3, 0.1, 10.0, 1e3):
        shares = [
            {
                name: float(a.mean() + b.mean())
                for name, (a, b) in masks_at({"select": "learned-ratio"}, m, loss).items()
            }
            for m, loss in (
                (tiny_bert(dtype=torch.float32), compute_replica_losses),
                (tiny_bert(dtype=torch.float32), scaled(factor)),
            )
        ]
        assert shares[0] == pytest.approx(shares[1], abs=2e-3)


@pytest.mark.parametrize("kind", ["snip", "fisher", "movement"])
def test_scores_of_both_matrices_are_defined_whichever_is_zero(kind: Any, tiny_bert: Callable[..., nn.Module]) -> None:
    """dL/dA = 0 where B = 0: without a step of B all scores of A would tie. With zero=a it is B's that would."""
    model = tiny_bert()
    sites = find_sites(model, ("query", "value"), 4)
    for zero in ("a", "b"):
        starts = {s.name: draw_factors(s, Streams(equal(0)), zero) for s in sites}
        sums = sum_gradients(model, {0: starts}, 1, build_calibration(rows(), compute_replica_losses))[0]
        scores = compute_gradient_scores(kind, sums, starts)
        for part in (0, 1):
            flat = np.concatenate([pair[part].ravel() for pair in scores.values()])
            assert len(np.unique(flat)) > 0.9 * flat.size and np.abs(flat).mean() == pytest.approx(1.0)


def test_a_loss_without_gradient_fails_and_chooses_nothing(tiny_bert: Callable[..., nn.Module]) -> None:
    for factor, why in ((0.0, "zero"), (float("inf"), "not finite")):
        with pytest.raises(CellFailed, match=why):
            masks_at({"select": "fisher"}, tiny_bert(), scaled(factor))
