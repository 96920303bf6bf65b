"""The device and the number of CPU threads of a run. Importing this does not import torch."""

from __future__ import annotations

from collections.abc import Iterable

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.optimizer import OPTIMIZERS
from harness.core.process import count_cpus


def choose_device(requested: str) -> str:
    """'cpu' or 'cuda' for a value of --device. Raises UserError for 'cuda' without a visible GPU."""
    import torch

    if requested == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    # no silent fallback to the CPU: it would take hours where minutes were expected
    if requested == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU is visible here; use --device cpu, or run `harness doctor`")
    return requested


def check_optimizers(cells: Iterable[Cell], requested: str) -> None:
    """Raise UserError where an optimizer of the cells does not run on the device of --device `requested`."""
    for name in dict.fromkeys(cell.protocol.optimizer for cell in cells):
        OPTIMIZERS.get(name)().check_device(choose_device(requested))


def choose_threads(requested: int | None) -> int:
    """The number of torch threads, which this sets; None requests one per available core."""
    import torch

    # the order of floating-point sums depends on it: a run repeats bit by bit only with the same number
    torch.set_num_threads(requested or count_cpus())
    return torch.get_num_threads()
