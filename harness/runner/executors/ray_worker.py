"""What runs on the nodes of a Ray cluster: tasks that train packs.

    run (ray.py)                            task on a node (one per pack)
     │  job, Parcels by reference ─────────▶  LocalExecutor on the task's resources
     │  ◀───────── Mailbox (actor, beside the run) ◀──── Event, Begun, checkpoints
     │  ◀──────────────────── result: Trained or Refused

Ray keeps the processes of finished tasks, so torch and the tokenized rows of a task stay loaded between packs.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pickle
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.core.errors import UserError
from harness.core.interrupt import catch_signals
from harness.core.provenance import describe_environment, get_utc_time
from harness.runner.executors.base import ExecutorSetup, Machine
from harness.runner.executors.in_process import LocalExecutor
from harness.runner.executors.job_pickle import check_plugins
from harness.runner.executors.ray_parcels import ParcelUnpickler, get_node_ip, write_plugin
from harness.runner.executors.restarts import MAX_KILLS, build_kill_failure, describe_restart, describe_start
from harness.runner.executors.worker import Finished, ForwardingListener, Refused
from harness.training.checkpoint import Checkpoints, PackCheckpoint
from harness.training.pack_job import PackJob

if TYPE_CHECKING:
    from harness.core.record import Environment

STEP_SECONDS = 2.0
"""Least time between two progress messages: each goes through three processes."""
COMPARED = ("python", "torch", "transformers", "harness")
"""Fields of Environment that must be equal where the run and its workers are."""


@dataclasses.dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs before its first job.

    `plugins` are names and contents of plugin files; `variables` are environment variables; `environment` is that of
    the driver, for its versions.
    """

    setup: ExecutorSetup
    plugins: tuple[tuple[str, bytes], ...]
    variables: Mapping[str, str]
    environment: Environment


@dataclasses.dataclass(frozen=True)
class Begun:
    """A task has begun on the worker that listeners know by this label."""

    label: str


@dataclasses.dataclass(frozen=True)
class Trained(Finished):
    """The outcome of a task; `restarted`: its checkpoint was of another kind of machine, so it was not used."""

    environment: Environment | None = None
    label: str = ""
    restarted: bool = False


class _Channel:
    """Stands for the connection of a ForwardingListener: sends what it gets to the Mailbox."""

    def __init__(self, mailbox: Any, name: str) -> None:
        self.mailbox, self.name = mailbox, name

    def send_bytes(self, message: bytes) -> None:
        self.mailbox.post.remote(self.name, message)


class SentCheckpoints(Checkpoints):
    """Writes checkpoints as files in a temporary folder and sends each to the Mailbox."""

    def __init__(self, folder: Path, made_by: Mapping[str, Any], channel: _Channel, listener: ForwardingListener):
        super().__init__(folder, made_by, listener.note)
        self.channel = channel

    def write(self, checkpoint: PackCheckpoint) -> None:
        """Send the pack's checkpoint; it is beside the run when this returns."""
        import ray

        super().write(checkpoint)
        path = self.path(checkpoint.slot_keys)
        if path.exists():
            content = path.read_bytes()
            path.unlink()
            ray.get(self.channel.mailbox.save.remote(self.channel.name, path.name, content))


@dataclasses.dataclass
class Node:
    """This process: its executor, machine and the GPUs that it uses."""

    executor: LocalExecutor
    machine: Machine
    gpus: str | None


@functools.lru_cache(maxsize=1)
def prepare(reference: Any) -> Node:
    """Load plugins and torch, once per process. Raises UserError where the versions differ from the driver's."""
    import ray

    from harness.core.cache_folder import cache_folder
    from harness.core.process import wait_passively
    from harness.core.registry import load_same

    wait_passively()
    setup: WorkerSetup = ray.get(reference)
    os.environ.update(setup.variables)
    # before torch is imported: another version may not even load
    check_versions(describe_environment("cpu", setup.environment.threads), setup.environment, get_node_ip())
    executor = LocalExecutor(dataclasses.replace(setup.setup, cache=setup.setup.cache and cache_folder()))
    machine = executor.describe()
    digests = dict(write_plugin(*plugin) for plugin in setup.plugins)
    load_same(list(digests), digests)
    return Node(executor, machine, os.environ.get("CUDA_VISIBLE_DEVICES"))


