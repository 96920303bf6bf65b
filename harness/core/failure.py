"""Why a pack stopped, in words and numbers that hold none of its memory."""

from __future__ import annotations

import dataclasses
import errno
import traceback
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError

if TYPE_CHECKING:
    from harness.training.checkpoint import PackCheckpoint


MEMORY_MESSAGES = (
    *("allocate memory", "out of memory", "bad_alloc", "not enough memory", "alloc_failed"),
    *("unable to allocate", "failed to allocate", "failed to map memory", "insufficient memory"),
)
"""Of torch on a CPU and a GPU, cuBLAS and cuDNN, C++, numpy, mmap, and the operating system's "Cannot allocate memory".
"""


class OutOfMemory(HarnessError):
    """A pack ran out of memory while it trained; `checkpoint` is where it stood after its last completed step."""

    def __init__(self, text: str, saved: PackCheckpoint) -> None:
        super().__init__(text)
        self.checkpoint = saved


class CheckpointMismatch(HarnessError):
    """A checkpoint that reads, and yet does not fit what the pack is made of."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """An error without its frames, which would keep the pack's tensors alive while smaller packs are tried."""

    line: str
    trace: str
    memory: bool
    unfit: bool = False
    checkpoint: PackCheckpoint | None = None

    @staticmethod
    def of(error: Exception) -> Failure:
        exhausted_in_step = isinstance(error, OutOfMemory)
        memory = exhausted_in_step or is_out_of_memory(error)
        saved = error.checkpoint if isinstance(error, OutOfMemory) else None
        line = summarize_error(error) + (_format_peak() if memory else "")
        trace = "".join(traceback.format_exception(error))
        return Failure(line, trace, memory, isinstance(error, CheckpointMismatch), saved)


def summarize_error(error: BaseException) -> str:
    """The first line of an error, as a reason."""
    text = str(error).strip().split("\n")[0]
    return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or the host."""
    import torch

    if error.__cause__ is not None and is_out_of_memory(error.__cause__):
        return True  # a library's own error about it
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    return any(text in str(error).lower() for text in MEMORY_MESSAGES)


def _format_peak() -> str:
    """What the pack had allocated on the GPU at most; nothing on a CPU, whose errors name the bytes asked for."""
    import torch

    if not torch.cuda.is_initialized():
        return ""
    return f" ({torch.cuda.max_memory_allocated() / 2**20:.0f} MiB allocated at most)"


def release_memory() -> None:
    """Give back what nothing refers to any more: of a pack that failed, or was only timed."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
