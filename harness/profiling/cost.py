"""Time predicted from FLOPs and launches: a model fitted to the profiles that this machine has stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from harness.core.provenance import read_cpu_name
from harness.core.record import PackSize, Profile, Timings
from harness.core.store import PACK_SIZES, read_documents

RUNS = Path("results/runs")
Document = TypeVar("Document", Profile, PackSize)
NONE_YET = "no calibration yet: run profile"


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of a step = fixed + per_flop * FLOPs + per_launch * launches; `error` is the fit's worst, relative."""

    fixed: float
    per_flop: float
    per_launch: float
    profiles: int
    error: float

    def step(self, flops: float, launches: float) -> float:
        return self.fixed + self.per_flop * flops + self.per_launch * launches

    @property
    def line(self) -> str:
        worst = f", off by {self.error:.0%} at most on them" if self.profiles > 3 else ""
        return f"time from {self.profiles} stored profiles of this machine{worst}"


def load_profiles(folders: Iterable[Path]) -> list[Profile]:
    """Profiles of some run folders and of all runs kept here; files that do not read are passed over."""
    profiles: dict[str, Profile] = {}
    for profile in _read_folders((*folders, *list_runs()), "profiles", Profile):
        profiles[profile.key] = profile
    return list(profiles.values())


def load_pack_sizes(folders: Iterable[Path]) -> dict[str, PackSize]:
    """Sizes of packs by kind; where several are stored, that of the first folder, and a timed one before others."""
    sizes: dict[str, PackSize] = {}
    for size in _read_folders(folders, PACK_SIZES, PackSize):
        earlier = sizes.get(size.key)
        if earlier is None or (size.timings and not earlier.timings):
            sizes[size.key] = size
    return sizes


def _read_folders(folders: Iterable[Path], part: str, kind: type[Document]) -> Iterator[Document]:
    """What is stored in that part of each folder, less files that do not read."""
    for folder in folders:
        yield from read_documents(folder / part, kind)[0].values()


def list_runs() -> list[Path]:
    """Folders of all runs kept here."""
    return sorted(RUNS.glob("*"))


def interpolate_seconds(timings: Timings, k: int) -> float:
    """Seconds of a step of k replicas, on lines between the sizes that were timed; beyond them, in proportion."""
    sizes, seconds = zip(*sorted(timings), strict=True)
    if k > sizes[-1]:
        return float(seconds[-1] * k / sizes[-1])
    import numpy as np

    return float(np.interp(k, sizes, seconds))


MIN_STEP_SECONDS = {"cpu": 1e-3, "cuda": 2e-4}
"""Seconds of one replica's step in a pack at least: the embedded encoder's."""
MAX_FLOPS = {"cpu": 2e11, "cuda": 4e14}
"""FLOP/s at most."""


def least_seconds(weights: int, tokens: int, device: str) -> float:
    """Seconds of one replica's step at least, of a backbone of so many weights: forward, and backward to its inputs."""
    return max(MIN_STEP_SECONDS[device], 4.0 * weights * tokens / MAX_FLOPS[device])


def fit_cost(profiles: Sequence[Profile], device: str, threads: int, gpu: str | None = None) -> Cost | None:
    """Non-negative least squares on relative errors. With fewer than three profiles only the FLOPs count.

    None without a profile of this machine at so many threads.
    """
    usable = [p for p in profiles if _is_usable(p, (device, read_cpu_name(), threads, gpu))]
    if not usable:
        return None
    import numpy as np
    from scipy.optimize import nnls

    seconds = np.array([float(np.median(p.step_seconds)) for p in usable])
    columns = np.array([[1.0, float(p.flops or 0), float(p.launches or 0)] for p in usable])
    if len(usable) < 3:
        columns[:, [0, 2]] = 0
    scale = np.maximum(columns.max(0), 1.0)
    coefficients, _ = nnls(columns / scale / seconds[:, None], np.ones(len(usable)))
    fixed, per_flop, per_launch = (coefficients / scale).tolist()
    error = float(np.abs(columns @ (coefficients / scale) / seconds - 1).max())
    return Cost(fixed, per_flop, per_launch, len(usable), error)


def _is_usable(profile: Profile, machine: tuple[str, str, int, str | None]) -> bool:
    environment = profile.environment
    if profile.status != "ok" or environment is None or not profile.step_seconds or profile.flops is None:
        return False
    return (
        profile.device,
        environment.cpu,
        environment.threads,
        environment.gpu,
    ) == machine and not profile.shared_with
