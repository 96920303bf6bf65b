"""What a quantization type must be, and the registry of them. No torch is imported to read this.

    from harness.core.quantization import Quantization, register_quantization

    register_quantization(MyType(name="mine", summary="..."))      # in a file under harness/models/quantization/,
                                                                   # or in a plugin file (--plugin FILE)

One object answers every question about its type, so a new type is one new file:

    planning       name, summary, simulated, version
    loading        build_config, transform
    stored layers  layout, list_state, count_weights, to_dense
    estimates      build_fake_layer
    recomputation  saved_operations
    vectors        block, build_table, encode_blocks, decode_blocks (adapters store frozen entries by them)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.core.errors import UserError
from harness.core.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SIMULATED_NOTE = "simulated, scores only"
"""What a record says of a simulated quantization type."""
StoredDtype = Literal["float32", "bfloat16", "uint8", "int8"]
ITEM_BYTES: dict[StoredDtype, int] = {"float32": 4, "bfloat16": 2, "uint8": 1, "int8": 1}


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """One tensor that a stored layer consists of: 'weight' (its codes), or a scale or table beside it."""

    name: str
    shape: tuple[int, ...]
    dtype: StoredDtype

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantization:
    """A quantization type of the frozen backbone. This class itself stores weights in floating point.

    `simulated`: weights only take the values of the type, so scores count, and memory and speed do not. `version` is
    raised when results change. `weight_class` is the class of a stored weight, None for floating point; types that
    share a class share `to_dense`, `list_state` and `count_weights`. `saved_operations` are the operators (as torch
    names them, 'bitsandbytes::gemm_4bit') whose results selective activation checkpointing keeps. `block` is the number
    of entries that share a scale where the type also stores vectors, `block_bytes` what their codes take.
    """

    name: str
    summary: str
    simulated: bool = False
    version: int = 1
    weight_class: ClassVar[str | None] = None
    saved_operations: ClassVar[frozenset[str]] = frozenset({"aten::mm", "aten::addmm"})
    block: ClassVar[int] = 64
    block_bytes: ClassVar[int] = 0

    @property
    def stores_vectors(self) -> bool:
        """Whether `encode_blocks` and its kin are there: frozen entries of an adapter may be stored by this type."""
        return self.block_bytes > 0

    @property
    def is_float(self) -> bool:
        """Whether weights are stored in floating point: `none`, and every simulated type."""
        return self.weight_class is None

    def build_config(self, skip: Sequence[str], compute: torch.dtype) -> Any:
        """The configuration for transformers' `from_pretrained`, or None for weights in floating point.

        Linear layers named in `skip` stay as they are; the others multiply in `compute`. Raises UserError where a
        package is not installed.
        """
        return None

    def transform(self, model: nn.Module, skip: Sequence[str]) -> None:
        """Change a loaded model's weights in place, but not those of linear layers named in `skip`."""

    def layout(self, rows: int, columns: int, dtype: StoredDtype = "float32") -> tuple[StoredTensor, ...]:
        """What is stored for a weight [rows, columns]: its codes first, then scales and tables.

        `dtype` is the backbone's precision, which only weights in floating point have.
        """
        return (StoredTensor("weight", (rows, columns), dtype),)

    def to_dense(self, weight: Any) -> Tensor:
        """The stored weight as a matrix in floating point [d_out, d_in]: a copy, except where it is one already."""
        dense: Tensor = weight.detach()
        return dense

    def list_state(self, module: nn.Module, weight: Any) -> Iterable[Tensor]:
        """Scales and tables that a loaded layer stores beside its weight."""
        return ()

    def count_weights(self, weight: Any) -> int:
        """Entries of the matrix that a stored weight stands for."""
        count: int = weight.shape.numel()
        return count

    def build_fake_layer(self, linear: nn.Linear, compute: torch.dtype) -> nn.Module:
        """A layer with the storage and the temporaries of this type, built within a FakeTensorMode."""
        return linear

    def count_vector_bytes(self, size: int) -> int:
        """Bytes of `size` entries in block-wise codes: codes of whole blocks, and a float32 scale for each."""
        return -(-size // self.block) * (self.block_bytes + 4)

    def build_table(self, device: torch.device) -> Tensor:
        """The numbers that codes stand for, at a scale of 1."""
        raise NotImplementedError(f"{self.name} stores no vectors")

    def encode_blocks(self, values: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [bytes] and scales [n / block] of float32 values [n], where n is a multiple of `block`."""
        raise NotImplementedError(f"{self.name} stores no vectors")

    def decode_blocks(self, codes: Tensor, scales: Tensor, table: Tensor) -> Tensor:
        """The float32 values [n] of codes and scales. Copies nothing from the host, so a CUDA graph can hold it."""
        raise NotImplementedError(f"{self.name} stores no vectors")


QUANTIZATIONS: Registry[Quantization] = Registry("quantization type", package="harness.models.quantization")


def register_quantization(quantization: Quantization) -> Quantization:
    """Register a type under its name. Raises UserError if the name is taken."""
    return QUANTIZATIONS.register(quantization.name)(quantization)


def describe_quantizations() -> str:
    """The names of our own types for a help text: 'none,int8,nf4; sim2,sim3 are simulated'."""
    stored = ["none"] + [name for name, quantization in QUANTIZATIONS if not quantization.is_float]
    simulated = [name for name, quantization in QUANTIZATIONS if quantization.simulated]
    return f"{','.join(stored)}; {','.join(simulated)} are simulated"


def list_vector_types() -> list[str]:
    """'none', and the types that can also store vectors, such as the frozen entries of an adapter."""
    return ["none"] + [name for name, quantization in QUANTIZATIONS if quantization.stores_vectors]


def get_quantization_of(weight: Any) -> Quantization:
    """The type that a loaded weight is stored by: any of those that share its class, `none` for floating point."""
    weight_class = type(weight).__name__
    stored_types = (quantization for _, quantization in QUANTIZATIONS if not quantization.is_float)
    return next((q for q in stored_types if q.weight_class == weight_class), QUANTIZATIONS.get("none"))


def build_quantization_part(name: str) -> dict[str, str]:
    """What the cell key says of a type beside its name: a plugin's source, or a version above 1.

    The part's name also tells that a type is simulated, so a report on stored records needs no plugin to know it.
    """
    quantization = QUANTIZATIONS.get(name)
    content = QUANTIZATIONS.sources.get(name, "" if quantization.version == 1 else str(quantization.version))
    return {_name_part(name, quantization.simulated): content} if content else {}


def check_stored_quantization(name: str, parts: Iterable[str]) -> None:
    """Raise UserError for a type that is not registered, unless `parts` name the plugin that it was from."""
    if name not in QUANTIZATIONS and not {_name_part(name, True), _name_part(name, False)} & set(parts):
        QUANTIZATIONS.get(name)


def is_simulated(name: str, parts: Iterable[str]) -> bool:
    """Whether a cell's type is simulated, also where its plugin is not loaded."""
    return QUANTIZATIONS.get(name).simulated if name in QUANTIZATIONS else _name_part(name, True) in parts


def _name_part(name: str, simulated: bool) -> str:
    return f"simulated quantization {name}" if simulated else f"quantization {name}"


def require_bitsandbytes(quantize: str) -> None:
    """Raise UserError where bitsandbytes is not installed."""
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--quantize {quantize} needs bitsandbytes: pip install 'lorasp-harness[quant]'")
