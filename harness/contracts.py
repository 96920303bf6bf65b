"""What a method, a selection strategy, a suite and a source must be. No torch is imported to read this."""

from __future__ import annotations

import abc
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.errors import NotApplicable
from harness.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

    from harness.cell import Protocol
    from harness.groups import Attached
    from harness.seeds import Streams

Label = int | float | str
"""Class id, real number, or the text to be written."""

TaskKind = Literal["classification", "translation", "instruction"]
"""How a task trains and predicts, a file each in harness/task_types; regression is a classification without labels."""


# ---------------------------------------------------------------- suites


@dataclasses.dataclass(frozen=True)
class Example:
    """One row of a task: a stable id, one or two texts, and its label."""

    id: str
    texts: tuple[str, ...]
    label: Label


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of a suite. `labels` is empty for regression. Each name of `eval_splits` is scored once."""

    name: str
    labels: tuple[str, ...]
    eval_splits: tuple[str, ...]
    metrics: tuple[str, ...]
    kind: TaskKind = "classification"

    @property
    def outputs(self) -> int | None:
        """Width of the head: one per class, 1 for regression; None where a language model writes text."""
        return (len(self.labels) or 1) if self.kind == "classification" else None


@dataclasses.dataclass(frozen=True)
class TaskData:
    """The rows of one task: `splits` has "train" and every eval split. `notes` says what is partial or derived."""

    splits: Mapping[str, tuple[Example, ...]]
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SourceRequest:
    """Where rows come from: `kind`, the folder of official files, and single files as {(task, split): paths}.

    A suite whose tasks share their files may be named in the place of the task.
    `text`, `label` and `labels` say how a suite without columns of its own reads its files.
    """

    kind: Literal["embedded", "data-dir", "hub"]
    data_dir: Path | None = None
    files: Mapping[tuple[str, str], tuple[Path, ...]] = dataclasses.field(default_factory=dict)
    text: tuple[str, ...] = ()
    label: str | None = None
    labels: Literal["class", "number"] | None = None


@dataclasses.dataclass(frozen=True)
class Average:
    """A named average of a suite: each task's headline score is the mean of the scores named here."""

    name: str
    scores: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass
class Evaluated:
    """What an evaluator found for one replica: scores in points, per-example predictions, what else the record gets."""

    scores: dict[str, float]
    predictions: pd.DataFrame
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


class Evaluator(typing.Protocol):
    """Scores K replicas of a trained model at once; None for one whose outputs are not finite."""

    def __call__(
        self, model: nn.Module, tokenizer: Any, k: int, protocol: Protocol, *, autocast: bool
    ) -> Sequence[Evaluated | None]: ...


class Suite(abc.ABC):
    """Names of tasks; rows from a source; scores in points (0 to 100; correlations times 100)."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]
    tasks: ClassVar[Mapping[str, Task]]
    averages: ClassVar[tuple[Average, ...]]

    def configured(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """The suite for one run, given its rows' source and the tasks that the user named: where tasks hang on them."""
        return self

    @abc.abstractmethod
    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Rows of one task. Raises UserError naming the file, the line and what was expected."""

    def check(self, task: str, data: TaskData, protocol: Protocol) -> None:  # noqa: B027 - most take any
        """Raise UserError where the rows, or what is installed, cannot do what the protocol asks."""

    @abc.abstractmethod
    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Scores of one eval split; predictions are class ids [n] int64, values [n] float64 or texts [n]."""

    def notes(self, task: str) -> dict[str, Any]:
        """What a record gets beside the scores: how they were computed."""
        return {}

    def evaluator(self, task: str, data: TaskData) -> Evaluator | None:
        """What scores a task whose evaluation is not a prediction per row; None: `score` does."""
        return None

    @abc.abstractmethod
    def majority(self, task: str, data: TaskData) -> float | None:
        """Headline score in points of the best constant prediction; None where that means nothing."""

    def headline(self, task: str, scores: Mapping[str, float], average: Average) -> float | None:
        """The task's score in `average`: mean of the scores it names; None if the task or a score is not there."""
        named = average.scores.get(task, ())
        if not named or any(name not in scores for name in named):
            return None
        return sum(scores[name] for name in named) / len(named)


# ---------------------------------------------------------------- methods and strategies


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


def option(default: Any, meaning: str, allowed: str = "") -> Any:
    """A field of a method with what `methods show` says of it; a Literal's values need no `allowed`."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "allowed": allowed})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """A fine-tuning method; the fields of the frozen dataclass are its options.

    `version` is raised when results change. Methods of one `family` may train together in a pack (see `packs_with`).
    With `autocasts`, bf16 is torch's autocast over float32 weights; without, activations have the backbone's precision.
    `unfit_levels` maps a level of quantization that it cannot train on to the reason.
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
    unfit_levels: ClassVar[Mapping[str, str]] = {}
    trains_backbone: ClassVar[bool] = False
    autocasts: ClassVar[bool] = False
    paper_options: ClassVar[Mapping[str, Any]] = {}
    starts_at_base: ClassVar[bool] = True
    exports: ClassVar[bool] = False
    learning_rates: ClassVar[Mapping[str, Sourced]]
    tunable: ClassVar[Mapping[str, Range]] = {}

    def packs_with(self) -> str | None:
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

Saving = Literal["trained parameters", "gradient", "optimizer state", "activations", "compute"]

ScoreKind = Literal["weight", "snip", "fisher", "movement"]
"""What methods/calibration.py can measure for a strategy before training."""


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A rule that says which entries of A and B train.

    `order(sites, ratio, rng)`, or `order(sites, ratio, rng, scores)` where `scores` names a kind, gives each entry a
    number; the highest train, ties in row-major order, exactly as many as the ratio asks in the scope. `zero` is the
    matrix that starts at zero (the other is drawn). `trains` is the one matrix that a share of half lets train, if it
    is one. With `twins`, seeds 2i and 2i + 1 get complementary masks. `saves` is what it is sure to save against LoRA
    of the same rank, alone and at its own scope with ratio 0.5; `why` says by what.
    """

    name: str
    order: Callable[..., PerSite]
    summary: str
    scope: Scope = "matrix"
    scores: ScoreKind | None = None
    zero: Literal["a", "b"] = "b"
    trains: Literal["a", "b"] | None = None
    twins: bool = False
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
