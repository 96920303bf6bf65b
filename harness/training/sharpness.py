"""Sharpness: the largest eigenvalue of the Hessian of the training loss, for K replicas of a pack at once.

    v [K, N] --theta +- h v--> two gradients [K, N] --(g+ - g-) / 2h--> H v [K, N] --Lanczos--> T_k --> eigenvalue [K]

One forward and backward pass over the shared backbone gives the gradients of all replicas. N are the columns of the
chosen groups; frozen entries are no columns, and padding has a gradient of zero and a start of zero.

Gradients are differentiated by central differences, for every method alike: the low-rank layer is an autograd function
that detaches its input and reads dense matrices without a graph, so a double backward pass through it would give a
wrong Hessian without an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.method import Calibration
from harness.core.record import Sharpness, TopEigenvalue
from harness.models.attention import use_attention_kernels
from harness.replicas.cuda_graph import use_side_stream
from harness.replicas.groups import Attached, ParameterGroup
from harness.training.lanczos import find_top_eigenvalues

MAX_ERROR = 0.02
"""Greatest residual, asymmetry and change with the step of an eigenvalue that is returned.

Where H is not symmetric, the gradients are not those of one function and there is no Hessian. DoRA's are not: it takes
the norm in its denominator for a constant (arXiv 2402.09353, section 4.3).
"""
STEPS = {torch.float32: (1e-4, 1e-5, 1e-3), torch.float64: (1e-5, 1e-6)}
"""Lengths of a difference step relative to the norm of the parameters; a replica takes the first that is accurate.

The error of a central difference is c h^2 (truncation) + eps |g| / h (rounding of gradients), least near eps^(1/3):
5e-3 for float32, 6e-6 for float64 if c is 1. On LoRA in a two-layer BERT, eigenvalues in float32 differ from those in
float64 by up to 8e-4 with steps of 1e-2 (the head included; 1e-4 without it), by about 1e-5 with 1e-3 and 3e-4, and
by up to 9e-5 with 1e-4. Shorter steps
are for losses that bend within a small part of that norm, longer ones for gradients with much rounding.
"""
MAX_STEP_CHANGE = 1e-2
"""Relative change of the curvature along the eigenvector, with a step twice as long, up to which a step is accurate."""
SEED = 0
"""Of the start vector, which is the same for every replica, method and pack of equal shapes."""


class PackSharpness:
    """The sharpness of a pack's members at their initial values, by slot; `describe` adds that of the present ones."""

    def __init__(self, model: nn.Module, attached: Attached, calibration: Calibration) -> None:
        self.model, self.attached, self.calibration = model, attached, calibration
        self.before = self._measure()

    def _measure(self) -> list[tuple[TopEigenvalue | None, TopEigenvalue | None]]:
        """(without head, with head) of each replica."""
        # the same stream as training steps: each stream costs a cuBLAS workspace
        with use_side_stream(self.attached.groups[0].theta.device):
            whole = measure_sharpness(self.model, self.attached, self.calibration)
            if all(group.name != "head" for group in self.attached.groups):
                return list(zip(whole, whole, strict=True))
            inner = measure_sharpness(self.model, self.attached, self.calibration, head=False)
        return list(zip(inner, whole, strict=True))

    def describe(self, members: Sequence[int]) -> list[Sharpness]:
        """The field of a record for each of the slots that are left, in the order of their rows."""
        rows = sum(len(labels) for _, labels in self.calibration.batches)
        described = []
        for member, after in zip(members, self._measure(), strict=True):
            before = self.before[member]
            described.append(
                Sharpness(
                    rows=rows,
                    before=before[0],
                    after=after[0],
                    before_with_head=before[1],
                    after_with_head=after[1],
                )
            )
        return described


def measure_sharpness(
    model: nn.Module, attached: Attached, calibration: Calibration, *, head: bool = True
) -> list[TopEigenvalue | None]:
    """The largest eigenvalue of each replica's Hessian, in evaluation mode; without `head`, the head stays fixed.

    The loss is the mean over the calibration's rows plus the method's penalty. Parameters, gradients and the mode of
    the model are left as they were. None for a replica without such parameters, or whose loss is not finite.
    """
    groups = [group for group in attached.groups if head or group.name != "head"]
    if not groups:
        return [None] * len(attached.stored)
    training = model.training
    model.eval()
    differences = _GradientDifferences(model, attached, groups, calibration)
    best: list[TopEigenvalue | None] = [None] * differences.k
    is_open = [True] * differences.k
    try:
        for step in STEPS[differences.thetas[0].dtype]:
            differences.step = step
            eigenvalues = find_top_eigenvalues(differences.multiply, differences.draw_start(), is_open)
            for replica, found in enumerate(eigenvalues):
                earlier = best[replica]
                if found and (earlier is None or _get_step_error(found) < _get_step_error(earlier)):
                    best[replica] = found
                # a replica's result does not depend on its neighbours, for which another step may be needed
                is_open[replica] = found is not None and _get_step_error(found) > MAX_STEP_CHANGE
            if not any(is_open):
                break
    finally:
        differences.restore()
        model.train(training)
    return [None if found is None or _get_error(found) > MAX_ERROR else found for found in best]


