"""Predict the time of a step from FLOPs and kernel launches, by a fit to this machine's stored profiles."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.core.profile import Profile
from harness.core.provenance import read_cpu_name
from harness.core.spec import RUNS
from harness.core.stored_files import read_documents

NONE_YET = "no time estimate yet: run `profile` to calibrate it"


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of a step = fixed + per_flop * FLOPs + per_launch * launches.

    `profiles` were fitted; `error` is the largest relative error on them.
    """

    fixed: float
    per_flop: float
    per_launch: float
    profiles: int
    error: float
    machine: str = "this machine"

    def step(self, flops: float, launches: float) -> float:
        return self.fixed + self.per_flop * flops + self.per_launch * launches

    @property
    def line(self) -> str:
        """How the time is estimated, for the reader of a plan."""
        # three coefficients fit three profiles without error, which says nothing
        worst = f", relative error on them at most {self.error:.0%}" if self.profiles > 3 else ""
        noun = "profile" if self.profiles == 1 else "profiles"
        return f"time from {self.profiles} stored {noun} of {self.machine}{worst}"


def load_profiles(folders: Iterable[Path]) -> list[Profile]:
    """Readable profiles of `folders` and of all runs under results/runs."""
    profiles: dict[str, Profile] = {}
    for folder in (*folders, *list_runs()):
        profiles |= read_documents(folder / "profiles", Profile)[0]
    return list(profiles.values())


def list_runs() -> list[Path]:
    """Folders of all runs under results/runs, relative to the working directory."""
    return sorted(RUNS.glob("*"))


def fit_cost_of_absent_gpu(profiles: Sequence[Profile]) -> Cost | None:
    """Cost of a step on the GPU that most of the stored profiles were taken on; None without a profile of a GPU."""
    machines = Counter(
        (e.cpu, e.threads, e.gpu) for p in profiles if p.device == "cuda" and (e := p.environment) is not None and e.gpu
    )
    if not machines:
        return None
    (cpu, threads, gpu), _ = machines.most_common(1)[0]
    cost = fit_cost(profiles, "cuda", threads, gpu, cpu)
    return cost and dataclasses.replace(cost, machine=f"{gpu}, which is not here")


def fit_cost(
    profiles: Sequence[Profile], device: str, threads: int, gpu: str | None = None, cpu: str | None = None
) -> Cost | None:
    """Cost of a step here, or with the processor `cpu`, by non-negative least squares on relative errors.

    With fewer than three profiles only FLOPs count. None without a profile of this device, CPU, GPU and thread count.
    """
    usable = [p for p in profiles if _is_usable(p, (device, cpu or read_cpu_name(), threads, gpu))]
    if not usable:
        return None
    import numpy as np
    from scipy.optimize import nnls

    seconds = np.array([float(np.median(p.step_seconds)) for p in usable])
    columns = np.array([[1.0, float(p.flops or 0), float(p.launches or 0)] for p in usable])
    if len(usable) < 3:
        columns[:, [0, 2]] = 0
    # FLOPs are of the order of 1e9 and launches of 1e3, so unscaled columns would be ill-conditioned
    scale = np.maximum(columns.max(0), 1.0)
    coefficients, _ = nnls(columns / scale / seconds[:, None], np.ones(len(usable)))
    fixed, per_flop, per_launch = (coefficients / scale).tolist()
    error = float(np.abs(columns @ (coefficients / scale) / seconds - 1).max())
    return Cost(fixed, per_flop, per_launch, len(usable), error)


def _is_usable(profile: Profile, machine: tuple[str, str, int, str | None]) -> bool:
    """Whether a profile has undistorted times of `machine`: device, CPU, threads, GPU."""
    environment = profile.environment
    if profile.status != "ok" or environment is None or not profile.step_seconds or profile.flops is None:
        return False
    return (
        profile.device,
        environment.cpu,
        environment.threads,
        environment.gpu,
    ) == machine and not profile.shared_with
