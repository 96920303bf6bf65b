"""Which methods, model shapes, precisions and batch sizes fit into which GPU memory (command `fit`).

shapes x methods ──> one planned cell each ──> x precisions x checkpointing x lengths ──> peaks by batch size
peaks <= PLANNED_SHARE of a GPU's memory ──> the largest batch that fits
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import UserError, shorten
from harness.core.failure import summarize_error
from harness.core.quantization import QUANTIZATIONS
from harness.core.spec_reading import make_spec
from harness.models.shapes import SHAPE, get_shape
from harness.planning.plan import make_plan
from harness.planning.planned_cell import PlannedCell
from harness.profiling.batch_line import BatchPredictor, count_parameters
from harness.profiling.capacity import PLANNED_SHARE
from harness.profiling.prediction import Step

GIB = 2**30
TASK = "rte"
"""The task of the steps: a classification head, as small as any, on rows of the asked length."""
CHECKPOINTING = ("none", "selective", "full")
FLOATS = ("fp32", "bf16")
UNSUPPORTED = ("t5",)


@dataclasses.dataclass(frozen=True)
class FitRequest:
    """What to predict: every combination of these, and the memory of GPUs in GiB."""

    methods: str
    shapes: tuple[str, ...]
    precisions: tuple[str, ...]
    checkpointing: tuple[str, ...]
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    memory: tuple[int, ...]
    cache: bool = True

    def check(self) -> None:
        """Raise UserError for a name or a length that does not exist."""
        precisions = [*FLOATS, *(name for name, quantization in QUANTIZATIONS if not quantization.is_float)]
        for flag, names, allowed in (
            ("--precisions", self.precisions, precisions),
            ("--recompute", self.checkpointing, CHECKPOINTING),
        ):
            for name in names:
                if name not in allowed:
                    raise UserError(f"{flag} {shorten(name)}: allowed: {', '.join(allowed)}")
        for name in self.shapes:
            shape = get_shape(name)
            if shape.kind in UNSUPPORTED:
                raise UserError(f"--shapes {name}: an encoder-decoder; allowed: encoders and causal models; see plan")
            limit = shape.fields.get("max_position_embeddings", 512)
            limit -= 2 if shape.kind == "roberta" else 0
            if max(self.lengths) > limit:
                raise UserError(f"--lengths {max(self.lengths)}: {name} has {limit} positions; give {limit} at most")


@dataclasses.dataclass(frozen=True)
class FitRow:
    """One combination: `peaks` are predicted bytes by batch size; `note` says why there are none.

    `largest` is the largest batch size that fits by GiB of a GPU; None where none does.
    """

    method: str
    shape: str
    parameters: int
    precision: str
    checkpointing: str
    length: int
    peaks: dict[int, int]
    largest: dict[int, int | None]
    note: str = ""


def predict_fit(request: FitRequest, show: Callable[[str], None] = lambda _: None) -> list[FitRow]:
    """A row per combination that a method can train; `show` is told what is being predicted. Raises UserError."""
    request.check()
    predictor = BatchPredictor(cache=request.cache)
    rows = []
    for shape in request.shapes:
        cells = plan_cells(request, shape)
        parameters = count_parameters(cells[0].source, cells[0].task.outputs)
        for planned in cells:
            for precision, checkpointing, length in list_settings(request, planned):
                show(f"predicting {planned.cell.label} on {shape}, {precision}, checkpointing {checkpointing}")
                step = build_step(planned, precision, checkpointing, length)
                peaks, note = _predict_peaks(predictor, step, request.batches)
                largest = {size: find_largest(peaks, size * GIB) for size in request.memory}
                names = planned.cell.label, shape, parameters, precision, checkpointing, length
                rows.append(FitRow(*names, peaks, largest, note))
    return rows


def plan_cells(request: FitRequest, shape: str) -> tuple[PlannedCell, ...]:
    """One planned cell per method on a shape. Raises UserError as `run` does."""
    flags = {"tasks": (TASK,), "seeds": "1", "methods": request.methods, "model": (f"{SHAPE}{shape}",)}
    return tuple(make_plan(make_spec(flags)).cells)


def list_settings(request: FitRequest, planned: PlannedCell) -> Iterator[tuple[str, str, int]]:
    """(precision, checkpointing, length) of the combinations that a method can train.

    A method whose name fixes the quantization (qlora) has that one only.
    """
    fixed = planned.cell.quantize
    precisions: Sequence[str] = request.precisions if fixed == "none" else (fixed,)
    for precision in precisions:
        if precision not in FLOATS and not planned.method.quantizable:
            continue
        for checkpointing in request.checkpointing:
            for length in request.lengths:
                yield precision, checkpointing, length


def build_step(planned: PlannedCell, precision: str, checkpointing: str, length: int) -> Step:
    """The training step of a planned cell in other settings, on a GPU; beside quantized weights bf16 is computed."""
    is_float = precision in FLOATS
    settings: dict[str, Any] = {
        "dtype": precision if is_float else "bf16",
        "quantize": "none" if is_float else precision,
        "recompute": checkpointing,
        "protocol": planned.cell.protocol.model_copy(update={"max_length": length}),
    }
    cell = planned.cell.model_copy(update=settings)
    return Step((cell,), (planned.method,), planned.task, planned.source, length, "cuda")


def _predict_peaks(predictor: BatchPredictor, step: Step, batches: Sequence[int]) -> tuple[dict[int, int], str]:
    try:
        return predictor.predict_peaks(step, list(batches)), ""
    except UserError:
        raise
    except Exception as error:  # whatever a method raises that reads values of fake tensors
        return {}, f"not predicted: it reads tensor values ({summarize_error(error)})"


def find_largest(peaks: dict[int, int], memory: int) -> int | None:
    """The largest batch size that fits into the planned share of so many bytes; None if there is none."""
    return max((batch for batch, peak in peaks.items() if peak <= PLANNED_SHARE * memory), default=None)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A measured training step of results/predicted_vs_measured.tsv; sizes in bytes."""

    model: str
    method: str
    precision: str
    checkpointing: str
    batch: int
    length: int
    predicted: int
    measured: int

    @property
    def error(self) -> float:
        """Predicted divided by measured, minus 1."""
        return self.predicted / self.measured - 1


