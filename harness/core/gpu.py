"""The GPU as NVML reports it. Every value is None if pynvml is not installed or the device is a CPU."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from typing import Any


def get_gpu_pid() -> int | None:
    """The id of this process if it has opened a GPU, otherwise None."""
    # sys.modules, not an import: a process without torch has opened no GPU
    torch = sys.modules.get("torch")
    return os.getpid() if torch is not None and torch.cuda.is_initialized() else None


class Gpu:
    """The first visible GPU: other processes on it, memory in use (bytes), energy used (J).

    `waiting` is the id of a process that waits for this one. It may hold memory on the GPU, but it is idle, so it does
    not count as another process.
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
            # by UUID: NVML's numbers ignore CUDA_VISIBLE_DEVICES
            uuid = str(torch.cuda.get_device_properties(0).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")

    @property
    def has_nvml(self) -> bool:
        """Whether NVML is available for this GPU."""
        return self._handle is not None

    def list_other_processes(self) -> list[int]:
        """Ids of other processes that hold memory on the GPU. This process must hold some itself."""
        processes = self._call_nvml("nvmlDeviceGetComputeRunningProcesses") or []
        pids = [p.pid for p in processes if p.usedGpuMemory is None or p.usedGpuMemory > 0]
        own_pids = [os.getpid()] if self._waiting is None else [os.getpid(), self._waiting]
        # in a container NVML reports ids of the host: these processes are among them, but which ones is hidden
        if os.getpid() not in pids:
            return sorted(pids)[len(own_pids) :]
        return sorted(p for p in pids if p not in own_pids)

    def used(self) -> int | None:
        """Bytes in use on the whole device, by all processes."""
        memory = self._call_nvml("nvmlDeviceGetMemoryInfo")
        return None if memory is None else int(memory.used)

    def read_joules(self) -> float | None:
        """Energy in joules since the driver was loaded."""
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
