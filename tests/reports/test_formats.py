"""One report in Markdown, HTML, LaTeX and CSV: the same numbers in each, and nothing that a record's text can break."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import statistics
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from scipy import stats

from harness.core.record import Record
from reports.escape import escape_latex, escape_markdown, escape_markdown_alt, format_markdown_code
from reports.figures import IMAGES
from reports.findings import build_findings
from reports.page import LIBRARIES
from reports.render import FORMATS, write_report
from reports.statistics.analysis import analyse
from tests.reports.records import EIGHT, cell, grid_of, profile, record

Rows = list[list[str]]
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
    for name, (records, *words) in said.items():
        found = build_findings(analyse(records, [profile("lora")], margin=1.0))
        write_report(records, [profile("lora")], made[name], *words, findings=found, formats=FORMATS, images=IMAGES)
    return made


# ---------------------------------------------------------------- readers that share nothing with the writers


class Page(HTMLParser):
    """Tables by caption, and all elements and text seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, Rows] = {}
        self.tags = [""]
        self.texts: list[str] = []
        self.rows: Rows = []
        self.caption = ""
        self.is_in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.is_in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self.is_in_cell = False
        elif tag == "table":
            self.tables.setdefault(self.caption, self.rows)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.tags[-1] == "caption" and data.strip():
            self.caption = data
        elif self.is_in_cell:
            self.rows[-1][-1] += data.strip("\n")


def of_markdown(text: str) -> dict[str, Rows]:
    """Tables by the heading above, as a CommonMark parser reads them."""
    found: dict[str, Rows] = {}
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    title, rows = "", []
    for before, token in zip([tokens[0], *tokens], tokens, strict=False):
        if token.type == "inline" and before.type == "heading_open":
            title = _told(token)
        elif token.type == "table_open":
            rows = found.setdefault(title, [])
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and before.type in ("th_open", "td_open"):
            rows[-1].append(_told(token))
    return found


def _told(token: Token) -> str:
    allowed = ("text", "text_special", "code_inline", "strong_open", "strong_close")
    assert all(child.type in allowed for child in token.children or []), token
    return "".join(child.content for child in token.children or [])


def of_latex(text: str) -> dict[str, Rows]:
    """Tables by the subsection above: cells between & and rows up to a double backslash."""
    found = {}
    for title, body in re.findall(r"\\subsection\*\{(.*?)\}\n.*?\\toprule\n(.*?)\\bottomrule", text, re.S):
        lines = [line for line in body.splitlines() if line.rstrip().endswith(r"\\")]
        cells = [re.split(r"(?<!\\)&", line.rstrip().removesuffix(r"\\")) for line in lines]
        found[plain(title)] = [[plain(cell.strip()) for cell in row] for row in cells]
    return found


def plain(text: str) -> str:
    words = {
        r"\textpm{}": "±",
        r"\textdagger{}": "†",
        "{-}": "-",
        r"\textquotesingle{}": "'",
        r"\textless{}": "<",
        r"\textgreater{}": ">",
        r"\textbar{}": "|",
    }
    for command, sign in words.items():
        text = text.replace(command, sign)
    return re.sub(r"\\([&%$#_{}])", r"\1", text)


def read_all(folder: Path) -> list[dict[str, Rows]]:
    return [
        of_markdown((folder / "report.md").read_text()),
        Page((folder / "report.html").read_text()).tables,
        of_latex((folder / "report.tex").read_text()),
    ]


# ---------------------------------------------------------------- agreement


def test_markdown_html_and_latex_hold_the_same_cells(folders: dict[str, Path]) -> None:
    md, html, tex = read_all(folders["plain"])
    assert len(md) >= 5 and "Comparisons, paired by seed" in md
    assert {title: rows for title, rows in html.items() if title != "Every run"} == md == tex


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
    for tables in read_all(folders["plain"]):
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
    text = (folders["hostile"] / "report.tex").read_text()
    bare = re.sub(r"\\.", "", "\n".join(line for line in text.splitlines() if not line.startswith("%")))
    assert bare.count("{") == bare.count("}") and "$" not in bare and "%" not in bare
    body = bare.split("document", 1)[1]
    assert "_" not in body and "^" not in body and "~" not in body
    for block in re.findall(r"\\begin\{longtable\}.*?\\bottomrule", text, re.S):
        widths = {len(re.findall(r"(?<!\\)&", line)) for line in block.splitlines() if line.endswith(r"\\")}
        assert len(widths) == 1, block


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex here")
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_latex_compiles(name: str, folders: dict[str, Path]) -> None:
    words = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(words, cwd=folders[name], capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folders[name] / "report.pdf").stat().st_size > 20_000


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
