"""Turn a spec into cells. Each cell has its model, task, method, seed and the fingerprint of its rows.

Imports no torch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from harness.core.cell import Cell
from harness.core.errors import Absent, NotApplicable, UserError, build_unknown_error
from harness.core.executor import EXECUTORS
from harness.core.label_order import describe_label_order
from harness.core.learning_rate import SCHEDULES
from harness.core.method import METHODS, METRICS, STRATEGIES, SUITES, Method, SourceRequest, Suite, TaskData
from harness.core.optimizer import OPTIMIZERS, check_hyperparameters
from harness.core.presets import Preset, get_preset
from harness.core.protocol import Protocol
from harness.core.quantization import QUANTIZATIONS, build_quantization_part
from harness.core.registry import Registry
from harness.core.spec import Spec
from harness.core.suite import list_metric_names
from harness.core.suite_options import check_names, split_option
from harness.data.checks import describe_overlaps
from harness.models.adapter_source import AdapterSource, resolve_init_from
from harness.models.source import ModelSource, check_rows, resolve
from harness.planning.grammar import MAX_METHODS, MethodCall, parse_data_files, parse_methods, parse_models
from harness.planning.held_out import HeldOut
from harness.planning.planned_cell import PlannedCell, first_of_each_task
from harness.planning.protocol import build_protocol, list_flag_choices
from harness.planning.schedule import STEPS_VERSION
from harness.planning.seed_grammar import parse_seeds

ORDER_VERSION = 2
"""Of the batches of rows of like length (harness/data/sampler.py): 2 gives each seed groups in an order of its own."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Planned cells in order (task, method, seed).

    `dropped` has one line with the reason for each task or combination that is left out. `notes` go to the user.
    """

    cells: tuple[PlannedCell, ...]
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def drop_cells(self, keys: Collection[str], lines: Sequence[str]) -> Plan:
        """The plan without the cells of these keys; `lines` say why."""
        cells = tuple(c for c in self.cells if c.key not in keys)
        return dataclasses.replace(self, cells=cells, dropped=(*self.dropped, *lines))

    @property
    def data_notes(self) -> list[str]:
        """Notes about the rows of each task."""
        firsts = first_of_each_task(self.cells)
        return [f"{suite}/{task}: {note}" for (suite, task), first in firsts.items() for note in first.data.notes]


def make_plan(spec: Spec) -> Plan:
    """All cells of a spec. Raises UserError for any invalid value, before training."""
    chosen = get_preset(spec.preset)
    EXECUTORS.get(spec.executor)  # an unknown name is refused before training, and by `plan` too
    calls, seeds = parse_methods(spec.methods), parse_seeds(spec.seeds)
    request = _build_request(spec, chosen)
    suites = configure_suites(spec, request)
    tasks = _select_tasks(suites, spec.tasks)
    model_names = parse_models(spec.model, suites)
    models = {name: resolve(chosen, name, model_names.get(name, model_names.get(""))) for name in suites}
    data, dropped = _load_rows(request, suites, tasks, spec.tasks)
    for (suite, task), rows in data.items():
        check_rows(models[suite], f"{suite}/{task}", rows.fingerprint)
    data = {place: _add_notes(rows, suites, chosen, models, *place) for place, rows in data.items()}
    cells: dict[str, PlannedCell] = {}
    start = resolve_init_from(spec.init_from) if spec.init_from else None
    choices = _list_axis_choices(spec, len(calls))
    held_out = HeldOut()
    for (suite, task), call, (flags, precision) in itertools.product(data, calls, choices):
        method_call = dataclasses.replace(
            call, overrides=precision | call.overrides, named=call.named and len(choices) == 1
        )
        try:
            first = _build_cell(
                spec, chosen, suites[suite], task, data[suite, task], models[suite], method_call, flags, seeds[0]
            )
            if spec.validation:
                first = held_out.add(first)
            cells_of_seeds = first.cell.vary_seeds(_select_seeds(seeds, first.cell.protocol))
            planned = [dataclasses.replace(first, cell=cell) for cell in cells_of_seeds]
            if start:
                planned = [_with_start(cell, start) for cell in planned]
        except NotApplicable as error:
            # several methods with one quantization type are a product, unless the method itself names the type
            if method_call.named and (len(calls) == 1 or "quantize" in call.overrides):
                raise
            dropped.append(format_not_applicable(f"{call.method.name} on {suite}/{task}", error))
            continue
        for cell in planned:
            if cell.key not in cells or (cell.named and not cells[cell.key].named):
                cells[cell.key] = cell
    _check_momentum(spec, [planned.cell for planned in cells.values()])
    notes = dict.fromkeys(c.start.note for c in cells.values() if c.start and c.start.note)
    return Plan(tuple(cells.values()), tuple(dict.fromkeys(dropped)), tuple(notes))


def _list_axis_choices(spec: Spec, methods: int) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Each combination of the flags that take several values: (protocol, precision). Raises UserError for too many."""
    precisions = [
        {"quantize": quantize, "dtype": dtype, "recompute": recompute}
        for quantize, dtype, recompute in itertools.product(spec.quantize, spec.dtype, spec.recompute)
    ]
    choices = list(itertools.product(list_flag_choices(spec), precisions))
    if methods * len(choices) > MAX_METHODS:
        total = f"{methods} methods with {len(choices):,} combinations of rates, batch sizes and other flags"
        raise UserError(f"{total}; allowed: {MAX_METHODS:,} in all; split the run, or name fewer values")
    return choices


