"""The HTML report in a real browser: first screen, sorting, filters, charts, keys, themes, phone, print, speed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.record import Parameters, Record
from reports.findings import build_findings
from reports.render import write_report
from reports.statistics.analysis import analyse
from tests.reports.browser import AXE, CHROMIUM, DESKTOP, PHONE, Browser, Tab, run_browser
from tests.reports.records import EIGHT, cell, many, profile, record

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
FAST = {"cola": (60.0, 62.0, 61.5), "rte": (70.0, 75.0, 73.0)}
METHODS = (("lora", "quick", 0.0, 2048), ("lorasp", "quick", -1.5, 1024), ("full", "small", 8.0, 900_000))


def build_records() -> list[Record]:
    return [
        record(
            score + bonus * (1 + seed / 10),
            cell(task, method, seed, preset=preset),
            parameters=Parameters(
                adapter_trained=count, adapter_frozen=0, head_trained=130, backbone=9999, backbone_trained=0
            ),
        )
        for task, scores in FAST.items()
        for seed, score in enumerate(scores)
        for method, preset, bonus, count in METHODS
    ]


def write_page(folder: Path, records: list[Record], profiles: Any = ()) -> Path:
    findings = build_findings(analyse(records, profiles, margin=1.0))
    return write_report(
        records, profiles, folder, "glue: three", "command", findings=findings, formats=["html", "csv"], images=[]
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    profiles = [profile("lora"), profile("full", peak_bytes=2**19)]
    return write_page(tmp_path_factory.mktemp("page"), build_records(), profiles)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with run_browser() as running:
        yield running


@pytest.fixture
def tab(browser: Browser, page: Path) -> Iterator[Tab]:
    shown = browser.open(page)
    yield shown
    assert shown.list_problems() == []
    shown.close()


def open_section(tab: Tab, name: str) -> None:
    """Open a folded section and wait until its tables and charts are there."""
    tab.ask(f"document.querySelector('#section-{name} > summary').click()")
    tab.ask("new Promise((done) => setTimeout(done, 100))")


def read_column(tab: Tab, table: str, head: str) -> list[str]:
    """The texts of a column, from top to bottom as shown."""
    expression = f"""(() => {{
        const table = document.querySelector({table!r});
        const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === {head!r});
        return [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
    }})()"""
    texts: list[str] = tab.ask(expression)
    return texts


def sort_column(tab: Tab, table: str, head: str) -> str:
    """Click on a head; what it then says of its order."""
    find = f"[...document.querySelector({table!r}).tHead.rows[0].cells].find((cell) => cell.textContent === {head!r})"
    tab.ask(f"{find}.click()")
    said: str = tab.ask(f"new Promise((done) => setTimeout(() => done({find}.getAttribute('aria-sort')), 50))")
    return said


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""Pixels by which the page is wider than the window."""
RANKING, RUNS = "table.ranking", "#section-runs table"


@pytest.mark.parametrize("dark", [False, True])
def test_the_first_screen_has_the_answer_the_ranking_and_the_chart(browser: Browser, page: Path, dark: bool) -> None:
    tab = browser.open(page, dark=dark)
    boxes = tab.ask(
        """Object.fromEntries(["h1", "table.ranking", ".left", "figure.main svg", ".controls", "#search"].map(
        (one) => { const box = document.querySelector(one).getBoundingClientRect();
                   return [one, [box.left, box.top, box.right, box.bottom]]; }))"""
    )
    assert all(0 <= box[0] < box[2] <= DESKTOP[0] and 0 <= box[1] < box[3] <= DESKTOP[1] for box in boxes.values())
    assert boxes["h1"][3] <= boxes["table.ranking"][1] and boxes[".left"][2] < boxes["figure.main svg"][0]
    assert tab.ask("[...document.querySelectorAll('details.section')].every((section) => !section.open)")
    assert tab.ask(OVERFLOW) <= 0 and tab.list_problems() == []
    background = tab.ask("getComputedStyle(document.body).backgroundColor")
    assert (np.mean([int(x) for x in re.findall(r"\d+", background)]) < 128) == dark
    tab.close()


