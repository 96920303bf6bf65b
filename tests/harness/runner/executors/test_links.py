"""What the process imports from which workers are forked."""

from __future__ import annotations

import subprocess
import sys

import pytest

SOURCE = """
import importlib, sys
import torch

calls = []
for name in ("is_available", "device_count", "init", "_lazy_init", "get_device_properties", "get_device_capability"):
    setattr(torch.cuda, name, lambda *args, name=name, **kwargs: calls.append(name))
from harness.runner.executors.links import list_server_modules

for name in list_server_modules():
    importlib.import_module(name)
print(calls, "bitsandbytes" in sys.modules)
"""


@pytest.mark.slow
def test_no_import_of_the_fork_server_opens_a_gpu() -> None:
    """A process whose parent has opened a GPU cannot use it."""
    done = subprocess.run([sys.executable, "-c", SOURCE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] False"
