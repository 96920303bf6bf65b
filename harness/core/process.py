"""How a process of the harness starts: whose packages it imports, how OpenMP's threads wait, how many CPUs it has."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
"""The folder that holds the packages below: a checkout, or site-packages."""
PACKAGES = ("harness", "methods", "reports", "results", "studies", "suites")
WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables by which a user chooses how idle OpenMP threads wait; libgomp and LLVM's OpenMP read the first."""


class PackageFinder:
    """A finder that imports our top-level packages from ROOT, whatever else on the path has their names.

    `python -m` puts the working directory first, and a folder `results` there is what our own runs make.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(ROOT)]) if path is None and name in PACKAGES else None


def install_package_finder() -> None:
    """Put the finder before all others, once."""
    if PackageFinder not in sys.meta_path:
        sys.meta_path.insert(0, PackageFinder)


def find_foreign_package() -> tuple[str, str] | None:
    """A module of another project that has the name of one of our packages and was imported first, and its place."""
    for name in PACKAGES:
        module = sys.modules.get(name)
        paths = [] if module is None else [*getattr(module, "__path__", [getattr(module, "__file__", None) or "?"])]
        if paths and str(ROOT / name) not in paths:
            return name, paths[0]
    return None


_torch_was_first = False


def has_spinning_threads() -> bool:
    """Whether torch was imported before the harness, so that idle OpenMP threads spin while they wait."""
    return _torch_was_first


def wait_passively() -> None:
    """Let idle OpenMP threads sleep, unless the user chose otherwise; too late where torch was imported before.

    Threads that spin at each barrier take the CPU from the thread that they wait for as soon as the machine has other
    work. OpenMP reads the variable once, when torch loads it.
    """
    global _torch_was_first
    if any(name in os.environ for name in WAIT_VARIABLES):
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    _torch_was_first = "torch" in sys.modules


def build_child_environment() -> dict[str, str]:
    """Variables with which a Python process that we start imports this harness, not what the working directory has."""
    variables = {"PYTHONSAFEPATH": "1"}
    if str(ROOT) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return variables


@contextlib.contextmanager
def set_child_environment() -> Iterator[None]:
    """`child_environment` for processes that are started within, where no environment can be passed."""
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


# ---------------------------------------------------------------- CPUs


def count_cpus(root: Path = Path("/")) -> int:
    """CPUs that this process may use: its affinity, and the quota of its container rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_cpu_quota(root)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs that the control group of this process, or one above it, grants; None where there is no limit.

    `root` is where /proc and /sys lie.
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
        mounted = groups / "cpu" if controllers else groups  # version 1 mounts each controller, version 2 one tree
        # in a container the path may be that of the host, which is not mounted: then the root is the container's
        group = mounted / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mounted):
                quotas += [quota for quota in (_read_group_quota(folder),) if quota is not None]
    return min(quotas, default=None)


def _read_group_quota(folder: Path) -> float | None:
    """Of one control group, version 2 or 1."""
    with contextlib.suppress(OSError, ValueError):
        limit, period = (folder / "cpu.max").read_text().split()
        return None if limit == "max" else float(limit) / float(period)
    with contextlib.suppress(OSError, ValueError):
        microseconds = float((folder / "cpu.cfs_quota_us").read_text())
        return microseconds / float((folder / "cpu.cfs_period_us").read_text()) if microseconds > 0 else None
    return None
