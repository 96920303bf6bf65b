"""AdamW with both moments in 8 bits (arXiv 2110.02861)."""

from __future__ import annotations

from harness.core.optimizer import OPTIMIZERS
from harness.replicas.bitsandbytes_adamw import BitsAndBytesAdamW


@OPTIMIZERS.register("adamw_8bit")
class AdamW8bit(BitsAndBytesAdamW):
    """bitsandbytes' AdamW8bit."""

    name = "adamw_8bit"
    summary = "AdamW with both moments in 8 bits (bitsandbytes)"
    bits = 8
    trainer = "adamw_8bit"
