"""What the processes of `bench memory` share: imported once, before they part, so that no peak holds a library."""

from __future__ import annotations

from harness.bench.silence import silenced

with silenced():
    import peft
    import transformers

    from harness.bench.memory_process import take

    IMPORTED = (peft.get_peft_model, transformers.Trainer, transformers.DataCollatorWithPadding, take)
