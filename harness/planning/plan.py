"""From a spec to cells: every model, task, method and seed named, every row's fingerprint known. Imports no torch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from harness.core.cell import Cell, Protocol
from harness.core.errors import Absent, NotApplicable, UserError, unknown
from harness.core.label_order import label_notes
from harness.core.method import METHODS, STRATEGIES, SUITES, Method, SourceRequest, Suite, TaskData
from harness.core.presets import Preset, preset
from harness.core.registry import Registry
from harness.core.spec import Spec
from harness.data.checks import overlap_notes
from harness.models.adapter_source import AdapterSource, start_of
from harness.models.source import ModelSource, resolve
from harness.planning.grammar import MethodCall, parse_data_files, parse_methods, parse_models, parse_seeds
from harness.planning.schedule import STEPS_VERSION

PAPER = {"lr": 2e-5, "epochs": 3.0, "max_steps": None, "lr_source": "arXiv 2403.08822"}
ORDER_VERSION = 2
"""Of the batches of rows of like length (harness/data/sampler.py): 2 gives each seed groups in an order of its own."""
BUDGET = tuple("lr epochs max_steps batch_size group_by_length max_length train_rows eval_rows".split())
TEXT = tuple("label_smoothing max_target_length beams shots template packed".split())


@dataclasses.dataclass(frozen=True)
class Plan:
    """Cells in order (task, method, seed) and what they need; `dropped` says what was left out and why.

    `named` are the keys of cells that the user asked for by name, not as one of a product or of `all`; `initial` are
    the adapters that cells start from, by key.
    """

    cells: tuple[Cell, ...]
    data: Mapping[tuple[str, str], TaskData]
    models: Mapping[str, ModelSource]
    methods: Mapping[str, Method]
    dropped: tuple[str, ...]
    named: frozenset[str] = frozenset()
    initial: Mapping[str, AdapterSource] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    suites: Mapping[str, Suite] = dataclasses.field(default_factory=dict)

    def without(self, keys: Collection[str], lines: Sequence[str]) -> Plan:
        """The plan less some cells, with lines that say why."""
        cells = tuple(c for c in self.cells if c.key not in keys)
        return dataclasses.replace(self, cells=cells, dropped=(*self.dropped, *lines))


def make_plan(spec: Spec) -> Plan:
    """All cells of a spec. Raises UserError for anything that cannot be, before any training."""
    chosen = preset(spec.preset)
    calls, seeds = parse_methods(spec.methods), parse_seeds(spec.seeds)
    request = _request(spec, chosen)
    suites = {name: SUITES.get(name)().configured(request, spec.tasks) for name in spec.suite}
    tasks = _tasks(suites, spec.tasks)
    given = parse_models(spec.model, suites)
    models = {name: resolve(chosen, name, given.get(name, given.get(""))) for name in suites}
    data, dropped = _load(request, suites, tasks, spec.tasks)
    data = {place: _checked(rows, suites, chosen, models, *place) for place, rows in data.items()}
    cells: dict[str, Cell] = {}
    methods: dict[str, Method] = {}
    named: set[str] = set()
    start = start_of(spec.init_from) if spec.init_from else None
    initial: dict[str, AdapterSource] = {}
    axes = list(itertools.product(spec.quantize, spec.dtype, spec.recompute))
    for (suite, task), call, (quantize, dtype, again) in itertools.product(data, calls, axes):
        axis = {"quantize": quantize, "dtype": dtype, "recompute": again} | call.overrides
        asked = dataclasses.replace(call, overrides=axis, named=call.named and len(axes) == 1)
        try:
            first, method = _cell(spec, chosen, suites[suite], task, data[suite, task], models[suite], asked, seeds[0])
            made = [(first.model_copy(update={"seeds": own}), method) for own in _used_seeds(seeds, first.protocol)]
            if start:
                made, sources = _started(made, start)
                initial |= sources
        except NotApplicable as error:
            # several methods at one level are a product, unless the method names the level itself
            if asked.named and (len(calls) == 1 or "quantize" in call.overrides):
                raise
            dropped.append(not_applicable(f"{call.method.name} on {suite}/{task}", error))
            continue
        for cell, method in made:
            cells.setdefault(cell.key, cell)
            methods.setdefault(cell.key, method)
        named |= {cell.key for cell, _ in made if asked.named}
    notes = tuple(dict.fromkeys(s.note for s in initial.values() if s.note))
    left_out = tuple(dict.fromkeys(dropped))
    return Plan(tuple(cells.values()), data, models, methods, left_out, frozenset(named), initial, notes, suites)


def _used_seeds(seeds: Sequence[dict[str, int]], protocol: Protocol) -> list[dict[str, int]]:
    """The seeds without the stream that only length groups use, where there are none. Raises UserError."""
    if protocol.group_by_length:
        return list(seeds)
    used = [{stream: seed for stream, seed in own.items() if stream != "length"} for own in seeds]
    if len({tuple(own.items()) for own in used}) < len(seeds):
        raise UserError("--seeds length=...: has an effect with --group-by-length only; give that too, or leave it out")
    return used


def _started(
    made: Sequence[tuple[Cell, Method]], start: Callable[[Cell], AdapterSource]
) -> tuple[list[tuple[Cell, Method]], dict[str, AdapterSource]]:
    """The cells with the adapters that they start from. Raises NotApplicable for a method that starts from none."""
    cells, sources = [], {}
    for cell, method in made:
        method.check_initial()
        source = start(cell)
        cells.append((cell.model_copy(update={"initial": source.ref}), method))
        sources[cells[-1][0].key] = source
    return cells, sources


def not_applicable(what: str, error: UserError) -> str:
    return f"{what}: not applicable: {error}"


def method_of(cell: Cell) -> Method:
    """The method of a stored cell, options and all."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in cell.options.items()}
    return METHODS.get(cell.method)(**options)