def _check_momentum(spec: Spec, cells: Sequence[Cell]) -> None:
    """Raise UserError for --momentum without a cell whose optimizer reads it."""
    names = dict.fromkeys(cell.protocol.optimizer for cell in cells)
    if spec.momentum is not None and names and all("momentum" not in OPTIMIZERS.get(name).reads for name in names):
        check_hyperparameters(next(iter(names)), {"momentum": spec.momentum})


def _with_start(planned: PlannedCell, start: Callable[[Cell], AdapterSource]) -> PlannedCell:
    """The cell with the adapter that it starts from. Raises NotApplicable for a method that starts from none."""
    planned.method.check_initial()
    source = start(planned.cell)
    cell = planned.cell.model_copy(update={"initial": source.ref})
    return dataclasses.replace(planned, cell=cell, start=source)


def _select_seeds(seeds: Sequence[dict[str, int]], protocol: Protocol) -> list[dict[str, int]]:
    """The seeds; without the `length` stream unless batches are length-bucketed.

    Raises UserError if seeds differ only in a `length` stream that has no effect.
    """
    if protocol.group_by_length:
        return list(seeds)
    without_length = [dict(streams) for streams in seeds]
    for streams in without_length:
        streams.pop("length", None)
    if len({tuple(streams.items()) for streams in without_length}) < len(seeds):
        raise UserError("--seeds length=...: has an effect with --group-by-length only; give that too, or leave it out")
    return without_length


def format_not_applicable(what: str, error: UserError) -> str:
    return f"{what}: not applicable: {error}"


def _select_tasks(suites: Mapping[str, Suite], named: Sequence[str]) -> list[tuple[str, str]]:
    all_tasks = [(name, task) for name, suite in suites.items() for task in suite.tasks]
    for task in named:
        if task not in {t for _, t in all_tasks}:
            raise build_unknown_error("task", task, {t for _, t in all_tasks})
    return [(s, t) for t in named for s, suite_task in all_tasks if suite_task == t] if named else all_tasks


def _build_request(spec: Spec, chosen: Preset) -> SourceRequest:
    kind: Literal["embedded", "data-dir", "hub"] = "data-dir" if spec.data_dir else chosen.source
    return SourceRequest(kind, spec.data_dir, parse_data_files(spec.data_file))


def configure_suites(spec: Spec, request: SourceRequest) -> dict[str, Suite]:
    """The suites of a run with their options and tasks. Raises UserError for an option that none of them has."""
    given = dict(map(split_option, spec.option))
    kinds = {name: SUITES.get(name) for name in spec.suite}
    check_names(given, {name: kind.options for name, kind in kinds.items()})
    suites = {}
    for name, kind in kinds.items():
        declared = {option.name for option in kind.options}
        suite = kind(**{option: value for option, value in given.items() if option in declared})
        suites[name] = suite.configure(request, spec.tasks)
    return suites


def _add_notes(
    data: TaskData,
    suites: Mapping[str, Suite],
    chosen: Preset,
    models: Mapping[str, ModelSource],
    suite: str,
    task: str,
) -> TaskData:
    """The rows with notes on overlaps of train and eval splits, on the model's label order, and of the preset."""
    model = models[suite]
    notes = describe_overlaps(data) + describe_label_order(suites[suite].tasks[task].labels, model)
    suite_preset = chosen.get_suite_preset(suite)
    if suite_preset.note and model.name == suite_preset.model:
        notes.append(suite_preset.note)
    return dataclasses.replace(data, notes=(*data.notes, *notes))


