"""Pickles of jobs for other processes, and the check that plugins there are those of the run.

A plugin may define its classes in a function or a loop, where pickle cannot name them, so a registered class travels
as its name. The other process must have registered the same thing under that name: keys of cells have the sha256 of
the plugins' sources, which `check_plugins` compares with the sources that were loaded there.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.learning_rate import SCHEDULES
from harness.core.method import METHODS, METRICS, STRATEGIES, SUITES
from harness.core.optimizer import OPTIMIZERS
from harness.core.quantization import build_quantization_part
from harness.core.registry import Registry

if TYPE_CHECKING:
    from harness.training.pack_job import PackJob

CLASSES: Mapping[str, Registry[Any]] = {"method": METHODS, "suite": SUITES}
"""Where classes of jobs are registered."""
SOURCES: tuple[Registry[Any], ...] = (*CLASSES.values(), METRICS, STRATEGIES, SCHEDULES, OPTIMIZERS)
"""Registries whose things are named in the keys of cells."""


class RegisteredClassPickler(pickle.Pickler):
    """Pickles registered classes by their names. Subclasses name the objects that jobs share."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type):
            for kind, registry in CLASSES.items():
                for name, item in registry:
                    if item is value:
                        return _find_class, (kind, name)
        return NotImplemented


def _find_class(kind: str, name: str) -> Any:
    return CLASSES[kind].get(name)


@contextlib.contextmanager
def explain_pickle_errors(job: PackJob) -> Iterator[None]:
    """A context that pickles a job. Raises UserError for an object of a plugin that cannot be sent."""
    try:
        yield
    except (pickle.PicklingError, TypeError, AttributeError) as error:  # pickle raises all three
        task = job.pack.first.cell.task
        raise UserError(
            f"{task}: its suite or a method cannot be sent to a worker process: {error}; define what it holds at the"
            " top of the plugin file, or train in one process (--executor local, without --devices)"
        ) from error


def check_plugins(job: PackJob) -> None:
    """Raise UserError if a plugin that this process has loaded is not the one that the keys of the cells name.

    It may be an installed package that differs on a node, or was upgraded after the run had started.
    """
    sources = {f"{registry.kind} {name}": digest for registry in SOURCES for name, digest in registry.sources.items()}
    for planned in job.pack.members:
        for part, digest in (sources | build_quantization_part(planned.cell.quantize)).items():
            if planned.cell.parts.get(part, digest) != digest:
                raise UserError(
                    f"{part} has another source here than where the run started; install the same version of its "
                    "plugin, or give the same command again if the plugin was changed"
                )
