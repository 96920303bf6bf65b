"""The Lanczos method: the largest eigenvalues of K symmetric matrices that are known by their products with vectors.

    v [K, N] --multiply--> H v [K, N] --orthogonalize--> next v;  tridiagonal T_k of each replica --> eigenvalue [K]

The method (Golub and Van Loan, Matrix Computations, section 10.1) searches the same Krylov space as power iteration but
finds the largest eigenvalue rather than that of largest magnitude. With B = 0 the block of A is zero and the Hessian is
indefinite, so that power iteration may end at the most negative eigenvalue, or between both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from harness.core.record import TopEigenvalue

MAX_ITERATIONS = 60
TOLERANCE = 1e-2
"""Residual of the eigenpair relative to its eigenvalue: some eigenvalue of the matrix is as near as that."""
TINY = float(np.finfo(np.float64).tiny)
Multiply = Callable[[Tensor, float], Tensor]
"""(unit vectors v [K, N], factor on the step of the differences) -> H v [K, N]."""


@dataclasses.dataclass
class _Replica:
    """The tridiagonal matrix of one replica's Lanczos process, and its largest eigenpair so far."""

    diagonal: list[float] = dataclasses.field(default_factory=list)
    beside: list[float] = dataclasses.field(default_factory=list)
    eigenvalue: float = math.nan
    lowest: float = math.nan
    change: float = math.inf
    residual: float = math.inf
    asymmetry: float = 0.0
    weights: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    is_done: bool = False

    def extend(self, alpha: float, beta: float, before: float) -> None:
        """Add a row to the matrix: its diagonal, and its entries after and before that.

        After the last row needed nothing changes any more.
        """
        if self.is_done:
            return
        if not (math.isfinite(alpha) and math.isfinite(beta)):
            self.eigenvalue, self.is_done = math.nan, True
            return
        self.diagonal.append(alpha)
        values, vectors = eigh_tridiagonal(self.diagonal, self.beside)
        previous, self.eigenvalue, self.lowest = self.eigenvalue, float(values[-1]), float(values[0])
        self.weights = vectors[:, -1]
        size = max(abs(self.eigenvalue), TINY)
        self.change = abs(self.eigenvalue - previous) / size if math.isfinite(previous) else math.inf
        # of a symmetric matrix, the entry before the diagonal is the one after the diagonal in the row before
        gap = abs(before - self.beside[-1]) if self.beside else 0.0
        self.asymmetry = max(self.asymmetry, gap)
        # |H y - eigenvalue y| of the vector y = basis * weights (Golub and Van Loan, section 10.1)
        self.residual = beta * abs(float(self.weights[-1])) / size
        self.beside.append(beta)
        self.is_done = self.residual <= TOLERANCE


def find_top_eigenvalues(multiply: Multiply, start: Tensor, is_open: Sequence[bool]) -> list[TopEigenvalue | None]:
    """The largest eigenvalue of each open replica, from unit vectors `start` [K, N]; None for the others.

    None also for a replica whose products are not finite.
    """
    replicas = [_Replica(is_done=not wanted) for wanted in is_open]
    basis = [start]
    for _ in range(MAX_ITERATIONS):
        w = multiply(basis[-1], 1.0)
        alpha = (w * basis[-1]).sum(1, dtype=torch.float64)
        before = (w * basis[-2 if len(basis) > 1 else -1]).sum(1, dtype=torch.float64)
        # against all earlier vectors, twice: rounding and differences would otherwise let copies of a vector return
        for vector in [*basis, *basis]:
            w -= (w * vector).sum(1, keepdim=True) * vector
        beta = w.norm(dim=1, dtype=torch.float64)
        for replica, *row in zip(replicas, alpha.tolist(), beta.tolist(), before.tolist(), strict=True):
            replica.extend(*row)
        if all(replica.is_done for replica in replicas):
            break
        basis.append(w / beta.clamp(min=torch.finfo(w.dtype).tiny)[:, None].to(w))
    return _describe(multiply, replicas, basis)


def _describe(multiply: Multiply, replicas: Sequence[_Replica], basis: Sequence[Tensor]) -> list[TopEigenvalue | None]:
    """The eigenvalues, each with its change when the step of the differences is twice as long."""
    vector = torch.zeros_like(basis[0])
    for row, replica in enumerate(replicas):
        for number, weight in enumerate(replica.weights.tolist()):
            vector[row] += weight * basis[number][row]
    doubled = (multiply(vector, 2.0) * vector).sum(1, dtype=torch.float64).tolist()
    described: list[TopEigenvalue | None] = []
    for replica, value in zip(replicas, doubled, strict=True):
        if not (math.isfinite(replica.eigenvalue) and math.isfinite(value)):
            described.append(None)
            continue
        size = max(abs(replica.eigenvalue), TINY)
        described.append(
            TopEigenvalue(
                eigenvalue=replica.eigenvalue,
                lowest=replica.lowest,
                iterations=len(replica.diagonal),
                change=replica.change if math.isfinite(replica.change) else None,
                residual=replica.residual,
                step_change=abs(value - replica.eigenvalue) / size,
                asymmetry=replica.asymmetry / max(size, abs(replica.lowest)),
            )
        )
    return described
