"""The interface of selection strategies, and their registry. Importing this imports no torch.

Site x n ──> Strategy.order(sites, ratio, rng) ──> PerSite ──> Masks (True = trained)
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.core.errors import UserError
from harness.core.registry import Registry

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Site:
    """One linear layer that gets a low-rank pair A [rank, d_in], B [d_out, rank].

    name     its path in the model
    layer    number of its transformer block, -1 outside the blocks
    reads    sites with the same text have the same input
    """

    name: str
    d_in: int
    d_out: int
    rank: int
    layer: int
    reads: str = ""

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(shape of A, shape of B)."""
        return (self.rank, self.d_in), (self.d_out, self.rank)


PerSite = Mapping[str, "tuple[np.ndarray, np.ndarray]"]
"""Site name -> (array of A's shape, array of B's shape)."""

Masks = PerSite
"""Boolean; True = trained."""

Scope = Literal["matrix", "pair", "model"]
"""The set of entries in which exactly the given ratio trains: each matrix, A and B of a site together, or all sites."""

Unit = Literal["entry", "row", "column", "channel", "rank", "block"]
"""The entries that are selected together.

row, column    of A and of B
channel        columns of A (inputs) and rows of B (outputs)
rank           a row of A with the matching column of B
block          all entries to which a strategy gives the same number
"""

Saving = Literal["trained parameters", "gradient", "optimizer state", "activations", "compute"]

ScoreKind = Literal["weight", "snip", "fisher", "movement"]
"""Scores of entries that methods/calibration.py can measure before training."""


REQUESTS: Mapping[str, str] = {
    "starts": "A [rank, d_in] and B [d_out, rank] before training",
    "weights": "the frozen weight [d_out, d_in], dequantized",
    "inputs": "InputStatistics of the layer's input over the calibration rows",
}
"""Names of parameters by which a strategy requests a read-only mapping from site name to what is described here."""


@dataclasses.dataclass(frozen=True)
class InputStatistics:
    """The input x [tokens, d_in] of a site, over the calibration rows without padding, before the adapter is attached.

    tokens         number of tokens N
    mean           mean of each input [d_in]
    mean_square    mean of the square of each input [d_in]
    """

    tokens: int
    mean: np.ndarray
    mean_square: np.ndarray

    @property
    def norm(self) -> np.ndarray:
        """The L2 norm of each input over all tokens [d_in], as in Wanda (arXiv 2306.11695)."""
        # an array times a scalar has no type of its own in numpy's stubs
        norm: np.ndarray = (self.tokens * self.mean_square) ** 0.5
        return norm


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A rule that selects which entries of A and B train.

    `order(sites, ratio, rng)`, or `order(sites, ratio, rng, scores)` if `scores` names a kind, gives each entry a
    number. Further parameters of `order` with names of `REQUESTS` receive what these describe. The entries with the
    highest numbers train, ties in row-major order, exactly `ratio` of them in the scope. If `unit` is not the entry,
    whole units train: those with the highest numbers, in the count that comes nearest to the ratio (the smaller of two
    equally near).

    half_only    a ratio other than 0.5 is refused
    zero         the matrix that is initialized to zero; the other one is random
    trains       the one matrix that trains at ratio 0.5, if it is only one
    twins        seeds 2i and 2i + 1 get complementary masks
    saves        what it always saves against LoRA of the same rank, in a pack of one, at its own scope and ratio 0.5
    why          reason for that, for `strategies show`
    version      raised when its selection changes
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

    @property
    def requests(self) -> tuple[str, ...]:
        """Names of `REQUESTS` that `order` has as parameters without a default."""
        parameters = list(inspect.signature(self.order).parameters.values())[4 if self.scores else 3 :]
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return tuple(p.name for p in parameters if p.kind in named and p.default is p.empty)

    @property
    def reads_model(self) -> bool:
        """Whether its order depends on the model, the data or the start values, and not on shapes and seed alone."""
        return bool(self.scores or self.requests)


STRATEGIES: Registry[Strategy] = Registry("strategy")


def strategy(name: str, **facts: Any) -> Callable[[Callable[..., PerSite]], Callable[..., PerSite]]:
    """A decorator that registers a function as the strategy `name`; `facts` are fields of Strategy.

    The first line of the function's docstring becomes the summary. Raises UserError if the name is registered, for a
    parameter that is not in `REQUESTS`, for one that is and has a default, for a function that cannot be called with
    sites, ratio and rng, and for an unknown scope, unit or kind of scores.
    """

    def put(order: Callable[..., PerSite]) -> Callable[..., PerSite]:
        summary = (order.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        declared = Strategy(name, order, summary, **facts)
        _check_facts(declared)
        for parameter in declared.requests:
            if parameter not in REQUESTS:
                hint = ' (scores need @strategy(..., scores="fisher"))' if parameter == "scores" else ""
                raise UserError(
                    f"strategy '{name}' has a parameter '{parameter}'; allowed after sites, ratio and rng:"
                    f" {', '.join(REQUESTS)}{hint}"
                )
        _check_signature(declared)
        STRATEGIES.register(name)(declared)
        return order

    return put


def _check_facts(declared: Strategy) -> None:
    """Raise UserError for a field that is not one of its literals; no type checker may have read a plugin."""
    for field, allowed in (("scope", get_args(Scope)), ("unit", get_args(Unit)), ("scores", get_args(ScoreKind))):
        value = getattr(declared, field)
        if value not in allowed and not (field == "scores" and value is None):
            raise UserError(f"strategy '{declared.name}': {field}={value!r}: allowed: {', '.join(allowed)}")


def _check_signature(declared: Strategy) -> None:
    """Raise UserError if the function does not take what it will be called with."""
    signature = inspect.signature(declared.order)
    positional = ("sites", "ratio", "rng", *(("scores",) if declared.scores else ()))
    requested = dict.fromkeys(declared.requests)
    try:
        signature.bind(*positional, **requested)
    except TypeError as error:
        wanted = ", ".join((*positional, *requested))
        raise UserError(
            f"strategy '{declared.name}' takes {signature}: {error}; it is called with ({wanted})"
        ) from error
    for parameter in list(signature.parameters.values())[len(positional) :]:
        # with a default it could mean "only if there is one", and would silently never come
        if parameter.name in REQUESTS and parameter.default is not parameter.empty:
            raise UserError(
                f"strategy '{declared.name}': parameter '{parameter.name}' has a default; leave the default out to"
                " request it, or choose another name"
            )