def test_the_best_mean_is_bold_and_verdicts_are_words_for_screen_readers(tab: Tab) -> None:
    bold = tab.ask("[...document.querySelectorAll('table.ranking strong')].map((one) => one.textContent)")
    assert len(bold) == 3 and all(float(text.split(" ")[0]) > 65 for text in bold)
    assert read_column(tab, RANKING, "vs lora")[0] == "+8.8 better"
    assert "baseline" in read_column(tab, RANKING, "vs lora")


def test_numbers_sort_as_numbers_and_empty_cells_come_last(tab: Tab) -> None:
    assert sort_column(tab, RANKING, "trainable parameters") == "ascending"
    assert read_column(tab, RANKING, "trainable parameters") == ["1,024", "2,048", "900,000"]
    assert sort_column(tab, RANKING, "trainable parameters") == "descending"
    assert read_column(tab, RANKING, "trainable parameters") == ["900,000", "2,048", "1,024"]
    for order, first in (("ascending", "512.0 KiB"), ("descending", "3.00 MiB")):
        assert sort_column(tab, RANKING, "peak memory") == order
        peaks = read_column(tab, RANKING, "peak memory")
        assert peaks[0] == first and peaks[-1] == ""


def test_filters_and_search_hit_tables_and_charts(tab: Tab) -> None:
    open_section(tab, "runs")
    open_section(tab, "scores")
    names = "[...document.querySelectorAll('figure.main svg text')].map((text) => text.textContent)"
    panels = "[...document.querySelectorAll('#section-scores .facets p')].map((title) => title.textContent)"
    assert len(read_column(tab, RUNS, "key")) == 18 and "full" in tab.ask(names)
    assert tab.ask(panels) == ["cola", "rte"]
    tab.ask("document.querySelector('.menu input[value=full]').click()")
    assert set(read_column(tab, RUNS, "method")) == {"lora", "lorasp"} == set(read_column(tab, RANKING, "method"))
    assert "full" not in tab.ask(names) and "12 of 18 runs" in tab.ask("document.getElementById('count').textContent")
    tab.ask("document.querySelector('.menu input[value=cola]').click()")
    assert set(read_column(tab, RUNS, "task")) == {"rte"} and tab.ask(panels) == ["rte"]
    heads = tab.ask("[...document.querySelector('table.ranking').tHead.rows[0].cells].map((c) => c.textContent)")
    assert "cola" not in heads and "rte" in heads
    tab.ask("document.getElementById('reset').click()")
    assert len(read_column(tab, RUNS, "key")) == 18 and tab.ask(panels) == ["cola", "rte"]
    tab.ask(
        "(() => { const s = document.getElementById('search'); s.value = 'lorasp'; "
        "s.dispatchEvent(new Event('input')); })()"
    )
    assert set(read_column(tab, RUNS, "method")) == {"lorasp"}
    assert "6 rows" in tab.ask("document.querySelector('#section-runs .hits').textContent")


def test_a_preset_filter_hides_the_methods_that_have_no_other(tab: Tab) -> None:
    tab.ask("document.querySelector('.menu[data-kind=preset] input[value=small]').click()")
    assert set(read_column(tab, RANKING, "method")) == {"lora", "lorasp"}


def test_charts_round_as_the_tables_do(tab: Tab) -> None:
    values = [
        84.25,
        84.75,
        -0.25,
        0.25,
        0.35,
        2.5,
        -1.05,
        84.25000000000001,
        0.0,
        99.95,
        *np.linspace(-3, 3, 97).tolist(),
    ]
    assert tab.ask(f"{values}.map(points)") == [f"{value:.1f}" for value in values]


def test_tables_are_copied_as_shown(tab: Tab) -> None:
    tab.ask("navigator.clipboard.writeText = async (text) => { window.told = text; }")
    sort_column(tab, RANKING, "trainable parameters")
    copied = {}
    for name in ("Markdown", "CSV", "LaTeX"):
        tab.ask(f"document.querySelector('.first .tools button[aria-label$={name}]').click()")
        copied[name] = tab.ask("new Promise((done) => setTimeout(() => done(window.told), 20))")
    lines = copied["Markdown"].splitlines()
    assert lines[0].startswith("| method | tied with best |") and lines[2].startswith("| lorasp |")
    assert '"1,024"' in copied["CSV"] and copied["CSV"].splitlines()[1].startswith("lorasp,")
    assert r"$\pm$" in copied["LaTeX"] and copied["LaTeX"].count(r"\\") == 4


