"""Decide what fits into a device's memory: the size of packs, and changes that make a large step fit.

The predicted peak of K replicas is a line in K, through the predictions of 1 and 2:

    peak(K) = peak(1) + (K - 1) * (peak(2) - peak(1)) <= PLANNED_SHARE * free memory
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ByteSize, Field, TypeAdapter, ValidationError

from harness.core.cell import Cell
from harness.core.errors import UserError, shorten
from harness.core.failure import summarize_error
from harness.core.garbage import import_uncollected
from harness.core.method import Method
from harness.core.protocol import STEP_GROUPS
from harness.planning.fact_cache import fact_key, read_fact, write_fact
from harness.planning.packs import MAX_PACK_SIZE
from harness.profiling.prediction import Prediction, Step

if TYPE_CHECKING:
    from harness.planning.planned_cell import PlannedCell
    from harness.profiling.by_blocks import BlockPredictor

PLANNED_SHARE = 0.9
"""Share of the free memory to plan for; the rest is for fragmentation and errors of the prediction."""
BOUND_MARGIN = 4.0
"""The closed form may be too low by this factor and still decide that a pack fits."""
MEMORY = TypeAdapter(Annotated[ByteSize, Field(ge=1, le=2**63)])


def parse_memory(text: str) -> int:
    """'24GiB' -> bytes; GB is 10^9. Raises UserError."""
    try:
        return int(MEMORY.validate_python(text))
    except ValidationError as error:
        allowed = "allowed: a number above 0 with a unit, e.g. 24GiB or 512MiB"
        raise UserError(f"--memory '{shorten(text)}': {allowed}") from error


def get_free_memory(device: str) -> int:
    """Free bytes: of the GPU, with what this process has reserved and does not use, or of the machine."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return int(free) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    import psutil

    return int(psutil.virtual_memory().available)


