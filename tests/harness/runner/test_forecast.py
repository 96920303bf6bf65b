"""The verb `plan`: what it says of a grid that it does not run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from harness.cli.forecast_text import format_forecast, print_forecast
from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.listener import PlainListener
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.profiling.cost import NONE_YET, Cost
from harness.runner.forecast import estimate_hours, forecast_run
from results.job import run_spec as run


def test_a_grid_without_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = make_spec({"tasks": ("rte",), "seeds": "2", "methods": "lora,full", "device": "cpu"})
    made = forecast_run(spec, None)
    assert made["cells"] == 4 and [(p["methods"], p["k"]) for p in made["packs"]] == [
        ("lora", 2),
        ("full", 1),
        ("full", 1),
    ]
    assert made["calibration"] == NONE_YET and made["device_hours"] is None and made["too_large"] == []
    assert all(p["fits"] and p["peak"] == sum(p["shares"].values()) for p in made["packs"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_suite_is_predicted() -> None:
    for suite in ("glue", "wmt16", "mmlu", "xnli", "domain"):
        made = forecast_run(make_spec({"suite": (suite,), "seeds": "1", "methods": "lora", "device": "cpu"}), None)
        assert made["packs"] and all(p["peak"] for p in made["packs"]), suite


@pytest.mark.slow
def test_what_does_not_fit_is_named_with_a_way(capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--tasks rte --seeds 1 --methods full --device cpu --memory 5MiB --json".split()
    assert main(["plan", *flags]) == 1, "a script that plans before it runs must stop here"
    (large,) = json.loads(capsys.readouterr().out)["too_large"]
    assert large["method"] == "full (fp32)" and any("--batch-size" in way["flags"] for way in large["ways"])


def test_the_table_names_each_category(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("plan --tasks rte --seeds 1 --methods lora --device cpu --memory 1GiB --detail".split()) == 0
    head = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("methods"))
    assert all(word in head for word in "weights adapters gradients optimizer activations rest fits".split())


@pytest.mark.parametrize("methods, told", [("lora", False), ("lora,lorasp", True)])
def test_memory_of_a_mixed_pack_is_told_to_be_a_bound(methods: str, told: bool) -> None:
    made = format_forecast(
        forecast_run(make_spec({"tasks": ("rte",), "seeds": "1", "methods": methods, "device": "cpu"}), None),
        detail=True,
    )
    assert ("several methods: an upper bound" in made) == told


@pytest.mark.parametrize("tuned_on", [(), ("rte",)])
def test_trials_of_tuning_are_counted_as_the_run_makes_them(tmp_path: Path, tuned_on: tuple[str, ...]) -> None:
    """The tuning folder of a run of the same spec has as many cells."""
    asked = {"tasks": ("rte", "cola"), "seeds": "2", "methods": "lora,head", "device": "cpu", "out": tmp_path / "run"}
    small = {"max_steps": 1, "train_rows": 60, "eval_rows": 20, "threads": 1, "profile": False}
    spec = make_spec(asked | small | {"tune": 2, "tune_tasks": tuned_on, "formats": ("csv",), "figures": ()})
    made = forecast_run(spec, None)
    assert made["cells"] == 8 and sum(p["k"] for p in made["packs"]) == 8 + made["trials"]
    assert sum(p["k"] for p in made["packs"] if p["tuning"]) == made["trials"]
    text = format_forecast(made, detail=True)
    assert f"{made['trials']} tuning trials" in text and "rte (tuning)" in text
    run(spec, "command", lambda total: PlainListener(io.StringIO(), total))
    assert made["trials"] == len(Store(tmp_path / "run" / "tuning").read()[0]) == (4 if tuned_on else 8)


def test_trials_take_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runner.forecast.fit_cost", lambda *_: Cost(0.0, 0.0, 1.0, 4, 0.0))
    start = {"tasks": ("rte",), "seeds": "2", "methods": "lora", "device": "cpu", "max_steps": 7, "out": tmp_path}
    plain, tuned = (forecast_run(make_spec(start | more), None) for more in ({}, {"tune": 6}))
    assert plain["trials"] == 0 and plain["device_hours"] * 3600 == pytest.approx(
        sum(p["seconds"] for p in plain["packs"])
    )
    assert tuned["device_hours"] > plain["device_hours"] > 0


def test_what_cannot_be_tuned_is_refused_as_by_the_run() -> None:
    with pytest.raises(UserError, match="how many trials"):
        forecast_run(make_spec({"tasks": ("rte",), "methods": "lora", "tune_tasks": ("rte",), "device": "cpu"}), None)


def test_short_names_of_quantized_methods_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("bitsandbytes")
    assert main("plan --tasks rte --seeds 1 --methods qlora,qlorasp,lora --device cpu --memory 4GiB".split()) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if row[-1:] == ["yes"]] == ["qlora", "qlorasp", "lora"]


def test_each_method_has_one_row_with_the_peak_of_its_largest_task(capsys: pytest.CaptureFixture[str]) -> None:
    spec = make_spec({"tasks": ("rte", "cola"), "seeds": "3", "methods": "lora,full", "device": "cpu"})
    made = forecast_run(spec, "6MiB")
    assert [(entry["title"], entry["tasks"]) for entry in made["methods"]] == [
        ("lora", ["rte", "cola"]),
        ("full", ["rte", "cola"]),
    ]
    # a pack of one full cell is the method alone
    alone = max(pack["peak"] for pack in made["packs"] if pack["methods"] == "full")
    assert made["methods"][1]["peak"] == alone and not made["methods"][1]["fits"] and made["methods"][0]["fits"]
    lines = format_forecast(made).splitlines()
    (row,) = (line for line in lines if line.startswith("full"))
    assert "--batch-size" in row and sum(line.startswith("lora") for line in lines) == 1
    print_forecast(made)
    assert capsys.readouterr().out.splitlines() == lines


def test_time_on_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert estimate_hours([3600.0, 3600.0, 3600.0], 2) == 2.0 and estimate_hours([3600.0] * 4, 4) == 1.0
    monkeypatch.setattr("harness.runner.forecast.fit_cost", lambda *_: Cost(0.0, 0.0, 1.0, 4, 0.0))
    fields = {"tasks": ("rte",), "seeds": "4", "methods": "lora", "device": "cpu", "pack": 1, "devices": "cpu:2"}
    made = forecast_run(make_spec(fields), None)
    assert made["devices"] == 2 and made["hours"] == pytest.approx(made["device_hours"] / 2)
    assert " on 2 devices (" in format_forecast(made)


@pytest.mark.parametrize(("devices", "count"), [("gpu:4", 4), ("0,1,3", 3), ("7", 1)])
def test_a_plan_for_gpus_that_are_not_here(devices: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runner.forecast.cuda_is_available", lambda: False)
    cost = Cost(0.0, 1e-9, 0.0, 5, 0.1)
    monkeypatch.setattr("harness.runner.forecast.fit_cost_of_absent_gpu", lambda profiles: cost)
    fields = {"tasks": ("rte",), "seeds": "12", "methods": "lora", "pack": 1, "devices": devices, "price": 2.5}
    made = forecast_run(make_spec(fields), "24GiB")
    assert (made["device"], made["devices"]) == ("cuda", count)
    # twelve equal packs, shared out evenly
    assert made["hours"] == pytest.approx(made["device_hours"] / count)
    assert made["cost"] == pytest.approx(2.5 * made["device_hours"])
    assert f"on {count} device" in format_forecast(made) and ", cost about" in format_forecast(made)
    with pytest.raises(UserError, match="--memory"):
        forecast_run(make_spec(fields), None)


@pytest.mark.parametrize("devices", ["gpu:0", "gpu:x", "0,0", "gpu:1,gpu:1"])
def test_devices_that_are_none_are_refused(devices: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runner.forecast.cuda_is_available", lambda: False)
    with pytest.raises(UserError, match="--devices"):
        forecast_run(make_spec({"tasks": ("rte",), "seeds": "1", "devices": devices}), "24GiB")
