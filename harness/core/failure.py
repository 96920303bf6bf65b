"""Why a pack failed, without references to its tensors.

    error ── Failure.of ──> Failure(line, trace, memory, unfit, checkpoint)

The traceback of an error refers to all frames, and so to the tensors of the pack. On out-of-memory the pack is split,
and its halves need that memory, so no reference to the error may remain.
"""

from __future__ import annotations

import dataclasses
import errno
import traceback
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError
from harness.core.text import format_bytes

if TYPE_CHECKING:
    from harness.training.checkpoint import PackCheckpoint


MEMORY_MESSAGES = (
    *("allocate memory", "out of memory", "bad_alloc", "not enough memory", "alloc_failed"),
    *("unable to allocate", "failed to allocate", "failed to map memory", "insufficient memory"),
)
"""Parts of out-of-memory messages, in lower case: torch on CPU and GPU, cuBLAS, cuDNN, C++, numpy, mmap, the system."""


class OutOfMemory(HarnessError):
    """A pack ran out of memory in a training step; `checkpoint` has its state after the last completed step."""

    def __init__(self, text: str, saved: PackCheckpoint) -> None:
        super().__init__(text)
        self.checkpoint = saved


class CheckpointMismatch(HarnessError):
    """A checkpoint that is readable but does not match the parameters of its pack."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """An error as text and flags, without its frames.

    line          one line with the reason, for the record
    trace         the traceback as text
    memory        whether memory ran out, so that the pack is split
    unfit         whether its checkpoint does not match, so that the pack starts again
    checkpoint    state after the last completed step, if memory ran out in a step
    """

    line: str
    trace: str
    memory: bool
    unfit: bool = False
    checkpoint: PackCheckpoint | None = None

    @staticmethod
    def of(error: BaseException) -> Failure:
        """The failure that describes an error."""
        exhausted_in_step = isinstance(error, OutOfMemory)
        memory = exhausted_in_step or is_out_of_memory(error)
        saved = error.checkpoint if isinstance(error, OutOfMemory) else None
        line = summarize_error(error) + (_format_peak() if memory else "")
        trace = "".join(traceback.format_exception(error))
        return Failure(line, trace, memory, isinstance(error, CheckpointMismatch), saved)


def summarize_error(error: BaseException) -> str:
    """The first line of an error's message, with its type unless it is one of this project's errors."""
    text = str(error).strip().split("\n")[0]
    return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on the device or on the host."""
    import torch

    # a library may wrap the allocator's error in one of its own
    if error.__cause__ is not None and is_out_of_memory(error.__cause__):
        return True
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    # cuBLAS, cuDNN and torch's CPU allocator raise plain RuntimeError, so only the text tells
    return any(text in str(error).lower() for text in MEMORY_MESSAGES)


def _format_peak() -> str:
    """The pack's peak allocation on the GPU as text; '' on a CPU, whose errors already name the requested bytes."""
    import torch

    if not torch.cuda.is_initialized():
        return ""
    return f" ({format_bytes(torch.cuda.max_memory_allocated())} allocated at most)"


def release_memory() -> None:
    """Free memory that is no longer referenced, after a pack failed or was only timed."""
    import gc

    import torch

    # modules and hooks refer to each other in cycles, which only the garbage collector frees
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
