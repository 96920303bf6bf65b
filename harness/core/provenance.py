"""What produced a result: versions, commit, machine."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

from harness.core.record import Environment


def get_utc_time() -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def get_version(package: str) -> str:
    """The installed version; 'absent' where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@functools.cache
def read_commit() -> str | None:
    """The checkout's commit, with '+dirty' for changed tracked files; None outside of a checkout."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        head = _run_git(folder, "rev-parse", "HEAD")
        return f"{head}+dirty" if _run_git(folder, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return None


def _run_git(folder: Path, *arguments: str) -> str:
    words = ["git", "-C", str(folder), *arguments]
    result = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    return result.stdout.strip()


def read_cpu_name() -> str:
    """The processor's name as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def get_gpu_name(device: str) -> str | None:
    """The GPU's name; None for a CPU, and for a GPU that is planned for where there is none."""
    if device != "cuda" or not cuda_is_available():
        return None
    import torch

    return torch.cuda.get_device_name()


GPU_FILES = ("nvidia*", "kfd", "dxg", "nvhost*", "nvmap")
"""Files in /dev of the drivers that torch calls cuda: NVIDIA's, AMD's, Windows' for Linux, Jetson's."""


@functools.cache
def cuda_is_available() -> bool:
    """As torch says; it is not imported where its build or the lack of any driver's file says that there is none."""
    no_driver = sys.platform == "linux" and not any(any(Path("/dev").glob(name)) for name in GPU_FILES)
    if no_driver or get_version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()


def format_machine(device: str, threads: int) -> str:
    """The GPU, or the processor with the threads used."""
    return get_gpu_name(device) or f"{read_cpu_name()} ({threads} threads)"


def describe_environment(device: str, threads: int) -> Environment:
    """The present machine and versions; asks torch for the GPU's name on CUDA only."""
    return Environment(
        python=platform.python_version(),
        torch=get_version("torch"),
        transformers=get_version("transformers"),
        numpy=get_version("numpy"),
        harness=get_version("lorasp-harness"),
        commit=read_commit(),
        platform=platform.platform(),
        cpu=read_cpu_name(),
        threads=threads,
        device=device,
        gpu=get_gpu_name(device),
    )
