"""The executor `local`: in the run's process on one device, or one worker process per device if there are several."""

from __future__ import annotations

from harness.core.device import choose_worker_devices
from harness.core.executor import EXECUTORS
from harness.runner.executors.base import Executor, ExecutorSetup
from harness.runner.executors.in_process import LocalExecutor
from harness.runner.executors.pool import WorkerPool


@EXECUTORS.register("local")
def create_local_executor(setup: ExecutorSetup) -> Executor:
    """The executor for the devices of this machine. Raises UserError for a device that does not exist."""
    devices = choose_worker_devices(setup.devices, setup.device, setup.threads)
    return WorkerPool(devices, setup) if devices else LocalExecutor(setup)