def test_axes_of_the_pareto_chart_can_be_chosen(tab: Tab) -> None:
    tab.ask("document.querySelector('.controls button[value=pareto]').click()")
    tab.ask(
        "(() => { const x = document.querySelectorAll('.controls select')[2]; x.value = 'peak'; "
        "x.dispatchEvent(new Event('change')); })()"
    )
    texts = tab.ask("[...document.querySelectorAll('figure.main svg text')].map((text) => text.textContent)")
    assert "peak memory (MiB), less is better" in texts and "mean score" in texts
    assert tab.ask("document.querySelectorAll('figure.main svg circle').length") == 2  # lorasp has no profile


def test_keys_open_sections_sort_and_move_between_the_runs_of_cells(tab: Tab) -> None:
    tab.ask("document.querySelector('#section-scores > summary').focus()")
    tab.press("Enter")
    assert tab.ask("document.getElementById('section-scores').open")
    tab.ask("document.querySelector('table.ranking tbody [tabindex=\"0\"]').focus()")
    assert tab.ask("document.getElementById('tip').textContent").count("seed") >= 3
    before = tab.ask("document.activeElement.textContent")
    tab.press("ArrowDown")
    assert tab.ask("document.activeElement.tagName") == "TD" and tab.ask("document.activeElement.textContent") != before
    tab.press("Escape")
    assert tab.ask("document.getElementById('tip').hidden")
    tab.ask("document.querySelector('table.ranking thead [tabindex=\"0\"]').focus()")
    tab.press("Enter")
    tab.ask("new Promise((done) => setTimeout(done, 50))")
    assert tab.ask("document.querySelectorAll('table.ranking [aria-sort]').length") == 1


def test_the_theme_button_turns_the_page(tab: Tab) -> None:
    colours = "[document.body, document.querySelector('figure.main svg')].map((n) => getComputedStyle(n).color)"
    light = tab.ask(colours)
    tab.ask("document.getElementById('theme').click()")
    dark = tab.ask(colours)
    assert light[0] == light[1] != dark[0] == dark[1]
    # the button says what it does, not what is on
    assert tab.ask("document.getElementById('theme').textContent") == "Light"
    tab.ask("localStorage.clear()")


def test_a_phone_scrolls_tables_and_not_the_page(browser: Browser, page: Path) -> None:
    tab = browser.open(page, PHONE)
    tab.ask("document.getElementById('unfold').click()")
    tab.ask("new Promise((done) => setTimeout(done, 300))")
    assert tab.ask(OVERFLOW) <= 0
    assert tab.ask("document.querySelector('.first .scroll').scrollWidth") > PHONE[0]
    assert tab.list_problems() == []
    tab.close()


def test_structure_for_screen_readers(tab: Tab) -> None:
    answer = tab.ask(
        """(() => { const ids = [...document.querySelectorAll('[id]')].map((one) => one.id); return {
        twice: ids.length - new Set(ids).size,
        captions: [...document.querySelectorAll('table')].every((table) => table.caption),
        scopes: document.querySelectorAll('th:not([scope])').length,
        names: [...document.querySelectorAll('select, input')].every((one) => one.labels.length > 0),
        lang: document.documentElement.lang, title: document.querySelectorAll('h1').length }; })()"""
    )
    assert answer == {"twice": 0, "captions": True, "scopes": 0, "names": True, "lang": "en", "title": 1}


# ---------------------------------------------------------------- slow: accessibility, print, bad input, size


@pytest.mark.slow
@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core here: npm install --prefix build/npm axe-core")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_serious_problem(browser: Browser, page: Path, dark: bool) -> None:
    tab = browser.open(page, dark=dark, policy=False)
    tab.ask("document.getElementById('unfold').click()")
    tab.ask("new Promise((done) => setTimeout(done, 500))")
    tab.ask(f"{AXE.read_text()}; true")
    found = tab.ask("axe.run(document).then((r) => r.violations.map((v) => [v.impact, v.id, v.nodes[0].html]))")
    assert [one for one in found if one[0] in ("serious", "critical")] == []
    tab.close()


