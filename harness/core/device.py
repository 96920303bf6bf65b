"""The device and the number of threads that a run uses. Loads torch only when it is asked."""

from __future__ import annotations

from harness.core.errors import UserError
from harness.core.process import count_cpus


def choose_device(asked: str) -> str:
    """'cpu' or 'cuda'. Raises UserError where a GPU was asked for and there is none."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU is visible here; use --device cpu, or ask `harness doctor`")
    return asked


def choose_threads(asked: int | None) -> int:
    """Set and return the number of torch threads; it is a part of what makes a run repeat bit by bit."""
    import torch

    torch.set_num_threads(asked or count_cpus())
    return torch.get_num_threads()
