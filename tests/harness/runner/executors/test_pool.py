"""Several worker processes: the same records as one process, also after workers or the run are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.record import Record
from harness.core.store import Store
from harness.runner.executors.base import ExecutorSetup
from harness.runner.executors.pool import WorkerPool
from tests.harness.runner.executors.plugins import CHANGING, FAILING_IN_WORKERS, HANGING, KILLING, LOCAL, UNSENDABLE

WORDS = "run --seeds 2 --train-rows 128 --eval-rows 64 --threads 1 --no-profile --formats csv".split()
WORDS += ["--figures", ""]
GRID = "--tasks rte,cola --methods lora,lorasp"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "LORASP_HARNESS_CHECKPOINT_SECONDS": "0"}


def list_words(out: Path, grid: str = GRID, steps: int = 30) -> list[str]:
    return [*WORDS, *grid.split(), "--max-steps", str(steps), "--out", str(out)]


def start(out: Path, *words: str, grid: str = GRID, steps: int = 30, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", *list_words(out, grid, steps), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, **variables}
    )


def finish(process: subprocess.Popen[str], code: int = 0, timeout: float = 300) -> str:
    """What was said on stderr; `timeout` in seconds."""
    _, said = process.communicate(timeout=timeout)
    assert process.returncode == code, said
    return said


def read(out: Path) -> dict[str, Record]:
    return Store(out).read()[0]


def read_by_method(out: Path) -> dict[str, Record]:
    """The last record of each method."""
    return {record.cell.method: record for record in read(out).values()}


def assert_equal(one: dict[str, Record], other: dict[str, Record]) -> None:
    """The same cells with the same bits."""
    assert one.keys() == other.keys()
    for key, record in one.items():
        assert record.status == other[key].status == "ok", record.reason
        assert record.scores == other[key].scores
        assert record.loss_curve == other[key].loss_curve


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate(timeout=60)[1]
        time.sleep(0.02)


def list_workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [p for p in psutil.Process(process.pid).children(recursive=True) if p.name().startswith("worker ")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The records of this process; its two packs, one per task, are those of two workers."""
    out = tmp_path_factory.mktemp("one") / "out"
    assert main(list_words(out)) == 0
    return read(out)


def test_two_workers_give_the_records_of_one_process(tmp_path: Path, undisturbed: dict[str, Record]) -> None:
    said = finish(start(tmp_path / "out", "--devices", "cpu:2"))
    assert "on cpu:0" in said and "on cpu:1" in said
    assert_equal(read(tmp_path / "out"), undisturbed)


@pytest.mark.slow
def test_the_pack_of_a_killed_worker_resumes_elsewhere(tmp_path: Path, undisturbed: dict[str, Record]) -> None:
    out = tmp_path / "out"
    process = start(out, "--devices", "cpu:2")
    wait_until(lambda: any((out / "checkpoints").glob("*.pt")), process)
    victim = list_workers(process)[0]
    victim.kill()
    said = finish(process)
    assert "signal SIGKILL" in said and "again from" in said
    assert_equal(read(out), undisturbed)


@pytest.mark.slow
def test_sigterm_leaves_checkpoints_and_no_process_and_the_same_command_resumes(
    tmp_path: Path, undisturbed: dict[str, Record]
) -> None:
    out = tmp_path / "out"
    process = start(out, "--devices", "cpu:2")
    wait_until(lambda: any((out / "checkpoints").glob("*.pt")), process)
    workers = list_workers(process)
    process.send_signal(signal.SIGTERM)
    finish(process, 128 + signal.SIGTERM)
    # the run kills them as it ends; init collects them a moment later
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    assert "cancelled" in {record.status for record in read(out).values()} <= {"cancelled", "ok"}
    said = finish(start(out, "--devices", "cpu:2"))
    assert "resumes from step" in said
    assert_equal(read(out), undisturbed)


@pytest.mark.slow
def test_workers_end_with_a_killed_run(tmp_path: Path, undisturbed: dict[str, Record]) -> None:
    out = tmp_path / "out"
    process = start(out, "--devices", "cpu:2", steps=2000)
    wait_until(lambda: any((out / "checkpoints").glob("*.pt")), process)
    workers = list_workers(process)
    assert len(workers) == 2
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive and len(gone) == 2


