from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.runner.executors.slurm_runs import FakeSlurm


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[FakeSlurm]:
    fake = FakeSlurm(tmp_path / "slurm")
    yield fake
    fake.end()


def add_node(cluster: Any, **options: Any) -> Any:
    """A node of a Ray cluster; on a busy machine it may miss the 30 s in which Ray wants its processes to start."""
    for _ in range(4):
        try:
            return cluster.add_node(**options)
        except Exception as error:
            assert "timed out" in str(error), error
    raise AssertionError("no node starts")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster whose head trains nothing, with two nodes of one CPU."""
    from ray.cluster_utils import Cluster

    from harness.core.process import build_child_environment

    for name, value in build_child_environment().items():
        monkeypatch.setenv(name, value)  # the harness is installed on its nodes
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "120000")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else tests that run beside this one starve it
    cluster = Cluster()
    add_node(cluster, num_cpus=0, include_dashboard=False)
    cluster.nodes = [add_node(cluster, num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
    yield cluster
    cluster.shutdown()
