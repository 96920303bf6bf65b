"""One report in Markdown, HTML, LaTeX and CSV: the same numbers in each, and nothing that a record's text can break."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from scipy import stats

from harness.core.record import Record
from reports.escape import escape_latex, escape_markdown, escape_markdown_alt, format_markdown_code
from reports.figures import IMAGES
from reports.findings import build_findings
from reports.page import LIBRARIES
from reports.render import FORMATS, write_report
from reports.statistics.analysis import analyse
from tests.reports.format_readers import Page, of_latex, of_markdown, read_all
from tests.reports.records import EIGHT, cell, grid_of, profile, record

METHODS = ("lora", "lorasp:ratio=0.25", "full")
EVIL = r"""<script>alert("x")</script> & 50% of a_b {c} $x^2$ #1 \end ~ | a|b `tick` *star* [l](u) 中 ±"""
PDFLATEX = shutil.which("pdflatex")


def grid() -> list[Record]:
    rng = np.random.default_rng(1)
    scores = {(t, m): [float(x) for x in rng.normal(70, 4, 4)] for t in EIGHT[:4] for m in METHODS}
    return grid_of(scores, EIGHT)


def hostile() -> list[Record]:
    made = [record(60.0 + s, cell(method=m, seed=s)) for m in ("lora", EVIL) for s in range(3)]
    return [*made, record(None, cell("rte", EVIL), reason=EVIL), record(50.0, cell("rte", "lora"), data_notes=[EVIL])]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of plain and of hostile records, with all that the statistics say of them."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("plain", "hostile")}
    evil = f"python -m harness run {EVIL}"
    said = {"plain": (grid(), "t", "c", []), "hostile": (hostile(), EVIL, evil, [EVIL])}
    # a PDF takes as long as all else of its figure; of the plain report only LaTeX reads figures
    images = {"plain": ("pdf",) if PDFLATEX else (), "hostile": IMAGES}
    for name, (records, *words) in said.items():
        found = build_findings(analyse(records, [profile("lora")], margin=1.0))
        kinds = {"formats": FORMATS, "images": images[name]}
        write_report(records, [profile("lora")], made[name], *words, findings=found, **kinds)
    return made


# ---------------------------------------------------------------- agreement


def test_markdown_html_and_latex_hold_the_same_cells(folders: dict[str, Path]) -> None:
    md, html, tex = read_all(folders["plain"])
    assert len(md) >= 5 and "Comparisons, paired by seed" in md
    assert {title: rows for title, rows in html.items() if title != "Every run"} == md
    assert {title: rows for title, rows in md.items() if title != "Ranking"} == tex


def test_scores_and_differences_are_those_that_the_csv_gives(folders: dict[str, Path]) -> None:
    lines = list(csv.DictReader(io.StringIO((folders["plain"] / "scores.csv").read_text())))
    by: dict[tuple[str, str], dict[str, float]] = {}
    for line in lines:
        by.setdefault((line["task"], line["method"]), {})[line["seed"]] = float(line["value"])
    for tables in read_all(folders["plain"]):
        head, *rows = tables["Scores, average 'glue'"]
        checked = 0
        for row in rows[:-1]:
            for method, shown in zip(head[3:], row[3:], strict=True):
                values = list(by[row[0], method].values())
                low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
                assert shown == f"{np.mean(values):.1f} ± {(high - low) / 2:.1f}"
                checked += 1
        assert checked == 12
        for task, method, first, pairs, shown, *_ in tables["Comparisons, paired by seed"][1:]:
            if task in EIGHT and first == "lora":
                gaps = [by[task, method][seed] - by[task, "lora"][seed] for seed in by[task, "lora"]]
                assert shown.split(" ")[0] == f"{statistics.fmean(gaps):+.1f}" and pairs == "4"


def test_comparisons_and_means_over_tasks_are_those_of_their_csv(folders: dict[str, Path]) -> None:
    lines = list(csv.DictReader(io.StringIO((folders["plain"] / "comparisons.csv").read_text())))
    means = list(csv.DictReader(io.StringIO((folders["plain"] / "aggregates.csv").read_text())))
    for tables in read_all(folders["plain"]):
        head, *rows = tables["Comparisons, paired by seed"]
        assert len(rows) == len(lines) >= 10 and {line["suite"] for line in lines} == {"glue"}
        rows = rows if "suite" in head else [["glue", *row] for row in rows]  # a column of one suite is none
        for row, line in zip(rows, lines, strict=True):
            assert row[:4] == [line["suite"], line["on"], line["method"], line["against"]]
            assert row[4:6] == [line["pairs"], f"{float(line['difference']):+.1f}"] and row[10] == line["verdict"]
            assert row[6] == f"{float(line['low']):+.1f} to {float(line['high']):+.1f}"
            assert row[13].startswith(f"{float(line['detectable']):.1f} (")
            assert row[14].endswith(f"for {float(line['effect']):.1f}")
            assert row[14].startswith(line["seeds_needed"] or "more than 1,000")
        _, *rows = tables["Over all tasks"]
        shown = {row[1]: row[4] for row in rows}
        iqm = {line["method"]: line for line in means if line["measure"] == "interquartile mean"}
        assert shown == {
            m: f"{float(a['value']):.1f} ({float(a['low']):.1f} to {float(a['high']):.1f})" for m, a in iqm.items()
        }


