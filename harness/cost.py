"""Time predicted from FLOPs and launches: a model fitted to the profiles that this machine has stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from harness.provenance import cpu_name
from harness.record import PackSize, Profile, Timings
from harness.store import PACK_SIZES, read_documents

RUNS = Path("results/runs")
Stored = TypeVar("Stored", Profile, PackSize)
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


def stored_profiles(folders: Iterable[Path]) -> list[Profile]:
    """Profiles of some run folders and of all runs kept here; files that do not read are passed over."""
    found: dict[str, Profile] = {}
    for profile in _readable((*folders, *kept_runs()), "profiles", Profile):
        found[profile.key] = profile
    return list(found.values())


def stored_sizes(folders: Iterable[Path]) -> dict[str, PackSize]:
    """Sizes of packs by kind; where several are stored, that of the first folder, and a timed one before others."""
    found: dict[str, PackSize] = {}
    for size in _readable(folders, PACK_SIZES, PackSize):
        known = found.get(size.key)
        if known is None or (size.timings and not known.timings):
            found[size.key] = size
    return found


def _readable(folders: Iterable[Path], part: str, kind: type[Stored]) -> Iterator[Stored]:
    """What is stored in that part of each folder, less files that do not read."""
    for folder in folders:
        yield from read_documents(folder / part, kind)[0].values()


def kept_runs() -> list[Path]:
    """Folders of all runs kept here."""
    return sorted(RUNS.glob("*"))


def step_seconds(timings: Timings, k: int) -> float:
    """Seconds of a step of k replicas, on lines between the sizes that were timed; beyond them, in proportion."""
    sizes, seconds = zip(*sorted(timings), strict=True)
    if k > sizes[-1]:
        return float(seconds[-1] * k / sizes[-1])
    import numpy as np

    return float(np.interp(k, sizes, seconds))


SHORTEST = {"cpu": 1e-3, "cuda": 2e-4}
"""Seconds of one replica's step in a pack at least: the embedded encoder's."""
FASTEST = {"cpu": 2e11, "cuda": 4e14}
"""FLOP/s at most."""


def least_seconds(weights: int, tokens: int, device: str) -> float:
    """Seconds of one replica's step at least, of a backbone of so many weights: forward, and backward to its inputs."""
    return max(SHORTEST[device], 4.0 * weights * tokens / FASTEST[device])


def calibrate(profiles: Sequence[Profile], device: str, threads: int, gpu: str | None = None) -> Cost | None:
    """Non-negative least squares on relative errors. With fewer than three profiles only the FLOPs count.

    None without a profile of this machine at so many threads.
    """
    own = [p for p in profiles if _usable(p, (device, cpu_name(), threads, gpu))]
    if not own:
        return None
    import numpy as np
    from scipy.optimize import nnls

    seconds = np.array([float(np.median(p.step_seconds)) for p in own])
    columns = np.array([[1.0, float(p.flops or 0), float(p.launches or 0)] for p in own])
    if len(own) < 3:
        columns[:, [0, 2]] = 0
    scale = np.maximum(columns.max(0), 1.0)
    found, _ = nnls(columns / scale / seconds[:, None], np.ones(len(own)))
    fixed, per_flop, per_launch = (found / scale).tolist()
    error = float(np.abs(columns @ (found / scale) / seconds - 1).max())
    return Cost(fixed, per_flop, per_launch, len(own), error)


def _usable(profile: Profile, machine: tuple[str, str, int, str | None]) -> bool:
    known = profile.environment
    if profile.status != "ok" or known is None or not profile.step_seconds or profile.flops is None:
        return False
    return (profile.device, known.cpu, known.threads, known.gpu) == machine and not profile.shared_with
