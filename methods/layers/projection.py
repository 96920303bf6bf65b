"""Project gradients to a subspace of rank r (GaLore, arXiv 2403.03507)."""

from __future__ import annotations

import torch
from torch import Tensor


class GradientProjector:
    """Projects to the leading singular vectors of the gradient, recomputed every `every` steps.

    A gradient [m, n] becomes [m, r] for m >= n (by right singular vectors), else [r, n] (by left ones). So `size` is
    r * max(m, n), and the basis has r * min(m, n) entries. The moments stay unchanged when the basis changes, as in the
    paper's code. Updates are multiplied by `scale`.
    """

    def __init__(self, shape: tuple[int, int], rank: int, every: int, scale: float) -> None:
        self.tall = shape[0] >= shape[1]
        self.rank, self.every, self.scale = rank, every, scale
        self.size, self.own_size = rank * max(shape), rank * min(shape)
        self.basis: Tensor | None = None

    def project(self, grad: Tensor, step: int) -> Tensor:
        """The gradient [m, n] as [size]."""
        basis = self.basis
        if basis is None or step % self.every == 0:
            basis = self._store_basis(self._compute_basis(grad))
        small = grad @ basis.T if self.tall else basis.T @ grad
        return small.flatten()

    def lift(self, update: Tensor) -> Tensor:
        """The update [size] as [m, n]."""
        assert self.basis is not None
        wide: Tensor = update.view(-1, self.rank) @ self.basis if self.tall else self.basis @ update.view(self.rank, -1)
        return wide * self.scale

    def _compute_basis(self, grad: Tensor) -> Tensor:
        # svd would raise; NaN makes the loss show the divergence.
        if not bool(grad.isfinite().all()):
            return grad.new_full((self.rank, grad.shape[1]) if self.tall else (grad.shape[0], self.rank), torch.nan)
        u, _, v = torch.linalg.svd(grad, full_matrices=False)
        leading: Tensor = v[: self.rank] if self.tall else u[:, : self.rank]
        return leading

    def _store_basis(self, basis: Tensor) -> Tensor:
        """Store the basis at the address of the previous one, where captured CUDA graphs read it."""
        if self.basis is None:
            self.basis = basis.clone(memory_format=torch.contiguous_format)
        else:
            self.basis.copy_(basis)
        return self.basis

    def state(self) -> Tensor | None:
        return None if self.basis is None else self.basis.to("cpu", copy=True)

    def restore(self, state: Tensor | None) -> None:
        if state is None:
            self.basis = None
        else:
            self._store_basis(state)