def load_measured() -> list[Measured]:
    """The measured steps; empty without the file."""
    spec = importlib.util.find_spec("results")
    places = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(places[0]) / "predicted_vs_measured.tsv" if places else Path()
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        lines = list(csv.DictReader(stream, delimiter="\t"))
    return [
        Measured(
            line["model"],
            line["method"],
            line["dtype"] if line["quantize"] == "none" else line["quantize"],
            line["recompute"],
            *(int(line[name]) for name in ("batch", "length", "predicted", "measured")),
        )
        for line in lines
    ]


def describe_accuracy(measured: Sequence[Measured]) -> str:
    """One sentence: what the figures are, and how far such predictions were from measured peaks."""
    rule = f"predictions, not measurements; a batch fits if its peak is at most {PLANNED_SHARE:.0%} of the GPU's memory"
    if not measured:
        return f"{rule}; no measured steps are stored to compare with"
    low, high = (pick(m.error for m in measured) for pick in (min, max))
    models = ", ".join(dict.fromkeys(m.model for m in measured))
    return (
        f"{rule}. Of {len(measured)} steps measured on a GPU ({models}), predictions were off by {low:+.1%} to"
        f" {high:+.1%}; larger models were not measured"
    )


def list_left_out(request: FitRequest, rows: Sequence[FitRow]) -> list[str]:
    """What the figures are of, and which combinations have none and why."""
    lengths = ", ".join(map(str, request.lengths))
    notes = [f"one step of {TASK} (a classification head) on rows of {lengths} tokens; AdamW, all rows of full length"]
    by_method: dict[str, set[str]] = {}
    for row in rows:
        by_method.setdefault(row.method, set()).add(row.precision)
    for method, precisions in by_method.items():
        if left_out := [name for name in request.precisions if name not in precisions]:
            notes.append(f"{method}: trains with {', '.join(sorted(precisions))}, not with {', '.join(left_out)}")
    notes += dict.fromkeys(f"{row.method}: {row.note}" for row in rows if row.note)
    return notes
