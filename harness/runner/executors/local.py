"""The executor `local`: in the run's process on one device, or one worker process per device if there are several."""

from __future__ import annotations

from harness.core.device import choose_worker_devices
from harness.core.errors import UserError, shorten
from harness.core.executor import EXECUTORS
from harness.runner.executors.base import Executor, ExecutorSetup
from harness.runner.executors.in_process import LocalExecutor
from harness.runner.executors.pool import WorkerPool


@EXECUTORS.register("local")
def create_local_executor(setup: ExecutorSetup) -> Executor:
    """The executor for the devices of this machine. Raises UserError for a device that does not exist."""
    if setup.address is not None:
        raise UserError(f"--address {shorten(setup.address)}: --executor local trains here; give --executor ray too")
    devices = choose_worker_devices(setup.devices, setup.device, setup.threads)
    return WorkerPool(devices, setup) if devices else LocalExecutor(setup)
