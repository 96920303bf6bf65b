"""Bad input to `--executor ray`: one line and exit code 2, before any cell trains."""

from __future__ import annotations

import http.server
import importlib.util
import socket
import subprocess
import sys
import threading
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
