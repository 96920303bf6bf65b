"""The GPU as NVML sees it; all of it None where pynvml is not installed or the device is a CPU."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from typing import Any


def held_by_this_process() -> int | None:
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
    def watched(self) -> bool:
        """Whether there is an NVML to ask."""
        return self._handle is not None

    def others(self) -> list[int]:
        """Other processes that hold memory on the GPU, once this one holds some."""
        found = self._ask("nvmlDeviceGetComputeRunningProcesses") or []
        pids = [p.pid for p in found if p.usedGpuMemory is None or p.usedGpuMemory > 0]
        own = [os.getpid()] if self._waiting is None else [os.getpid(), self._waiting]
        if os.getpid() not in pids:
            return sorted(pids)[len(own) :]  # a container hides which of them are these
        return sorted(p for p in pids if p not in own)

    def used(self) -> int | None:
        """Bytes in use on the whole device."""
        found = self._ask("nvmlDeviceGetMemoryInfo")
        return None if found is None else int(found.used)

    def joules(self) -> float | None:
        """Energy since the driver was loaded."""
        found = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if found is None else found / 1000

    def _ask(self, name: str) -> Any:
        if self._handle is None:
            return None
        import pynvml

        try:
            return getattr(pynvml, name)(self._handle)
        except pynvml.NVMLError:
            return None
