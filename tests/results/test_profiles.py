"""Stored profiles as a frame."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import results
from harness.core.errors import UserError
from harness.core.profile import MemoryShares
from harness.core.store import Store
from tests.reports.records import profile

SHARES = dict(weights=1, quantization=2, adapters=3, gradients=4, optimizer=5, activations=6, rest=7)


def stored(folder: Path) -> pd.DataFrame:
    store = Store(folder)
    store.prepare()
    store.write_profile(profile("lora", (0.1, 0.2, 0.4), shares=MemoryShares(**SHARES), joules_per_1000=30.0))
    store.write_profile(
        profile("full", status="oom", step_seconds=[], peak_bytes=None, samples_per_second=None, reason="too big")
    )
    return results.profiles(folder)


def test_one_row_a_profile_also_of_what_did_not_fit(tmp_path: Path) -> None:
    frame = stored(tmp_path).set_index("method")
    assert frame.loc["lora", [f"{name}_bytes" for name in SHARES]].tolist() == list(SHARES.values())
    assert frame.loc["lora", "step_seconds"] == 0.2 and frame.loc["lora", "samples_per_second"] == pytest.approx(80)
    assert frame.loc["lora", "joules_per_1000"] == 30.0 and frame.loc["full", ["status", "reason"]].tolist() == [
        "oom",
        "too big",
    ]
    assert frame.loc["full", ["peak_bytes", "step_seconds", "weights_bytes"]].isna().all()
    assert isinstance(frame["measured"].dtype, pd.DatetimeTZDtype)


def test_each_column_is_documented(tmp_path: Path) -> None:
    frame = stored(tmp_path)
    words = " ".join([*results.PROFILE_COLUMNS, *results.PROFILE_COLUMNS.values()])
    assert all(column in words for column in frame) and set(results.PROFILE_COLUMNS) <= set(frame)


def test_a_folder_without_profiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no stored profiles; give the folder of a run"):
        results.profiles(tmp_path / "nowhere")
