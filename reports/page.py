"""What the HTML page adds to a report: folded sections, marks of cells, data of charts, inlined scripts by hash."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.file_names import make_file_name
from reports.document import MOST_KEYS, Drawing, LinkedText, Report, Table
from reports.registered import SECTIONS

TEMPLATES = Path(__file__).parent / "templates"
LIBRARIES = ("d3", "plot", "datatables")
"""Files of templates/vendor/, in the order in which they load."""
SCRIPTS = ("page", "chart_tools", "first_chart", "section_charts", "charts", "tables", "start")
"""Files of templates/, joined to one script."""
PRINTED = frozenset({"evidence", "scores", "comparisons", "stability", "cost", "protocol"})
"""Sections that are printed with the first screen; the others are for a screen."""
MAX_PRINTED_ROWS = 40
"""Rows of a table that is printed; a longer one is left to the screen and to its CSV file."""
MAX_CELL_CHARACTERS = 120
"""Characters of a cell that are shown at once."""
SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
NUMBER = re.compile(r"(?:[<>] |more than )?([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?!\w)(?: (KiB|MiB|GiB))?")
ASIDE = re.compile(r" ?(?:[(±].*|[^A-Za-z]*(?:\b(?:of|to|for)\b[^A-Za-z]*)*)", re.S)
"""What may follow the number: its spread, its range, or what it is a count of."""
EMPTY = frozenset({"", "-"})


@dataclass(frozen=True)
class Block:
    """The part of a section that is about one suite; `suite` is '' for what is about all of them."""

    suite: str
    texts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Mapping[str, Drawing] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldedSection:
    name: str
    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The id of its element."""
        return f"section-{make_file_name(self.name)}"

    @property
    def is_printed(self) -> bool:
        return self.name in PRINTED


def list_folded_sections(report: Report) -> list[FoldedSection]:
    """The sections that have content, in reading order; the runs come last."""
    sections = []
    for name, info in sorted(SECTIONS, key=lambda item: item[1].place):
        blocks = [block for block in _list_blocks(report, name) if block.texts or block.tables or block.figures]
        if blocks:
            sections.append(FoldedSection(name, info.title, blocks))
    if report.runs.rows:
        sections.append(FoldedSection("runs", report.runs.title, [Block("", tables=[report.runs])]))
    return sections


def _list_blocks(report: Report, name: str) -> Iterator[Block]:
    texts = report.summary if name == "comparisons" else ()
    shared = [table for table in (*report.extra, *report.detail) if table.topic == name]
    if len(report.sections) != 1:
        yield Block("", texts, shared)
        texts, shared = (), []
    for section in report.sections:
        tables = [*(table for table in section.tables if table.topic == name), *shared]
        figures = {key: drawing for key, drawing in section.figures.items() if drawing.topic == name}
        yield Block(section.title, [*texts, *section.texts.get(name, ())], tables, figures)


# ---------------------------------------------------------------- cells


def parse_number(text: str) -> float | None:
    """The number that a cell begins with, in bytes if it has a unit of memory; None of words, though after a number."""
    match = NUMBER.match(text.replace("\N{MINUS SIGN}", "-"))
    if match is None or not ASIDE.fullmatch(text[match.end() :]):
        return None
    return float(match[1].replace(",", "")) * SIZES.get(match[2] or "", 1)


def list_number_columns(table: Table) -> list[bool]:
    """For each column whether its cells begin with numbers; empty cells and marks (baseline) do not count."""
    columns = []
    rows = [row for row in table.rows if not (isinstance(row[0], LinkedText) and row[0].label)]
    for place in range(len(table.head)):
        cells = [row[place] for row in rows]
        texts = [c for c in cells if c not in EMPTY and not (isinstance(c, LinkedText) and c.mark)]
        columns.append(bool(texts) and all(parse_number(text) is not None for text in texts))
    return columns


def split_long_text(cell: str) -> tuple[str, str]:
    """The start of a long text, and what the page folds."""
    if len(cell) <= MAX_CELL_CHARACTERS:
        return cell, ""
    end = cell.rfind(" ", 0, MAX_CELL_CHARACTERS) + 1 or MAX_CELL_CHARACTERS
    return cell[:end], cell[end:]


def split_aside(cell: str) -> tuple[str, str]:
    """The value of a cell, and its spread or count, which the page shows in smaller type."""
    for sign in (" ± ", " ("):
        value, found, aside = cell.partition(sign)
        if found and parse_number(value) is not None:
            return value, f"{sign}{aside}".strip()
    return cell, ""


def list_attributes(cell: str, is_number: bool, run_numbers: Mapping[str, int]) -> dict[str, str]:
    """The data attributes of a cell: its sort key, the runs behind it, and what filters go by."""
    attributes: dict[str, str] = {}
    if is_number:
        value = parse_number(cell.value if isinstance(cell, LinkedText) else cell)
        if value is None and isinstance(cell, LinkedText) and cell.mark == "baseline":
            value = 0.0  # its difference to itself
        attributes["order"] = "" if value is None else f"{value:.12g}"
    if isinstance(cell, LinkedText):
        numbers = [str(run_numbers[key]) for key in cell.runs[:MOST_KEYS] if key in run_numbers]
        more = len(cell.runs) - len(numbers)
        attributes |= {"runs": " ".join(numbers)} if numbers else {}
        attributes |= {"more": str(more)} if numbers and more > 0 else {}
        attributes |= {kind: value for kind in ("task", "method", "preset") if (value := getattr(cell, kind))}
    return attributes


# ---------------------------------------------------------------- scripts and data


def build_page_context(report: Report) -> dict[str, Any]:
    """What the template of the page needs beside the report."""
    libraries = [(TEMPLATES / "vendor" / f"{name}.min.js").read_text() for name in LIBRARIES]
    script = "\n".join((TEMPLATES / f"{name}.js").read_text() for name in SCRIPTS)
    runs = (run for suite in report.charts.values() for run in suite["runs"])
    return {
        "style": (TEMPLATES / "report.css").read_text(),
        "libraries": libraries,
        "script": script,
        "hashes": [compute_policy_hash(text) for text in (*libraries, script)],
        "folded": list_folded_sections(report),
        "data": dump_json(report.charts),
        "run_numbers": {run[5]: number for number, run in enumerate(runs)},
        "max_printed_rows": MAX_PRINTED_ROWS,
    }


def compute_policy_hash(script: str) -> str:
    """The source expression of a content security policy that allows exactly this script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def dump_json(value: Any) -> str:
    """JSON without the signs that could end the element that holds it; a number that is not finite is null."""
    text = json.dumps(_replace_non_finite(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
