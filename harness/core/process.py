"""The start of a process of the harness: import of our packages, waiting policy of OpenMP, number of CPUs."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
"""The folder that holds the packages below: a checkout, or site-packages."""
PACKAGES = ("harness", "methods", "reports", "results", "studies", "suites")
WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables that set how idle OpenMP threads wait; libgomp and LLVM's OpenMP both read the first."""


class PackageFinder:
    """A finder that imports our top-level packages from `ROOT`, even if other folders on the path have their names.

    `python -m` puts the working directory first on the path, and our own runs write a folder `results` there.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(ROOT)]) if path is None and name in PACKAGES else None


def install_package_finder() -> None:
    """Install the finder before all others; a second call does nothing."""
    if PackageFinder not in sys.meta_path:
        sys.meta_path.insert(0, PackageFinder)


def find_foreign_package() -> tuple[str, str] | None:
    """(name, path) of an imported module that is not ours but has the name of one of our packages; None if none."""
    for name in PACKAGES:
        module = sys.modules.get(name)
        paths = [] if module is None else [*getattr(module, "__path__", [getattr(module, "__file__", None) or "?"])]
        if paths and str(ROOT / name) not in paths:
            return name, paths[0]
    return None


_torch_was_first = False


def has_spinning_threads() -> bool:
    """Whether idle OpenMP threads spin while they wait, because torch was imported before the harness."""
    return _torch_was_first


def wait_passively() -> None:
    """Let idle OpenMP threads sleep, unless the user chose a policy.

    Spinning threads take the CPU from the thread that they wait for as soon as the machine has other work. OpenMP reads
    the variable once, when torch loads it, so this has no effect if torch was imported before.
    """
    global _torch_was_first
    if any(name in os.environ for name in WAIT_VARIABLES):
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    _torch_was_first = "torch" in sys.modules


def build_child_environment() -> dict[str, str]:
    """Environment variables with which a child Python process imports this harness."""
    # PYTHONSAFEPATH keeps the working directory off the child's path
    variables = {"PYTHONSAFEPATH": "1"}
    # an installed harness is found anyway
    if str(ROOT) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return variables


@contextlib.contextmanager
def set_child_environment() -> Iterator[None]:
    """A context in which this process has those variables, for children that cannot be passed an environment."""
    previous_values = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    os.environ.update(build_child_environment())
    try:
        yield
    finally:
        for name, value in previous_values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def follow_parent() -> None:
    """Let a thread end this process when its parent has ended, also if that was killed."""

    def wait(parent: int) -> None:
        while os.getppid() == parent:  # then another process is the parent
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=wait, args=(os.getppid(),), daemon=True).start()


PR_SET_NAME = 15


def name_process(name: str) -> None:
    """Show `name` (its first 15 bytes) as this process's name in `ps`, `top` and /proc/PID/comm (Linux only)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15])


# ---------------------------------------------------------------- CPUs


def count_cpus(root: Path = Path("/")) -> int:
    """The number of CPUs that this process may use: its affinity, limited by its container's quota rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_cpu_quota(root)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """The number of CPUs that the control groups of this process allow; None without a limit.

    The smallest quota of the group and those above it counts. `root` is the folder of /proc and /sys, for tests.
    """
    groups = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # cgroup version 1 mounts a tree per set of controllers, mostly with a link for each; version 2 one for all
        names = ("cpu", controllers) if controllers else ("",)
        mounted = next((groups / name for name in names if (groups / name).is_dir()), groups)
        # in a container the path may be the host's, which is not mounted; then the root of the tree is the container's
        group = mounted / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mounted):
                quotas += [quota for quota in (_read_group_quota(folder),) if quota is not None]
    return min(quotas, default=None)


def _read_group_quota(folder: Path) -> float | None:
    """The quota of one control group (version 2 or 1) in CPUs; None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        limit, period = (folder / "cpu.max").read_text().split()
        return None if limit == "max" else float(limit) / float(period)
    with contextlib.suppress(OSError, ValueError):
        microseconds = float((folder / "cpu.cfs_quota_us").read_text())
        return microseconds / float((folder / "cpu.cfs_period_us").read_text()) if microseconds > 0 else None
    return None