def _load_rows(
    request: SourceRequest, suites: Mapping[str, Suite], tasks: Sequence[tuple[str, str]], named: Collection[str]
) -> tuple[dict[tuple[str, str], TaskData], list[str]]:
    """Rows by (suite, task), and one line with the reason for each task without rows, which is dropped.

    Raises UserError if no task has rows, or if a file cannot be read and the user named the file or its task.
    """
    allowed = {name for named in tasks for name in named}
    for name, _ in request.files:
        if name not in allowed:
            raise build_unknown_error("task or suite in --data-file", name, allowed)
    data, problems = {}, []
    for suite, task in tasks:
        try:
            data[suite, task] = suites[suite].load(task, request)
        except UserError as error:
            if any(name == task for name, _ in request.files):
                raise  # the user named a file of this task, so dropping the task would ignore the request
            if task in named and not isinstance(error, Absent):
                raise
            problems.append((suite, task, error))
    if not data:
        raise UserError("no task has its rows: " + "; ".join(str(e) for _, _, e in problems[:3]))
    return data, [f"{suite}/{task} left out: {error}" for suite, task, error in problems]


def _build_cell(
    spec: Spec,
    chosen: Preset,
    suite: Suite,
    task: str,
    data: TaskData,
    model: ModelSource,
    call: MethodCall,
    flags: Mapping[str, Any],
    seeds: dict[str, int],
) -> PlannedCell:
    method = call.method
    if spec.protocol == "paper":
        extra = {k: v for k, v in method.paper_options.items() if k not in call.given}
        method = dataclasses.replace(method, **extra)
    quantize = call.overrides["quantize"]
    if quantize != "none" and not method.quantizable:
        raise NotApplicable(f"method '{method.name}' trains the backbone itself, which quantize={quantize} rules out")
    if reason := method.unfit_weights.get(QUANTIZATIONS.get(quantize).weight_class):
        raise NotApplicable(f"method '{method.name}' with quantize={quantize}: {reason}")
    protocol = build_protocol(spec, chosen, suite, method, flags, call.overrides)
    parts = _build_parts(suite, task, method, protocol)
    cell = Cell(
        suite=suite.name,
        suite_version=suite.version,
        task=task,
        method=method.name,
        method_version=method.version,
        options=method.options(),
        preset=chosen.name,
        model=model.ref,
        data=data.fingerprint,
        protocol=protocol,
        seeds=seeds,
        dtype=call.overrides["dtype"],
        quantize=quantize,
        recompute=call.overrides["recompute"],
        parts=parts | build_quantization_part(quantize) | _build_field_versions(protocol),
    )
    suite.check(task, data, cell.protocol)
    return PlannedCell(cell, method, suite, data, model, named=call.named)


def _build_parts(suite: Suite, task: str, method: Method, protocol: Protocol) -> dict[str, str]:
    """What changes results and has no field of its own.

    These are digests of plugin sources, versions above 1 of strategies and of the optimizer, options of suite and
    method, and files of other packages that score a suite.
    """
    registrations: list[tuple[Registry[Any], str]] = [(SUITES, suite.name), (METHODS, method.name)]
    registrations += [(STRATEGIES, name) for name in method.strategies()]
    registrations += [(METRICS, name) for name in list_metric_names(suite.tasks[task])]
    registrations += [(SCHEDULES, protocol.schedule), (OPTIMIZERS, protocol.optimizer)]
    sources = {
        f"{registry.kind} {name}": registry.sources[name]
        for registry, name in registrations
        if name in registry.sources
    }
    versions = {f"strategy {name}": STRATEGIES.get(name).version for name in method.strategies()}
    versions[f"optimizer {protocol.optimizer}"] = OPTIMIZERS.get(protocol.optimizer).version
    raised_versions = {name: str(version) for name, version in versions.items() if version > 1}
    return raised_versions | method.parts() | sources | suite.parts() | dict(suite.files())


def _build_field_versions(protocol: Protocol) -> dict[str, str]:
    """Versions of protocol fields for which an earlier version of this harness gave other results."""
    steps = {} if protocol.epochs.is_integer() else {"steps": str(STEPS_VERSION)}
    return steps | ({"order": str(ORDER_VERSION)} if protocol.group_by_length else {})
