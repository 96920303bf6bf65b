"""Scores of the entries of A and B before training, from training rows only; one pass for all replicas of a pack.

With G the gradient of the loss by the site's full update, B = 0 gives dL/dB = G A^T and dL/dA = 0. So what A does is
read after one infinitesimal step of B along its gradient, where dL/dA is A G^T G up to a factor: the kinds are
defined on these two (a constant factor moves no order).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts import PerSite, ScoreKind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.contracts import Calibration

Starts = Mapping[int, "Mapping[str, Tensor]"]
"""Replica -> site name -> the drawn A [rank, d_in]."""


@dataclasses.dataclass
class Sums:
    """Sums over batches for one replica and site: gradients of A and B, and their squares."""

    a: Tensor
    b: Tensor
    a_square: Tensor
    b_square: Tensor


def weight_scores(model: nn.Module, starts: Mapping[str, Tensor]) -> PerSite:
    """Norms of the pretrained weight: of column j for each entry A[:, j], of row i for each entry B[i, :]."""
    from methods.layers.weights import dense_weight

    found = {}
    for name, a in starts.items():
        weight = dense_weight(model.get_submodule(name)).double()
        columns, rows = weight.norm(dim=0).cpu().numpy(), weight.norm(dim=1).cpu().numpy()
        found[name] = (np.tile(columns, (len(a), 1)), np.repeat(rows[:, None], len(a), 1))
    return found


def gradient_sums(model: nn.Module, starts: Starts, k: int, calibration: Calibration) -> dict[int, dict[str, Sums]]:
    """One backward pass per batch with the pack's K replicas, in evaluation mode; no gradient buffer is touched."""
    import torch

    sums: dict[int, dict[str, Sums]] = {replica: {} for replica in starts}
    training = model.training
    model.eval()
    with _watched(model, {name for own in starts.values() for name in own}) as seen:
        for batch, labels in calibration.batches:
            inputs = {name: value.repeat(k, 1) for name, value in batch.items()}
            with torch.enable_grad():
                loss = calibration.loss(model(**inputs).logits, labels.repeat(k, *[1] * (labels.dim() - 1)), k).sum()
            grads = torch.autograd.grad(loss, [y for _, y in seen.values()])
            for (name, (x, _)), dy in zip(seen.items(), grads, strict=True):
                rows, grad = (t.reshape(k, -1, t.shape[-1]) for t in (x, dy))
                for replica, own in starts.items():
                    if name in own:
                        _add(sums[replica], name, rows[replica], grad[replica], own[name])
    model.train(training)
    return sums


@contextmanager
def _watched(model: nn.Module, names: Collection[str]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Site name -> (input, output) of the last forward pass; the outputs can be differentiated by."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Any:
        def forward(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            y = output if output.requires_grad else output.detach().requires_grad_()
            seen[name] = (inputs[0].detach(), y)
            return y

        return forward

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in sorted(names)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _add(sums: dict[str, Sums], name: str, x: Tensor, dy: Tensor, a: Tensor) -> None:
    """G = dy^T x is never put together: G A^T = dy^T (x A^T), and A G^T G = (dy G A^T)^T x."""
    x, dy, a = (t.to(dy.device, a.dtype) for t in (x, dy, a))
    grad_b = dy.T @ (x @ a.T)
    grad_a = (dy @ grad_b).T @ x
    if name not in sums:
        sums[name] = Sums(*(g * 0 for g in (grad_a, grad_b, grad_a, grad_b)))
    total = sums[name]
    total.a += grad_a
    total.b += grad_b
    total.a_square += grad_a * grad_a
    total.b_square += grad_b * grad_b


def gradient_scores(kind: ScoreKind, sums: Mapping[str, Sums], starts: Mapping[str, Tensor]) -> PerSite:
    """First-order change of the loss for snip, sums of squares for fisher, -weight * gradient for movement."""
    found = {}
    for name, s in sums.items():
        a = starts[name].to(s.a)
        if kind == "fisher":
            pair = (s.a_square, s.b_square)
        elif kind == "snip":
            pair = ((a * s.a).abs(), s.b.abs())
        else:  # B moves from zero along its own gradient, so it always grows
            pair = (a * s.a, s.b**2)
        found[name] = (pair[0].double().cpu().numpy(), pair[1].double().cpu().numpy())
    return found
