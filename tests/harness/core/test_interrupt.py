"""Ctrl-C on the real command, and amid a step."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from harness.core.interrupt import RETRY_SECONDS, catch_signals, defer_interrupts
from harness.replicas.optimizer import ReplicaOptimizer
from harness.training import trainer as train
from harness.training.trainer import Trainer
from tests.harness.sittings import Seen, assert_same_bits, planned, sitting

WORDS = ("--tasks", "rte", "--methods", "head,lora", "--seeds", "2", "--eval-rows", "40", "--no-profile")
WORDS += ("--formats", "csv", "--figures", "")


def each(first: signal.Signals, *others: signal.Signals) -> pytest.MarkDecorator:
    """The test with real processes for each signal; for all but the first with the slow tests."""
    slow = [pytest.param(number, marks=pytest.mark.slow) for number in others]
    return pytest.mark.parametrize("number", [first, *slow], ids=lambda number: number.name)


@each(signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
def test_a_signal_stops_a_run_as_ctrl_c_does(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "harness", "run", *WORDS, "--out", str(tmp_path), "--threads", "1"]
    command += ["--max-steps", "100000", "--epochs", "100000"]
    often = os.environ | {"LORASP_HARNESS_CHECKPOINT_SECONDS": "0"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=often)
    while not list(tmp_path.glob("checkpoints/*.pt")):
        assert process.poll() is None
        time.sleep(0.05)
    (path,) = tmp_path.glob("checkpoints/*.pt")
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 128 + number and "Traceback" not in said
    assert number.name in said.splitlines()[-1]
    records = [json.loads(p.read_text()) for p in (tmp_path / "cells").glob("*.json")]
    assert Counter(r["status"] for r in records) == {"cancelled": 2}
    assert all(number.name in r["reason"] for r in records)
    assert torch.load(path)["step"] > 0


@pytest.mark.slow
@each(signal.SIGKILL, signal.SIGTERM)
def test_no_process_is_left_that_measures_a_profile(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "harness", "profile", "--tasks", "rte", "--methods", "lora", "--seeds", "1"]
    command += ["--repeats", "10000", "--threads", "1", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)

    def processes() -> list[psutil.Process]:
        members = []
        for other in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it may end while it is asked
                if other.status() != psutil.STATUS_ZOMBIE and os.getsid(other.pid) == process.pid:
                    members.append(other)
        return members

    def measuring() -> bool:
        return any(p.cpu_times().user > 1 and p.ppid() != process.pid and p.pid != process.pid for p in processes())

    try:
        while not measuring():
            assert process.poll() is None
            time.sleep(0.3)
        process.send_signal(number)
        assert process.wait(timeout=600) == (128 + number if number == signal.SIGTERM else -number)
        deadline = time.monotonic() + 300
        while processes() and time.monotonic() < deadline:
            time.sleep(0.3)
        assert not processes()
    finally:
        for left in processes():
            left.kill()


def test_a_signal_while_the_libraries_load_is_one_line() -> None:
    """Before the command line is imported, and with a closed terminal: no traceback, the signal's exit code."""
    for words in (["plan", "--tasks", "rte", "--seeds", "1"], ["run", *WORDS]):
        process = subprocess.Popen([sys.executable, "-m", "harness", *words], stderr=subprocess.PIPE, text=True)
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=600)
        assert process.returncode in (143, -signal.SIGTERM)  # the second where Python itself was not up yet
        assert "Traceback" not in said and len(said.splitlines()) <= 1


AMID_A_TEXT = """
import harness.cli.main
from harness.__main__ import main
harness.cli.main.main = lambda: exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
main()
"""


def test_ctrl_c_amid_code_from_a_text_has_the_exit_code_too(tmp_path: Path) -> None:
    """Dataclasses and named tuples are made so, while libraries load."""
    (tmp_path / "amid.py").write_text(AMID_A_TEXT)
    words = [sys.executable, "-m", "amid"]  # as the harness is started: the status of -c is Python's own affair
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "")