def test_charts_have_the_numbers_of_the_ranking_and_of_the_comparisons(folders: dict[str, Path]) -> None:
    text = (folders["plain"] / "report.html").read_text()
    (suite,) = json.loads(re.findall(r'id="numbers">(.*?)</script>', text)[0]).values()
    lines = list(csv.DictReader(io.StringIO((folders["plain"] / "comparisons.csv").read_text())))
    # LaTeX has the ranking in fewer columns: see the test of the README's table.
    for tables in read_all(folders["plain"])[:2]:
        head, *rows = tables["Ranking"]
        assert [row[0] for row in rows] == [suite["methods"][one["method"]] for one in suite["ranking"]]
        for row, one in zip(rows, suite["ranking"], strict=True):
            mean, low, high = one["mean"]
            assert row[2] == f"{mean:.1f} ± {(high - low) / 2:.1f}"
            assert row[head.index("collapsed")] == "{} of {}".format(*one["collapsed"])
            means = {suite["tasks"][t]: value for t, m, value, *_ in suite["means"] if m == one["method"]}
            assert {task: row[head.index(task)] for task in means} == {t: f"{value:.1f}" for t, value in means.items()}
    assert len(lines) == len(suite["differences"])
    in_csv = {(one["on"], one["method"], one["against"]): one for one in lines}
    for place, method, first, *ends, verdict in suite["differences"]:
        on = suite["average"] if place < 0 else suite["tasks"][place]
        line = in_csv[on, suite["methods"][method], suite["methods"][first]]
        assert ends == [float(line[name]) for name in ("difference", "low", "high")] and verdict == line["verdict"]


# ---------------------------------------------------------------- hostile text


def test_hostile_text_is_read_back_as_text_from_html(folders: dict[str, Path]) -> None:
    text = (folders["hostile"] / "report.html").read_text()
    page = Page(text)
    scripts = re.findall(r"<script.*?</script>", text, re.S)
    assert page.tags.count("script") == len(scripts) == 2 + len(LIBRARIES)
    assert not any('alert("x")' in script for script in scripts)
    heads = page.tables["Scores, average 'glue'"][0]
    assert EVIL in heads and any(EVIL in row for row in page.tables["Cells without a score"])
    assert sum(EVIL in told for told in page.texts) > 10


def test_hostile_text_is_read_back_as_text_from_markdown(folders: dict[str, Path]) -> None:
    text = (folders["hostile"] / "report.md").read_text()
    tables = of_markdown(text)
    assert EVIL in tables["Scores, average 'glue'"][0]
    assert (
        EVIL in tables["Cells without a score"][1] and len({len(row) for row in tables["Cells without a score"]}) == 1
    )
    types = {
        t.type for token in MarkdownIt("commonmark").enable("table").parse(text) for t in token.children or [token]
    }
    assert not types & {"html_block", "html_inline", "link_open", "em_open"}
    assert "<script" not in re.sub(r"`+.*?`+", "", text.replace(r"\`", ""))


