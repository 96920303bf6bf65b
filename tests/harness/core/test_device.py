"""Which devices and how many threads the workers of a run have, and where its profiles are taken."""

from __future__ import annotations

import pytest

from harness.core import device
from harness.core.device import VISIBLE, choose_single_device, choose_worker_devices
from harness.core.errors import UserError


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_count_gpus", lambda: 4)
    monkeypatch.setattr(device, "count_cpus", lambda: 10)
    monkeypatch.delenv(VISIBLE, raising=False)


@pytest.mark.parametrize(
    ("devices", "threads", "share"),
    [("cpu:4", None, 2), ("cpu:16", None, 1), ("cpu:4", 3, 3), ("0,1,3", None, 3), ("0", None, 10)],
)
@pytest.mark.usefixtures("four_gpus")
def test_workers_share_the_cores(devices: str, threads: int | None, share: int) -> None:
    workers = choose_worker_devices(devices, "auto", threads)
    assert {worker.threads for worker in workers} == {share}
    assert len({worker.label for worker in workers}) == len(workers)


@pytest.mark.usefixtures("four_gpus")
def test_profiles_are_taken_on_the_first_of_the_devices() -> None:
    assert choose_single_device("2,3", "auto") == ("cuda", {VISIBLE: "2"})
    # the cells trained on CPUs: a profile on the GPU would not be theirs
    assert choose_single_device("cpu:2", "auto") == ("cpu", {VISIBLE: ""})
    assert choose_single_device(None, "cpu") == ("cpu", {})


@pytest.mark.usefixtures("four_gpus")
def test_numbers_count_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "GPU-a,GPU-b,GPU-c,GPU-d")
    assert [w.environment[VISIBLE] for w in choose_worker_devices("1,3", "auto", None)] == ["GPU-b", "GPU-d"]
    with pytest.raises(UserError, match="no GPU 7; visible GPUs: 0 to 3"):
        choose_worker_devices("7", "auto", None)
