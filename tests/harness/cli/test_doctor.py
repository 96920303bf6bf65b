"""Each check is ok or says what to do."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest

from harness.cli import doctor
from harness.cli.main import main


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def test_a_sound_machine_has_nothing_needed_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok ", "todo ")) for line in lines)
    assert any(line.startswith("ok   embedded model") for line in lines)
    (hub,) = [line for line in lines if line.startswith("todo hub")]
    assert "not reachable (OSError); presets small and paper need --data-dir" in hub


def test_a_missing_package_fails_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = doctor.get_version
    monkeypatch.setattr(doctor, "get_version", lambda name: "absent" if name == "jinja2" else version(name))
    assert main(["doctor"]) == 1
    assert "todo jinja2: absent; pip install jinja2" in capsys.readouterr().out


def test_a_data_folder_is_read_task_by_task(tmp_path: Path) -> None:
    (tmp_path / "CoLA").mkdir()
    for name in ("train", "dev"):
        (tmp_path / "CoLA" / f"{name}.tsv").write_text("x\t1\t\tthe cat sleeps\nx\t0\t*\tcat the sleeps\n")
    found = {c.name: c for c in doctor.run_checks(tmp_path)}
    assert found["glue/cola"].ok and "2 train" in found["glue/cola"].detail
    assert not found["glue/rte"].ok and not found["glue/rte"].needed and found["glue/rte"].remedy
