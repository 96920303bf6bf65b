"""Cross-entropy of a language model's output layer in chunks of tokens, so the logits never exist as a whole.

    hidden [K*B, n, d] -> rows [N, d] --chunk of rows--> logits [c, V] --> losses [c], gradient of the chunk [c, d]
                                                         (freed before the next chunk)

A whole step of a large vocabulary would hold logits [N, V] several times: in the model's precision, in float32, their
softmax and their gradient. The forward pass computes the gradient of each chunk at once and saves [N, d] only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 32 << 20
"""Bytes of a chunk's logits in float32: rows enough for an efficient product, little beside a large model."""
LEAST_ROWS = 64
"""Least rows of a chunk, whatever the vocabulary."""
IGNORED = -100
"""The target of a token without a loss, as in torch and transformers."""


class Targets(NamedTuple):
    """Targets [K*B, n] int64 (-100: no loss), the number of replicas K, and label smoothing."""

    tokens: Tensor
    k: int
    smoothing: float


def compute_linear_losses(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Targets) -> Tensor:
    """Mean cross-entropy per replica [K] of logits hidden W^T + bias, over the replica's own targets.

    hidden [K*B, n, d], weight [V, d], bias [V] or None. Equals `torch.nn.functional.cross_entropy` of the logits in
    float32 (float64 for a float64 model). No shape depends on values, so a CUDA graph can hold it.
    """
    losses: Tensor = _LinearLosses.apply(hidden, weight, bias, targets)  # type: ignore[no-untyped-call]
    return losses


class _LinearLosses(torch.autograd.Function):
    """Losses [K]; saves the gradients of their sum, which the backward pass multiplies by those of the losses."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Targets) -> Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        with torch.autocast(kind, enabled=False):
            chunks = _Chunks(hidden, weight, bias, targets, dtype, ctx.needs_input_grad[:3])
            chunks.run()
        ctx.save_for_backward(chunks.d_hidden, chunks.d_weight, chunks.d_bias)
        ctx.k, ctx.shape, ctx.dtypes = targets.k, hidden.shape, (hidden.dtype, None if bias is None else bias.dtype)
        # 0 / 0 where a replica has no target at all, as in torch
        return chunks.losses.view(targets.k, -1).sum(1) / chunks.counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        (factors,) = grads
        # in place, to hold no second copy: torch then refuses a second backward pass through the same losses
        if d_hidden is not None:
            d_hidden.view(ctx.k, -1).mul_(factors[:, None])
            d_hidden = d_hidden.view(ctx.shape).to(ctx.dtypes[0])
        # only the output layer of a pack of one trains, so one factor belongs to its whole gradient
        for grad in (d_weight, d_bias):
            if grad is not None:
                grad.mul_(factors[0])
        return d_hidden, d_weight, None if d_bias is None else d_bias.to(ctx.dtypes[1]), None


class _Chunks:
    """Runs over chunks of rows: `losses` [N], zero in rows without a target, and `counts` [K] of targets.

    d_hidden [N, d], d_weight [V, d] and d_bias [V] are gradients of the sum of all losses; None where not needed.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Targets,
        dtype: torch.dtype,
        needs: tuple[bool, bool, bool],
    ) -> None:
        if any(needs[1:]) and targets.k > 1:
            raise ValueError(f"an output layer that trains, in a pack of {targets.k}: allowed: a pack of 1")
        self.rows = hidden.detach().reshape(-1, hidden.shape[-1]).to(dtype)
        self.weight = weight.detach().to(dtype)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.targets, self.smoothing = targets.tokens.reshape(-1), targets.smoothing
        present = (targets.tokens != IGNORED).view(targets.k, -1)
        self.counts = present.sum(1)
        # 1 / number of targets of the row's replica; 0 in rows without a target, also where the replica has none at all
        self.shares = (present.to(self.wide) / self.counts.clamp(min=1)[:, None]).flatten()
        self.losses = self.rows.new_empty(len(self.rows), dtype=self.wide)
        self.d_hidden = torch.empty_like(self.rows) if needs[0] else None
        self.d_weight = torch.zeros_like(self.weight, dtype=weight.dtype) if needs[1] else None
        self.d_bias = None if bias is None or not needs[2] else torch.zeros_like(bias, dtype=self.wide)

    @property
    def needs_gradient(self) -> bool:
        return any(t is not None for t in (self.d_hidden, self.d_weight, self.d_bias))

    def run(self) -> None:
        step = count_chunk_rows(len(self.weight), self.wide.itemsize)
        for start in range(0, len(self.rows), step):
            self._run_chunk(slice(start, min(start + step, len(self.rows))))

    def _run_chunk(self, part: slice) -> None:
        """Losses of some rows; `logits` becomes their softmax and then their gradient in place."""
        rows, share = self.rows[part], self.shares[part]
        logits = torch.nn.functional.linear(rows, self.weight, self.bias).to(self.wide)
        places = self.targets[part].clamp(min=0)[:, None]
        norm = logits.logsumexp(1, keepdim=True)
        true = logits.gather(1, places)
        losses = norm - (1 - self.smoothing) * true
        if self.smoothing:
            losses -= self.smoothing * logits.mean(1, keepdim=True)
        # masked and not multiplied: 0 times a loss that is not finite would be nan in a row without a target
        self.losses[part] = torch.where(share > 0, losses[:, 0], 0)
        if not self.needs_gradient:
            return
        gradient = logits.sub_(norm).exp_()
        if self.smoothing:
            gradient -= self.smoothing / len(self.weight)
        gradient.scatter_add_(1, places, torch.full_like(true, self.smoothing - 1))
        gradient.mul_(share[:, None])
        if self.d_bias is not None:
            self.d_bias += gradient.sum(0)
        narrow = gradient.to(rows.dtype)
        del logits, gradient
        if self.d_hidden is not None:
            torch.mm(narrow, self.weight, out=self.d_hidden[part])
        if self.d_weight is not None:
            self.d_weight += narrow.T @ rows


def count_chunk_rows(vocabulary: int, item_bytes: int) -> int:
    """Rows of a chunk whose logits take `CHUNK_BYTES`, at least `LEAST_ROWS`."""
    return max(LEAST_ROWS, CHUNK_BYTES // (vocabulary * item_bytes))
