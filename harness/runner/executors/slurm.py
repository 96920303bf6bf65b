"""The executor `slurm`: packs train as jobs of a Slurm cluster, also while the run is not there.

jobs ──> arrays by submitit ──> JobReport on the shared folder ──> PackOutcome
 ^                               the job ended without one: 1st time ─┐
 └── the pack again, from its last checkpoint <───────────────────────┘
                                 2nd time ──────────────────────────> PackOutcome with a failure

The run only submits and collects. It may end at any time: the jobs continue, and the same command collects what they
have left and waits for the others (slurm_files.py).
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.executor import EXECUTORS
from harness.core.interrupt import defer_interrupts
from harness.core.process import count_cpus
from harness.core.provenance import cuda_is_available, describe_environment
from harness.core.registry import get_plugin_digests
from harness.core.slurm_options import SlurmOptions, parse_slurm
from harness.runner.executors.base import ExecutorSetup, Machine
from harness.runner.executors.slurm_cluster import check_cluster, open_cluster
from harness.runner.executors.slurm_files import JobFiles, PackHeader
from harness.runner.executors.slurm_queue import PackQueue
from harness.runner.executors.slurm_task import get_versions
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.core.listener import Listener

UNLIMITED = 2**62
"""Free bytes of a device that nobody has seen yet: packs have their largest size and are split on out of memory."""


@EXECUTORS.register("slurm")
class SlurmExecutor:
    """Trains packs as Slurm jobs. Raises UserError for options that cannot be and for a missing submitit or sbatch."""

    def __init__(self, setup: ExecutorSetup) -> None:
        if setup.devices is not None:
            raise UserError("--devices names devices of this machine; with --executor slurm give gpus= in --slurm")
        self.options = parse_slurm(setup.slurm or "")
        self.gpus = _choose_gpus(self.options, setup.device)
        check_cluster(self.options)
        # jobs need not start in this directory
        plugins = tuple(path.absolute() for path in setup.plugins)
        self._digests = {path.absolute(): digest for path, digest in get_plugin_digests(setup.plugins).items()}
        cache = None if setup.cache is None else setup.cache.absolute()
        self.setup = dataclasses.replace(setup, device=self.device, plugins=plugins, cache=cache)

    @property
    def device(self) -> str:
        return "cpu" if self.gpus == "0" else "cuda"

    @property
    def workers(self) -> int:
        return self.options.parallel

    def describe(self) -> Machine:
        """The machine of an earlier job of this run, else this one with the device of the jobs.

        Records have the machine of their own job.
        """
        seen = None
        if self.setup.out is not None:
            seen = JobFiles(self.setup.out / "slurm").read_machine(self.setup.slurm or "")
        memory = self.options.memory or (self.options.mem if self.device == "cpu" else None)
        threads = self.setup.threads or self.options.cpus or count_cpus()
        environment = describe_environment(self.device, threads) if seen is None else seen.environment
        return Machine(environment, memory or (UNLIMITED if seen is None else seen.free_memory))

    def run(self, jobs: deque[PackJob], checkpoints: Checkpoints, listener: Listener) -> Iterator[PackOutcome]:
        """See Executor; an interrupt leaves the jobs, so that no outcome says so."""
        files = JobFiles(checkpoints.folder.parent / "slurm")
        files.prepare()
        header = PackHeader(
            self.setup, checkpoints.folder.absolute(), checkpoints.made_by, get_versions(), self._digests
        )
        queue = PackQueue(files, open_cluster(self.options, self.gpus, files.jobs), header, listener)
        with defer_interrupts(lambda: queue.is_waiting) as raise_interrupt:
            try:
                queue.adopt(jobs)
                while jobs or queue.submitted:
                    raise_interrupt()
                    queue.submit(jobs)
                    yield from queue.collect()
                    yield from queue.recover(jobs)
                    queue.announce()
                    if queue.submitted and not jobs:
                        queue.wait()
            except (KeyboardInterrupt, GeneratorExit):  # the second if the caller has reached a limit of the run
                queue.say_goodbye()
                raise
        queue.finish()

    def close(self) -> None:
        """Nothing: the jobs outlive the run."""


def _choose_gpus(options: SlurmOptions, device: str) -> str:
    """'0', '1' or 'TYPE:1' for a value of --device. Raises UserError if --slurm contradicts it."""
    asked = options.gpus or ("1" if "gpu" in options.flags.get("gres", "") else None)
    if asked is None:
        has_gpu = device == "cuda" or (device == "auto" and (options.cluster == "slurm" or cuda_is_available()))
        return "1" if has_gpu else "0"
    if (device == "cuda" and asked == "0") or (device == "cpu" and asked != "0"):
        raise UserError(f"--slurm gpus={asked}, but --device is {device}; leave one of them out")
    return asked
