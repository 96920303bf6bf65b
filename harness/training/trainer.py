"""The training loop: K replicas of one task train as one batch; K = 1 trains one cell alone.

    members  [1, 3]            slots of the pack that still train
    theta    [K, N] per group  row i belongs to members[i]
    batch    [K * B, L]        rows of member 1, then those of member 3
    losses   [K]               their sum is differentiated, so no replica's gradient reads another's loss

A member leaves after its last step. Then every tensor is compacted to the rows of the members that are left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from harness.core.failure import is_out_of_memory
from harness.core.protocol import Protocol
from harness.core.seeds import Streams
from harness.data.sampler import ReplicaSampler
from harness.data.task_types.base import Losses, Shape, Split
from harness.models.attention import use_attention_kernels
from harness.planning.schedule import compute_learning_rates, count_steps
from harness.replicas.cuda_graph import EagerRunner, bind_weakly, make_runner
from harness.replicas.dropout_sites import install_dropout, select_dropout_replicas
from harness.replicas.groups import Attached
from harness.replicas.optimizer import build_optimizer
from harness.training.history import TrainingHistory
from harness.training.lean_forward import install_lean_forward
from harness.training.losses import compute_losses

CURVE_POINTS = 20
"""Approximate number of points of a loss curve."""
REPORT_SECONDS = 30.0
"""Most seconds between two reports of progress: without one a worker would count as hanging in a pack of hours."""

FinishedCallback = Callable[[Sequence[int]], None]
"""Called with all members in row order when some have taken their last step; the model still holds every member."""
ProgressCallback = Callable[[int, Sequence[float]], None]
"""Called with a step and each member's mean loss since the last call."""


