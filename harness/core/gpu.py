"""The GPU as NVML sees it; all of it None where pynvml is not installed or the device is a CPU."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from typing import Any


def get_gpu_pid() -> int | None:
    """The number of this process where it has opened a GPU."""
    torch = sys.modules.get("torch")
    return os.getpid() if torch is not None and torch.cuda.is_initialized() else None


class Gpu:
    """The first visible GPU: who else is on it, memory in use, energy so far.

    `waiting` is the process that waits for this one and may hold memory there too: it does nothing meanwhile.
    """

    def __init__(self, device: str, waiting: int | None = None) -> None:
        self._handle: Any = None
        self._waiting = waiting
        if device != "cuda" or importlib.util.find_spec("pynvml") is None:
            return
        import pynvml
        import torch

        with contextlib.suppress(pynvml.NVMLError, RuntimeError, AttributeError):
            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(0).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")

    @property
    def has_nvml(self) -> bool:
        """Whether there is an NVML to ask."""
        return self._handle is not None

    def list_other_processes(self) -> list[int]:
        """Other processes that hold memory on the GPU, once this one holds some."""
        processes = self._call_nvml("nvmlDeviceGetComputeRunningProcesses") or []
        pids = [p.pid for p in processes if p.usedGpuMemory is None or p.usedGpuMemory > 0]
        own_pids = [os.getpid()] if self._waiting is None else [os.getpid(), self._waiting]
        if os.getpid() not in pids:
            return sorted(pids)[len(own_pids) :]  # a container hides which of them are these
        return sorted(p for p in pids if p not in own_pids)

    def used(self) -> int | None:
        """Bytes in use on the whole device."""
        memory = self._call_nvml("nvmlDeviceGetMemoryInfo")
        return None if memory is None else int(memory.used)

    def read_joules(self) -> float | None:
        """Energy since the driver was loaded."""
        millijoules = self._call_nvml("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1000

    def _call_nvml(self, name: str) -> Any:
        if self._handle is None:
            return None
        import pynvml

        try:
            return getattr(pynvml, name)(self._handle)
        except pynvml.NVMLError:
            return None
