"""A report table or figure is one file: it is loaded with --plugin and found in every format."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from harness.cli.main import main
from harness.core.registry import load_package
from reports.registered import FIGURES, SECTIONS, TABLES
from tests.reports.records import grid_of, store_of

PLUGIN = """
from reports.document import Drawing
from reports.plots.style import create_figure
from reports.registered import SectionContent, report_figure, report_section, report_table
from reports.document import Table


@report_table("best-runs", title="Best run of each method")
def build(context):
    return [
        {"method": m, "best": max(r.scores["accuracy"] for r in context.grid.select_method(m)),
         "margin": "none" if context.analysis.margin is None else str(context.analysis.margin)}
        for m in context.grid.methods
    ]


@report_figure("dots")
def draw(context):
    figure = create_figure(3, 2)
    figure.subplots().plot([1, 2], [1, 2])
    return Drawing(figure, "Two dots", "Two dots.")


@report_section("calibration", title="Calibration of methods")
def build_section(context):
    figure = create_figure(3, 2)
    figure.subplots().plot([1, 2], [2, 1])
    table = Table("Calibration error", ("method", "error"), [(m, "0.25") for m in context.grid.methods])
    return SectionContent(["A paragraph on <calibration>."], [table], {"line": Drawing(figure, "A line", "A line.")})
"""
SCORES = {("cola", "lora"): [60.0, 62.123456789], ("cola", "lorasp"): [59.0, 61.5], ("rte", "lora"): [50.0, 51.0]}


@pytest.fixture
def registries() -> Iterator[None]:
    """Plugins stay registered for a process: other tests are to have none of these."""
    load_package("reports.tables")
    load_package("reports.plots")
    before = [(registry, dict(registry._items), dict(registry.sources)) for registry in (TABLES, FIGURES, SECTIONS)]
    yield
    for registry, items, sources in before:
        registry._items, registry.sources = items, sources  # type: ignore[assignment]


@pytest.mark.usefixtures("registries")
def test_one_plugin_file_adds_a_table_a_figure_and_a_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "best.py"
    plugin.write_text(PLUGIN)
    run = store_of(tmp_path / "run", grid_of(SCORES))
    assert main(["report", str(run), "--plugin", str(plugin), "--figures", "svg"]) == 0, capsys.readouterr().err
    report = run / "report"
    assert (report / "figures" / "glue-dots.svg").stat().st_size > 500
    md, page = (report / "report.md").read_text(), html.unescape((report / "report.html").read_text())
    assert "### Best run of each method\n" in md and "| lora | 62.12 | none |" in md
    assert "figures/glue-dots.svg" in md and "Two dots" in page
    assert "<caption>Best run of each method</caption>" in page and ">62.12<" in page
    rows = list(csv.DictReader(io.StringIO((report / "table-best-runs.csv").read_text())))
    assert [(r["suite"], r["method"], float(r["best"])) for r in rows] == [
        ("glue", "lora", 62.123456789),
        ("glue", "lorasp", 61.5),
    ]
    folded = page.index("<h2>Calibration of methods</h2>")
    assert folded < page.index("A paragraph on <calibration>.") < page.index("<caption>Calibration error</caption>")
    assert "### Calibration error" in md and "A paragraph on &lt;calibration&gt;." in md
    assert (report / "figures" / "glue-calibration-line.svg").stat().st_size > 500
    assert md.index("### Protocol") < md.index("### Best run of each method")


@pytest.mark.usefixtures("registries")
def test_the_section_of_a_plugin_is_ready_for_print(tmp_path: Path) -> None:
    """Its table has a file that report.tex reads, and its figure has the width of a column too."""
    plugin = tmp_path / "best.py"
    plugin.write_text(PLUGIN.replace("create_figure(3, 2)", "create_figure(context.figure_width, 2)"))
    run = store_of(tmp_path / "run", grid_of({("cola", "lora"): [60.0]}))  # has few other figures
    words = ["--formats", "latex", "--figures", "pdf,png"]
    assert main(["report", str(run), "--plugin", str(plugin), *words]) == 0
    text = (run / "report" / "report.tex").read_text()
    assert (
        text.index("tables/ranking-glue") < text.index("tables/glue-calibration-error") < text.index("A paragraph on")
    )
    assert r"lora & 0.25 \\" in (run / "report" / "tables" / "glue-calibration-error.tex").read_text()
    for name, inches in (("glue-calibration-line", 6.9), ("glue-calibration-line-column", 3.3)):
        assert Image.open(run / "report" / "figures" / f"{name}.png").width == pytest.approx(300 * inches, abs=1)
        assert (run / "report" / "figures" / f"{name}.pdf").stat().st_size > 500


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("cost", "return []", "report table 'cost' is already registered"),
        ("lost", "return [{'a': 1}]", "unknown report section 'scorse'"),
        ("broken", "return 1 / 0", "report table 'broken' raises ZeroDivisionError"),
    ],
)
def test_a_plugin_that_is_wrong_is_one_line(
    name: str, body: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "wrong.py"
    topic = ", topic='scorse'" if name == "lost" else ""
    plugin.write_text(
        f"from reports.registered import report_table\n@report_table('{name}'{topic})\ndef f(c): {body}\n"
    )
    run = store_of(tmp_path / "run", grid_of(SCORES))
    assert main(["report", str(run), "--plugin", str(plugin), "--formats", "md", "--figures", ""]) == 2
    error = capsys.readouterr().err
    assert says in error and len(error.strip().splitlines()) == 1


@pytest.mark.usefixtures("registries")
def test_a_table_without_rows_is_left_out(tmp_path: Path) -> None:
    plugin = tmp_path / "empty.py"
    plugin.write_text("from reports.registered import report_table\n@report_table('empty one')\ndef f(c): return []\n")
    run = store_of(tmp_path / "run", grid_of(SCORES))
    assert main(["report", str(run), "--plugin", str(plugin), "--formats", "md,csv", "--figures", ""]) == 0
    assert "empty one" not in (run / "report" / "report.md").read_text()
    assert not list((run / "report").glob("table-*"))
