"""The verb `plan`: what it says of a grid that it does not run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.cost import NONE_YET
from harness.forecast import forecast
from harness.spec import make_spec


def test_a_grid_without_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = make_spec({"tasks": ("rte",), "seeds": "2", "methods": "lora,full", "device": "cpu"})
    made = forecast(spec, None)
    assert made["cells"] == 4 and [(p["methods"], p["k"]) for p in made["packs"]] == [
        ("lora", 2),
        ("full", 1),
        ("full", 1),
    ]
    assert made["calibration"] == NONE_YET and made["device_hours"] is None and made["too_large"] == []
    assert all(p["fits"] and p["peak"] == sum(p["shares"].values()) for p in made["packs"])
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_named_with_a_way(capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--tasks rte --seeds 1 --methods full --device cpu --memory 5MiB --json".split()
    assert main(["plan", *flags]) == 0
    (large,) = json.loads(capsys.readouterr().out)["too_large"]
    assert large["method"] == "full (fp32)" and any("--batch-size" in way["flags"] for way in large["ways"])


def test_the_table_names_each_category(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("plan --tasks rte --seeds 1 --methods lora --device cpu --memory 1GiB".split()) == 0
    head = capsys.readouterr().out.splitlines()[1]
    assert all(word in head for word in "weights adapters gradients optimizer activations rest fits".split())
