"""Packs as tasks of Ray: the same records as one process, also after nodes, workers or the run are lost."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import io
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.core.listener import SilentListener
from harness.core.record import Record
from harness.planning.packs import Pack
from harness.runner.execute import open_executor
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import PackJob
from tests.harness.runner.executors import test_pool
from tests.harness.runner.executors.plugins import EDITING, HANGING, KILLING
from tests.harness.runner.executors.test_pool import GRID, WORDS, assert_equal, read, read_by_method, start
from tests.harness.sittings import planned

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray"),
]
STEPS = 60


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The records of one process, without Ray."""
    out = tmp_path_factory.mktemp("one") / "out"
    finish(start(out, steps=STEPS))
    return read(out)


finish = functools.partial(test_pool.finish, timeout=1200)
"""On a busy machine Ray takes minutes."""


def list_processes(out: Path) -> list[psutil.Process]:
    """The processes of a run and its Ray, also those that have left their parent, by a variable that they inherit."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TEST_RUN") == str(out) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def start_ray(out: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    return start(out, "--executor", "ray", *words, steps=STEPS, TEST_RUN=str(out), **variables)


def wait_for_checkpoint(out: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the run has written a checkpoint; on a busy machine Ray takes minutes to start."""
    deadline = time.monotonic() + 400
    while not any((out / "checkpoints").glob("*.pt")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate(timeout=60)[1]
        time.sleep(0.02)


def test_two_local_rays_in_one_process_give_the_records_of_one_process(
    tmp_path: Path, undisturbed: dict[str, Record]
) -> None:
    """The second run starts a Ray after the first one's has ended; `watch` reads the folder while packs train."""
    outs = [tmp_path / "first", tmp_path / "second"]
    words = [*WORDS, *GRID.split(), "--max-steps", str(STEPS), "--executor", "ray"]
    runs = "".join(f"assert main({[*words, '--out', str(out)]!r}) == 0\n" for out in outs)
    process = subprocess.Popen(
        [sys.executable, "-c", f"from harness.cli.main import main\n{runs}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LORASP_HARNESS_CHECKPOINT_SECONDS": "0", "TEST_RUN": str(tmp_path)},
    )
    wait_for_checkpoint(outs[0], process)
    command = [sys.executable, "-m", "harness", "watch", "--once", str(outs[0])]
    watched = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    assert "of 8 cells done" in watched
    assert finish(process).count("8/8 cells done") == 2
    for out in outs:
        assert_equal(read(out), undisturbed)
    assert not list_processes(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_checkpoints_and_no_process_and_the_same_command_resumes(
    tmp_path: Path, undisturbed: dict[str, Record], number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = start_ray(out)
    wait_for_checkpoint(out, process)
    process.send_signal(number)
    finish(process, 128 + number)
    assert not list_processes(out)
    assert "cancelled" in {record.status for record in read(out).values()} <= {"cancelled", "ok"}
    said = finish(start_ray(out))
    assert "resumes from step" in said
    assert_equal(read(out), undisturbed)


def test_the_processes_of_a_local_ray_end_with_a_killed_run(tmp_path: Path, undisturbed: dict[str, Record]) -> None:
    out = tmp_path / "out"
    process = start_ray(out)
    wait_for_checkpoint(out, process)
    mine = list_processes(out)
    assert len(mine) > 3
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(mine, timeout=30)
    assert not alive
    finish(start_ray(out))
    assert_equal(read(out), undisturbed)


def test_the_pack_of_a_lost_node_resumes_on_another(
    tmp_path: Path, undisturbed: dict[str, Record], cluster: Any
) -> None:
    out = tmp_path / "out"
    process = start_ray(out, "--address", cluster.address)
    wait_for_checkpoint(out, process)
    cluster.remove_node(cluster.nodes[0], allow_graceful=False)
    said = finish(process)
    assert "its worker was lost" in said
    assert_equal(read(out), undisturbed)


def test_a_killed_run_resumes_on_its_cluster(tmp_path: Path, undisturbed: dict[str, Record], cluster: Any) -> None:
    out = tmp_path / "out"
    process = start_ray(out, RAY_ADDRESS=cluster.address)
    wait_for_checkpoint(out, process)
    process.kill()
    process.wait()
    said = finish(start_ray(out, "--address", cluster.address))
    assert "resumes from step" in said
    assert_equal(read(out), undisturbed)


def test_plugins_and_model_travel_to_the_nodes(tmp_path: Path, cluster: Any) -> None:
    (tmp_path / "killing.py").write_text(KILLING)
    cache, out = tmp_path / "cache", tmp_path / "out"
    grid = f"--plugin {tmp_path}/killing.py --methods lora,killing --tasks rte"
    words = ("--executor", "ray", "--address", cluster.address)
    # the nodes of this cluster have the cache folder of the process that started it
    finish(start(out, *words, grid=grid, steps=5, LORASP_HARNESS_CACHE=str(cache)), 1)
    by_method = read_by_method(out)
    assert by_method["lora"].status == "ok"
    assert by_method["killing"].status == "failed"
    assert "ended 2 times" in (by_method["killing"].reason or "")
    received = Path(os.environ["LORASP_HARNESS_CACHE"]) / "received"
    assert list(received.glob("*/killing.py"))
    embedded = Path(importlib.util.find_spec("suites").submodule_search_locations[0])  # type: ignore[union-attr, index]
    weights = {file.read_bytes() for file in (embedded / "embedded" / "models").rglob("model.safetensors")}
    assert {file.read_bytes() for file in received.glob("*/model.safetensors")} <= weights
    assert list(received.glob("*/model.safetensors"))


def test_workers_load_the_plugin_that_the_run_has_loaded(tmp_path: Path) -> None:
    """The file is edited right after the run has loaded it; keys are of the first source."""
    plugin, outs = tmp_path / "editing.py", [tmp_path / "local", tmp_path / "ray"]
    for out, words in zip(outs, ([], ["--executor", "ray"]), strict=True):
        plugin.write_text(EDITING)
        finish(start(out, "--plugin", str(plugin), *words, grid="--methods scaled --tasks rte --seeds 1", steps=5))
        assert plugin.read_text() != EDITING
    assert_equal(read(outs[0]), read(outs[1]))
    (record,) = read(outs[1]).values()
    assert record.cell.parts["method scaled"] == hashlib.sha256(EDITING.encode()).hexdigest()


class StepListener(SilentListener):
    """Knows the last step that any worker has sent."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.last_step = 0

    def step(self, step: int, losses: Sequence[float], worker: str = "") -> None:
        self.last_step = max(step, self.last_step)


def test_a_run_that_is_closed_between_two_outcomes_keeps_the_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a limit of the run is reached, or its disk is full."""
    monkeypatch.setenv("LORASP_HARNESS_CHECKPOINT_SECONDS", "1e6")
    plan, spec = planned("lora", (2, 10**5), device="cpu", executor="ray")
    short, long = (PackJob(Pack((cell,))) for cell in plan.cells)
    jobs, listener = deque([long, short]), StepListener()
    with open_executor(spec) as executor:
        made_by = executor.describe().environment.model_dump()
        checkpoints = Checkpoints(tmp_path, made_by, listener.note)
        outcomes = executor.run(jobs, checkpoints, listener)
        for outcome in outcomes:
            assert outcome.failure is None and outcome.job is not long
            if listener.last_step > 10:
                break
            jobs.append(dataclasses.replace(short))
        outcomes.close()  # type: ignore[attr-defined]
    saved = checkpoints.read(long.pack, long.slots)
    assert saved is not None and saved.step > 0


def test_a_task_that_hangs_is_ended(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    out = tmp_path / "out"
    grid = f"--plugin {tmp_path}/hanging.py --methods lora,hanging --tasks rte --executor ray"
    finish(start(out, grid=grid, steps=5, LORASP_HARNESS_WORKER_SECONDS="60"), 1)
    by_method = read_by_method(out)
    assert by_method["lora"].status == "ok"
    assert by_method["hanging"].status == "failed" and "sent nothing" in (by_method["hanging"].reason or "")
