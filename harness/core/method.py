"""The interfaces of methods and suites, and their registries; importing this imports no torch. Also exports the
interfaces of selection strategies (harness/core/strategy.py).

    Member x K ──> Method.attach(model, members, calibration) ──> Attached (trainable groups, K replicas)

K replicas of a pack share one backbone. Each replica has its own adapter, seeds and optimizer state.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.bounds import check_bounds
from harness.core.errors import NotApplicable
from harness.core.metric import METRICS as METRICS, Metric as Metric
from harness.core.registry import Registry
from harness.core.strategy import (
    STRATEGIES as STRATEGIES,
    InputStatistics as InputStatistics,
    Masks as Masks,
    PerSite as PerSite,
    Saving as Saving,
    Scope as Scope,
    ScoreKind as ScoreKind,
    Site as Site,
    Strategy as Strategy,
    Unit as Unit,
    strategy as strategy,
)
from harness.core.suite import (
    Average as Average,
    Evaluated as Evaluated,
    Evaluator as Evaluator,
    Example as Example,
    ForgettingText as ForgettingText,
    Label as Label,
    SourceRequest as SourceRequest,
    Suite as Suite,
    SuitePreset as SuitePreset,
    Task as Task,
    TaskData as TaskData,
    TaskKind as TaskKind,
)
from harness.core.suite_options import (
    GENERATION_OPTIONS as GENERATION_OPTIONS,
    INSTRUCTION_OPTIONS as INSTRUCTION_OPTIONS,
    SuiteOption as SuiteOption,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.core.seeds import Streams
    from harness.replicas.groups import Attached


@dataclasses.dataclass(frozen=True)
class Initial:
    """A trained adapter that training starts from.

    rank     its LoRA rank; a site may have a smaller one
    pairs    site name -> (A [r, d_in], B [d_out, r], scale)
    head     tensor name in the model -> tensor
    """

    rank: int
    pairs: Mapping[str, tuple[Tensor, Tensor, float]]
    head: Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Exported:
    """A trained adapter in peft's form: a peft configuration, and tensors by peft's names."""

    config: Any
    tensors: Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Member:
    """One replica of a pack.

    method     its method, with options
    streams    its seeded random streams
    steps      optimizer steps that it will take
    initial    adapter that it starts from, if the user gave one
    """

    method: Method
    streams: Streams
    steps: int = 0
    initial: Initial | None = None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Training rows on which entries are scored before training; the same rows for every seed.

    batches    (model inputs, labels) per batch of B rows
    loss       loss(logits [K*B, c], labels [K*B], K) -> mean loss per replica [K]
    """

    batches: Sequence[tuple[dict[str, Tensor], Tensor]]
    loss: Callable[[Tensor, Tensor, int], Tensor]


@dataclasses.dataclass(frozen=True)
class Sourced:
    """A default value and its source."""

    value: float
    source: str = "this project's choice, not tuned"


@dataclasses.dataclass(frozen=True)
class Range:
    """The range that tuning searches, both ends included; whole numbers if both ends are. `log`: on a log scale."""

    low: int | float
    high: int | float
    log: bool = True


def option(default: Any, meaning: str, allowed: str | Callable[[], list[str]] = "") -> Any:
    """A field of a method with what `methods show` says of it; a Literal's values and bounds need no `allowed`.

    A function as `allowed` returns the names of a registry, plugins included.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, "allowed": allowed})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """A fine-tuning method. The fields of the frozen dataclass are its options; the class variables describe it:

    `version` is raised when results change. Methods of one `family` may train together in a pack (see `pack_key`).
    With `autocasts`, bf16 is torch's autocast over float32 weights; without, activations have the backbone's precision.
    `unfit_weights` maps the class of quantized weights (`Quantization.weight_class`) that it cannot train on to the
    reason.
    `learning_rates` maps a preset to its declared default and the source of that; `tunable` has the options that
    `--tune` searches beside the rate ("lr": its range, where a factor of 30 around the default is not right);
    `paper_options` are defaults under `--protocol paper`. `exports`: peft can express what it trains.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None
    summary: ClassVar[str]
    family: ClassVar[str | None] = None
    quantizable: ClassVar[bool] = True
    unfit_weights: ClassVar[Mapping[str | None, str]] = {}
    trains_backbone: ClassVar[bool] = False
    autocasts: ClassVar[bool] = False
    paper_options: ClassVar[Mapping[str, Any]] = {}
    starts_at_base: ClassVar[bool] = True
    exports: ClassVar[bool] = False
    learning_rates: ClassVar[Mapping[str, Sourced]]
    tunable: ClassVar[Mapping[str, Range]] = {}

    def pack_key(self) -> str | None:
        """A text; cells whose methods return the same text may share a pack. None: trains alone."""
        return self.family

    def check(self) -> None:
        """Raise UserError for an option out of range, with what was given and what is allowed.

        Bounds of single options are those of their annotations, e.g. Annotated[int, Ge(1)].
        """
        check_bounds(self)

    def fits(self, model: nn.Module) -> None:  # noqa: B027 - most methods fit every model
        """Raise UserError if the method cannot be attached to the model, which holds shapes only (device meta)."""

    @abc.abstractmethod
    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        """Modify the model in place for K = len(members) replicas; return the trainable parameters in named groups.

        Called on the first member's method. All randomness must come from the members' streams.
        """

    def strategies(self) -> tuple[str, ...]:
        """Names of the selection strategies that it uses; their versions and sources enter the cell key."""
        return ()

    def parts(self) -> dict[str, str]:
        """Name -> version of parts that only some options use, for the cell key.

        Raising such a version leaves the keys of cells with other options as they are.
        """
        return {}

    def export(self, model: nn.Module, attached: Attached, slot: int) -> Exported:
        """The trained adapter and head of replica `slot`, to be loaded onto the unmodified base model."""
        raise NotImplementedError(f"{self.name}: peft cannot express it")

    def check_initial(self) -> None:
        """Raise NotApplicable if the method cannot start from a trained adapter."""
        raise NotApplicable(f"method '{self.name}' starts from no adapter; with --init-from: those of the LoRA family")

    def fits_initial(self, model: nn.Module, initial: Initial) -> list[str]:
        """The head layers for which the adapter has no values. Raises UserError if the adapter does not fit.

        The model holds shapes only (device meta).
        """
        return []

    def options(self) -> dict[str, Any]:
        """Options that differ from their defaults, for the cell key."""
        # without defaults, so that a new option leaves the keys of stored cells as they are
        fields = dataclasses.fields(self)
        return {f.name: v for f in fields if (v := getattr(self, f.name)) != f.default}


METHODS: Registry[type[Method]] = Registry("method")
SUITES: Registry[type[Suite]] = Registry("suite")
