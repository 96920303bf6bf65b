"""The provenance of a result: versions, commit and machine."""

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
    """The current UTC time in ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


# cached, because each run asks for the same packages several times, and each answer parses a file
@functools.cache
def get_version(package: str) -> str:
    """The installed version of a package; 'absent' if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@functools.cache
def read_commit() -> str | None:
    """The commit of the checkout, with '+dirty' if tracked files are changed; None outside a checkout."""
    # the folder of this file, not the working directory: that may be a checkout of something else
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
    """The processor's name, as the kernel reports it."""
    # platform.processor() is empty or only 'x86_64' on most Linux systems
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def get_gpu_name(device: str) -> str | None:
    """The name of the GPU; None for a CPU, and for a plan for a GPU on a machine without one."""
    if device != "cuda" or not cuda_is_available():
        return None
    import torch

    return torch.cuda.get_device_name()


GPU_FILES = ("nvidia*", "kfd", "dxg", "nvhost*", "nvmap")
"""Files in /dev of drivers that torch calls cuda: NVIDIA, AMD, Windows Subsystem for Linux, Jetson."""


@functools.cache
def cuda_is_available() -> bool:
    """torch.cuda.is_available()."""
    # torch takes seconds to import: without a driver's file, or with a CPU-only build, the answer is known
    no_driver = sys.platform == "linux" and not any(any(Path("/dev").glob(name)) for name in GPU_FILES)
    if no_driver or get_version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()


def format_machine(device: str, threads: int) -> str:
    """The name of the GPU, or that of the processor with the number of threads."""
    return get_gpu_name(device) or f"{read_cpu_name()} ({threads} threads)"


def describe_environment(device: str, threads: int) -> Environment:
    """The current machine and package versions, for a record."""
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
