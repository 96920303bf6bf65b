"""AdamW with both moments in 8 bits, in paged memory (arXiv 2110.02861, 2305.14314)."""

from __future__ import annotations

from harness.core.optimizer import OPTIMIZERS
from harness.replicas.bitsandbytes_adamw import BitsAndBytesAdamW


@OPTIMIZERS.register("paged_adamw_8bit")
class PagedAdamW8bit(BitsAndBytesAdamW):
    """bitsandbytes' PagedAdamW8bit."""

    name = "paged_adamw_8bit"
    summary = "adamw_8bit whose moments move to the host where GPU memory is short (bitsandbytes)"
    bits = 8
    paged = True
    trainer = "paged_adamw_8bit"
