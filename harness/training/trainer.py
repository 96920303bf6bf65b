"""The training loop: K replicas of one task as one batch; K = 1 is a run alone."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from harness.core.cell import Protocol
from harness.core.failure import is_out_of_memory
from harness.core.seeds import Streams
from harness.data.sampler import ReplicaSampler
from harness.data.task_types.base import Losses, Shape, Split
from harness.models.attention import use_attention_kernels
from harness.planning.schedule import compute_learning_rates, count_steps
from harness.replicas.cuda_graph import Compute, make_runner
from harness.replicas.dropout_sites import install_dropout, select_dropout_replicas
from harness.replicas.groups import Attached
from harness.replicas.optimizer import ReplicaAdamW

CURVE_POINTS = 20

FinishedCallback = Callable[[Sequence[int]], None]
"""Called with the members that have taken their last step, while the model still holds them, rows in that order."""
ProgressCallback = Callable[[int, Sequence[float]], None]
"""Called with a step and the members' mean losses since the last call."""


@dataclasses.dataclass
class TrainingHistory:
    """What came of one member: its loss curve, and the step at which its loss ceased to be finite."""

    steps: int
    curve: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    broke_at: int | None = None


class Trainer:
    """K members on one attached model; `run` trains each to its own last step."""

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
        self.trained = [TrainingHistory(t) for t in self.totals]
        rates = [compute_learning_rates(p, t) for p, t in zip(protocols, self.totals, strict=True)]
        self.optimizer = ReplicaAdamW(attached.groups, protocols, rates)
        first = protocols[0]
        self.order = ReplicaSampler(streams, split.lengths, first.batch_size, by_length=first.group_by_length)
        seeds = [s.integer("dropout", "") for s in streams]
        self.device, self.loss_of = split.device, losses
        self.clock = install_dropout(model, seeds, max(first.max_length, split.positions), self.device)
        self.autocast = autocast
        self.runner = make_runner(_bind_weakly(self._compute), self.device)
        self._sums = torch.zeros(len(protocols), dtype=torch.float64, device=self.device)
        self._since = 0
        self.phase: Literal["between", "gradients", "update"] = "between"

    def run(
        self,
        finished: FinishedCallback,
        progress: ProgressCallback,
        completed: Callable[[], None] = lambda: None,
    ) -> list[TrainingHistory]:
        """Train all, from the present step; `completed` is called after each."""
        with self.runner.stream():
            self._report_progress(progress)  # what a run was stopped just before
            while self.members:
                if finished_rows := self._find_finished():
                    self._remove_finished(finished_rows, finished)
                    continue
                self.train_step(self.optimizer.steps)
                self._report_progress(progress)
                completed()
        return self.trained

    def _report_progress(self, progress: ProgressCallback) -> None:
        """A point of the curve, where one is due and not noted yet."""
        step = self.optimizer.steps
        if self._since and (step % max(1, max(self.totals) // CURVE_POINTS) == 0 or self._find_finished()):
            progress(step, self._record_curve(step))

    def _find_finished(self) -> list[int]:
        """Rows of those that have taken their last step."""
        return [i for i, m in enumerate(self.members) if self.totals[m] <= self.optimizer.steps]

    def train_step(self, step: int) -> Tensor:
        """Forward, backward, update; returns the losses [K]."""
        rows, shape = self._begin_step(step)
        self.phase = "update"  # a graph that is replayed does all at once; `_compute` says more
        losses = self._run_on_device(rows, shape, plain=any(host(step) for host in self.attached.eager_steps))
        self.optimizer.steps = step + 1
        self._invalidate()
        for called in self.attached.after_step:
            called(step + 1)
        self._since += 1
        self.phase = "between"
        return losses

    def _run_on_device(self, rows: Tensor, shape: Shape, *, plain: bool) -> Tensor:
        """The step itself; once more without the memory of graphs, where that is what it wants."""
        try:
            return self.runner.step(rows, shape, plain=plain)
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) and self.is_intact and self.runner.free()):
                raise
        return self.runner.step(rows, shape, plain=plain)  # out here the error's frames hold nothing any more

    @property
    def is_intact(self) -> bool:
        """Whether `state` is that of the last completed step: a step that stopped before its update changed nothing."""
        return (self.phase != "update" or self.runner.capturing) and bool(self.members)

    def losses(self, step: int) -> Tensor:
        """Of the step's rows, [K]; nothing is updated."""
        rows, shape = self._begin_step(step)
        with use_attention_kernels(self.device, max(shape)):
            return self._forward(rows, shape)

    def _invalidate(self) -> None:
        for called in self.attached.invalidate:
            called()

    def _begin_step(self, step: int) -> tuple[Tensor, Shape]:
        """What the host decides before a step; its rows on the device, and their shape."""
        self.model.train()
        self.clock.step.fill_(step)
        self.optimizer.begin(step)
        rows = torch.from_numpy(self.order.at(step)).to(self.device, non_blocking=True)
        return rows, self.split.shape(self.order.select_padding_rows(step))

    def _forward(self, rows: Tensor, shape: Shape) -> Tensor:
        """Losses [K] that can be differentiated."""
        with self._get_autocast():
            logits = self.model(**self.split.gather(rows, shape)).logits
        return self.loss_of(logits, self.split.targets(rows, shape), len(self.members))

    def _compute(self, rows: Tensor, shape: Shape) -> Tensor:
        """All of a step that happens on the device."""
        self.phase = "gradients"
        self._invalidate()  # also what a capture that failed has made: it never ran
        self.optimizer.zero_grad()
        with use_attention_kernels(
            self.device, max(shape)
        ):  # around both passes: the backward one may compute a block again
            losses = self._forward(rows, shape)
            total = losses if self.attached.penalty is None else losses + self.attached.penalty()
            self._backward(total.sum())
        self.phase = "update"
        self.optimizer.update()
        self._sums += losses.detach()
        return losses.detach()

    @staticmethod
    def _backward(total: Tensor) -> None:
        with warnings.catch_warnings():
            # gradients are rows of a wider matrix on purpose: one buffer a group
            warnings.filterwarnings("ignore", message="grad and param do not obey")
            total.backward()

    def _get_autocast(self) -> contextlib.AbstractContextManager[None]:
        if not self.autocast:
            return contextlib.nullcontext()
        # a graph must not read the casts that an earlier step has cached
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=not self.runner.capturing)

    def _record_curve(self, step: int) -> list[float]:
        means = (self._sums / self._since).tolist()  # waits for a GPU; Ctrl-C may come meanwhile
        self.phase = "update"
        for member, mean in zip(self.members, means, strict=True):
            history = self.trained[member]
            if math.isfinite(mean):
                history.curve.append((step, mean))
            elif history.broke_at is None:
                history.broke_at = step
        self._sums.zero_()
        self._since = 0
        self.phase = "between"
        return means

    def _remove_finished(self, ends: Sequence[int], finished: FinishedCallback) -> None:
        """Hand over the pack for scoring, then go on with those that have steps left."""
        self.runner.reset()  # scoring may want the memory of graphs, and no later step replays them
        finished(list(self.members))
        self._keep([i for i in range(len(self.members)) if i not in ends])

    def _keep(self, stay: Sequence[int]) -> None:
        """Compact everything to the rows `stay`."""
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
        """A copy on the host of all that training has changed: tensors, numbers and texts, fit for torch.save.

        The order of rows and the dropout masks follow from seeds and step, so they need none.
        """
        return {
            "members": list(self.members),
            "theta": [g.theta.detach().to("cpu", copy=True) for g in self.attached.groups],
            "optimizer": move_tensors(torch.device("cpu"), self.optimizer.state()),
            "kept": move_tensors(torch.device("cpu"), [part.state() for part in self.attached.extra_state]),
            "trained": [dataclasses.asdict(t) for t in self.trained],
            "sums": self._sums.to("cpu", copy=True),
            "since": self._since,
        }

    @property
    def state_bytes(self) -> int:
        """Of the tensors in `state`, nearly."""
        moments = [*self.optimizer.first, *self.optimizer.second]
        return sum(t.nbytes for t in [*(g.theta for g in self.attached.groups), *moments])

    def restore(self, state: dict[str, Any], members: Sequence[int] | None = None) -> None:
        """Go on from `state`, bit by bit as if never stopped; with `members`, with these of it only.

        This trainer is a fresh one of the same pack.
        """
        if state["members"] != self.members:
            self._keep([self.members.index(member) for member in state["members"]])
        for group, saved in zip(self.attached.groups, state["theta"], strict=True):
            group.theta.detach().copy_(saved)
        moments = state["optimizer"]
        self.optimizer.restore(moments | {"projectors": move_tensors(self.device, moments["projectors"])})
        for part, saved in zip(self.attached.extra_state, move_tensors(self.device, state["kept"]), strict=True):
            part.restore(saved)
        self.trained = [TrainingHistory(**fields) for fields in state["trained"]]
        self._sums.copy_(state["sums"])
        self._since = state["since"]
        if members is not None and list(members) != self.members:
            self._keep([self.members.index(member) for member in members])


def move_tensors(device: torch.device, tree: Any) -> Any:
    """The same lists and dicts, their tensors on the device."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), tree)


def _bind_weakly(method: Compute) -> Compute:
    """The method without its owner, so that a trainer and its graphs are freed when a pack ends.

    Held by each other they would wait for the garbage collector, which counts objects and not what they hold on a GPU.
    """
    weak_method = weakref.WeakMethod(method)

    def compute(rows: Tensor, shape: Any) -> Tensor:
        bound_method = weak_method()
        assert bound_method is not None
        return bound_method(rows, shape)

    return compute
