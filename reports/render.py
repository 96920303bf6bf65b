"""The report's files: one model of the report, a template for each format of text, and flat files of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import UserError, build_unknown_error
from harness.core.file_names import join_inside
from harness.core.files import describe_os_error, replace_file
from harness.core.profile import Profile
from harness.core.record import Record
from reports.build import build_report
from reports.document import Findings, Report
from reports.figures import COLUMN_SUFFIX, IMAGES, PRINT_IMAGES, extract_svg, render_image
from reports.flat import build_cell_rows, build_score_rows, to_csv, to_parquet
from reports.frames import build_method_names
from reports.ranking_table import render_readme_table
from reports.templating import render_latex_tables, render_template

FORMATS = ("md", "html", "latex", "readme-table", "csv", "parquet")
DEFAULT_FORMATS, DEFAULT_IMAGES = ("md", "html", "csv"), ("png", "svg")
FIGURES = "figures/"
README_TABLE = "readme-table"
NO_RANKING = "No ranking: these cells are not to be compared with each other.\n"
TEXTS = {"md": "report.md", "html": "report.html", "latex": "report.tex"}


def write_report(
    records: Sequence[Record],
    profiles: Sequence[Profile],
    folder: Path,
    title: str,
    command: str,
    dropped: Sequence[str] = (),
    *,
    findings: Findings | None = None,
    published: Sequence[Mapping[str, str]] = (),
    formats: Sequence[str] = DEFAULT_FORMATS,
    images: Sequence[str] = DEFAULT_IMAGES,
) -> Path:
    """Write the asked formats and figures into `folder`; returns the path of what is to be read first."""
    check_allowed("format", formats, FORMATS)
    check_allowed("figure format", images, IMAGES)
    if not records:
        raise UserError(f"no records for a report in {folder.parent}; run cells first")
    # a text without images links no figure, so none is drawn
    columns, draw = "pdf" in images, bool(images) or "html" in formats
    report = build_report(records, profiles, title, command, dropped, findings or Findings(), published, columns, draw)
    files = _render_images(report, formats, images)
    elements = _take_vectors(files)
    names = build_method_names(records)
    for kind in formats:
        if kind == "html":
            files["report.html"] = render_template("report.html", report, vectors=elements, formats=formats)
        elif kind == README_TABLE:
            text = "\n".join(map(render_readme_table, report.rankings)) or NO_RANKING
            files["README-table.md"] = text.encode(errors="replace")
        elif kind in TEXTS:
            files[TEXTS[kind]] = render_template(TEXTS[kind], report, image=_pick_image(kind, images))
            files |= render_latex_tables(report) if kind == "latex" else {}
        else:
            to_bytes = to_csv if kind == "csv" else to_parquet
            flat = {"scores": build_score_rows(records, names), "cells": build_cell_rows(records, names)}
            files |= {f"{name}.{kind}": to_bytes(rows) for name, rows in flat.items()}
    for name, rows in {**(findings.flat if findings else {}), **report.table_rows}.items():
        writers = {"csv": to_csv, "parquet": to_parquet}
        files |= {f"{name}.{kind}": writers[kind](rows) for kind in formats if kind in writers and rows}
    _write_files(folder, files)
    return find_main_file(folder, formats)


def write_page(
    report: Report,
    folder: Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    images: Sequence[str] = DEFAULT_IMAGES,
) -> Path:
    """A report without records in the formats of text; returns the path of what is to be read first."""
    check_allowed("format", formats, FORMATS)
    check_allowed("figure format", images, IMAGES)
    kinds = [kind for kind in TEXTS if kind in formats] or ["md"]
    files = _render_images(report, kinds, images)
    elements = _take_vectors(files)
    for kind in kinds:
        extra: dict[str, Any] = {"vectors": elements} if kind == "html" else {"image": _pick_image(kind, images)}
        files[TEXTS[kind]] = render_template(TEXTS[kind], report, **extra)
    files |= render_latex_tables(report) if "latex" in kinds else {}
    _write_files(folder, files)
    return find_main_file(folder, kinds)


def find_main_file(folder: Path, formats: Sequence[str]) -> Path:
    """What is to be read first: the HTML, else another text, else the scores; the folder where there are only figures.

    Of files alike, the format that was named first.
    """
    names = {"html": "report.html"} if "html" in formats else {k: TEXTS[k] for k in formats if k in TEXTS}
    names = names or {k: "README-table.md" if k == README_TABLE else f"scores.{k}" for k in formats}
    return folder / next(iter(names.values())) if names else folder


def check_allowed(what: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise UserError for a name that is not allowed."""
    for name in given:
        if name not in allowed:
            raise build_unknown_error(what, name, allowed)


def _pick_image(kind: str, images: Sequence[str]) -> str:
    """The kind of image that a text format links; '' where none of those written will do."""
    # LaTeX sets no SVG, and GitHub shows no PDF within Markdown
    wanted = ("pdf", "png") if kind == "latex" else ("svg", "png")
    return next((name for name in wanted if name in images), "")


def _render_images(report: Report, formats: Sequence[str], images: Sequence[str]) -> dict[str, bytes]:
    """The figures' files, and under vector/ the SVG that goes into the HTML; each is drawn once."""
    files: dict[str, bytes] = {}
    for name, drawing in report.figures.items():
        # the page draws a figure that has a chart from its numbers, and needs no SVG of it
        contents = {
            kind: render_image(drawing, kind)
            for kind in IMAGES
            if kind in images or (kind == "svg" and "html" in formats and not drawing.chart)
        }
        files |= {f"{FIGURES}{name}.{kind}": content for kind, content in contents.items() if kind in images}
        if "html" in formats and not drawing.chart:
            files[f"vector/{name}"] = contents["svg"]
    for name, drawing in report.column_figures.items():
        kinds = [kind for kind in PRINT_IMAGES if kind in images]
        files |= {f"{FIGURES}{name}{COLUMN_SUFFIX}.{kind}": render_image(drawing, kind) for kind in kinds}
    return files


def _take_vectors(files: dict[str, bytes]) -> dict[str, str]:
    """Remove what lies under vector/, parts of the page and not files of the report; their <svg> elements by name."""
    names = [name for name in files if name.startswith("vector/")]
    return {name.removeprefix("vector/"): extract_svg(files.pop(name)) for name in names}


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each file whole or not at all. Raises UserError for a disk that is full or forbidden."""
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = join_inside(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
    except OSError as error:
        raise UserError(
            f"cannot write the report in {folder}: {describe_os_error(error)}; the records are stored: "
            "`report RUN --to FOLDER` writes it elsewhere"
        ) from error
