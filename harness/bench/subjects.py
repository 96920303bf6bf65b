"""What `bench step` times of ours: a method, a strategy or a pack on made-up rows, with the rival that it meets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.bench.usual import FULL, Usual, peft_counterpart
from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.failure import out_of_memory
from harness.core.method import METHODS, SUITES, Method
from harness.core.seeds import equal
from harness.core.spec import Spec
from harness.planning.grammar import parse_methods
from harness.planning.packs import Pack
from harness.planning.plan import make_plan
from harness.planning.preflight import fitting
from harness.profiling.clocks import block_seconds
from harness.profiling.request import Question, load_alone, pack_trainer
from harness.profiling.trace import trace

TASK = "rte"  # only the width of its head matters: the rows are made up
LORA = "lora"


@dataclasses.dataclass(frozen=True)
class Case:
    """A question with its number of replicas; those with the same `rival` are timed together."""

    question: Question
    k: int
    packed: bool
    rival: str


def cases(spec: Spec, strategies: Sequence[str], packs: Sequence[int], device: str) -> tuple[list[Case], list[str]]:
    """LoRA, the methods and strategies alone, then packs of the first method that packs; those of a rival together.

    With a line for each method that the model has no place for. Raises UserError.
    """
    chosen = f",lorasp:select={'|'.join(strategies)}" if strategies else ""
    asked, notes = asked_of(spec.model_copy(update={"methods": f"{LORA},{spec.methods}{chosen}"}), device)
    if any((q.cell.dtype, q.cell.quantize, q.cell.recompute) != (spec.dtype[0], "none", "none") for q in asked):
        raise UserError("bench step compares at one precision: leave dtype, quantize and recompute out of --methods")
    found = [Case(q, 1, False, _rival(q.cell, q.method)) for q in asked]
    if packs:
        packing = _packing(spec, asked)
        found += [Case(packing, k, True, _rival(packing.cell, packing.method)) for k in packs]
    order = list(dict.fromkeys(c.rival for c in found))
    return sorted(found, key=lambda c: order.index(c.rival)), notes


def asked_of(spec: Spec, device: str) -> tuple[list[Question], list[str]]:
    """Each method of a spec on made-up rows, with a line for each that does not fit the model. Raises UserError."""
    plan = make_plan(spec.model_copy(update={"tasks": (TASK,), "seeds": "1"}))
    plan = fitting(plan, plan.cells)
    made = []
    for cell in plan.cells:
        task, source = SUITES.get(cell.suite).tasks[TASK], plan.models[cell.suite]
        length = cell.protocol.max_length
        made.append(Question(cell.key, cell, plan.methods[cell.key], task, source, length, device, spec.threads))
    return made, list(plan.dropped)


def counterpart_on_cpu(question: Question) -> Usual:
    """What Trainer trains in a method's place, found without taking memory of the device."""
    return Subject(Case(dataclasses.replace(question, device="cpu"), 1, False, LORA), 2).counterpart()


def _packing(spec: Spec, asked: Sequence[Question]) -> Question:
    """Of the first method that packs."""
    for call in parse_methods(spec.methods):
        for question in asked:
            if call.method.packs_with() and question.method == call.method:
                return question
    raise UserError(f"--methods {spec.methods}: none of them packs; name one that does, or give --packs ''")


def _rival(cell: Cell, method: Method) -> str:
    """The label of the cell whose counterpart is the rival: its own where peft or Trainer has it, else LoRA's."""
    own = method.name == FULL.name or (method.exports and method.family != METHODS.get(LORA).family)
    return cell.label if own else LORA


class Subject:
    """A case ready to train; `seconds` of a step, one a round. `fallback` says why its steps are not captured."""

    def __init__(self, case: Case, steps: int) -> None:
        q = case.question
        self.name, self.k, self.packed, self.device = q.cell.label, case.k, case.packed, q.device
        self.method, self.model = q.method, load_alone(q)
        cells = tuple(q.cell.model_copy(update={"seeds": equal(i)}) for i in range(case.k))
        self.trainer = pack_trainer(Pack(cells, (q.method,) * case.k), q, self.model, steps)
        self.flops, self.seconds = 0, list[float]()
        self.fallback: str | None = None

    def counterpart(self) -> Usual:
        """What Trainer trains in its place."""
        return (
            FULL if self.method.name == FULL.name else peft_counterpart(self.method, self.trainer.attached, self.model)
        )

    def warm_up(self, steps: int) -> None:
        """Count the first step, then take more; on a GPU the graph is captured in these."""
        self.flops = trace(self.trainer, self.device).flops
        self._steps(steps - 1)
        self.fallback = self.trainer.runner.fallback

    def take(self, block: int) -> None:
        """Time some steps."""
        self.seconds.append(self._steps(block) / block)

    def release(self) -> None:
        """Let go of all that lies on the device."""
        del self.trainer, self.model

    def _steps(self, count: int) -> float:
        with self.trainer.runner.stream():
            return block_seconds(self.trainer, count, self.device)


def subject_of(case: Case, steps: int, warmup: int, notes: list[str]) -> Subject | None:
    """Warm and ready to be timed for so many steps in all; None, with a note, for a pack that does not fit."""
    try:
        subject = Subject(case, steps)
        subject.warm_up(warmup)
    except Exception as error:
        if not (case.packed and out_of_memory(error)):
            raise
        notes.append(f"pack of {case.k}: out of memory")
        return None
    return subject
