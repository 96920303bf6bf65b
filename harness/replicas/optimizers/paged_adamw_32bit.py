"""AdamW with its moments in paged memory, as QLoRA trains (arXiv 2305.14314)."""

from __future__ import annotations

from harness.core.optimizer import OPTIMIZERS
from harness.replicas.bitsandbytes_adamw import BitsAndBytesAdamW


@OPTIMIZERS.register("paged_adamw_32bit")
class PagedAdamW32bit(BitsAndBytesAdamW):
    """bitsandbytes' PagedAdamW32bit."""

    name = "paged_adamw_32bit"
    summary = "AdamW whose moments move to the host where GPU memory is short (bitsandbytes)"
    paper = "2305.14314"
    bits = 32
    paged = True
    trainer = "paged_adamw_32bit"
