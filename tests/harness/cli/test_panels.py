"""The help of long commands in groups."""

from __future__ import annotations

import re

import pytest

from harness.cli.main import main
from harness.cli.panels import ADVANCED, PANELS, choose_panel
from harness.core.spec import Spec
from harness.core.spec_reading import list_option_names


@pytest.mark.parametrize("verb", ["run", "plan", "profile", "report", "study"])
def test_help_has_groups_and_fits_eighty_columns(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([verb, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    titles = [line.removesuffix(":") for line in lines if line in {f"{title}:" for title in PANELS}]
    assert len(titles) >= 4 and titles == [title for title in PANELS if title in titles]


def test_help_has_each_flag_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    flags = re.findall(r"^  --([a-z-]+)", capsys.readouterr().out.split("What to run:")[1], re.M)
    expected = {name.replace("_", "-") for name in (*Spec.model_fields, *list_option_names())} | {
        "help",
        "json",
        "spec",
    }
    assert len(flags) == len(set(flags)) and set(flags) == expected


def test_each_field_of_a_spec_has_a_group() -> None:
    """A new field that no group names is listed under Advanced until somebody places it."""
    assert {choose_panel(name) for name in Spec.model_fields} <= set(PANELS)
    assert choose_panel("retry") == ADVANCED and choose_panel("suite") == "What to run"
