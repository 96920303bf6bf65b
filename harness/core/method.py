"""What a method, a selection strategy, a suite and a source must be. No torch is imported to read this."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.core.errors import NotApplicable
from harness.core.metric import METRICS as METRICS, Metric as Metric
from harness.core.registry import Registry
from harness.core.suite import (
    Average as Average,
    Evaluated as Evaluated,
    Evaluator as Evaluator,
    Example as Example,
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
    import numpy as np
    from torch import Tensor, nn

    from harness.core.seeds import Streams
    from harness.replicas.groups import Attached


@dataclasses.dataclass(frozen=True)
class Initial:
    """An adapter trained before: (A, B, scale) by site, and the tensors of its head, by their names in the model.

    `rank` is the one it was made with; a site may have fewer.
    """

    rank: int
    pairs: Mapping[str, tuple[Tensor, Tensor, float]]
    head: Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Exported:
    """A trained adapter as peft writes it: peft's configuration, and tensors by peft's names."""

    config: Any
    tensors: Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Member:
    """One replica of a pack: its method (with options), its seeded streams, and the optimizer steps it will take.

    `initial` is the adapter that it starts from, where the user gave one.
    """

    method: Method
    streams: Streams
    steps: int = 0
    initial: Initial | None = None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Training rows for measuring before training, the same for each seed: (model inputs, labels) per batch.

    `loss(logits [K*B, c], labels [K*B], K)` gives the mean loss per replica [K].
    """

    batches: Sequence[tuple[dict[str, Tensor], Tensor]]
    loss: Callable[[Tensor, Tensor, int], Tensor]


@dataclasses.dataclass(frozen=True)
class Sourced:
    """A default and where it comes from."""

    value: float
    source: str = "this project's choice, not tuned"


@dataclasses.dataclass(frozen=True)
class Range:
    """What tuning searches, both ends included; whole numbers where both ends are."""

    low: int | float
    high: int | float
    log: bool = True


def option(default: Any, meaning: str, allowed: str | Callable[[], list[str]] = "") -> Any:
    """A field of a method with what `methods show` says of it; a Literal's values need no `allowed`.

    A function as `allowed` returns the names of a registry, plugins included.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, "allowed": allowed})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """A fine-tuning method; the fields of the frozen dataclass are its options.

    `version` is raised when results change. Methods of one `family` may train together in a pack (see `packs_with`).
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
        """Methods that give the same text may train in one pack; None trains alone."""
        return self.family

    def check(self) -> None:  # noqa: B027 - most methods have nothing to refuse
        """Raise UserError for an option out of range: what was given, what is allowed."""

    def fits(self, model: nn.Module) -> None:  # noqa: B027 - most methods fit every model
        """Raise UserError where the model has no place for the method. The model holds shapes only (device meta)."""

    @abc.abstractmethod
    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        """Fit the model in place for K = len(members) replicas; return what trains, in named groups.

        Called on the first member's method. Randomness comes only from the members' streams.
        """

    def strategies(self) -> tuple[str, ...]:
        """Names of the selection strategies that it uses: what they are goes into the cell key."""
        return ()

    def parts(self) -> dict[str, str]:
        """What changed the results of some combinations of options only: name -> version, for the cell key."""
        return {}

    def export(self, model: nn.Module, attached: Attached, slot: int) -> Exported:
        """What one replica has learned, head and all, for a base model that nothing has touched."""
        raise NotImplementedError(f"{self.name}: peft cannot express it")

    def check_initial(self) -> None:
        """Raise NotApplicable where the method cannot start from an adapter trained before."""
        raise NotApplicable(f"method '{self.name}' starts from no adapter; with --init-from: those of the LoRA family")

    def fits_initial(self, model: nn.Module, initial: Initial) -> list[str]:
        """Raise UserError where the adapter does not fit; returns the head layers that it has no values for.

        The model holds shapes only (device meta).
        """
        return []

    def options(self) -> dict[str, Any]:
        """Options that differ from their defaults, as they go into the cell key."""
        fields = dataclasses.fields(self)
        return {f.name: v for f in fields if (v := getattr(self, f.name)) != f.default}


@dataclasses.dataclass(frozen=True)
class Site:
    """One linear layer that gets a low-rank pair: A is [rank, d_in], B is [d_out, rank].

    `layer` is the number of its block (-1 outside of any); sites with the same `reads` get the same input.
    """

    name: str
    d_in: int
    d_out: int
    rank: int
    layer: int
    reads: str = ""

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.rank, self.d_in), (self.d_out, self.rank)


PerSite = Mapping[str, "tuple[np.ndarray, np.ndarray]"]
"""Site name -> (array of A's shape, array of B's shape)."""

Masks = PerSite
"""Boolean; True = trained."""

Scope = Literal["matrix", "pair", "model"]
"""Where the share is exact: in each matrix, in A and B of a site together, or over all sites."""

Unit = Literal["entry", "row", "column", "channel", "rank", "block"]
"""What trains as a whole. Rows or columns of A and of B; channels: columns of A (inputs) and rows of B (outputs);
ranks: rows of A with the columns of B; blocks: all entries that a strategy gives the same number.
"""

Saving = Literal["trained parameters", "gradient", "optimizer state", "activations", "compute"]

ScoreKind = Literal["weight", "snip", "fisher", "movement"]
"""What methods/calibration.py can measure for a strategy before training."""


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A rule that says which entries of A and B train.

    `order(sites, ratio, rng)`, or `order(sites, ratio, rng, scores)` where `scores` names a kind, gives each entry a
    number; the highest train, ties in row-major order, exactly as many as the ratio asks in the scope. Where `unit` is
    not the entry, units train as a whole: of those with the highest numbers, as many as come nearest to the ratio, and
    fewer of two equally near. With `half_only`, a ratio other than 0.5 is refused. `zero` is the matrix that starts at
    zero (the other is drawn). `trains` is the one matrix that a share of half lets train, if it is one. With `twins`,
    seeds 2i and 2i + 1 get complementary masks. `saves` is what it is sure to save against LoRA of the same rank, alone
    and at its own scope with ratio 0.5; `why` says by what.
    """

    name: str
    order: Callable[..., PerSite]
    summary: str
    scope: Scope = "matrix"
    scores: ScoreKind | None = None
    zero: Literal["a", "b"] = "b"
    trains: Literal["a", "b"] | None = None
    twins: bool = False
    unit: Unit = "entry"
    half_only: bool = False
    paper: str | None = None
    saves: tuple[Saving, ...] = ("trained parameters", "gradient", "optimizer state")
    why: str = "frozen entries lie anywhere, so x and A x are kept whole and every product is computed"
    version: int = 1


METHODS: Registry[type[Method]] = Registry("method")
STRATEGIES: Registry[Strategy] = Registry("strategy")
SUITES: Registry[type[Suite]] = Registry("suite")


def strategy(name: str, **facts: Any) -> Callable[[Callable[..., PerSite]], Callable[..., PerSite]]:
    """Decorator: register a function as the strategy `name`; `facts` are fields of Strategy.

    The first line of the docstring is its summary. Raises UserError if the name is taken.
    """

    def put(order: Callable[..., PerSite]) -> Callable[..., PerSite]:
        summary = (order.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        STRATEGIES.register(name)(Strategy(name, order, summary, **facts))
        return order

    return put