def test_hostile_text_leaves_latex_balanced(folders: dict[str, Path]) -> None:
    files = [folders["hostile"] / "report.tex", *(folders["hostile"] / "tables").glob("*.tex")]
    assert len(files) > 5
    for file in files:
        text = file.read_text()
        bare = re.sub(r"\\.", "", "\n".join(line for line in text.splitlines() if not line.startswith("%")))
        assert bare.count("{") == bare.count("}") and "$" not in bare and "%" not in bare
        body = bare.split("document", 1)[1] if file.name == "report.tex" else re.sub(r"\{tab:.*?\}", "", bare)
        body = re.sub(r"(?m)^.*(arraybackslash|includegraphics|input\{).*$", "", body)
        assert "_" not in body and "^" not in body and "~" not in body
        for block in re.findall(r"\\toprule.*?\\bottomrule", text, re.S):
            widths = {len(re.findall(r"(?<!\\)&", line)) for line in block.splitlines() if line.endswith(r"\\")}
            assert len(widths) == 1, block


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex here")
@pytest.mark.parametrize("name", ["plain", "hostile"])
@pytest.mark.parametrize("layout", ["report", "article", "twocolumn"])
def test_latex_compiles_without_overfull_boxes(layout: str, name: str, folders: dict[str, Path]) -> None:
    """The report, and each table by itself in an article of one and, but for long tables, of two columns."""
    folder, file = folders[name], f"{layout}.tex"
    if layout != "report":
        tables = sorted((folder / "tables").glob("*.tex"))
        inputs = [
            rf"\input{{tables/{table.stem}}}\clearpage"
            for table in tables
            if layout == "article" or "{longtable}{" not in table.read_text()
        ]
        assert len(inputs) >= 5
        options = "10pt,twocolumn" if layout == "twocolumn" else "10pt"
        start = rf"\documentclass[{options}]{{article}}\usepackage[T1]{{fontenc}}\usepackage[utf8]{{inputenc}}"
        packages = r"\usepackage{array,booktabs,longtable,textcomp}"
        body = "\n".join([start, packages, r"\begin{document}", "text", *inputs, r"\end{document}"])
        (folder / file).write_text(body)
    words = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", file]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / f"{layout}.pdf").stat().st_size > 20_000
    log = (folder / f"{layout}.log").read_text(errors="replace")
    assert not re.findall(r"Overfull .hbox.*", log)


# ---------------------------------------------------------------- the ranking


def test_readme_table_has_the_numbers_of_csv_and_of_latex(folders: dict[str, Path]) -> None:
    folder = folders["plain"]
    text = (folder / "README-table.md").read_text()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    cells = [t.content for before, t in itertools.pairwise(tokens) if before.type in ("th_open", "td_open")]
    head, *rows = [cells[i : i + 5] for i in range(0, len(cells), 5)]
    assert head[0] == "method" and head[3] == "difference to lora" and len(rows) == len(METHODS)
    assert sum(row[2].startswith("**") for row in rows) == 1 and rows[0][2].startswith("**")
    tex = of_latex(folder)["Ranking, glue"]
    assert [[cell.replace("**", "") for cell in row] for row in [head, *rows]] == tex
    lines = list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text())))
    comparisons = list(csv.DictReader(io.StringIO((folder / "comparisons.csv").read_text())))
    for method, _, mean, difference, _ in tex[1:]:
        seeds: dict[str, list[float]] = {}
        for line in lines:
            if line["method"] == method:
                seeds.setdefault(line["seed"], []).append(float(line["value"]))
        means = [statistics.fmean(values) for values in seeds.values()]
        low, high = stats.t.interval(0.95, len(means) - 1, np.mean(means), stats.sem(means))
        assert mean == f"{np.mean(means):.1f} ± {(high - low) / 2:.1f}"
        whole = [c for c in comparisons if (c["method"], c["against"]) == (method, "lora") and "mean" in c["on"]]
        if method == "lora":
            assert difference == ""
        else:
            (c,) = whole
            ends = (float(c[name]) for name in ("difference", "low", "high"))
            assert difference == "{:+.1f} ({:+.1f} to {:+.1f})".format(*ends)


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_hostile_names_are_drawn(kind: str, folders: dict[str, Path]) -> None:
    files = list((folders["hostile"] / "figures").glob(f"*.{kind}"))
    assert len(files) >= 5
    if kind == "svg":
        import xml.etree.ElementTree as tree

        texts = [t.text or "" for file in files for t in tree.parse(file).iter() if t.tag.endswith("text")]
        assert sum("alert(" in text for text in texts) >= 3


def test_escapes() -> None:
    assert escape_latex("a_b & 5% #1 {x} $") == r"a\_b \& 5\% \#1 \{x\} \$"
    assert escape_latex("\\") == r"\textbackslash{}" and escape_latex("中") == r"\unicode{4E2D}{中}"
    assert escape_markdown("# a\n- b | c") == r"\# a - b \| c" and escape_markdown("-5.2 ± 1") == "-5.2 ± 1"
    assert escape_markdown("1. x") == r"1\. x" and escape_markdown("<b>&") == "&lt;b&gt;&amp;"
    assert escape_markdown("lora [lr=1] [l](u) [l][u]") == r"lora [lr=1] [l\](u) [l\][u]"
    assert escape_markdown_alt("a]b [c](d)") == r"a\]b \[c\](d)"
    assert format_markdown_code("a`b") == "`` a`b ``"
