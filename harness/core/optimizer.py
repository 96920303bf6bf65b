"""What an optimizer must be, and the registry of them. No torch is imported to read this.

    @OPTIMIZERS.register("mine")          # in a file under harness/replicas/optimizers/, or in a plugin (--plugin FILE)
    class Mine(Optimizer): ...

    gradients [K, n] ── clip per replica ── decay ── compute_step ──> theta -= step [K, n]

The harness clips, decays, splits long rows into chunks, saves and restores. A class only computes the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.core.errors import UserError
from harness.core.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from harness.core.protocol import Protocol

HYPERPARAMETERS = ("beta1", "beta2", "epsilon", "momentum", "weight_decay")
"""Fields of the protocol that some optimizers read and others do not."""


class Optimizer:
    """An optimizer whose step is elementwise, so that one computation updates K replicas.

    The class variables describe it:

    reads        those of `HYPERPARAMETERS` that it reads
    moments      names of what it keeps between steps: one tensor of the parameters' shape for each name
    decay        weight decay of the parameter itself (decoupled, arXiv 1711.05101), or added to the gradient (coupled)
    captured     whether a CUDA graph can hold its update
    trainer      its name in transformers' TrainingArguments.optim, for the benches
    version      raised when results change
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str | None] = None
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("weight_decay",)
    moments: ClassVar[tuple[str, ...]] = ()
    decay: ClassVar[Literal["decoupled", "coupled"]] = "decoupled"
    captured: ClassVar[bool] = True
    trainer: ClassVar[str | None] = None

    def list_moments(self, protocols: Sequence[Protocol]) -> tuple[str, ...]:
        """The names of `moments` that replicas of these protocols need."""
        return self.moments

    def compute_tables(self, rates: Tensor, count: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Further values of a step by name, each [steps, K] in float64; computed once, before training.

        `rates` and `count` are [steps, K]; `count` numbers the steps from 1, anew where moments restart. `fields` has
        the values [K] of `HYPERPARAMETERS`.
        """
        return {}

    def compute_step(self, gradient: Tensor, moments: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
        """What is subtracted from the parameters, [K, n]; `moments` [K, n], zero at first, are updated in place.

        `gradient` [K, n] is clipped and must stay as it is. `values` [K, 1] has `rate` (the learning rate of the step),
        `HYPERPARAMETERS`, and what `compute_tables` returned.
        """
        raise NotImplementedError(f"optimizer '{self.name}' defines no compute_step")

    def count_state_bytes(self, protocol: Protocol, size: int, item_bytes: int) -> int:
        """Bytes that one replica keeps between steps for a tensor of `size` parameters of `item_bytes` each."""
        return len(self.list_moments([protocol])) * size * item_bytes

    def get_updater(self) -> type[Any] | None:
        """A subclass of ReplicaOptimizer (harness/replicas/optimizer.py) that replaces the elementwise update."""
        return None

    def check(self) -> None:
        """Raise UserError where a package that it needs is not installed."""

    def check_device(self, device: str) -> None:
        """Raise UserError where it does not run on a device, 'cpu' or 'cuda'; called before training."""


OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer", package="harness.replicas.optimizers")
"""Optimizers, one per file. Names are those of transformers' `optim`, where it has the optimizer."""


def get_optimizer(protocol: Protocol) -> Optimizer:
    """The optimizer of a protocol. Raises UserError for an unknown name."""
    return OPTIMIZERS.get(protocol.optimizer)()


def check_hyperparameters(optimizer: str, given: Mapping[str, Any]) -> None:
    """Raise UserError for a hyperparameter without effect on an optimizer; `given` are the fields that the user set."""
    kind = OPTIMIZERS.get(optimizer)
    for field in HYPERPARAMETERS:
        if field in given and field not in kind.reads:
            readers = [name for name, other in OPTIMIZERS if field in other.reads]
            raise UserError(
                f"{field}={given[field]}: has no effect on optimizer '{optimizer}', which reads "
                f"{', '.join(kind.reads) or 'none of these'}; leave it out, or use {' or '.join(readers)}"
            )
