from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.runner.executors.slurm_runs import FakeSlurm


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[FakeSlurm]:
    fake = FakeSlurm(tmp_path / "slurm")
    yield fake
    fake.end()
