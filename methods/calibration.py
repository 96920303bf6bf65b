"""Score the entries of A and B before training, on training rows only; one pass serves all replicas of a pack.

With G [d_out, d_in] the gradient of the loss with respect to the site's full update:

    B = 0    dL/dB = G A^T, dL/dA = 0    A's scores use its gradient after an infinitesimal step of B:  A G^T G
    A = 0    dL/dA = B^T G, dL/dB = 0    B's scores use its gradient after an infinitesimal step of A:  G G^T B

Without that step snip, fisher and movement would be zero for every entry of the other matrix. All sums are in float64,
in which no square underflows.
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
"""Replica -> site name -> start values A [rank, d_in] and B [d_out, rank]; one of both is zero."""


@dataclasses.dataclass
class GradientSums:
    """Sums over batches for one replica and site: of the gradients of A and B, and of their squares."""

    a: Tensor
    b: Tensor
    a_square: Tensor
    b_square: Tensor


def compute_weight_scores(model: nn.Module, starts: Mapping[str, Pair]) -> PerSite:
    """Norms of the pretrained weight: its column j for the entries A[:, j], its row i for the entries B[i, :]."""
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
    """Gradient sums by replica and site, from one backward pass per batch with K replicas in evaluation mode.

    It leaves the gradient buffers unchanged.
    """
    import torch

    sums: dict[int, dict[str, GradientSums]] = {replica: {} for replica in starts}
    training = model.training
    model.eval()
    with _watch_sites(model, {name for start_pairs in starts.values() for name in start_pairs}) as site_tensors:
        for batch, labels in calibration.batches:
            inputs = {name: value.repeat(k, 1) for name, value in batch.items()}
            with torch.enable_grad():
                loss = calibration.loss(model(**inputs).logits, labels.repeat(k, *[1] * (labels.dim() - 1)), k).sum()
            # Not backward(): gradients of head and adapter must not accumulate in the pack's buffers.
            grads = torch.autograd.grad(loss, [y for _, y in site_tensors.values()])
            for (name, (x, _)), dy in zip(site_tensors.items(), grads, strict=True):
                # [K*B, T, d] -> [K, B*T, d]: the rows of one replica are contiguous.
                rows, grad = (t.reshape(k, -1, t.shape[-1]) for t in (x, dy))
                for replica, start_pairs in starts.items():
                    if name in start_pairs:
                        _add_batch(sums[replica], name, rows[replica], grad[replica], start_pairs[name])
    model.train(training)
    return sums


@contextmanager
def _watch_sites(model: nn.Module, names: Collection[str]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Site name -> (input, output) of the last forward pass; gradients exist with respect to the outputs."""
    site_tensors: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Any:
        def forward(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            # With a frozen backbone the first outputs have no graph; it starts here.
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
    """Add a batch without building G = dy^T x [d_out, d_in]: G A^T = dy^T (x A^T) and A G^T G = (dy G A^T)^T x."""
    x, dy, a, b = (t.to(dy.device, start[0].dtype) for t in (x, dy, *start))
    if bool(a.any()):
        grad_b = dy.T @ (x @ a.T)
        grad_a = (dy @ grad_b).T @ x
    else:
        grad_a = (dy @ b).T @ x
        grad_b = dy.T @ (x @ grad_a.T)
    if name not in sums:
        # `* 0` gives zeros in the gradients' shapes; float64, as the start values are.
        sums[name] = GradientSums(*(g * 0 for g in (grad_a, grad_b, grad_a, grad_b)))
    total = sums[name]
    total.a += grad_a
    total.b += grad_b
    total.a_square += grad_a * grad_a
    total.b_square += grad_b * grad_b


def compute_gradient_scores(kind: ScoreKind, sums: Mapping[str, GradientSums], starts: Mapping[str, Pair]) -> PerSite:
    """First-order change of the loss for snip, sums of squares for fisher, -weight * gradient for movement.

    Scores of all A are divided by their mean absolute value over all sites, and those of all B by theirs. Gradients of
    the matrix at zero are of first degree in a factor of the loss or of alpha / rank, those of the other matrix of
    second degree; after the division such a factor changes nothing. Raises CellFailed where all gradients are zero.
    """
    # The mean is over all sites: how the sites compare with each other is part of the score.
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
    """Scores of A and of B. The matrix at zero moves along its own gradient, so always away from zero."""
    a, b = (t.to(s.a) for t in start)
    if kind == "fisher":
        pair = (s.a_square, s.b_square)
    elif bool(a.any()):
        pair = ((a * s.a).abs(), s.b.abs()) if kind == "snip" else (a * s.a, s.b**2)
    else:
        pair = (s.a.abs(), (b * s.b).abs()) if kind == "snip" else (s.a**2, b * s.b)
    return pair[0].double().cpu().numpy(), pair[1].double().cpu().numpy()
