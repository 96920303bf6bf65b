"""The subjects of `bench step`: methods, strategies and packs on synthetic rows, each with its baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.bench.trainer_step import FULL, TrainerBaseline, build_peft_counterpart
from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.failure import is_out_of_memory
from harness.core.method import METHODS, Method
from harness.core.seeds import equal
from harness.core.spec import Spec
from harness.planning.grammar import parse_methods
from harness.planning.plan import make_plan
from harness.planning.preflight import drop_unfit_cells
from harness.profiling.clocks import time_block
from harness.profiling.request import ProfileRequest, load_alone, request_of, train_replicas
from harness.profiling.trace import trace

TASK = "rte"  # only the size of its head matters: the rows are synthetic
LORA = "lora"


@dataclasses.dataclass(frozen=True)
class Case:
    """A profile request with K replicas; cases with the same `baseline_label` are timed against one baseline."""

    question: ProfileRequest
    k: int
    packed: bool
    baseline_label: str


def build_cases(
    spec: Spec, strategies: Sequence[str], packs: Sequence[int], device: str
) -> tuple[list[Case], list[str]]:
    """LoRA, methods and strategies alone and packs of the first method that packs, sorted by baseline, with notes.

    A note names a method that does not fit the model. Raises UserError.
    """
    selected_methods = f",lorasp:select={'|'.join(strategies)}" if strategies else ""
    requests, notes = build_requests(
        spec.model_copy(update={"methods": f"{LORA},{spec.methods}{selected_methods}"}), device
    )
    if any((q.cell.dtype, q.cell.quantize, q.cell.recompute) != (spec.dtype[0], "none", "none") for q in requests):
        raise UserError("bench step compares at one precision: leave dtype, quantize and recompute out of --methods")
    step_cases = [Case(q, 1, False, _choose_baseline(q.cell, q.method)) for q in requests]
    if packs:
        packing = _find_packing_method(spec, requests)
        step_cases += [Case(packing, k, True, _choose_baseline(packing.cell, packing.method)) for k in packs]
    # cases of one baseline stay together, since one Trainer times all of them
    order = list(dict.fromkeys(c.baseline_label for c in step_cases))
    return sorted(step_cases, key=lambda c: order.index(c.baseline_label)), notes


def build_requests(spec: Spec, device: str) -> tuple[list[ProfileRequest], list[str]]:
    """A request for each method of a spec, and a note for each method that does not fit the model. Raises UserError."""
    # one task and one seed: neither changes the time or the memory of a step on synthetic rows
    plan = make_plan(spec.model_copy(update={"tasks": (TASK,), "seeds": "1"}))
    plan = drop_unfit_cells(plan, plan.cells)
    return [request_of(planned, device, spec.threads) for planned in plan.cells], list(plan.dropped)


def find_counterpart_on_cpu(question: ProfileRequest) -> TrainerBaseline:
    """The baseline of a method, built on the CPU so that no memory of the device is taken."""
    return CaseTimer(Case(dataclasses.replace(question, device="cpu"), 1, False, LORA), 2).build_counterpart()


def _find_packing_method(spec: Spec, requests: Sequence[ProfileRequest]) -> ProfileRequest:
    """The request of the first method of --methods that packs. Raises UserError if none does."""
    for call in parse_methods(spec.methods):
        for question in requests:
            if call.method.pack_key() and question.method == call.method:
                return question
    raise UserError(f"--methods {spec.methods}: none of them packs; name one that does, or give --packs ''")


def _choose_baseline(cell: Cell, method: Method) -> str:
    """The label of the cell whose counterpart is the baseline: its own if peft or Trainer has it, else LoRA's."""
    has_counterpart = method.name == FULL.name or (method.exports and method.family != METHODS.get(LORA).family)
    return cell.label if has_counterpart else LORA


class CaseTimer:
    """A case with its trainer: `seconds` per step, one for each round, and `flops` of a step.

    `fallback` says why its steps run without a CUDA graph.
    """

    def __init__(self, case: Case, steps: int) -> None:
        q = case.question
        self.name, self.k, self.packed, self.device = q.cell.label, case.k, case.packed, q.device
        self.method, self.model = q.method, load_alone(q)
        cells = [q.cell.model_copy(update={"seeds": equal(i)}) for i in range(case.k)]
        self.trainer = train_replicas(q, cells, self.model, steps)
        self.flops, self.seconds = 0, list[float]()  # filled by `warm_up` and `take`
        self.fallback: str | None = None

    def build_counterpart(self) -> TrainerBaseline:
        """The baseline that trains the same as this case."""
        if self.method.name == FULL.name:
            return FULL
        return build_peft_counterpart(self.method, self.trainer.attached, self.model)

    def warm_up(self, steps: int) -> None:
        """Count the FLOPs of the first step, then run the others, in which a GPU captures its graph."""
        self.flops = trace(self.trainer, self.device).flops
        self._time_steps(steps - 1)
        self.fallback = self.trainer.runner.fallback

    def take(self, block: int) -> None:
        """Time a block of steps."""
        self.seconds.append(self._time_steps(block) / block)

    def release(self) -> None:
        """Free all tensors on the device."""
        del self.trainer, self.model

    def _time_steps(self, count: int) -> float:
        with self.trainer.runner.stream():
            return time_block(self.trainer, count, self.device)


def prepare_timer(case: Case, steps: int, warmup: int, notes: list[str]) -> CaseTimer | None:
    """A timer after its warm-up, for `steps` steps in all; None and a note for a pack that does not fit."""
    try:
        timer = CaseTimer(case, steps)
        timer.warm_up(warmup)
    except Exception as error:
        # a large pack may not fit; a single method must
        if not (case.packed and is_out_of_memory(error)):
            raise
        notes.append(f"pack of {case.k}: out of memory")
        return None
    return timer
