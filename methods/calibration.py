"""Scores of the entries of A and B before training, from training rows only; one pass for all replicas of a pack.

With G the gradient of the loss by the site's full update, B = 0 gives dL/dB = G A^T and dL/dA = 0: plain snip, fisher
and movement are zero for every entry of A. So A's gradient is taken after one infinitesimal step of B along its own,
where it is A G^T G up to a factor. Where A is the matrix at zero (`zero=a`), the roles change: dL/dA = B^T G, and B's
gradient after a step of A is G G^T B. All sums are in float64, where no square underflows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core.errors import CellFailed
from harness.core.method import PerSite, ScoreKind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.core.method import Calibration

Pair = tuple["Tensor", "Tensor"]
Starts = Mapping[int, Mapping[str, Pair]]
"""Replica -> site name -> A [rank, d_in] and B [d_out, rank] as drawn; one of them is zero."""


@dataclasses.dataclass
class GradientSums:
    """Sums over batches for one replica and site: gradients of A and B, and their squares."""

    a: Tensor
    b: Tensor
    a_square: Tensor
    b_square: Tensor


def compute_weight_scores(model: nn.Module, starts: Mapping[str, Pair]) -> PerSite:
    """Norms of the pretrained weight: of column j for each entry A[:, j], of row i for each entry B[i, :]."""
    from methods.layers.weights import get_dense_weight

    scores = {}
    for name, (a, _) in starts.items():
        weight = get_dense_weight(model.get_submodule(name)).double()
        columns, rows = weight.norm(dim=0).cpu().numpy(), weight.norm(dim=1).cpu().numpy()
        scores[name] = (np.tile(columns, (len(a), 1)), np.repeat(rows[:, None], len(a), 1))
    return scores


def sum_gradients(
    model: nn.Module, starts: Starts, k: int, calibration: Calibration
) -> dict[int, dict[str, GradientSums]]:
    """One backward pass per batch with the pack's K replicas, in evaluation mode; no gradient buffer is touched."""
    import torch

    sums: dict[int, dict[str, GradientSums]] = {replica: {} for replica in starts}
    training = model.training
    model.eval()
    with _watch_sites(model, {name for start_pairs in starts.values() for name in start_pairs}) as site_tensors:
        for batch, labels in calibration.batches:
            inputs = {name: value.repeat(k, 1) for name, value in batch.items()}
            with torch.enable_grad():
                loss = calibration.loss(model(**inputs).logits, labels.repeat(k, *[1] * (labels.dim() - 1)), k).sum()
            grads = torch.autograd.grad(loss, [y for _, y in site_tensors.values()])
            for (name, (x, _)), dy in zip(site_tensors.items(), grads, strict=True):
                rows, grad = (t.reshape(k, -1, t.shape[-1]) for t in (x, dy))
                for replica, start_pairs in starts.items():
                    if name in start_pairs:
                        _add_batch(sums[replica], name, rows[replica], grad[replica], start_pairs[name])
    model.train(training)
    return sums


@contextmanager
def _watch_sites(model: nn.Module, names: Collection[str]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Site name -> (input, output) of the last forward pass; the outputs can be differentiated by."""
    site_tensors: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Any:
        def forward(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            y = output if output.requires_grad else output.detach().requires_grad_()
            site_tensors[name] = (inputs[0].detach(), y)
            return y

        return forward

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in sorted(names)]
    try:
        yield site_tensors
    finally:
        for handle in handles:
            handle.remove()


def _add_batch(sums: dict[str, GradientSums], name: str, x: Tensor, dy: Tensor, start: Pair) -> None:
    """G = dy^T x is never put together: G A^T = dy^T (x A^T), and A G^T G = (dy G A^T)^T x."""
    x, dy, a, b = (t.to(dy.device, start[0].dtype) for t in (x, dy, *start))
    if bool(a.any()):
        grad_b = dy.T @ (x @ a.T)
        grad_a = (dy @ grad_b).T @ x
    else:
        grad_a = (dy @ b).T @ x
        grad_b = dy.T @ (x @ grad_a.T)
    if name not in sums:
        sums[name] = GradientSums(*(g * 0 for g in (grad_a, grad_b, grad_a, grad_b)))
    total = sums[name]
    total.a += grad_a
    total.b += grad_b
    total.a_square += grad_a * grad_a
    total.b_square += grad_b * grad_b


def compute_gradient_scores(kind: ScoreKind, sums: Mapping[str, GradientSums], starts: Mapping[str, Pair]) -> PerSite:
    """First-order change of the loss for snip, sums of squares for fisher, -weight * gradient for movement.

    The scores of the A's are divided by their mean size over all sites, those of the B's by theirs. So no factor on the
    loss or on alpha / rank changes an order or a layer's share, though the gradients of the matrix at zero are of the
    first degree in such a factor and those of the other of the second. Raises CellFailed where no gradient is left.
    """
    raw = {name: _compute_raw_scores(kind, s, starts[name]) for name, s in sums.items()}
    sizes = []
    for part in (0, 1):
        count = sum(pair[part].size for pair in raw.values())
        size = sum(float(np.abs(pair[part]).sum()) for pair in raw.values()) / max(1, count)
        if not (np.isfinite(size) and size > 0):
            raise CellFailed(
                f"{kind} scores are {'zero' if size == 0 else 'not finite'} for every entry of {'AB'[part]}:"
                " the loss has no usable gradient at the start, so nothing can be chosen by it"
            )
        sizes.append(size)
    return {name: (a / sizes[0], b / sizes[1]) for name, (a, b) in raw.items()}


def _compute_raw_scores(kind: ScoreKind, s: GradientSums, start: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Of A and of B. The matrix at zero moves along its own gradient, so it always moves away from zero."""
    a, b = (t.to(s.a) for t in start)
    if kind == "fisher":
        pair = (s.a_square, s.b_square)
    elif bool(a.any()):
        pair = ((a * s.a).abs(), s.b.abs()) if kind == "snip" else (a * s.a, s.b**2)
    else:
        pair = (s.a.abs(), (b * s.b).abs()) if kind == "snip" else (s.a**2, b * s.b)
    return pair[0].double().cpu().numpy(), pair[1].double().cpu().numpy()