@pytest.mark.slow
def test_print_is_on_a4_and_short(browser: Browser, page: Path, tmp_path: Path) -> None:
    tab = browser.open(page)
    pdf = tab.print_pdf()
    sizes = {
        tuple(round(float(x)) for x in box.split())
        for box in re.findall(r"/MediaBox \[([^\]]*)\]", pdf.decode("latin1"))
    }
    assert sizes and all(abs(w - 842) < 2 and abs(h - 595) < 2 for _, _, w, h in sizes)
    assert 2 <= len(re.findall(rb"/Type /Page\b", pdf)) <= 12
    # what is wider than the paper would be clipped: laid out at its width, nothing reaches beyond
    tab.send("Emulation.setEmulatedMedia", media="print")
    tab.send("Emulation.setDeviceMetricsOverride", width=1047, height=720, deviceScaleFactor=1, mobile=False)
    tab.ask("dispatchEvent(new Event('beforeprint'))")
    assert tab.ask("document.documentElement.scrollWidth") <= 1047
    tab.close()


BAD: dict[str, list[Record]] = {
    "one cell": [record(61.0)],
    "one seed": [record(60.0 + len(m), cell(t, m)) for t in FAST for m in ("lora", "lorasp")],
    "all failed": [
        record(None, cell(t, m, s), loss_curve=[]) for t in FAST for m in ("lora", "lorasp") for s in (0, 1)
    ],
    "sixty methods": [
        record(60.0 + k, cell("cola", "lorasp", s, options={"rank": k + 1})) for k in range(60) for s in (0, 1)
    ],
    "forty tasks": [
        record(60.0 + s, cell(f"task{t}", m, s), [f"task{t}" for t in range(40)])
        for t in range(40)
        for m in ("lora", "full")
        for s in (0, 1)
    ],
    "long names": [
        record(60.0 + s, cell(t, m, s), ["t" * 200, "rte"])
        for t in ("t" * 200, "rte")
        for m in ("lora", "m" * 200)
        for s in (0, 1)
    ],
    "no number": [
        record(float("nan"), cell("cola", m, s), loss_curve=[(1, float("nan"))])
        for m in ("lora", "lorasp")
        for s in (0, 1)
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_page_without_errors(name: str, browser: Browser, tmp_path: Path) -> None:
    path = write_page(tmp_path, BAD[name])
    for size in (DESKTOP, PHONE):
        tab = browser.open(path, size)
        tab.ask("document.getElementById('unfold').click()")
        tab.ask("new Promise((done) => setTimeout(done, 500))")
        assert (
            tab.ask("document.querySelector('h1').textContent")
            and tab.ask("document.querySelectorAll('tr').length") > 3
        )
        assert tab.ask(OVERFLOW) <= 0 and tab.list_problems() == []
        tab.close()


@pytest.mark.slow
def test_two_thousand_cells_paint_in_a_second_from_less_than_three_megabytes(browser: Browser, tmp_path: Path) -> None:
    path = write_page(tmp_path, many(tasks=EIGHT))
    assert path.stat().st_size < 3e6
    paints = []
    for _ in range(3):  # the best of three: other work on the machine is no fault of the page
        tab = browser.open(path)
        paints.append(tab.ask("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 1e9"))
        assert tab.list_problems() == []
        tab.close()
    assert min(paints) < 1000


def test_vendored_libraries_are_those_that_their_list_names() -> None:
    import hashlib
    import json

    from reports.page import LIBRARIES, TEMPLATES

    listed = json.loads((TEMPLATES / "vendor" / "versions.json").read_text())
    assert {one["file"] for one in listed} == {f"{name}.min.js" for name in LIBRARIES}
    for one in listed:
        content = (TEMPLATES / "vendor" / one["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == one["sha256"]
        assert (TEMPLATES / "vendor" / one["licence_file"]).stat().st_size > 300
