"""What a run asks of Slurm: `--slurm partition=gpu,time=02:00:00,gpus=1,mem=32G`."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from harness.core.errors import UserError, build_unknown_error, shorten

SBATCH_FLAGS = ("partition", "account", "qos", "constraint", "reservation", "nodelist", "exclude", "gres")
"""Keys that sbatch gets as they are."""
CLUSTERS = ("slurm", "local")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
TIME = re.compile(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?")


@dataclasses.dataclass(frozen=True)
class SlurmOptions:
    """The resources of each job, and how many jobs run at a time.

    minutes    time limit of a job
    gpus       0, 1 or TYPE:1; None: by the run's --device
    cpus       CPUs per job; None: the partition's default
    mem        bytes of host memory per job; None: the partition's default
    memory     bytes of the device that a pack may fill; None: what an earlier job of the run had
    parallel   most jobs of an array at a time
    grace      seconds before the time limit at which a pack writes its checkpoint
    cluster    'slurm', or 'local': processes of this machine
    flags      other flags of sbatch
    """

    minutes: int = 60
    gpus: str | None = None
    cpus: int | None = None
    mem: int | None = None
    memory: int | None = None
    parallel: int = 8
    grace: int = 90
    cluster: str = "slurm"
    flags: Mapping[str, str] = dataclasses.field(default_factory=dict)


def parse_slurm(text: str) -> SlurmOptions:
    """The options of `KEY=VALUE,KEY=VALUE`. Raises UserError for an unknown key, a value out of range, a repetition."""
    fields: dict[str, Any] = {}
    flags: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value:
            raise UserError(f"--slurm '{shorten(part)}': allowed: KEY=VALUE,..., e.g. partition=gpu,time=02:00:00")
        if key not in PARSERS and key not in SBATCH_FLAGS:
            raise build_unknown_error("key of --slurm", key, [*PARSERS, *SBATCH_FLAGS])
        name = "minutes" if key == "time" else key
        if name in fields or key in flags:
            raise UserError(f"--slurm: '{key}' is given twice; keep one")
        if key in SBATCH_FLAGS:
            flags[key] = _parse_flag(key, value)
        else:
            fields[name] = PARSERS[key](key, value)
    if "gpus" in fields and "gres" in flags:
        raise UserError("--slurm: gpus and gres both ask for GPUs; keep one")
    options = SlurmOptions(**fields, flags=flags)
    if options.grace >= 60 * options.minutes:
        raise UserError(
            f"--slurm grace={options.grace}: allowed: fewer seconds than the time limit, {60 * options.minutes}"
        )
    return options


def parse_slurm_time(key: str, text: str) -> int:
    """Minutes, rounded up, of M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, the forms of Slurm. Raises UserError."""
    match = TIME.fullmatch(text)
    if match is None:
        raise _build_error(key, text, "minutes, or HH:MM:SS, or D-HH:MM:SS, e.g. 02:00:00")
    numbers = [int(number) for number in match.groups()[1:] if number is not None]
    if match[1] is not None:  # days before the hours
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        hours += 24 * int(match[1])
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    total = 60 * hours + minutes + math.ceil(seconds / 60)
    if not 1 <= total <= 10**6:
        raise _build_error(key, text, "at least 1 minute, e.g. 02:00:00")
    return total


def _parse_bytes(key: str, text: str) -> int:
    # Slurm's units are powers of 1024, without a unit MiB
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([KMGT]?)(?:iB)?", text)
    count = int(float(match[1]) * UNITS[match[2] or "M"]) if match else 0
    if not count:
        raise _build_error(key, text, "a number with a unit K, M, G or T (powers of 1024), e.g. 32G")
    return count


def _parse_count(low: int, high: int) -> Callable[[str, str], int]:
    def parse(key: str, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not low <= int(text) <= high:
            raise _build_error(key, text, f"a number from {low} to {high}")
        return int(text)

    return parse


def _parse_gpus(key: str, text: str) -> str:
    # a pack trains on one device: more GPUs would be idle
    if not re.fullmatch(r"0|1|[A-Za-z0-9_.-]{1,50}:1", text):
        raise _build_error(key, text, "0, 1 or TYPE:1, since a job trains on one GPU")
    return text


def _parse_cluster(key: str, text: str) -> str:
    if text not in CLUSTERS:
        raise _build_error(key, text, " or ".join(CLUSTERS))
    return text


def _parse_flag(key: str, text: str) -> str:
    if not text.isprintable():
        raise _build_error(key, ascii(text), "text without control characters")
    return text


def _build_error(key: str, text: str, allowed: str) -> UserError:
    return UserError(f"--slurm {key}={shorten(text)}: allowed: {allowed}")


PARSERS: Mapping[str, Callable[[str, str], Any]] = {
    "time": parse_slurm_time,
    "gpus": _parse_gpus,
    "cpus": _parse_count(1, 4096),
    "mem": _parse_bytes,
    "memory": _parse_bytes,
    "parallel": _parse_count(1, 10_000),
    "grace": _parse_count(1, 86_400),
    "cluster": _parse_cluster,
}
