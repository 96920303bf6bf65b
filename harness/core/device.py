"""The devices and the number of CPU threads of a run. Importing this does not import torch."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.core.cell import Cell
from harness.core.errors import UserError, shorten
from harness.core.optimizer import OPTIMIZERS
from harness.core.process import count_cpus

VISIBLE = "CUDA_VISIBLE_DEVICES"
MAX_CPU_WORKERS = 256


def choose_device(requested: str) -> str:
    """'cpu' or 'cuda' for a value of --device. Raises UserError for 'cuda' without a visible GPU."""
    import torch

    if requested == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    # no silent fallback to the CPU: it would take hours where minutes were expected
    if requested == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU is visible here; use --device cpu, or run `harness doctor`")
    return requested


def check_optimizers(cells: Iterable[Cell], device: str) -> None:
    """Raise UserError where an optimizer of the cells does not run on a device, 'cpu' or 'cuda'."""
    for name in dict.fromkeys(cell.protocol.optimizer for cell in cells):
        OPTIMIZERS.get(name)().check_device(device)


def choose_threads(requested: int | None) -> int:
    """The number of torch threads, which this sets; None requests one per available core."""
    import torch

    # the order of floating-point sums depends on it: a run repeats bit by bit only with the same number
    torch.set_num_threads(requested or count_cpus())
    return torch.get_num_threads()


# ---------------------------------------------------------------- one worker process per device


@dataclasses.dataclass(frozen=True)
class WorkerDevice:
    """The device of one worker process: `kind` is 'cpu' or 'cuda', `label` is 'cuda:1' or 'cpu:1'."""

    kind: str
    label: str
    threads: int
    environment: Mapping[str, str]
    """Variables with which the process sees this device only."""


def choose_worker_devices(requested: str | None, device: str, threads: int | None) -> list[WorkerDevice]:
    """The devices of a run's workers for a value of --devices; empty if packs train in the run's own process.

    `device` is the value of --device; by default each visible GPU has a worker if there are several. `threads` are
    those of each worker; by default workers share the cores. Raises UserError.
    """
    if requested is None:
        count = _count_gpus() if device != "cpu" and _may_have_several_gpus() else 0
        return _describe_gpus(range(count), threads) if count > 1 else []
    if match := re.fullmatch(r"cpu:([0-9]{1,4})", requested.strip()):
        count = int(match[1])
        if device == "cuda" or not 1 <= count <= MAX_CPU_WORKERS:
            why = "but --device is cuda" if device == "cuda" else f"allowed: cpu:1 to cpu:{MAX_CPU_WORKERS}"
            raise UserError(f"--devices {shorten(requested)}: {why}")
        share = threads or max(1, count_cpus() // count)
        # an empty list hides all GPUs
        return [WorkerDevice("cpu", f"cpu:{i}", share, {VISIBLE: ""}) for i in range(count)]
    return _describe_gpus(_check_gpus(requested, device), threads)


def choose_single_device(requested: str | None, device: str) -> tuple[str, Mapping[str, str]]:
    """'cpu' or 'cuda', and the environment variables of a process, for what needs one device only: a profile.

    It is the first one of --devices, whose workers have ended, or else that of --device. Raises UserError.
    """
    if requested is None:
        return choose_device(device), {}
    first = choose_worker_devices(requested, device, None)[0]
    return first.kind, first.environment


def parse_gpus(requested: str, device: str) -> list[int]:
    """'0,1,3' -> [0, 1, 3], 'gpu:2' -> [0, 1]; the GPUs need not exist.

    Raises UserError for other forms and a GPU that comes twice. `device` is the value of --device.
    """
    words = [word.strip() for word in requested.split(",")]
    if match := re.fullmatch(r"gpu:([1-9][0-9]{0,3})", requested.strip()):
        words = [str(index) for index in range(int(match[1]))]
    if not all(re.fullmatch(r"[0-9]{1,4}", word) for word in words):
        raise UserError(f"--devices '{shorten(requested)}': allowed: numbers of GPUs such as 0,1,3, gpu:4, or cpu:4")
    if device == "cpu":
        raise UserError(f"--devices {requested}: these are GPUs, but --device is cpu; allowed: cpu:N")
    indices = [int(word) for word in words]
    if len(set(indices)) < len(indices):
        raise UserError(f"--devices {requested}: each GPU once")
    return indices


def _check_gpus(requested: str, device: str) -> list[int]:
    """The GPUs of `parse_gpus`. Raises UserError for one that does not exist, too."""
    indices = parse_gpus(requested, device)
    count = _count_gpus()
    if unknown := [i for i in indices if i >= count]:
        exists = f"0 to {count - 1}" if count > 1 else "0" if count else "none"
        raise UserError(f"--devices {requested}: no GPU {unknown[0]}; visible GPUs: {exists}")
    return indices


def _count_gpus() -> int:
    from harness.core.provenance import cuda_is_available

    if not cuda_is_available():
        return 0
    import torch

    return torch.cuda.device_count()


def _may_have_several_gpus() -> bool:
    """Whether there can be more than one GPU, by what costs no import of torch."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return "," in visible
    return len(list(Path("/dev").glob("nvidia[0-9]*"))) > 1


def _describe_gpus(indices: Sequence[int], threads: int | None) -> list[WorkerDevice]:
    # a run that sees some GPUs only, by number or by UUID, counts these
    visible = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    # workers with a thread for every core each would take the cores from one another
    share = threads or max(1, count_cpus() // len(indices))
    devices = []
    for index in indices:
        name = visible[index] if index < len(visible) else str(index)
        devices.append(WorkerDevice("cuda", f"cuda:{index}", share, {VISIBLE: name}))
    return devices
