"""What fits into a device's memory: predictions kept by kind of step, and the replicas that a pack may hold."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.core.cell import STEP_GROUPS, Cell
from harness.core.errors import UserError, shorten
from harness.core.failure import summarize_error
from harness.core.method import Method
from harness.planning.fact_cache import fact_key, read_fact, write_fact
from harness.planning.packs import MAX_PACK_SIZE
from harness.profiling.prediction import Prediction, Step

if TYPE_CHECKING:
    from harness.planning.planned_cell import PlannedCell

PLANNED_SHARE = 0.9
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
    match = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z]*)\s*", text)
    size = int(float(match[1]) * UNITS.get(match[2].upper(), 0)) if match else 0
    if size < 1:
        raise UserError(f"--memory '{shorten(text)}': allowed: a number above 0 with a unit, e.g. 24GiB or 512MiB")
    return size


def get_free_memory(device: str) -> int:
    """Bytes that can still be taken: the GPU's free memory, or the machine's available memory."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return int(free) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    import psutil

    return int(psutil.virtual_memory().available)


class Capacity:
    """Predictions for planned cells on a device with `room` bytes; each kind of step is predicted once.

    `cache`: whether predictions are read from and written to the cache folder.
    """

    def __init__(self, device: str, room: int, *, cache: bool = True) -> None:
        self.device, self.room, self.cache = device, room, cache
        self._made: dict[tuple[str, int], Prediction | str] = {}
        self._dimensions: dict[tuple[str, int | None], Dimensions | None] = {}

    def step(self, planned: PlannedCell) -> Step:
        """The training step of a cell alone, all rows of the full length."""
        length = planned.cell.protocol.max_length
        return Step((planned.cell,), (planned.method,), planned.task, planned.source, length, self.device)

    def predicted(self, step: Step, k: int = 1) -> Prediction | str:
        """A step of k replicas; or, for a method that cannot be predicted, why. Beyond two it is on a line."""
        key = build_step_key(step), k
        if key not in self._made:
            predict_step = _predict_cached if self.cache else _predict_anew
            self._made[key] = self._extrapolate(step, k) if k > 2 else predict_step(step, k)
        return self._made[key]

    def _extrapolate(self, step: Step, k: int) -> Prediction | str:
        alone, two = self.predicted(step), self.predicted(step, 2)
        if isinstance(alone, str):
            return alone
        return two if isinstance(two, str) else alone.at(k, two)

    def most(self, cells: Sequence[PlannedCell]) -> int:
        """Replicas of such cells that fit together, MOST at most; unpredicted ones by the closed form."""
        limit = MAX_PACK_SIZE[self.device]
        # a prediction takes seconds, so the closed form with a margin decides where it suffices
        alike: dict[tuple[object, ...], PlannedCell] = {}
        for planned in cells:  # cells that differ in their seeds have these objects in common
            alike.setdefault((planned.cell.task, id(planned.method), id(planned.cell.protocol)), planned)
        steps = {build_step_key(step): step for step in map(self.step, alike.values())}
        if all(self._fits_surely(step, limit) for step in steps.values()):
            return limit
        return min(self.count_replicas(step, limit) for step in steps.values())

    def _fits_surely(self, step: Step, k: int) -> bool:
        """Whether the closed form lets so many replicas pass with a margin."""
        return step.methods[0].pack_key() is not None and (self._bound_replicas(step, BOUND_MARGIN) or 0) >= k

    def _bound_replicas(self, step: Step, margin: float) -> int | None:
        """Replicas by the closed form, which lies on a line; None where it knows no such backbone."""
        shape = self.dimensions(step)
        if shape is None:
            return None
        one = bound_of(shape, step, 1)
        each = bound_of(shape, step, 2) - one
        return max(0, 1 + int((self.room * PLANNED_SHARE / margin - one) // each))

    def dimensions(self, step: Step) -> Dimensions | None:
        """`dimensions` of a step's model, read from the cache folder where it was found before."""
        place = step.source.ref.content, step.task.outputs
        if place not in self._dimensions:
            key = fact_key("dimensions", {"model": [*place, step.source.shape]}) if self.cache else None
            stored = read_fact(key) if key else None
            sizes = read_dimensions(step) if stored is None else tuple(stored) or None
            if key and stored is None:
                write_fact(key, sizes or ())
            self._dimensions[place] = sizes
        return self._dimensions[place]

    def count_replicas(self, step: Step, limit: int) -> int:
        """Replicas of one step that fit together, 1 where none does."""
        room = int(self.room * PLANNED_SHARE)
        if step.methods[0].pack_key() is None:
            return 1
        alone, two = self.predicted(step), self.predicted(step, 2)
        if isinstance(alone, str) or isinstance(two, str):
            bound = self._bound_replicas(step, 1.0)
            return (
                min(limit, MAX_PACK_SIZE[self.device])
                if bound is None
                else max(1, min(limit, MAX_PACK_SIZE[self.device], bound))
            )
        if two.peak <= alone.peak:
            return min(limit, MAX_PACK_SIZE[self.device])
        return max(1, min(limit, 1 + (room - alone.peak) // (two.peak - alone.peak)))


def _predict_cached(step: Step, k: int) -> Prediction | str:
    """From the cache folder, or made and stored there."""
    from harness.profiling.prediction_cache import build_prediction_key, read_prediction, write_prediction

    key = build_prediction_key(step, k)
    if key and (stored := read_prediction(key)):
        return stored
    prediction = _predict_anew(step, k)
    if key and not isinstance(prediction, str):
        write_prediction(key, prediction)
    return prediction


def _predict_anew(step: Step, k: int) -> Prediction | str:
    from harness.profiling.predict import predict

    try:
        return predict(step.replicas(k))
    except UserError:
        raise
    except Exception as error:  # a method or a model may read numbers where fake tensors have none
        return f"it or its model reads numbers, and a plan has shapes only ({summarize_error(error)})"


def build_step_key(step: Step) -> str:
    """What a prediction depends on."""
    cell = step.cells[0]
    protocol = cell.protocol.select(*STEP_GROUPS)
    model = (step.source.ref.content, cell.dtype, cell.quantize, cell.recompute)
    return repr(
        (cell.method, sorted(cell.options.items()), model, protocol, step.length, step.task.kind, step.task.outputs)
    )


Dimensions = tuple[int, int, int, int]


def read_dimensions(step: Step) -> Dimensions | None:
    """Layers, hidden size, heads and vocabulary of the backbone; None for a configuration of other words."""
    from harness.models.load import load_config

    config: Any = load_config(step.source, step.task.outputs)
    found = [
        getattr(config, n, None) for n in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    ]
    layers, hidden, heads, words = found
    if any(not isinstance(number, int) for number in found):
        return None
    return layers, hidden, heads, words  # type: ignore[return-value]


def estimate_upper_bound(step: Step, k: int) -> float:
    """`bound_of` a step's model. Infinite for a configuration of other words."""
    shape = read_dimensions(step)
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
class Remedy:
    """A change that makes a step fit."""

    flags: str
    peak: int


def find_remedies(capacity: Capacity, planned: PlannedCell) -> list[Remedy]:
    """Single changes after which a cell that does not fit alone does; else the first of several together."""
    step, cell, method = capacity.step(planned), planned.cell, planned.method
    if isinstance(capacity.predicted(step), str):
        return []
    single_changes = [w for change in _list_changes(cell, method) if (w := _evaluate_changes(capacity, step, [change]))]
    if single_changes:
        return single_changes
    changes, combination = [], None
    for change in (c for c in _list_changes(cell, method) if c != ("recompute", "selective")):
        changes.append(change)
        combination = combination or (_evaluate_changes(capacity, step, changes) if len(changes) > 1 else None)
    return [combination] if combination else []


def _list_changes(cell: Cell, method: Method) -> list[tuple[str, Any]]:
    changes: list[tuple[str, Any]] = []
    if cell.recompute == "none":
        changes += [("recompute", "selective"), ("recompute", "full")]
    if method.quantizable and cell.quantize == "none":
        changes.append(("quantize", "nf4"))
    if cell.dtype == "fp32" and not method.trains_backbone:
        changes.append(("dtype", "bf16"))
    batch = cell.protocol.batch_size
    return changes + [("batch_size", size) for size in (batch // 2, batch // 4, 1) if 0 < size < batch]


def _evaluate_changes(capacity: Capacity, step: Step, changes: Sequence[tuple[str, Any]]) -> Remedy | None:
    """The way that these changes are together, where they make the step fit."""
    settings = dict(changes)
    cell = step.cells[0].model_copy(update={k: v for k, v in settings.items() if k != "batch_size"})
    size = settings.get("batch_size", cell.protocol.batch_size)
    cell = cell.model_copy(update={"protocol": cell.protocol.model_copy(update={"batch_size": size})})
    prediction = capacity.predicted(dataclasses.replace(step, cells=(cell,)))
    if isinstance(prediction, str) or prediction.peak > capacity.room * PLANNED_SHARE:
        return None
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    return Remedy(flags, prediction.peak)
