"""Slurm jobs: the same records as in one process, also after jobs, nodes or the run itself have ended."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.core.record import Record
from harness.runner.executors.slurm_task import MAX_IDLE_STARTS
from tests.harness.runner.executors.plugins import KILLING
from tests.harness.runner.executors.slurm_runs import (
    LONG,
    LONG_STEPS,
    SLURM,
    FakeSlurm,
    find_checkpoint,
    find_pack,
    finish,
    has_begun,
    is_submitted,
    start,
    start_long,
    wait_for_progress,
    wait_until,
)
from tests.harness.runner.executors.test_pool import assert_equal, read, read_by_method

pytest.importorskip("submitit")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The records of one process; its two packs, one per task, are those of two jobs."""
    out = tmp_path_factory.mktemp("one") / "out"
    finish(start(out, environment={**os.environ, "OMP_NUM_THREADS": "1"}))
    return read(out)


@pytest.fixture(scope="module")
def long_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The same of `start_long`."""
    out = tmp_path_factory.mktemp("long") / "out"
    finish(start(out, *LONG, steps=LONG_STEPS, environment={**os.environ, "OMP_NUM_THREADS": "1"}))
    return read(out)


def test_an_array_gives_the_records_of_one_process(
    tmp_path: Path, slurm: FakeSlurm, undisturbed: dict[str, Record]
) -> None:
    said = finish(slurm.start(tmp_path / "out", "--slurm", f"{SLURM},time=1-2:03,cpus=1,mem=2G,account=us,grace=60"))
    assert_equal(read(tmp_path / "out"), undisturbed)
    assert slurm.states() == ["COMPLETED"] * 2 and {job.partition("_")[0] for job in slurm.jobs()} == {"100"}
    flags = slurm.jobs()["100_0"]["flags"]
    assert isinstance(flags, dict)
    expected = {"time": "1563", "cpus-per-task": "1", "mem": "2048M", "account": "us", "signal": "USR1@60"}
    assert flags | expected | {"array": "0-1%2"} == flags and "gpus-per-node" not in flags
    assert "on 100_0" in said and "on 100_1" in said
    # nothing is left but the machine, which later plans of the folder use
    assert not [p for p in (tmp_path / "out" / "slurm").rglob("*.pkl") if p.parent.name != "data"]
    again = finish(slurm.start(tmp_path / "out"))
    assert "8 done" in again and len(slurm.jobs()) == 2


def test_arrays_are_as_large_as_the_cluster_takes(tmp_path: Path, slurm: FakeSlurm) -> None:
    said = finish(
        slurm.start(tmp_path / "out", "--pack", "2", steps=2, FAKE_SLURM_MAX_ARRAY="2", FAKE_SLURM_MAX_SUBMIT="3")
    )
    # four packs: two, then one as there are three places, and the last one waits for a place
    assert "Slurm takes no more jobs now (QOSMaxSubmitJobPerUserLimit; " in said
    assert [record.status for record in read(tmp_path / "out").values()] == ["ok"] * 8
    assert slurm.states() == ["COMPLETED"] * 4
    assert sorted(slurm.jobs()) == ["100_0", "100_1", "102", "103"]


@pytest.mark.slow
def test_the_jobs_of_a_killed_run_are_collected_and_none_runs_twice(
    tmp_path: Path, slurm: FakeSlurm, undisturbed: dict[str, Record]
) -> None:
    out = tmp_path / "out"
    process = slurm.start(out)
    wait_until(lambda: is_submitted(out), process)
    process.kill()
    process.wait()
    wait_until(lambda: slurm.states() == ["COMPLETED"] * 2)
    assert not read(out)  # only a run writes records
    command = [sys.executable, "-m", "harness", "watch", "--once", str(out)]
    assert "0 of 8 cells done" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    said = finish(slurm.start(out))
    assert "2 jobs of an earlier command taken over" in said
    assert_equal(read(out), undisturbed)
    assert len(slurm.jobs()) == 2 and {job["runs"] for job in slurm.jobs().values()} == {1}


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_submits_leaves_no_second_training(
    tmp_path: Path, slurm: FakeSlurm, undisturbed: dict[str, Record]
) -> None:
    out = tmp_path / "out"
    process = slurm.start(out, FAKE_SLURM_SLEEP="300")
    wait_until(lambda: "RUNNING" in slurm.states(), process)
    process.kill()  # sbatch has accepted the array, and nobody knows its number
    process.wait()
    assert_submissions_without_id(out)
    finish(slurm.start(out))
    assert_equal(read(out), undisturbed)
    states = {name: str(job["state"]).split()[0] for name, job in slurm.jobs().items()}
    assert states == {"100_0": "CANCELLED", "100_1": "CANCELLED", "102_0": "COMPLETED", "102_1": "COMPLETED"}


def assert_submissions_without_id(out: Path) -> None:
    submissions = [json.loads(path.read_text()) for path in (out / "slurm" / "submissions").glob("*.json")]
    assert [submission["id"] for submission in submissions] == [None, None]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_jobs_and_the_same_command_collects(
    tmp_path: Path, slurm: FakeSlurm, undisturbed: dict[str, Record], number: int
) -> None:
    out = tmp_path / "out"
    process = slurm.start(out)
    wait_until(lambda: is_submitted(out), process)
    process.send_signal(number)
    began = time.monotonic()
    said = finish(process, 128 + number)
    assert time.monotonic() - began < 30
    assert "2 jobs continue; the same command collects their results; to cancel: scancel --name lorasp-" in said
    assert not read(out)
    finish(slurm.start(out))
    assert_equal(read(out), undisturbed)
    assert slurm.states() == ["COMPLETED"] * 2


@pytest.mark.slow
def test_the_command_that_is_named_cancels_the_jobs(tmp_path: Path, slurm: FakeSlurm) -> None:
    out = tmp_path / "out"
    process = slurm.start(out, steps=3000)
    wait_until(lambda: "RUNNING" in slurm.states(), process)
    process.send_signal(signal.SIGINT)
    said = finish(process, 130)
    words = said.partition("to cancel: ")[2].splitlines()[0].split()
    subprocess.run(words, check=True, env=slurm.environment)
    wait_until(lambda: slurm.states() == ["CANCELLED by 0"] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["warn", "kill", "term"])
def test_a_job_that_is_preempted_or_loses_its_node_goes_on_from_its_checkpoint(
    tmp_path: Path, slurm: FakeSlurm, long_undisturbed: dict[str, Record], what: str
) -> None:
    out = tmp_path / "out"
    process = start_long(slurm, out)
    wait_until(lambda: is_submitted(out), process)
    wait_until(find_checkpoint(out, "100_0").exists, process)
    slurm.order("100_0", what)
    said = finish(process)
    assert_equal(read(out), long_undisturbed)
    resumed = [record.extra["resumed at step"] for record in read(out).values() if "resumed at step" in record.extra]
    assert len(resumed) == 4 and 0 < min(resumed) <= max(resumed) < LONG_STEPS
    if what == "warn":  # requeued by the job itself: the same job again
        assert slurm.jobs()["100_0"]["runs"] == 2 and len(slurm.jobs()) == 2
    else:
        assert "Slurm job 100_0 ended (" in said and len(slurm.jobs()) == 3


@pytest.mark.slow
def test_a_short_time_limit_is_survived_by_requeues(
    tmp_path: Path, slurm: FakeSlurm, long_undisturbed: dict[str, Record]
) -> None:
    """The time limit comes once while the pack loads and three times while it trains."""
    out = tmp_path / "out"
    process = start_long(slurm, out)
    wait_until(lambda: is_submitted(out), process)
    files, name = find_pack(out, "100_0")
    wait_until(lambda: has_begun(files, name, 0), process)
    slurm.order("100_0", "warn")
    for runs in (2, 3, 4):
        wait_for_progress(slurm, "100_0", runs, find_checkpoint(out, "100_0"), process)
        slurm.order("100_0", "warn")
    finish(process)
    assert_equal(read(out), long_undisturbed)
    assert slurm.jobs()["100_0"]["runs"] == 5 and len(slurm.jobs()) == 2


@pytest.mark.slow
def test_a_time_limit_without_progress_fails_with_the_reason(tmp_path: Path, slurm: FakeSlurm) -> None:
    """The limit comes while the pack loads, as soon as its job has begun."""
    out = tmp_path / "out"
    process = slurm.start(out, grid="--tasks rte --methods lora --seeds 1")
    wait_until(lambda: is_submitted(out, 1), process)
    (job_id,) = slurm.jobs()
    files, name = find_pack(out, job_id)
    for idle in range(MAX_IDLE_STARTS):
        wait_until(functools.partial(has_begun, files, name, idle), process)
        slurm.order(job_id, "warn")
    finish(process, 1)
    (record,) = read(out).values()
    assert record.status == "failed"
    assert f"reached the time limit {MAX_IDLE_STARTS} times at step 0; give a longer time=" in (record.reason or "")
    assert slurm.jobs()[job_id]["runs"] == MAX_IDLE_STARTS and len(slurm.jobs()) == 1


@pytest.mark.slow
def test_a_cell_that_kills_its_job_twice_fails_and_the_others_do_not(tmp_path: Path, slurm: FakeSlurm) -> None:
    (tmp_path / "killing.py").write_text(KILLING)
    out = tmp_path / "out"
    grid = f"--plugin {tmp_path}/killing.py --methods lora,killing --tasks rte --seeds 1"
    finish(slurm.start(out, grid=grid, steps=5), 1)
    by_method = read_by_method(out)
    assert by_method["lora"].status == "ok"
    assert by_method["killing"].status == "failed"
    assert "its Slurm job ended 2 times" in (by_method["killing"].reason or "")
    assert len(slurm.jobs()) == 3


@pytest.mark.slow
def test_jobs_that_somebody_cancels_are_not_submitted_again_by_the_same_run(
    tmp_path: Path, slurm: FakeSlurm, long_undisturbed: dict[str, Record]
) -> None:
    out = tmp_path / "out"
    process = start_long(slurm, out)
    wait_until(lambda: is_submitted(out), process)
    wait_until(find_checkpoint(out, "100_1").exists, process)
    subprocess.run(["scancel", "100_1"], check=True, env=slurm.environment)
    said = finish(process, 2)
    assert "1 Slurm job cancelled (100_1)" in said and len(read(out)) == 4
    finish(start_long(slurm, out))
    assert_equal(read(out), long_undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"), [("rm", "does not exist"), ("echo '# edited' >>", "changed after the run")]
)
def test_a_plugin_that_nodes_see_otherwise_is_one_line(
    tmp_path: Path, slurm: FakeSlurm, change: str, says: str
) -> None:
    """The file goes away between submission and start, as on a node without it, or it is edited."""
    plugin, out = tmp_path / "own.py", tmp_path / "out"
    plugin.write_text(KILLING)
    shim = slurm.commands / "sbatch"
    shim.write_text(shim.read_text().replace("exec ", f"{change} {plugin}; exec "))
    said = finish(slurm.start(out, "--plugin", str(plugin)), 2)
    last = said.splitlines()[-1]
    assert str(plugin) in last and "Slurm job 100_" in last and says in last and not read(out)
    plugin.write_text(KILLING)
    shim.write_text(shim.read_text().replace(f"{change} {plugin}; ", ""))
    finish(slurm.start(out, "--plugin", str(plugin), steps=2))


@pytest.mark.slow
def test_processes_of_this_machine_rehearse_a_run(tmp_path: Path, undisturbed: dict[str, Record]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LORASP_HARNESS_SLURM_SECONDS": "0.5"}
    words = ["--executor", "slurm", "--slurm", "cluster=local,gpus=0,parallel=2"]
    out = tmp_path / "out"
    process = start(out, *words, environment=environment)
    wait_until(lambda: any((out / "slurm" / "starts").glob("*.json")), process)
    process.kill()
    process.wait()
    said = finish(start(out, *words, environment=environment))
    assert "of an earlier command taken over" in said
    assert_equal(read(out), undisturbed)
