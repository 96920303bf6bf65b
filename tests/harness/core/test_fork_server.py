"""Children of a fork server: what they get, how they end, and that none outlives the server or the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import psutil
import pytest

from harness.core.fork_server import Child, ForkServer


@pytest.fixture
def server() -> Iterator[ForkServer]:
    server = ForkServer(["json"])
    yield server
    server.close()


def fork(server: ForkServer, function: str) -> tuple[Child, Connection]:
    ours, theirs = Pipe()
    child = server.fork(f"tests.harness.core.forked:{function}", theirs.fileno(), {"ONLY_HERE": "yes"})
    theirs.close()
    return child, ours


def test_a_child_has_the_modules_its_variables_and_the_other_end(server: ForkServer) -> None:
    child, connection = fork(server, "answer")
    pid, variable, has_module = connection.recv()
    assert server.find_pid(child.number) == pid and variable == "yes" and has_module
    assert "ONLY_HERE" not in os.environ
    assert child.wait(0) is None
    connection.send("end")
    assert child.wait(10) == 0


def test_the_end_of_a_child_has_its_reason(server: ForkServer) -> None:
    failed, _ = fork(server, "end_with_seven")
    missing, _ = fork(server, "no_such_function")
    killed, connection = fork(server, "answer")
    connection.recv()
    killed.kill()
    assert (failed.wait(10), missing.wait(10), killed.wait(10)) == (7, 1, -signal.SIGKILL)
    with pytest.raises(EOFError):
        connection.recv()  # nobody else holds the child's end
    killed.kill()  # its process id may belong to somebody else by now: nothing is sent


def test_a_stopped_child_is_killed(server: ForkServer) -> None:
    child, connection = fork(server, "answer")
    connection.recv()
    child.send_signal(signal.SIGSTOP)
    assert child.wait(0.2) is None
    child.kill()
    assert child.wait(10) == -signal.SIGKILL


def test_children_end_with_a_killed_server(server: ForkServer) -> None:
    child, connection = fork(server, "answer")
    pid, *_ = connection.recv()
    server.process.kill()
    assert child.wait(10) == -signal.SIGKILL and not server.is_alive()
    wait_for_end(pid)
    later, _ = fork(server, "answer")
    assert later.wait(1) == -signal.SIGKILL


def test_a_module_that_cannot_be_imported_ends_the_server_with_its_code() -> None:
    server = ForkServer(["no_such_module"])
    child, connection = fork(server, "answer")
    with pytest.raises(EOFError):
        connection.recv()
    assert child.wait(10) == 1
    server.close()


def test_all_end_with_a_killed_run() -> None:
    source = """
        from multiprocessing import Pipe
        from harness.core.fork_server import ForkServer
        server = ForkServer(["json"])
        connection, theirs = Pipe()
        server.fork("tests.harness.core.forked:answer", theirs.fileno(), {})
        print(server.process.pid, connection.recv()[0], flush=True)
        connection.recv()
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pids = [int(word) for word in run.stdout.readline().split()]
    assert len(pids) == 2
    run.kill()
    run.wait()
    for pid in pids:
        wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
