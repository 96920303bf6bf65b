"""Which figures a suite gets, and their files."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.core.registry import load_package
from reports.document import Drawing
from reports.plots.style import COLUMN_WIDTH, STYLE, freeze_layout, get_style
from reports.registered import SectionContent, SuiteContext, build_sections, draw_registered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES = ("png", "svg", "pdf")
PRINT_IMAGES = ("pdf", "png")
"""Kinds that are also written at the width of one column (NAME-column.pdf), where a PDF is asked for."""
COLUMN_SUFFIX = "-column"
PRINT_DPI = 300
"""Dots per inch of a PNG, and of the parts of a PDF that are images."""
SVG_IMAGE_DPI = 288
"""Of the parts of an SVG that are images; sharp on screens of high resolution. The rest of it has no resolution."""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
"""Characters that XML forbids or a terminal acts on."""


def draw_figures(context: SuiteContext) -> dict[str, Drawing]:
    """Name -> drawing as wide as the context says; only those for which there are numbers."""
    load_package("reports.plots")
    with use_style(context.figure_width):
        drawings = draw_registered(context)
        for drawing in drawings.values():
            freeze_layout(drawing.figure)
    return drawings


def build_plugin_sections(context: SuiteContext) -> dict[str, SectionContent]:
    """Name -> content of the sections that plugins register; their figures have the style of the others."""
    with use_style(context.figure_width):
        contents = build_sections(context)
        for content in contents.values():
            for drawing in content.figures.values():
                freeze_layout(drawing.figure)
    return contents


def draw_column_figures(context: SuiteContext) -> dict[str, Drawing]:
    """The figures of `draw_figures` and of the plugins' sections, at the width of one column of a two-column page."""
    narrow = replace(context, figure_width=COLUMN_WIDTH)
    drawings = draw_figures(narrow)
    for content in build_plugin_sections(narrow).values():
        drawings |= content.figures
    return drawings


@contextlib.contextmanager
def use_style(width: float) -> Iterator[None]:
    """Draw in the style of figures of this width (inches), without a display."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(get_style(width)), _filter_glyph_warnings():
        yield


def render_image(drawing: Drawing, kind: str) -> bytes:
    """The figure as a file of one of IMAGES, the same bytes each time."""
    import matplotlib

    # versions and dates would change the bytes of an unchanged figure
    nameless = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}}
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE | {"svg.fonttype": "none"}), _filter_glyph_warnings():
        _write_figure(drawing.figure, kind, stream, nameless[kind])
    content = stream.getvalue()
    return (
        CONTROLS.sub(lambda match: _escape_character(match[0]), content.decode()).encode() if kind == "svg" else content
    )


def _escape_character(character: str) -> str:
    return character.encode("unicode_escape").decode()


@contextlib.contextmanager
def _filter_glyph_warnings() -> Iterator[None]:
    """Names may hold characters that the font lacks; matplotlib would print them raw to the terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from", category=UserWarning)
        warnings.filterwarnings("ignore", message=r"(?s)Matplotlib currently does not support", category=UserWarning)
        yield


def _write_figure(figure: Figure, kind: str, stream: io.BytesIO, metadata: dict[str, Any]) -> None:
    """As `savefig`, less its first drawing without an output: the layout is found already."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    dpi = figure.dpi
    figure.set_dpi(SVG_IMAGE_DPI if kind == "svg" else PRINT_DPI)
    try:
        if kind == "png":
            FigureCanvasAgg(figure).print_png(stream, metadata=metadata, pil_kwargs={"dpi": (PRINT_DPI, PRINT_DPI)})
        elif kind == "pdf":
            FigureCanvasPdf(figure).print_pdf(stream, metadata=metadata)
        else:
            FigureCanvasSVG(figure).print_svg(stream, metadata=metadata)
    finally:
        figure.set_dpi(dpi)


def extract_svg(content: bytes) -> str:
    """The <svg> element of an SVG file."""
    text = content.decode()
    return text[text.index("<svg") :]
