"""Which question a comparison answers, and how its p is corrected: each role is a family of its own.

primary      the declared pairs on the suite's average            Holm
secondary    the same pairs on each task                          Benjamini-Hochberg
exploratory  every other comparison                               Benjamini-Hochberg

By default every method is compared with the first one; `--primary "lorasp vs lora, lorasp vs lora:rank=8"` declares
others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.core.errors import UserError
from harness.core.looks import Look
from harness.core.primary import DEFAULT_COLLAPSE_MARGIN, build_missing_error, parse_primary
from reports.frames import Grid, cache_in_grid
from reports.statistics.comparisons import Comparison
from reports.statistics.holm import apply_holm

Role = Literal["primary", "secondary", "exploratory"]
ROLES: tuple[Role, ...] = ("primary", "secondary", "exploratory")
CORRECTIONS: Mapping[Role, str] = {
    "primary": "Holm",
    "secondary": "Benjamini-Hochberg",
    "exploratory": "Benjamini-Hochberg",
}
"""Role -> how its family is corrected."""
Pair = tuple[str, str]
"""(method, the one it is compared with)."""
Pairs = Mapping[str, Collection[Pair]]
"""Suite -> its primary pairs."""


@dataclass(frozen=True)
class Question:
    """What a run declared: its primary comparisons (None: by default) and the margin of collapses in points.

    `late` ones were declared after there were results. `auto`: the range of an automatic number of seeds, with its
    `looks` and why it `stopped` ('decided', a limit, '' of an interrupted run); None of a fixed number.
    """

    primary: str | None = None
    primary_late: bool = False
    collapse_margin: float = DEFAULT_COLLAPSE_MARGIN
    collapse_margin_late: bool = False
    auto: str | None = None
    auto_late: bool = False
    looks: tuple[Look, ...] = ()
    stopped: str = ""


DEFAULT_QUESTION = Question()


def resolve_primary(text: str | None, grids: Sequence[Grid]) -> dict[str, list[Pair]]:
    """Suite -> its primary pairs, by the names of the grid's methods; by default each method against the first.

    Raises UserError where a declared method is in no suite, or no suite has both methods of a pair.
    """
    pairs: dict[str, list[Pair]] = {grid.suite: [] for grid in grids}
    if text is None:
        for grid in grids:
            pairs[grid.suite] = [(method, grid.methods[0]) for method in grid.methods[1:]]
        return pairs
    for declared in parse_primary(text):
        sides = []
        for grid in grids:
            sides.append([find_methods(grid, name) for name in declared])
        for position, name in enumerate(declared):
            if not any(found[position] for found in sides):
                raise build_missing_error(name, [method for grid in grids for method in grid.methods])
        if not any(method_names and first_names for method_names, first_names in sides):
            raise UserError(f"--primary: no suite has both methods of '{' vs '.join(declared)}'; compare others")
        for grid, (method_names, first_names) in zip(grids, sides, strict=True):
            pairs[grid.suite] += match_alike(grid, method_names, first_names)
    return pairs


def find_methods(grid: Grid, name: str) -> list[str]:
    """The grid's methods that a declared name means: by their name, else their title, else their label.

    Tuning may have set further options: then those whose options include the declared ones.
    """
    cells = {method: grid.select_method(method)[0].cell for method in grid.methods}
    # a name with options that tuning has completed is no longer equal to the label
    method_name, _, option_text = name.partition(":")
    options = set(option_text.split(",")) if option_text else set()

    def includes(label: str) -> bool:
        return label.partition(":")[0] == method_name and options <= set(label.partition(":")[2].split(","))

    # from the strictest reading on: a name means one method, a title or a label may mean several
    candidates = (
        [method for method in cells if method == name],
        [method for method, cell in cells.items() if cell.title == name],
        [method for method, cell in cells.items() if cell.label == name],
        [method for method, cell in cells.items() if cell.protocol.name == "tuned" and includes(cell.label)],
    )
    return next(filter(None, candidates), [])


def match_alike(grid: Grid, methods: Sequence[str], firsts: Sequence[str]) -> list[Pair]:
    """Each method with each of the firsts; where some share precision and protocol, only those."""
    pairs = [(method, first) for method in methods for first in firsts if method != first]
    alike = [pair for pair in pairs if is_alike(grid, *pair)]
    return alike or pairs


def is_alike(grid: Grid, method: str, first: str) -> bool:
    """Whether two methods share precision, quantization and protocol."""
    return _get_setting(grid, method) == _get_setting(grid, first)


@cache_in_grid
def _get_setting(grid: Grid, method: str) -> tuple[str, str, str]:
    cell = grid.select_method(method)[0].cell
    return cell.dtype, cell.quantize, cell.protocol.name


def find_twin(c: Comparison, comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison on the one task that the mean is over; None of any other, and where a cell failed."""
    if not c.whole or len(c.tasks) != 1 or c.failed:
        return None
    place = (c.suite, c.method, c.first, c.tasks)
    return next((o for o in comparisons if not o.whole and (o.suite, o.method, o.first, o.tasks) == place), None)


def assign_roles(comparisons: Sequence[Comparison], pairs: Pairs) -> list[Role]:
    """The role of each comparison, in the same order.

    Primary is the mean over tasks, or its only task. Where a suite has no average, all tasks of the pair are primary.
    """
    # without an average the tasks themselves answer the declared question
    averaged = {(c.suite, c.method, c.first) for c in comparisons if c.whole}
    twins = {id(find_twin(c, comparisons)) for c in comparisons if c.whole}
    # a set: a run may have thousands of pairs
    declared = {suite: frozenset(suite_pairs) for suite, suite_pairs in pairs.items()}
    return [
        "exploratory"
        if (c.method, c.first) not in declared.get(c.suite, ())
        else "primary"
        if c.whole or id(c) in twins or (c.suite, c.method, c.first) not in averaged
        else "secondary"
        for c in comparisons
    ]


def correct_family(role: Role, values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p of one family, in the same order; None (no test) stays None and does not count."""
    return apply_holm(values) if role == "primary" else control_false_discoveries(values)


def control_false_discoveries(values: Sequence[float | None]) -> list[float | None]:
    """p adjusted for the false discovery rate (Benjamini and Hochberg 1995); None stays None and does not count."""
    from scipy.stats import false_discovery_control

    tested = [p for p in values if p is not None]
    adjusted = iter(false_discovery_control(tested).tolist() if tested else [])
    return [None if p is None else float(next(adjusted)) for p in values]
