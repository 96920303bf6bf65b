"""Functions in processes of their own: the script of the user is not run again, and nothing is left behind."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.core.process import build_child_environment
from harness.profiling.worker import WorkerKilled, call_alone


def test_the_result_and_the_error_of_the_function_come_back() -> None:
    assert call_alone("json", os.getpid) != os.getpid()
    with pytest.raises(ZeroDivisionError):
        call_alone("json", operator.truediv, 1, 0)
    with pytest.raises(WorkerKilled):
        call_alone("json", signal.raise_signal, signal.SIGKILL)


def run(script: Path, source: str) -> subprocess.Popen[str]:
    script.write_text(source)
    env = os.environ | build_child_environment()
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=env)


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    source = "import os\nfrom harness.profiling.worker import call_alone\nprint('once', flush=True)\n"
    process = run(tmp_path / "script.py", f"{source}print(call_alone('json', os.getppid) != os.getppid())\n")
    assert process.communicate(timeout=60)[0].split() == ["once", "True"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_caller(tmp_path: Path, number: int) -> None:
    source = "import time\nfrom harness.profiling.worker import call_alone\nprint('here', flush=True)\n"
    process = run(tmp_path / "script.py", f"{source}call_alone('json', time.sleep, 600)\n")
    assert process.stdout is not None and process.stdout.readline()
    time.sleep(0.5)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(number)
    process.wait(timeout=30)
    assert not psutil.wait_procs(children, timeout=10)[1]
