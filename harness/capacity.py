"""What fits into a device's memory: predictions kept by kind of step, and the replicas that a pack may hold."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.cell import Cell
from harness.contracts import Method
from harness.errors import UserError, shorten
from harness.fact_cache import fact_key, read_fact, write_fact
from harness.failure import one_line
from harness.packs import MOST
from harness.prediction import Prediction, Step

if TYPE_CHECKING:
    from harness.plan import Plan

USED_AT_MOST = 0.9
"""Share of the free memory that is planned for: the allocator's gaps and what the prediction misses take the rest."""
BOUND_MARGIN = 4.0
UNITS = {
    "": 1,
    "B": 1,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


def parse_memory(text: str) -> int:
    """'24GiB' -> bytes. Raises UserError."""
    found = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z]*)\s*", text)
    size = int(float(found[1]) * UNITS.get(found[2].upper(), 0)) if found else 0
    if size < 1:
        raise UserError(f"--memory '{shorten(text)}': allowed: a number above 0 with a unit, e.g. 24GiB or 512MiB")
    return size


def free_memory(device: str) -> int:
    """Bytes that can still be taken: the GPU's free memory, or the machine's available memory."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return int(free) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    import psutil

    return int(psutil.virtual_memory().available)


class Capacity:
    """Predictions for a plan's cells on a device with `room` bytes; each kind of step is predicted once.

    `cache`: whether predictions are read from and written to the cache folder.
    """

    def __init__(self, plan: Plan, device: str, room: int, *, cache: bool = True) -> None:
        self.plan, self.device, self.room, self.cache = plan, device, room, cache
        self._made: dict[tuple[str, int], Prediction | str] = {}
        self._dimensions: dict[tuple[str, int | None], Dimensions | None] = {}

    def step(self, cell: Cell) -> Step:
        """The training step of a cell alone, all rows of the full length."""
        task = self.plan.suites[cell.suite].tasks[cell.task]
        method, source = self.plan.methods[cell.key], self.plan.models[cell.suite]
        return Step((cell,), (method,), task, source, cell.protocol.max_length, self.device)

    def predicted(self, step: Step, k: int = 1) -> Prediction | str:
        """A step of k replicas; or, for a method that cannot be predicted, why. Beyond two it is on a line."""
        key = kind_of(step), k
        if key not in self._made:
            predict_step = _predicted if self.cache else _traced
            self._made[key] = self._on_line(step, k) if k > 2 else predict_step(step, k)
        return self._made[key]

    def _on_line(self, step: Step, k: int) -> Prediction | str:
        alone, two = self.predicted(step), self.predicted(step, 2)
        if isinstance(alone, str):
            return alone
        return two if isinstance(two, str) else alone.at(k, two)

    def most(self, cells: Sequence[Cell], limit: int | None = None) -> int:
        """Replicas of such cells that fit together, `limit` (MOST) at most; unpredicted ones by the closed form.

        Beyond MOST the closed form alone says how many, where it is enough for MOST: predictions take seconds.
        """
        limit = limit or MOST[self.device]
        steps = {kind_of(s): s for s in map(self.step, cells)}
        bounded = min((self.surely(s) for s in steps.values()), default=limit)
        if bounded >= min(limit, MOST[self.device]):
            return min(limit, bounded)
        return min(self.largest(s, limit) for s in steps.values())

    def surely(self, step: Step) -> int:
        """Replicas that the closed form lets pass with a margin."""
        return 0 if step.methods[0].packs_with() is None else self._bounded(step, BOUND_MARGIN) or 0

    def _bounded(self, step: Step, margin: float) -> int | None:
        """Replicas by the closed form, which lies on a line; None where it knows no such backbone."""
        shape = self.dimensions(step)
        if shape is None:
            return None
        one = bound_of(shape, step, 1)
        each = bound_of(shape, step, 2) - one
        return max(0, 1 + int((self.room * USED_AT_MOST / margin - one) // each))

    def dimensions(self, step: Step) -> Dimensions | None:
        """`dimensions` of a step's model, read from the cache folder where it was found before."""
        place = step.source.ref.content, step.task.outputs
        if place not in self._dimensions:
            key = fact_key("dimensions", {"model": [*place, step.source.shape]}) if self.cache else None
            stored = read_fact(key) if key else None
            found = dimensions(step) if stored is None else tuple(stored) or None
            if key and stored is None:
                write_fact(key, found or ())
            self._dimensions[place] = found
        return self._dimensions[place]

    def largest(self, step: Step, limit: int) -> int:
        """Replicas of one step that fit together, 1 where none does."""
        room = int(self.room * USED_AT_MOST)
        if step.methods[0].packs_with() is None:
            return 1
        alone, two = self.predicted(step), self.predicted(step, 2)
        if isinstance(alone, str) or isinstance(two, str):
            found = self._bounded(step, 1.0)
            return min(limit, MOST[self.device]) if found is None else max(1, min(limit, MOST[self.device], found))
        if two.peak <= alone.peak:
            return min(limit, MOST[self.device])
        return max(1, min(limit, 1 + (room - alone.peak) // (two.peak - alone.peak)))


def _predicted(step: Step, k: int) -> Prediction | str:
    """From the cache folder, or made and stored there."""
    from harness.prediction_cache import prediction_key, read_prediction, write_prediction

    key = prediction_key(step, k)
    if key and (stored := read_prediction(key)):
        return stored
    made = _traced(step, k)
    if key and not isinstance(made, str):
        write_prediction(key, made)
    return made


def _traced(step: Step, k: int) -> Prediction | str:
    from harness.predict import predict

    try:
        return predict(step.replicas(k))
    except UserError:
        raise
    except Exception as error:  # a method or a model may read numbers where fake tensors have none
        return f"it or its model reads numbers, and a plan has shapes only ({one_line(error)})"


def kind_of(step: Step) -> str:
    """What a prediction depends on."""
    cell, p = step.cells[0], step.cells[0].protocol
    lengths = (p.batch_size, step.length, p.max_target_length, p.shots)
    model = (step.source.ref.content, cell.dtype, cell.quantize, cell.recompute)
    return repr((cell.method, sorted(cell.options.items()), model, lengths, step.task.kind, step.task.outputs))


Dimensions = tuple[int, int, int, int]


def dimensions(step: Step) -> Dimensions | None:
    """Layers, hidden size, heads and vocabulary of the backbone; None for a configuration of other words."""
    from harness.models import config_for

    config: Any = config_for(step.source, step.task.outputs)
    found = [
        getattr(config, n, None) for n in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    ]
    layers, hidden, heads, words = found
    if any(not isinstance(number, int) for number in found):
        return None
    return layers, hidden, heads, words  # type: ignore[return-value]


def rough_bound(step: Step, k: int) -> float:
    """`bound_of` a step's model. Infinite for a configuration of other words."""
    shape = dimensions(step)
    return math.inf if shape is None else bound_of(shape, step, k)


def bound_of(shape: Dimensions, step: Step, k: int) -> float:
    """Bytes of K replicas by closed form, to see at once that a small model fits.

    Activations as arXiv 2205.05198 counts them (equation 1, at four bytes a number), the logits three times, and four
    numbers for each weight.
    """
    layers, hidden, heads, words = shape
    p = step.cells[0].protocol
    text = step.task.outputs is None
    length = step.length + (p.max_target_length if text else 0)
    rows = p.batch_size * k * length
    activations = 2 * layers * rows * (34 * hidden + 5 * heads * length) * (2 if text else 1)
    words_out = 12 * rows * words if text else 0
    return float(activations + words_out + 16 * (24 * layers * hidden**2 + words * hidden))


@dataclasses.dataclass(frozen=True)
class Way:
    """A change that makes a step fit."""

    flags: str
    peak: int


def ways_to_fit(capacity: Capacity, cell: Cell) -> list[Way]:
    """Single changes after which a cell that does not fit alone does; else the first of several together."""
    step, method = capacity.step(cell), capacity.plan.methods[cell.key]
    if isinstance(capacity.predicted(step), str):
        return []
    single = [w for change in _changes(cell, method) if (w := _way(capacity, step, [change]))]
    if single:
        return single
    changes, found = [], None
    for change in (c for c in _changes(cell, method) if c != ("recompute", "selective")):
        changes.append(change)
        found = found or (_way(capacity, step, changes) if len(changes) > 1 else None)
    return [found] if found else []


def _changes(cell: Cell, method: Method) -> list[tuple[str, Any]]:
    made: list[tuple[str, Any]] = []
    if cell.recompute == "none":
        made += [("recompute", "selective"), ("recompute", "full")]
    if method.quantizable and cell.quantize == "none":
        made.append(("quantize", "nf4"))
    if cell.dtype == "fp32" and not method.trains_backbone:
        made.append(("dtype", "bf16"))
    batch = cell.protocol.batch_size
    return made + [("batch_size", size) for size in (batch // 2, batch // 4, 1) if 0 < size < batch]


def _way(capacity: Capacity, step: Step, changes: Sequence[tuple[str, Any]]) -> Way | None:
    """The way that these changes are together, where they make the step fit."""
    asked = dict(changes)
    cell = step.cells[0].model_copy(update={k: v for k, v in asked.items() if k != "batch_size"})
    size = asked.get("batch_size", cell.protocol.batch_size)
    cell = cell.model_copy(update={"protocol": cell.protocol.model_copy(update={"batch_size": size})})
    made = capacity.predicted(dataclasses.replace(step, cells=(cell,)))
    if isinstance(made, str) or made.peak > capacity.room * USED_AT_MOST:
        return None
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in asked.items())
    return Way(flags, made.peak)
