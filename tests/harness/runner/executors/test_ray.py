"""Packs as tasks of Ray: the same records as one process, also after nodes, workers or the run are lost."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.core.record import Record
from tests.harness.runner.executors.plugins import EDITING, HANGING, KILLING
from tests.harness.runner.executors.test_pool import GRID, WORDS, assert_equal, read, start

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


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster whose head trains nothing, with two nodes of one CPU."""
    from ray.cluster_utils import Cluster

    from harness.core.process import build_child_environment

    for name, value in build_child_environment().items():
        monkeypatch.setenv(name, value)  # the harness is installed on its nodes
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else tests that run beside this one starve it
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
    cluster.nodes = nodes
    yield cluster
    cluster.shutdown()


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """What was said on stderr; on a busy machine Ray takes minutes."""
    _, said = process.communicate(timeout=1200)
    assert process.returncode == code, said
    return said


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
    by_method = {record.cell.method: record for record in read(out).values()}
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


def test_a_task_that_hangs_is_ended(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    out = tmp_path / "out"
    grid = f"--plugin {tmp_path}/hanging.py --methods lora,hanging --tasks rte --executor ray"
    finish(start(out, grid=grid, steps=5, LORASP_HARNESS_WORKER_SECONDS="60"), 1)
    by_method = {record.cell.method: record for record in read(out).values()}
    assert by_method["lora"].status == "ok"
    assert by_method["hanging"].status == "failed" and "sent nothing" in (by_method["hanging"].reason or "")


# ---------------------------------------------------------------- bad input


def refuse(out: Path, *words: str, **variables: str) -> str:
    """The one line of a command that is refused before it trains."""
    said = finish(start(out, "--executor", "ray", *words, **variables), 2).strip()
    assert "\n" not in said and not (out / "run.json").exists(), said
    return said


def test_addresses_without_a_cluster_are_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "no Ray cluster answers" in refuse(tmp_path / "a", "--address", f"127.0.0.1:{port}")
    assert "ray:// is not supported" in refuse(tmp_path / "b", "--address", "ray://127.0.0.1:10001")
    assert "--address nonsense" in refuse(tmp_path / "c", "--address", "nonsense")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        said = refuse(tmp_path / "d", "--address", f"127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
    assert "no Ray cluster answers" in said


def test_a_cluster_without_gpus_and_devices_are_one_line(tmp_path: Path, cluster: Any) -> None:
    words = ("--address", cluster.address)
    assert "the Ray cluster has no GPU" in refuse(tmp_path / "a", *words, "--device", "cuda")
    assert "--devices cpu:2" in refuse(tmp_path / "b", *words, "--devices", "cpu:2")
    assert "the largest node" in refuse(tmp_path / "c", *words, "--threads", "64")


def test_a_full_shared_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.core.errors import UserError
    from harness.runner.executors import ray_cluster

    monkeypatch.setattr(ray_cluster, "MIN_STORE_BYTES", 2**62)
    with pytest.raises(UserError, match="shm-size"):
        ray_cluster._check_shared_memory()


@pytest.mark.parametrize("field", ["python", "torch", "transformers", "harness"])
def test_other_versions_on_a_node_are_one_line(field: str) -> None:
    from harness.core.errors import UserError
    from harness.core.provenance import describe_environment
    from harness.runner.executors.ray_worker import check_versions

    here = describe_environment("cpu", 1).model_copy(update={"torch": "2.13.0+cpu"})
    check_versions(here, here.model_copy(update={"torch": "2.13.0+cu128"}), "10.0.0.2")
    with pytest.raises(UserError, match=f"node 10.0.0.2 has {field} 0.4.1, this machine "):
        check_versions(here.model_copy(update={field: "0.4.1"}), here, "10.0.0.2")


def test_ray_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'ray' else find(name, *a)\n"
        "from harness.__main__ import main; sys.exit(main())"
    )
    words = ["run", "--executor", "ray", "--tasks", "rte", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "pip install 'lorasp-harness[ray]'" in done.stderr, done.stderr
