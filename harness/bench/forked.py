"""Imports that the processes of `bench memory` share.

The fork server imports them once, so that no measured peak includes the loading of a library.
"""

from __future__ import annotations

from harness.bench.silence import silence_warnings

with silence_warnings():
    import peft
    import transformers

    from harness.bench.memory_process import measure_jobs

    PRELOADED = (peft.get_peft_model, transformers.Trainer, transformers.DataCollatorWithPadding, measure_jobs)