def _get_step_error(found: TopEigenvalue) -> float:
    return max(found.step_change, found.asymmetry)


def _get_error(found: TopEigenvalue) -> float:
    return max(_get_step_error(found), found.residual)


class _GradientDifferences:
    """Products with the Hessian of the chosen groups; between two of them the parameters are those at the start."""

    def __init__(
        self, model: nn.Module, attached: Attached, groups: Sequence[ParameterGroup], calibration: Calibration
    ) -> None:
        self.model, self.attached, self.groups, self.calibration = model, attached, groups, calibration
        self.thetas = [group.theta.detach().clone() for group in groups]
        self.k = len(groups[0].counts)
        self.rows = sum(len(labels) for _, labels in calibration.batches)
        self.norms = torch.cat(self.thetas, dim=1).norm(dim=1, dtype=torch.float64).clamp(min=1.0)
        self.step = STEPS[self.thetas[0].dtype][0]

    def draw_start(self) -> Tensor:
        """A random unit vector [K, N] in each replica's parameters, zero in its padding."""
        parts = []
        for group in self.groups:
            start = torch.zeros(self.k, group.theta.shape[1], dtype=torch.float64)
            for leaf in group.leaves.values():
                # a generator for each leaf: the entries do not depend on a neighbour's padding
                size = leaf.stop - leaf.start
                drawn = np.random.default_rng([SEED, *leaf.name.encode()]).standard_normal(size)
                for replica in range(self.k):
                    count = group.count_leaf(leaf, replica)
                    start[replica, leaf.start : leaf.start + count] = torch.from_numpy(drawn[:count])
            parts.append(start)
        start = torch.cat(parts, dim=1)
        unit: Tensor = start / start.norm(dim=1, keepdim=True)
        return unit.to(self.thetas[0])

    def multiply(self, v: Tensor, factor: float = 1.0) -> Tensor:
        """H v [K, N] of unit vectors v [K, N]; `factor` multiplies the step."""
        step = (factor * self.step * self.norms)[:, None].to(v)
        self._move(step * v)
        ahead = self._compute_gradient()
        self._move(-step * v)
        behind = self._compute_gradient()
        self.restore()
        product: Tensor = (ahead - behind) / (2 * step)
        return product

    def _move(self, offset: Tensor) -> None:
        """Set the parameters to those at the start plus `offset` [K, N]."""
        widths = [theta.shape[1] for theta in self.thetas]
        for group, theta, part in zip(self.groups, self.thetas, offset.split(widths, dim=1), strict=True):
            torch.add(theta, part, out=group.theta.detach())
        self._invalidate()

    def restore(self) -> None:
        """Set the parameters to those at the start, bit by bit, and the gradients to zero."""
        for group, theta in zip(self.groups, self.thetas, strict=True):
            group.theta.detach().copy_(theta)
        for group in self.attached.groups:
            group.clear_gradients()
        self._invalidate()

    def _invalidate(self) -> None:
        for callback in self.attached.invalidate:
            callback()

    def _compute_gradient(self) -> Tensor:
        """The gradient [K, N] of the mean loss over all rows, through the buffers that training fills too."""
        for group in self.attached.groups:
            group.clear_gradients()
        for batch, labels in self.calibration.batches:
            inputs = {name: repeat_rows(value, self.k) for name, value in batch.items()}
            tokens = max(value.shape[1] for value in batch.values())
            with torch.enable_grad(), use_attention_kernels(labels.device, tokens), warnings.catch_warnings():
                # a gradient is a slice of columns of its group's buffer, so its strides differ from the parameter's
                warnings.filterwarnings("ignore", message="grad and param do not obey")
                losses = self.calibration.loss(self.model(**inputs).logits, repeat_rows(labels, self.k), self.k)
                if self.attached.penalty is not None:
                    losses = losses + self.attached.penalty()
                (losses.sum() * (len(labels) / self.rows)).backward()
        return torch.cat([group.grad for group in self.groups], dim=1)


def repeat_rows(value: Tensor, k: int) -> Tensor:
    """[B, ...] -> [K*B, ...]: the rows of replica 1, then the same rows of replica 2."""
    return value.repeat(k, *[1] * (value.dim() - 1))
