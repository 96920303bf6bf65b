"""A cell: the frozen description of one fine-tuning run, and its content key.

    Cell ── suite, task, method, options, seeds, precision ──┐
      ├── ModelRef     backbone, by the hash of its files    ├── canonical JSON ── sha256 ── key (16 hex digits)
      ├── Protocol     how it trains                         │
      └── InitialRef   adapter that it starts from, if any ──┘

Two cells with the same key give the same result, so a stored record is found by its key. Names and paths are not in it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from harness.core.errors import UserError
from harness.core.quantization import check_stored_quantization, is_simulated

Precision = Literal["fp32", "bf16"]
Recompute = Literal["none", "selective", "full"]
Template = Literal["alpaca", "plain"]
SHORT_NAMES: Mapping[str, tuple[str, str, Precision]] = {
    "qlora": ("lora", "nf4-dq", "bf16"),
    "qlorasp": ("lorasp", "nf4-dq", "bf16"),
}
"""Short name -> (method, quantization type, precision): QLoRA (arXiv 2305.14314) is LoRA on a backbone in nf4 with
double quantization, computed in bf16."""
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
        return [name for name in cls.model_fields if get_group(name) in groups]

    def select(self, *groups: Group) -> dict[str, Any]:
        """Values of the fields of some groups, as JSON has them."""
        return self.model_dump(mode="json", include=set(self.list_fields(*groups)))


def get_group(field: str) -> Group:
    """The group of one of the protocol's fields."""
    extra = Protocol.model_fields[field].json_schema_extra
    assert isinstance(extra, dict)
    return cast(Group, extra["group"])


class ModelRef(Frozen):
    """The backbone, identified by its content: the key covers revision and files, not the name or path."""

    name: str = Field(description="as the user named it; not in the key")
    revision: str = Field(description="sha256 of the weights file, or the hub's commit")
    files: str = Field(
        default="", description="sha256 of its config and tokenizer files; empty in records of earlier versions"
    )

    @property
    def content(self) -> str:
        """The hash of weights and other files: two models with equal content are the same model."""
        return _model_content(self.revision, self.files) if self.files else self.revision


# cached, because thousands of cells share one model
@functools.lru_cache(maxsize=256)
def _model_content(revision: str, files: str) -> str:
    return hashlib.sha256(f"{revision} {files}".encode()).hexdigest()


class InitialRef(Frozen):
    """The adapter that a cell starts from, identified by its content: the key does not cover its name."""

    name: str = Field(description="as the user named it, or the folder of a run's adapter; not in the key")
    revision: str = Field(description="sha256 of its weights file")
    source: str = Field(default="", description="what all seeds start from: a path, or RUN:TASK; not in the key")
    scaling: str = Field(description="what its scale is read from: alpha, or the fields of adapter_config.json")

    @property
    def method_name(self) -> str:
        """The start of a method for all its seeds: `source`, or the run that holds one adapter per seed."""
        # records of earlier versions have no source; there, each seed names its own folder of the run
        of_run = re.fullmatch(r"(.+)/adapters/[0-9a-f]{16}", self.name)
        return self.source or (of_run[1] if of_run else self.name)


class Cell(Frozen):
    """One fine-tuning run: everything that can change its result.

    Pack, pack size, device and output flags are absent, for they do not change it.
    """

    suite: str
    suite_version: int
    task: str
    method: str
    method_version: int
    options: dict[str, Any] = Field(default_factory=dict, description="method options that differ from the default")
    preset: str = Field(description="not in the key: what it chose is")
    model: ModelRef
    data: str = Field(description="fingerprint of the task's rows")
    protocol: Protocol
    seeds: dict[str, int]
    dtype: Precision = "fp32"
    quantize: str = Field(default="none", description="quantization type of the backbone")
    recompute: Recompute = "none"
    parts: dict[str, str] = Field(
        default_factory=dict,
        description="version above 1 of a strategy, of a quantization type or of a field's meaning, "
        "sha256 of a plugin's source: "
        "{'strategy mine': ..., 'order': '2'}",
    )
    initial: InitialRef | None = Field(default=None, description="the adapter that it starts from")

    @model_validator(mode="after")
    def _check_quantize(self) -> Self:
        try:
            check_stored_quantization(self.quantize, self.parts)
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    @functools.cached_property
    def key(self) -> str:
        """The content key: the first 16 hex digits of the sha256 of the canonical JSON."""
        return _hash_text(_to_canonical_json(self._list_key_content()))

    def _list_key_content(self) -> dict[str, Any]:
        """What the key is a hash of."""
        # without fields at their default, so that a new field leaves the keys of stored records as they are
        content = self.model_dump(mode="json", exclude_defaults=True)
        del content["preset"], content["model"]["name"]
        content["protocol"].pop("lr_source", None)
        for field in ("name", "source"):
            content.get("initial", {}).pop(field, None)
        return content

    def vary_seeds(self, every: Sequence[dict[str, int]]) -> list[Self]:
        """Copies of this cell with other seeds."""
        # the keys differ in the text of their seeds only, so that the rest is written once
        mark = secrets.token_hex(16)
        before, after = _to_canonical_json(self._list_key_content() | {"seeds": mark}).split(f'"{mark}"')
        copies = []
        for seeds in every:
            copy = self.model_copy(update={"seeds": seeds})
            copy.__dict__["key"] = _hash_text(f"{before}{_to_canonical_json(seeds)}{after}")
            copies.append(copy)
        return copies

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, as in pydantic; it computes its own key."""
        copied = super().model_copy(update=update, deep=deep)
        # pydantic copies __dict__, and with it the cached values of the original
        for name in CACHED:
            copied.__dict__.pop(name, None)
        return copied

    @functools.cached_property
    def sorted_seeds(self) -> tuple[tuple[str, int], ...]:
        """(stream, seed) pairs, sorted by stream."""
        return tuple(sorted(self.seeds.items()))

    @property
    def is_simulated(self) -> bool:
        """Whether the backbone's quantization is simulated: scores only."""
        return is_simulated(self.quantize, self.parts)

    @property
    def precision(self) -> str:
        """Precision as text: 'bf16, nf4', 'fp32, sim3 (simulated)', 'fp32, full activation checkpointing'."""
        parts = [self.dtype] if self.quantize == "none" else [self.dtype, self.quantize]
        recompute_note = "" if self.recompute == "none" else f", {self.recompute} activation checkpointing"
        return ", ".join(parts) + (" (simulated)" if self.is_simulated else "") + recompute_note

    @functools.cached_property
    def label(self) -> str:
        """The method as written on the command line: lorasp:ratio=0.25."""
        return format_label(self.method, self.options)

    @property
    def title(self) -> str:
        """The label with a short name (qlora) in place of the method, if method, quantization and precision match."""
        settings = (self.method, self.quantize, self.dtype)
        return format_label(
            next((name for name, short_settings in SHORT_NAMES.items() if short_settings == settings), self.method),
            self.options,
        )


def _to_canonical_json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


CACHED = ("key", "sorted_seeds", "label")
"""Properties of a Cell that are computed once. What reads records from an index sets them."""


def format_label(method: str, options: Mapping[str, Any]) -> str:
    """A method and its options as written on the command line: lorasp:rank=8,ratio=0.25."""
    text = ",".join(f"{k}={_format_value(v)}" for k, v in sorted(options.items()))
    return f"{method}:{text}" if text else method


def _format_value(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
