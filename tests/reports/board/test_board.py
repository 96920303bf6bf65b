"""The site over many runs: what it lists, against the runs themselves; what it does in a browser; bad input."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pandas as pd
import pytest

from harness.cli.main import main
from harness.core.record import Record
from harness.core.store import Store
from reports.board.site import write_board
from reports.changes import compare_runs
from tests.reports.browser import CHROMIUM, run_browser
from tests.reports.records import ENVIRONMENT, grid_of

METHODS = ("lora", "lorasp")


def store_run(
    folder: Path, day: int, offset: float = 0.0, methods: tuple[str, ...] = METHODS, seeds: int = 3
) -> list[Record]:
    """A run of one day, at a commit of its own."""
    scores = {
        (task, method): [60.0 + offset + i + 0.1 * day * seed for seed in range(seeds)]
        for task in ("cola", "rte")
        for i, method in enumerate(methods)
    }
    environment = ENVIRONMENT.model_copy(update={"commit": f"{day:02}" * 20, "harness": f"0.{day}"})
    fields = {"environment": environment, "finished": f"2026-01-{day:02}T00:00:00+00:00"}
    records = [one.model_copy(update=fields) for one in grid_of(scores)]
    store = Store(folder)
    store.prepare()
    for one in records:
        store.write(one, None)
    store.write_run("a command", f"glue: {', '.join(methods)}", [one.key for one in records], ())
    return records


def read_tables(page: Path) -> list[pd.DataFrame]:
    return pd.read_html(page)


def test_the_list_has_every_run_with_what_its_folder_holds(tmp_path: Path) -> None:
    for day, name in ((1, "first"), (3, "third"), (2, "second")):
        store_run(tmp_path / name, day)
    report = tmp_path / "third" / "report" / "report.html"
    report.parent.mkdir()
    report.write_text("<p>a report</p>")
    path, count, damaged = write_board(tmp_path)
    assert path == tmp_path / "board" / "index.html" and count == 3 and damaged == []
    (table,) = read_tables(path)
    assert list(table["run"]) == ["third", "second", "first"] and list(table["ok"]) == [12, 12, 12]
    assert set(table["methods"]) == {"lora, lorasp"} and list(table["commit"]) == [303030303, 202020202, 101010101]
    assert table["best method, mean"][2].startswith("lorasp 61.1 ")
    (link,) = re.findall(r'<a href="([^"]*report.html)">third</a>', path.read_text())
    assert (path.parent / link).resolve() == report.resolve()


def test_a_comparison_has_the_numbers_of_compare(tmp_path: Path) -> None:
    before, after = store_run(tmp_path / "a", 1), store_run(tmp_path / "b", 2, offset=1.5)
    write_board(tmp_path)
    (page,) = (tmp_path / "board" / "compare").glob("*.html")
    gaps, changes = read_tables(page)
    expected = compare_runs(before, after)
    assert list(gaps["B - A"]) == pytest.approx([gap.difference.mean for gap in expected.gaps], abs=0.005)
    assert list(gaps["pairs"]) == [3] * 4 and set(changes["what"]) == {"commit", "harness"}
    (pairs,) = read_tables(tmp_path / "board" / "comparisons.html")
    assert (pairs["before (A)"][0], pairs["after (B)"][0], pairs["scores"][0], pairs["higher"][0]) == ("a", "b", 4, 4)


def test_a_cell_has_its_scores_at_each_commit(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        store_run(tmp_path / f"run{day}", day, offset=float(day))
    write_board(tmp_path)
    (cells,) = read_tables(tmp_path / "board" / "cells.html")
    assert len(cells) == 4 and set(cells["runs"]) == {3} and set(cells["commits"]) == {3}
    (history,) = read_tables(tmp_path / "board" / "history" / "glue-cola-lora.html")
    first = history[history["seed"] == 0]
    assert list(first["run"]) == ["run1", "run2", "run3"] and list(first["score"]) == [61.0, 62.0, 63.0]
    assert list(first["change"]) == ["-", "+1.00", "+1.00"]


def test_damaged_runs_are_listed_and_do_not_stop_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = store_run(tmp_path / "whole", 1)
    store_run(tmp_path / "partly", 2)
    (tmp_path / "partly" / "cells" / f"{records[0].key}.json").write_text("{")
    for name in ("no-json", "no-cells"):
        store_run(tmp_path / name, 3)
    (tmp_path / "no-json" / "run.json").write_text("{")
    for path in (tmp_path / "no-cells" / "cells").iterdir():
        path.unlink()
    (tmp_path / "other").mkdir()
    assert main(["board", str(tmp_path), "--to", str(tmp_path / "site")]) == 0
    output = capsys.readouterr()
    assert "board of 2 runs" in output.out and output.err.count("cannot be read") == 2
    runs, damaged = read_tables(tmp_path / "site" / "index.html")
    assert list(runs["run"]) == ["partly", "whole"] and list(runs["missing"]) == [1, 0]
    assert sorted(damaged["folder"]) == ["no-cells", "no-json"]
    # a second time: the site itself is no run
    assert main(["board", str(tmp_path), "--to", str(tmp_path / "site")]) == 0
    assert "board of 2 runs" in capsys.readouterr().out


def test_names_are_escaped_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    name = 'x"><script>alert(1)</script>&'.replace("/", "")
    store_run(tmp_path / name, 1, methods=("<b>lora</b>", "lorasp"))
    store_run(tmp_path / "other", 2, methods=("<b>lora</b>", "lorasp"))
    write_board(tmp_path)
    pages = [path for path in (tmp_path / "board").rglob("*.html")]
    assert len(pages) >= 6
    for page in pages:
        text = page.read_text()
        assert (
            "<script>alert" not in text and "<b>lora" not in text and "http://" not in text and "https://" not in text
        )
        for link in re.findall(r'(?:href|src)="([^"#]+)"', text):
            assert (page.parent / link).exists(), (page, link)


@pytest.mark.parametrize("setup", ["empty", "absent", "run", "file"])
def test_a_folder_without_runs_is_one_line(setup: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs"
    if setup == "run":
        store_run(folder, 1)
    elif setup == "file":
        folder.write_text("")
    elif setup == "empty":
        folder.mkdir()
    assert main(["board", str(folder)]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1 and output.err.startswith("error: ") and output.out == ""
    assert not (folder / "board").exists()


def test_one_run_gives_a_site_without_comparisons(tmp_path: Path) -> None:
    store_run(tmp_path / "only", 1, seeds=1)
    write_board(tmp_path)
    for name in ("comparisons.html", "cells.html"):
        assert "none." in (tmp_path / "board" / name).read_text()


@pytest.mark.slow
def test_two_hundred_runs_take_seconds(tmp_path: Path) -> None:
    for i in range(200):
        store_run(tmp_path / f"run{i:03}", 1 + i % 28, offset=i / 100)
    # time of this process, for other processes may share the machine
    started = time.process_time()
    _, count, _ = write_board(tmp_path)
    assert count == 200 and time.process_time() - started < 10


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_tables_sort_search_and_filter_in_a_browser(tmp_path: Path) -> None:
    store_run(tmp_path / "alpha", 1)
    store_run(tmp_path / "beta", 2, methods=("lora", "full"))
    store_run(tmp_path / "gamma", 3)
    path, _, _ = write_board(tmp_path)
    names = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[0].textContent)"
    with run_browser() as browser:
        # the page's own content security policy holds
        tab = browser.open(path)
        assert tab.ask(names) == ["gamma", "beta", "alpha"]
        choose = """(value) => {
            const labels = [...document.querySelectorAll('.filters label')];
            const menu = labels.find((label) => label.textContent.startsWith('methods')).querySelector('select');
            menu.value = value; menu.dispatchEvent(new Event('change')); }"""
        type_text = """(value) => { const search = document.querySelector('input[type=search]');
            search.value = value; search.dispatchEvent(new Event('input')); }"""
        tab.ask(f"({choose})('full')")
        assert tab.ask(names) == ["beta"]
        tab.ask(f"({choose})('')")
        tab.ask(f"({type_text})('0303')")
        assert tab.ask(names) == ["gamma"]
        tab.ask(f"({type_text})('')")
        tab.ask("document.querySelector('thead th').click()")
        assert tab.ask(names) == ["alpha", "beta", "gamma"]
        tab = browser.open(tmp_path / "board" / "comparisons.html")
        tab.ask(
            """(() => { const [before, after] = document.querySelectorAll('#chooser select');
            before.value = 'gamma'; after.value = 'alpha';
            before.dispatchEvent(new Event('change', { bubbles: true })); })()"""
        )
        assert tab.ask("document.querySelector('#chosen a').href").endswith("/compare/alpha--gamma.html")
        assert not [
            event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]


def test_a_link_to_a_run_is_not_a_second_run(tmp_path: Path) -> None:
    store_run(tmp_path / "run", 1)
    (tmp_path / "again").symlink_to("run")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "dangling").symlink_to("nowhere")
    path, count, damaged = write_board(tmp_path)
    assert count == 1 and damaged == [] and list(read_tables(path)[0]["run"]) == ["run"]
