"""The report's templates: each escapes all that it is given, save what is marked as safe."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from reports.document import LinkedText, Report
from reports.escape import escape_latex, escape_markdown, escape_markdown_alt, flatten_text, format_markdown_code
from reports.latex import build_column_spec
from reports.page import (
    TEMPLATES,
    build_page_context,
    list_attributes,
    list_number_columns,
    split_aside,
    split_long_text,
)
from reports.plots.style import INK, PAPER
from reports.registered import SECTIONS
from reports.statistics.verdicts import WORDS

if TYPE_CHECKING:
    import jinja2

BRACKETS = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


class Safe(str):
    """Text that is in the format's own language already."""


def render_template(
    name: str,
    report: Report,
    *,
    image: str = "",
    vectors: Mapping[str, str] | None = None,
    formats: Collection[str] = (),
) -> bytes:
    """The text of report.md, report.tex or report.html; `vectors` are the figures' <svg> elements for the last.

    `formats`: of the files written beside it, to which it may link.
    """
    environment = {"report.md": _build_markdown, "report.tex": _build_latex, "report.html": _build_html}[name]()
    context: dict[str, Any] = {"image": image}
    if vectors is not None:
        context = _build_page(report, vectors) | {"formats": formats}
    return environment.get_template(f"{name}.j2").render(report=report, **context).encode(errors="replace")


def _create_environment(**options: Any) -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        **options,
    )
    environment.filters["texts"] = lambda row: [
        cell if isinstance(cell, LinkedText) else LinkedText(cell) for cell in row
    ]
    environment.filters["section_title"] = lambda name: SECTIONS.get(name).title
    return environment


def _build_markdown() -> jinja2.Environment:
    environment = _create_environment(finalize=lambda value: _escape_unless_safe(value, escape_markdown))
    environment.filters |= {
        "code": lambda value: Safe(format_markdown_code(value)),
        "alt": lambda value: Safe(escape_markdown_alt(value)),
        "raw": Safe,
    }
    return environment


def _build_latex() -> jinja2.Environment:
    environment = _create_environment(finalize=lambda value: _escape_unless_safe(value, escape_latex), **BRACKETS)
    environment.filters |= {"columns": lambda table: Safe(build_column_spec(table)), "raw": Safe}
    environment.globals["end"] = lambda loop: Safe(r" \\" if loop.last else " & ")
    return environment


def _escape_unless_safe(value: Any, escape: Any) -> str:
    from markupsafe import Markup

    return value if isinstance(value, (Safe, Markup)) else escape(value)


# ---------------------------------------------------------------- HTML


def _build_html() -> jinja2.Environment:
    # without control characters, which HTML forbids; Markup is text that is HTML already
    environment = _create_environment(autoescape=True, finalize=lambda value: _escape_unless_safe(value, flatten_text))
    environment.filters["numeric"] = list_number_columns
    environment.globals["list_attributes"] = list_attributes
    environment.globals |= {"split_aside": split_aside, "split_long_text": split_long_text}
    environment.globals["words"] = WORDS
    return environment


def _build_page(report: Report, vectors: Mapping[str, str]) -> dict[str, Any]:
    """What the page holds beside the report; `vectors` are the figures without a chart of the page."""
    themed = {name: apply_theme(name, element, report.figures[name].alt) for name, element in vectors.items()}
    return build_page_context(report) | {"vectors": themed}


def apply_theme(name: str, element: str, alt: str) -> str:
    """The figure with ids of its own in the page, the page's colours for ink and ground, and its text for no eyes."""
    element = re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.S)

    def with_own_ids(tag: re.Match[str]) -> str:
        text = tag[0].replace(' id="', f' id="{name}-').replace('href="#', f'href="#{name}-')
        return text.replace("url(#", f"url(#{name}-")

    # of tags only: names in the figure may read like one
    element = re.sub(r"<[^>]*>", with_own_ids, element)
    for colour, variable in ((INK, "--ink"), ("#000000", "--ink"), (PAPER, "--paper")):
        element = re.sub(f"(fill|stroke): {colour}\\b", f"\\1: var({variable})", element)
    return element.replace("<svg ", f'<svg role="img" aria-label="{html.escape(flatten_text(alt))}" ', 1)
