"""The HTML report in a real browser: sorting, filters, hover and keys, themes, speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.render import write_report
from tests.reports.browser import CHROMIUM, ask, dump
from tests.reports.records import EIGHT, cell, many, profile, record

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
FAST = {"cola": (60.0, 62.0), "rte": (70.0, 75.0)}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = [
        record(score + bonus, cell(task, method, seed, preset=preset))
        for task, scores in FAST.items()
        for seed, score in enumerate(scores)
        for method, preset, bonus in (("lora", "quick", 0.0), ("lorasp", "quick", -1.5), ("full", "small", 3.0))
    ]
    folder = tmp_path_factory.mktemp("page")
    return write_report(made, [profile("lora"), profile("full", peak_bytes=2**19)], folder, "glue: three", "command")


def test_a_click_on_a_head_sorts_and_says_so(page: Path) -> None:
    answer = ask(
        page,
        """
        const table = document.querySelector('#runs table');
        const column = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent === 'score');
        const button = table.tHead.rows[0].cells[column].querySelector('button');
        const read = () => [...table.tBodies[0].rows].map((r) => parseFloat(r.cells[column].textContent));
        button.click(); answer.up = read(); answer.said = button.parentNode.getAttribute('aria-sort');
        button.click(); answer.down = read(); answer.then = button.parentNode.getAttribute('aria-sort');
        const cost = [...document.querySelectorAll('table')].find((t) => t.caption.textContent === 'Cost');
        const peak = [...cost.tHead.rows[0].cells].findIndex((c) => c.textContent.startsWith('peak'));
        cost.tHead.rows[0].cells[peak].querySelector('button').click();
        answer.peaks = [...cost.tBodies[0].rows].map((r) => r.cells[peak].textContent);
        """,
    )
    assert answer["errors"] == [] and len(answer["up"]) == 12
    assert answer["up"] == sorted(answer["up"]) and answer["down"] == sorted(answer["up"], reverse=True)
    assert (answer["said"], answer["then"]) == ("ascending", "descending")
    assert answer["peaks"] == ["512.0 KiB", "3.00 MiB", ""]  # what is empty comes last


def test_filters_hide_rows_and_columns_of_others(page: Path) -> None:
    answer = ask(
        page,
        """
        const form = document.getElementById('filters');
        const table = document.querySelector('section table');
        const left = (nodes) => [...nodes].filter((n) => !n.hidden);
        const seen = () => ({
            runs: left(document.querySelectorAll('#runs tbody tr')).length,
            heads: left(table.tHead.rows[0].cells).map((c) => c.textContent),
            tasks: left(table.tBodies[0].rows).map((r) => r.cells[0].textContent),
            count: document.getElementById('count').textContent });
        const set = (name, value) => { form.elements[name].value = value; form.dispatchEvent(new Event('change')); };
        set('method', 'lora'); answer.method = seen();
        set('task', 'rte'); answer.both = seen();
        form.reset(); await wait(); answer.all = seen();
        set('preset', 'small'); answer.preset = seen();
        answer.options = [...form.elements.preset.options].map((o) => o.value);
        """,
    )
    assert answer["errors"] == [] and answer["options"] == ["", "quick", "small"]
    assert answer["method"]["runs"] == 4 and answer["method"]["heads"] == ["task", "score", "constant", "lora"]
    assert answer["both"]["runs"] == 2 and answer["both"]["tasks"] == ["rte"]
    assert answer["all"]["runs"] == 12 and answer["all"]["count"] == "12 of 12 runs"
    assert answer["all"]["heads"] == ["task", "score", "constant", "lora", "lorasp", "full"]
    assert answer["preset"]["runs"] == 4 and answer["preset"]["heads"][-1] == "full"


def test_hover_focus_and_arrow_keys_show_the_runs(page: Path) -> None:
    answer: dict[str, Any] = ask(
        page,
        """
        const tip = document.getElementById('tip');
        const table = document.querySelector('section table');
        const cell = table.tBodies[0].rows[0].cells[3];
        cell.dispatchEvent(new PointerEvent('pointerover', { bubbles: true }));
        answer.cell = tip.textContent; answer.described = cell.getAttribute('aria-describedby');
        document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' })); answer.escaped = tip.hidden;
        const first = table.querySelector('[tabindex="0"]'); first.focus(); answer.focused = tip.textContent;
        first.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }));
        answer.below = document.activeElement.textContent; answer.belowTip = tip.textContent;
        const mark = document.querySelectorAll('#glue-scores-runs0 use')[1];
        mark.dispatchEvent(new PointerEvent('pointerover', { bubbles: true })); answer.dot = tip.textContent;
        const mean = document.querySelectorAll('#glue-scores-runs1 use')[1];
        mean.dispatchEvent(new PointerEvent('pointerover', { bubbles: true })); answer.mean = tip.textContent;
        """,
    )
    assert answer["errors"] == []
    lora = [cell("cola", "lora", seed).key for seed in (0, 1)]
    expected = f"{lora[0]}  seed 0  60.0\n{lora[1]}  seed 1  62.0"
    assert answer["cell"] == answer["focused"] == expected and answer["described"] == "tip" and answer["escaped"]
    assert answer["below"] == "72.5 ± 31.8" and answer["belowTip"].startswith(cell("rte", "lora", 0).key)
    assert answer["dot"] == f"{lora[1]}  seed 1  62.0"
    assert answer["mean"].splitlines()[1] == f"{cell('rte', 'lora', 1).key}  seed 1  75.0"


def test_structure_for_screen_readers(page: Path) -> None:
    answer = ask(
        page,
        """
        const all = (s) => [...document.querySelectorAll(s)];
        answer.tables = all('table').length; answer.captions = all('table > caption').length;
        answer.unscoped = all('th:not([scope])').length;
        answer.images = all('figure svg').every((s) => s.getAttribute('role') === 'img');
        answer.labels = all('figure svg').map((s) => s.getAttribute('aria-label'));
        answer.lang = document.documentElement.lang;
        answer.unnamed = all('select').filter((s) => !s.labels.length).length;
        const ids = all('[id]').map((n) => n.id); answer.twice = ids.length - new Set(ids).size;
        answer.skip = document.querySelector('.skip').hash === '#report' && !!document.getElementById('report');
        answer.levels = all('h1, h2, h3').map((h) => h.tagName);
        """,
    )
    assert (
        answer["tables"] == answer["captions"] > 5 and answer["unscoped"] == answer["unnamed"] == answer["twice"] == 0
    )
    assert answer["images"] and all(len(label) > 30 for label in answer["labels"]) and len(answer["labels"]) == 4
    assert answer["lang"] == "en" and answer["skip"] and answer["levels"][:2] == ["H1", "H2"]


def test_themes(page: Path) -> None:
    script = """
        const colours = () => [document.body, document.querySelector('figure svg text')].map((n) => {
            const style = getComputedStyle(n); return n === document.body ? style.backgroundColor : style.fill; });
        answer.start = colours(); document.getElementById('theme').click(); answer.other = colours();
        answer.pressed = document.getElementById('theme').getAttribute('aria-pressed');
    """
    light, dark = ask(page, script), ask(page, script, "--blink-settings=preferredColorScheme=0")
    assert light["start"] == ["rgb(255, 255, 255)", "rgb(28, 28, 28)"] and light["pressed"] == "true"
    assert light["other"] == ["rgb(22, 22, 22)", "rgb(230, 230, 230)"] == dark["start"]
    assert dark["other"] == light["start"] and dark["pressed"] == "false"


def test_the_page_as_it_is_runs_its_script_under_its_own_policy(page: Path) -> None:
    dumped = dump(page)
    assert "12 runs</output>" in dumped and '<form id="filters" aria-label="Filters">' in dumped


def test_two_thousand_cells_open_in_two_seconds(tmp_path: Path) -> None:
    path = write_report(many(tasks=EIGHT), [], tmp_path, "many", "command", formats=["html"], images=[])
    script = "answer.rows = document.querySelectorAll('#runs tbody tr').length; answer.ms = performance.now();"
    answers = []
    for _ in range(3):  # the best of three: other work on the machine is no fault of the page
        answers.append(ask(path, script, clock=True))
        if answers[-1]["ms"] < 2000:
            break
    assert answers[-1]["errors"] == [] and answers[-1]["rows"] == 2000
    assert 0 < min(answer["ms"] for answer in answers) < 2000