def check_versions(here: Environment, there: Environment, node: str) -> None:
    """Raise UserError if the node has other versions than the machine of the run."""
    for field in COMPARED:
        own, wanted = getattr(here, field), getattr(there, field)
        # the build of torch may differ (+cpu, +cu128): a node for the run alone needs no GPU
        if own and wanted and own.partition("+")[0] != wanted.partition("+")[0]:
            raise UserError(f"node {node} has {field} {own}, this machine {wanted}; install the same versions on both")


def probe_node(setup: tuple[Any]) -> bytes:
    """A pickled Machine or Refused: what this process is, after it has loaded torch and the plugins."""
    try:
        return pickle.dumps(prepare(*setup).machine)
    except UserError as error:
        return pickle.dumps(Refused(str(error)))


def train_job(name: str, packed: bytes, parcels: Mapping[str, Any], setup: tuple[Any], mailbox: Any) -> bytes:
    """A pickled Trained or Refused. Ray calls this in a worker process, again if that or its node is lost."""
    _leave_other_gpu(*setup)
    with catch_signals():
        try:
            return pickle.dumps(_train(name, packed, parcels, *setup, mailbox), protocol=pickle.HIGHEST_PROTOCOL)
        except UserError as error:
            return pickle.dumps(Refused(str(error)))
        except ImportError as error:  # a module of an installed plugin
            line = f"node {get_node_ip()}: {error}; install there what is installed here"
            return pickle.dumps(Refused(line))
        except KeyboardInterrupt:  # before the pack began
            return pickle.dumps(Trained(get_utc_time(), {}, None, None, True))


def _train(name: str, packed: bytes, parcels: Mapping[str, Any], reference: Any, mailbox: Any) -> Trained | Refused:
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    label = f"{get_node_ip()}:{os.getpid()}"
    # before torch loads, which may end the process
    begun = pickle.dumps(Begun(label))
    earlier_nodes, stored = ray.get(mailbox.begin.remote(name, node_id, begun))
    if _count_kills(earlier_nodes) >= MAX_KILLS:
        return Trained(get_utc_time(), {}, None, build_kill_failure("worker process"), False, label=label)
    node = prepare(reference)
    job: PackJob
    job, made_by = ParcelUnpickler(packed, parcels).load()
    check_plugins(job)
    own_made_by = made_by | node.machine.environment.model_dump()
    channel = _Channel(mailbox, name)
    listener = ForwardingListener(cast(Connection, channel), STEP_SECONDS)
    # other processors give other bits: the record would be of neither machine
    restarted = job.start is not None and own_made_by != made_by
    if restarted:
        job = dataclasses.replace(job, pack=job.own_pack, start=None)
    with tempfile.TemporaryDirectory(prefix="lorasp-") as folder:
        checkpoints = SentCheckpoints(Path(folder), own_made_by, channel, listener)
        start = None
        if stored is not None:
            (Path(folder) / stored[0]).write_bytes(stored[1])
            start = checkpoints.read(job.pack, job.slots)
        if earlier_nodes:
            listener.note(describe_restart(job, "its worker was lost", describe_start(start)))
        job = dataclasses.replace(job, start=start or job.start)
        outcome = next(node.executor.run(deque([job]), checkpoints, listener))
    fields = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(Finished)}
    return Trained(**fields, environment=node.machine.environment, label=label, restarted=restarted)


def _count_kills(earlier_nodes: list[str]) -> int:
    """Earlier starts that ended although their node lives: the pack may be the cause."""
    if not earlier_nodes:
        return 0
    import ray

    list_nodes: Any = ray.nodes  # without types
    alive = {node["NodeID"] for node in list_nodes() if node["Alive"]}
    return sum(node in alive for node in earlier_nodes)


def _leave_other_gpu(reference: Any) -> None:
    """End this process if Ray has given it another GPU than the one that torch already uses; Ray takes a new one."""
    torch = sys.modules.get("torch")
    if (
        torch is not None
        and torch.cuda.is_initialized()
        and prepare(reference).gpus != os.environ.get("CUDA_VISIBLE_DEVICES")
    ):
        os._exit(1)