class Trainer:
    """K members on one attached model; `run` trains each to its own last step.

    `split` has the training rows on the device. `phase` tells an interrupt or an error what a step has changed so far:
    "between" steps, "gradients" (no trained value yet) or "update" (perhaps some).
    """

    def __init__(
        self,
        model: nn.Module,
        attached: Attached,
        split: Split,
        protocols: Sequence[Protocol],
        streams: Sequence[Streams],
        losses: Losses,
        *,
        autocast: bool = False,
    ) -> None:
        self.model, self.attached, self.split = attached.model or model, attached, split
        self.members = list(range(len(protocols)))
        self.totals = [count_steps(p, len(split)) for p in protocols]
        self.histories = [TrainingHistory(t) for t in self.totals]
        rates = [compute_learning_rates(p, t) for p, t in zip(protocols, self.totals, strict=True)]
        self.optimizer = build_optimizer(attached.groups, protocols, rates)
        first = protocols[0]
        self.order = ReplicaSampler(streams, split.lengths, first.batch_size, by_length=first.group_by_length)
        seeds = [s.integer("dropout", "") for s in streams]
        self.device, self.loss_of = split.device, losses
        install_lean_forward(model, split)
        self.clock = install_dropout(model, seeds, max(first.max_length, split.positions), self.device)
        self.autocast = autocast
        compute, fallback = bind_weakly(self._compute), self.optimizer.fallback
        self.runner = EagerRunner(compute, fallback) if fallback else make_runner(compute, self.device)
        self._sums = torch.zeros(len(protocols), dtype=torch.float64, device=self.device)
        self._since = 0
        self._last_report = time.monotonic()
        self.phase: Literal["between", "gradients", "update"] = "between"
        # called within each step that runs eagerly, for measurements; a replayed graph calls nothing
        self.after_forward: list[Callable[[], None]] = []
        self.before_update: list[Callable[[], None]] = []

    def run(
        self,
        finished: FinishedCallback,
        progress: ProgressCallback,
        completed: Callable[[], None] = lambda: None,
    ) -> list[TrainingHistory]:
        """Loss curves by member, after training from the current step; `completed` is called after each step."""
        with self.runner.stream():
            # a checkpoint may be written after a step but before the step's point of the curve
            self._report_progress(progress)
            while self.members:
                if finished_rows := self._find_finished():
                    self._remove_finished(finished_rows, finished)
                    continue
                self.train_step(self.optimizer.steps)
                self._report_progress(progress)
                completed()
        return self.histories

    def _report_progress(self, progress: ProgressCallback) -> None:
        """Record a point of the loss curve if one is due at this step and not recorded yet.

        Also report the losses since the last point if nothing was reported for `REPORT_SECONDS`.
        """
        step = self.optimizer.steps
        if self._since and (step % max(1, max(self.totals) // CURVE_POINTS) == 0 or self._find_finished()):
            progress(step, self._record_curve(step))
        elif self._since and time.monotonic() - self._last_report >= REPORT_SECONDS:
            progress(step, (self._sums / self._since).tolist())
        else:
            return
        self._last_report = time.monotonic()

    def _find_finished(self) -> list[int]:
        """Rows of the members that have taken their last step."""
        return [i for i, m in enumerate(self.members) if self.totals[m] <= self.optimizer.steps]

    def train_step(self, step: int) -> Tensor:
        """Losses [K] of one training step: forward pass, backward pass, update."""
        rows, shape = self._begin_step(step)
        # a replayed graph runs the whole step at once; an eager step sets the phases in `_compute`
        self.phase = "update"
        is_eager = any(needs_host(step) for needs_host in self.attached.eager_steps)
        losses = self._run_on_device(rows, shape, plain=is_eager)
        self.optimizer.steps = step + 1
        self._invalidate()
        for callback in self.attached.after_step:
            callback(step + 1)
        self._since += 1
        self.phase = "between"
        return losses

    def _run_on_device(self, rows: Tensor, shape: Shape, *, plain: bool) -> Tensor:
        """Losses [K] of the step on the device. On out of memory the graphs are freed and the step runs once more."""
        try:
            return self.runner.step(rows, shape, plain=plain)
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) and self.is_intact and self.runner.free()):
                raise
        # outside of the except block: there the error's frames would still hold the failed step's tensors
        return self.runner.step(rows, shape, plain=plain)

    @property
    def is_intact(self) -> bool:
        """Whether `state` is that of the last completed step.

        A step that stopped before its update changed nothing. A capture runs no operation, so it changes nothing.
        """
        return (self.phase != "update" or self.runner.capturing) and bool(self.members)

    def losses(self, step: int) -> Tensor:
        """Losses [K] on the rows of a step, without an update; they can be differentiated."""
        rows, shape = self._begin_step(step)
        with use_attention_kernels(self.device, max(shape)):
            return self._forward(rows, shape)

    def _invalidate(self) -> None:
        """Drop what methods have cached from trained values."""
        for callback in self.attached.invalidate:
            callback()

    def _begin_step(self, step: int) -> tuple[Tensor, Shape]:
        """Indices of the step's rows on the device, and the padded shape; sets what a step reads from the host."""
        self.model.train()
        self.clock.step.fill_(step)
        self.optimizer.begin(step)
        rows = torch.from_numpy(self.order.at(step)).to(self.device, non_blocking=True)
        return rows, self.split.shape(self.order.select_padding_rows(step))

    def _forward(self, rows: Tensor, shape: Shape) -> Tensor:
        """Losses [K] with their autograd graph."""
        inputs, targets, k = self.split.gather(rows, shape), self.split.targets(rows, shape), len(self.members)
        return compute_losses(self.model, self.loss_of, inputs, targets, k, self._get_autocast())

    def _compute(self, rows: Tensor, shape: Shape) -> Tensor:
        """Losses [K] of a whole step on the device: zero gradients, both passes, update. A CUDA graph captures this."""
        self.phase = "gradients"
        self._invalidate()  # a failed capture may have left cached tensors that no operation ever filled
        self.optimizer.zero_grad()
        # around both passes, since the backward pass recomputes blocks under activation checkpointing
        with use_attention_kernels(self.device, max(shape)):
            losses = self._forward(rows, shape)
            for callback in self.after_forward:
                callback()
            total = losses if self.attached.penalty is None else losses + self.attached.penalty()
            self._backward(total.sum())
        for callback in self.before_update:
            callback()
        self.phase = "update"
        self.optimizer.update()
        self._sums += losses.detach()
        return losses.detach()

    @staticmethod
    def _backward(total: Tensor) -> None:
        with warnings.catch_warnings():
            # a gradient is a slice of columns of its group's buffer, so its strides differ from the parameter's
            warnings.filterwarnings("ignore", message="grad and param do not obey")
            total.backward()

    def _get_autocast(self) -> contextlib.AbstractContextManager[None]:
        if not self.autocast:
            return contextlib.nullcontext()
        # a graph must contain the casts of weights: cached ones would stay those of the step that was captured
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=not self.runner.capturing)

    def _record_curve(self, step: int) -> list[float]:
        """Mean loss of each member since the last point, which is added to the curves."""
        # `tolist` waits for the GPU, so it comes before the phase changes: Ctrl-C in it finds a complete step
        means = (self._sums / self._since).tolist()
        self.phase = "update"
        for member, mean in zip(self.members, means, strict=True):
            history = self.histories[member]
            if math.isfinite(mean):
                history.curve.append((step, mean))
            elif history.broke_at is None:
                history.broke_at = step
        self._sums.zero_()
        self._since = 0
        self.phase = "between"
        return means

    def _remove_finished(self, ends: Sequence[int], finished: FinishedCallback) -> None:
        """Hand the pack over for scoring, then drop the members in rows `ends`."""
        self.runner.reset()  # scoring may need the memory of the graphs, and smaller packs cannot replay them
        finished(list(self.members))
        self._select_rows([i for i in range(len(self.members)) if i not in ends])

    def _select_rows(self, stay: Sequence[int]) -> None:
        """Compact all tensors to the rows `stay`."""
        self.phase = "update"
        if stay:
            self.attached.keep(stay)
            self.optimizer.keep(stay)
            self.order.keep(stay)
            select_dropout_replicas(self.model, self.clock, stay)
            self._sums = self._sums[list(stay)]
            self.runner.reset()
        self.members = [self.members[i] for i in stay]
        self.phase = "between"

    def state(self) -> dict[str, Any]:
        """A copy on the host of all that training has changed: tensors, numbers and texts, for torch.save.

        The order of rows and the dropout masks follow from seeds and step, so they are not in it.
        """
        return {
            "members": list(self.members),
            "theta": [g.theta.detach().to("cpu", copy=True) for g in self.attached.groups],
            "optimizer": move_tensors(torch.device("cpu"), self.optimizer.state()),
            "kept": move_tensors(torch.device("cpu"), [part.state() for part in self.attached.extra_state]),
            "trained": [dataclasses.asdict(history) for history in self.histories],
            "sums": self._sums.to("cpu", copy=True),
            "since": self._since,
        }

    @property
    def state_bytes(self) -> int:
        """Approximate bytes of the tensors in `state`: trained values and the optimizer's state."""
        thetas = [group.theta for group in self.attached.groups]
        return sum(tensor.nbytes for tensor in thetas + self.optimizer.list_tensors())

    def restore(self, state: dict[str, Any], members: Sequence[int] | None = None) -> None:
        """Resume from `state`; results equal those of a run without a stop bit by bit. `members` selects some members.

        The trainer must be a new one of the same whole pack. Raises ValueError, KeyError or RuntimeError, among
        others, for a state that does not fit.
        """
        if state["members"] != self.members:
            self._select_rows([self.members.index(member) for member in state["members"]])
        # in place: leaves and gradients are views of theta, and so are the backbone's parameters if it trains
        for group, stored_theta in zip(self.attached.groups, state["theta"], strict=True):
            group.theta.detach().copy_(stored_theta)
        stored = state["optimizer"]
        self.optimizer.restore(stored | {"projectors": move_tensors(self.device, stored["projectors"])})
        stored_extras = move_tensors(self.device, state["kept"])
        for part, stored_extra in zip(self.attached.extra_state, stored_extras, strict=True):
            part.restore(stored_extra)
        self.histories = [TrainingHistory(**fields) for fields in state["trained"]]
        self._sums.copy_(state["sums"])
        self._since = state["since"]
        if members is not None and list(members) != self.members:
            # after the copy: the stored tensors have the rows of all members of the state
            self._select_rows([self.members.index(member) for member in members])


def move_tensors(device: torch.device, tree: Any) -> Any:
    """A tree of lists and dicts with its tensors on `device`."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), tree)
