"""Bad input to `--executor ray`: one line and exit code 2, before any cell trains."""

from __future__ import annotations

import dataclasses
import http.server
import importlib.util
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from tests.harness.runner.executors.test_pool import start
from tests.harness.runner.executors.test_ray import finish

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray"),
]


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


MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.60.0
    Python: 3.12.1
This process on node 10.0.0.1 was started with:
    Ray: 2.61.0
    Python: 3.11.7
"""


def test_a_cluster_of_other_versions_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ray.init raises for another Python, and its health check for another Ray."""
    from harness.core.errors import UserError
    from harness.runner.executors import ray_cluster
    from harness.runner.executors.base import ExecutorSetup

    def refuse_to_join(**options: object) -> None:
        raise RuntimeError(MISMATCH)

    ray, setup = types.SimpleNamespace(is_initialized=lambda: False, init=refuse_to_join), ExecutorSetup("cpu")
    setup = dataclasses.replace(setup, address="10.0.0.1:6379")
    with monkeypatch.context() as patch:
        patch.setattr(ray_cluster, "_check_answers", lambda address: None)
        with pytest.raises(UserError) as error:
            ray_cluster.connect(ray, setup)
    assert "has Ray 2.60.0 with Python 3.12.1, this machine Ray 2.61.0 with Python 3.11.7; install" in str(error.value)
    message = "RuntimeError: Ray version mismatch: cluster has Ray version 2.59.0 but local Ray version is 2.60.0"
    assert "the cluster has Ray 2.59.0, this machine Ray" in check_health(message, monkeypatch)


def test_a_cluster_with_a_token_says_how_to_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As clusters of Ray 2.60 have by default; Ray sends no token to a cluster that is named."""
    said = check_health("ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken", monkeypatch)
    assert "asks for a token; set RAY_AUTH_MODE=token" in said


def check_health(message: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The error for a cluster whose health check fails with a message."""
    from harness.core.errors import UserError
    from harness.runner.executors import ray_cluster

    ended = subprocess.CompletedProcess([], 1, "", f"Traceback ...\n{message}\n")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: ended)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UserError) as error:
        ray_cluster._check_answers(f"127.0.0.1:{server.getsockname()[1]}")
    return str(error.value)


def test_a_node_without_the_harness_is_one_line() -> None:
    from harness.runner.executors.ray_cluster import describe_error

    error = RuntimeError(
        "The remote function failed to import\nTraceback\nModuleNotFoundError: No module named 'harness'"
    )
    assert "cannot load the harness (ModuleNotFoundError: No module named 'harness')" in str(describe_error(error))


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
