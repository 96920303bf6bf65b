"""Stored profiles as a pandas frame."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.profile import MemoryShares, Profile
from harness.core.store import Store, truncate_lines

if TYPE_CHECKING:
    import pandas as pd

PROFILE_COLUMNS = {
    "method": "the method as it is written on the command line",
    "model": "the backbone as it was named",
    "dtype": "precision of the frozen backbone; quantize and recompute likewise",
    "device": "cpu or cuda; machine is its name",
    "batch_size": "rows per step",
    "length": "tokens per row of the measured batches",
    "status": "ok, failed or oom; `reason` says why, or what was not measured",
    "peak_bytes": "peak memory; peak_kind: allocated on the GPU, or resident above the loaded backbone",
    **{f"{name}_bytes": "bytes of this kind at the peak of a step" for name in MemoryShares.model_fields},
    "samples_per_second": "of the median step, all rows of full length",
    "step_seconds": "seconds of the median step, likewise",
    "tokens_per_second": "of real rows without padding; only from the command `profile`, like the next two",
    "ceiling_share": "FLOP/s of a step divided by those of a large matrix product in the same process",
    "joules_per_1000": "energy of the GPU for 1,000 samples",
    "measured": "when, in UTC",
}
"""The columns of `profiles` and their meaning."""


def profiles(folder: str | Path) -> pd.DataFrame:
    """The profiles of a run's folder, one row each; see PROFILE_COLUMNS. Raises UserError."""
    import pandas as pd

    stored, skipped = Store(Path(folder)).read_profiles()
    # warnings and not errors: one damaged file must not hide the other profiles
    for line in truncate_lines(skipped):
        warnings.warn(line, stacklevel=2)
    if not stored:
        raise UserError(f"{folder}: no stored profiles; give the folder of a run, or of the command profile")
    frame = pd.DataFrame([_build_row(p) for p in stored.values()])
    frame["measured"] = pd.to_datetime(frame["measured"])
    return frame


def _build_row(p: Profile) -> dict[str, Any]:
    import numpy as np

    plain = "method model dtype quantize recompute device batch_size length status reason peak_bytes peak_kind"
    rates = "samples_per_second tokens_per_second ceiling_share joules_per_1000 measured"
    e = p.environment
    return {
        **{name: getattr(p, name) for name in plain.split()},
        "machine": e.machine if e else None,
        **{f"{name}_bytes": getattr(p.shares, name, None) for name in MemoryShares.model_fields},
        # the median: a few steps are slow because something else ran
        "step_seconds": float(np.median(p.step_seconds)) if p.step_seconds else None,
        **{name: getattr(p, name) for name in rates.split()},
    }