def _tasks(suites: Mapping[str, Suite], named: Sequence[str]) -> list[tuple[str, str]]:
    every = [(name, task) for name, suite in suites.items() for task in suite.tasks]
    for task in named:
        if task not in {t for _, t in every}:
            raise unknown("task", task, {t for _, t in every})
    return [(s, t) for t in named for s, own in every if own == t] if named else every


def _request(spec: Spec, chosen: Preset) -> SourceRequest:
    kind: Literal["embedded", "data-dir", "hub"] = "data-dir" if spec.data_dir else chosen.source
    columns = tuple(spec.text.split("+")) if spec.text else ()
    return SourceRequest(kind, spec.data_dir, parse_data_files(spec.data_file), columns, spec.label, spec.labels)


def _checked(
    data: TaskData,
    suites: Mapping[str, Suite],
    chosen: Preset,
    models: Mapping[str, ModelSource],
    suite: str,
    task: str,
) -> TaskData:
    """The rows with notes on what train and eval splits share, and on the model's labels and language."""
    model = models[suite]
    notes = overlap_notes(data) + label_notes(suites[suite].tasks[task].labels, model)
    if suite in chosen.notes and model.name == chosen.models[suite]:
        notes.append(chosen.notes[suite])
    return dataclasses.replace(data, notes=(*data.notes, *notes))


def _load(
    request: SourceRequest, suites: Mapping[str, Suite], tasks: Sequence[tuple[str, str]], named: Collection[str]
) -> tuple[dict[tuple[str, str], TaskData], list[str]]:
    """Rows of each task; a task without them is dropped with its reason while others run.

    Rows that are there and do not read are refused where the user named the task or the file.
    """
    known = {name for named in tasks for name in named}
    for name, _ in request.files:
        if name not in known:
            raise unknown("task or suite in --data-file", name, known)
    data, problems = {}, []
    for suite, task in tasks:
        try:
            data[suite, task] = suites[suite].load(task, request)
        except UserError as error:
            if any(name == task for name, _ in request.files):
                raise  # files given by hand are asked for by name
            if task in named and not isinstance(error, Absent):
                raise
            problems.append((suite, task, error))
    if not data:
        raise UserError("no task has its rows: " + "; ".join(str(e) for _, _, e in problems[:3]))
    return data, [f"{suite}/{task} left out: {error}" for suite, task, error in problems]


def _cell(
    spec: Spec,
    chosen: Preset,
    suite: Suite,
    task: str,
    data: TaskData,
    model: ModelSource,
    call: MethodCall,
    seeds: dict[str, int],
) -> tuple[Cell, Method]:
    method = call.method
    if spec.protocol == "paper":
        extra = {k: v for k, v in method.paper_options.items() if k not in call.given}
        method = dataclasses.replace(method, **extra)
    quantize = call.overrides["quantize"]
    if quantize != "none" and not method.quantizable:
        raise NotApplicable(f"method '{method.name}' trains the backbone itself, which quantize={quantize} rules out")
    if quantize in method.unfit_levels:
        raise NotApplicable(f"method '{method.name}' with quantize={quantize}: {method.unfit_levels[quantize]}")
    protocol = protocol_of(spec, chosen, suite.name, method, call.overrides)
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
        parts=_parts(suite, method) | _changed(protocol),
    )
    suite.check(task, data, cell.protocol)
    return cell, method


def _parts(suite: Suite, method: Method) -> dict[str, str]:
    """What changes results and has no field of its own.

    Sources of plugins, versions of strategies above 1, files of other packages that a suite is scored by.
    """
    used: list[tuple[Registry[Any], str]] = [(SUITES, suite.name), (METHODS, method.name)]
    used += [(STRATEGIES, name) for name in method.strategies()]
    found = {f"{registry.kind} {name}": registry.sources[name] for registry, name in used if name in registry.sources}
    versions = {name: STRATEGIES.get(name).version for name in method.strategies()}
    changed = {f"strategy {name}": str(v) for name, v in versions.items() if v > 1} | method.parts()
    return changed | found | dict(suite.files())


def _changed(protocol: Protocol) -> dict[str, str]:
    """Versions of what a protocol's field means, where an earlier version of this harness gave other results."""
    steps = {} if protocol.epochs.is_integer() else {"steps": str(STEPS_VERSION)}
    return steps | ({"order": str(ORDER_VERSION)} if protocol.group_by_length else {})


def protocol_of(spec: Spec, chosen: Preset, suite: str, method: Method, overrides: Mapping[str, Any]) -> Protocol:
    """Preset, what it says of the suite, the method's declared rate, the paper's protocol, flags, the method's own."""
    fields: dict[str, Any] = {"name": spec.protocol, **chosen.protocol, **chosen.suites.get(suite, {})}
    declared = method.learning_rates.get(chosen.name)
    if declared is not None:
        fields |= {"lr": declared.value, "lr_source": declared.source}
    if spec.protocol == "paper":
        fields |= PAPER
    given = {k: v for k in (*BUDGET, *TEXT) if (v := getattr(spec, k)) is not None}
    for step in (given, {k: v for k, v in overrides.items() if k in Protocol.model_fields}):
        if "epochs" in step and "max_steps" not in step:
            fields["max_steps"] = None
        fields |= step
        if "lr" in step:
            fields["lr_source"] = "given"
    if "lr" not in fields:
        raise UserError(f"method '{method.name}' declares no learning rate for preset '{chosen.name}'; give --lr")
    return Protocol.model_validate(fields)
