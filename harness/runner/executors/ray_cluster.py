"""Connect to a Ray cluster, or start a Ray on this machine, and divide its nodes into slots for packs."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError, shorten
from harness.core.process import count_cpus, set_child_environment
from harness.core.provenance import get_version
from harness.core.text import format_bytes
from harness.profiling.capacity import Capacity, build_step_key, estimate_upper_bound

if TYPE_CHECKING:
    from harness.runner.executors.base import ExecutorSetup
    from harness.training.pack_job import PackJob

DIAL_SECONDS, CONNECT_SECONDS = 4, 30
"""Time that the host of a cluster and the cluster have to answer; ray.init itself would wait for minutes."""
TOKEN_HINT = "set RAY_AUTH_MODE=token, and put its token into ~/.ray/auth_token or RAY_AUTH_TOKEN"
MIN_STORE_BYTES = 128 * 2**20
MAX_STORE_BYTES = 2**30
"""Object store of a Ray that the run starts: it holds rows of tasks and results, while models are read from disk."""
PROCESS_BYTES = 768 * 2**20
"""Host memory of a process that has loaded torch and transformers, beside what a pack takes."""
MEMORY_STEP = 256 * 2**20
"""Declared memory of a pack that needs more than a slot's share is a multiple of this."""
START_TRIES = 3
OWN_SETTINGS = {
    # as the workers of --executor local: Ray's default, 15, lets any other process of a laptop come first
    "worker_niceness": "0",
    # else a Ray ends while it starts on a machine with much other work
    "agent_register_timeout_ms": "120000",
    # what Ray's own processes do all the time beside training: reports to a dashboard that is not there, and counters
    "task_events_report_interval_ms": "0",
    "enable_metrics_collection": "0",
    "event_stats": "0",
    "memory_monitor_refresh_ms": "1000",
    "raylet_report_resources_period_milliseconds": "1000",
}
"""Settings of a Ray that the run starts, unless the environment has others (RAY_NAME)."""
SHARED_MEMORY = Path("/dev/shm")


def require_ray(setup: ExecutorSetup) -> Any:
    """The module ray. Raises UserError if it is not installed, or for flags that do not go with it."""
    if setup.devices is not None:
        raise UserError(f"--devices {shorten(setup.devices)}: --executor ray uses what the cluster has; leave it out")
    if importlib.util.find_spec("ray") is None:
        raise UserError("--executor ray: Ray is not installed; do: pip install 'lorasp-harness[ray]'")
    # usage statistics go to a server of Ray's makers unless the user asks for it
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = importlib.import_module("ray")
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def connect(ray: Any, setup: ExecutorSetup) -> bool:
    """Join the cluster of --address or RAY_ADDRESS, or start a Ray here; returns whether this run started it.

    Raises UserError where no cluster answers. A Ray that the process has already joined is used as it is.
    """
    if ray.is_initialized():
        return False
    address = setup.address or os.environ.get("RAY_ADDRESS") or "local"
    quiet = {"logging_level": "ERROR", "log_to_driver": False, "configure_logging": False}
    try:
        if address != "local":
            _check_answers(address)
            ray.init(address=address, **quiet)
            return False
        room = _check_shared_memory()
        for name, value in OWN_SETTINGS.items():
            os.environ.setdefault(f"RAY_{name}", value)
        options = {"object_store_memory": min(MAX_STORE_BYTES, int(room * 0.8)), "include_dashboard": False, **quiet}
        if setup.device == "cpu":
            options["num_gpus"] = 0
        _start(ray, options)
        return True
    except Exception as error:  # Ray raises a plain Exception where its processes do not start
        if isinstance(error, UserError):
            raise
        what = "no Ray starts on this machine" if address == "local" else f"--address {shorten(address)}"
        versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error))
        if len(versions) == 2:
            theirs, ours = (f"Ray {version} with Python {python}" for version, python in versions)
            raise _build_mismatch(address, theirs, ours) from error
        raise UserError(f"{what}: {_summarize(error)}; --executor local needs no Ray") from error


