"""The files of the board: pages from one template, with the style of reports, scripts and links between them.

    index.html          the runs, with filters
    comparisons.html    pairs of runs;   compare/A--B.html   one pair
    cells.html          cells of several runs by task and method;   history/NAME.html   their scores over time
    assets/             style and scripts, used by all pages

Everything works from a disk: links are relative, nothing is loaded from elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.file_names import join_inside
from harness.core.files import describe_os_error
from harness.core.garbage import pause_collection
from reports.board.history import build_histories
from reports.board.pages import Site, build_cells, build_comparisons, build_history, build_index, build_pair
from reports.board.pairs import list_pairs
from reports.board.runs import DamagedRun, read_runs
from reports.board.tables import Page, list_links
from reports.escape import flatten_text
from reports.page import TEMPLATES

INDEX, COMPARISONS, CELLS = "index.html", "comparisons.html", "cells.html"
ASSETS = {
    "style.css": ("report.css", "board.css"),
    "tables.js": ("vendor/datatables.min.js",),
    "board.js": ("board.js",),
}
"""File of assets/ -> the files of reports/templates/ that it is made of."""


@pause_collection()
def write_board(folder: Path, to: Path | None = None) -> tuple[Path, int, list[DamagedRun]]:
    """Write the board of the runs in a folder, into `to` or FOLDER/board.

    Returns the path of its first page, how many runs it lists, and the runs that cannot be read. Raises UserError.
    """
    runs, damaged = read_runs(folder)
    target = to or folder / "board"
    pairs, histories = list_pairs(runs), build_histories(runs)
    site = Site(target, runs, pairs, list(histories))
    pages: dict[str, Page] = {INDEX: build_index(site, damaged), COMPARISONS: build_comparisons(site)}
    pages[CELLS] = build_cells(site, histories)
    pages |= {site.pair_files[id(pair)]: build_pair(site, pair) for pair in pairs}
    pages |= {site.place_files[place]: build_history(site, place, cells) for place, cells in histories.items()}
    template = _load_template()
    try:
        for name, parts in ASSETS.items():
            content = "\n".join((TEMPLATES / part).read_text() for part in parts)
            _write(target, f"assets/{name}", content)
        for name, page in pages.items():
            _write(target, name, template.render(page=page))
    except OSError as error:
        raise UserError(f"cannot write the board in {target}: {describe_os_error(error)}; give --to FOLDER") from error
    return target / INDEX, len(runs), damaged


def _write(target: Path, name: str, content: str) -> None:
    path = join_inside(target, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    # not atomically: the site can be written again, and syncing hundreds of files to the disk takes seconds
    path.write_bytes(content.encode(errors="replace"))


def _load_template() -> Any:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else flatten_text(value),
    )
    environment.globals["pages"] = ((INDEX, "Runs"), (COMPARISONS, "Comparisons"), (CELLS, "Cells over time"))
    environment.filters["links"] = list_links
    return environment.get_template("board.html.j2")
