"""What a run declares before it trains: its title, the names of its methods, and its question in run.json."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.looks import parse_looks
from harness.core.primary import DEFAULT_COLLAPSE_MARGIN, check_primary
from harness.core.spec import Spec
from harness.core.store import Store
from harness.planning.plan import Plan


def list_method_names(plan: Plan) -> list[str]:
    """What the methods of a plan may be called: their labels, and their short names (qlora)."""
    names = [name for cell in list_distinct(plan) for name in (cell.title, cell.label)]
    return list(dict.fromkeys(names))


def list_distinct(plan: Plan) -> list[Cell]:
    """The first cell of each method and precision: the others differ in task and seeds, which no name has."""
    cells: dict[tuple[int, str, str], Cell] = {}
    for planned in plan.cells:
        # cells of a task share the method's object
        cells.setdefault((id(planned.method), planned.cell.dtype, planned.cell.quantize), planned.cell)
    return list(cells.values())


MOST_TITLE_METHODS = 4
"""A run of more methods is titled by their number: the report's first table names them all."""


def format_title(plan: Plan, spec: Spec) -> str:
    methods = dict.fromkeys(cell.title for cell in list_distinct(plan))
    named = ", ".join(methods) if len(methods) <= MOST_TITLE_METHODS else f"{len(methods)} methods"
    start = f", starting from {spec.init_from}" if spec.init_from else ""
    return f"{' and '.join(spec.suite)}: {named}{start}"


def is_late(store: Store, field: str, value: object, results: bool) -> bool:
    """Whether `field` of run.json (margin, primary, collapse_margin) is set or changed after results exist.

    It may then depend on them, so the report flags it as post hoc.
    """
    if not results:
        return False
    try:
        previous_run = store.read_run()
    except UserError:
        return value not in (None, DEFAULT_COLLAPSE_MARGIN)
    return bool(previous_run[f"{field}_late"]) if previous_run[field] == value else True


def declare_question(store: Store, spec: Spec, names: Sequence[str], results: bool) -> dict[str, object]:
    """The fields of run.json that say what the run asks; those not given are as an earlier run of the folder had them.

    Primary comparisons of an earlier run hold only if `names`, the methods of this one, still have them all.
    """
    primary, collapse_margin = spec.primary, spec.collapse_margin
    with contextlib.suppress(UserError):  # a new folder has no run.json
        previous_run = store.read_run()
        collapse_margin = previous_run["collapse_margin"] if collapse_margin is None else collapse_margin
        if primary is None and previous_run["primary"] is not None:
            check_primary(previous_run["primary"], names)
            primary = previous_run["primary"]
    collapse_margin = DEFAULT_COLLAPSE_MARGIN if collapse_margin is None else collapse_margin
    return {
        "primary": primary,
        "primary_late": is_late(store, "primary", primary, results),
        "collapse_margin": collapse_margin,
        "collapse_margin_late": is_late(store, "collapse_margin", collapse_margin, results),
    }


def declare_looks(store: Store, spec: Spec, results: bool) -> dict[str, object]:
    """The fields of run.json about an automatic number of seeds, with the looks so far; none of a fixed number."""
    looks = parse_looks(spec.seeds)
    if looks is None:
        return {}
    past: object = []
    with contextlib.suppress(UserError):  # a new folder has no run.json
        past = store.read_run()["looks"]
    return {"auto": str(looks), "auto_late": is_late(store, "auto", str(looks), results), "looks": past}
