"""What fine-tuning forgets: the change of the loss on a text that no run trains on, per method."""

from __future__ import annotations

import math

from harness.core.record import Forgetting
from reports.frames import Grid, Seeds, cache_in_grid, get_seeds
from reports.statistics.shared_seeds import estimate_interval
from reports.statistics.student import Estimate


def list_texts(grid: Grid) -> list[str]:
    """The texts of a suite's records, by their sha256: changes on different texts are not comparable."""
    return list(dict.fromkeys(r.forgetting.sha256 for r in grid.records if r.forgetting))


def collect_forgetting(grid: Grid, method: str) -> dict[Seeds, Forgetting]:
    """Seeds -> the losses of a method's runs that ended well and have finite ones."""
    losses = {get_seeds(r): r.forgetting for r in grid.select_method(method) if r.status == "ok" and r.forgetting}
    return {seeds: one for seeds, one in losses.items() if math.isfinite(one.change)}


@cache_in_grid
def estimate_forgetting(grid: Grid, method: str) -> Estimate | None:
    """Mean change in nats per token over seeds; None without a run, and where the suite's runs have several texts."""
    if len(list_texts(grid)) != 1:
        return None
    return estimate_interval({seeds: one.change for seeds, one in collect_forgetting(grid, method).items()})
