"""Specs from a study and the user's flags: one per grid, all in one folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.file_names import make_file_name
from harness.core.method import STRATEGIES
from harness.core.spec import MACHINE_FIELDS, RUNS, Spec
from harness.core.spec_reading import make_spec
from studies.declared_rates import Rates, check_rates, list_rates
from studies.study import Study

STUDY_FIELDS = frozenset({"quick", "confirm", "rates"})
"""Keys of a grid that are no fields of Spec.

`confirm`: seeds that compare the methods at their best rates. `rates`: rates by method (see declared_rates).
"""


def build_specs(study: Study, flags: Mapping[str, Any]) -> list[Spec]:
    """One spec per grid of a study. Strategies must be registered. Raises UserError."""
    grid_specs = [make_spec(_build_fields(study, grid, flags)) for grid in study.grids]
    out = flags.get("out") or resolve_folder(study, grid_specs, str(flags.get("preset", "quick")))
    return [spec.model_copy(update={"out": out}) for spec in grid_specs]


def list_confirming(study: Study, flags: Mapping[str, Any]) -> list[int]:
    """For each grid the number of fresh seeds that compare the methods at their best rates; 0: none."""
    return [int(_merge_quick(grid, flags).get("confirm", 0)) for grid in study.grids]


def list_grid_rates(study: Study, flags: Mapping[str, Any]) -> list[Rates]:
    """For each grid its rates by method; none where the user gives --lr. Raises UserError for another form."""
    if "lr" in flags:
        return [{} for _ in study.grids]
    tables = [_merge_quick(grid, flags).get("rates", {}) for grid in study.grids]
    for table in tables:
        check_rates(study.name, table)
    return tables


def _merge_quick(grid: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The grid; in preset quick with its settings of the embedded default only: real data keeps the full budget."""
    quick = flags.get("preset", "quick") == "quick"
    return {**grid, **(grid.get("quick", {}) if quick else {})}


def resolve_folder(study: Study, made: list[Spec], preset: str, runs: Sequence[Path] = ()) -> Path:
    """The default folder of a study, which depends on its specs and on the `runs` that it collects."""
    # Flags of the machine change no result, so the same study on another device resumes in its folder.
    content = "\n".join([*(spec.model_dump_json(exclude=set(MACHINE_FIELDS)) for spec in made), *map(str, runs)])
    name = make_file_name(f"study-{study.name}-{preset}")
    return RUNS / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _build_fields(study: Study, grid: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    merged = _merge_quick(grid, flags)
    fields = {name: value for name, value in merged.items() if name not in STUDY_FIELDS}
    if merged.get("rates"):
        check_rates(study.name, merged["rates"])
        fields["lr"] = list_rates(merged["rates"])
    if study.margin is not None:
        fields["margin"] = study.margin
    overrides = dict(flags)
    # `--seeds 8` must not replace a grid of two streams by one number.
    if "seeds" in overrides:
        overrides["seeds"] = replace_seeds(str(fields.get("seeds", "")), str(overrides["seeds"]))
    fields |= overrides
    if "methods" not in fields:
        raise UserError(f'study {study.name}: a grid without methods; give it methods = "lora,lorasp"')
    fields["methods"] = str(fields["methods"]).replace("EVERY", "|".join(list_strategies()))
    return fields


def list_strategies() -> list[str]:
    """All registered strategies except `random`, the paper's."""
    return [name for name in STRATEGIES.names() if name != "random"]


def replace_seeds(declared: str, given: str) -> str:
    """The given seeds; a plain number sets the length of each named stream's range where a study names streams.

    Where a study declares a number of seeds and fixes a stream (5,length=0), a plain number replaces that number.
    """
    if "=" not in declared or not re.fullmatch("[0-9]{1,9}", given.strip()):
        return given
    if fresh := re.match(r"([0-9]+)\.\.[0-9]+ *,", declared):
        first = int(fresh[1])
        return f"{first}..{first + max(1, int(given)) - 1}," + declared[fresh.end() :]
    if re.match("[0-9]+ *,", declared):
        return re.sub("^[0-9]+", given.strip(), declared)
    return re.sub(r"=[0-9]+\.\.[0-9]+", f"=0..{max(0, int(given) - 1)}", declared)