def _start(ray: Any, options: Mapping[str, Any]) -> None:
    """Start a Ray on this machine. Raises what Ray raises."""
    # its workers import this harness, also from a checkout
    with set_child_environment():
        for tries_left in reversed(range(START_TRIES)):
            try:
                ray.init(address="local", num_cpus=count_cpus(), **options)
                return
            except Exception as error:
                # Ray gives its processes 30 s, which is too little on a machine with much other work
                if "timed out" not in str(error) or not tries_left:
                    raise
                ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise UserError if no cluster answers at an address; what waits too long runs in another process."""
    allowed = "give HOST:PORT of the cluster's head, or auto on one of its nodes"
    if address != "auto" and not re.fullmatch(r"\[?[\w.:-]+\]?:[0-9]{1,5}", address):
        raise UserError(f"--address {shorten(address)}: {allowed} (ray:// is not supported: run on a node)")
    nobody = UserError(f"--address {address}: no Ray cluster answers; {allowed}")
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=DIAL_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise nobody from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CONNECT_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise nobody from error
    if done.returncode and "AuthenticationError" in done.stderr:
        if address == "auto":  # ray.init uses the token of this machine; the health check does not
            return
        # Ray sends a token to a cluster that is named only if the user asks for it
        raise UserError(f"--address {address}: the cluster asks for a token; {TOKEN_HINT}")
    if done.returncode:
        mismatch = re.search(r"cluster has Ray version (\S+)", done.stderr)
        if mismatch:
            raise _build_mismatch(address, f"Ray {mismatch[1]}", f"Ray {get_version('ray')}")
        raise nobody


def _build_mismatch(address: str, theirs: str, ours: str) -> UserError:
    return UserError(f"--address {address}: the cluster has {theirs}, this machine {ours}; install the same versions")


def _check_shared_memory() -> int:
    """Free bytes in /dev/shm. Raises UserError where Ray's object store has no room."""
    if not SHARED_MEMORY.is_dir():  # macOS: Ray uses a file
        return MAX_STORE_BYTES
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < MIN_STORE_BYTES:
        raise UserError(
            f"--executor ray: {SHARED_MEMORY} has {format_bytes(free)} free, Ray's object store needs "
            f"{format_bytes(MIN_STORE_BYTES)}; give a container --shm-size=1g, or use --executor local"
        )
    return free


