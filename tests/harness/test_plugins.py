"""Plugins as full citizens: listed, run, in reports, and in the cell key by their source alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.core import registry
from harness.core.executor import EXECUTORS
from harness.core.learning_rate import SCHEDULES
from harness.core.method import METHODS, METRICS, STRATEGIES, SUITES
from harness.core.optimizer import OPTIMIZERS
from harness.core.presets import PRESETS
from harness.core.quantization import QUANTIZATIONS
from harness.core.registry import load_all
from harness.core.spec_reading import make_spec
from harness.planning.plan import make_plan

SMALL = ["--tasks", "rte", "--seeds", "1", "--max-steps", "2", "--eval-rows", "20"]
SMALL += ["--formats", "md", "--figures", "", "--no-profile"]
PLUGIN = '''
import dataclasses
from harness.core.method import METHODS, strategy
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


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """What is registered in here is forgotten after, as at the end of a process."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (
            *(METHODS, METRICS, STRATEGIES, SUITES, QUANTIZATIONS, SCHEDULES, OPTIMIZERS, PRESETS, EXECUTORS),
        ):
            kind.names()  # what is ours registers at the first look-up, and has to stay
            patch.setattr(kind, "_items", dict(kind._items))  # type: ignore[attr-defined]
            patch.setattr(kind, "sources", dict(kind.sources))  # type: ignore[attr-defined]
        patch.setattr(registry, "_loaded", set())
        yield


def keys(*plugins: Path) -> dict[str, str]:
    """Labels and keys of the cells that a plan has with these plugins."""
    with registered():
        load_all(plugins)
        flags = {"tasks": ("rte",), "seeds": "1", "methods": "lora,mild,lorasp,lorasp-shuffled"}
        return {planned.cell.label: planned.key for planned in make_plan(make_spec(flags)).cells}


def write(path: Path, source: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def test_source_is_in_the_key_and_the_path_is_not(tmp_path: Path) -> None:
    first, moved = keys(write(tmp_path / "one.py", PLUGIN)), keys(write(tmp_path / "other" / "two.py", PLUGIN))
    edited = keys(write(tmp_path / "one.py", PLUGIN + "\n# edited\n"))
    assert first == moved and set(first) == {"lora", "mild", "lorasp", "lorasp:select=shuffled"}
    assert {name for name in first if first[name] != edited[name]} == {"mild", "lorasp:select=shuffled"}


def test_what_runs_is_the_source_that_was_hashed(tmp_path: Path) -> None:
    """Not bytecode of an earlier source of the same size and second, nor what the file has later."""
    plugin, stamp = tmp_path / "own.py", (10**9, 10**9)
    for value in (1, 2):
        source = f"VALUE = {value}\n".encode()
        plugin.write_bytes(source)
        os.utime(plugin, stamp)
        registry.load_plugin(plugin)
        plugin.write_text("VALUE = 3\n")
        assert registry.get_plugin_contents([plugin]) == {plugin: source}
        digest = hashlib.sha256(source).hexdigest()
        assert registry.get_plugin_digests([plugin]) == {plugin: digest}
        assert value == sys.modules[f"lorasp_plugin_own_{digest[:8]}"].VALUE


def test_it_runs_and_is_reported(tmp_path: Path) -> None:
    plugin = write(tmp_path / "one.py", PLUGIN)
    with registered():
        words = ["run", "--methods", "mild,lorasp-shuffled", "--plugin", str(plugin), *SMALL, "--out", str(tmp_path)]
        assert main(words) == 0
    report = (tmp_path / "report" / "report.md").read_text()
    assert "mild" in report and "lorasp:select=shuffled" in report


def test_an_installed_plugin_is_known_by_its_modules_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "site" / "mine-1.0.dist-info"
    write(info / "METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    write(info / "entry_points.txt", "[lorasp_harness]\nmine = mine_plugin\n")
    write(tmp_path / "site" / "mine_plugin.py", PLUGIN)
    file = keys(write(tmp_path / "one.py", PLUGIN))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "mine_plugin", raising=False)
    assert keys() == file
    monkeypatch.delitem(sys.modules, "mine_plugin")
    write(tmp_path / "site" / "mine_plugin.py", "1 / 0  # broken\n")
    with registered():
        assert main(["methods"]) == 2
    error = "error: plugin 'mine' (mine_plugin) raises ZeroDivisionError: division by zero\n"
    assert capsys.readouterr().err == error


def test_it_is_listed_with_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = ["--plugin", str(write(tmp_path / "one.py", PLUGIN))]
    with registered():
        assert (
            main(["methods", *plugin])
            == main(["methods", "show", "mild", *plugin])
            == main(["strategies", *plugin])
            == 0
        )
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("mild ") and line.endswith("a method from a plugin") for line in lines)
    assert "  strength=1.0 (float)" in lines and "cost: not measured" in lines
    assert any(line.startswith("shuffled ") and "not measured" in line for line in lines)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("1 / 0\n", "raises ZeroDivisionError: division by zero"),
        ("def broken(:\n", "raises SyntaxError"),
        ("import nowhere_at_all\n", "raises ModuleNotFoundError: No module named 'nowhere_at_all'"),
        (PLUGIN.replace('"shuffled"', '"random"'), "strategy 'random' is already registered; choose another name"),
        (PLUGIN.replace('"mild")', '"lora")'), "method 'lora' is already registered; choose another name"),
        ("raise SystemExit(3)", "raises SystemExit: 3"),
        (None, "does not exist; give the path of a Python file"),
    ],
)
@pytest.mark.parametrize("words", [["run", "--out", "OUT"], ["methods"]], ids=["run", "methods"])
def test_one_that_cannot_be_loaded_is_one_line(
    words: list[str], source: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.py"
    if source is not None:
        write(bad, source)
    words = [w.replace("OUT", str(tmp_path)) for w in words]
    with registered():
        assert main([*words, "--plugin", str(bad)]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"error: plugin file '{bad}'") and says in error
    assert error.count("\n") == 1 and not list(tmp_path.glob("cells/*"))
