"""File names made of hostile names: safe, short, all different, and inside of their folder."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.file_names import join_inside, make_file_name, make_file_names
from harness.core.spec_reading import make_spec
from reports.render import write_report
from reports.tensorboard import write_events
from tests.reports.records import cell, record

HOSTILE = [
    "../../../pwned",
    "/etc/pwned",
    "..",
    ".",
    "",
    "~",
    "-rf",
    "a/b",
    "a\\b",
    "a\x00b",
    "x" * 300,
    "é" * 300,
    "x" * 299 + "y",
    "Glue",
    "glue",
    "GLUE",
    "中文",
    "a\nb",
    "%2e%2e",
    "$(id)",
    "a.",
    "\udcff",
]


def test_names_are_safe_and_differ_even_where_capitals_do_not_count() -> None:
    rng = random.Random(20261126)
    alphabet = "abAB.-_/\\ \x00é中%~0\u202e"
    texts = HOSTILE + ["".join(rng.choices(alphabet, k=rng.randrange(200))) for _ in range(2000)]
    names = make_file_names(texts)
    assert set(names) == set(texts)
    for name in names.values():
        assert name.isascii() and 0 < len(name) <= 120 and not set(name) & set("/\\\0 \n%$~") and name[0] not in ".-"
    assert len({name.lower() for name in names.values()}) == len(set(texts))


def test_ordinary_names_stay() -> None:
    for name in ("glue", "wmt16", "lorasp_ratio=0.25", "seed-0", "glue-quick"):
        assert make_file_name(name) == name


def test_a_path_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "figures").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    for name in ("../x", "../../x", "/etc/x", "figures/x.svg", "a/../../x", "..", "loop/x"):
        with pytest.raises(UserError):
            join_inside(folder, name)
    assert join_inside(folder, "a/b.csv") == folder / "a/b.csv"


@pytest.mark.parametrize("name", ["../../../pwned", "/tmp/pwned-by-a-record", "a/b", "x" * 300, "\x1b[31m", r"a\g<9>b"])
def test_a_record_of_any_suite_and_task_writes_inside_its_folder(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = tmp_path / "a" / "b" / "c" / "run"
    records = [
        record(60.0 + seed, cell(name, method, seed, suite=name), (name,))
        for method in ("lora", name)
        for seed in (0, 1)
    ]
    before = {p for p in tmp_path.parent.rglob("*") if not p.is_relative_to(folder)} | {p for p in folder.parents}
    formats = ("md", "html", "latex", "csv", "parquet")
    write_report(records, [], folder / "report", name, name, formats=formats, images=("svg",))
    write_events(records, folder / "tensorboard")
    after = {p for p in tmp_path.parent.rglob("*") if not p.is_relative_to(folder)} | {p for p in folder.parents}
    assert after - before == set() and not Path("/tmp/pwned-by-a-record").exists()
    text = (folder / "report" / "report.md").read_text()
    figures = [p for p in (folder / "report" / "figures").iterdir() if p.suffix == ".svg"]
    assert figures and all(f"figures/{p.name}" in text for p in figures)
    assert len(list((folder / "tensorboard").rglob("events.*"))) == 4


def test_two_suites_that_look_alike_have_figures_of_their_own(tmp_path: Path) -> None:
    records = [record(60.0 + s, cell("t", "lora", s, suite=suite), ("t",)) for suite in ("a/b", "a\\b") for s in (0, 1)]
    write_report(records, [], tmp_path, "t", "c", formats=("md",), images=("svg",))
    assert len(list((tmp_path / "figures").glob("*-scores.svg"))) == 2


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "x" * 300])
def test_the_folder_of_a_run_lies_under_results(name: str) -> None:
    for flags in ({"suite": name}, {"preset": name}):
        folder = make_spec(flags).folder
        assert folder.parent == Path("results/runs") and len(folder.name) < 255


@pytest.mark.parametrize("name", ["../x", "a/b", "x" * 300, "é", ".x", "con.x"])
def test_new_refuses_names_that_are_paths(name: str, tmp_path: Path) -> None:
    assert main(["new", "strategy", name, "--out", str(tmp_path)]) == 2
    assert not list(tmp_path.iterdir())
