"""Bad input to `--executor slurm`: one line and exit code 2, before any job is submitted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.harness.runner.executors.slurm_runs import FakeSlurm, finish

pytest.importorskip("submitit")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--slurm partition=gpus,gpus=0", "invalid partition specified: gpus"),
        ("--slurm time=soon", "--slurm time=soon: allowed: minutes"),
        ("--slurm gpus=2", "--slurm gpus=2: allowed: 0, 1 or TYPE:1"),
        ("--slurm partion=gpu", "did you mean 'partition'?"),
        ("--slurm partition", "allowed: KEY=VALUE"),
        ("--slurm gpus=1 --device cpu", "--slurm gpus=1, but --device is cpu"),
        ("--devices cpu:2", "give gpus= in --slurm"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, slurm: FakeSlurm, words: str, says: str) -> None:
    said = finish(slurm.start(tmp_path / "out", *words.split()), 2)
    lines = [line for line in said.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and says in lines[0] and "Traceback" not in said
    assert not slurm.jobs()


@pytest.mark.parametrize("missing", ["sbatch", "submitit"])
def test_what_is_missing_is_named_with_the_remedy(tmp_path: Path, slurm: FakeSlurm, missing: str) -> None:
    variables = {}
    if missing == "submitit":
        (tmp_path / "site" / "submitit").mkdir(parents=True)
        (tmp_path / "site" / "submitit" / "__init__.py").write_text("raise ImportError('No module named submitit')")
        variables["PYTHONPATH"] = f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    else:
        shutil.rmtree(slurm.commands)
    said = finish(slurm.start(tmp_path / "out", **variables), 2)
    assert len(said.splitlines()) == 1
    assert ("lorasp-harness[slurm]" if missing == "submitit" else "no command sbatch") in said