def _summarize(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def describe_error(error: Exception) -> UserError:
    """The error that ends the run after one of Ray; packs that trained resume from their checkpoints."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).strip().splitlines() if line.strip()]
    # Ray raises a RuntimeError with the traceback if a worker cannot import the function of a task
    if isinstance(cause, ImportError) or (lines and re.match(r"(ModuleNotFound|Import)Error: ", lines[-1])):
        return UserError(f"a node of the Ray cluster cannot load the harness ({lines[-1]}); install it there")
    reason = f"{type(cause).__name__}: {shorten(lines[0]) if lines else ''}"
    return UserError(f"--executor ray: {reason}; finished cells are stored, the same command resumes")


# ---------------------------------------------------------------- slots


@dataclasses.dataclass(frozen=True)
class Slots:
    """Places where a pack can train: node id -> how many at a time.

    `most_memory` is that of the largest node, `memory` the share of a slot on the node that has least per slot; bytes.
    """

    device: str
    threads: int
    nodes: Mapping[str, int]
    most_memory: int
    memory: int

    @property
    def count(self) -> int:
        return max(1, sum(self.nodes.values()))

    @property
    def resources(self) -> dict[str, Any]:
        """What a task declares, beside its memory."""
        return {"num_cpus": self.threads, "num_gpus": 1 if self.device == "cuda" else 0}


def count_slots(ray: Any, setup: ExecutorSetup) -> Slots:
    """The slots of a cluster for --device and --threads.

    Raises UserError for a cluster that has no such node and starts none.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    gpus = sum(node["Resources"].get("GPU", 0) for node in alive)
    growth = _list_growth(ray)
    device = setup.device
    if device == "auto":
        device = "cuda" if gpus or growth.get("GPU") else "cpu"
    if device == "cuda" and not gpus and not growth.get("GPU"):
        raise UserError("--device cuda: the Ray cluster has no GPU; add a node with one, or use --device cpu")
    usable = [node for node in alive if node["Resources"].get("GPU" if device == "cuda" else "CPU")]
    threads = setup.threads or _choose_threads(usable, device)
    most_cpus = max((int(node["Resources"].get("CPU", 0)) for node in usable), default=0)
    if threads > most_cpus and not growth:
        raise UserError(f"--threads {threads}: the largest node of the Ray cluster has {most_cpus} CPUs; give fewer")
    slots: dict[str, int] = {}
    shares: list[int] = []
    for node in usable:
        most = int(node["Resources"].get("CPU", 0)) // threads
        if device == "cuda":
            most = min(most, int(node["Resources"]["GPU"]))
        if most:
            slots[node["NodeID"]] = most
            shares.append(int(node["Resources"].get("memory", 0)) // most)
    memory = max((int(node["Resources"].get("memory", 0)) for node in usable), default=0)
    return Slots(device, threads, slots, memory, min(shares, default=0))


def _choose_threads(nodes: Sequence[Mapping[str, Any]], device: str) -> int:
    """CPUs of a pack: those of the smallest node, divided among its GPUs."""
    shares = []
    for node in nodes:
        cpus = int(node["Resources"].get("CPU", 0))
        shares.append(cpus // max(1, int(node["Resources"]["GPU"])) if device == "cuda" else cpus)
    return max(1, min(shares, default=1))


def _list_growth(ray: Any) -> dict[str, Any]:
    """Resources that the cluster's autoscaler may add; empty without one."""
    try:
        from ray._private.state import state

        return dict(state.get_max_resources_from_cluster_config() or {})
    except (ImportError, AttributeError, RuntimeError):  # no public interface: another version may lack it
        return {}


class MemoryEstimates:
    """Host memory that packs declare, in bytes: on a CPU the share of a slot, or what they need if that is more.

    It is at most that of the largest node, so that Ray can place each. Packs that declare the same follow each other in
    one process; for another amount Ray may start a new one, which loads torch again.
    """

    def __init__(self, slots: Slots, *, cache: bool) -> None:
        self.slots = slots
        self._capacity = Capacity(slots.device, slots.most_memory, cache=cache)
        self._bytes: dict[tuple[str, int], int] = {}

    def estimate(self, job: PackJob) -> int:
        """The predicted peak of a job's pack and its process; on a GPU the model's files and the process."""
        members = len(job.pack.members)
        key = build_step_key(self._capacity.step(job.pack.first)), members
        if key not in self._bytes:
            total = PROCESS_BYTES + self._predict(job, members)
            least = self.slots.memory if self.slots.device == "cpu" else 0
            rounded = max(least, -(-total // MEMORY_STEP) * MEMORY_STEP)
            self._bytes[key] = min(rounded, self.slots.most_memory) if self.slots.most_memory else rounded
        return self._bytes[key]

    def _predict(self, job: PackJob, members: int) -> int:
        first = job.pack.first
        if self.slots.device == "cuda":
            # the GPU holds the pack; its share is decided by the size of packs, and a pack has a GPU for itself
            return sum(file.stat().st_size for file in first.source.path.glob("*.safetensors"))
        step = self._capacity.step(first)
        shape = self._capacity.dimensions(step)
        bound = None if shape is None else int(estimate_upper_bound(shape, step, members))
        # a prediction takes seconds: it is made only where the closed form would keep slots empty
        if bound is not None and bound + PROCESS_BYTES <= self.slots.memory:
            return bound
        predicted = self._capacity.predicted(step, members)
        return (bound or 0) if isinstance(predicted, str) else predicted.peak
