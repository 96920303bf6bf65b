"""How a cell trains: the protocol, whose fields belong to groups."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

Template = Literal["alpaca", "plain"]
LIMITS: Mapping[str, float] = {
    "lr": 1e38,
    "epochs": 1e6,
    "max_steps": 10**9,
    "batch_size": 10**6,
    "max_length": 10**6,
    "max_target_length": 10**6,
    "beams": 1000,
    "shots": 1000,
    "train_rows": 10**9,
    "eval_rows": 10**9,
}
"""Largest values of fields of Protocol: far above any real use, so a larger value is a typing error."""


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Group = Literal[
    "identity", "tokenization", "rows", "batching", "generation", "objective", "algorithm", "budget", "optimizer"
]
"""What a field of the protocol decides.

    identity       how the protocol is called; changes no result
    tokenization   how a row becomes tokens
    rows           which rows are trained on and scored
    batching       which rows share a batch
    generation     how texts are generated
    objective      the loss and the dropout of the model
    algorithm      which optimizer updates; one updates all cells of a pack
    budget         how long and how fast a cell trains
    optimizer      numbers of the update; cells of a pack may differ in them, as in their budget
"""
SHARED_GROUPS: tuple[Group, ...] = ("tokenization", "rows", "batching", "generation", "objective", "algorithm")
"""Groups that cells of a pack have in common, since they have one forward pass and one optimizer."""
STEP_GROUPS: tuple[Group, ...] = ("tokenization", "batching", "generation", "objective", "algorithm", "optimizer")
"""Groups that memory and time of one training step depend on."""


def check_warmup(value: float) -> float:
    """A share of the steps or a number of steps. Raises a validation error for a part of a step."""
    if value >= 1 and not value.is_integer():
        raise PydanticCustomError("warmup", "allowed: a share below 1, or a whole number of steps")
    return value


def _field(group: Group, default: Any = ..., **facts: Any) -> Any:
    """A field of the protocol with its group."""
    return Field(default, json_schema_extra={"group": group}, **facts)


class Protocol(Frozen):
    """How a cell trains. The same for each method of a comparison, save what a method declares (lr).

    Each field belongs to a group (`Group`), and whatever depends on a part of the protocol asks for groups: a new
    field is so in the right cache keys, and shared by the cells of a pack where it has to be.
    """

    name: Literal["default", "paper", "tuned"] = _field("identity", default="default")
    lr: float = _field("budget", gt=0, le=LIMITS["lr"], description="peak learning rate")
    lr_source: str = _field("identity", default="", description="where the learning rate comes from; not in the key")
    epochs: float = _field("budget", default=3.0, gt=0, le=LIMITS["epochs"])
    max_steps: int | None = _field(
        "budget", default=None, ge=1, le=LIMITS["max_steps"], description="optimizer steps at most; null: as epochs say"
    )
    batch_size: int = _field("batching", default=16, ge=1, le=LIMITS["batch_size"])
    group_by_length: bool = _field("batching", default=False, description="length-bucketed batches: less padding")
    max_length: int = _field(
        "tokenization",
        default=128,
        ge=4,
        le=LIMITS["max_length"],
        description="tokens per row at most; longer rows are cut and counted",
    )
    schedule: str = _field(
        "optimizer",
        default="linear",
        pattern=r"^[a-z][a-z0-9_-]*$",
        max_length=100,
        description="learning-rate schedule after the warm-up: linear, constant, cosine or a plugin's",
    )
    warmup: float = _field(
        "optimizer",
        default=0.06,
        ge=0,
        le=LIMITS["max_steps"],
        description="linear warm-up: a share of the steps below 1, a number of steps from 1 on",
    )
    optimizer: str = _field(
        "algorithm",
        default="adamw",
        pattern=r"^[a-z][a-z0-9_-]*$",
        max_length=100,
        description="adamw, sgd, adamw_8bit, paged_adamw_32bit, paged_adamw_8bit or a plugin's",
    )
    momentum: float = _field("optimizer", default=0.0, ge=0, lt=1, description="of sgd")
    clip: float = _field("optimizer", default=1.0, gt=0, description="gradient norm at most, per cell")
    weight_decay: float = _field("optimizer", default=0.01, ge=0, description="none on biases and norms")
    beta1: float = _field("optimizer", default=0.9, ge=0, lt=1)
    beta2: float = _field("optimizer", default=0.999, ge=0, lt=1)
    epsilon: float = _field("optimizer", default=1e-8, gt=0)
    attention_dropout: float = _field(
        "objective", default=0.0, ge=0, lt=1, description="dropout of attention probabilities"
    )
    label_smoothing: float = _field(
        "objective", default=0.0, ge=0, lt=1, description="of the cross-entropy over tokens or classes"
    )
    max_target_length: int = _field(
        "tokenization",
        default=128,
        ge=2,
        le=LIMITS["max_target_length"],
        description="maximum number of tokens of a generated text and of a target text",
    )
    beams: int = _field(
        "generation",
        default=1,
        ge=1,
        le=LIMITS["beams"],
        description="beam width of generation; 1: greedy decoding",
    )
    shots: int = _field(
        "tokenization",
        default=0,
        ge=0,
        le=LIMITS["shots"],
        description="few-shot examples (solved questions) before each question",
    )
    template: Template = _field(
        "tokenization",
        default="alpaca",
        description="prompt template of instructions: alpaca (Stanford Alpaca) or plain (question, 'Answer:')",
    )
    packed: bool = _field(
        "tokenization",
        default=False,
        description="pack several training examples into one row of max_length tokens, with separate attention",
    )
    train_rows: int | None = _field(
        "rows", default=None, ge=1, le=LIMITS["train_rows"], description="first rows of the task's shuffled train split"
    )
    eval_rows: int | None = _field(
        "rows", default=None, ge=1, le=LIMITS["eval_rows"], description="first rows of each eval split"
    )

    @field_validator("warmup")
    @classmethod
    def _check_warmup(cls, value: float) -> float:
        return check_warmup(value)

    @classmethod
    def list_fields(cls, *groups: Group) -> list[str]:
        """Names of the fields of some groups, in the order of the class."""
        return list(_list_fields(groups))

    def select(self, *groups: Group) -> dict[str, Any]:
        """Values of the fields of some groups, as JSON has them."""
        return self.model_dump(mode="json", include=set(self.list_fields(*groups)))


@functools.cache
def _list_fields(groups: tuple[Group, ...]) -> tuple[str, ...]:
    return tuple(name for name in Protocol.model_fields if get_group(name) in groups)


def get_group(field: str) -> Group:
    """The group of one of the protocol's fields."""
    extra = Protocol.model_fields[field].json_schema_extra
    assert isinstance(extra, dict)
    return cast(Group, extra["group"])
