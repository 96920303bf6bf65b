"""The script: the same bytes each time, the same tokens on the kept rows, and one line for a wrong request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.presets import get_preset
from harness.models.e5_package import read_package
from harness.models.load import load_tokenizer
from harness.models.source import check_rows, resolve
from scripts import e5_weights
from tests.harness.models.e5_files import write_file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("e5") / "whole.bin"
    write_file(path)
    return path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Any:
    def call_script(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["e5_weights.py", *map(str, words)])
        return int(e5_weights.main())

    return call_script


@pytest.mark.slow
def test_a_pruned_file_gives_the_folder_of_a_pruned_package(call: Any, file: Path, tmp_path: Path) -> None:
    keep = ("--keep", "glue/rte")
    assert call(tmp_path / "direct", "--source", file, *keep) == 0
    assert call(tmp_path / "part.bin", "--source", file, "--four-bit", *keep) == 0
    assert call(tmp_path / "moved", "--source", tmp_path / "part.bin") == 0
    names = sorted(path.name for path in (tmp_path / "direct").iterdir())
    assert "model.safetensors" in names
    for name in names:
        assert (tmp_path / "direct" / name).read_bytes() == (tmp_path / "moved" / name).read_bytes()
    part = read_package(tmp_path / "part.bin")
    assert len(part.pieces) < len(read_package(file).pieces)
    source = resolve(get_preset("small"), "glue", str(tmp_path / "moved"))
    check_rows(source, "glue/rte", part.pruned_for["glue/rte"])
    assert len(load_tokenizer(source)) == len(part.pieces)


def test_a_pruned_source_serves_its_own_rows_only(
    call: Any, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "part.bin", "--source", file, "--four-bit", "--keep", "glue/rte") == 0
    assert call(tmp_path / "other", "--source", tmp_path / "part.bin", "--keep", "glue/cola") == 2
    assert "pruned to the rows of glue/rte, not of glue/cola" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--keep", "glue/nothing"), "nothing"), (("--keep", "nothing/rte"), "nothing"), (("--data-file", "x"), "x")],
)
def test_a_wrong_request_is_one_line(
    call: Any, file: Path, tmp_path: Path, words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = () if "--keep" in words else ("--keep", "glue/rte")
    assert call(tmp_path / "out", "--source", file, *words, *extra) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and says in line
