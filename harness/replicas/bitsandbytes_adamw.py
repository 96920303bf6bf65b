"""What the AdamW optimizers of bitsandbytes (arXiv 2110.02861) have in common. Imports no torch."""

from __future__ import annotations

import importlib.util
import logging
import math
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.errors import UserError
from harness.core.optimizer import Optimizer

if TYPE_CHECKING:
    from harness.core.protocol import Protocol

MIN_QUANTIZED = 4096
"""Tensors with fewer entries have their state in 32 bits, as in bitsandbytes (min_8bit_size)."""


class BitsAndBytesAdamW(Optimizer):
    """AdamW of bitsandbytes: its state has `bits` bits, and with `paged` it can move to the memory of the host."""

    paper = "2110.02861"
    reads = ("beta1", "beta2", "epsilon", "weight_decay")
    captured = False
    block: ClassVar[int] = 256
    """Entries of a tensor that share a scale in 32 bits, as in bitsandbytes."""
    bits: ClassVar[int]
    paged: ClassVar[bool] = False

    def quantizes(self, size: int) -> bool:
        """Whether the state of a tensor of `size` entries has 8 bits."""
        return self.bits == 8 and size >= MIN_QUANTIZED

    @staticmethod
    def load_functional() -> Any:
        """bitsandbytes.functional, without its warnings about absent optional kernels."""
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        from bitsandbytes import functional

        return functional

    def count_state_bytes(self, protocol: Protocol, size: int, item_bytes: int) -> int:
        return 2 * (size + 4 * math.ceil(size / self.block)) if self.quantizes(size) else 2 * 4 * size

    def get_updater(self) -> type[Any]:
        from harness.replicas.blockwise import BlockwiseAdamW

        return BlockwiseAdamW

    def check(self) -> None:
        if importlib.util.find_spec("bitsandbytes") is None:
            raise UserError(f"--optimizer {self.name} needs bitsandbytes: pip install 'lorasp-harness[quant]'")

    def check_device(self, device: str) -> None:
        if device != "cpu":
            return
        if self.paged:
            plain = "adamw_8bit" if self.bits == 8 else "adamw"
            raise UserError(f"--optimizer {self.name} pages the memory of a GPU: give --device cuda, or use {plain}")
        import torch

        self.load_functional()
        operator = "bitsandbytes::optimizer_update_8bit_blockwise"
        if not torch._C._dispatch_has_kernel_for_dispatch_key(operator, "CPU"):
            raise UserError(
                f"--optimizer {self.name}: this version of bitsandbytes runs it on a GPU only: give --device cuda, or "
                "pip install 'bitsandbytes>=0.50'"
            )
