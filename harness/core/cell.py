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
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from harness.core.errors import UserError
from harness.core.protocol import Frozen, Protocol
from harness.core.quantization import check_stored_quantization, is_simulated

Precision = Literal["fp32", "bf16"]
Recompute = Literal["none", "selective", "full"]
SHORT_NAMES: Mapping[str, tuple[str, str, Precision]] = {
    "qlora": ("lora", "nf4-dq", "bf16"),
    "qlorasp": ("lorasp", "nf4-dq", "bf16"),
}
"""Short name -> (method, quantization type, precision): QLoRA (arXiv 2305.14314) is LoRA on a backbone in nf4 with
double quantization, computed in bf16."""


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