@pytest.mark.slow
def test_a_cell_that_kills_its_worker_twice_fails_and_the_others_do_not(tmp_path: Path) -> None:
    (tmp_path / "killing.py").write_text(KILLING)
    out = tmp_path / "out"
    grid = f"--plugin {tmp_path}/killing.py --methods lora,killing --tasks rte --devices cpu:2"
    finish(start(out, grid=grid, steps=5), 1)
    by_method = read_by_method(out)
    assert by_method["lora"].status == "ok"
    assert by_method["killing"].status == "failed"
    assert "SIGKILL" in (by_method["killing"].reason or "")


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    out = tmp_path / "out"
    grid = f"--plugin {tmp_path}/hanging.py --methods lora,hanging --tasks rte --devices cpu:2"
    finish(start(out, grid=grid, steps=5, LORASP_HARNESS_WORKER_SECONDS="40"), 1)
    by_method = read_by_method(out)
    assert by_method["lora"].status == "ok"
    assert by_method["hanging"].status == "failed" and "hung" in (by_method["hanging"].reason or "")


@pytest.mark.parametrize("devices", ["7", "0,", "cpu", "cpu:0", "cpu:9999", "gpu:1", "-1", "0,0", "cuda:0"])
def test_devices_that_do_not_exist_are_one_line(
    tmp_path: Path, devices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*list_words(tmp_path / "out"), "--devices", devices]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "--devices" in said and devices in said


@pytest.mark.slow
def test_methods_of_a_loop_in_a_plugin_train_in_workers(tmp_path: Path) -> None:
    """Pickle cannot name their classes; each keeps its own scale."""
    (tmp_path / "local.py").write_text(LOCAL)
    grid = f"--plugin {tmp_path}/local.py --methods half,double --tasks rte --seeds 1"
    finish(start(tmp_path / "one", grid=grid, steps=5))
    finish(start(tmp_path / "two", "--devices", "cpu:2", "--pack", "1", grid=grid, steps=5))
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert one.keys() == two.keys()
    for key, record in one.items():
        assert [loss for _, loss in record.loss_curve] == pytest.approx([x for _, x in two[key].loss_curve], rel=1e-5)
    first, second = (record.loss_curve for record in two.values())
    assert first != second


@pytest.mark.slow
def test_methods_that_fail_in_a_worker_only_have_their_reason_and_the_others_train(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING_IN_WORKERS)
    out = tmp_path / "out"
    grid = f"--plugin {tmp_path}/failing.py --methods unreadable,exiting,lora --tasks rte --seeds 1 --devices cpu:1"
    finish(start(out, grid=grid, steps=5), 1)
    by_method = read_by_method(out)
    assert by_method["lora"].status == "ok"
    assert "no second one of me" in (by_method["unreadable"].reason or "")
    assert "enough of this" in (by_method["exiting"].reason or "")


@pytest.mark.slow
def test_an_idle_worker_that_is_stopped_does_not_block_the_run(tmp_path: Path, undisturbed: dict[str, Record]) -> None:
    """Its job waits in the run, for longer than a socket holds, and goes to another worker when it counts as hung."""
    out = tmp_path / "out"
    process = start(out, "--devices", "cpu:2", LORASP_HARNESS_WORKER_SECONDS="40")
    wait_until(lambda: len(list_workers(process)) == 2, process)
    list_workers(process)[0].suspend()
    said = finish(process)
    assert "it hung" in said
    assert_equal(read(out), undisturbed)


@pytest.mark.slow
def test_a_suite_that_cannot_be_sent_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(UNSENDABLE)
    grid = f"--plugin {tmp_path}/own.py --suite own --methods lora --tasks rte --devices cpu:1"
    said = finish(start(tmp_path / "out", grid=grid, steps=5), 2)
    assert "cannot be sent to a worker process" in said and "Traceback" not in said


@pytest.mark.slow
def test_a_worker_that_starts_again_refuses_a_plugin_that_was_edited(tmp_path: Path) -> None:
    """Results of the edited code would be stored under keys with the digest of the first."""
    (tmp_path / "changing.py").write_text(CHANGING)
    grid = f"--plugin {tmp_path}/changing.py --methods lorasp:select=changing --tasks rte --devices cpu:1"
    said = finish(start(tmp_path / "out", grid=grid, steps=5), 2)
    assert "changed after the run loaded it" in said and "Traceback" not in said
    assert not read(tmp_path / "out")


@pytest.mark.parametrize("seconds", ["soon", "nan", "-1", "0"])
def test_a_wrong_number_of_silent_seconds_is_refused(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORASP_HARNESS_WORKER_SECONDS", seconds)
    with pytest.raises(UserError, match=f"LORASP_HARNESS_WORKER_SECONDS={seconds}: allowed"):
        WorkerPool([], ExecutorSetup("cpu"))


def test_an_address_without_ray_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*list_words(tmp_path / "out"), "--address", "127.0.0.1:6379"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --address 127.0.0.1:6379") and said.count("\n") == 1
