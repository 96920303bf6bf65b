"""Plugins as full citizens: listed, run, in reports, and in the cell key by their source alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["--tasks", "rte", "--seeds", "1", "--max-steps", "2", "--eval-rows", "20", "--no-profile"]
PLUGIN = '''
import dataclasses
from harness.contracts import METHODS, strategy
from methods.lowrank import LowRank


@strategy("shuffled")
def shuffled(sites, ratio, rng):
    """A strategy from a plugin."""
    return {s.name: tuple(rng.random(shape) for shape in s.shapes) for s in sites}


@METHODS.register("mild")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Mild(LowRank):
    """A method from a plugin."""

    name = "mild"
    summary = "a method from a plugin"
    strength: float = 1.0
'''


def harness(words: list[str], folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own: what is registered stays for a process."""
    code = f"import sys; from harness.cli import main; sys.exit(main({words!r}))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *path)))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def keys(folder: Path, out: str, *plugin: str, path: Path | None = None) -> dict[str, str]:
    """Labels and keys of the cells that a run stored."""
    flags = [w for p in plugin for w in ("--plugin", p)]
    words = ["run", "--methods", "lora,mild,lorasp,lorasp-shuffled", *flags, *SMALL, "--json", "--out", out]
    done = harness(words, folder, *([path] if path else []))
    assert done.returncode == 0, done.stderr
    cells = [json.loads(p.read_text()) for p in (folder / out / "cells").glob("*.json")]
    return {c["cell"]["method"] + ":" + c["cell"]["options"].get("select", ""): c["key"] for c in cells}


def test_source_is_in_the_key_and_the_path_is_not(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(PLUGIN)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "two.py").write_text(PLUGIN)
    (tmp_path / "edited.py").write_text(PLUGIN + "\n# edited\n")
    first, moved, edited = (keys(tmp_path, f"out{i}", p) for i, p in enumerate(("one.py", "other/two.py", "edited.py")))
    assert first == moved and set(first) == {"lora:", "mild:", "lorasp:", "lorasp:shuffled"}
    changed = {name for name in first if first[name] != edited[name]}
    assert changed == {"mild:", "lorasp:shuffled"}
    report = (tmp_path / "out0" / "report" / "report.md").read_text()
    assert "mild" in report and "shuffled" in report


def test_an_installed_plugin_is_known_by_its_modules_source(tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lorasp_harness]\nmine = mine_plugin\n")
    (site / "mine_plugin.py").write_text(PLUGIN)
    (tmp_path / "one.py").write_text(PLUGIN)
    assert keys(tmp_path, "installed", path=site) == keys(tmp_path, "file", "one.py")
    (site / "mine_plugin.py").write_text("1 / 0\n")
    done = harness(["methods"], tmp_path, site)
    assert done.returncode == 2 and done.stderr == (
        "error: plugin 'mine' (mine_plugin) raises ZeroDivisionError: division by zero\n"
    )


def test_it_is_listed_with_its_options(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(PLUGIN)
    found = harness(["methods", "--plugin", "one.py"], tmp_path)
    assert any(line.startswith("mild ") and "a method from a plugin" in line for line in found.stdout.splitlines())
    page = harness(["methods", "show", "mild", "--plugin", "one.py"], tmp_path)
    assert "strength=1.0 (float)" in page.stdout and "cost: not measured" in page.stdout
    assert "shuffled" in harness(["strategies", "--plugin", "one.py"], tmp_path).stdout


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("1 / 0\n", "raises ZeroDivisionError: division by zero"),
        ("def broken(:\n", "raises SyntaxError"),
        ("import nowhere_at_all\n", "raises ModuleNotFoundError: No module named 'nowhere_at_all'"),
        (PLUGIN.replace('"shuffled"', '"random"'), "strategy 'random' is already registered; choose another name"),
        (PLUGIN.replace('"mild")', '"lora")'), "method 'lora' is already registered; choose another name"),
        (None, "does not exist; give the path of a Python file"),
    ],
)
@pytest.mark.parametrize("words", [["run", "--out", "out"], ["methods"]], ids=["run", "methods"])
def test_one_that_cannot_be_loaded_is_one_line(words: list[str], source: str | None, says: str, tmp_path: Path) -> None:
    if source is not None:
        (tmp_path / "bad.py").write_text(source)
    done = harness([*words, "--plugin", "bad.py"], tmp_path)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("error: plugin file 'bad.py'")
    assert says in done.stderr and done.stderr.count("\n") == 1 and not list(tmp_path.glob("out/cells/*"))