def test_an_ignored_signal_stays_ignored_and_a_raised_one_is_remembered() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    with catch_signals() as signals:
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert signals.number == signal.SIGTERM and signals.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_amid_a_step_that_fails_is_not_lost() -> None:
    with catch_signals(), pytest.raises(KeyboardInterrupt), defer_interrupts(lambda: False):
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("out of memory")


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "harness", "run", *WORDS, "--out", str(tmp_path), "--threads", "1"]
    slow = [*command, "--max-steps", "100000", "--epochs", "100000"]
    often = os.environ | {"LORASP_HARNESS_CHECKPOINT_SECONDS": "0"}
    process = subprocess.Popen(slow, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=often)
    while not list(tmp_path.glob("checkpoints/*.pt")):  # it trains
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130 and "the same command runs the rest" in said and "Traceback" not in said
    statuses = [json.loads(p.read_text())["status"] for p in (tmp_path / "cells").glob("*.json")]
    assert Counter(statuses) == {"cancelled": 2} and len(list((tmp_path / "checkpoints").iterdir())) == 1
    done = subprocess.run([*command, "--max-steps", "2", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["ok"] == 4
    assert done.stderr.count("its pack has cells that are not in this run; ignored") == 1  # other steps, other cells


def test_ctrl_c_amid_an_update_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an update is no place to go on from; the checkpoint is that of the whole step."""
    asked = planned("lora", (12, 12))
    sitting(tmp_path / "straight", asked, Seen())
    whole = ReplicaOptimizer.update
    for presses, kept in ((2, []), (1, [5])):

        def interrupted(self: ReplicaOptimizer, presses: int = presses) -> torch.Tensor:
            for _ in range(presses if self.steps == 4 else 0):
                signal.raise_signal(signal.SIGINT)
            return whole(self)

        with monkeypatch.context() as patch:
            patch.setattr(ReplicaOptimizer, "update", interrupted)
            with pytest.raises(KeyboardInterrupt):
                sitting(tmp_path / "stopped", asked, Seen())
        assert [torch.load(p)["step"] for p in tmp_path.glob("stopped/checkpoints/*.pt")] == kept
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "resumes from step 5" in sitting(tmp_path / "stopped", asked, Seen())
    assert_same_bits(tmp_path / "straight", tmp_path / "stopped", asked[0])


@pytest.mark.parametrize("place", ["before", "amid"])
def test_ctrl_c_while_a_point_of_the_curve_is_noted_loses_none(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on a GPU waits there, so it is where Ctrl-C finds it."""
    asked = planned("lora", (60, 60))  # a point each three steps
    sitting(tmp_path / "straight", asked, Seen())
    whole, finite = Trainer._record_curve, train.math.isfinite
    presses = []

    def press(step: int) -> None:
        if step == 6 and not presses:
            presses.append(step)
            signal.raise_signal(signal.SIGINT)

    def noted(self: Trainer, step: int) -> list[float]:
        if place == "before":
            press(step)
        else:
            amid = SimpleNamespace(isfinite=lambda mean: (press(step), finite(mean))[1])
            monkeypatch.setattr(train, "math", amid)
        return whole(self, step)

    monkeypatch.setattr(Trainer, "_record_curve", noted)
    with pytest.raises(KeyboardInterrupt):
        sitting(tmp_path / "stopped", asked, Seen())
    assert "resumes from step 6" in sitting(tmp_path / "stopped", asked, Seen())
    assert_same_bits(tmp_path / "straight", tmp_path / "stopped", asked[0])


def test_ctrl_c_between_steps_is_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), defer_interrupts(lambda: True):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")


def test_a_handler_that_is_not_pythons_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with defer_interrupts(lambda: True) as check:
            signal.raise_signal(signal.SIGINT)
            check()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_the_first_signal_waits_for_the_end_of_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a C++ library's initialization, which an exception would abort."""
    (tmp_path / "slow_module.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.3)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with catch_signals() as signals, pytest.raises(KeyboardInterrupt):
        import slow_module  # type: ignore[import-not-found]

        assert slow_module.whole and signals.number == signal.SIGTERM
        time.sleep(5)
    assert signals.exit_code == 143


def test_the_first_signal_waits_for_the_end_of_an_object() -> None:
    """Python prints what `__del__` raises and goes on: the signal would be lost."""

    class Ends:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("ended")

    done: list[str] = []
    with catch_signals() as signals, pytest.raises(KeyboardInterrupt):
        Ends()
        time.sleep(60)
    assert done == ["ended"] and signals.exit_code == 143


def test_a_signal_that_a_callback_swallows_comes_again() -> None:
    """Python prints what the callback of a weak reference raises and goes on."""
    done: list[str] = []

    def callback(reference: object) -> None:
        done.append("called")
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("never")  # the exception is raised before this

    class Plain:
        pass

    with catch_signals() as signals, pytest.raises(KeyboardInterrupt):
        thing = Plain()
        reference = weakref.ref(thing, callback)
        del thing
        time.sleep(60)
    assert done[0] == "called" and reference() is None and signals.exit_code == 143


def test_a_second_signal_does_not_wait_for_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slower_module.py").write_text(
        "import os, signal, time\nfor _ in range(2):\n    os.kill(os.getpid(), signal.SIGTERM)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with catch_signals(), pytest.raises(KeyboardInterrupt):
        import slower_module  # type: ignore[import-not-found] # noqa: F401

        pytest.fail("imported")
    time.sleep(4 * RETRY_SECONDS)  # no signal comes after: it would end this process