class Capacity:
    """Predictions of steps on a device with `room` free bytes; each kind of step is predicted once.

    With `cache` predictions are read from and written to the cache folder.
    """

    def __init__(self, device: str, room: int, *, cache: bool = True) -> None:
        self.device, self.room, self.cache = device, room, cache
        self._predictions: dict[tuple[str, int], Prediction | str] = {}
        self._dimensions: dict[tuple[str, int | None], Dimensions | None] = {}
        self._blocks: BlockPredictor | None = None

    def step(self, planned: PlannedCell) -> Step:
        """The training step of a cell alone, with all rows of the full length."""
        length = planned.cell.protocol.max_length
        return Step((planned.cell,), (planned.method,), planned.task, planned.source, length, self.device)

    def predicted(self, step: Step, k: int = 1) -> Prediction | str:
        """The prediction of a step with k replicas, or the reason why there is none; extrapolated beyond k = 2."""
        key = build_step_key(step), k
        if key not in self._predictions:
            predict_step = self._predict_cached if self.cache else self._predict_anew
            self._predictions[key] = self._extrapolate(step, k) if k > 2 else predict_step(step, k)
        return self._predictions[key]

    def _predict_cached(self, step: Step, k: int) -> Prediction | str:
        """The prediction from the cache folder, or a new one that is stored there."""
        from harness.profiling.prediction_cache import build_prediction_key, read_prediction, write_prediction

        key = build_prediction_key(step, k)
        if key and (stored := read_prediction(key)):
            return stored
        prediction = self._predict_anew(step, k)
        if key and not isinstance(prediction, str):
            write_prediction(key, prediction)
        return prediction

    def _predict_anew(self, step: Step, k: int) -> Prediction | str:
        import_uncollected(("transformers.modeling_utils", "harness.profiling.predict"))
        from harness.profiling.by_blocks import BlockPredictor
        from harness.profiling.predict import predict

        self._blocks = self._blocks or BlockPredictor()
        try:
            return predict(step.replicas(k), self._blocks)
        except UserError:
            raise
        except Exception as error:  # whatever a method or model raises that reads values of fake tensors
            return f"the method or its model reads tensor values, but a plan has shapes only ({summarize_error(error)})"

    def _extrapolate(self, step: Step, k: int) -> Prediction | str:
        alone, two = self.predicted(step), self.predicted(step, 2)
        if isinstance(alone, str):
            return alone
        return two if isinstance(two, str) else alone.at(k, two)

    def most(self, cells: Sequence[PlannedCell]) -> int:
        """The largest pack of these cells that fits, at most `MAX_PACK_SIZE`; by the closed form if not predicted."""
        limit = min(MAX_PACK_SIZE[self.device], len(cells))
        # a prediction takes seconds, so the closed form decides if it leaves a margin
        alike: dict[tuple[object, ...], PlannedCell] = {}
        for planned in cells:  # cells that differ in seeds share these objects
            alike.setdefault((planned.cell.task, id(planned.method), id(planned.cell.protocol)), planned)
        steps = {build_step_key(step): step for step in map(self.step, alike.values())}
        if all(self._fits_surely(step, limit) for step in steps.values()):
            return limit
        return min(self.count_replicas(step, limit) for step in steps.values())

    def _fits_surely(self, step: Step, k: int) -> bool:
        """Whether k replicas fit by the closed form, with the margin."""
        return step.methods[0].pack_key() is not None and (self._bound_replicas(step, BOUND_MARGIN) or 0) >= k

    def _bound_replicas(self, step: Step, margin: float) -> int | None:
        """Replicas that fit by the closed form, which is a line in K; None for an unknown kind of backbone."""
        shape = self.dimensions(step)
        if shape is None:
            return None
        one = estimate_upper_bound(shape, step, 1)
        each = estimate_upper_bound(shape, step, 2) - one
        return max(0, 1 + int((self.room * PLANNED_SHARE / margin - one) // each))

    def dimensions(self, step: Step) -> Dimensions | None:
        """`read_dimensions` of a step's model, through the cache folder."""
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
        """The largest K up to `limit` with a predicted peak that fits, at least 1."""
        room = int(self.room * PLANNED_SHARE)
        if limit == 1 or step.methods[0].pack_key() is None:
            return 1
        alone, two = self.predicted(step), self.predicted(step, 2)
        if isinstance(alone, str) or isinstance(two, str):
            bound = self._bound_replicas(step, 1.0)
            largest = min(limit, MAX_PACK_SIZE[self.device])
            return largest if bound is None else max(1, min(largest, bound))
        if two.peak <= alone.peak:  # replicas add nothing to the peak, and the line below would divide by zero
            return min(limit, MAX_PACK_SIZE[self.device])
        return max(1, min(limit, 1 + (room - alone.peak) // (two.peak - alone.peak)))


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
    """Layers, hidden size, heads and vocabulary of the backbone; None for a configuration with other names."""
    from harness.models.load import load_config

    config: Any = load_config(step.source, step.task.outputs)
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    sizes = tuple(getattr(config, name, None) for name in names)
    return sizes if all(isinstance(size, int) for size in sizes) else None  # type: ignore[return-value]


def estimate_upper_bound(shape: Dimensions, step: Step, k: int) -> float:
    """Bytes of a step of K replicas by a closed form, which shows without a prediction that a small model fits.

    It sums activations by arXiv 2205.05198, equation 1, at four bytes per number; the logits three times; and weight,
    gradient and both AdamW moments as if all of the backbone trained.
    """
    layers, hidden, heads, words = shape
    p = step.cells[0].protocol
    text = step.task.outputs is None  # the task writes texts, perhaps by an encoder-decoder: twice the layers
    length = step.length + (p.max_target_length if text else 0)
    rows = p.batch_size * k * length
    activations = 2 * layers * rows * (34 * hidden + 5 * heads * length) * (2 if text else 1)
    words_out = 12 * rows * words if text else 0
    return float(activations + words_out + 16 * (24 * layers * hidden**2 + words * hidden))


@dataclasses.dataclass(frozen=True)
class Remedy:
    """Flags that make a step fit, and its predicted peak in bytes with them."""

    flags: str
    peak: int


def find_remedies(capacity: Capacity, planned: PlannedCell) -> list[Remedy]:
    """Single changes that make a cell fit; if there are none, the first combination of changes that does."""
    step, cell, method = capacity.step(planned), planned.cell, planned.method
    if isinstance(capacity.predicted(step), str):
        return []
    single_changes = [w for change in _list_changes(cell, method) if (w := _evaluate_changes(capacity, step, [change]))]
    if single_changes:
        return single_changes
    changes: list[tuple[str, Any]] = []
    for change in _list_changes(cell, method):
        if change == ("recompute", "selective"):  # saves less than full recomputation, which excludes it
            continue
        changes.append(change)
        if len(changes) > 1 and (combination := _evaluate_changes(capacity, step, changes)):
            return [combination]
    return []


def _list_changes(cell: Cell, method: Method) -> list[tuple[str, Any]]:
    """Settings (name, value) that may lower the peak, in the order to try."""
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
    """The remedy of all changes together; None if the step still does not fit."""
    settings = dict(changes)  # of several batch sizes the last one counts
    cell = step.cells[0].model_copy(update={k: v for k, v in settings.items() if k != "batch_size"})
    size = settings.get("batch_size", cell.protocol.batch_size)
    cell = cell.model_copy(update={"protocol": cell.protocol.model_copy(update={"batch_size": size})})
    prediction = capacity.predicted(dataclasses.replace(step, cells=(cell,)))
    if isinstance(prediction, str) or prediction.peak > capacity.room * PLANNED_SHARE:
        return None
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    return Remedy(flags, prediction.peak)
